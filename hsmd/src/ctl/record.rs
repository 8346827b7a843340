//! `hsmctl record`: the records of front ends, for operators. Values come from a file or standard input and go to standard output
//! as they are.

use super::Format;
use super::exit::{Error, Exit};
use super::output::{self, Table, list, raw, show};
use clap::Subcommand;
use hsmd_control::records::records_client::RecordsClient;
use hsmd_control::records::{self, DeleteRequest, GetRequest, ListRequest, PutRequest, WatchRequest};
use serde::Serialize;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use tonic::transport::Channel;

/// The largest value in bytes.
const MAX_VALUE: u64 = 64 << 10;

/// The verbs.
#[derive(Subcommand)]
pub(super) enum RecordCommand {
    /// Writes a record.
    #[command(after_help = "Example:\n  hsmctl record put config/web --file web.json")]
    Put {
        /// 1 to 512 bytes.
        key: String,
        /// The value, at most 64 KiB; default: standard input.
        #[arg(short, long, value_name = "PATH")]
        file: Option<PathBuf>,
        /// Only if the record has this version now; 0: only if there is none.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
        /// Whose records.
        #[arg(short, long, value_name = "NAME", default_value = "")]
        namespace: String,
    },
    /// Writes the value of a record to standard output; as JSON with its version.
    #[command(after_help = "Example:\n  hsmctl record get config/web > web.json")]
    Get {
        /// The key.
        key: String,
        /// Whose records.
        #[arg(short, long, value_name = "NAME", default_value = "")]
        namespace: String,
    },
    /// Lists keys by prefix, in order.
    #[command(after_help = "Example:\n  hsmctl record list config/")]
    List {
        /// What the keys begin with; default: all.
        #[arg(default_value = "")]
        prefix: String,
        /// Whose records.
        #[arg(short, long, value_name = "NAME", default_value = "")]
        namespace: String,
    },
    /// Deletes a record.
    #[command(after_help = "Example:\n  hsmctl record delete config/web --yes")]
    Delete {
        /// The key.
        key: String,
        /// Only if the record has this version now.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
        /// Whose records.
        #[arg(short, long, value_name = "NAME", default_value = "")]
        namespace: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Say what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Shows changes as they happen, until it is interrupted.
    #[command(after_help = "Example:\n  hsmctl record watch config/ -o json")]
    Watch {
        /// What the keys begin with; default: all.
        #[arg(default_value = "")]
        prefix: String,
        /// Changes after this revision; default: from now on.
        #[arg(long, value_name = "REVISION")]
        after: Option<u64>,
        /// Whose records.
        #[arg(short, long, value_name = "NAME", default_value = "")]
        namespace: String,
    },
}

/// Runs a verb.
pub(super) async fn run(channel: Channel, command: RecordCommand, format: Format) -> Result<Exit, Error> {
    let mut client = RecordsClient::new(channel);
    match command {
        RecordCommand::Put {
            key,
            file,
            if_version,
            namespace,
        } => {
            let request = PutRequest {
                namespace,
                key: key.clone(),
                value: read(file.as_deref())?,
                expected_version: if_version,
                operation_id: Vec::new(),
            };
            let bytes = request.value.len();
            let version = client.put(request).await?.into_inner().version;
            show(&RecordList(vec![RecordView { key, version, bytes }]), format)
        }
        RecordCommand::Get { key, namespace } => get(client, key, namespace, format).await,
        RecordCommand::List { prefix, namespace } => show(&RecordList(all(client, prefix, namespace).await?), format),
        RecordCommand::Delete {
            key,
            if_version,
            namespace,
            yes,
            dry_run,
        } => {
            let request = GetRequest {
                namespace: namespace.clone(),
                key: key.clone(),
            };
            let found = client.get(request).await?.into_inner().record.unwrap_or_default();
            if !dry_run {
                super::confirm::sure(yes, &format!("deleting {key} loses its value"))?;
                let request = DeleteRequest {
                    namespace,
                    key,
                    expected_version: if_version,
                    operation_id: Vec::new(),
                };
                client.delete(request).await?;
            }
            show(&RecordList(vec![found.into()]), format)
        }
        RecordCommand::Watch {
            prefix,
            after,
            namespace,
        } => {
            let request = WatchRequest {
                namespace,
                prefix,
                after,
            };
            watch(client, request, format).await
        }
    }
}

async fn get(
    mut client: RecordsClient<Channel>,
    key: String,
    namespace: String,
    format: Format,
) -> Result<Exit, Error> {
    let found = client.get(GetRequest { namespace, key }).await?.into_inner();
    let found = found.record.unwrap_or_default();
    match format {
        Format::Table | Format::Name => raw(&found.value),
        Format::Json | Format::Yaml => show(&ValueView::from(found), format),
    }
}

async fn all(mut client: RecordsClient<Channel>, prefix: String, namespace: String) -> Result<Vec<RecordView>, Error> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListRequest {
            namespace: namespace.clone(),
            prefix: prefix.clone(),
            page_size: 0,
            page_token,
            keys_only: false,
        };
        let page = client.list(request).await?.into_inner();
        found.extend(page.records.into_iter().map(RecordView::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

async fn watch(mut client: RecordsClient<Channel>, request: WatchRequest, format: Format) -> Result<Exit, Error> {
    let mut stream = client.watch(request).await?.into_inner();
    while let Some(answer) = stream.message().await? {
        for change in answer.changes {
            tell(answer.revision, change, format)?;
        }
    }
    Ok(Exit::Ok)
}

fn tell(revision: u64, change: records::Change, format: Format) -> Result<Exit, Error> {
    let record = change.record.unwrap_or_default();
    if format != Format::Table {
        return output::line(&ChangeView {
            revision,
            deleted: change.deleted,
            record: record.into(),
        });
    }
    let what = if change.deleted {
        "deleted".to_owned()
    } else {
        format!("{} bytes", record.value.len())
    };
    let key = printable(&record.key);
    raw(format!("{revision}  {key}  {}  {what}\n", record.version).as_bytes())
}

/// The value of a record; never more than one byte too many is read.
fn read(file: Option<&Path>) -> Result<Vec<u8>, Error> {
    let mut value = Vec::new();
    let done = match file {
        None => std::io::stdin().take(MAX_VALUE + 1).read_to_end(&mut value),
        Some(path) => std::fs::File::open(path).and_then(|file| file.take(MAX_VALUE + 1).read_to_end(&mut value)),
    };
    let name = file.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    done.map_err(|error| Error::new(Exit::Failed, format!("{name}: {error}")))?;
    if value.len() as u64 > MAX_VALUE {
        return Err(Error::new(Exit::Usage, format!("{name}: a value has at most 64 KiB")));
    }
    Ok(value)
}

/// A key as it may be shown on a terminal.
fn printable(key: &str) -> String {
    key.chars()
        .flat_map(|character| {
            let shown = !character.is_control();
            let escaped = character.escape_default().take(if shown { 0 } else { usize::MAX });
            escaped.chain(shown.then_some(character))
        })
        .collect()
}

#[derive(Serialize)]
struct RecordView {
    key: String,
    version: u64,
    bytes: usize,
}

impl From<records::Record> for RecordView {
    fn from(record: records::Record) -> Self {
        Self {
            key: record.key,
            version: record.version,
            bytes: record.value.len(),
        }
    }
}

#[derive(Serialize)]
struct RecordList(Vec<RecordView>);

impl Table for RecordList {
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |record: &RecordView| {
            [
                printable(&record.key),
                record.version.to_string(),
                record.bytes.to_string(),
            ]
        };
        list(["KEY", "VERSION", "BYTES"], self.0.iter().map(row))
    }
}

#[derive(Serialize)]
struct ValueView {
    key: String,
    version: u64,
    /// The value, if it is text.
    value: Option<String>,
    /// The value in hexadecimal digits, if it is not.
    value_hex: Option<String>,
}

impl From<records::Record> for ValueView {
    fn from(record: records::Record) -> Self {
        let (value, value_hex) = match String::from_utf8(record.value) {
            Ok(text) => (Some(text), None),
            Err(bytes) => {
                let digits = bytes.as_bytes().iter().map(|byte| format!("{byte:02x}"));
                (None, Some(digits.collect()))
            }
        };
        Self {
            key: record.key,
            version: record.version,
            value,
            value_hex,
        }
    }
}

impl Table for ValueView {
    fn rows(&self) -> Vec<Vec<String>> {
        let value = self.value.clone().or_else(|| self.value_hex.clone());
        output::record([
            ("key", printable(&self.key)),
            ("version", self.version.to_string()),
            ("value", value.unwrap_or_default()),
        ])
    }
}

#[derive(Serialize)]
struct ChangeView {
    revision: u64,
    deleted: bool,
    #[serde(flatten)]
    record: ValueView,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_reach_the_terminal_raw() {
        assert_eq!(printable("a/\u{1b}[2J\u{e4}"), "a/\\u{1b}[2J\u{e4}");
    }

    #[test]
    fn a_value_that_is_no_text_is_shown_in_digits() {
        let record = |value: &[u8]| records::Record {
            value: value.to_vec(),
            ..records::Record::default()
        };
        assert_eq!(ValueView::from(record(b"text")).value.as_deref(), Some("text"));
        assert_eq!(ValueView::from(record(&[0xff, 1])).value_hex.as_deref(), Some("ff01"));
    }
}
