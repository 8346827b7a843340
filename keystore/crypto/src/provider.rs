//! Which engine this build computes with, for those who tell users: `hsmd --version`, the log at start, `hsmctl doctor`.

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name, as in the cargo feature.
    pub name: &'static str,
    /// What is known against it, in one sentence; `None`: nothing.
    pub advisory: Option<&'static str>,
}

/// The engine of this build.
pub const PROVIDER: Provider = if cfg!(feature = "aws-lc") {
    Provider {
        name: "aws-lc",
        advisory: None,
    }
} else {
    Provider {
        name: "portable",
        advisory: Some(
            "RSA private-key operations of this build may take time that depends on the key (RUSTSEC-2023-0071): \
             use elliptic curves, or the default build, where others can measure them",
        ),
    }
};
