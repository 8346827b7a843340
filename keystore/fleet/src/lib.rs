//! What the nodes of a fleet agree on, as a state machine: who may serve, who is fenced, when a destroy is done everywhere, whether
//! the store has forgotten something. No I/O, no clock, no threads, no randomness: [`Node::handle`] takes a time and an
//! [`Input`] and returns [`Effect`]s; the daemon's driver, or the simulator in `tests/`, does the rest. docs/fleet.md is the manual.
//!
//! | module | what |
//! |---|---|
//! | `interface` | inputs, effects, questions to the store and their answers |
//! | `node` | one node: an input changes what is known, then everything happens that this makes possible |
//! | `entering` | into the fleet, out of it, and stopping when history went backwards (`history`) |
//! | `beating` | the right to serve (`gate`), fencing, the anchor |
//! | `level` | the format level: who may serve at it, how it is raised |
//! | `writing` | compare-and-set, conflicts, unknown outcomes, barriers (`peers`, `loads`) |
//! | `waiting` | reads that wait for what their process has seen (`reach`) |
//! | `tries`, `moves` | the arithmetic of PIN tries and the steps of joins and leaves: pure records for the driver's rules |
//!
//! What is deliberately absent: objects, policies, sealing (the keystore's), encoding and deadlines (the driver's), and every way
//! to serve without the right to.

mod beating;
mod entering;
mod gate;
mod history;
mod interface;
mod level;
mod loads;
pub mod moves;
mod names;
mod node;
mod peers;
mod reach;
mod records;
mod timing;
pub mod tries;
mod waiting;
mod writing;

pub use gate::{Entry, Gate, Pass};
pub use history::Backwards;
pub use interface::{
    Answer, Ask, AtRoot, Change, Commit, Effect, Event, Input, Phase, Raised, Ran, Scope, Told, WatchLost, Write,
};
pub use names::{Call, Generation, KeySetId, NodeId, ObjectId, OperationId, Request, Revision, Seen, Time, Timeline};
pub use node::Node;
pub use records::{Anchor, Beat, NodeRecords, Root, Standing, Survey};
pub use timing::Timing;
