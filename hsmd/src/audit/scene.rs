//! Who acts: the peer of a data connection, the caller of a control request. Looked at only when an act is recorded.

use crate::data::{Access, Peer};
use crate::slots::Slots;
use hsmd_keystore::audit::{self, Act, Event, Place, Scene, Who};
use hsmd_keystore::take_barrier;
use hsmd_proto::ids::SlotId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A connection of the data plane: its thread's scene for as long as it lasts.
pub(crate) struct ConnectionScene {
    who: Who,
    slots: Arc<Slots>,
    slot: AtomicU32,
}

impl ConnectionScene {
    pub(crate) fn new(peer: &Peer, slots: &Arc<Slots>) -> Arc<Self> {
        let who = match &peer.access {
            Access::Local => Who::Local {
                user: peer.user,
                process: u32::try_from(peer.process).unwrap_or_default(),
            },
            Access::Client(id) => Who::Client(id.to_string()),
        };
        Arc::new(Self {
            who,
            slots: Arc::clone(slots),
            slot: AtomicU32::new(u32::MAX),
        })
    }

    /// The next request is about this slot.
    pub(crate) fn on(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }
}

impl Scene for ConnectionScene {
    fn who(&self) -> Who {
        self.who.clone()
    }

    fn place(&self) -> Place {
        let slot = self.slots.get(SlotId(self.slot.load(Ordering::Relaxed)));
        slot.map_or_else(Place::default, |slot| Place {
            hsm: slot.hsm.clone(),
            partition: slot.serial.clone(),
        })
    }
}

/// A request of the control plane. The first batch of records that it changes carries its record; one that changes none is
/// recorded when it has been answered.
pub(super) struct RequestScene {
    pub(super) who: Who,
    pub(super) act: Act,
    /// Service and method.
    pub(super) method: String,
    pub(super) recorded: AtomicBool,
    /// What all nodes of the fleet must have applied before the answer; 0: nothing.
    pub(super) barrier: AtomicU64,
}

impl RequestScene {
    /// The request's record.
    pub(super) fn event(&self) -> Event {
        Event::new(self.act)
            .by(&self.who)
            .detail(&self.method)
            .result(audit::Outcome::Grpc(0))
    }
}

impl Scene for RequestScene {
    fn who(&self) -> Who {
        self.who.clone()
    }

    fn documents(&self, names: &[&str]) -> Option<Event> {
        (!self.recorded.load(Ordering::Acquire)).then(|| self.event().about(names))
    }

    fn recorded(&self) {
        self.recorded.store(true, Ordering::Release);
    }
}

/// An act of whoever started this process, without a request: what `hsmd init` and `hsmd dev` make.
struct StarterScene {
    act: Act,
    recorded: AtomicBool,
}

impl Scene for StarterScene {
    fn who(&self) -> Who {
        Who::Local {
            user: crate::memory::effective_user(),
            process: std::process::id(),
        }
    }

    fn documents(&self, names: &[&str]) -> Option<Event> {
        let first = !self.recorded.load(Ordering::Acquire);
        first.then(|| Event::new(self.act).by(&self.who()).about(names))
    }

    fn recorded(&self) {
        self.recorded.store(true, Ordering::Release);
    }
}

/// Does what is recorded as that act of whoever started this process.
pub(crate) fn as_act<T>(act: Act, work: impl FnOnce() -> T) -> T {
    let recorded = AtomicBool::new(false);
    audit::within(Arc::new(StarterScene { act, recorded }), work)
}

tokio::task_local! {
    /// The scene of the request that a task serves.
    pub(super) static REQUEST: Arc<RequestScene>;
}

/// Takes the request's scene along to another thread: work for `spawn_blocking`.
pub(crate) fn in_scene<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let scene = REQUEST.try_with(Arc::clone).ok();
    move || match scene {
        Some(scene) => {
            let done = audit::within(Arc::clone(&scene) as Arc<dyn Scene>, work);
            if let Some(position) = take_barrier() {
                scene.barrier.fetch_max(position, Ordering::AcqRel);
            }
            done
        }
        None => work(),
    }
}
