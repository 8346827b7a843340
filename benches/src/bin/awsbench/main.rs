//! `cargo xtask bench --aws`: KMS here and KMS of moto, the same signed requests of boto3 over kept connections, in turns, in one
//! run. A signature is verified here each time; moto verifies none. Keys here are in a partition of a daemon, those of moto in
//! its own memory.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of the command line")]

mod load;
mod server;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hsmd_benches::page::aws::{self, Line};
use load::Request;
use server::Server;

/// Connections at the same time.
const CONNECTIONS: [usize; 3] = [1, 8, 64];
/// Each measurement is made so often; the best counts.
const ROUNDS: usize = 3;
/// And takes so long.
const SECONDS: Duration = Duration::from_secs(2);
/// Requests that nobody counts come first.
const WARM_UP: Duration = Duration::from_millis(300);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (mut venv, mut page) = (None, None);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--venv" => venv = arguments.next().map(PathBuf::from),
            "--docs" => page = arguments.next().map(PathBuf::from),
            other => return Err(format!("{other}: not understood; --venv DIR, --docs FILE").into()),
        }
    }
    let venv = venv.ok_or("--venv DIR: the Python environment with boto3 and moto")?;
    let servers = [Server::ours()?, Server::moto(&venv)?];
    let [ours, theirs] = [servers[0].signed(&venv)?, servers[1].signed(&venv)?];
    let mut lines = Vec::new();
    for requests in ours.iter().zip(&theirs).map(|(ours, theirs)| [ours, theirs]) {
        for connections in CONNECTIONS {
            let mut line = Line::new(&requests[0].operation, connections);
            for _ in 0..ROUNDS {
                for (which, (server, request)) in servers.iter().zip(requests).enumerate() {
                    load::run(server.address(), request, connections, WARM_UP)?;
                    let figures = load::run(server.address(), request, connections, SECONDS)?;
                    line.add(which, figures);
                }
            }
            eprintln!("{}", line.text());
            lines.push(line);
        }
    }
    let table = aws::table(&lines);
    print!("{table}");
    page.map_or(Ok(()), |page| write(&page, &table, &venv))
}

fn write(page: &Path, table: &str, venv: &Path) -> Result<(), Failure> {
    let old = fs::read_to_string(page)?;
    let mut about = String::new();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let version = server::moto_version(venv)?;
    write!(
        about,
        "{processors} processors; moto {version}; load at the end {}.",
        load.split(' ').next().unwrap_or_default()
    )?;
    fs::write(page, aws::page(&about, table, &old))?;
    Ok(())
}

/// The signed requests for one server, in the order of `sign.py`.
type Requests = Vec<Request>;
