//! The section of `docs/performance.md` about KMS beside moto. It stands among the notes and is replaced as a whole.

use std::fmt::Write;

use super::{number, ratio, with_section};

/// Where the section begins.
const BEGIN: &str = "<!-- aws: made by `cargo xtask bench --aws --write-docs` -->\n";
/// Where it ends.
const END: &str = "<!-- end of aws -->\n";

const INTRODUCTION: &str = "\
## KMS beside moto

The same requests of boto3 over kept connections, by turns, in one run: `hsmd-aws`, which verifies each signature and has its keys in
a partition of the daemon, and moto in server mode, which verifies none and has them in its own memory.

";

/// What one measurement gave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Answers a second.
    pub per_second: f64,
    /// Median latency in microseconds.
    pub p50: f64,
    /// 99th percentile of the latency in microseconds.
    pub p99: f64,
}

/// One operation with one number of connections: ours first, moto second.
#[derive(Clone, Debug)]
pub struct Line {
    operation: String,
    connections: usize,
    figures: [Figures; 2],
}

impl Line {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(operation: &str, connections: usize) -> Self {
        Self {
            operation: operation.to_owned(),
            connections,
            figures: [Figures::default(); 2],
        }
    }

    /// Counts a round: the best is kept.
    pub fn add(&mut self, which: usize, figures: Figures) {
        if figures.per_second > self.figures[which].per_second {
            self.figures[which] = figures;
        }
    }

    /// The line of the table.
    #[must_use]
    pub fn text(&self) -> String {
        let [ours, moto] = self.figures;
        let three = |figures: Figures| [figures.per_second, figures.p50, figures.p99].map(number).join(" | ");
        format!(
            "| {} | {} | {} | {} | {} |",
            self.operation,
            self.connections,
            three(ours),
            three(moto),
            ratio(ours.per_second / moto.per_second)
        )
    }
}

/// The table.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let mut text = "\
| operation | connections | hsmd-aws, calls/s | p50 us | p99 us | moto, calls/s | p50 us | p99 us | ratio |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
"
    .to_owned();
    for line in lines {
        _ = writeln!(text, "{}", line.text());
    }
    text
}

/// The page with this section: in the place of the old one, or at the end.
#[must_use]
pub fn page(about: &str, table: &str, old: &str) -> String {
    let section = format!("{BEGIN}{INTRODUCTION}{about}\n\n{table}{END}");
    with_section(old, (BEGIN, END), &section)
}

#[cfg(test)]
mod tests {
    use super::{Figures, Line, page, table};

    #[test]
    fn the_best_round_counts_and_the_section_is_replaced() {
        let mut line = Line::new("Encrypt", 8);
        let figures = |per_second| Figures {
            per_second,
            p50: 10.0,
            p99: 20.0,
        };
        for (which, per_second) in [(0, 900.0), (0, 1_000.0), (1, 100.0)] {
            line.add(which, figures(per_second));
        }
        let text = table(&[line]);
        assert!(
            text.contains("| Encrypt | 8 | 1,000 | 10.0 | 20.0 | 100 | 10.0 | 20.0 | 10.00 |"),
            "{text}"
        );
        let first = page("one", &text, "# Page\n");
        let second = page("two", &text, &format!("{first}\nmore\n"));
        assert!(second.contains("two") && !second.contains("one.") && second.ends_with("more\n"));
        assert_eq!(second.matches("## KMS beside moto").count(), 1);
    }
}
