//! The run: rounds outermost, then callers, then rows, and within a row all peers in turn, so that a busy minute of the
//! machine hits one round of everybody and not one row of somebody.

use std::time::Instant;

use hsmd_benches::catalogue::{Callers, Row};
use hsmd_benches::figures::{KRYOPTIC, NO_PRIMITIVE, OURS, P11KIT, RAW, Report, SOFTHSM, TLS};

use crate::cell::Cell;
use crate::machine;
use crate::options::Options;
use crate::peer::Peer;
use crate::softhsm;

/// Measures everything that the options name.
pub(crate) fn run(options: &Options) -> Result<Report, String> {
    if let Some(sentence) = options.peers.iter().find_map(|peer| softhsm::missing(peer)) {
        return Err(sentence);
    }
    let start = Instant::now();
    let mut report = Report {
        about: machine::about(options),
        peers: options.peers.clone(),
        cells: options.cells.iter().map(Cell::to_string).collect(),
        ..Report::default()
    };
    report
        .peers
        .extend(options.foreign.iter().map(|(name, _)| name.clone()));
    let load = machine::load();
    if load > machine::processors() as f64 / 4.0 {
        report.remarks.push(format!(
            "The machine was not idle when the run started (load {load:.2}): read the figures with care."
        ));
    }
    let mut fillings: Vec<usize> = options.rows.iter().map(|row| row.objects).collect();
    fillings.sort_unstable();
    fillings.dedup();
    for objects in fillings {
        filling(options, objects, &mut report, start)?;
    }
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    report.about.push(("took".to_owned(), format!("{minutes:.1} minutes")));
    Ok(report)
}

/// All rows at tokens of one size.
fn filling(options: &Options, objects: usize, report: &mut Report, start: Instant) -> Result<(), String> {
    let mut peers = Vec::new();
    for name in options.peers.iter().filter(|name| has(name, objects)) {
        eprintln!(
            "{:>4} s: starting {name} with {objects} objects",
            start.elapsed().as_secs()
        );
        let (peer, remark) = Peer::start(name, objects, options.kryoptic.as_deref())?;
        report.remarks.extend(remark);
        peers.push(peer);
    }
    if objects == 0
        && let Some((name, what)) = &options.foreign
    {
        peers.push(Peer::foreign(name.clone(), what.clone())?);
    }
    let rows: Vec<&Row> = options
        .rows
        .iter()
        .copied()
        .filter(|row| row.objects == objects)
        .collect();
    // Each process of SoftHSM2 reads all objects before its first call: seconds for 10,000, half a minute for 100,000.
    let rounds = match objects {
        0 => options.rounds,
        1..=10_000 => options.rounds.min(2),
        _ => 1,
    };
    for round in 1..=rounds {
        for cell in &options.cells {
            let rows: Vec<&&Row> = rows.iter().filter(|row| applies(row, *cell)).collect();
            if rows.is_empty() {
                continue;
            }
            let seconds = start.elapsed().as_secs();
            eprintln!(
                "{seconds:>4} s: {objects} objects, round {round} of {rounds}, {cell}: {} rows",
                rows.len()
            );
            for row in rows {
                for peer in peers.iter_mut().filter(|peer| peer.name() != RAW || *cell == Cell::ONE) {
                    let figures = peer.measure(row.name, *cell, options.length);
                    if !figures.as_ref().is_err_and(|error| error == NO_PRIMITIVE) {
                        report.add(row.name, &cell.to_string(), peer.name(), figures);
                    }
                }
            }
            peers.iter_mut().for_each(Peer::rest);
        }
    }
    Ok(())
}

/// Whether a peer is measured with so full a token.
fn has(peer: &str, objects: usize) -> bool {
    match peer {
        OURS | SOFTHSM => true,
        // Behind p11-kit it is the same SoftHSM2, which reads all objects once more for each connection.
        // kryoptic reads its whole database for each search, and each create is many writes: filling it takes too long here.
        P11KIT | RAW | TLS | KRYOPTIC => objects == 0,
        _ => false,
    }
}

fn applies(row: &Row, cell: Cell) -> bool {
    let callers = match row.callers {
        Callers::Any => true,
        Callers::OneThread => cell.threads == 1,
        Callers::One => cell == Cell::ONE,
    };
    // Eight SoftHSM2 processes with 100,000 objects take 8 GiB and minutes to start.
    callers && (row.objects <= 10_000 || cell.processes == 1 && cell.threads <= 8)
}
