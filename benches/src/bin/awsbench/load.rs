//! Sends one request again and again over several kept connections, each with a thread of its own. What a signed request says of
//! its time is believed for 15 minutes.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use hsmd_benches::histogram::Histogram;
use hsmd_benches::page::aws::Figures;

/// A request as bytes.
pub(crate) struct Request {
    pub(crate) operation: String,
    pub(crate) bytes: Vec<u8>,
}

/// The figures of `connections` that send for so long.
pub(crate) fn run(address: &str, request: &Request, connections: usize, length: Duration) -> io::Result<Figures> {
    let begun = Instant::now();
    let sum = thread::scope(|scope| {
        let start = || scope.spawn(|| one(address, request, begun + length));
        let threads: Vec<_> = (0..connections).map(|_| start()).collect();
        let mut sum = Histogram::default();
        for thread in threads {
            let own = thread.join().map_err(|_| io::Error::other("a thread panicked"))?;
            sum.merge(&own?);
        }
        Ok::<_, io::Error>(sum)
    })?;
    Ok(Figures {
        per_second: sum.count() as f64 / begun.elapsed().as_secs_f64(),
        p50: sum.quantile(0.5),
        p99: sum.quantile(0.99),
    })
}

fn one(address: &str, request: &Request, end: Instant) -> io::Result<Histogram> {
    let mut own = Histogram::default();
    let mut connection = None;
    while Instant::now() < end {
        let begun = Instant::now();
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => open(address)?,
        };
        stream.get_mut().write_all(&request.bytes)?;
        if answer(&mut stream)? {
            connection = Some(stream);
        }
        own.add(begun.elapsed().as_nanos() as u64);
    }
    Ok(own)
}

fn open(address: &str) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// Reads an answer, which must be 200; whether the connection stays.
fn answer(stream: &mut BufReader<TcpStream>) -> io::Result<bool> {
    let (mut line, mut length, mut stays) = (String::new(), 0, true);
    stream.read_line(&mut line)?;
    if line.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("answered {line:?}")));
    }
    stays &= line.starts_with("HTTP/1.1");
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        stays &= header != "connection: close";
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(stays)
}
