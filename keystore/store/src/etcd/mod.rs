//! The store in etcd: a commit is one etcd transaction, reads are answered from memory, and memory follows one watch on the
//! store's prefix. It holds what etcd holds, no more: there is no journal, since what etcd's quorum has acknowledged is durable.
//!
//! Keys under the prefix (`layout`):
//!
//! | key | what |
//! |---|---|
//! | `meta` | format and timeline of the store, tagged with its keys |
//! | `join` | what a node that joins needs besides the master key, sealed by it |
//! | `record<path>` | a record: format, version, sealed value |
//! | `head<group>//<writer>` | what one writer has added to a group's head; a group's head is the sum over all writers |
//! | `writer/<writer>` | generation and sequence of a writer, the operations of its last transaction |
//! | `beat/<writer>` | a sign of life, once a second |
//!
//! A transaction compares the writer's own record (nobody has taken over; the one before is settled) and the revisions of all
//! records that it writes or that a batch compares; it rewrites the writer's record. So the same transaction can be sent any
//! number of times and happens once, and an unknown outcome is told by that one record.
//!
//! * INV-2: a commit is answered after etcd's answer, or after its own record was found.
//! * INV-7: heads as for sled, per writer; an `anchor` file beside the daemon's own keys notices a store that went backwards.

mod anchor;
mod apply;
mod beat;
mod cell;
mod client;
mod engine;
mod follow;
mod join;
mod layout;
mod load;
mod open;
mod options;
mod place;
mod tls;
mod values;
mod versions;

/// etcd's messages, as `build.rs` makes them.
mod api {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        reason = "generated"
    )]
    tonic::include_proto!("etcdserverpb");
}

pub use join::{join_value, offer_join_value};
pub use options::{EtcdOptions, EtcdTls, EtcdUrl, EtcdUrlError, WriterId};

pub(crate) use open::open;
