//! Random bytes, of two sources. Identifiers, nonces, salts and what an application draws in its own process come from the
//! operating system: `getrandom(2)` is seeded before it answers, has no state in this process that a `fork` or a snapshot could
//! double, and costs 0.3 us for 32 bytes. Keys come from aws-lc's DRBG ([`generator`]), whose first use in a process takes some
//! 30 ms of processor time, because it gathers entropy of its own from the processor's jitter; the module never pays that.

/// Fills `out` with random bytes of the operating system.
///
/// # Panics
/// Never: where the system call is forbidden (a sandbox of the host application) the DRBG of [`generator`] serves.
pub fn fill(out: &mut [u8]) {
    if getrandom::fill(out).is_err() {
        generator(out);
    }
}

/// `N` random bytes that are no secret: nonces, identifiers. Secrets come from `Secret::random`.
#[must_use]
pub fn array<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

/// Fills `out` from aws-lc's CTR_DRBG (SP 800-90A): for keys, and for what the daemon draws for applications. One state per
/// thread, aware of `fork` and of virtual-machine snapshots; seeded from the processor's jitter and the operating system.
///
/// # Panics
/// Never: without entropy aws-lc blocks or ends the process instead of reporting an error.
pub fn generator(out: &mut [u8]) {
    #[expect(
        clippy::expect_used,
        reason = "RAND_bytes of aws-lc has no failing return (openssl/rand.h)"
    )]
    aws_lc_rs::rand::fill(out).expect("aws-lc gives random bytes");
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::array::<32>(), super::array::<32>());
        super::fill(&mut []);
        let mut drawn = [[0; 32]; 2];
        drawn.iter_mut().for_each(|out| super::generator(out));
        assert!(drawn[0] != drawn[1] && drawn[0] != [0; 32]);
    }
}
