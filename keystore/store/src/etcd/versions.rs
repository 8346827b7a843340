//! Versions of etcd with known faults: which are warned of, and which are refused.

/// What is known of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Good,
    /// It works, with this fault.
    Faulty(&'static str),
    /// It can lose or mix up data.
    Refused(&'static str),
}

/// Looks a version up, such as `3.4.23`.
pub(crate) fn judge(version: &str) -> Verdict {
    let mut numbers = version
        .split(['.', '-', '+'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (major, minor, patch) = (next(), next(), next());
    match (major, minor, patch) {
        (0..=2, ..) | (3, 0..=3, _) => Verdict::Refused("it is older than 3.4"),
        // etcd's own post-mortem of the v3.5 data inconsistency (issues 13766, 13838).
        (3, 5, 0..=2) => {
            Verdict::Refused("members may come to hold different data after a crash; upgrade to 3.5.3 or later")
        }
        // Issues 15247 and 15220; the store uses neither leases nor requested progress, other users of this etcd may.
        (3, 4, 0..=28) => Verdict::Faulty(
            "before 3.4.29 an old leader may end leases that a new one has renewed, and progress of watches may be told out \
             of step; the store relies on neither",
        ),
        (3, 5, 3..=7) => {
            Verdict::Faulty("before 3.5.8 progress of watches may be told out of step; the store does not rely on it")
        }
        _ => Verdict::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_faults_are_named() {
        assert!(matches!(judge("3.4.23"), Verdict::Faulty(_)));
        assert!(matches!(judge("3.5.1"), Verdict::Refused(_)));
        assert!(matches!(judge("3.5.7"), Verdict::Faulty(_)));
        assert!(matches!(judge("3.3.27"), Verdict::Refused(_)));
        for good in ["3.4.29", "3.4.37", "3.5.21", "3.6.0", "3.6.0-rc.1", "4.0.0"] {
            assert_eq!(judge(good), Verdict::Good, "{good}");
        }
    }
}
