//! The section of `docs/performance.md` about mutual TLS beside the Unix socket. It stands among the notes and is replaced as
//! a whole; the rest of the page is of another run.

use std::fmt::Write;

use super::{number, with_section};
use crate::catalogue::{Row, Target};
use crate::figures::{Figures, OURS, Report, TLS};

/// Where the section begins.
const BEGIN: &str = "<!-- tls: made by `cargo xtask bench --compare-tls --write-docs` from performance-tls.json -->\n";
/// Where it ends.
const END: &str = "<!-- end of tls -->\n";
/// What mutual TLS may cost beside the Unix socket, microseconds of a call; data beyond 4 KiB is encrypted and decrypted twice.
fn most(row: &Row) -> f64 {
    match row.target {
        Target::Operation { kib } => 15.0 + (kib - 4.0).max(0.0) / 2.0,
        _ => 15.0,
    }
}

const INTRODUCTION: &str = "\
## Mutual TLS beside the Unix socket

The same daemon and module, on the Unix socket and over TLS 1.3 with client certificates on the loopback, taking turns in one
run. A real network adds its own round trip. The target for one caller is at most 15 us on top, and 0.5 us for each KiB above
4 KiB; what is above is marked ▼.

";

/// The page with this section: in the place of the old one, or at the end.
#[must_use]
pub fn page(report: &Report, old: &str) -> String {
    with_section(old, (BEGIN, END), &section(report))
}

fn section(report: &Report) -> String {
    let mut text = format!("{BEGIN}{INTRODUCTION}");
    let about: Vec<String> = report
        .about
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    _ = writeln!(text, "{}.\n", about.join("; "));
    text.push_str(&table(report));
    for remark in &report.remarks {
        _ = writeln!(text, "\n{remark}");
    }
    text.push_str(END);
    text
}

/// The table: for each row and number of callers, both, and what is on top.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = "\
| row | callers | socket, calls/s | TLS, calls/s | socket p50 us | TLS p50 us | on top | socket CPU us | TLS CPU us | on top |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
"
    .to_owned();
    for row in report.rows() {
        for cell in &report.cells {
            let (Some(socket), Some(tls)) = (report.get(row.name, cell, OURS), report.get(row.name, cell, TLS)) else {
                continue;
            };
            let top = tls.p50 - socket.p50;
            let marked = if cell == "t1" && top > most(row) {
                format!("**{}** ▼", number(top))
            } else {
                number(top)
            };
            let pair = |of: fn(&Figures) -> f64| format!("{} | {}", number(of(socket)), number(of(tls)));
            _ = writeln!(
                text,
                "| {} | {cell} | {} | {} | {marked} | {} | {} |",
                row.name,
                pair(|figures| figures.per_second),
                pair(|figures| figures.p50),
                pair(|figures| figures.cpu),
                number(tls.cpu - socket.cpu)
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{page, table};
    use crate::figures::{Figures, OURS, Report, TLS};

    fn run(tls: f64) -> Report {
        let mut report = Report {
            about: vec![("date".into(), "2026-01-02".into())],
            cells: vec!["t1".into(), "t8".into()],
            ..Report::default()
        };
        for (peer, p50) in [(OURS, 20.0), (TLS, tls)] {
            for cell in ["t1", "t8"] {
                let figures = Figures {
                    per_second: 1e6 / p50,
                    p50,
                    cpu: p50 / 2.0,
                    ..Figures::default()
                };
                report.add("sign-p256", cell, peer, Ok(figures));
            }
        }
        report
    }

    #[test]
    fn what_is_on_top_is_marked_when_it_is_too_much_for_one_caller() {
        let lines = table(&run(30.0));
        assert!(
            lines.contains("| sign-p256 | t1 | 50,000 | 33,333 | 20.0 | 30.0 | 10.0 | 10.0 | 15.0 | 5.00 |"),
            "{lines}"
        );
        let lines = table(&run(40.0));
        assert_eq!(lines.matches('▼').count(), 1, "{lines}");
    }

    #[test]
    fn the_section_is_replaced_and_the_rest_of_the_page_is_kept() {
        let first = page(&run(30.0), "# Page\n\nnotes\n");
        assert!(first.starts_with("# Page\n\nnotes\n\n<!-- tls") && first.contains("date: 2026-01-02."));
        let second = page(&run(40.0), &format!("{first}\nmore\n"));
        assert_eq!(second.matches("## Mutual TLS").count(), 1);
        assert!(second.ends_with("<!-- end of tls -->\n\nmore\n") && second.contains('▼'));
    }
}
