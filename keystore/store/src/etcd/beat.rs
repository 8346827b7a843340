//! The thread that shows that the node lives: once a second it compares and sets its beat, but only while memory follows. From the
//! moment a beat was sent that etcd took, the node may answer requests for a while ([`crate::Store::may_serve`]). It also keeps the anchor
//! file and has etcd forget old history.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::etcd::api::{RangeRequest, TxnResponse, response_op};
use crate::etcd::cell::{Cell, boottime};
use crate::etcd::client::Failure;
use crate::etcd::engine::{changed_at, put, range_op, transaction};
use crate::etcd::values::Beat;
use crate::report::Fatal;

/// What is known of the own beat in etcd.
pub(crate) struct Pulse {
    pub(crate) beat: Beat,
    /// Revision of the last one that etcd took.
    pub(crate) revision: u64,
}

/// Beats until the store ends.
pub(crate) async fn beat(cell: Arc<Cell>, mut pulse: Pulse) {
    let mut ending = cell.ending.subscribe();
    let mut ticks = tokio::time::interval(cell.options.beat);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut compacted = cell.mark();
    loop {
        tokio::select! {
            _ = ending.wait_for(|ending| *ending) => return,
            _ = ticks.tick() => {}
        }
        // Memory that does not follow must not go on being served (INV-6).
        if cell.mark() >= pulse.revision {
            once(&cell, &mut pulse).await;
        } else {
            tracing::warn!(
                memory = cell.mark(),
                etcd = pulse.revision,
                "memory does not follow etcd; no beat"
            );
            // An etcd that went back to before what memory waits for never tells it: it is asked.
            resync(&cell, &mut pulse).await;
        }
        cell.write_anchor();
        let keep = cell.options.keep_revisions;
        if keep > 0 && cell.mark() > compacted.saturating_add(2 * keep) {
            compacted = cell.mark() - keep;
            // Somebody else may have done it.
            if let Err(failure) = cell.client.compact(compacted).await {
                tracing::debug!(%failure, "etcd's history was not compacted");
            }
        }
    }
}

/// One beat. One that may have been taken counts from when it was sent, once etcd shows it.
async fn once(cell: &Cell, pulse: &mut Pulse) {
    let key = cell.layout.beat(cell.options.writer);
    pulse.beat.count += 1;
    let (sent, before) = (boottime(), cell.highest());
    let request = transaction(
        vec![changed_at(&key, pulse.revision)],
        vec![put(&key, pulse.beat.to_bytes())],
        vec![range_op(&key)],
    );
    let answer = match cell.client.txn(request).await {
        Ok(answer) => answer,
        Err(failure) => {
            tracing::warn!(%failure, "a beat was not taken");
            return resync(cell, pulse).await;
        }
    };
    let Ok(revision) = cell.news(answer.header.as_ref(), before) else {
        return;
    };
    if answer.succeeded {
        pulse.revision = revision;
        cell.beat_sent.store(sent, Ordering::SeqCst);
    } else {
        compare(cell, pulse, &answer);
    }
}

/// After a beat whose outcome is unknown, and while memory waits: what etcd has. The right to serve is not extended by it.
async fn resync(cell: &Cell, pulse: &mut Pulse) {
    let before = cell.highest();
    let request = RangeRequest {
        key: cell.layout.beat(cell.options.writer).into(),
        ..RangeRequest::default()
    };
    let answer: Result<_, Failure> = cell.client.range(request).await;
    let Ok(answer) = answer else { return };
    if cell.news(answer.header.as_ref(), before).is_ok() {
        judge(cell, pulse, answer.kvs.first());
    }
}

fn compare(cell: &Cell, pulse: &mut Pulse, answer: &TxnResponse) {
    let found = answer.responses.first().and_then(|op| op.response.as_ref());
    let kv = match found {
        Some(response_op::Response::ResponseRange(range)) => range.kvs.first(),
        _ => None,
    };
    judge(cell, pulse, kv);
}

/// Whose beat it is that is in etcd.
fn judge(cell: &Cell, pulse: &mut Pulse, kv: Option<&crate::etcd::api::KeyValue>) {
    let found = kv.and_then(|kv| Some((Beat::read(&kv.value).ok()?, kv.mod_revision.cast_unsigned())));
    match found {
        Some((beat, revision)) if beat.generation == cell.generation => pulse.revision = revision,
        Some((beat, _)) => {
            tracing::error!(
                host = beat.host,
                "another process of this node has taken the store over"
            );
            cell.stop(Fatal::Fenced);
        }
        None => {
            tracing::error!("the beat of this node is gone from etcd");
            cell.stop(Fatal::WentBack);
        }
    }
}
