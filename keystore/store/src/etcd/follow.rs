//! The thread that follows etcd: one watch on the whole prefix, from where memory is. A watch that is silent, cut or compacted is
//! opened anew; what it cannot tell any more is loaded. Beats make sure that it is never silent for long.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::etcd::api::WatchResponse;
use crate::etcd::apply;
use crate::etcd::cell::{Cell, etcd_revision, first_revision};
use crate::etcd::client::{Failure, Watching};
use crate::etcd::load;
use crate::sealing::random;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a watch is over.
enum Over {
    Ending,
    Cut,
    Compacted,
}

/// Follows until the store ends.
pub(crate) async fn follow(cell: Arc<Cell>) {
    let mut ending = cell.ending.subscribe();
    while !cell.is_ending() {
        let over = tokio::select! {
            _ = ending.wait_for(|ending| *ending) => Over::Ending,
            over = watch(&cell) => over,
        };
        match over {
            Over::Ending => return,
            Over::Cut => tokio::time::sleep(PAUSE).await,
            Over::Compacted => {
                tokio::select! {
                    _ = ending.wait_for(|ending| *ending) => return,
                    () = reload(&cell) => {}
                }
            }
        }
    }
}

/// Opens a watch and applies what it says.
async fn watch(cell: &Cell) -> Over {
    let mut switches = cell.client.switches();
    let opened = cell.client.watch(cell.layout.all(), cell.mark() + 1).await;
    let mut watching = match opened {
        Ok(watching) => watching,
        Err(Failure::Compacted) => return Over::Compacted,
        Err(failure) => {
            tracing::debug!(%failure, "no watch");
            return Over::Cut;
        }
    };
    cell.figures.watches.fetch_add(1, Ordering::Relaxed);
    let silence = cell.options.beat * 2 + cell.options.call / 2;
    loop {
        let message = tokio::select! {
            _ = switches.changed() => return Over::Cut,
            message = tokio::time::timeout(silence, next(&mut watching)) => message,
        };
        match message {
            Ok(Ok(message)) => {
                if let Some(over) = take(cell, &message) {
                    return over;
                }
            }
            Ok(Err(Failure::Compacted)) => return Over::Compacted,
            Ok(Err(failure)) => {
                tracing::debug!(%failure, "the watch was cut");
                return Over::Cut;
            }
            Err(_) => {
                tracing::warn!(endpoint = cell.client.endpoint(), "the watch is silent");
                cell.client.give_up();
                return Over::Cut;
            }
        }
    }
}

async fn next(watching: &mut Watching) -> Result<WatchResponse, Failure> {
    watching.next().await
}

/// Applies a message: whole revisions, in order (etcd never splits one over two messages).
fn take(cell: &Cell, message: &WatchResponse) -> Option<Over> {
    if message.compact_revision > 0 {
        return Some(Over::Compacted);
    }
    if message.canceled {
        tracing::warn!(reason = message.cancel_reason, "etcd ended the watch");
        return Some(Over::Cut);
    }
    let at = |event: &crate::etcd::api::Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision.cast_unsigned());
    for events in message.events.chunk_by(|one, other| at(one) == at(other)) {
        let revision = events.first().map_or(0, at);
        if revision > cell.mark() {
            apply::apply(cell, revision, events);
        }
    }
    None
}

/// Loads what the watch cannot tell any more. Memory serves what it has meanwhile.
async fn reload(cell: &Cell) {
    if !cell.options.alone {
        tokio::time::sleep(jitter(cell.options.jitter)).await;
    }
    tracing::warn!(
        from = cell.mark(),
        "changes in etcd are compacted; loading what differs"
    );
    match load::difference(cell).await {
        Ok(difference) => {
            cell.figures.reloads.fetch_add(1, Ordering::Relaxed);
            debug_assert!(etcd_revision(first_revision(difference.revision)) == difference.revision);
            apply::reload(cell, difference);
        }
        Err(failure) => {
            tracing::warn!(%failure, "the load failed");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A random part of `at_most`.
fn jitter(at_most: Duration) -> Duration {
    let random = random::<4>().map_or(0, u32::from_le_bytes);
    at_most.mul_f64(f64::from(random) / f64::from(u32::MAX))
}
