//! `hsmctl import`: keys of elsewhere into a token, through a PKCS#11 module as an application would. What reads the sources and
//! writes the objects is the crate `hsmd-import`.

use super::Format;
use super::exit::{Error, Exit};
use super::output::{Table, list, show};
use super::secret::{PinSource, Secret, ask};
use crate::dev::module_near;
use clap::Args;
use hsmd_import::{Class, Destination, Object, Outcome, Token, TokenName, file, module, softhsm};
use serde::Serialize;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// After so many objects a line on standard error says how far it is.
const STRIDE: usize = 100;

/// From where, and where to.
#[derive(Args)]
pub(super) struct Options {
    /// PEM (PKCS #8, PKCS #1, SEC 1, certificates), the same as DER, PKCS #12.
    #[arg(value_name = "FILE", required_unless_present_any = ["softhsm", "from_module"])]
    files: Vec<PathBuf>,
    /// The folder of a SoftHSM2 token, or the folder with all of them (`directories.tokendir`). SoftHSM2 is not needed.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["files", "from_module"])]
    softhsm: Option<PathBuf>,
    /// Another PKCS#11 module: its keys come wrapped, those that may leave it.
    #[arg(long, value_name = "PATH", conflicts_with = "files")]
    from_module: Option<PathBuf>,
    /// Which token of --softhsm or --from-module, by label or serial number; the only one if not given.
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    from_token: Option<String>,
    /// Read the PIN of the token that keys come from, or the password of the files, from a file.
    #[arg(long, value_name = "PATH")]
    from_pin_file: Option<PathBuf>,
    /// The same from an open file descriptor.
    #[arg(long, value_name = "NUMBER", conflicts_with = "from_pin_file")]
    from_pin_fd: Option<u32>,
    /// The token that takes them, by label or serial number; the only one if not given.
    #[arg(long, value_name = "NAME")]
    token: Option<String>,
    /// The module of that token; hsmd's unless given.
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
    #[command(flatten)]
    pin: PinSource,
    /// CKA_LABEL of all that files hold; the name that they have in PKCS #12, of the certificate, or of the file, unless given.
    #[arg(long, value_name = "TEXT", requires = "files")]
    label: Option<String>,
    /// CKA_ID of all that files hold, in hexadecimal; the SHA-1 of the public key, unless given.
    #[arg(long, value_name = "HEX", requires = "files", value_parser = hexadecimal)]
    id: Option<Id>,
    /// Keys from files may leave the token again, wrapped. (Keys from tokens keep what they had.)
    #[arg(long, requires = "files")]
    extractable: bool,
    /// Say what would be imported, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// CKA_ID.
#[derive(Clone)]
struct Id(Vec<u8>);

fn hexadecimal(text: &str) -> Result<Id, String> {
    let digit = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok())?
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(digit).collect();
    bytes
        .filter(|bytes| !bytes.is_empty())
        .map(Id)
        .ok_or_else(|| "hexadecimal digits, two for each byte".to_owned())
}

/// What became of one object.
#[derive(Serialize)]
struct Row {
    class: &'static str,
    kind: String,
    label: String,
    id: String,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    origin: String,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Report(Vec<Row>);

impl Table for Report {
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |row: &Row| {
            let result = match &row.reason {
                Some(reason) => format!("{}: {reason}", row.result),
                None => row.result.to_owned(),
            };
            [
                row.label.clone(),
                row.class.to_owned(),
                row.kind.clone(),
                row.id.clone(),
                result,
            ]
        };
        list(["Label", "Class", "Kind", "Id", "Result"], self.0.iter().map(row))
    }
}

/// What a source gave.
struct Found {
    objects: Vec<Object>,
    unread: Vec<hsmd_import::Error>,
}

/// Runs it.
pub(super) fn run(options: &Options, format: Format) -> Result<Exit, Error> {
    let Found { mut objects, unread } = find(options)?;
    objects.sort_by_key(|object| object.class);
    let mut report: Vec<Row> = unread.iter().map(unread_row).collect();
    if options.dry_run {
        report.extend(objects.iter().map(|object| row(object, "would be imported", None)));
    } else if !objects.is_empty() {
        report.extend(put(options, &mut objects)?);
    }
    let failed = report.iter().filter(|row| row.reason.is_some()).count();
    let total = report.len();
    show(&Report(report), format)?;
    if failed == 0 {
        return Ok(Exit::Ok);
    }
    let message =
        format!("{failed} of {total} objects were not imported; what was imported stays: it may be run again");
    Err(Error::new(Exit::Failed, message))
}

fn find(options: &Options) -> Result<Found, Error> {
    let source = PinSource::of(options.from_pin_file.clone(), options.from_pin_fd);
    let given = |prompt: &str| source.read("from-pin", prompt);
    if let Some(path) = &options.softhsm {
        return from_softhsm(path, options.from_token.as_deref(), given);
    }
    if let Some(path) = &options.from_module {
        let pin = given("PIN of the user of the token that keys come from: ")?;
        let name = options.from_token.as_deref().map_or(TokenName::Only, TokenName::Named);
        // Writing: where a token cannot make session objects otherwise.
        let token = Token::open(path, name, &pin, true).map_err(explain)?;
        let (objects, unread) = module::read(&token).map_err(explain)?;
        return Ok(Found { objects, unread });
    }
    from_files(options, &source)
}

fn from_files(options: &Options, source: &PinSource) -> Result<Found, Error> {
    let mut objects = Vec::new();
    for path in &options.files {
        let mut password = || {
            let read = match source.is_given() {
                true => source.read("from-pin", ""),
                false => ask(&format!("Password of {}: ", path.display())),
            };
            read.map_err(|error| hsmd_import::Error::Secret(error.to_string()))
        };
        objects.extend(file::read(path, &mut password).map_err(explain)?);
    }
    for object in &mut objects {
        if let Some(label) = &options.label {
            object.set_label(label);
        }
        if let Some(Id(id)) = &options.id {
            object.set_id(id);
        }
        if options.extractable {
            object.set_extractable(true);
        }
    }
    Ok(Found {
        objects,
        unread: Vec::new(),
    })
}

fn from_softhsm(
    path: &Path,
    wanted: Option<&str>,
    pin: impl Fn(&str) -> Result<Secret, Error>,
) -> Result<Found, Error> {
    let folders = softhsm::folders(path).map_err(explain)?;
    let labels = || {
        folders
            .iter()
            .map(|folder| format!("{:?}", folder.label()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut hits = folders
        .iter()
        .filter(|folder| wanted.is_none_or(|wanted| folder.label() == wanted || folder.serial() == wanted));
    let (first, second) = (hits.next(), hits.next());
    let folder = match (first, second) {
        (Some(folder), None) => folder,
        (None, _) => {
            let message = format!("{}: no such token; there are: {}", path.display(), labels());
            return Err(Error::new(Exit::NotFound, message));
        }
        (Some(_), Some(_)) => {
            let message = format!(
                "{}: several tokens: {}\n  remedy: name one with --from-token, or its folder",
                path.display(),
                labels()
            );
            return Err(Error::new(Exit::Usage, message));
        }
    };
    let pin = pin(&format!("PIN of the user of SoftHSM2's token {:?}: ", folder.label()))?;
    let (objects, unread) = folder.read(&pin).map_err(explain)?;
    Ok(Found { objects, unread })
}

fn put(options: &Options, objects: &mut [Object]) -> Result<Vec<Row>, Error> {
    let path = match &options.module {
        Some(path) => path.clone(),
        None => {
            let program = std::env::current_exe().map_err(|error| Error::failed(&error))?;
            module_near(program.parent().unwrap_or(Path::new("/")))
        }
    };
    let pin = options
        .pin
        .read("pin", "PIN of the user of the token that takes them: ")?;
    let name = options.token.as_deref().map_or(TokenName::Only, TokenName::Named);
    let token = Token::open(&path, name, &pin, true).map_err(explain)?;
    let mut destination = Destination::new(token);
    let total = objects.len();
    let mut rows = Vec::with_capacity(total);
    for (done, object) in objects.iter_mut().enumerate() {
        if done > 0 && done.is_multiple_of(STRIDE) {
            // Nobody to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "hsmctl: {done} of {total} objects");
        }
        rows.push(match destination.put(object) {
            Ok(Outcome::Imported) => row(object, "imported", None),
            Ok(Outcome::Present) => row(object, "present", None),
            Err(error) => row(object, "refused", Some(reason(&error))),
        });
    }
    Ok(rows)
}

/// Why an object was refused, and what helps.
fn reason(error: &hsmd_import::Error) -> String {
    let remedy = match error {
        hsmd_import::Error::Kind { .. } => {
            "hsmd has DES3 under the policy `legacy` alone; remedy: a partition for these keys, \
             `hsmctl partition create NAME --policy legacy`"
        }
        hsmd_import::Error::Group { .. } => {
            "hsmd has the groups of RFC 3526 and RFC 7919 with at least 2,048 bits; remedy: a new key in one of them"
        }
        _ => return error.to_string(),
    };
    format!("{error}; {remedy}")
}

fn row(object: &Object, result: &'static str, reason: Option<String>) -> Row {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Row {
        class: object.class.name(),
        kind: object.kind.clone(),
        label: object.label(),
        id: hex(object.id()),
        result,
        reason,
        origin: object.origin.clone(),
    }
}

fn unread_row(error: &hsmd_import::Error) -> Row {
    Row {
        class: Class::Data.name(),
        kind: String::new(),
        label: String::new(),
        id: String::new(),
        result: "not read",
        reason: Some(error.to_string()),
        origin: String::new(),
    }
}

fn explain(error: hsmd_import::Error) -> Error {
    let exit = match &error {
        hsmd_import::Error::Secret(_) => Exit::Refused,
        hsmd_import::Error::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound => Exit::NotFound,
        hsmd_import::Error::Io { .. }
        | hsmd_import::Error::Format { .. }
        | hsmd_import::Error::Token(_)
        | hsmd_import::Error::Kind { .. }
        | hsmd_import::Error::Group { .. } => Exit::Failed,
    };
    Error::new(exit, error.to_string())
}
