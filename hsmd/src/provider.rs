//! What this build computes with, as users are told: by `--version`, in the log, by `hsmctl doctor`.

use hsmd_crypto::provider::PROVIDER;

/// What `--version` prints after the program's name.
pub(crate) const VERSION: &str = if cfg!(feature = "aws-lc") {
    env!("CARGO_PKG_VERSION")
} else {
    concat!(
        env!("CARGO_PKG_VERSION"),
        " (portable: RustCrypto, without TLS; for its RSA see RUSTSEC-2023-0071)"
    )
};

/// Tells the log what is known against the provider.
pub(crate) fn warn() {
    if let Some(advisory) = PROVIDER.advisory {
        tracing::warn!(provider = PROVIDER.name, "{advisory}");
    }
}
