//! One connection, on its own thread: Hello, then one request after the other, each answered before the next is read.

use super::call::Call;
use super::clients::{Connected, Peer};
use super::dispatch::{self, Place};
use super::reader::{Frame, FrameReader, ReadError, Ready, SectionData};
use super::stream::Stream;
use super::traffic::{Tempo, WINDOW};
use super::turnstile::{Full, Turnstile};
use crate::audit::ConnectionScene;
use crate::node::Node;
use hsmd_keystore::audit::{self, Event, Outcome};
use hsmd_keystore::{Caller, Context, GrantId};
use hsmd_proto::PROTOCOL_VERSION;
use hsmd_proto::ck::Rv;
use hsmd_proto::frame::{FrameError, FrameKind, FrameWriter, Sections};
use hsmd_proto::ids::{ApplicationId, SlotId};
use hsmd_proto::pace::{LIMIT, Manner, Pace, YIELDS};
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::request::Op;
use hsmd_proto::wire::{self, Request, reply};
use prost::Message;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Replies larger than this do not keep their buffer.
const SMALL: usize = 128 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the reply was not taken in time")]
    Stuck,
    #[error("the first request is not Hello")]
    NoHello,
    #[error("Hello of an unknown version or without application")]
    BadHello,
    #[error("writing: {0}")]
    Write(io::Error),
    #[error("the daemon stops")]
    Stopping,
    #[error("the client was removed or changed")]
    Cut,
    /// Another node may answer what this one may not: the client asks it, with the same ids (INV-10).
    #[error("this node has no place in the fleet now")]
    NoPlace,
}

impl End {
    /// An ordinary end needs no line in the log.
    pub(super) const fn is_ordinary(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::Closed) | Self::Stopping | Self::Cut | Self::NoPlace
        )
    }
}

/// Serves a connection to its end.
pub(super) fn serve(node: &Node, stream: Stream, peer: Peer, connected: Connected) -> End {
    let data = &node.config.data;
    let patience = Duration::from_millis(data.frame_timeout_ms);
    let scene = ConnectionScene::new(&peer, &node.slots);
    let mut connection = Connection {
        node,
        scene: Arc::clone(&scene),
        peer,
        connected,
        reader: FrameReader::new(data.max_data as usize, patience),
        stream,
        writer: FrameWriter::new(),
        caller: None,
        known_ticket: WipingVec::new(),
        patience,
        tempo: Tempo::new(&node.traffic),
        pace: Pace::default(),
    };
    let end = match audit::within(scene, || connection.run()) {
        Ok(never) => match never {},
        Err(end) => end,
    };
    match end {
        _ if connection.connected.is_cut() => End::Cut,
        End::Read(ReadError::Closed) if node.clients.is_stopping() => End::Stopping,
        end => end,
    }
}

struct Connection<'a> {
    node: &'a Node,
    /// What the audit log is told of who asks, and where.
    scene: Arc<ConnectionScene>,
    peer: Peer,
    connected: Connected,
    reader: FrameReader,
    stream: Stream,
    writer: FrameWriter,
    /// Known after Hello.
    caller: Option<Caller>,
    /// The last ticket that was good here: with another one the key set may have to open thousands of keys first.
    known_ticket: WipingVec,
    /// How long the client may take to send a request or to take a reply.
    patience: Duration,
    tempo: Tempo<'a>,
    pace: Pace,
}

impl Connection<'_> {
    fn run(&mut self) -> Result<std::convert::Infallible, End> {
        self.listen(self.patience)?;
        self.stream.set_write_timeout(self.patience).map_err(End::Write)?;
        loop {
            self.wait()?;
            let mut rest = self.stream.rest(self.node.traffic.is_crowded());
            let frame = self.reader.frame(&mut rest, self.connected.client())?;
            // What was read before the stream was shut is not answered either.
            if self.connected.is_cut() {
                return Err(End::Cut);
            }
            self.answer(&frame)?;
            self.reader.wipe_used();
        }
    }

    /// Waits for a request: polling or yielding for a short time where that pays, then asleep.
    fn wait(&mut self) -> Result<(), End> {
        let begun = Instant::now();
        let manner = self.pace.manner(self.node.traffic.is_crowded());
        let mut ready = Ready::NotYet;
        match manner {
            Manner::Poll => {
                while ready == Ready::NotYet && begun.elapsed() < LIMIT && !self.node.traffic.is_crowded() {
                    std::hint::spin_loop();
                    ready = self.reader.ready(&mut self.stream.now())?;
                }
            }
            Manner::Yield if self.tempo.is_busy() => {
                for _ in 0..YIELDS {
                    std::thread::yield_now();
                    ready = self.reader.ready(&mut self.stream.now())?;
                    if ready == Ready::Yes {
                        break;
                    }
                }
            }
            Manner::Yield | Manner::Sleep => {}
        }
        while ready == Ready::NotYet {
            ready = self.reader.ready(&mut self.stream.waiting())?;
            if ready == Ready::NotYet && self.tempo.is_busy() {
                self.tempo.calm();
                self.listen(self.patience)?;
            }
        }
        let now = Instant::now();
        self.pace.waited(manner, now.duration_since(begun));
        if self.tempo.request(now) {
            self.listen(WINDOW)?;
        }
        Ok(())
    }

    /// How long a read waits before it comes back to look at the time.
    fn listen(&self, window: Duration) -> Result<(), End> {
        let set = self.stream.set_read_timeout(window);
        set.map_err(|error| End::Read(error.into()))
    }

    /// Answers one request.
    fn answer(&mut self, frame: &Frame) -> Result<(), End> {
        let request =
            Request::decode(self.reader.bytes(&frame.body)).map_err(|_| ReadError::from(FrameError::Message))?;
        let metered = self.node.requests.begin(request.op.as_ref().map(dispatch::number));
        self.scene.on(request.slot);
        let mut reply = match self.caller {
            None => self.hello(&request)?,
            Some(caller) => self.decide(frame, caller, request)?,
        };
        reply.crowded = self.node.traffic.is_crowded();
        metered.end(Rv(reply.rv));
        self.send(frame.sequence, &reply)
    }

    fn decide(&mut self, frame: &Frame, caller: Caller, request: Request) -> Result<wire::Reply, End> {
        let (section, whole) = match &frame.section {
            SectionData::TooLarge => return Ok(failure(too_large(&request))),
            SectionData::Buffered(range) => (self.reader.bytes(range), true),
            SectionData::Collected { data, .. } => (data.as_slice(), false),
        };
        let place = match place(&request, &Sections(section), &self.known_ticket) {
            Place::Inline if whole => {
                let asks = (&self.peer, caller);
                return perform(self.node, asks, request, Sections(section), &mut self.writer);
            }
            Place::Inline => Place::Cpu,
            place => place,
        };
        let beating = self.node.pulse.begin(&mut self.stream, frame.sequence);
        let turn = match turnstile(self.node, place).enter(&self.peer) {
            Ok(turn) => turn,
            Err(Full) => {
                tracing::warn!(?place, "queue full");
                return Ok(failure(Rv::DEVICE_MEMORY));
            }
        };
        // A client that is gone asks again, with the same id (INV-10). A daemon that stops has closed the stream's reading side
        // itself, and answers what waits.
        if turn.waited() && !self.node.clients.is_stopping() && beating.line().is_gone() {
            return Err(End::Read(ReadError::Closed));
        }
        if self.connected.is_cut() {
            return Err(End::Cut);
        }
        let ticket = Sections(section).get_opt(request.ticket.as_ref()).ok().flatten();
        let new_ticket = ticket.filter(|ticket| *ticket != self.known_ticket.as_slice());
        if let Some(ticket) = new_ticket {
            self.known_ticket = WipingVec::from(ticket);
        }
        let logout = matches!(request.op, Some(Op::Logout(_)));
        let asks = (&self.peer, caller);
        let reply = perform(self.node, asks, request, Sections(section), &mut self.writer)?;
        if logout || reply.rv != Rv::OK.0 {
            self.known_ticket = WipingVec::new();
        }
        Ok(reply)
    }

    /// The first request of a connection.
    fn hello(&mut self, request: &Request) -> Result<wire::Reply, End> {
        let Some(Op::Hello(hello)) = &request.op else {
            return Err(End::NoHello);
        };
        let application = ApplicationId::from_slice(&hello.application).filter(|_| hello.version >= 1);
        let application = application.ok_or(End::BadHello)?;
        self.peer.of_application(application);
        self.caller = Some(Caller {
            identity: self.peer.identity,
            application,
        });
        tracing::debug!(%application, program = ?hello.program, version = hello.version, "hello");
        // Whoever has other servers goes to them.
        self.node.enter().map_err(|_| End::NoPlace)?;
        Ok(wire::Reply {
            rv: Rv::OK.0,
            revision: 0,
            crowded: false,
            result: Some(reply::Result::Hello(wire::HelloReply {
                version: PROTOCOL_VERSION,
                node: self.node.keystore.node().0.to_vec(),
                max_data: self.node.config.data.max_data,
            })),
        })
    }

    fn send(&mut self, sequence: u32, reply: &wire::Reply) -> Result<(), End> {
        let bytes = self.writer.finish(FrameKind::Reply, sequence, reply);
        let large = bytes.len() > SMALL;
        let written = self.stream.write_all(bytes, self.patience);
        written.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => End::Stuck,
            _ => End::Write(error),
        })?;
        if large {
            self.writer = FrameWriter::new();
        } else {
            self.writer.clear();
        }
        Ok(())
    }
}

/// Where the request runs: as the table says, but a ticket that is new here never at once.
fn place(request: &Request, sections: &Sections<'_>, known_ticket: &[u8]) -> Place {
    let place = request
        .op
        .as_ref()
        .map_or(Place::Inline, |op| dispatch::place(op, sections));
    match sections.get_opt(request.ticket.as_ref()) {
        Ok(Some(ticket)) if ticket != known_ticket => place.or(Place::Write),
        _ => place,
    }
}

const fn turnstile(node: &Node, place: Place) -> &Turnstile {
    match place {
        Place::Write => &node.turns.write,
        Place::Pin => &node.turns.pin,
        Place::Inline | Place::Cpu => &node.turns.cpu,
    }
}

/// Does what a request asks. A panic, which would be a defect of ours, costs this request only.
fn perform(
    node: &Node,
    asks: (&Peer, Caller),
    request: Request,
    sections: Sections<'_>,
    writer: &mut FrameWriter,
) -> Result<wire::Reply, End> {
    // INV-6: a node that may have lost its place answers nothing, whether that happens before the work or during it.
    let inside = node.enter().map_err(|_| End::NoPlace)?;
    // INV-4: a process that comes from another node finds here what it has seen there.
    if !node.keystore.await_revision(request.seen) {
        return Err(End::NoPlace);
    }
    let name = request.op.as_ref().map_or("unknown", dispatch::name);
    let act = request.op.as_ref().and_then(dispatch::act);
    let slot = request.slot;
    let answer = catch_unwind(AssertUnwindSafe(|| execute(node, asks, request, sections, writer)));
    let answer = answer.unwrap_or_else(|_| {
        tracing::error!(request = name, slot, "a request panicked; please report this");
        Err(Rv::GENERAL_ERROR)
    });
    node.leave(inside).map_err(|_| End::NoPlace)?;
    Ok(match answer {
        Ok(result) => wire::Reply {
            rv: Rv::OK.0,
            revision: node.keystore.revision(),
            crowded: false,
            result,
        },
        Err(rv) => {
            tracing::debug!(request = name, slot, %rv, "refused");
            if let Some(act) = act {
                node.keystore.audit().note(Event::new(act).result(Outcome::Rv(rv)));
            }
            writer.clear();
            // That something is not there any more has been seen, too.
            wire::Reply {
                revision: node.keystore.revision(),
                ..failure(rv)
            }
        }
    })
}

fn execute(
    node: &Node,
    (peer, caller): (&Peer, Caller),
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
            let slot = node.slots.seen(peer, slot).ok_or(Rv::SLOT_ID_INVALID)?;
            let key_set = slot.key_set.as_ref().ok_or(Rv::TOKEN_NOT_PRESENT)?;
            Some(key_set.resolve(&caller, ticket)?)
        }
    };
    let grant = sections
        .get_opt(request.grant.as_ref())
        .map_err(|_| Rv::ARGUMENTS_BAD)?;
    let grant = grant.map(|grant| GrantId::from_slice(grant).ok_or(Rv::ARGUMENTS_BAD));
    let mut call = Call {
        node,
        peer,
        context: Context {
            caller,
            login,
            grant: grant.transpose()?,
        },
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
        crowded: false,
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
