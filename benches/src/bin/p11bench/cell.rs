//! How many callers call at once.

/// Threads of one process, or processes of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) processes: usize,
    pub(crate) threads: usize,
}

impl Cell {
    /// One caller.
    pub(crate) const ONE: Self = Self {
        processes: 1,
        threads: 1,
    };

    /// `t8`, `p8`; `p1` is `t1`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, count) = text.split_at_checked(1)?;
        let count = count.parse().ok().filter(|count| (1..=256).contains(count))?;
        match kind {
            "t" => Some(Self {
                threads: count,
                ..Self::ONE
            }),
            "p" => Some(Self {
                processes: count,
                ..Self::ONE
            }),
            _ => None,
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.processes > 1 {
            write!(f, "p{}", self.processes)
        } else {
            write!(f, "t{}", self.threads)
        }
    }
}
