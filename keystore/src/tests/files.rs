//! Keystores on disk: master key, root record, marks, what a thief sees, damage.

use std::fs;

use hsmd_proto::ck::UserType;

use super::*;
use crate::{DocumentWrite, Error};

fn open(folder: &Folder, master: &MasterKey) -> Result<Keystore, Error> {
    Keystore::open(&folder.path(), master, &options())
}

// INV-7: a wrong master key is named, and changes nothing.
#[test]
fn a_wrong_master_key_is_named_and_changes_nothing() {
    let (folder, keystore) = Folder::new();
    let id = ready(&keystore).id();
    keystore.close().unwrap();
    drop(keystore);
    let before = files(&folder.path());
    assert!(matches!(
        open(&folder, &MasterKey::random()),
        Err(Error::WrongMasterKey)
    ));
    let passphrase = MasterKey::from_passphrase(crate::Secret::from_slice(b"a passphrase"));
    assert!(matches!(open(&folder, &passphrase), Err(Error::WrongMasterKey)));
    assert_eq!(files(&folder.path()), before);
    login(&folder.open().key_set(id).unwrap(), UserType::USER, PIN);
}

#[test]
fn a_keystore_is_made_once_and_opened_by_one() {
    let (folder, keystore) = Folder::new();
    let init = |master| Keystore::init(&folder.path(), master, &options());
    assert!(matches!(init(&folder.master), Err(Error::Locked)));
    assert!(matches!(open(&folder, &folder.master), Err(Error::Locked)));
    drop(keystore);
    assert!(matches!(init(&folder.master), Err(Error::AlreadyInitialized)));
    assert!(matches!(init(&MasterKey::random()), Err(Error::AlreadyInitialized)));
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(
        Keystore::open(nothing.path(), &folder.master, &options()),
        Err(Error::NotInitialized)
    ));
    assert!(matches!(
        Keystore::open(&nothing.path().join("absent"), &folder.master, &options()),
        Err(Error::NotInitialized)
    ));
}

#[test]
fn a_development_store_is_no_production_store() {
    let folder = Folder {
        dir: tempfile::tempdir().unwrap(),
        master: MasterKey::random(),
    };
    let dev = Options { dev: true, ..options() };
    assert!(Keystore::init(&folder.path(), &folder.master, &dev).unwrap().dev());
    assert!(matches!(
        open(&folder, &folder.master),
        Err(Error::DevMark { dev: true })
    ));
    assert!(Keystore::open(&folder.path(), &folder.master, &dev).unwrap().dev());
}

#[test]
fn a_passphrase_seals_as_well() {
    let folder = Folder {
        dir: tempfile::tempdir().unwrap(),
        master: MasterKey::from_passphrase(crate::Secret::from_slice(b"correct horse")),
    };
    drop(Keystore::init(&folder.path(), &folder.master, &options()).unwrap());
    folder.open();
    let other = MasterKey::from_passphrase(crate::Secret::from_slice(b"battery staple"));
    assert!(matches!(open(&folder, &other), Err(Error::WrongMasterKey)));
}

// INV-7: one copy of the root may be damaged in any way; both are named.
#[test]
fn a_damaged_root_copy_is_repaired_and_two_are_named() {
    let (folder, keystore) = Folder::new();
    drop(keystore);
    let copies = ["root.0", "root.1"].map(|name| folder.path().join(name));
    let whole = fs::read(&copies[0]).unwrap();
    for (number, at) in (0..whole.len()).step_by(29).enumerate() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&copies[number % 2], &damaged).unwrap();
        folder.open();
        assert_eq!(fs::read(&copies[number % 2]).unwrap(), whole);
    }
    fs::write(&copies[0], &whole[..whole.len() / 2]).unwrap();
    folder.open();
    copies.iter().for_each(|copy| fs::write(copy, b"nothing").unwrap());
    assert!(matches!(open(&folder, &folder.master), Err(Error::RootDamaged)));
    assert!(matches!(
        Keystore::init(&folder.path(), &folder.master, &options()),
        Err(Error::RootDamaged)
    ));
}

// INV-7: an empty store in the place of the old one is a loss, not a beginning.
#[test]
fn a_store_that_is_gone_is_named() {
    let (folder, keystore) = Folder::new();
    ready(&keystore);
    drop(keystore);
    fs::rename(folder.path().join("store"), folder.dir.path().join("elsewhere")).unwrap();
    assert!(matches!(open(&folder, &folder.master), Err(Error::StoreLost)));
    let (other, _) = Folder::new();
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    fs::rename(other.path().join("store"), folder.path().join("store")).unwrap();
    assert!(open(&folder, &folder.master).is_err());
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    fs::rename(folder.dir.path().join("elsewhere"), folder.path().join("store")).unwrap();
    folder.open();
}

// INV-7: a thief of the folder finds no PIN, no label, no name, no identity in any file.
#[test]
fn no_file_shows_a_label_a_pin_or_a_name() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    let ticket = key_set.login(&caller(0xC7), UserType::USER, PIN, operation()).unwrap();
    let psk = *key_set.psk().unwrap().expose();
    let write = |name: &str, value: &[u8]| DocumentWrite {
        name: name.into(),
        expected: 0,
        value: Some(value.into()),
    };
    let documents = vec![
        write("partition/the name of it", b"the value of it"),
        write("hsm/1", b"a second value"),
    ];
    keystore.commit_documents(operation(), documents).unwrap();
    keystore.backup().unwrap();
    keystore.close().unwrap();
    drop((key_set, keystore));
    let needles: [&[u8]; 9] = [
        SO_PIN,
        PIN,
        b"nobody may see",
        b"the name of it",
        b"the value of it",
        b"partition",
        &psk,
        &ticket.expose()[17..],
        &[0xC7; 32],
    ];
    for (path, bytes) in files(&folder.path()) {
        for needle in needles {
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{} shows {}", path.display(), String::from_utf8_lossy(needle));
        }
    }
}

// INV-2: what was acknowledged is there after a kill; nothing is closed here.
#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    let id = key_set.id();
    key_set.set_pin(&caller(1), None, PIN, b"changed", operation()).unwrap();
    let document = DocumentWrite {
        name: "slots".into(),
        expected: 0,
        value: Some(b"x".to_vec()),
    };
    keystore.commit_documents(operation(), vec![document]).unwrap();
    drop((key_set, keystore));
    let keystore = folder.open();
    assert_eq!(&*keystore.document("slots").unwrap().unwrap().value, b"x");
    let key_set = keystore.key_set(id).unwrap();
    assert_eq!(key_set.token().label, LABEL);
    login(&key_set, UserType::USER, b"changed");
}

// An `init` that is cut off at any step, with what was not synced lost, may be repeated; an acknowledged one is whole.
#[test]
fn an_init_cut_off_anywhere_may_be_repeated() {
    let mut cut = 0;
    for step in 1_u64.. {
        let folder = Folder {
            dir: tempfile::tempdir().unwrap(),
            master: MasterKey::random(),
        };
        let faults = hsmd_store::Faults::tracking();
        faults.plan(None, step, 1, hsmd_store::Fault::Crash);
        let faulty = Options {
            faults: faults.clone(),
            on_fatal: Some(Arc::new(|_| {})),
            ..options()
        };
        let made = Keystore::init(&folder.path(), &folder.master, &faulty);
        let acknowledged = made.is_ok();
        if acknowledged && !faults.crashed() {
            break;
        }
        drop(made);
        cut += 1;
        faults.lose_unsynced(hsmd_store::Loss::Everything).unwrap();
        match Keystore::init(&folder.path(), &folder.master, &options()) {
            Ok(keystore) => assert!(!acknowledged && !keystore.dev()),
            Err(Error::AlreadyInitialized) => {}
            Err(error) => unreachable!("after a cut at step {step}: {error}"),
        }
        ready(&folder.open());
    }
    assert!(cut > 10, "{cut} steps");
}

// INV-7: one flipped bit anywhere in the store is repaired or named; no value is ever wrong, nothing panics.
#[test]
fn a_flipped_bit_has_no_silent_effect() {
    let (folder, keystore) = Folder::new();
    let sets = [ready(&keystore).id(), ready(&keystore).id()];
    keystore.backup().unwrap();
    let document = DocumentWrite {
        name: "slots".into(),
        expected: 0,
        value: Some(b"right".to_vec()),
    };
    keystore.commit_documents(operation(), vec![document]).unwrap();
    keystore.close().unwrap();
    drop(keystore);
    let healthy = files(&folder.path().join("store"));
    for round in 0..24_usize {
        let store = folder.path().join("store");
        fs::remove_dir_all(&store).unwrap();
        for (path, bytes) in &healthy {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let (path, bytes) = &healthy[round % healthy.len()];
        let mut damaged = bytes.clone();
        if damaged.is_empty() {
            continue;
        }
        // Journal segments are mostly room: what matters stands in front.
        let reach = damaged.len().min(20_000);
        let bit = u64::from_le_bytes(random::array()) as usize % (reach * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(path, damaged).unwrap();
        let Ok(keystore) = open(&folder, &folder.master) else {
            continue;
        };
        let named = keystore.quarantined();
        let spared = |group: &str| !named.iter().any(|name| name.starts_with(group));
        match keystore.document("slots") {
            Ok(Some(document)) => assert_eq!(&*document.value, b"right"),
            Ok(None) => unreachable!("{} bit {bit}: a document has vanished", path.display()),
            Err(_) => assert!(!spared("/fleet")),
        }
        for id in sets {
            match keystore.key_set(id) {
                Some(key_set) => drop(login(&key_set, UserType::USER, PIN)),
                None => assert!(!spared(&format!("/ks/{id}"))),
            }
        }
    }
}

#[test]
fn a_new_barrier_key_seals_what_comes_and_old_records_stay_readable() {
    let (folder, keystore) = Folder::new();
    let old = ready(&keystore);
    for _ in 0..2 {
        keystore.rotate_barrier_key().unwrap();
    }
    let new = ready(&keystore);
    let record = |key_set: &KeySet| keystore.core().store.get(&key_set.root().compare().path).unwrap();
    assert_eq!(
        (record(&old).value[0], record(&new).value[0]),
        (1, 3),
        "versions of the key"
    );
    old.set_pin(&caller(1), None, PIN, b"changed", operation()).unwrap();
    let ids = [old.id(), new.id()];
    drop((old, new, keystore));
    let keystore = folder.open();
    login(&keystore.key_set(ids[0]).unwrap(), UserType::USER, b"changed");
    login(&keystore.key_set(ids[1]).unwrap(), UserType::USER, PIN);
}
