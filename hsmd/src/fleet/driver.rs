//! The thread that owns `hsmd_fleet::Node`: it waits for the first of a message and the core's own time, hands it in, and does what
//! comes out. It asks the store by way of `questions` and never waits for it; its own anchor it writes itself, since a beat
//! follows that anyhow.
//!
//! The keystore commits what requests write, under the node's generation; the core is told afterwards what all others must have
//! applied before such a request is answered (`Message::Barrier`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use hsmd_fleet::{
    Anchor, Answer, Ask, Call, Effect, Event, Gate, Input, Node, NodeId, OperationId, Phase, Raised, Ran, Request,
    Revision, Scope, Timing, Told, Write,
};
use hsmd_keystore::{Followed, NodeFacts, Peers};

use super::anchor::AnchorFile;
use super::questions::{LOADING, PATIENCE, Questions};
use super::{Shared, levels, now, phase_name};

/// Steps of the follower that are kept for a watch that begins anew.
const KEPT: usize = 4096;
/// When an anchor that the disk did not take is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest sleep.
const SLICE: Duration = Duration::from_millis(500);

/// What the driver is told.
pub(super) enum Message {
    /// The caches have followed the store.
    Followed(Followed),
    /// The store has answered, or not.
    Told {
        call: Call,
        told: Option<(Revision, Told)>,
    },
    /// A request waits until all have applied this.
    Barrier {
        revision: Revision,
        until: Duration,
        reply: SyncSender<Answer>,
    },
    Drain,
    Remove {
        node: NodeId,
        reply: SyncSender<Answer>,
    },
    Raise {
        level: u32,
        reply: SyncSender<Raised>,
    },
    End,
}

/// See the module.
pub(super) struct Driver {
    node: Node<()>,
    questions: Questions,
    anchor: AnchorFile,
    /// An anchor that the disk did not take, and when it is tried again.
    refused: Option<(Anchor, Instant)>,
    shared: Arc<Shared>,
    /// Until when each question may be answered.
    asked: BTreeMap<Call, Instant>,
    kept: VecDeque<Followed>,
    requests: BTreeMap<Request, (Revision, SyncSender<Answer>)>,
    raises: BTreeMap<Request, SyncSender<Raised>>,
    peers: Peers,
    last_request: u64,
}

impl Driver {
    pub(super) fn new(
        peers: &Peers,
        facts: &NodeFacts,
        (anchor, remembered): (AnchorFile, Option<Anchor>),
        to_driver: &Sender<Message>,
        shared: Arc<Shared>,
    ) -> std::io::Result<Self> {
        let timing = Timing {
            levels: levels(),
            ..Timing::default()
        };
        Ok(Self {
            node: Node::new(peers.id(), timing, remembered),
            questions: Questions::start(peers, facts, to_driver)?,
            anchor,
            refused: None,
            shared,
            asked: BTreeMap::new(),
            kept: VecDeque::new(),
            requests: BTreeMap::new(),
            raises: BTreeMap::new(),
            peers: peers.clone(),
            last_request: 0,
        })
    }

    pub(super) fn gate(&self) -> Arc<Gate> {
        self.node.gate()
    }

    /// Drives until told to end.
    pub(super) fn run(&mut self, messages: &Receiver<Message>) {
        self.hand(Input::Tick);
        loop {
            match messages.recv_timeout(self.sleep()) {
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => self.hand(Input::Tick),
            }
            self.give_up_waiting();
            self.write_refused();
        }
    }

    fn sleep(&self) -> Duration {
        let wake = self.node.wake_at().map_or(SLICE, |at| at.since(now()));
        let deadlines = self.asked.values();
        let asked = deadlines
            .map(|until| until.saturating_duration_since(Instant::now()))
            .min();
        let refused = self.refused.as_ref();
        let refused = refused.map(|(_, at)| at.saturating_duration_since(Instant::now()));
        let soonest = [Some(wake), asked, refused].into_iter().flatten().min();
        soonest.unwrap_or(SLICE).min(SLICE)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Followed(followed) => {
                let event = event(&followed);
                self.kept.push_back(followed);
                if self.kept.len() > KEPT {
                    self.kept.pop_front();
                }
                self.hand(Input::Watched(event));
            }
            Message::Told { call, told } => {
                // One that came too late was answered for it.
                if self.asked.remove(&call).is_some() {
                    self.hand(match told {
                        Some((at, told)) => Input::Told { call, at, told },
                        None => Input::Silent { call },
                    });
                }
            }
            Message::Barrier { revision, until, reply } => {
                let request = self.next_request();
                self.requests.insert(request, (revision, reply));
                self.hand(Input::Write(Write {
                    request,
                    // The keystore's batch has its own; this one names nothing in the store.
                    operation: OperationId(u128::from(request.0)),
                    seen: None,
                    deadline: now().after(until),
                }));
            }
            Message::Drain => self.hand(Input::Drain),
            Message::Remove { node, reply } => {
                let request = self.next_request();
                self.requests.insert(request, (Revision(0), reply));
                self.hand(Input::Remove { request, node });
            }
            Message::Raise { level, reply } => {
                let request = self.next_request();
                self.raises.insert(request, reply);
                self.hand(Input::Raise { request, level });
            }
            Message::End => {}
        }
    }

    fn next_request(&mut self) -> Request {
        self.last_request += 1;
        Request(self.last_request)
    }

    fn give_up_waiting(&mut self) {
        let now = Instant::now();
        let over: Vec<_> = self
            .asked
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(call, _)| *call)
            .collect();
        for call in over {
            self.asked.remove(&call);
            self.hand(Input::Silent { call });
        }
    }

    /// Writes an anchor. Without it nothing is advertised as applied, and the right to serve runs out: INV-6 would not hold for a node that
    /// forgets what it has seen. It is tried again until the disk takes it, for a full one may have room later.
    fn write(&mut self, anchor: Anchor) -> Option<Input<()>> {
        match self.anchor.write(&anchor) {
            Ok(()) => Some(Input::Anchored(anchor)),
            Err(error) => {
                tracing::error!(%error, "the anchor of the fleet cannot be written; this node serves nothing until it can");
                self.refused = Some((anchor, Instant::now() + AGAIN));
                None
            }
        }
    }

    fn write_refused(&mut self) {
        let now = Instant::now();
        let due = self.refused.take_if(|(_, at)| *at <= now);
        if let Some(input) = due.and_then(|(anchor, _)| self.write(anchor)) {
            self.hand(input);
        }
    }

    /// Hands an input to the core, and does what comes out, and what comes of that.
    fn hand(&mut self, input: Input<()>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.node.handle(now(), input) {
                self.perform(effect, &mut inputs);
            }
        }
    }

    fn perform(&mut self, effect: Effect<()>, inputs: &mut VecDeque<Input<()>>) {
        match effect {
            Effect::Ask { call, ask } => {
                let patience = if matches!(ask, Ask::Load) { LOADING } else { PATIENCE };
                if self.questions.put(call, ask) {
                    self.asked.insert(call, Instant::now() + patience);
                } else {
                    inputs.push_back(Input::Silent { call });
                }
            }
            Effect::Forget { call } => {
                self.asked.remove(&call);
            }
            Effect::Raised(request, raised) => {
                if let Some(reply) = self.raises.remove(&request) {
                    // As above.
                    let _ = reply.try_send(raised);
                }
            }
            Effect::Watch { after } => {
                let missed = self.kept.iter().filter(|step| step.position > after);
                inputs.extend(missed.map(event).map(Input::Watched));
            }
            Effect::Anchor(anchor) => inputs.extend(self.write(anchor)),
            Effect::Run(request) => {
                let revision = self
                    .requests
                    .get(&request)
                    .map_or(Revision(0), |(revision, _)| *revision);
                let barrier = Some(Scope::Fleet);
                let ran = Ran::Done { revision, barrier };
                inputs.push_back(Input::Ran { request, ran });
            }
            Effect::Answer(request, answer) => {
                if let Some((_, reply)) = self.requests.remove(&request) {
                    // Whoever asked may have given up.
                    let _ = reply.try_send(answer);
                }
            }
            Effect::Proceed(..) => {}
            Effect::Became(phase) => self.became(phase),
        }
    }

    fn became(&self, phase: Phase) {
        let name = phase_name(phase);
        match phase {
            Phase::Suspect(why) => {
                tracing::error!(?why, "the fleet's store has forgotten something: nothing is served")
            }
            Phase::WrongLevel(level) => {
                self.peers.write_nothing();
                let known = levels();
                let (from, to) = (known.start(), known.end());
                tracing::error!(
                    level,
                    from,
                    to,
                    "the fleet has a format level that this program does not know: install the fleet's release"
                );
            }
            Phase::Serving | Phase::Left => tracing::info!(phase = name, "this node's place in the fleet"),
            _ => tracing::debug!(phase = name, "this node's place in the fleet"),
        }
        self.shared.state.lock().phase = phase;
        self.shared.moved.notify_all();
    }
}

fn event(followed: &Followed) -> Event {
    Event {
        revision: followed.position,
        barrier: followed.barrier,
        changes: followed.changes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsmd_fleet::Time;

    #[test]
    fn a_step_of_the_follower_is_an_event_of_the_core() {
        let followed = Followed {
            position: Revision(9),
            barrier: true,
            ..Followed::default()
        };
        let event = event(&followed);
        assert_eq!((event.revision, event.barrier), (Revision(9), true));
        assert!(now() > Time(0));
    }
}
