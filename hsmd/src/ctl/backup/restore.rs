//! `hsmctl restore`: an HSM or a partition into a running daemon. The file is read twice: once for a dry run, which says what will
//! be and that nothing is wrong with it, then for the restore.

use super::super::Format;
use super::super::confirm::sure;
use super::super::connect::connect;
use super::super::exit::{Error, Exit};
use super::super::officer::HsmSoPin;
use super::super::output::show;
use super::super::profile::Target;
use super::{file, message, refused, say, view};
use crate::passphrase::SecretOptions;
use clap::Args;
use hsmd_control::backup::backup_client::BackupClient;
use hsmd_control::backup::{OfficerPin, RestoreBegin, RestoreRequest, Restored, restore_request, restore_response};
use hsmd_keystore::BackupKey;
use std::io::Read as _;
use std::path::PathBuf;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Bytes of a piece.
const PIECE: usize = 64 << 10;

/// Arguments of `hsmctl restore`.
#[derive(Args)]
pub(in super::super) struct Restore {
    /// The backup of an HSM or a partition. One of everything is restored by `hsmd restore`.
    file: PathBuf,
    /// The HSM that gets the new partition: id, serial number or ARN; default: the only one.
    #[arg(long, value_name = "HSM", default_value = "", conflicts_with = "replace")]
    hsm: String,
    /// The label of the new partition; default: that of the backup.
    #[arg(long, value_name = "LABEL", default_value = "", conflicts_with = "replace")]
    label: String,
    /// In place of this partition (label, serial number or ARN) or, for the backup of an HSM, of this HSM's partitions.
    #[arg(long, value_name = "PARTITION", default_value = "")]
    replace: String,
    /// Let objects live again that were destroyed since the backup.
    #[arg(long)]
    resurrect: bool,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
    /// Check everything, say what would be, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    secret: SecretOptions,
    #[command(flatten)]
    officer: HsmSoPin,
}

/// Runs the command.
pub(in super::super) async fn run(options: Restore, target: &Target, format: Format) -> Result<Exit, Error> {
    let (header, _) = file::open(&options.file)?;
    let key = super::secret(&options.secret, false)?
        .open(header)
        .map_err(|error| refused(&options.file, &error))?;
    let mut client = BackupClient::new(connect(target).await?);
    let plan = send(&mut client, &options, &key, true).await?;
    if options.dry_run {
        return show(&view::RestoredView::new(plan, options.resurrect), format);
    }
    let plan = view::RestoredView::new(plan, options.resurrect);
    if plan.changes_what_is_there() {
        sure(options.yes, &plan.in_words())?;
    }
    let done = send(&mut client, &options, &key, false).await?;
    show(&view::RestoredView::new(done, options.resurrect), format)
}

async fn send(
    client: &mut BackupClient<Channel>,
    options: &Restore,
    key: &BackupKey,
    dry_run: bool,
) -> Result<Restored, Error> {
    let begin = RestoreBegin {
        key: Some(message(key)),
        hsm: options.hsm.clone(),
        label: options.label.clone(),
        replace: options.replace.clone(),
        resurrect: options.resurrect,
        dry_run,
        hsm_so_pin: options.officer.read()?.map(|mut pin| OfficerPin {
            value: std::mem::take(&mut pin.value),
        }),
    };
    let (sender, receiver) = mpsc::channel(8);
    let begin = restore_request::Part::Begin(begin);
    // There is room: nothing was sent yet.
    let _ = sender.send(RestoreRequest { part: Some(begin) }).await;
    let (_, mut from) = file::open(&options.file)?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let count = from.read(&mut buffer)?;
            let part = Some(restore_request::Part::Piece(buffer[..count].to_vec()));
            // Whoever does not want more says why in its answer.
            if count == 0 || sender.blocking_send(RestoreRequest { part }).is_err() {
                return Ok::<_, std::io::Error>(());
            }
        }
    });
    let mut parts = client.restore(ReceiverStream::new(receiver)).await?.into_inner();
    let mut restored = None;
    while let Some(response) = parts.message().await? {
        match response.part {
            Some(restore_response::Part::Progress(progress)) => say(&format!("{} records", progress.records)),
            Some(restore_response::Part::Restored(last)) => restored = Some(last),
            None => {}
        }
    }
    if let Ok(Err(error)) = reading.await {
        return Err(Error::new(Exit::Failed, format!("{}: {error}", options.file.display())));
    }
    restored.ok_or_else(|| Error::new(Exit::Failed, "the daemon did not finish the restore"))
}
