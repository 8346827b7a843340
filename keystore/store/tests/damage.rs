//! Damage: flipped bits, truncations, swaps over all files of the store; old images put back. Nothing may have a silent effect,
//! nothing may panic out of the store, and one damage alone may lose nothing (INV-7, INV-2).

use std::fs;
use std::path::{Path, PathBuf};

use hsmd_store::{CommitError, LoadReport, Loaded, Notice, OpenError, SledFault, Store, Trouble};

use crate::crash::{copy_folder, sled_folders};
use crate::disk::{fill, open, options};
use crate::model::{Model, Random, batch, folder, keys, path, put, soak};

/// A store with two backups, several journal segments and destroyed records; closed cleanly or killed.
fn image(dir: &Path, clean: bool) -> Model {
    let mut model = Model::default();
    let (store, _) = open(dir);
    fill(&store, &mut model, 0, 120);
    store.backup().unwrap();
    fill(&store, &mut model, 120, 150);
    store.backup().unwrap();
    fill(&store, &mut model, 270, 60);
    // Also waits until sled is up to date.
    assert!(store.check().is_clean());
    if clean {
        store.close().unwrap();
    }
    model
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().unwrap() != "lock" && fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Does one damage and says what it was, and whether it hit two parts of the store at once.
fn damage(dir: &Path, random: &mut Random, kind: usize) -> (String, bool) {
    let files = files(dir);
    let file = &files[random.below(files.len())];
    let mut bytes = fs::read(file).unwrap();
    // Most of a journal segment and of sled's file is zeros; half of the time hit what is used.
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(bytes.len(), |last| last + 1);
    let within = if random.below(2) == 0 { used } else { bytes.len() };
    let mut both = false;
    let what = match kind {
        0..=5 => {
            let (at, bit) = (random.below(within), random.below(8));
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        6 => {
            let length = random.below(within);
            bytes.truncate(length);
            format!("cut to {length}")
        }
        7 => {
            let other = &files[random.below(files.len())];
            let moved = fs::read(other).unwrap();
            fs::write(other, &bytes).unwrap();
            bytes = moved;
            both = file.parent() != other.parent();
            format!("swapped with {}", other.display())
        }
        8 => {
            let blocks = (bytes.len() / 512).max(1);
            let (a, b) = (random.below(blocks) * 512, random.below(blocks) * 512);
            for offset in 0..512.min(bytes.len() - a.max(b)) {
                bytes.swap(a + offset, b + offset);
            }
            format!("blocks at {a} and {b} swapped")
        }
        _ => {
            fs::remove_file(file).unwrap();
            return (format!("{} removed", file.display()), false);
        }
    };
    fs::write(file, bytes).unwrap();
    (format!("{}: {what}", file.display()), both)
}

/// No group differs from the model unless it is in quarantine.
fn nothing_silent(store: &Store, report: &LoadReport, model: &Model, what: &str) -> bool {
    let found = Model::of(store);
    let quarantined = |group: &str| report.quarantined.iter().any(|(name, _)| name == group);
    for (name, record) in &model.records {
        let same = found.records.get(name) == Some(record);
        assert!(
            same || quarantined(path(name).group()),
            "{what}: {name} differs silently; {report:?}"
        );
    }
    for name in found.records.keys() {
        let known = model.records.contains_key(name);
        assert!(
            known || quarantined(path(name).group()),
            "{what}: {name} is back silently; {report:?}"
        );
    }
    found.records == model.records
}

/// After the repair the store works, and a restart finds it whole.
fn goes_on(dir: &Path, store: Store, report: &LoadReport, what: &str) {
    let group = (0..3)
        .map(|n| format!("/ks/{n:02}"))
        .find(|g| report.quarantined.iter().all(|(name, _)| name != g));
    if let Some(group) = group {
        store
            .commit(batch(9999, vec![put(&format!("{group}/new"), 1, b"x")]))
            .unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    assert_ne!(store.check().sled, Some(false), "{what}");
    let found = Model::of(&store);
    drop(store);
    let (store, again) = open(dir);
    assert_eq!(again.quarantined, report.quarantined, "{what}");
    assert_eq!(Model::of(&store), found, "{what}");
    let damage = again
        .notices
        .iter()
        .find(|notice| matches!(notice, Notice::JournalDamaged { .. }));
    assert_eq!(damage, None, "{what}: damage stays after the repair");
}

#[test]
fn one_damage_anywhere_loses_nothing_and_is_never_silent() {
    let trials = 260 * soak();
    let (mut noticed, mut named, mut swapped, mut lost) = (0, 0, 0, 0);
    for clean in [true, false] {
        let base = folder();
        let model = image(base.path(), clean);
        for trial in 0..trials / 2 {
            let dir = folder();
            copy_folder(base.path(), dir.path());
            let mut random = Random(trial * 2 + u64::from(clean));
            let (what, both) = damage(dir.path(), &mut random, (trial % 10) as usize);
            let what = format!("trial {trial} clean {clean} {what}");
            let (store, report) =
                Store::open_sled(dir.path(), keys(), options()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let whole = nothing_silent(&store, &report, &model, &what);
            // INV-2: what one damage hits is somewhere else too. Only where the end of the journal is gone after a kill, and
            // so how far it went, the store cannot know that it has everything, and says so.
            assert!(whole || both, "{what}: lost, if named: {report:?}");
            // A file swapped with one of another part of the store damages two parts: that may lose something, but never silently.
            swapped += u64::from(both);
            lost += u64::from(!whole);
            noticed += u64::from(!report.notices.is_empty());
            named += u64::from(!report.quarantined.is_empty());
            if trial % 5 == 0 {
                goes_on(dir.path(), store, &report, &what);
            }
        }
    }
    println!(
        "damage: {trials} flips, cuts, swaps and removals: 0 silent, 0 panics; 0 lost by those that hit one part of the store, \
         {lost} lost and named of {swapped} swaps over two parts; {noticed} noticed, of these {named} with groups in doubt"
    );
}

#[test]
fn a_damaged_sled_folder_is_rebuilt_with_nothing_lost() {
    let base = folder();
    let model = image(base.path(), false);
    let trials = 40 * soak();
    let mut faults = std::collections::BTreeMap::<String, u64>::new();
    for trial in 0..trials {
        let dir = folder();
        copy_folder(base.path(), dir.path());
        let mut random = Random(77 + trial);
        for folder in sled_folders(dir.path()) {
            for file in files(&folder) {
                let mut bytes = fs::read(&file).unwrap();
                let used = bytes
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(bytes.len(), |last| last + 1);
                // Damage to the small files always makes sled refuse; look deeper in most trials.
                if file.file_name().unwrap() == "conf" && !trial.is_multiple_of(4) {
                    continue;
                }
                for _ in 0..1 + random.below(1 + trial as usize % 6) {
                    bytes[random.below(used)] = random.below(256) as u8;
                }
                fs::write(&file, bytes).unwrap();
            }
        }
        let (store, report) = open(dir.path());
        assert_eq!(report.quarantined, vec![]);
        assert_eq!(Model::of(&store), model, "trial {trial}: {report:?}");
        assert_eq!(store.check().sled, Some(true));
        for notice in report.notices {
            *faults.entry(format!("{notice:?}")).or_default() += 1;
        }
    }
    println!("damaged sled folders: {trials} opened, 0 lost: {faults:?}");
}

#[test]
fn damage_to_sled_and_to_journal_or_backups_together_is_named() {
    let base = folder();
    let model = image(base.path(), false);
    let trials = 60 * soak();
    let (mut whole, mut refused) = (0, 0);
    for trial in 0..trials {
        let dir = folder();
        copy_folder(base.path(), dir.path());
        sled_folders(dir.path())
            .iter()
            .for_each(|folder| fs::remove_dir_all(folder).unwrap());
        let mut random = Random(4242 + trial);
        let what = (0..1 + trial % 3).map(|n| damage(dir.path(), &mut random, ((trial + n) % 10) as usize).0);
        let what = format!("trial {trial} {}", what.collect::<Vec<_>>().join("; "));
        match Store::open_sled(dir.path(), keys(), options()) {
            Ok((store, report)) => {
                whole += u64::from(nothing_silent(&store, &report, &model, &what));
                goes_on(dir.path(), store, &report, &what);
            }
            Err(OpenError::Lost) => refused += 1,
            Err(error) => panic!("{what}: {error}"),
        }
    }
    println!(
        "no sled folder and 1 to 3 damages: {trials} opened, 0 silent, {whole} without any loss, {refused} refused"
    );
}

#[test]
fn an_old_image_of_one_record_is_noticed_by_the_heads() {
    let dir = folder();
    let mut model = Model::default();
    let target = "/ks/01/counter";
    for version in 1..=2 {
        let (store, _) = open(dir.path());
        let batch = batch(
            version,
            vec![
                put(target, version, &[version as u8; 32]),
                put("/ks/02/x", version, b"x"),
            ],
        );
        assert_eq!(store.commit(batch.clone()), Ok(model.commit(&batch)));
        assert!(store.check().is_clean());
        drop(store);
        if version == 1 {
            copy_folder(&dir.path().join("sled.1"), &dir.path().join("copy/sled.1"));
        }
    }
    let key = [b"r", target.as_bytes()].concat();
    let old = {
        let db = sled::open(dir.path().join("copy/sled.1")).unwrap();
        db.get(&key).unwrap().unwrap()
    };
    {
        let db = sled::open(dir.path().join("sled.1")).unwrap();
        assert_ne!(db.insert(&key, &old).unwrap().unwrap(), old);
        db.flush().unwrap();
    }
    fs::remove_dir_all(dir.path().join("copy")).unwrap();
    // INV-7: with the journal there, the truth is found again.
    let without_journal = folder();
    copy_folder(dir.path(), without_journal.path());
    let (store, report) = open(dir.path());
    assert_eq!(report.notices, vec![Notice::SledRebuilt(SledFault::Untrue)]);
    assert_eq!(report.loaded, Loaded::Journal);
    assert_eq!(Model::of(&store), model);
    // Without it, the group is named, the other one is served.
    fs::remove_dir_all(without_journal.path().join("journal")).unwrap();
    let (store, report) = open(without_journal.path());
    let expected = Trouble::HeadMismatch { expected: 1, found: 1 };
    assert!(
        report.quarantined.contains(&("/ks/01".to_owned(), expected)),
        "{report:?}"
    );
    assert!(store.get(&path(target)).is_some(), "reads of it answer");
    let refused = store.commit(batch(9, vec![put(target, 2, b"x")]));
    assert_eq!(refused, Err(CommitError::Quarantined("/ks/01".to_owned())));
    store.accept("/ks/01").unwrap();
    store.commit(batch(10, vec![put(target, 2, b"x")])).unwrap();
    drop(store);
    let (store, report) = open(without_journal.path());
    assert!(
        report.quarantined.iter().all(|(name, _)| name != "/ks/01"),
        "{report:?}"
    );
    assert_eq!(store.get(&path(target)).unwrap().version, 2);
}
