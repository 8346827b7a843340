//! Reads that must not be older than what their process has seen: a node waits a little, then asks, then says that it is behind.

use crate::interface::{Ask, Effect, Told};
use crate::names::{KeySetId, Request, Revision, Seen, Time};
use crate::node::{Node, Purpose};

/// A read that was told to wait at the gate.
#[derive(Debug)]
pub(crate) struct Waiting {
    revision: Revision,
    key_set: KeySetId,
    /// Then the store is asked; `None`: it has been.
    until: Option<Time>,
}

impl Waiting {
    pub(crate) fn wakes(&self) -> Option<Time> {
        self.until
    }
}

impl<B: Clone> Node<B> {
    /// How far replies say that one has seen.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.root.as_ref().map(|(_, root)| Seen {
            timeline: root.timeline,
            revision: self.reach.applied(),
        })
    }

    /// A revision that this process has seen, if it is one of this history.
    pub(crate) fn revision_seen(&self, seen: Option<Seen>) -> Revision {
        let same = |seen: &Seen| {
            self.root
                .as_ref()
                .is_some_and(|(_, root)| root.timeline == seen.timeline)
        };
        seen.filter(same).map_or(Revision(0), |seen| seen.revision)
    }

    /// [`crate::Input::Wait`].
    pub(crate) fn wait(&mut self, now: Time, request: Request, seen: Seen, key_set: KeySetId) {
        if !self.may_serve(now) || self.draining {
            self.out.push(Effect::Proceed(request, false));
            return;
        }
        let waiting = Waiting {
            revision: self.revision_seen(Some(seen)),
            key_set,
            until: Some(now.after(self.timing.patience)),
        };
        // What a process claims to have seen is no knowledge of the store: it makes nobody lag, and nobody suspicious.
        self.waits.insert(request, waiting);
    }

    pub(crate) fn go_on_waiting(&mut self, now: Time) {
        let applied = self.reach.applied();
        let mut asks = Vec::new();
        self.waits.retain(|request, waiting| {
            if waiting.revision <= applied {
                self.out.push(Effect::Proceed(*request, true));
                return false;
            }
            if waiting.until.is_some_and(|until| until <= now) {
                waiting.until = None;
                asks.push((*request, waiting.key_set));
            }
            true
        });
        for (request, key_set) in asks {
            self.ask(Purpose::Head(request), Ask::Head(key_set));
        }
    }

    pub(crate) fn head_told(&mut self, request: Request, told: Option<Told>) {
        if self.waits.remove(&request).is_some() {
            // What the process has seen elsewhere did not change this key set after what is applied here.
            let same = matches!(told, Some(Told::Head(changed)) if changed <= self.reach.applied());
            self.out.push(Effect::Proceed(request, same));
        }
    }
}
