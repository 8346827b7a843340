//! The audit log's other half: who acts (scenes of data and control plane), the service, the exported file and its check,
//! forwarding to syslog. The log itself is `keystore/src/audit/`; what it promises, `docs/audit.md`.

mod check;
mod feed;
mod file;
mod layer;
mod scene;
mod service;
mod syslog;
#[cfg(test)]
mod tests;
mod uses;
mod view;

pub(crate) use check::{Expected, Findings, check};
pub(crate) use feed::Feed;
pub(crate) use file::{entry_in, from_hex};
pub(crate) use layer::{AuditLayer, denied};
pub(crate) use scene::{ConnectionScene, as_act, in_scene};
pub(crate) use service::Service;
pub(crate) use syslog::run as forward;
pub(crate) use uses::Uses;
pub(crate) use view::{EntryView, Filter};

use crate::node::Node;
use crate::trouble;
use hsmd_keystore::Keystore;
use hsmd_keystore::audit::{Act, Event, Outcome, Who};
use tonic::Code;

/// Tells the log of a connection that was refused before anybody was known on it. One entry, then counts: whoever does this a million
/// times gets a handful of lines.
pub(crate) fn refused(keystore: &Keystore, why: String) {
    let event = Event::new(Act::ConnectionRefuse)
        .by(&Who::Unknown)
        .detail(why)
        .result(Outcome::Grpc(Code::Unauthenticated as i32));
    keystore.audit().note(event);
}

/// Tells the log that the daemon serves, and what its start found.
pub(crate) fn started(node: &Node) {
    let audit = node.keystore.audit();
    let version = env!("CARGO_PKG_VERSION");
    let mark = if node.keystore.dev() { " for development" } else { "" };
    let start = || Event::new(Act::DaemonStart).detail(format!("version {version}{mark}"));
    // Durable before anything is served, but a daemon starts on a full disk as well: there it waits for room.
    if let Err(error) = audit.record(start()) {
        tracing::warn!(%error, "the start is not in the audit log yet");
        audit.note(start());
    }
    let found = trouble::notices(&node.keystore).into_iter();
    let untrusted = node
        .keystore
        .quarantined()
        .into_iter()
        .map(|name| format!("{name} cannot be trusted"));
    for notice in found.chain(untrusted) {
        audit.note(Event::new(Act::DaemonNotice).detail(notice));
    }
}
