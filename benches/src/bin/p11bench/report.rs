//! The table: the best round of each cell, and the ratio to SoftHSM2.

use std::collections::BTreeMap;

use crate::Cell;
use crate::peer::Figures;

/// All rounds so far, reduced to the best of each cell.
#[derive(Default)]
pub(crate) struct Table {
    best: BTreeMap<(String, String, &'static str), Result<Figures, String>>,
    header: bool,
}

impl Table {
    /// Adds one round: highest rate, lowest p50, p99 and CPU count, each by itself.
    pub(crate) fn add(&mut self, row: &str, cell: Cell, peer: &'static str, figures: Result<Figures, String>) {
        let entry = self.best.entry((row.to_owned(), cell.to_string(), peer));
        match (entry.or_insert_with(|| figures.clone()), figures) {
            (Ok(best), Ok(new)) => {
                best.per_second = best.per_second.max(new.per_second);
                best.p50 = best.p50.min(new.p50);
                best.p99 = best.p99.min(new.p99);
                best.cpu = best.cpu.min(new.cpu);
            }
            (best @ Err(_), new @ Ok(_)) => *best = new,
            _ => {}
        }
    }

    /// Prints the finished cell.
    pub(crate) fn print_line(&mut self, row: &str, cell: Cell, peers: &[&'static str]) {
        if !std::mem::replace(&mut self.header, true) {
            println!(
                "{:<20} {:>4}  {:<9} {:>10} {:>10} {:>10} {:>9}  ratio",
                "row", "cell", "peer", "calls/s", "p50 us", "p99 us", "CPU us"
            );
        }
        let cell = cell.to_string();
        let get = |peer: &'static str| self.best.get(&(row.to_owned(), cell.clone(), peer));
        let reference = get("softhsm2")
            .and_then(|figures| figures.as_ref().ok())
            .map(|figures| figures.per_second);
        for peer in peers {
            match get(peer) {
                Some(Ok(figures)) => {
                    let ratio = reference.map_or(String::new(), |reference| {
                        format!("{:.2}", figures.per_second / reference)
                    });
                    println!(
                        "{row:<20} {cell:>4}  {peer:<9} {:>10.0} {:>10.1} {:>10.1} {:>9.1}  {ratio}",
                        figures.per_second, figures.p50, figures.p99, figures.cpu
                    );
                }
                Some(Err(error)) => println!("{row:<20} {cell:>4}  {peer:<9} {}", error.trim()),
                None => {}
            }
        }
    }

    /// All figures.
    pub(crate) fn json(&self) -> String {
        let cells = self.best.iter().map(|((row, cell, peer), figures)| match figures {
            Ok(figures) => serde_json::json!({
                "row": row, "cell": cell, "peer": peer, "calls_per_second": figures.per_second,
                "p50_us": figures.p50, "p99_us": figures.p99, "cpu_us": figures.cpu,
            }),
            Err(error) => serde_json::json!({ "row": row, "cell": cell, "peer": peer, "error": error }),
        });
        serde_json::Value::from_iter(cells).to_string()
    }
}
