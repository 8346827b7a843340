//! `hsmctl backup` and `hsmctl restore`. The file, its passphrase or key file and their checking are on this side; the daemon gets a
//! key that opens one backup and nothing else. `verify` and `inspect` need no daemon at all.

mod file;
mod restore;
mod view;

use super::Format;
use super::connect::connect;
use super::exit::{Error, Exit};
use super::output::show;
use super::profile::Target;
use crate::passphrase::{SecretError, SecretOptions};
use clap::{Args, Subcommand};
use hsmd_control::backup::backup_client::BackupClient;
use hsmd_control::backup::{CreateRequest, Key, ListAutomaticRequest, create_response};
use hsmd_keystore::{BackupHeader, BackupKey, BackupSecret, Contents, Incoming, PinCost};
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

pub(super) use self::restore::{Restore, run as run_restore};

/// `hsmctl backup ...`
#[derive(Subcommand)]
pub(super) enum Backup {
    /// Makes a backup of everything, of an HSM, or of a partition, while the daemon goes on.
    #[command(
        after_help = "Examples:\n  hsmctl backup key-create backup.key\n  hsmctl backup create all.hsmdbackup --key-file backup.key"
    )]
    Create(Create),
    /// Lists the store's automatic backups, which are for the store itself.
    #[command(after_help = "Example:\n  hsmctl backup list")]
    List,
    /// Reads a backup to its end and checks every byte; no daemon is asked.
    #[command(
        after_help = "Examples:\n  hsmctl backup key-create verify.key\n  hsmctl backup create verify.hsmdbackup --key-file verify.key\n  hsmctl backup verify verify.hsmdbackup --key-file verify.key"
    )]
    Verify(Read),
    /// Says what a backup is, without a key how it is sealed; no daemon is asked.
    #[command(
        after_help = "Examples:\n  hsmctl backup key-create backup.key\n  hsmctl backup create all.hsmdbackup --key-file backup.key\n  hsmctl backup inspect all.hsmdbackup"
    )]
    Inspect(Read),
    /// Makes a key file for backups, mode 0400. Keep it apart from the backups.
    #[command(after_help = "Example:\n  hsmctl backup key-create backup.key")]
    KeyCreate {
        /// The file to make.
        file: PathBuf,
    },
}

/// Arguments of `hsmctl backup create`.
#[derive(Args)]
pub(super) struct Create {
    /// The file to make; an existing one is not overwritten.
    file: PathBuf,
    /// Only this HSM: id, serial number or ARN.
    #[arg(long, value_name = "HSM", default_value = "", conflicts_with = "partition")]
    hsm: String,
    /// Only this partition: label, serial number or ARN.
    #[arg(long, value_name = "PARTITION", default_value = "")]
    partition: String,
    #[command(flatten)]
    secret: SecretOptions,
}

/// Arguments of `hsmctl backup verify` and `inspect`.
#[derive(Args)]
pub(super) struct Read {
    /// The backup.
    file: PathBuf,
    #[command(flatten)]
    secret: SecretOptions,
}

/// Runs a command.
pub(super) async fn run(command: Backup, target: &Target, format: Format) -> Result<Exit, Error> {
    match command {
        Backup::Create(options) => create(options, target, format).await,
        Backup::List => list(target, format).await,
        Backup::Verify(options) => {
            let contents = verify(&options.file, &secret(&options.secret, false)?)?;
            show(&view::ContentsView::new(&contents), format)
        }
        Backup::Inspect(options) if options.secret.given() => {
            let contents = verify(&options.file, &options.secret.read()?)?;
            show(&view::ContentsView::new(&contents), format)
        }
        Backup::Inspect(options) => {
            let (header, _) = file::open(&options.file)?;
            show(&view::HeaderView::new(&header), format)
        }
        Backup::KeyCreate { file } => key_create(&file, format),
    }
}

async fn create(options: Create, target: &Target, format: Format) -> Result<Exit, Error> {
    let mut file = file::Fresh::create(&options.file)?;
    let key = secret(&options.secret, true)?
        .seal(PinCost::PRODUCTION)
        .map_err(|error| Error::failed(&error))?;
    let request = CreateRequest {
        key: Some(message(&key)),
        hsm: options.hsm,
        partition: options.partition,
    };
    let mut parts = BackupClient::new(connect(target).await?)
        .create(request)
        .await?
        .into_inner();
    let mut summary = None;
    while let Some(response) = parts.message().await? {
        match response.part {
            Some(create_response::Part::Piece(piece)) => file.write(&piece)?,
            Some(create_response::Part::Progress(progress)) => say(&format!("{} records", progress.records)),
            Some(create_response::Part::Summary(last)) => summary = Some(last),
            None => {}
        }
    }
    let summary = summary.ok_or_else(|| Error::new(Exit::Failed, "the daemon did not finish the backup"))?;
    // What was written is read again before it counts as a backup.
    verify_with(file.unfinished(), &key)?;
    file.keep()?;
    show(&view::SummaryView::new(summary, &options.file), format)
}

async fn list(target: &Target, format: Format) -> Result<Exit, Error> {
    let mut client = BackupClient::new(connect(target).await?);
    let found = client.list_automatic(ListAutomaticRequest {}).await?.into_inner();
    show(&view::AutomaticList::new(found.backups), format)
}

fn key_create(file: &Path, format: Format) -> Result<Exit, Error> {
    BackupSecret::create_file(file).map_err(|error| match error {
        hsmd_keystore::Error::Io(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Error::new(
            Exit::Conflict,
            format!("{} exists already; nothing was changed", file.display()),
        ),
        error => Error::new(Exit::Failed, format!("{}: {error}", file.display())),
    })?;
    show(&view::KeyView::new(file), format)
}

/// The secret that the options name, or a passphrase typed at the terminal; `new`: twice.
fn secret(options: &SecretOptions, new: bool) -> Result<BackupSecret, Error> {
    if options.given() {
        return Ok(options.read()?);
    }
    let typed = super::secret::ask("Passphrase of the backup: ").map_err(|_| Error::from(SecretError::None))?;
    if new && *super::secret::ask("The same again: ")? != *typed {
        return Err(Error::new(Exit::Usage, "the two differ; nothing was made"));
    }
    Ok(crate::passphrase::typed(typed.as_bytes())?)
}

/// Reads a backup to its end.
fn verify(path: &Path, secret: &BackupSecret) -> Result<Contents, Error> {
    let (header, _) = file::open(path)?;
    let key = secret.open(header).map_err(|error| refused(path, &error))?;
    verify_with(path, &key)
}

fn verify_with(path: &Path, key: &BackupKey) -> Result<Contents, Error> {
    let (_, from) = file::open(path)?;
    let bytes = from.get_ref().metadata().map_or(0, |metadata| metadata.len());
    let read = Incoming::open(from, key).and_then(|incoming| incoming.verify(&mut |_| {}));
    let contents = read.map_err(|error| refused(path, &error.into()))?;
    Ok(Contents { bytes, ..contents })
}

/// The key of a backup as the daemon gets it.
fn message(key: &BackupKey) -> Key {
    Key {
        header: key.header().to_bytes().to_vec(),
        key: key.expose().to_vec(),
    }
}

fn refused(path: &Path, error: &hsmd_keystore::Error) -> Error {
    use hsmd_keystore::{ContainerError, Error as Store, RestoreError};
    let exit = match error {
        Store::Restore(RestoreError::Container(ContainerError::WrongKey)) => Exit::Refused,
        _ => Exit::Failed,
    };
    Error::new(exit, format!("{}: {error}", path.display()))
}

/// Progress, for a terminal only.
pub(super) fn say(what: &str) {
    use std::io::IsTerminal as _;
    let mut err = std::io::stderr();
    if err.is_terminal() {
        // Nobody to tell when it is closed.
        let _ = write!(err, "\rhsmctl: {what}\x1b[K");
    }
}

impl From<SecretError> for Error {
    fn from(error: SecretError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

type Source = BufReader<File>;
type Opened = (BackupHeader, Source);
