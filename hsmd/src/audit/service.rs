//! `hsmd.audit.v1.Audit`: reads the log, checks it, and says of which partitions each use of a key is recorded. It has no call that
//! takes anything out of the log.

use super::file::{Header, Trailer, TrailerLine, Withheld, WithheldLine, entry_line, head_line, hex, line_of};
use super::in_scene;
use super::view::{EntryView, Filter, is_after, is_before, is_time};
use crate::node::Node;
use hsmd_control::audit::audit_server::Audit;
use hsmd_control::audit::*;
use hsmd_keystore::Error;
use hsmd_keystore::audit::{Hash, Segment, digest, head_text, link};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Lines in one message of an export.
const LINES: usize = 200;
/// Messages that wait for a slow reader.
const AHEAD: usize = 4;

/// The service.
pub(crate) struct Service(pub(crate) Arc<Node>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Audit for Service {
    type ExportStream = Answers<ExportResponse>;
    type TailStream = Answers<TailResponse>;

    async fn head(&self, _: Request<HeadRequest>) -> Result<Response<HeadResponse>, Status> {
        let node = self.0.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let audit = node.keystore.audit();
            audit.flush();
            let head = audit.head();
            HeadResponse {
                node: audit.node().to_string(),
                sequence: head.sequence,
                hash: hex(&head.hash),
                time_ms: head.time_ms,
                signature: hex(&head.signature),
                public_key: hex(&audit.public_key()),
                text: head_text(audit.node(), head.sequence, &head.hash, head.time_ms),
                dropped: audit.dropped().0,
            }
        });
        answer.await.map(Response::new).map_err(|_| failed())
    }

    async fn export(&self, request: Request<ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let (node, request) = (self.0.clone(), request.into_inner());
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            node.keystore.audit().flush();
            let result = Export::new(&node, &request, &sender).and_then(|mut export| export.run());
            if let Err(Some(status)) = result {
                // The reader may have gone.
                let _ = sender.blocking_send(Err(status));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let filter = Filter::from(request.into_inner().filter);
        let mut entries = self.0.audit.follow();
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            let mut missed = 0;
            loop {
                let next = tokio::select! {
                    next = entries.recv() => next,
                    () = sender.closed() => return,
                };
                let entry = match next {
                    Ok(entry) => entry,
                    Err(RecvError::Lagged(more)) => {
                        missed += more;
                        continue;
                    }
                    Err(RecvError::Closed) => return,
                };
                if !filter.is_empty() && !EntryView::read(&entry.line).is_some_and(|view| filter.fits(&view)) {
                    continue;
                }
                let answer = TailResponse {
                    line: entry.line.to_string(),
                    sequence: entry.sequence,
                    hash: hex(&entry.hash),
                    missed: std::mem::take(&mut missed),
                };
                if sender.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn verify(&self, _: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let node = self.0.clone();
        let report = tokio::task::spawn_blocking(move || {
            node.keystore.audit().flush();
            node.keystore.audit().verify()
        });
        let report = report.await.map_err(|_| failed())?;
        Ok(Response::new(VerifyResponse {
            entries: report.entries,
            from: report.from,
            to: report.to,
            troubles: report.troubles.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn set_use(&self, request: Request<SetUseRequest>) -> Result<Response<SetUseResponse>, Status> {
        let (node, request) = (self.0.clone(), request.into_inner());
        if !node.slots.all().iter().any(|slot| slot.serial == request.partition) {
            return Err(Status::not_found("there is no partition of this serial number"));
        }
        let work = move || {
            node.audit_uses
                .set(&node.keystore, &node.slots, &request.partition, request.record)
        };
        let done = tokio::task::spawn_blocking(in_scene(work))
            .await
            .map_err(|_| failed())?;
        done.map_err(|error| match error {
            Error::Full => Status::resource_exhausted(error.to_string()),
            error => Status::internal(error.to_string()),
        })?;
        Ok(Response::new(SetUseResponse {}))
    }

    async fn list_use(&self, _: Request<ListUseRequest>) -> Result<Response<ListUseResponse>, Status> {
        Ok(Response::new(ListUseResponse {
            partitions: self.0.audit_uses.all(),
        }))
    }
}

fn failed() -> Status {
    Status::internal("the request failed; see the daemon's log")
}

/// Why an export ends early: what to tell the reader, or nothing, because it has gone.
type Stop = Option<Status>;

/// One export on its way.
struct Export<'a> {
    node: &'a Node,
    sender: &'a mpsc::Sender<Result<ExportResponse, Status>>,
    filter: Filter,
    since: String,
    until: String,
    from: u64,
    to: u64,
    lines: Vec<String>,
    /// The first entry and the hash before it, once something was written.
    begun: Option<(u64, Hash)>,
    next: u64,
    hash: Hash,
    heads: u64,
}

impl<'a> Export<'a> {
    fn new(
        node: &'a Node,
        request: &ExportRequest,
        sender: &'a mpsc::Sender<Result<ExportResponse, Status>>,
    ) -> Result<Self, Stop> {
        for (field, text) in [("since", &request.since), ("until", &request.until)] {
            if !is_time(text) {
                let message =
                    format!("{field} must be a time in UTC as 2026-01-31T12:00:00.000Z, or the beginning of one");
                return Err(Some(Status::invalid_argument(message)));
            }
        }
        let audit = node.keystore.audit();
        let (dropped, hash) = audit.dropped();
        let last = audit.head().sequence;
        if request.from > last + 1 || (request.to != 0 && request.to < request.from) {
            let message = format!("from and to are entries between {} and {last}", dropped + 1);
            return Err(Some(Status::out_of_range(message)));
        }
        if request.from != 0 && request.from <= dropped {
            let message = format!("entries up to {dropped} are no longer kept");
            return Err(Some(Status::out_of_range(message)));
        }
        Ok(Self {
            node,
            sender,
            filter: request.filter.clone().into(),
            since: request.since.clone(),
            until: request.until.clone(),
            from: request.from.max(dropped + 1),
            to: if request.to == 0 { last } else { request.to.min(last) },
            lines: Vec::with_capacity(LINES),
            begun: None,
            next: dropped + 1,
            hash,
            heads: 0,
        })
    }

    fn run(&mut self) -> Result<(), Stop> {
        let damaged = |at: u64| {
            Some(Status::data_loss(format!(
                "entries from {at} on cannot be read: see Verify"
            )))
        };
        for segment in self.node.keystore.audit().segments(self.from) {
            let segment = segment.map_err(damaged)?;
            if self.begun.is_some() && segment.first != self.next {
                return Err(damaged(self.next));
            }
            if !self.segment(&segment)? {
                break;
            }
        }
        self.finish()
    }

    /// Writes what belongs to the export; false when it is complete.
    fn segment(&mut self, segment: &Segment) -> Result<bool, Stop> {
        (self.next, self.hash) = (segment.first, segment.base);
        let timed = !self.since.is_empty() || !self.until.is_empty() || !self.filter.is_empty();
        for line in &segment.lines {
            let view = if timed { EntryView::read(line) } else { None };
            let time = view.as_ref().map_or("", |view| view.time.as_str());
            if self.next > self.to || (self.begun.is_some() && is_after(time, &self.until)) {
                return Ok(false);
            }
            let digest = digest(line);
            let before = self.hash;
            self.hash = link(&before, &digest);
            let sequence = self.next;
            self.next += 1;
            if self.begun.is_none() {
                if sequence < self.from || is_before(time, &self.since) {
                    continue;
                }
                self.begin(sequence, before)?;
                if is_after(time, &self.until) {
                    (self.next, self.hash) = (sequence, before);
                    return Ok(false);
                }
            }
            let shown = self.filter.is_empty() || view.is_some_and(|view| self.filter.fits(&view));
            let line = if shown {
                entry_line(line, &self.hash)
            } else {
                line_of(&WithheldLine {
                    withheld: Withheld {
                        sequence,
                        digest: hex(&digest),
                    },
                    hash: hex(&self.hash),
                })
            };
            self.write(line)?;
        }
        if self.begun.is_some() {
            self.heads += 1;
            self.write(head_line(&segment.head))?;
        }
        Ok(true)
    }

    fn begin(&mut self, from: u64, base: Hash) -> Result<(), Stop> {
        self.begun = Some((from, base));
        let audit = self.node.keystore.audit();
        self.write(line_of(&Header {
            hsmd_audit: super::file::FORM,
            node: audit.node().to_string(),
            public_key: hex(&audit.public_key()),
            from,
            base: hex(&base),
        }))
    }

    fn finish(&mut self) -> Result<(), Stop> {
        if self.begun.is_none() {
            self.begin(self.next, self.hash)?;
        }
        let Some((from, base)) = self.begun else { return Ok(()) };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let to = self.next - 1;
        let signature = self
            .node
            .keystore
            .audit()
            .sign_range((from, &base), (to, &self.hash), self.heads, time_ms)
            .map_err(|error| Some(Status::internal(error.to_string())))?;
        self.write(line_of(&TrailerLine {
            trailer: Trailer {
                from,
                to,
                hash: hex(&self.hash),
                heads: self.heads,
                time_ms,
            },
            signature: hex(&signature),
        }))?;
        self.send()
    }

    fn write(&mut self, line: String) -> Result<(), Stop> {
        self.lines.push(line);
        if self.lines.len() < LINES { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), Stop> {
        let lines = std::mem::take(&mut self.lines);
        let sent = self.sender.blocking_send(Ok(ExportResponse { lines }));
        sent.map_err(|_| None)
    }
}
