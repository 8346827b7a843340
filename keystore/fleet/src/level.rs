//! The format level of the fleet's records: who may serve at it, and how an operator raises it. Programs of two adjacent releases know
//! one level in common; records of the next one are written when the root record says so, and not before.
//!
//! No node serves at a level that its program does not know, at no moment:
//!
//! * A node enters by a survey, and begins to serve by a batch that compares the version of the root record that it has loaded. So
//!   it serves at the level that it saw, or not at all.
//! * A node that is new to the fleet puts the root record again. So at one version of it there is one list of nodes.
//! * A raise compares that version, and the generation of each node that is not removed: what is known of their programs is
//!   what their last beats said, and none has begun another life since.
//!
//! The watch brings the root record before whatever is written at its level. A node that sees one that it does not know stops at once
//! (`Phase::WrongLevel`): the last net, and the word to whoever started an old program.

use crate::interface::{Ask, AtRoot, Commit, Effect, Phase, Raised, Told};
use crate::names::{Request, Time};
use crate::node::{Node, Purpose};
use crate::records::Root;

impl<B: Clone> Node<B> {
    /// The format level that the fleet has, as far as this node knows: what it may write. `None`: it has not looked yet.
    #[must_use]
    pub fn level(&self) -> Option<u32> {
        self.root.as_ref().map(|(_, root)| root.level)
    }

    /// Whether this node's program reads and writes records of a level.
    pub(crate) fn knows(&self, level: u32) -> bool {
        self.timing.levels.contains(&level)
    }

    /// The fleet has a level that this program does not know. It serves nothing, and looks again every now and then.
    pub(crate) fn rest_at_level(&mut self, now: Time, level: u32) {
        self.stop_serving();
        self.rest_as(now, Phase::WrongLevel(level));
    }

    /// What the batch asks of the root record by which a node closes its earlier life.
    pub(crate) fn root_to_enter(&self) -> AtRoot {
        match &self.root {
            Some((version, root)) if self.generation.0 == 0 => AtRoot::Again(*version, root.clone()),
            _ => AtRoot::Any,
        }
    }

    /// What the batch asks of the root record by which a node begins to serve.
    pub(crate) fn root_to_serve(&self) -> AtRoot {
        self.root
            .as_ref()
            .map_or(AtRoot::Any, |(version, _)| AtRoot::Is(*version))
    }

    /// [`crate::Input::Raise`].
    pub(crate) fn raise(&mut self, now: Time, request: Request, level: u32) {
        match self.level_after(now, level) {
            Ok((version, root)) => {
                let nodes = self.peers.may_return(self.me);
                let nodes = nodes.map(|records| (records.node, records.generation)).collect();
                let (guard, commit) = (Some(self.generation), Commit::Level { version, root, nodes });
                self.ask(Purpose::Raise(request, level), Ask::Commit { guard, commit });
            }
            Err(raised) => self.out.push(Effect::Raised(request, raised)),
        }
    }

    /// The root record with that level, and the version that it has now; or why not.
    fn level_after(&self, now: Time, level: u32) -> Result<(u64, Root), Raised> {
        let (version, root) = self
            .root
            .as_ref()
            .filter(|_| self.may_serve(now))
            .ok_or(Raised::Closed)?;
        if level == root.level {
            return Err(Raised::Done(level));
        }
        if root.level.checked_add(1) != Some(level) {
            return Err(Raised::NotNext(root.level));
        }
        if !self.knows(level) {
            return Err(Raised::OwnProgram(*self.timing.levels.end()));
        }
        let others = self.peers.may_return(self.me);
        let told = others.map(|records| (records.node, records.beat.as_ref().map(|beat| beat.level)));
        let older: Vec<_> = told
            .filter(|(_, known)| known.is_none_or(|known| known < level))
            .collect();
        if !older.is_empty() {
            return Err(Raised::Older(older));
        }
        let root = Root { level, ..root.clone() };
        Ok((*version, root))
    }

    pub(crate) fn raise_told(&mut self, request: Request, level: u32, told: Option<&Told>) {
        let raised = match told {
            Some(Told::Committed(_)) => Raised::Done(level),
            Some(Told::Fenced) => Raised::Closed,
            Some(_) => Raised::Contended,
            None => Raised::Unknown,
        };
        self.out.push(Effect::Raised(request, raised));
    }
}
