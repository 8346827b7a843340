//! Fuzz targets: every reader of bytes that somebody else wrote, as a row of one table, with good inputs to begin from. Two
//! drivers run the table: libFuzzer (`src/bin/hsmd_fuzz.rs`, by `cargo xtask fuzz`) and the smoke test of this crate
//! (`tests/`), which mutates without coverage. How to use them: `docs/fuzzing.md`.
//!
//! A target returns nothing: it ends, or it panics, hangs or takes too much memory, and that is a find.
#![expect(clippy::expect_used, reason = "a target whose scaffold fails must not pass")]

mod configuration;
mod daemon;
mod elsewhere;
mod files;
mod keys;
pub mod mutate;
mod wire;

use std::path::PathBuf;

/// A reader of hostile bytes.
pub struct Target {
    /// Its name on the command line and of its folders.
    pub name: &'static str,
    /// What it reads, for `docs/fuzzing.md`.
    pub what: &'static str,
    /// Runs it on one input.
    pub run: fn(&[u8]),
    /// Good inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that a mutation may insert.
    pub words: &'static [&'static str],
}

const fn target(
    name: &'static str,
    what: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    words: &'static [&'static str],
) -> Target {
    Target {
        name,
        what,
        run,
        seeds,
        words,
    }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target(
        "frames",
        "frames on a socket: headers, parts, sections",
        wire::frames,
        wire::frame_seeds,
        &[],
    ),
    target(
        "messages",
        "bodies of requests, and the types that they become",
        wire::messages,
        wire::message_seeds,
        &[],
    ),
    target(
        "replies",
        "what a daemon sends, as the module reads it",
        wire::replies,
        wire::reply_seeds,
        &[],
    ),
    target(
        "templates",
        "attributes, nested templates, matching",
        wire::templates,
        wire::template_seeds,
        &[],
    ),
    target(
        "mechanisms",
        "mechanism parameters and Init validation",
        wire::mechanisms,
        wire::mechanism_seeds,
        &[],
    ),
    target(
        "requests",
        "requests, answered by a daemon in memory",
        daemon::requests,
        daemon::seeds,
        &[],
    ),
    target(
        "operation-state",
        "saved operations, as C_SetOperationState gets them",
        wire::operation_state,
        wire::operation_state_seeds,
        &[],
    ),
    target(
        "client-config",
        "the module's client file",
        configuration::client,
        configuration::client_seeds,
        configuration::CLIENT_WORDS,
    ),
    target(
        "chrystoki",
        "the client file of Luna appliances, as the module reads it",
        configuration::chrystoki,
        configuration::chrystoki_seeds,
        configuration::CHRYSTOKI_WORDS,
    ),
    target(
        "pem",
        "files of certificates and keys, as the module reads them",
        configuration::pem,
        configuration::pem_seeds,
        configuration::PEM_WORDS,
    ),
    target(
        "import",
        "files of keys, and SoftHSM2's object files, as `hsmctl import` reads them",
        elsewhere::import,
        elsewhere::import_seeds,
        configuration::PEM_WORDS,
    ),
    target(
        "daemon-config",
        "hsmd.toml",
        configuration::daemon,
        configuration::daemon_seeds,
        configuration::DAEMON_WORDS,
    ),
    target(
        "journal",
        "journal frames behind their seal, and replay",
        files::journal,
        files::journal_seeds,
        &[],
    ),
    target(
        "segments",
        "damaged journal segments",
        files::segments,
        files::segment_seeds,
        &[],
    ),
    target(
        "backup",
        "the store's backup files: raw, and behind their seal; items of operators' backups",
        files::backup,
        files::backup_seeds,
        &[],
    ),
    target(
        "root-files",
        "copies of the root file",
        files::root,
        files::root_seeds,
        &[],
    ),
    target(
        "records",
        "records behind their seal: objects, PINs, tries, logins, tickets, blobs",
        keys::records,
        keys::record_seeds,
        &[],
    ),
    target(
        "private-keys",
        "PKCS #8, and the keys that come of it",
        keys::private_keys,
        keys::private_key_seeds,
        &[],
    ),
    target(
        "certificates",
        "certificates and requests that administrators send",
        keys::certificates,
        hsmd::control::fuzzing::certificate_seeds,
        &[],
    ),
    target(
        "points",
        "public points and curve parameters",
        keys::points,
        keys::point_seeds,
        &[],
    ),
    target(
        "unwrap",
        "C_UnwrapKey of blobs that open and hold anything",
        keys::unwrap,
        keys::unwrap_seeds,
        &[],
    ),
    target(
        "aws-query",
        "requests of the AWS query protocol, as each operation of Redshift",
        configuration::query,
        configuration::query_seeds,
        configuration::QUERY_WORDS,
    ),
    target(
        "xks-requests",
        "paths, signatures and bodies of requests to the XKS proxy",
        hsmd_aws::fuzzing::xks::requests,
        hsmd_aws::fuzzing::xks::request_seeds,
        XKS_WORDS,
    ),
    target(
        "xks-replies",
        "what an XKS proxy answers, as KMS reads it",
        hsmd_aws::fuzzing::xks::replies,
        hsmd_aws::fuzzing::xks::reply_seeds,
        XKS_WORDS,
    ),
];

/// Members and values of the XKS proxy API.
const XKS_WORDS: &[&str] = &[
    "\"plaintext\":",
    "\"ciphertext\":",
    "\"initializationVector\":",
    "\"authenticationTag\":",
    "\"ciphertextMetadata\":",
    "\"additionalAuthenticatedData\":",
    "\"ciphertextDataIntegrityValueAlgorithm\":\"SHA_256\"",
    "\"requestMetadata\":{",
    "AAAA",
    "AA==",
    "\\u002f",
    "null",
    "[[",
    "Credential=",
    "SignedHeaders=",
    "Signature=",
];

/// The target of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Inputs that once crashed a target, kept in the tree: `regressions/<target>/`.
#[must_use]
pub fn regressions(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("regressions")
        .join(target.name);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Vec::new();
    };
    let files = entries.map(|entry| entry.expect("the folder of regressions").path());
    let mut found: Vec<_> = files
        .map(|file| (file.clone(), std::fs::read(&file).expect("a regression")))
        .collect();
    found.sort();
    found
}
