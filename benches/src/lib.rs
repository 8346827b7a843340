//! What the benches share: sizes of the criterion benches, and for `p11bench` the catalogue of rows, the figures of a run
//! and the pages made from them. It calls no module.
//!
//! `cargo bench -p hsmd-benches --bench provider` needs nothing; `--bench module` needs `HSMD_BIN_DIR`, the folder with
//! `hsmd` and `libhsmd_pkcs11.so` (`cargo build --release -p hsmd -p hsmd-pkcs11` fills `target/release`).

pub mod catalogue;
pub mod figures;
pub mod histogram;
pub mod page;

/// Sizes in bytes of the data that symmetric operations work on.
pub const SIZES: [usize; 3] = [1 << 10, 16 << 10, 64 << 10];

/// A digest-sized input.
pub const DIGEST: [u8; 32] = [0x5a; 32];
