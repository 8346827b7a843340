//! Compares PKCS#11 modules on one machine in one run: ours, SoftHSM2 in process, SoftHSM2 behind `p11-kit server`.
//!
//! `p11bench --help` shows the options. The same binary is the worker process that loads a module and calls it; the parent
//! only starts workers, adds up CPU time of client and server, and writes the table.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a program for a developer's terminal"
)]

mod peer;
mod report;
mod rows;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
Compares PKCS#11 modules: ours against SoftHSM2 (Debian package softhsm2) and SoftHSM2 behind p11-kit (p11-kit).

Usage: HSMD_BIN_DIR=target/release p11bench [OPTIONS]

  --peers LIST     of hsmd,softhsm2,p11kit             (default: all three)
  --rows LIST      names as in the table               (default: all)
  --cells LIST     threads or processes, as t1,t8,p8   (default: t1,t8,t32,p8)
  --seconds S      per cell and round                  (default: 1)
  --rounds N       the best round counts               (default: 3)
  --json FILE      also write the figures as JSON
  --module PATH --pin PIN --token LABEL   measure any one module instead

Example: p11bench --rows sign-p256,random-32 --cells t1,t8 --rounds 5
";

struct Arguments {
    peers: Vec<String>,
    rows: Vec<String>,
    cells: Vec<Cell>,
    seconds: f64,
    rounds: usize,
    json: Option<String>,
    other: Option<(String, String, String)>,
}

/// How many callers at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) processes: usize,
    pub(crate) threads: usize,
}

impl Cell {
    fn parse(text: &str) -> Option<Self> {
        let (kind, count) = text.split_at_checked(1)?;
        let count = count.parse().ok().filter(|count| (1..=256).contains(count))?;
        match kind {
            "t" => Some(Self {
                processes: 1,
                threads: count,
            }),
            "p" => Some(Self {
                processes: count,
                threads: 1,
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

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let cells = |text: String| -> Result<Vec<Cell>, String> {
        text.split(',')
            .map(|word| Cell::parse(word).ok_or(format!("--cells: {word}: t1 or p8, say")))
            .collect()
    };
    let mut arguments = Arguments {
        peers: list("hsmd,softhsm2,p11kit".to_owned()),
        rows: rows::names(),
        cells: cells("t1,t8,t32,p8".to_owned())?,
        seconds: 1.0,
        rounds: 3,
        json: None,
        other: None,
    };
    let (mut module, mut pin, mut token) = (None, None, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--peers" => arguments.peers = list(value()?),
            "--rows" => arguments.rows = list(value()?),
            "--cells" => arguments.cells = cells(value()?)?,
            "--seconds" => arguments.seconds = value()?.parse().map_err(|_| "--seconds: a number")?,
            "--rounds" => arguments.rounds = value()?.parse().map_err(|_| "--rounds: a number")?,
            "--json" => arguments.json = Some(value()?),
            "--module" => module = Some(value()?),
            "--pin" => pin = Some(value()?),
            "--token" => token = Some(value()?),
            other => return Err(format!("{other}: no such option\n\n{HELP}")),
        }
    }
    if let Some(module) = module {
        arguments.other = Some((
            module,
            pin.ok_or("--module needs --pin")?,
            token.ok_or("--module needs --token")?,
        ));
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    match words.peek().map(String::as_str) {
        Some("worker") => return worker::run(words.skip(1)),
        Some("--help" | "-h") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    match parse(words).and_then(|arguments| compare(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("p11bench: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// All peers in turn within each round and row, so that a machine whose speed drifts treats them alike.
fn compare(arguments: &Arguments) -> Result<(), String> {
    let peers = match &arguments.other {
        Some((module, pin, token)) => vec![peer::Peer::other(module, pin, token)],
        None => arguments
            .peers
            .iter()
            .map(|name| peer::Peer::start(name))
            .collect::<Result<Vec<_>, _>>()?,
    };
    for peer in &peers {
        peer.prepare()?;
    }
    let length = Duration::from_secs_f64(arguments.seconds);
    let mut table = report::Table::default();
    for row in &arguments.rows {
        for cell in &arguments.cells {
            // The login state is the application's: threads would log one another out.
            if row == "login" && cell.threads > 1 {
                continue;
            }
            for _ in 0..arguments.rounds.max(1) {
                for peer in &peers {
                    table.add(row, *cell, peer.name(), peer.measure(row, *cell, length));
                }
            }
            table.print_line(row, *cell, &peers.iter().map(peer::Peer::name).collect::<Vec<_>>());
        }
    }
    if let Some(file) = &arguments.json {
        std::fs::write(file, table.json()).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(())
}
