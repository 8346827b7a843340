//! What both benches measure: one list of operations, so that the provider alone and the path through module, socket
//! and daemon can be read side by side.
//!
//! `cargo bench -p hsmd-benches --bench provider` needs nothing; `--bench module` needs `HSMD_BIN_DIR`, the folder with
//! `hsmd` and `libhsmd_pkcs11.so` (`cargo build --release -p hsmd -p hsmd-pkcs11` fills `target/release`).

/// Sizes in bytes of the data that symmetric operations work on.
pub const SIZES: [usize; 3] = [1 << 10, 16 << 10, 64 << 10];

/// A digest-sized input.
pub const DIGEST: [u8; 32] = [0x5a; 32];

pub mod histogram;
