//! Snapshots: one revision, whatever is committed meanwhile; and the import of records with their versions.

use std::collections::BTreeMap;

use hsmd_store::{Batch, Limits, Outcome, Path, Snapshot, Store, StoreKeys, Write};

fn store() -> Store {
    Store::memory(StoreKeys::new([1; 32], [2; 32]), Limits::default())
}

fn path(text: &str) -> Path {
    Path::new(text).unwrap()
}

fn batch(path: &Path, version: u64, value: Option<&str>) -> Batch {
    let mut operation = [0; 16];
    operation[..8].copy_from_slice(&version.to_le_bytes());
    Batch {
        operation,
        writes: vec![Write {
            path: path.clone(),
            version,
            value: value.map(|value| value.as_bytes().to_vec()),
        }],
        ..Batch::default()
    }
}

fn put(store: &Store, name: &str, value: Option<&str>) {
    let path = path(name);
    let version = store.get(&path).map_or(0, |record| record.version) + 1;
    assert!(matches!(
        store.commit(batch(&path, version, value)).unwrap(),
        Outcome::Committed(_)
    ));
}

fn all(snapshot: &Snapshot, prefix: &str, size: usize, mut between: impl FnMut()) -> BTreeMap<String, String> {
    let (mut found, mut last) = (BTreeMap::new(), None);
    loop {
        let page = snapshot.page(prefix, last.as_ref(), size);
        between();
        last = page.last().map(|(path, _)| path.clone());
        let full = page.len() == size;
        for (path, record) in page {
            assert_eq!(snapshot.get(&path).as_ref(), Some(&record));
            let value = String::from_utf8(record.value.to_vec()).unwrap();
            assert!(found.insert(path.to_string(), value).is_none(), "{path} twice");
        }
        if !full {
            return found;
        }
    }
}

#[test]
fn a_snapshot_shows_one_revision_whatever_is_committed_meanwhile() {
    let store = store();
    for number in 0..40 {
        put(&store, &format!("/a/{number:02}"), Some("old"));
    }
    put(&store, "/b/other", Some("old"));
    let (first, second) = (store.snapshot(), store.snapshot());
    let mut step = 0;
    let expected: BTreeMap<_, _> = (0..40).map(|n| (format!("/a/{n:02}"), "old".to_owned())).collect();
    let found = all(&first, "/a/", 7, || {
        // New, changed and purged ones before and behind the place where the reader is.
        for number in [step, step + 7, 39 - step] {
            put(&store, &format!("/a/{number:02}"), Some("new"));
            put(&store, &format!("/a/{number:02}x"), Some("new"));
        }
        put(&store, &format!("/a/{:02}", 30 - step), None);
        step += 1;
    });
    assert_eq!(found, expected);
    drop(first);
    put(&store, "/a/05", None);
    assert_eq!(all(&second, "/a/", 1000, || {}), expected);
    assert_eq!(all(&second, "/a/", 1, || {}), expected);
    assert_eq!(second.records(), 41);
    assert!(second.get(&path("/a/00x")).is_none());
    drop(second);
    assert!(all(&store.snapshot(), "/a/", 8, || {}).contains_key("/a/00x"));
}

#[test]
fn an_imported_record_has_its_version_and_a_place_that_is_taken_is_left_alone() {
    let store = store();
    let name = path("/a/object");
    assert!(matches!(
        store.import(batch(&name, 17, Some("seventeen"))).unwrap(),
        Outcome::Committed(_)
    ));
    assert_eq!(store.get(&name).unwrap().version, 17);
    assert!(matches!(
        store.import(batch(&name, 18, Some("again"))).unwrap(),
        Outcome::Conflict { current: 17, .. }
    ));
    put(&store, "/a/object", Some("eighteen"));
    assert_eq!(store.get(&name).unwrap().version, 18);
    assert!(store.check().is_clean());
}
