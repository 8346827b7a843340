//! `hsmd.backup.v1.Backup`: streams between gRPC and the keystore, which reads and writes on a thread that may wait. What a restore
//! means is in `restore`.

use super::fault::{self, blocking};
use super::model::ModelError;
use super::restore::{RestoreOptions, RestoreReport};
use crate::node::Node;
use bytes::{Buf as _, Bytes};
use hsmd_control::backup::backup_server::Backup;
use hsmd_control::backup::{
    AutomaticBackup, CreateRequest, CreateResponse, Key, ListAutomaticRequest, ListAutomaticResponse, Progress,
    RestoreRequest, RestoreResponse, Restored, RestoredPartition, Summary, create_response, restore_request,
    restore_response,
};
use hsmd_crypto::secret::SecretArray;
use hsmd_keystore::{BackupKey, Contents, Incoming, Manifest};
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use zeroize::Zeroize as _;

/// Bytes of a piece.
const PIECE: usize = 64 << 10;
/// Pieces on their way.
const QUEUE: usize = 8;
/// Progress is told each so many records.
const STEP: u64 = 1000;

/// The service.
pub(super) struct Service(pub(super) Arc<Node>);

#[tonic::async_trait]
impl Backup for Service {
    type CreateStream = ReceiverStream<Result<CreateResponse, Status>>;
    type RestoreStream = ReceiverStream<Result<RestoreResponse, Status>>;

    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<Self::CreateStream>, Status> {
        let request = request.into_inner();
        let key = key(request.key)?;
        let node = self.0.clone();
        let (hsm, partition) = (request.hsm, request.partition);
        let (node, wanted) = blocking(move || {
            let wanted = node.model.backup_request(&hsm, &partition)?;
            Ok((node, wanted))
        })
        .await?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            let out = Pieces {
                sender: sender.clone(),
                piece: Vec::with_capacity(PIECE),
            };
            let mut progress = |records: u64, of: u64| {
                if records.is_multiple_of(STEP) {
                    // Only a sign of life; whoever went is noticed at the next piece.
                    let part = create_response::Part::Progress(Progress { records, of });
                    let _ = sender.try_send(Ok(CreateResponse { part: Some(part) }));
                }
            };
            let made = node.keystore.write_backup(&wanted, &key, out, &mut progress);
            let last = match made {
                Ok(contents) => {
                    tracing::info!(
                        scope = wanted.scope.name(),
                        name = wanted.name,
                        bytes = contents.bytes,
                        "backup made"
                    );
                    let part = create_response::Part::Summary(summary(&contents));
                    Ok(CreateResponse { part: Some(part) })
                }
                Err(error) => Err(fault::status(&ModelError::Keystore(error))),
            };
            // Nobody to tell when the client has gone.
            let _ = sender.blocking_send(last);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn restore(
        &self,
        request: Request<Streaming<RestoreRequest>>,
    ) -> Result<Response<Self::RestoreStream>, Status> {
        let mut stream = request.into_inner();
        let Some(RestoreRequest {
            part: Some(restore_request::Part::Begin(begin)),
        }) = stream.message().await?
        else {
            return Err(Status::invalid_argument(
                "the first message must say what is to be restored",
            ));
        };
        let key = key(begin.key)?;
        let officer = begin.hsm_so_pin;
        let options = RestoreOptions {
            hsm: begin.hsm,
            label: begin.label,
            replace: begin.replace,
            resurrect: begin.resurrect,
            dry_run: begin.dry_run,
        };
        let (pieces, incoming) = mpsc::channel(QUEUE);
        tokio::spawn(forward(stream, pieces));
        let (sender, receiver) = mpsc::channel(QUEUE);
        let node = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let mut progress = |records: u64| {
                if records.is_multiple_of(STEP) {
                    let part = restore_response::Part::Progress(Progress { records, of: 0 });
                    let _ = sender.try_send(Ok(RestoreResponse { part: Some(part) }));
                }
            };
            let from = Arriving {
                receiver: incoming,
                piece: Bytes::new(),
            };
            let done = Incoming::open(from, &key)
                .map_err(|error| ModelError::Keystore(error.into()))
                .and_then(|incoming| {
                    let pin = officer.as_ref().map(|pin| pin.value.as_slice());
                    node.model.authorise_restore(&incoming, &options, pin)?;
                    node.model.restore(incoming, &options, &mut progress)
                });
            let last = match done {
                Ok(report) => {
                    if !options.dry_run {
                        log(&report, &options);
                    }
                    let part = restore_response::Part::Restored(restored(report, options.dry_run));
                    Ok(RestoreResponse { part: Some(part) })
                }
                Err(error) => Err(fault::status(&error)),
            };
            let _ = sender.blocking_send(last);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn list_automatic(
        &self,
        _: Request<ListAutomaticRequest>,
    ) -> Result<Response<ListAutomaticResponse>, Status> {
        let folder = self.0.config.store.data_dir.clone();
        let found = blocking(move || {
            hsmd_keystore::automatic_backups(&folder).map_err(|error| ModelError::Keystore(error.into()))
        })
        .await?;
        let backups = found.into_iter().map(|backup| AutomaticBackup {
            file: backup.file.display().to_string(),
            revision: backup.revision,
            bytes: backup.bytes,
            modified_ms: backup.modified_ms,
        });
        Ok(Response::new(ListAutomaticResponse {
            backups: backups.collect(),
        }))
    }
}

/// Takes the key out of a message. It opens one backup; the bytes of the message are wiped all the same.
fn key(message: Option<Key>) -> Result<BackupKey, Status> {
    let mut message = message.ok_or_else(|| Status::invalid_argument("key is missing"))?;
    let key = SecretArray::from_slice(&message.key);
    message.key.zeroize();
    let key = key.ok_or_else(|| Status::invalid_argument("key must have 32 bytes"))?;
    BackupKey::from_bytes(&message.header, key).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The file that is being sent, cut into pieces.
struct Pieces {
    sender: mpsc::Sender<Result<CreateResponse, Status>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let part = Some(create_response::Part::Piece(piece));
        let sent = self.sender.blocking_send(Ok(CreateResponse { part }));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// Hands the pieces of a request on; ends with the stream, or when nobody wants more.
async fn forward(mut stream: Streaming<RestoreRequest>, pieces: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let piece = match stream.message().await {
            Ok(Some(RestoreRequest {
                part: Some(restore_request::Part::Piece(piece)),
            })) => Ok(Bytes::from(piece)),
            Ok(None) => return,
            Ok(Some(_)) => Err(io::ErrorKind::InvalidData.into()),
            Err(_) => Err(io::ErrorKind::ConnectionReset.into()),
        };
        let failed = piece.is_err();
        if pieces.send(piece).await.is_err() || failed {
            return;
        }
    }
}

/// The file that arrives. An end of the stream is the end of the file; whether it is too early the container says.
struct Arriving {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl io::Read for Arriving {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = out.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

fn log(report: &RestoreReport, options: &RestoreOptions) {
    for row in &report.partitions {
        tracing::info!(
            source = row.source.serial,
            partition = row.record.serial,
            replaced = row.replaced,
            objects = row.objects,
            destroyed_since = row.destroyed_since,
            resurrected = options.resurrect,
            lost = row.lost,
            "partition restored"
        );
    }
}

fn summary(contents: &Contents) -> Summary {
    Summary {
        objects: contents.key_sets.iter().map(|key_set| key_set.objects).sum(),
        documents: contents.documents,
        bytes: contents.bytes,
        ..described(&contents.manifest)
    }
}

fn described(manifest: &Manifest) -> Summary {
    Summary {
        scope: manifest.scope.name().into(),
        name: manifest.name.clone(),
        created_ms: manifest.created_ms,
        node: manifest.node.to_string(),
        version: manifest.version.clone(),
        revision: manifest.revision,
        dev: manifest.dev,
        key_sets: manifest.key_sets,
        ..Summary::default()
    }
}

fn restored(report: RestoreReport, dry_run: bool) -> Restored {
    let partitions = report.partitions.into_iter().map(|row| RestoredPartition {
        source: row.source.serial,
        serial: row.record.serial,
        label: row.record.label,
        slot: row.record.slot,
        replaced: row.replaced,
        objects: row.objects,
        destroyed_since: row.destroyed_since,
        lost: row.lost,
        shared_with: row.shared_with,
    });
    let partitions: Vec<_> = partitions.collect();
    Restored {
        backup: Some(Summary {
            objects: partitions.iter().map(|partition| partition.objects).sum(),
            ..described(&report.manifest)
        }),
        hsm_arn: report.hsm_arn,
        partitions,
        dry_run,
    }
}
