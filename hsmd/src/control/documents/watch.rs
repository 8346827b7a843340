//! The stream of changes: a task for each watch, which reads the keystore's history at its own pace. The history is bounded, so a
//! client that does not read ends with OUT_OF_RANGE and lists again; it costs nobody anything.

use super::RecordError;
use super::request::Namespace;
use crate::node::Node;
use hsmd_control::records::{Change, Record, WatchResponse};
use hsmd_keystore::{DocumentEvent, Keystore};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Answers that wait for a client to read.
const ROOM: usize = 8;
/// Batches read from the history at once.
const BATCHES: usize = 16;
/// How often a revision that moved without changes is told.
const PROGRESS: Duration = Duration::from_secs(10);

/// One watch.
pub(super) struct Watch {
    keystore: Keystore,
    moved: watch::Receiver<()>,
    namespace: Namespace,
    prefix: String,
    /// Everything up to here was sent.
    after: u64,
}

type Answer = Result<WatchResponse, Status>;

impl Watch {
    /// A watch of what comes after `after`, or from now on.
    pub(super) fn new(
        node: &Arc<Node>,
        namespace: Namespace,
        prefix: String,
        after: Option<u64>,
    ) -> Result<Self, RecordError> {
        let keystore = node.keystore.clone();
        let after = match after {
            Some(after) => after,
            None => keystore.document_page(&prefix, None, 0, 0)?.revision,
        };
        // Refused at once rather than by a stream that ends at once.
        keystore
            .document_changes(&prefix, after, 0)
            .map_err(|forgotten| RecordError::Forgotten(forgotten.current))?;
        Ok(Self {
            keystore,
            moved: node.documents_moved.clone(),
            namespace,
            prefix,
            after,
        })
    }

    /// Starts the task; it ends with the stream, or with the daemon.
    pub(super) fn start(mut self, mut stop: watch::Receiver<bool>) -> ReceiverStream<Answer> {
        let (answers, stream) = mpsc::channel(ROOM);
        tokio::spawn(async move {
            tokio::select! {
                () = self.run(&answers) => {}
                () = answers.closed() => {}
                _ = stop.wait_for(|stop| *stop) => {
                    // A client that does not read learns it from the end of the connection.
                    let _ = answers.try_send(Err(RecordError::Stopping.into()));
                }
            }
        });
        ReceiverStream::new(stream)
    }

    /// Sends until the client or the history is gone.
    async fn run(&mut self, answers: &mpsc::Sender<Answer>) {
        if send(answers, self.after, Vec::new()).await.is_none() {
            return;
        }
        let mut told = self.after;
        loop {
            // Marked as seen before the history is read, so that no change between the two is missed.
            self.moved.mark_unchanged();
            let found = match self.keystore.document_changes(&self.prefix, self.after, BATCHES) {
                Ok((found, upto)) => {
                    self.after = upto;
                    found
                }
                Err(forgotten) => {
                    let status = RecordError::Forgotten(forgotten.current).into();
                    // The client may be gone already.
                    let _ = answers.send(Err(status)).await;
                    return;
                }
            };
            let more = found.len() == BATCHES;
            for batch in found {
                let changes = batch.events.into_iter().map(|event| self.change(event)).collect();
                told = batch.revision;
                if send(answers, batch.revision, changes).await.is_none() {
                    return;
                }
            }
            if more {
                continue;
            }
            match tokio::time::timeout(PROGRESS, self.moved.changed()).await {
                Ok(Ok(())) => {}
                // The node is gone.
                Ok(Err(_)) => return,
                Err(_) if self.after > told => {
                    told = self.after;
                    if send(answers, told, Vec::new()).await.is_none() {
                        return;
                    }
                }
                Err(_) => {}
            }
        }
    }

    fn change(&self, event: DocumentEvent) -> Change {
        Change {
            deleted: event.value.is_none(),
            record: Some(Record {
                key: self.namespace.key(&event.name).to_owned(),
                value: event.value.map(|value| value.to_vec()).unwrap_or_default(),
                version: event.version,
            }),
        }
    }
}

/// `None`: the client is gone.
async fn send(answers: &mpsc::Sender<Answer>, revision: u64, changes: Vec<Change>) -> Option<()> {
    answers.send(Ok(WatchResponse { revision, changes })).await.ok()
}
