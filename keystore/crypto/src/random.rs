//! Random bytes from aws-lc's DRBG (CTR_DRBG, SP 800-90A): seeded by the kernel, one state per thread, aware of `fork`
//! and of virtual-machine snapshots.
//!
//! Infallible: aws-lc has no error to report here; without kernel entropy it does not return.

use crate::awslc::ffi;

/// Fills `out` with random bytes.
pub fn fill(out: &mut [u8]) {
    ffi::random(out);
}

/// `N` random bytes that are no secret: nonces, identifiers. Secrets come from `Secret::random`.
#[must_use]
pub fn array<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::array::<32>(), super::array::<32>());
        super::fill(&mut []);
    }
}
