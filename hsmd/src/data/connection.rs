//! One connection: Hello, then one request after the other, each answered before the next is read. While a request
//! waits, the client hears a heartbeat.

use super::call::Call;
use super::clients::{Connected, Inflight, Peer};
use super::dispatch::{self, Place};
use super::pool::Pool;
use super::reader::{Frame, FrameReader, ReadError, SectionData};
use crate::node::Node;
use hsmd_keystore::{Caller, Context};
use hsmd_proto::PROTOCOL_VERSION;
use hsmd_proto::ck::Rv;
use hsmd_proto::frame::{FrameError, FrameKind, FrameWriter, Header, Sections};
use hsmd_proto::ids::{ApplicationId, SlotId};
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::request::Op;
use hsmd_proto::wire::{self, Request, reply};
use prost::Message;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tokio::time::{interval_at, timeout};

/// Replies larger than this do not keep their buffer.
const SMALL: usize = 128 << 10;

/// How long an idle connection is listened to when the daemon stops.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("frame not complete in time")]
    Slow,
    #[error("the reply was not taken in time")]
    Stuck,
    #[error("the first request is not Hello")]
    NoHello,
    #[error("Hello of an unknown version or without application")]
    BadHello,
    #[error("writing: {0}")]
    Write(std::io::Error),
    #[error("the daemon stops")]
    Stopping,
}

impl End {
    /// An ordinary end needs no line in the log.
    pub(super) const fn is_ordinary(&self) -> bool {
        matches!(self, Self::Read(ReadError::Closed) | Self::Stopping)
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<R, W>(
    node: Arc<Node>,
    streams: (R, W),
    peer: Peer,
    connected: Connected,
    mut stop: watch::Receiver<bool>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (read, write) = streams;
    let mut connection = Connection {
        reader: FrameReader::new(read, node.config.data.max_data as usize),
        stream: write,
        writer: FrameWriter::new(),
        caller: None,
        known_ticket: WipingVec::new(),
        node,
        peer,
        connected,
    };
    match connection.run(&mut stop).await {
        Ok(()) => End::Stopping,
        Err(end) => end,
    }
}

struct Connection<R, W> {
    node: Arc<Node>,
    peer: Peer,
    connected: Connected,
    reader: FrameReader<R>,
    stream: W,
    writer: FrameWriter,
    /// Known after Hello.
    caller: Option<Caller>,
    /// The last ticket that was good here: with another one the key set may have to open thousands of keys first.
    known_ticket: WipingVec,
}

/// A request on its way to other threads and back.
struct Exchange {
    node: Arc<Node>,
    caller: Caller,
    request: Request,
    section: WipingVec,
    writer: FrameWriter,
    /// Counts the data against the client until the request ends.
    _share: Option<Inflight>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    async fn run(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), End> {
        loop {
            let stopping = tokio::select! {
                biased;
                ready = self.reader.ready() => {
                    ready?;
                    false
                }
                _ = stop.wait_for(|stop| *stop), if self.reader.is_idle() => true,
            };
            // What is on its way already is answered.
            if stopping {
                match timeout(LAST_WORDS, self.reader.ready()).await {
                    Ok(ready) => ready?,
                    Err(_) => return Ok(()),
                }
            }
            let patience = Duration::from_millis(self.node.config.data.frame_timeout_ms);
            let frame = timeout(patience, self.reader.frame(self.connected.client())).await;
            let frame = frame.map_err(|_| End::Slow)??;
            self.answer(frame).await?;
            self.reader.wipe_used();
            if *stop.borrow() && self.reader.is_idle() {
                return Ok(());
            }
        }
    }

    async fn answer(&mut self, frame: Frame) -> Result<(), End> {
        let sequence = frame.sequence;
        let request =
            Request::decode(self.reader.bytes(&frame.body)).map_err(|_| ReadError::from(FrameError::Message))?;
        self.node.count_request();
        let Some(caller) = self.caller else {
            let reply = self.hello(&request)?;
            return self.send(sequence, &reply).await;
        };
        let (section, share) = match frame.section {
            SectionData::TooLarge => return self.send(sequence, &failure(too_large(&request))).await,
            SectionData::Buffered(range) => {
                let section = Sections(self.reader.bytes(&range));
                let place = self.place(&request, &section);
                if place == Place::Inline {
                    let reply = perform(&self.node, caller, request, section, &mut self.writer);
                    return self.send(sequence, &reply).await;
                }
                (WipingVec::from(section.0), None)
            }
            SectionData::Collected(data, share) => (data, Some(share)),
        };
        let place = match self.place(&request, &Sections(&section)) {
            Place::Inline => Place::Cpu,
            place => place,
        };
        self.remember_ticket(&request, &section);
        let exchange = Exchange {
            node: self.node.clone(),
            caller,
            request,
            section,
            writer: std::mem::take(&mut self.writer),
            _share: share,
        };
        let reply = self.elsewhere(place, sequence, exchange).await?;
        if reply.rv != Rv::OK.0 {
            self.known_ticket = WipingVec::new();
        }
        self.send(sequence, &reply).await
    }

    /// Where the request runs: as the table says, but a ticket that is new here never inline.
    fn place(&self, request: &Request, sections: &Sections<'_>) -> Place {
        let place = request
            .op
            .as_ref()
            .map_or(Place::Inline, |op| dispatch::place(op, sections));
        match sections.get_opt(request.ticket.as_ref()) {
            Ok(Some(ticket)) if ticket != self.known_ticket.as_slice() => place.or(Place::Write),
            _ => place,
        }
    }

    fn remember_ticket(&mut self, request: &Request, section: &[u8]) {
        if let Ok(Some(ticket)) = Sections(section).get_opt(request.ticket.as_ref())
            && ticket != self.known_ticket.as_slice()
        {
            self.known_ticket = WipingVec::from(ticket);
        }
    }

    /// The first request of a connection.
    fn hello(&mut self, request: &Request) -> Result<wire::Reply, End> {
        let Some(Op::Hello(hello)) = &request.op else {
            return Err(End::NoHello);
        };
        let application = ApplicationId::from_slice(&hello.application).filter(|_| hello.version >= 1);
        let application = application.ok_or(End::BadHello)?;
        self.caller = Some(Caller {
            identity: self.peer.identity,
            application,
        });
        tracing::debug!(%application, program = ?hello.program, version = hello.version, "hello");
        Ok(wire::Reply {
            rv: Rv::OK.0,
            revision: 0,
            result: Some(reply::Result::Hello(wire::HelloReply {
                version: PROTOCOL_VERSION,
                node: self.node.keystore.node().0.to_vec(),
                max_data: self.node.config.data.max_data,
            })),
        })
    }

    /// Runs a request on a pool and keeps the client informed.
    async fn elsewhere(&mut self, place: Place, sequence: u32, exchange: Exchange) -> Result<wire::Reply, End> {
        let (sender, mut receiver) = oneshot::channel();
        let node = self.node.clone();
        let job = move || {
            // A client that is gone asks again, with the same id (INV-10).
            if !sender.is_closed() {
                let _ = sender.send(exchange.perform());
            }
        };
        if pool(&node, place).submit(&self.peer, Box::new(job)).is_err() {
            tracing::warn!(?place, "queue full");
            return Ok(failure(Rv::DEVICE_MEMORY));
        }
        let period = Duration::from_millis(node.config.data.heartbeat_ms);
        let mut beats = interval_at(tokio::time::Instant::now() + period, period);
        loop {
            tokio::select! {
                biased;
                done = &mut receiver => {
                    // The job cannot vanish: a panic in it is caught.
                    let Ok((reply, writer)) = done else { return Ok(failure(Rv::GENERAL_ERROR)) };
                    self.writer = writer;
                    return Ok(reply);
                }
                _ = beats.tick() => self.heartbeat(sequence).await?,
            }
        }
    }

    async fn heartbeat(&mut self, sequence: u32) -> Result<(), End> {
        let header = Header {
            kind: FrameKind::Heartbeat,
            more: false,
            section: 0,
            body: 0,
            sequence,
        };
        let bytes = header.to_bytes();
        write(&mut self.stream, &bytes, self.node.config.data.frame_timeout_ms).await
    }

    async fn send(&mut self, sequence: u32, reply: &wire::Reply) -> Result<(), End> {
        let bytes = self.writer.finish(FrameKind::Reply, sequence, reply);
        let large = bytes.len() > SMALL;
        write(&mut self.stream, bytes, self.node.config.data.frame_timeout_ms).await?;
        if large {
            self.writer = FrameWriter::new();
        } else {
            self.writer.clear();
        }
        Ok(())
    }
}

async fn write<W: AsyncWrite + Unpin>(stream: &mut W, bytes: &[u8], patience_ms: u64) -> Result<(), End> {
    let written = timeout(Duration::from_millis(patience_ms), stream.write_all(bytes)).await;
    written.map_err(|_| End::Stuck)?.map_err(End::Write)
}

impl Exchange {
    fn perform(mut self) -> (wire::Reply, FrameWriter) {
        let section = Sections(&self.section);
        let reply = perform(&self.node, self.caller, self.request, section, &mut self.writer);
        (reply, self.writer)
    }
}

const fn pool(node: &Node, place: Place) -> &Pool {
    match place {
        Place::Write => &node.pools.write,
        Place::Pin => &node.pools.pin,
        Place::Inline | Place::Cpu => &node.pools.cpu,
    }
}

/// Does what a request asks. A panic, which would be a defect of ours, costs this request only.
fn perform(
    node: &Node,
    caller: Caller,
    request: Request,
    sections: Sections<'_>,
    writer: &mut FrameWriter,
) -> wire::Reply {
    let name = request.op.as_ref().map_or("unknown", dispatch::name);
    let slot = request.slot;
    let answer = catch_unwind(AssertUnwindSafe(|| decide(node, caller, request, sections, writer)));
    let answer = answer.unwrap_or_else(|_| {
        tracing::error!(request = name, slot, "a request panicked; please report this");
        Err(Rv::GENERAL_ERROR)
    });
    match answer {
        Ok(result) => wire::Reply {
            rv: Rv::OK.0,
            revision: node.keystore.revision(),
            result,
        },
        Err(rv) => {
            tracing::debug!(request = name, slot, %rv, "refused");
            writer.clear();
            failure(rv)
        }
    }
}

fn decide(
    node: &Node,
    caller: Caller,
    request: Request,
    sections: Sections<'_>,
    writer: &mut FrameWriter,
) -> super::call::Answer {
    let op = request.op.ok_or(Rv::FUNCTION_NOT_SUPPORTED)?;
    let slot = SlotId(request.slot);
    let ticket = sections
        .get_opt(request.ticket.as_ref())
        .map_err(|_| Rv::ARGUMENTS_BAD)?;
    let login = match ticket {
        None => None,
        Some(ticket) => {
            let slot = node.slots.get(slot).ok_or(Rv::SLOT_ID_INVALID)?;
            let key_set = slot.key_set.as_ref().ok_or(Rv::TOKEN_NOT_PRESENT)?;
            Some(key_set.resolve(&caller, ticket)?)
        }
    };
    let mut call = Call {
        node,
        context: Context { caller, login },
        slot,
        sections,
        writer,
    };
    dispatch::run(op, &mut call)
}

const fn failure(rv: Rv) -> wire::Reply {
    wire::Reply {
        rv: rv.0,
        revision: 0,
        result: None,
    }
}

/// The code for data over `max_data`, or over the client's share of data in flight.
const fn too_large(request: &Request) -> Rv {
    match &request.op {
        Some(Op::Decrypt(_)) => Rv::ENCRYPTED_DATA_LEN_RANGE,
        Some(Op::Sign(_) | Op::Verify(_) | Op::Encrypt(_)) => Rv::DATA_LEN_RANGE,
        _ => Rv::DEVICE_MEMORY,
    }
}
