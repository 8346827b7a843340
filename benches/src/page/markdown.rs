//! The page `docs/performance.md`: what a run gave, then the notes that people write below it, which are kept.

use std::fmt::Write;

use super::{number, prose, ratio, text};
use crate::catalogue::{Row, Target};
use crate::figures::{Figures, OURS, P11KIT, RAW, Report};

/// What stands below this line of the page is kept as it is.
pub const NOTES: &str = "<!-- notes: what stands below this line is kept by hand -->";

const INTRODUCTION: &str = "\
# Performance

<!-- Made by `cargo xtask bench --compare-softhsm --write-docs` from the run in performance.json: do not edit above the
line \"notes\". -->

Ours against SoftHSM2 **in the application's process**, SoftHSM2 behind `p11-kit server`, and the primitive of aws-lc by
itself (*raw*), in one run on one machine. Every peer gets the same calls: Init and the operation, on sensitive token keys.
Peers take turns within each row; rounds are spread over the run; each figure is the best of its rounds. A warm-up comes
first. `t8` is one process with 8 threads, `p8` are 8 processes. CPU is the time of client and daemon together. Below 1 in
a table of ratios, or above a target, is marked ▼.
";

const METHOD_OF_OBJECTS: &str = "\
SoftHSM2's tokens with many objects are made from 100 objects whose files are copied (their labels repeat); ours holds as
many objects with a label each. With such tokens there are at most 2 rounds, with 100,000 objects one, without processes in parallel.
";

/// The page for this run with the notes of the old page.
#[must_use]
pub fn page(report: &Report, old: &str) -> String {
    let mut page = generated(report);
    let notes = old.split_once(NOTES).map_or("\n", |(_, notes)| notes);
    page.push_str(NOTES);
    page.push_str(notes);
    page
}

/// The part above the notes.
#[must_use]
pub fn generated(report: &Report) -> String {
    let mut page = format!("{INTRODUCTION}\n| | |\n|---|---|\n");
    for (name, value) in &report.about {
        _ = writeln!(page, "| {name} | {value} |");
    }
    for (number, reference) in report.references().enumerate() {
        ratios(&mut page, report, reference, number == 0);
    }
    one_caller(&mut page, report);
    targets(&mut page, report);
    cold_start(&mut page, report);
    remarks(&mut page, report);
    page
}

/// Ours to one peer, row by row; the plot is of the first.
fn ratios(page: &mut String, report: &Report, peer: &str, plotted: bool) {
    let Some((behind, all)) = text::behind(report, peer) else {
        return;
    };
    let reference = prose(peer);
    _ = write!(
        page,
        "\n## Calls per second, ours to {reference}\n\nAbove 1 we are faster. "
    );
    if behind.is_empty() {
        _ = writeln!(page, "Ahead in all {all} cells.");
    } else {
        let (count, list) = (behind.len(), behind.join(", "));
        _ = writeln!(page, "**Behind in {count} of {all} cells:** {list}.");
    }
    let cells = report.cells.join(" | ");
    let line = "---:|".repeat(report.cells.len());
    if plotted {
        _ = writeln!(
            page,
            "\n![Calls per second, ours to {reference}, on a logarithmic axis](performance.svg)"
        );
    }
    _ = write!(
        page,
        "\n| row | one call | {cells} | ours, calls/s t1 | {reference}, calls/s t1 |\n|---|---|{line}---:|---:|\n"
    );
    let compared = |row: &&Row| {
        let mut cells = report.cells.iter();
        cells.any(|cell| report.ratio(row.name, cell, peer).is_some())
    };
    for row in report.rows().filter(|row| plotted || compared(row)) {
        _ = write!(page, "| {} | {} |", row.name, row.what);
        for cell in &report.cells {
            _ = write!(
                page,
                " {} |",
                report.ratio(row.name, cell, peer).map_or("–".to_owned(), marked)
            );
        }
        let rate = |peer: &str| {
            report
                .get(row.name, "t1", peer)
                .map_or("–".to_owned(), |f| number(f.per_second))
        };
        _ = writeln!(page, " {} | {} |", rate(OURS), rate(peer));
    }
}

fn marked(value: f64) -> String {
    let shown = ratio(value);
    if value < 1.0 { format!("**{shown}** ▼") } else { shown }
}

/// What a row costs beyond raw: median and CPU, microseconds.
fn over_raw(report: &Report, row: &Row) -> Option<(f64, f64)> {
    let (ours, raw) = (report.get(row.name, "t1", OURS)?, report.get(row.name, "t1", RAW)?);
    Some((ours.p50 - raw.p50, ours.cpu - raw.cpu))
}

/// What a row may cost beyond raw.
fn allowed(row: &Row) -> Option<(f64, f64)> {
    let Target::Operation { kib } = row.target else {
        return None;
    };
    let data = (kib - 4.0).max(0.0) / 2.0;
    Some((15.0 + data, 12.0 + data))
}

fn one_caller(page: &mut String, report: &Report) {
    let reference = report.reference().unwrap_or_default();
    let mut peers = vec![reference];
    if reference != P11KIT && report.peers.iter().any(|peer| peer == P11KIT) {
        peers.push(P11KIT);
    }
    peers.retain(|peer| !peer.is_empty());
    page.push_str("\n## One caller: microseconds of a call\n\n| row | ours p50 | p99 | CPU | raw p50 | CPU | over raw p50 | CPU |");
    for peer in &peers {
        _ = write!(page, " {} p50 | p99 | CPU |", prose(peer));
    }
    _ = writeln!(page, "\n|---|{}", "---:|".repeat(7 + 3 * peers.len()));
    let three = |figures: Option<&Figures>| match figures {
        Some(figures) => format!(
            " {} | {} | {} |",
            number(figures.p50),
            number(figures.p99),
            number(figures.cpu)
        ),
        None => " – | – | – |".to_owned(),
    };
    for row in report.rows() {
        _ = write!(page, "| {} |{}", row.name, three(report.get(row.name, "t1", OURS)));
        match (report.get(row.name, "t1", RAW), over_raw(report, row)) {
            (Some(raw), Some((p50, cpu))) => {
                let (most, most_cpu) = allowed(row).unwrap_or((f64::INFINITY, f64::INFINITY));
                let over = |value: f64, most: f64| {
                    let shown = number(value);
                    if value > most {
                        format!("**{shown}** ▼")
                    } else {
                        shown
                    }
                };
                let (p50, cpu) = (over(p50, most), over(cpu, most_cpu));
                _ = write!(page, " {} | {} | {p50} | {cpu} |", number(raw.p50), number(raw.cpu));
            }
            _ => page.push_str(" – | – | – | – |"),
        }
        for peer in &peers {
            page.push_str(&three(report.get(row.name, "t1", peer)));
        }
        page.push('\n');
    }
    page.push_str(
        "\nOperations with a key may take 15 us and 12 us of CPU more than raw, and 0.5 us more for each KiB above 4 KiB.\n",
    );
}

fn targets(page: &mut String, report: &Report) {
    let mut lines = String::new();
    for row in report.rows() {
        let one = report.get(row.name, "t1", OURS);
        match row.target {
            Target::Local => bound(&mut lines, row, "p50 t1", one.map(|f| f.p50), 1.0),
            Target::Search => bound(&mut lines, row, "p50 t1", one.map(|f| f.p50), 15.0),
            Target::Durable => {
                let Some(rate) = report.get(row.name, "t32", OURS).map(|f| f.per_second) else {
                    continue;
                };
                let met = if rate > 2000.0 { "yes" } else { "**no** ▼" };
                _ = writeln!(
                    lines,
                    "| {} | over 2,000/s with 32 threads | {}/s | {met} |",
                    row.name,
                    number(rate)
                );
            }
            Target::Operation { .. } | Target::Faster => {}
        }
    }
    if !lines.is_empty() {
        _ = write!(
            page,
            "\n## Other targets\n\n| row | target | measured | met |\n|---|---|---:|---|\n{lines}"
        );
    }
}

fn bound(lines: &mut String, row: &Row, what: &str, measured: Option<f64>, most: f64) {
    if let Some(measured) = measured {
        let met = if measured <= most { "yes" } else { "**no** ▼" };
        _ = writeln!(
            lines,
            "| {} | {what} at most {most} us | {} us | {met} |",
            row.name,
            number(measured)
        );
    }
}

fn cold_start(page: &mut String, report: &Report) {
    for row in report.rows().filter(|row| row.name.starts_with("cold-start")) {
        let runs: Vec<_> = report
            .peers
            .iter()
            .filter_map(|peer| report.get(row.name, "t1", peer).map(|figures| (prose(peer), figures)))
            .collect();
        if runs.is_empty() {
            continue;
        }
        let stages = [
            "dlopen",
            "C_Initialize",
            "slot and session",
            "C_Login",
            "first find",
            "first signature",
            "total",
        ];
        _ = write!(
            page,
            "\n## {}: {}\n\nMedians in microseconds.\n\n| |",
            row.name, row.what
        );
        for stage in stages {
            _ = write!(page, " {stage} |");
        }
        _ = writeln!(page, "\n|---|{}", "---:|".repeat(stages.len()));
        for (peer, figures) in runs {
            _ = write!(page, "| {peer} |");
            for stage in stages {
                _ = write!(
                    page,
                    " {} |",
                    figures.stages.get(stage).map_or("–".to_owned(), |time| number(*time))
                );
            }
            page.push('\n');
        }
    }
}

fn remarks(page: &mut String, report: &Report) {
    page.push_str("\n## Remarks on the run\n\n");
    if report.rows().any(|row| row.objects > 0) {
        _ = writeln!(page, "- {}", METHOD_OF_OBJECTS.trim_end().replace('\n', "\n  "));
    }
    for remark in &report.remarks {
        _ = writeln!(page, "- {remark}");
    }
    for peer in &report.peers {
        let entries = || report.entries.iter().filter(|entry| entry.peer == *peer);
        let errors: u64 = entries()
            .filter_map(|entry| entry.figures.as_ref())
            .map(|f| f.errors)
            .sum();
        let attaches: u64 = entries()
            .filter_map(|entry| entry.figures.as_ref())
            .map(|f| f.failed_attaches)
            .sum();
        if errors + attaches > 0 {
            _ = writeln!(
                page,
                "- {}: {errors} calls failed; {attaches} processes could not attach and were repeated.",
                prose(peer)
            );
        }
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for entry in entries() {
            let Some(error) = entry.error.as_deref() else { continue };
            match reasons.iter_mut().find(|(reason, _)| *reason == error) {
                Some((_, rows)) if rows.contains(&entry.row.as_str()) => {}
                Some((_, rows)) => rows.push(&entry.row),
                None => reasons.push((error, vec![&entry.row])),
            }
        }
        for (reason, rows) in reasons {
            _ = writeln!(page, "- {}: {reason} in {}.", prose(peer), rows.join(", "));
        }
    }
    page.push_str("\nAll figures: [performance.json](performance.json).\n\n");
}

#[cfg(test)]
mod tests {
    use super::{NOTES, generated, page};
    use crate::figures::Report;
    use crate::page::example;

    #[test]
    fn the_page_marks_what_is_behind_and_what_misses_its_target() {
        let page = generated(&example::run());
        for line in [
            "| date | 2026-01-02 03:04 UTC |",
            "Above 1 we are faster. **Behind in 1 of 3 cells:** sign-p256 t8 0.99.",
            "![Calls per second, ours to SoftHSM2, on a logarithmic axis](performance.svg)",
            "| row | one call | t1 | t8 | ours, calls/s t1 | SoftHSM2, calls/s t1 |",
            "| sign-p256 | ECDSA P-256 signature of a digest | 1.25 | **0.99** ▼ | 25,000 | 20,000 |",
            "| sign-p256 | 40.0 | 60.0 | 30.0 | 20.0 | 21.0 | **20.0** ▼ | 9.00 | 45.0 | 70.0 | 46.0 | – | – | – |",
            "| find-10 | p50 t1 at most 15 us | 14.0 us | yes |",
            "- hsmd: 10000 of 10000 objects created by 32 threads in 2.0 s",
            "- SoftHSM2: 0 calls failed; 3 processes could not attach and were repeated.",
            "- p11-kit: CKR_MECHANISM_INVALID in sign-p256.",
        ] {
            assert!(page.lines().any(|other| other == line), "{line}\n---\n{page}");
        }
    }

    #[test]
    fn every_table_has_as_many_cells_in_each_line() {
        let page = generated(&example::run());
        let mut width = None;
        for line in page.lines() {
            let cells = line.starts_with('|').then(|| line.matches('|').count());
            if let (Some(before), Some(now)) = (width, cells) {
                assert_eq!(before, now, "{line}");
            }
            width = cells;
        }
    }

    #[test]
    fn notes_outlive_a_new_run() {
        let run = example::run();
        let first = page(&run, "an old page without the line");
        assert!(first.ends_with(&format!("{NOTES}\n")));
        let second = page(&run, &format!("old\n{NOTES}\n\n## By hand\n"));
        assert_eq!(second, first.trim_end().to_owned() + "\n\n## By hand\n");
    }

    #[test]
    fn the_page_in_the_tree_is_what_its_figures_give() {
        let run: Report = serde_json::from_str(include_str!("../../../docs/performance.json")).expect("a run");
        let written = include_str!("../../../docs/performance.md");
        assert!(
            page(&run, written) == written,
            "docs/performance.md was edited above its notes: cargo xtask bench --render docs/performance.json --write-docs"
        );
        assert!(crate::page::svg::plot(&run) == include_str!("../../../docs/performance.svg"));
    }
}
