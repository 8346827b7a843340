//! Random bytes of the operating system, for keys and for RustCrypto's functions.

use rand_core::{TryCryptoRng, TryRng};
use std::convert::Infallible;

/// Fills `out`.
///
/// # Panics
/// Where the operating system refuses: a key without random bytes must not be.
pub(crate) fn draw(out: &mut [u8]) {
    #[expect(clippy::expect_used, reason = "no key is better than a known one")]
    getrandom::fill(out).expect("the operating system gives random bytes");
}

/// The operating system as RustCrypto wants it.
pub(super) struct System;

impl TryRng for System {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        draw(&mut bytes);
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        draw(&mut bytes);
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        draw(out);
        Ok(())
    }
}

impl TryCryptoRng for System {}
