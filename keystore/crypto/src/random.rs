//! Random bytes, of two sources. Identifiers, nonces, salts and what an application draws in its own process come from the
//! operating system: `getrandom(2)` is seeded before it answers, has no state in this process that a `fork` or a snapshot could
//! double, and costs 0.3 us for 32 bytes. Keys come from the engine ([`generator`]). The first use of aws-lc's DRBG in a process takes
//! some 30 ms of processor time, because it gathers entropy of its own from the processor's jitter; the module never pays that.

use crate::engine;

/// Fills `out` with random bytes of the operating system.
///
/// # Panics
/// Where the system call is forbidden (a sandbox of the host application) [`generator`] serves; see there.
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

/// Fills `out` from the engine's generator: for keys, and for what the daemon draws for applications. Of aws-lc it is a
/// CTR_DRBG (SP 800-90A), one state per thread, aware of `fork` and of virtual-machine snapshots; `portable` asks the operating
/// system each time.
///
/// # Panics
/// Never with aws-lc, which without entropy blocks or ends the process instead of reporting an error. With `portable` where the
/// operating system refuses random bytes: a key without them must not be.
pub fn generator(out: &mut [u8]) {
    engine::draw(out);
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
