//! The command line, checked as a whole before anything is started.

use std::path::PathBuf;
use std::time::Duration;

use hsmd_benches::catalogue::{ROWS, Row};
use hsmd_benches::figures::{KRYOPTIC, OURS, P11KIT, RAW, SOFTHSM, TLS};

use crate::cell::Cell;
use crate::job::Attach;

/// What `--help` prints; xtask prints the same file.
pub(crate) const HELP: &str = include_str!("help.txt");

/// The rows that TLS is compared in.
const TLS_ROWS: &str = "sign-p256,aes-gcm-1k,aes-gcm-64k,get-attribute,keygen-aes-session,keygen-p256-session";

/// What to do.
pub(crate) struct Options {
    pub(crate) peers: Vec<String>,
    pub(crate) foreign: Option<(String, Attach)>,
    /// kryoptic's module; it is built by `cargo xtask bench --compare-kryoptic`.
    pub(crate) kryoptic: Option<PathBuf>,
    pub(crate) rows: Vec<&'static Row>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) length: Duration,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) docs: Option<PathBuf>,
    pub(crate) render: Option<PathBuf>,
    pub(crate) list: bool,
    /// The comparison of TLS with the Unix socket, which has a section of its own.
    pub(crate) tls: bool,
}

/// The words as they stand.
#[derive(Default)]
struct Words {
    compare: bool,
    tls: bool,
    quick: bool,
    list: bool,
    peers: Option<String>,
    rows: Option<String>,
    cells: Option<String>,
    seconds: Option<String>,
    rounds: Option<String>,
    module: Option<String>,
    token: Option<String>,
    pin_file: Option<String>,
    kryoptic: Option<String>,
    json: Option<String>,
    svg: Option<String>,
    docs: Option<String>,
    render: Option<String>,
}

impl Words {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self::default();
        while let Some(word) = words.next() {
            let place = match word.as_str() {
                "--compare-softhsm" => {
                    read.compare = true;
                    continue;
                }
                "--compare-tls" => {
                    read.tls = true;
                    continue;
                }
                "--quick" => {
                    read.quick = true;
                    continue;
                }
                "--list" => {
                    read.list = true;
                    continue;
                }
                "--peers" => &mut read.peers,
                "--rows" => &mut read.rows,
                "--cells" => &mut read.cells,
                "--seconds" => &mut read.seconds,
                "--rounds" => &mut read.rounds,
                "--module" => &mut read.module,
                "--token" => &mut read.token,
                "--pin-file" => &mut read.pin_file,
                "--kryoptic" => &mut read.kryoptic,
                "--json" => &mut read.json,
                "--svg" => &mut read.svg,
                "--docs" => &mut read.docs,
                "--render" => &mut read.render,
                other => return Err(format!("{other}: no such option; --help lists them")),
            };
            *place = Some(words.next().ok_or(format!("{word} needs a value"))?);
        }
        Ok(read)
    }
}

/// Reads the command line.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Options, String> {
    let words = Words::read(words)?;
    let foreign = foreign(&words)?;
    let mut peers: Vec<String> = match (&words.peers, words.compare) {
        (Some(list), _) => list.split(',').map(str::to_owned).collect(),
        (None, _) if words.tls => vec![OURS.to_owned(), TLS.to_owned()],
        (None, true) => vec![OURS.to_owned(), RAW.to_owned(), SOFTHSM.to_owned(), P11KIT.to_owned()],
        (None, false) if foreign.is_some() => Vec::new(),
        (None, false) => vec![OURS.to_owned(), RAW.to_owned()],
    };
    let known = [OURS, TLS, RAW, SOFTHSM, P11KIT];
    if let Some(unknown) = peers.iter().find(|peer| !known.contains(&peer.as_str())) {
        return Err(format!("--peers: {unknown}: of {}", known.join(",")));
    }
    if words.kryoptic.is_some() {
        peers.push(KRYOPTIC.to_owned());
    }
    let seconds = number(
        words.seconds.as_deref(),
        if words.quick { 0.1 } else { 0.3 },
        "--seconds",
        0.001..=60.0,
    )?;
    let rounds = number(
        words.rounds.as_deref(),
        if words.quick { 1.0 } else { 3.0 },
        "--rounds",
        1.0..=1000.0,
    )?;
    let cells = words.cells.as_deref().unwrap_or(match (words.tls, words.quick) {
        (true, _) => "t1,t8,t32",
        (false, true) => "t1,t8,p8",
        (false, false) => "t1,t8,t32,p8",
    });
    let cells = cells
        .split(',')
        .map(|word| Cell::parse(word).ok_or(format!("--cells: {word}: t1 or p8, say")))
        .collect::<Result<_, _>>()?;
    Ok(Options {
        peers,
        foreign,
        kryoptic: words.kryoptic.map(PathBuf::from),
        rows: rows(words.rows.as_deref().or(words.tls.then_some(TLS_ROWS)), words.quick)?,
        cells,
        length: Duration::from_secs_f64(seconds),
        rounds: rounds as usize,
        quick: words.quick,
        json: words.json.map(PathBuf::from),
        svg: words.svg.map(PathBuf::from),
        docs: words.docs.map(PathBuf::from),
        render: words.render.map(PathBuf::from),
        list: words.list,
        tls: words.tls,
    })
}

fn number(word: Option<&str>, default: f64, option: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let value = word
        .map_or(Ok(default), str::parse)
        .ok()
        .filter(|value| range.contains(value));
    value.ok_or(format!("{option}: a number from {} to {}", range.start(), range.end()))
}

fn rows(list: Option<&str>, quick: bool) -> Result<Vec<&'static Row>, String> {
    let Some(list) = list else {
        return Ok(ROWS.iter().filter(|row| !quick || row.objects <= 10_000).collect());
    };
    let matches = |pattern: &str, row: &Row| match pattern.strip_suffix('*') {
        Some(start) => row.name.starts_with(start),
        None => row.name == pattern,
    };
    let patterns: Vec<&str> = list.split(',').collect();
    if let Some(nothing) = patterns
        .iter()
        .find(|pattern| !ROWS.iter().any(|row| matches(pattern, row)))
    {
        return Err(format!("--rows: {nothing}: no such row; --list prints them"));
    }
    Ok(ROWS
        .iter()
        .filter(|row| patterns.iter().any(|pattern| matches(pattern, row)))
        .collect())
}

fn foreign(words: &Words) -> Result<Option<(String, Attach)>, String> {
    let Some(module) = &words.module else {
        return match (&words.token, &words.pin_file) {
            (None, None) => Ok(None),
            _ => Err("--token and --pin-file belong to --module".to_owned()),
        };
    };
    let path = std::fs::canonicalize(module).map_err(|e| format!("--module {module}: {e}"))?;
    let token = words.token.clone().ok_or("--module needs --token")?;
    let file = words.pin_file.as_ref().ok_or("--module needs --pin-file")?;
    let text = std::fs::read_to_string(file).map_err(|e| format!("--pin-file {file}: {e}"))?;
    let pin = text.lines().next().unwrap_or_default().to_owned();
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = stem.unwrap_or_default().trim_start_matches("lib").to_owned();
    let name = if [OURS, RAW, SOFTHSM, P11KIT, KRYOPTIC].contains(&name.as_str()) {
        format!("{name}-module")
    } else {
        name
    };
    let module = path.display().to_string();
    Ok(Some((name, Attach { module, token, pin })))
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn of(line: &str) -> Result<super::Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn rows_are_chosen_by_name_or_by_their_start() {
        let options = of("--rows sign-*,find-10 --cells t1,p8 --quick").expect("options");
        let names: Vec<_> = options.rows.iter().map(|row| row.name).collect();
        assert_eq!(names.first(), Some(&"sign-rsa2048"));
        assert_eq!(names.last(), Some(&"find-10"));
        assert_eq!(options.cells.len(), 2);
        assert!(
            of("--quick")
                .expect("options")
                .rows
                .iter()
                .all(|row| row.objects <= 10_000)
        );
    }

    #[test]
    fn what_is_wrong_is_said_before_anything_starts() {
        for (line, word) in [
            ("--rows no-such-row", "no-such-row"),
            ("--cells x8", "x8"),
            ("--seconds fast", "--seconds"),
            ("--rounds 0", "--rounds"),
            ("--peers nss", "nss"),
            ("--pin-file pin", "--module"),
            (
                "--module /no/such/module.so --token a --pin-file b",
                "/no/such/module.so",
            ),
            ("--json", "--json"),
            ("--fast", "--fast"),
        ] {
            let sentence = of(line).err().expect("an error");
            assert!(sentence.contains(word), "{line}: {sentence}");
        }
    }
}
