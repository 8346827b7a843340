//! Random bytes from aws-lc's DRBG (CTR_DRBG, SP 800-90A): seeded by the kernel, one state per thread, aware of `fork`
//! and of virtual-machine snapshots.

/// Fills `out` with random bytes.
///
/// # Panics
/// Never: without kernel entropy aws-lc blocks or ends the process instead of reporting an error.
pub fn fill(out: &mut [u8]) {
    #[expect(
        clippy::expect_used,
        reason = "RAND_bytes of aws-lc has no failing return (openssl/rand.h)"
    )]
    aws_lc_rs::rand::fill(out).expect("aws-lc gives random bytes");
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
