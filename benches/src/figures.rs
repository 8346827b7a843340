//! What a run measured, as the JSON file holds it; the tables are made from this alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One row at one number of callers with one peer: the best of its rounds, each figure by itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Calls per second of all callers together, in the best round.
    pub per_second: f64,
    /// Lowest median, microseconds.
    pub p50: f64,
    /// Lowest 99th percentile, microseconds.
    pub p99: f64,
    /// Lowest CPU time per call, microseconds, client and server together.
    pub cpu: f64,
    /// Calls that succeeded, over all rounds.
    pub calls: u64,
    /// Calls that failed, over all rounds; they are in no other figure.
    pub errors: u64,
    /// Processes that could not attach and were started again.
    pub failed_attaches: u64,
    /// Calls per second of each round, in order: how far they differ.
    pub rounds: Vec<f64>,
    /// Median microseconds of the stages of a cold start.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<String, f64>,
}

/// One line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The row's name.
    pub row: String,
    /// `t8`: one process with eight threads; `p8`: eight processes.
    pub cell: String,
    /// Who was called.
    pub peer: String,
    /// What it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
    /// Why there are no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Machine, versions and method: name and value, in order.
    pub about: Vec<(String, String)>,
    /// Peers in the order of the tables; ours is `hsmd`, the primitive alone `raw`.
    pub peers: Vec<String>,
    /// Cells in the order of the tables.
    pub cells: Vec<String>,
    /// What a reader has to know of this run: load, rows that were cut short.
    pub remarks: Vec<String>,
    /// All figures.
    pub entries: Vec<Entry>,
}

/// Ours.
pub const OURS: &str = "hsmd";
/// Ours over mutual TLS, on the loopback.
pub const TLS: &str = "hsmd-tls";
/// The primitive of aws-lc, called by itself.
pub const RAW: &str = "raw";
/// The error of a row that raw does not have.
pub const NO_PRIMITIVE: &str = "no primitive";
/// SoftHSM2 in the application's process.
pub const SOFTHSM: &str = "softhsm2";
/// SoftHSM2 behind `p11-kit server`.
pub const P11KIT: &str = "p11kit";
/// kryoptic in the application's process.
pub const KRYOPTIC: &str = "kryoptic";

impl Report {
    /// The file: JSON with a line for each entry, so that a new run is a readable difference.
    ///
    /// # Errors
    /// None that a report can cause; serde's type is passed on.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let head = serde_json::to_string_pretty(&Self {
            entries: Vec::new(),
            ..self.clone()
        })?;
        let entries: Result<Vec<String>, _> = self.entries.iter().map(serde_json::to_string).collect();
        let entries = entries?.join(",\n    ");
        let (start, _) = head.rsplit_once("[]").unwrap_or((&head, ""));
        Ok(format!("{start}[\n    {entries}\n  ]\n}}\n"))
    }

    /// The figures of a cell, if there are any.
    #[must_use]
    pub fn get(&self, row: &str, cell: &str, peer: &str) -> Option<&Figures> {
        self.entry(row, cell, peer).and_then(|entry| entry.figures.as_ref())
    }

    fn entry(&self, row: &str, cell: &str, peer: &str) -> Option<&Entry> {
        let same = |entry: &&Entry| entry.row == row && entry.cell == cell && entry.peer == peer;
        self.entries.iter().find(same)
    }

    /// Adds a round: each figure keeps its best, counts add up. An error counts only while no round succeeded.
    pub fn add(&mut self, row: &str, cell: &str, peer: &str, round: Result<Figures, String>) {
        let same = |entry: &Entry| entry.row == row && entry.cell == cell && entry.peer == peer;
        let position = self.entries.iter().position(same).unwrap_or_else(|| {
            self.entries.push(Entry {
                row: row.to_owned(),
                cell: cell.to_owned(),
                peer: peer.to_owned(),
                figures: None,
                error: None,
            });
            self.entries.len() - 1
        });
        let entry = &mut self.entries[position];
        match (round, &mut entry.figures) {
            (Ok(new), Some(best)) => best.merge(new),
            (Ok(new), none) => {
                *none = Some(new);
                entry.error = None;
            }
            (Err(_), Some(_)) => {}
            (Err(error), None) => entry.error = Some(error),
        }
    }

    /// Whom ours is compared with: SoftHSM2 in process, or else the first module that is neither ours nor raw.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        let others = || {
            self.peers
                .iter()
                .map(String::as_str)
                .filter(|peer| ![OURS, RAW].contains(peer))
        };
        others().find(|peer| *peer == SOFTHSM).or_else(|| others().next())
    }

    /// The reference, and kryoptic where it was measured beside it: those that each get a table of ratios.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        let first = self.reference();
        let second = self.peers.iter().map(String::as_str).find(|peer| *peer == KRYOPTIC);
        first.into_iter().chain(second.filter(|second| first != Some(*second)))
    }

    /// Calls per second of ours to those of the peer; above 1 we are faster.
    #[must_use]
    pub fn ratio(&self, row: &str, cell: &str, peer: &str) -> Option<f64> {
        let theirs = self.get(row, cell, peer)?.per_second;
        Some(self.get(row, cell, OURS)?.per_second / theirs)
    }

    /// The rows that were measured, in the catalogue's order.
    pub fn rows(&self) -> impl Iterator<Item = &'static crate::catalogue::Row> {
        crate::catalogue::ROWS
            .iter()
            .filter(|row| self.entries.iter().any(|entry| entry.row == row.name))
    }
}

impl Figures {
    fn merge(&mut self, new: Self) {
        self.per_second = self.per_second.max(new.per_second);
        self.p50 = self.p50.min(new.p50);
        self.p99 = self.p99.min(new.p99);
        self.cpu = self.cpu.min(new.cpu);
        self.calls += new.calls;
        self.errors += new.errors;
        self.failed_attaches += new.failed_attaches;
        self.rounds.extend(new.rounds);
        for (name, microseconds) in new.stages {
            let best = self.stages.entry(name).or_insert(microseconds);
            *best = best.min(microseconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Figures, OURS, Report, SOFTHSM};

    fn round(per_second: f64, p50: f64) -> Result<Figures, String> {
        Ok(Figures {
            per_second,
            p50,
            calls: 5,
            rounds: vec![per_second],
            ..Figures::default()
        })
    }

    #[test]
    fn each_figure_keeps_its_best_round() {
        let mut report = Report {
            peers: vec![OURS.to_owned(), SOFTHSM.to_owned()],
            ..Report::default()
        };
        report.add("sign-p256", "t1", OURS, Err("busy".to_owned()));
        report.add("sign-p256", "t1", OURS, round(10.0, 3.0));
        report.add("sign-p256", "t1", OURS, round(8.0, 2.0));
        report.add("sign-p256", "t1", OURS, Err("busy".to_owned()));
        report.add("sign-p256", "t1", SOFTHSM, round(5.0, 9.0));
        let best = report.get("sign-p256", "t1", OURS).expect("figures");
        assert_eq!((best.per_second, best.p50, best.calls), (10.0, 2.0, 10));
        assert_eq!(best.rounds, [10.0, 8.0]);
        assert_eq!(report.entries.len(), 2);
        assert!(report.entries.iter().all(|entry| entry.error.is_none()));
        assert_eq!(report.ratio("sign-p256", "t1", SOFTHSM), Some(2.0));
        let read: Report = serde_json::from_str(&report.to_json().expect("JSON")).expect("a report");
        assert_eq!(read.ratio("sign-p256", "t1", SOFTHSM), Some(2.0));
        assert_eq!(read.peers, report.peers);
    }
}
