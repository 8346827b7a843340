//! Reading all of a store: pages of limited size at one revision, one at a time, so that a start or a reload starves nobody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::Record;
use crate::etcd::api::{KeyValue, RangeRequest};
use crate::etcd::apply::Difference;
use crate::etcd::cell::{Cell, Heads, first_revision};
use crate::etcd::client::{Client, Failure, seen};
use crate::etcd::layout::{Layout, Name};
use crate::etcd::values::{WriterRecord, read_head, read_record};
use crate::head::{Hasher, Sum};
use crate::path::Path;
use crate::report::Trouble;
use crate::state::State;

/// Bytes of a page, about.
const PAGE: usize = 4 << 20;
/// Keys of a page at most.
const KEYS: usize = 1000;
/// How long a page may be asked for again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which keys, and what of them.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) range: (Vec<u8>, Vec<u8>),
    /// 0: now.
    pub(crate) revision: u64,
    pub(crate) keys_only: bool,
    /// Only what was changed at or after this revision.
    pub(crate) since: u64,
}

/// Reads pages until the end. Returns revision and cluster.
pub(crate) async fn pages(
    client: &Client,
    wanted: Wanted,
    mut take: impl FnMut(KeyValue),
) -> Result<(u64, u64), Failure> {
    let (mut from, to) = wanted.range;
    let (mut at, mut count) = (wanted.revision, 64);
    loop {
        let request = RangeRequest {
            key: from.clone().into(),
            range_end: to.clone().into(),
            limit: count as i64,
            revision: at.cast_signed(),
            keys_only: wanted.keys_only,
            min_mod_revision: wanted.since.cast_signed(),
            ..RangeRequest::default()
        };
        let page = patiently(client, &request).await?;
        let (revision, cluster) = seen(page.header.as_ref());
        if at == 0 {
            at = revision;
        }
        let (more, mut bytes) = (page.more, 0);
        let found = page.kvs.len();
        for kv in page.kvs {
            bytes += kv.key.len() + kv.value.len() + 16;
            from.clear();
            from.extend_from_slice(&kv.key);
            from.push(0);
            take(kv);
        }
        if !more || found == 0 {
            return Ok((at, cluster));
        }
        count = (PAGE / (bytes / found).max(1)).clamp(1, KEYS);
    }
}

/// Reading again is harmless.
async fn patiently(client: &Client, request: &RangeRequest) -> Result<crate::etcd::api::RangeResponse, Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        match client.range(request.clone()).await {
            Err(Failure::NotSent(_) | Failure::NoAnswer(_) | Failure::NoRoom(_)) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
}

/// A store as etcd has it.
pub(crate) struct Everything {
    pub(crate) revision: u64,
    pub(crate) state: State,
    pub(crate) heads: Heads,
    pub(crate) writers: Vec<(crate::etcd::WriterId, WriterRecord)>,
}

/// Loads everything, and says of each group whether it adds up (INV-7).
pub(crate) async fn everything(client: &Client, layout: &Layout, hasher: &Hasher) -> Result<Everything, Failure> {
    let (mut state, mut heads, mut writers) = (State::default(), Heads::new(), Vec::new());
    let mut strays = BTreeSet::new();
    let wanted = Wanted {
        range: layout.all(),
        ..Wanted::default()
    };
    let (revision, _) = pages(client, wanted, |kv| match layout.name(&kv.key) {
        Name::Record(path) => match read_record(&kv.value) {
            Ok((version, sealed)) => state.put(&path, Some(record(&kv, version, sealed))),
            Err(_) => drop(strays.insert(path.group().to_owned())),
        },
        Name::Head(group, writer) => match read_head(hasher, &kv.key, &kv.value) {
            Ok(head) => drop(heads.entry(writer).or_default().heads.insert(Arc::from(group), head)),
            Err(_) => drop(strays.insert(group)),
        },
        Name::Writer(writer) => match WriterRecord::read(hasher, &kv.key, &kv.value) {
            Ok(record) => writers.push((writer, record)),
            Err(_) => tracing::error!(%writer, "the record of a writer in etcd is damaged"),
        },
        Name::Meta | Name::Join | Name::Beat(_) | Name::Stray => {}
    })
    .await?;
    for (writer, record) in &writers {
        let written = heads.entry(*writer).or_default();
        (written.sequence, written.total) = (record.sequence, record.total);
    }
    add_up(&mut state, &heads, hasher, strays);
    state.mark = revision;
    state.revision = state
        .records
        .values()
        .map(|record| record.revision)
        .max()
        .unwrap_or_default();
    state.revision = state.revision.max(first_revision(revision));
    Ok(Everything {
        revision,
        state,
        heads,
        writers,
    })
}

/// Heads of groups from those of writers; troubles where records do not fit.
fn add_up(state: &mut State, heads: &Heads, hasher: &Hasher, strays: BTreeSet<String>) {
    for written in heads.values() {
        for (name, head) in &written.heads {
            let group = state.groups.entry(Arc::clone(name)).or_default();
            group.head = group.head.plus(head);
        }
    }
    let mut total = Sum::default();
    for (name, group) in &state.groups {
        total.add(hasher.group(name, &group.head));
    }
    state.total = total;
    for (group, trouble) in state.verify(hasher).0 {
        state.groups.entry(group).or_default().trouble = Some(trouble);
    }
    for group in strays {
        let group = state.groups.entry(Arc::from(group)).or_default();
        group.trouble = Some(Trouble::Foreign { after: 0 });
    }
    for (writer, written) in heads {
        let mut total = Sum::default();
        for (name, head) in &written.heads {
            total.add(hasher.group(name, head));
        }
        if total != written.total {
            // A group as a whole is older than its writer says; which one cannot be told.
            tracing::error!(%writer, "the heads of a writer in etcd do not add up");
            for name in written.heads.keys() {
                let group = state.groups.entry(Arc::clone(name)).or_default();
                group.trouble.get_or_insert(Trouble::Foreign { after: 0 });
            }
        }
    }
}

fn record(kv: &KeyValue, version: u64, sealed: &[u8]) -> Record {
    Record {
        value: Arc::from(sealed),
        version,
        // Which batch of that transaction it was is not stored; the order of transactions is what counts.
        revision: first_revision(kv.mod_revision.cast_unsigned()),
    }
}

/// What differs from memory: values that were changed since, and which keys are gone.
pub(crate) async fn difference(cell: &Cell) -> Result<Difference, Failure> {
    let (layout, hasher) = (&cell.layout, &cell.shared.hasher);
    let mut difference = Difference {
        revision: 0,
        records: Vec::new(),
        heads: Vec::new(),
        writers: Vec::new(),
    };
    let changed = Wanted {
        range: layout.all(),
        since: cell.mark() + 1,
        ..Wanted::default()
    };
    let (revision, _) = pages(&cell.client, changed, |kv| match layout.name(&kv.key) {
        Name::Record(path) => {
            // A value that is none makes its group not add up.
            let (version, sealed) = read_record(&kv.value).unwrap_or((1, &[]));
            difference.records.push((path, Some(record(&kv, version, sealed))));
        }
        Name::Head(group, writer) => {
            if let Ok(head) = read_head(hasher, &kv.key, &kv.value) {
                difference.heads.push((Arc::from(group), writer, head));
            }
        }
        Name::Writer(writer) => {
            if let Ok(record) = WriterRecord::read(hasher, &kv.key, &kv.value) {
                difference.writers.push((writer, record));
            }
        }
        Name::Meta | Name::Join | Name::Beat(_) | Name::Stray => {}
    })
    .await?;
    difference.revision = revision;
    let mut there: BTreeSet<Path> = BTreeSet::new();
    let keys = Wanted {
        range: layout.all(),
        revision,
        keys_only: true,
        since: 0,
    };
    pages(&cell.client, keys, |kv| {
        if let Name::Record(path) = layout.name(&kv.key) {
            there.insert(path);
        }
    })
    .await?;
    let state = cell.shared.state.read();
    let gone = state.records.keys().filter(|path| !there.contains(*path));
    difference.records.extend(gone.map(|path| (path.clone(), None)));
    Ok(difference)
}
