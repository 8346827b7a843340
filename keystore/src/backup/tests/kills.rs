//! The process is killed at each of its writes to the disk: a restore has happened or it has not.

use hsmd_store::{Fault, Faults, Loss};

use super::*;

fn faulty(faults: &Faults) -> Options {
    Options {
        faults: faults.clone(),
        on_fatal: Some(Arc::new(|_| {})),
        ..options()
    }
}

/// A token with one key before the backup and another one after it.
struct Scene {
    dir: tempfile::TempDir,
    master: MasterKey,
    id: KeySetId,
    bytes: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let master = MasterKey::random();
        let keystore = Keystore::init(&dir.path().join("first"), &master, &options()).unwrap();
        let keys = token(&keystore, Policy::Standard);
        let context = user(&keys);
        for number in 0..150 {
            known_key(&keys, &context, &format!("old {number:03}"), true);
        }
        let bytes = partition(&keystore, &keys);
        known_key(&keys, &context, "new", true);
        keystore.close().unwrap();
        let id = keys.id();
        Self { dir, master, id, bytes }
    }

    /// A copy of the store.
    fn copy(&self, name: &str) -> std::path::PathBuf {
        let to = self.dir.path().join(name);
        copy(&self.dir.path().join("first"), &to);
        to
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_kill_at_any_write_of_a_restore_in_place_leaves_before_or_after() {
    let scene = Scene::new();
    let (mut before, mut after, mut step) = (0, 0, 1);
    loop {
        let path = scene.copy(&format!("in place {step}"));
        let faults = Faults::tracking();
        let keystore = Keystore::open(&path, &scene.master, &faulty(&faults)).unwrap();
        let keys = keystore.key_set(scene.id).unwrap();
        faults.plan(Some(hsmd_store::Step::Write), step, 1, Fault::Crash);
        let done = replace(&keystore, &scene.bytes, &keys, true);
        let crashed = faults.crashed();
        drop((keys, keystore));
        faults.clear();
        faults.lose_unsynced(Loss::Some(step)).unwrap();
        let keystore = Keystore::open(&path, &scene.master, &options()).unwrap();
        assert!(keystore.quarantined().is_empty(), "step {step}");
        let keys = keystore.key_set(scene.id).unwrap();
        let found = labels(&keys, &user(&keys));
        let old = found.iter().filter(|label| label.starts_with("old")).count();
        assert_eq!(old, 150, "step {step}");
        match found.len() {
            151 => {
                assert!(done.is_err(), "INV-2: step {step} was said to be done");
                before += 1;
            }
            150 => after += 1,
            count => panic!("step {step}: {count} objects"),
        }
        keystore.close().unwrap();
        std::fs::remove_dir_all(path).unwrap();
        if !crashed {
            break;
        }
        step += 1;
    }
    assert!(before > 2 && after > 0, "{before} before, {after} after");
}

#[test]
fn a_restore_as_new_that_was_killed_leaves_nothing() {
    let scene = Scene::new();
    let path = scene.copy("as new");
    let faults = Faults::tracking();
    let keystore = Keystore::open(&path, &scene.master, &faulty(&faults)).unwrap();
    faults.plan(Some(hsmd_store::Step::Write), 3, 1, Fault::Crash);
    assert!(restore_new(&keystore, &scene.bytes).is_err());
    assert!(faults.crashed());
    drop(keystore);
    faults.clear();
    faults.lose_unsynced(Loss::Nothing).unwrap();
    let keystore = Keystore::open(&path, &scene.master, &options()).unwrap();
    assert_eq!(keystore.key_sets().len(), 1);
    let mine = format!("/ks/{}/", scene.id);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let left = || {
        let all = keystore.core().store.scan("/ks/");
        all.iter().filter(|(path, _)| !path.as_str().starts_with(&mine)).count()
    };
    while left() > 0 && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(left(), 0, "what was staged is purged");
}

#[test]
fn a_restore_of_everything_that_was_killed_is_no_keystore_and_can_be_repeated() {
    let source = memory();
    let keys = token(&source, Policy::Standard);
    let context = user(&keys);
    for number in 0..120 {
        known_key(&keys, &context, &format!("{number:03}"), true);
    }
    let bytes = back_up(&source, &request(BackupScope::Daemon, None));
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("store"), MasterKey::random());
    let mut step = 1;
    loop {
        let faults = Faults::tracking();
        faults.plan(None, step, 1, Fault::Crash);
        let done = Keystore::restore(&path, &master, &faulty(&faults), incoming(&bytes).unwrap(), &mut |_| {});
        let crashed = faults.crashed();
        faults.clear();
        faults.lose_unsynced(Loss::Some(step)).unwrap();
        match Keystore::open(&path, &master, &options()) {
            Ok(keystore) => {
                let keys = keystore.key_set(keys.id()).unwrap();
                assert_eq!(labels(&keys, &user(&keys)).len(), 120, "step {step}");
                assert!(done.is_ok() || crashed);
                break;
            }
            Err(Error::NotInitialized | Error::RestoreUnfinished) => assert!(done.is_err(), "INV-2: step {step}"),
            Err(error) => panic!("step {step}: {error}"),
        }
        assert!(matches!(
            Keystore::init(&path, &MasterKey::random(), &options()),
            Err(Error::AlreadyInitialized) | Ok(_)
        ));
        if path.exists() {
            let made = Keystore::open(&path, &master, &options()).is_ok();
            assert!(!made);
        }
        // The next one begins anew; every seventh step, so that it does not take for ever.
        let _ = std::fs::remove_dir_all(&path);
        step += 5;
    }
    assert!(step > 20, "{step}");
}
