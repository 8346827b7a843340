//! The table for the terminal: every row, every number of callers, every peer.

use std::fmt::Write;

use super::{number, ratio};
use crate::figures::{Figures, OURS, RAW, Report};

/// All figures; the ratio is ours to the peer's calls per second, so that one below 1 is a row that we lose.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = format!(
        "{:<23} {:>4}  {:<9} {:>10} {:>10} {:>10} {:>9}  ours/peer\n",
        "row", "cell", "peer", "calls/s", "p50 us", "p99 us", "CPU us"
    );
    for row in report.rows() {
        for cell in &report.cells {
            let ours = report.get(row.name, cell, OURS);
            for entry in report
                .entries
                .iter()
                .filter(|entry| entry.row == row.name && entry.cell == *cell)
            {
                let start = format!("{:<23} {cell:>4}  {:<9}", row.name, entry.peer);
                match (&entry.figures, &entry.error) {
                    (Some(figures), _) => line(
                        &mut text,
                        &start,
                        figures,
                        ours.filter(|_| entry.peer != OURS && entry.peer != RAW),
                    ),
                    (None, error) => {
                        _ = writeln!(text, "{start} {}", error.as_deref().unwrap_or("no figures"));
                    }
                }
            }
        }
    }
    for remark in &report.remarks {
        _ = writeln!(text, "{remark}");
    }
    for reference in report.references() {
        let Some((behind, all)) = behind(report, reference) else {
            continue;
        };
        let list = if behind.is_empty() {
            String::new()
        } else {
            format!(": {}", behind.join(", "))
        };
        _ = writeln!(text, "behind {reference} in {} of {all} cells{list}", behind.len());
    }
    text
}

fn line(text: &mut String, start: &str, figures: &Figures, ours: Option<&Figures>) {
    let ratio = ours.map_or(String::new(), |ours| {
        let value = ours.per_second / figures.per_second;
        format!("{:>9}{}", ratio(value), if value < 1.0 { "  <--" } else { "" })
    });
    let mut troubles = String::new();
    for (count, what) in [
        (figures.errors, "calls failed"),
        (figures.failed_attaches, "attaches repeated"),
    ] {
        if count > 0 {
            _ = write!(troubles, "  ({count} {what})");
        }
    }
    _ = writeln!(
        text,
        "{start} {:>10} {:>10} {:>10} {:>9}  {ratio}{troubles}",
        number(figures.per_second),
        number(figures.p50),
        number(figures.p99),
        number(figures.cpu)
    );
}

/// The cells in which we are behind the reference, worst first, and how many cells could be compared.
#[must_use]
pub(crate) fn behind(report: &Report, reference: &str) -> Option<(Vec<String>, usize)> {
    let mut all = Vec::new();
    for row in report.rows() {
        for cell in &report.cells {
            let ratio = report.ratio(row.name, cell, reference);
            all.extend(ratio.map(|value| (value, row.name, cell)));
        }
    }
    if all.is_empty() {
        return None;
    }
    let count = all.len();
    all.retain(|(value, ..)| *value < 1.0);
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let named = all
        .iter()
        .map(|(value, row, cell)| format!("{row} {cell} {}", ratio(*value)));
    Some((named.collect(), count))
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::page::example;

    #[test]
    fn a_row_that_we_lose_is_marked_and_errors_are_said() {
        let text = table(&example::run());
        let lost = text.lines().find(|line| line.contains("<--")).expect("a marked line");
        assert!(
            lost.contains("sign-p256") && lost.contains("t8") && lost.contains("0.99"),
            "{lost}"
        );
        assert!(text.contains("(2 calls failed)"), "{text}");
        assert!(text.contains("(3 attaches repeated)"), "{text}");
        assert!(text.contains("p11kit    CKR_MECHANISM_INVALID"), "{text}");
        assert!(
            text.ends_with("behind softhsm2 in 1 of 3 cells: sign-p256 t8 0.99\n"),
            "{text}"
        );
    }
}
