//! `hsmctl audit`: head, export, verify, show, tail, and the recording of key uses. `verify FILE` and `show --file` need no daemon.

use super::Format;
use super::connect::connect;
use super::exit::{Error, Exit};
use super::output::{Table, list, raw, record, show};
use super::profile::Target;
use crate::audit::{self as log, EntryView, Expected, Filter, Findings, from_hex};
use clap::{Args, Subcommand};
use hsmd_control::audit as wire;
use hsmd_control::audit::audit_client::AuditClient;
use hsmd_keystore::audit::{Hash, time_text};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::transport::Channel;

/// The verbs of `hsmctl audit`.
#[derive(Subcommand)]
pub(super) enum Audit {
    /// The newest signed head: keep it elsewhere, and `verify --head` finds later what was cut off or rewritten.
    #[command(after_help = "Examples:\n  hsmctl audit head\n  hsmctl audit head -o json")]
    Head,
    /// Writes entries as lines of JSON with signatures, which `verify` checks.
    #[command(
        after_help = "Examples:\n  hsmctl audit export > audit.log\n  hsmctl audit export --since 7d --file week.log\n  hsmctl audit export --act key --file keys.log"
    )]
    Export {
        /// The first entry; default: the oldest that is kept.
        #[arg(long, value_name = "ENTRY", default_value_t = 0)]
        from: u64,
        /// The last entry; default: the newest.
        #[arg(long, value_name = "ENTRY", default_value_t = 0)]
        to: u64,
        #[command(flatten)]
        which: Which,
        /// The file to write; default: standard output.
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Checks an exported file without the daemon, or, without a file, what the daemon stores. Exit code 1 when something is wrong.
    #[command(
        after_help = "Examples:\n  hsmctl audit verify\n  hsmctl audit export --file audit.log && hsmctl audit verify audit.log"
    )]
    Verify {
        /// The exported file; - is standard input.
        file: Option<PathBuf>,
        /// The log's public key, as `hsmctl audit head` shows it: 64 hexadecimal digits.
        #[arg(long, value_name = "HEX", value_parser = public_key)]
        public_key: Option<[u8; 32]>,
        /// A head that was kept: its entry and hash, as ENTRY:HASH.
        #[arg(long, value_name = "ENTRY:HASH", value_parser = kept_head)]
        head: Option<(u64, Hash)>,
    },
    /// Shows entries.
    #[command(
        after_help = "Examples:\n  hsmctl audit show\n  hsmctl audit show --act login --since 1d\n  hsmctl audit show --failed"
    )]
    Show {
        #[command(flatten)]
        which: Which,
        /// An exported file instead of the daemon.
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Shows entries as they are made.
    #[command(after_help = "Example:\n  hsmctl audit tail --count 0")]
    Tail {
        #[command(flatten)]
        which: Which,
        /// End after so many.
        #[arg(long, value_name = "ENTRIES")]
        count: Option<u64>,
    },
    /// Records each use of a key of a partition, or no longer; without arguments, shows of which partitions it does.
    #[command(after_help = "Example:\n  hsmctl audit use")]
    Use {
        /// Serial number of the partition.
        #[arg(requires = "record")]
        partition: Option<String>,
        /// on or off.
        #[arg(value_parser = ["on", "off"])]
        record: Option<String>,
    },
}

/// Which entries.
#[derive(Args)]
pub(super) struct Which {
    /// Of this partition: its serial number.
    #[arg(long, value_name = "SERIAL", default_value = "")]
    partition: String,
    /// Of this HSM: its id.
    #[arg(long, value_name = "HSM", default_value = "")]
    hsm: String,
    /// This act, or acts that begin so: key, object.destroy.
    #[arg(long, value_name = "ACT", default_value = "")]
    act: String,
    /// By these: uid:0, client-0a1b2c3d, an administrator's name.
    #[arg(long, value_name = "WHO", default_value = "")]
    who: String,
    /// Only what failed.
    #[arg(long)]
    failed: bool,
    /// Since then: a time in UTC or its beginning (2026-11-22, 2026-11-22T08:00), or how long ago (90s, 15m, 2h, 7d).
    #[arg(long, value_name = "TIME", default_value = "", value_parser = moment)]
    since: String,
    /// Until then.
    #[arg(long, value_name = "TIME", default_value = "", value_parser = moment)]
    until: String,
}

impl Which {
    fn filter(&self) -> Option<wire::Filter> {
        Some(wire::Filter {
            partition: self.partition.clone(),
            hsm: self.hsm.clone(),
            act: self.act.clone(),
            who: self.who.clone(),
            failed: self.failed,
        })
    }

    fn here(&self) -> Filter {
        Filter {
            since: self.since.clone(),
            until: self.until.clone(),
            ..Filter::from(self.filter())
        }
    }

    fn request(&self, from: u64, to: u64) -> wire::ExportRequest {
        wire::ExportRequest {
            from,
            to,
            since: self.since.clone(),
            until: self.until.clone(),
            filter: self.filter(),
        }
    }
}

fn public_key(text: &str) -> Result<[u8; 32], String> {
    from_hex(text).ok_or_else(|| "a public key has 64 lower-case hexadecimal digits".to_owned())
}

fn kept_head(text: &str) -> Result<(u64, Hash), String> {
    let parts = text.split_once(':');
    let head = parts.and_then(|(entry, hash)| Some((entry.parse().ok()?, from_hex(hash)?)));
    head.ok_or_else(|| "a head is ENTRY:HASH with 64 lower-case hexadecimal digits".to_owned())
}

/// A time, or how long ago, as the beginning of a time in UTC.
fn moment(text: &str) -> Result<String, String> {
    let wrong = || "a time is 2026-11-22, 2026-11-22T08:00:00Z or the beginning of it, or 90s, 15m, 2h, 7d".to_owned();
    let ago = |digits: &str, unit: u64| {
        let ago: u64 = digits.parse().map_err(|_| wrong())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Ok(time_text(now.saturating_sub(ago.saturating_mul(unit * 1000))))
    };
    for (suffix, unit) in [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)] {
        if let Some(digits) = text.strip_suffix(suffix) {
            return ago(digits, unit);
        }
    }
    let form = "2000-00-00T00:00:00.000Z";
    let fits = text.len() <= form.len()
        && text.bytes().zip(form.bytes()).all(|(found, wanted)| match wanted {
            b'0' | b'2' => found.is_ascii_digit(),
            // A second without fraction ends here.
            b'.' => matches!(found, b'.' | b'Z'),
            wanted => found == wanted,
        });
    if fits && (text.is_empty() || text.len() >= 4) {
        Ok(text.trim_end_matches('Z').to_owned())
    } else {
        Err(wrong())
    }
}

/// Runs a verb.
pub(super) async fn run(command: Audit, target: &Target, format: Format) -> Result<Exit, Error> {
    match command {
        Audit::Verify {
            file: Some(file),
            public_key,
            head,
        } => return verify_file(&file, &Expected { public_key, head }, format),
        Audit::Show {
            which,
            file: Some(file),
        } => return show_file(&file, &which, format),
        _ => {}
    }
    let client = AuditClient::new(connect(target).await?);
    match command {
        Audit::Head => head(client, format).await,
        Audit::Export { from, to, which, file } => {
            export(client, which.request(from, to), file.as_deref()).await?;
            Ok(Exit::Ok)
        }
        Audit::Verify { .. } => verify(client, format).await,
        Audit::Show { which, .. } => show_entries(client, &which, format).await,
        Audit::Tail { which, count } => tail(client, &which, count, format).await,
        Audit::Use { partition, record } => uses(client, partition.zip(record), format).await,
    }
}

async fn head(mut client: AuditClient<Channel>, format: Format) -> Result<Exit, Error> {
    let head = client.head(wire::HeadRequest {}).await?.into_inner();
    show(
        &HeadView {
            head: format!("{}:{}", head.sequence, head.hash),
            node: head.node,
            public_key: head.public_key,
            time: time_text(head.time_ms),
            text: head.text,
            signature: head.signature,
            dropped: head.dropped,
        },
        format,
    )
}

async fn export(
    mut client: AuditClient<Channel>,
    request: wire::ExportRequest,
    file: Option<&Path>,
) -> Result<(), Error> {
    let mut answers = client.export(request).await?.into_inner();
    let explain = |error: io::Error| Error::new(Exit::Failed, format!("writing: {error}"));
    let mut out = match file {
        Some(path) => Some(BufWriter::new(create(path)?)),
        None => None,
    };
    while let Some(answer) = answers.message().await? {
        let mut text = answer.lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        match &mut out {
            Some(out) => out.write_all(text.as_bytes()).map_err(explain)?,
            None => drop(raw(text.as_bytes())?),
        }
    }
    if let Some(out) = out {
        let file = out.into_inner().map_err(|error| explain(error.into_error()))?;
        file.sync_all().map_err(explain)?;
    }
    Ok(())
}

fn create(path: &Path) -> Result<File, Error> {
    File::create(path).map_err(|error| Error::new(Exit::Usage, format!("{}: {error}", path.display())))
}

fn open(path: &Path) -> Result<BufReader<Box<dyn Read>>, Error> {
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = File::open(path);
        Box::new(file.map_err(|error| Error::new(Exit::Usage, format!("{}: {error}", path.display())))?)
    };
    Ok(BufReader::new(input))
}

fn verify_file(path: &Path, expected: &Expected, format: Format) -> Result<Exit, Error> {
    let findings = log::check(open(path)?, expected, |_| {}).map_err(|error| Error::failed(&error))?;
    let view = VerifyView::of(findings, expected);
    show(&view, format)?;
    Ok(if view.good { Exit::Ok } else { Exit::Failed })
}

async fn verify(mut client: AuditClient<Channel>, format: Format) -> Result<Exit, Error> {
    let report = client.verify(wire::VerifyRequest {}).await?.into_inner();
    let view = VerifyView {
        good: report.troubles.is_empty(),
        from: report.from,
        to: report.to,
        entries: report.entries,
        troubles: report
            .troubles
            .into_iter()
            .map(|what| TroubleView {
                line: None,
                entry: None,
                what,
            })
            .collect(),
        ..VerifyView::default()
    };
    show(&view, format)?;
    Ok(if view.good { Exit::Ok } else { Exit::Failed })
}

fn show_file(path: &Path, which: &Which, format: Format) -> Result<Exit, Error> {
    let filter = which.here();
    let mut entries = Vec::new();
    let findings = log::check(open(path)?, &Expected::default(), |line| {
        entries.extend(EntryView::read(line).filter(|entry| filter.fits(entry)));
    });
    let findings = findings.map_err(|error| Error::failed(&error))?;
    show(&Entries(entries), format)?;
    if let Some(trouble) = findings.troubles.first() {
        let message = format!(
            "{}: {}\n  remedy: see `hsmctl audit verify`",
            path.display(),
            trouble.what
        );
        return Err(Error::new(Exit::Failed, message));
    }
    Ok(Exit::Ok)
}

async fn show_entries(mut client: AuditClient<Channel>, which: &Which, format: Format) -> Result<Exit, Error> {
    let mut answers = client.export(which.request(0, 0)).await?.into_inner();
    let filter = which.here();
    let mut entries = Vec::new();
    while let Some(answer) = answers.message().await? {
        for line in &answer.lines {
            if let Some(entry) = log::entry_in(line).and_then(EntryView::read) {
                entries.extend(Some(entry).filter(|entry| filter.fits(entry)));
            }
        }
    }
    show(&Entries(entries), format)
}

async fn tail(
    mut client: AuditClient<Channel>,
    which: &Which,
    count: Option<u64>,
    format: Format,
) -> Result<Exit, Error> {
    let request = wire::TailRequest { filter: which.filter() };
    let mut answers = client.tail(request).await?.into_inner();
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(answer) = answers.message().await? else { break };
        if answer.missed > 0 {
            // Nobody to tell when standard error is closed.
            let _ = writeln!(
                io::stderr(),
                "hsmctl: {} entries were missed; see `hsmctl audit show`",
                answer.missed
            );
        }
        let text = match (format, EntryView::read(&answer.line)) {
            (Format::Table, Some(entry)) => entry.cells().join("  "),
            (Format::Name, _) => answer.sequence.to_string(),
            _ => answer.line,
        };
        raw(format!("{text}\n").as_bytes())?;
        left -= 1;
    }
    Ok(Exit::Ok)
}

async fn uses(
    mut client: AuditClient<Channel>,
    change: Option<(String, String)>,
    format: Format,
) -> Result<Exit, Error> {
    if let Some((partition, record)) = change {
        let record = record == "on";
        client.set_use(wire::SetUseRequest { partition, record }).await?;
    }
    let partitions = client.list_use(wire::ListUseRequest {}).await?.into_inner().partitions;
    let rows = partitions.into_iter().map(|partition| UseView { partition });
    show(&UseList(rows.collect()), format)
}

#[derive(Serialize)]
struct HeadView {
    head: String,
    node: String,
    public_key: String,
    time: String,
    text: String,
    signature: String,
    dropped: u64,
}

impl Table for HeadView {
    fn rows(&self) -> Vec<Vec<String>> {
        record([
            ("Head", self.head.clone()),
            ("Node", self.node.clone()),
            ("Public key", self.public_key.clone()),
            ("Time", self.time.clone()),
            ("Text", self.text.clone()),
            ("Signature", self.signature.clone()),
            ("Dropped", self.dropped.to_string()),
        ])
    }
}

#[derive(Default, Serialize)]
struct VerifyView {
    good: bool,
    from: u64,
    to: u64,
    entries: u64,
    withheld: u64,
    heads: u64,
    node: String,
    public_key: String,
    /// The public key was compared with one that the caller has.
    public_key_compared: bool,
    /// The chain passes through a head that the caller has.
    head_compared: bool,
    hash: String,
    troubles: Vec<TroubleView>,
}

#[derive(Serialize)]
struct TroubleView {
    line: Option<u64>,
    entry: Option<u64>,
    what: String,
}

impl VerifyView {
    fn of(findings: Findings, expected: &Expected) -> Self {
        let troubles = findings.troubles.into_iter().map(|found| TroubleView {
            line: Some(found.line),
            entry: found.entry,
            what: found.what,
        });
        let troubles: Vec<_> = troubles.collect();
        Self {
            good: troubles.is_empty(),
            from: findings.from,
            to: findings.to,
            entries: findings.entries,
            withheld: findings.withheld,
            heads: findings.heads,
            node: findings.node,
            public_key: findings.public_key,
            public_key_compared: expected.public_key.is_some(),
            head_compared: expected.head.is_some(),
            hash: findings.hash,
            troubles,
        }
    }
}

impl Table for VerifyView {
    fn rows(&self) -> Vec<Vec<String>> {
        let result = if self.good { "good" } else { "NOT GOOD" };
        let range = format!("{} to {}", self.from, self.to);
        let mut rows = record([("Result", result.to_owned()), ("Entries", range)]);
        if self.withheld > 0 {
            rows.extend(record([("Withheld", self.withheld.to_string())]));
        }
        if !self.public_key.is_empty() {
            let compared = if self.public_key_compared {
                "as given"
            } else {
                "not compared; compare it with `hsmctl audit head` by --public-key"
            };
            rows.extend(record([
                ("Node", self.node.clone()),
                ("Public key", format!("{} ({compared})", self.public_key)),
            ]));
        }
        for trouble in &self.troubles {
            let place = trouble.line.map(|line| format!("line {line}: ")).unwrap_or_default();
            rows.extend(record([("Trouble", format!("{place}{}", trouble.what))]));
        }
        rows
    }
}

impl EntryView {
    fn cells(&self) -> [String; 8] {
        let what = [&self.class, &self.object, &self.detail]
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" ");
        let count = self.count.map(|count| count.to_string()).unwrap_or_default();
        let place = if self.partition.is_empty() {
            &self.hsm
        } else {
            &self.partition
        };
        [
            self.sequence.to_string(),
            self.time.clone(),
            self.act.clone(),
            self.who.clone(),
            place.clone(),
            self.result.clone(),
            count,
            what,
        ]
    }
}

#[derive(Serialize)]
struct Entries(Vec<EntryView>);

impl Table for Entries {
    fn rows(&self) -> Vec<Vec<String>> {
        let heading = [
            "SEQUENCE",
            "TIME",
            "ACT",
            "WHO",
            "PARTITION",
            "RESULT",
            "COUNT",
            "DETAIL",
        ];
        list(heading, self.0.iter().map(EntryView::cells))
    }
}

#[derive(Serialize)]
struct UseView {
    partition: String,
}

#[derive(Serialize)]
struct UseList(Vec<UseView>);

impl Table for UseList {
    fn rows(&self) -> Vec<Vec<String>> {
        list(["PARTITION"], self.0.iter().map(|view| [view.partition.clone()]))
    }
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn times_are_read_as_people_write_them() {
        for good in [
            "2026",
            "2026-11-22",
            "2026-11-22T08:00",
            "2026-11-22T08:00:00Z",
            "2026-11-22T08:00:00.123Z",
            "15m",
            "7d",
        ] {
            assert!(moment(good).is_ok(), "{good}");
        }
        for bad in [
            "yesterday",
            "20",
            "22.11.2026",
            "2026-11-22 08:00",
            "d",
            "2026-11-22T08:00:00+01:00",
        ] {
            assert!(moment(bad).is_err(), "{bad}");
        }
        assert_eq!(moment("2026-11-22T08:00:00Z").unwrap(), "2026-11-22T08:00:00");
    }
}
