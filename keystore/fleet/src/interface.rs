//! What goes into the core and what comes out: the whole of it. `B` is the driver's batch, which the core carries and never opens.

use crate::history::Backwards;
use crate::names::{Call, Generation, KeySetId, NodeId, OperationId, Request, Revision, Seen, Time, Timeline};
use crate::records::{Anchor, Beat, Root, Standing, Survey};

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input<B> {
    /// Time went by; wanted at [`crate::Node::wake_at`].
    Tick,
    /// The store answered.
    Told {
        /// Which question.
        call: Call,
        /// The store's own revision when it answered: linearizable, not a cached one.
        at: Revision,
        /// The answer.
        told: Told,
    },
    /// The store did not answer in the driver's time: what was asked for may have been done, or may be done yet.
    Silent {
        /// Which question.
        call: Call,
    },
    /// The watch brought one committed batch, and the driver has applied what it holds of key sets.
    Watched(Event),
    /// The watch has ended: nothing that it still had under way is applied any more.
    WatchLost(WatchLost),
    /// The anchor is on the disk.
    Anchored(Anchor),
    /// A request that may write. The driver keeps it, and runs its rules when told to.
    Write(Write),
    /// The rules of a write have run.
    Ran {
        /// Which write.
        request: Request,
        /// What they say.
        ran: Ran<B>,
    },
    /// A request that reads, and was told to wait at the gate.
    Wait {
        /// Its name.
        request: Request,
        /// What it must not be behind.
        seen: Seen,
        /// What it reads.
        key_set: KeySetId,
    },
    /// Take no new requests; leave the fleet when those that are here have been answered.
    Drain,
    /// The operator accepts that the store has forgotten something.
    Accept {
        /// A name for the history that begins: random, never used before.
        timeline: Timeline,
    },
    /// The operator says that this node, which has left or is fenced, will not come back.
    Remove {
        /// Answered as a write is.
        request: Request,
        /// Which.
        node: NodeId,
    },
    /// The operator says that all nodes have a program that knows this format level: answered by [`Effect::Raised`].
    Raise {
        /// Answered under this name.
        request: Request,
        /// The level that the fleet is to have: the next one.
        level: u32,
    },
}

/// A request that may write.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// Its name on this node.
    pub request: Request,
    /// The operation, the same for every retry.
    pub operation: OperationId,
    /// What its process has seen.
    pub seen: Option<Seen>,
    /// Answered by then, whatever is known.
    pub deadline: Time,
}

/// Who must have applied a write before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every serving node that loads this key set: destroy, epoch, lock, latch, policy.
    KeySet(KeySetId),
    /// Every serving node: membership, and which nodes load what.
    Fleet,
}

/// What the rules of a write say.
#[derive(Clone, Debug)]
pub enum Ran<B> {
    /// Commit this. Its compares hold all that the rules relied on, and it writes at least one record by version.
    Commit {
        /// The batch, with the write's operation id.
        batch: B,
        /// Who must have applied it before the answer; `None`: only this node.
        barrier: Option<Scope>,
    },
    /// An earlier try of the same operation was committed: the answer waits for what it waited for.
    Done {
        /// At which revision, or a later one.
        revision: Revision,
        /// As above.
        barrier: Option<Scope>,
    },
    /// The rules refuse, or there is nothing to write; the driver has the answer.
    Answered,
}

/// One committed batch.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its revision.
    pub revision: Revision,
    /// Somebody waits for it to be applied: the batch was committed with a barrier. True more often does no harm.
    pub barrier: bool,
    /// What it changed of the fleet's own records.
    pub changes: Vec<Change>,
}

/// A change of the fleet's own records.
#[derive(Clone, Debug)]
pub enum Change {
    /// A node's standing.
    Standing(NodeId, Generation, Standing),
    /// A node's beat.
    Beat(NodeId, u64, Beat),
    /// The root record.
    Root(u64, Root),
    /// From now on a node loads a key set.
    Loads(KeySetId, NodeId),
    /// From now on it does not.
    Unloads(KeySetId, NodeId),
}

/// Why there is no watch any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchLost {
    /// It broke, or stayed silent longer than the driver believes.
    Broken,
    /// What it should go on from is no longer kept.
    Compacted,
    /// The store has not come so far, but to this revision: it has forgotten something.
    Ahead(Revision),
}

/// Something is to be done. In the order in which it is given.
#[derive(Clone, Debug)]
pub enum Effect<B> {
    /// Ask the store. Answered by [`Input::Told`] or [`Input::Silent`], once.
    Ask {
        /// The number of the question.
        call: Call,
        /// The question.
        ask: Ask<B>,
    },
    /// An [`Ask::Load`] that is not to be answered any more: what comes late replaces nothing, since it is older than what is there,
    /// or of an earlier life.
    Forget {
        /// The number of the question.
        call: Call,
    },
    /// Watch the fleet's prefix from after this revision on; an earlier watch ends.
    Watch {
        /// The first batch is the next one.
        after: Revision,
    },
    /// Write the anchor, sync it, say [`Input::Anchored`].
    Anchor(Anchor),
    /// Run the rules of this write on what is applied now; say [`Input::Ran`].
    Run(Request),
    /// Answer a write.
    Answer(Request, Answer),
    /// Answer an [`Input::Raise`].
    Raised(Request, Raised),
    /// A request that waited: go on, with [`crate::Gate::pass`], or answer `behind`.
    Proceed(Request, bool),
    /// The phase changed, for logs, status and readiness. Nothing has to be done: the gate is closed or open already.
    Became(Phase),
}

/// A question to the store. Each has a deadline of the driver's (500 ms; loading as long as it takes while pages come).
#[derive(Clone, Debug)]
pub enum Ask<B> {
    /// Read the fleet's records, linearizably.
    Survey,
    /// Read everything at one revision, linearizably, and put it in place of what was applied: [`Told::Survey`] at that revision,
    /// unless [`Effect::Forget`] came before the answer.
    Load,
    /// Commit, if `guard` is this node's generation and the batch's own compares hold.
    Commit {
        /// Compared before everything else. `None`: for the root record, which a node without standing may write.
        guard: Option<Generation>,
        /// What.
        commit: Commit<B>,
    },
    /// Is this operation committed? Linearizable.
    Resolve(OperationId),
    /// When did this key set last change? Linearizable.
    Head(KeySetId),
}

/// A batch: the core's own, or the driver's.
#[derive(Clone, Debug)]
pub enum Commit<B> {
    /// Put this node's standing, if it has the generation of the guard; that is one more now.
    Stand {
        /// The standing.
        standing: Standing,
        /// A node that begins to serve puts a beat, too: this one, if the record has that version.
        beat: Option<(u64, Beat)>,
        /// What is asked of the root record.
        root: AtRoot,
    },
    /// Put this node's beat, if the record has that version.
    Beat(u64, Beat),
    /// Put another node's standing, if its generation and the version of its beat are these.
    Close {
        /// Which node.
        node: NodeId,
        /// Its generation.
        generation: Generation,
        /// The version of its beat.
        beat_version: u64,
        /// [`Standing::Fenced`] or [`Standing::Removed`].
        standing: Standing,
    },
    /// Put the root record, if it has that version.
    Root(u64, Root),
    /// Put the root record with another level, if it has that version and the standings of these nodes have these generations.
    Level {
        /// The version that the root record has.
        version: u64,
        /// What it becomes.
        root: Root,
        /// All other nodes that may serve now or later.
        nodes: Vec<(NodeId, Generation)>,
    },
    /// The driver's batch.
    Batch(B),
}

/// What a standing's batch asks of the root record. At one version of that record there is one list of nodes, and a node that serves
/// knows the level: so whoever raises it compares that version, and has asked all of them.
#[derive(Clone, Debug)]
pub enum AtRoot {
    /// Nothing: the node goes, or loads.
    Any,
    /// It has this version: the node begins to serve at a level that it knows.
    Is(u64),
    /// It has this version, and is put again as it is: the node is new to the fleet.
    Again(u64, Root),
}

/// What the store says.
#[derive(Clone, Debug)]
pub enum Told {
    /// Committed, at this revision.
    Committed(Revision),
    /// Nothing was written: the guard does not hold.
    Fenced,
    /// Nothing was written: something else does not hold.
    Conflict {
        /// The newest revision of the records that were compared.
        newest: Revision,
    },
    /// The fleet's records.
    Survey(Survey),
    /// Where the operation was committed; `None`: nowhere yet.
    Resolved(Option<Revision>),
    /// When the key set last changed.
    Head(Revision),
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Committed, applied here, and by all for whom its barrier waits.
    Done(Seen),
    /// As the rules said; nothing was written.
    Answered(Seen),
    /// Nothing was written: others kept changing what it relies on (`CKR_FUNCTION_FAILED`).
    Contended,
    /// Nothing was written, and this node has not applied what the process has seen: try another member.
    Behind,
    /// This node has no right to serve. It may have been written: try another member, with the same operation id.
    Closed,
    /// Not finished in time. It may have been written, or yet be: a retry with the same operation id finds out.
    Unknown,
}

/// What becomes of a raise of the format level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raised {
    /// The fleet has this level now, or had it before.
    Done(u32),
    /// It goes up one level at a time, and never down: the fleet has this one.
    NotNext(u32),
    /// This node's own program knows no level above this one.
    OwnProgram(u32),
    /// These nodes could serve, now or when they come back, and their programs are not known to know the level: the highest level that
    /// each has told; `None`: it has told nothing yet.
    Older(Vec<(NodeId, Option<u32>)>),
    /// Nothing was written: a node came, went or came back meanwhile.
    Contended,
    /// This node has no right to serve.
    Closed,
    /// The store has not said whether it was done. The same again finds out.
    Unknown,
}

/// What a node is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading the fleet's records: is this its store, may it enter?
    Looking,
    /// Putting the standing that closes its earlier generation.
    Entering,
    /// Reading everything.
    Loading,
    /// Putting the standing that others wait for.
    Rising,
    /// In the fleet. Whether it may serve right now, the gate says.
    Serving,
    /// Putting the standing of one that is gone.
    Leaving,
    /// Out of the fleet, in good order.
    Left,
    /// An operator has removed it.
    Removed,
    /// The store has no fleet.
    NoFleet,
    /// The fleet's format level is not one of this program.
    WrongLevel(u32),
    /// The store has forgotten something. An operator decides.
    Suspect(Backwards),
}
