//! What the crate promises, seen from outside: published vectors, RustCrypto as the oracle, every row of the mechanism
//! table, and hostile input. Not here: unit tests, which stand at the end of the files they test.
#![expect(clippy::unwrap_used, reason = "a test may panic, also in what its functions share")]

mod families;
mod hostile;
mod kdf;
mod ml_dsa;
mod ml_kem;
mod oracle;
mod pkcs1;
mod sample;
mod slh_dsa;
mod stateful;
mod table;
mod vectors;
mod wycheproof;
