//! Key sets under attack and in change: swapped and older records, incarnations, deletion.

use hsmd_proto::ck::{Rv, UserType};
use hsmd_store::{Batch, Write};

use super::*;
use crate::core::Committed;
use crate::records::PinRecord;
use crate::seal::Kind;

/// Puts `value` as the next version of `path`, as someone who can write the store but has no key.
fn plant(keystore: &Keystore, path: &hsmd_store::Path, value: Vec<u8>) {
    let version = keystore.core().store.get(path).map_or(0, |record| record.version) + 1;
    let write = Write {
        path: path.clone(),
        version,
        value: Some(value),
    };
    let batch = Batch {
        operation: random::array(),
        writes: vec![write],
        ..Batch::default()
    };
    assert!(matches!(keystore.core().commit(batch), Ok(Committed::Done(_))));
}

// INV-7: a record in another's place, or an older one brought back, does not open.
#[test]
fn swapped_and_older_records_are_noticed() {
    let keystore = memory();
    let (key_set, other) = (ready(&keystore), ready(&keystore));
    let store = &keystore.core().store;
    let path = |key_set: &KeySet| key_set.pin_path(&key_set.root(), crate::Role::User);
    let (mine, theirs) = (path(&key_set), path(&other));
    let older = store.get(&mine).unwrap().value.to_vec();
    key_set
        .set_pin(&caller(1), None, PIN, b"the second", operation())
        .unwrap();
    let try_login = |pin| key_set.login(&caller(1), UserType::USER, pin, operation()).map(drop);
    for value in [older, store.get(&theirs).unwrap().value.to_vec(), vec![], vec![0; 200]] {
        plant(&keystore, &mine, value);
        assert_eq!(try_login(PIN), Err(Rv::DEVICE_ERROR));
        assert_eq!(try_login(b"the second"), Err(Rv::DEVICE_ERROR));
        assert!(keystore.core().read::<PinRecord>(&mine, Kind::Pin).is_err());
    }
    login(&other, UserType::USER, PIN);
}

#[test]
fn a_barrier_seal_opens_for_its_path_version_and_kind_only() {
    let keystore = memory();
    let barrier = &keystore.core().barrier;
    let path = |text: &str| hsmd_store::Path::new(text).unwrap();
    let sealed = barrier.seal(&path("/a/b"), 3, Kind::Object, b"value");
    assert_eq!(
        barrier
            .open(&path("/a/b"), 3, Kind::Object, &sealed)
            .unwrap()
            .as_slice(),
        b"value"
    );
    assert!(barrier.open(&path("/a/c"), 3, Kind::Object, &sealed).is_err());
    assert!(barrier.open(&path("/a/b"), 2, Kind::Object, &sealed).is_err());
    assert!(barrier.open(&path("/a/b"), 3, Kind::Pin, &sealed).is_err());
    let other = memory();
    assert!(
        other
            .core()
            .barrier
            .open(&path("/a/b"), 3, Kind::Object, &sealed)
            .is_err()
    );
}

#[test]
fn initialising_again_is_a_new_incarnation_that_needs_the_so() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    let user = login(&key_set, UserType::USER, PIN);
    let before = key_set.root();
    let leftover = before.path("pin/user");
    let again = |pin: &[u8], operation| key_set.init_token(&caller(1), pin, &[b'2'; 32], operation);
    assert_eq!(again(b"not the so pin", operation()), Err(Rv::PIN_INCORRECT));
    assert!(user.alive());
    let second = operation();
    assert_eq!(again(SO_PIN, second), Ok(()));
    // INV-10: repeated, it is the same operation.
    assert_eq!(again(SO_PIN, second), Ok(()));
    let token = key_set.token();
    assert_eq!(
        (token.incarnation, token.label, token.has_user_pin),
        (2, [b'2'; 32], false)
    );
    assert!(!user.alive());
    assert_eq!(
        key_set.login(&caller(1), UserType::USER, PIN, operation()).unwrap_err(),
        Rv::USER_PIN_NOT_INITIALIZED
    );
    so(&key_set);
    let id = key_set.id();
    drop((key_set, keystore));
    let keystore = folder.open();
    assert_eq!(keystore.key_set(id).unwrap().token().incarnation, 2);
    until(|| keystore.core().store.get(&leftover).is_none());
}

// INV-3: an initialisation that meets a fault happened whole or not at all, at whichever commit the fault falls.
#[test]
fn an_initialisation_is_atomic() {
    for done in [false, true] {
        let faults = hsmd_store::Faults::new();
        let keystore = Keystore::in_memory(&Options {
            faults: faults.clone(),
            ..options()
        })
        .unwrap();
        let key_set = keystore.create_key_set(Policy::Standard).unwrap();
        faults.plan(
            Some(hsmd_store::Step::Commit),
            1,
            1,
            hsmd_store::Fault::Ambiguous { done },
        );
        let id = operation();
        let first = key_set.init_token(&caller(1), SO_PIN, &LABEL, id);
        faults.clear();
        assert_eq!(first.is_ok(), key_set.token().initialized);
        assert_eq!(key_set.init_token(&caller(1), SO_PIN, &LABEL, id), Ok(()));
        assert_eq!(key_set.token().incarnation, 1);
        so(&key_set);
    }
}

#[test]
fn a_deleted_key_set_is_gone_at_once_and_purged_later() {
    let (folder, keystore) = Folder::new();
    let (key_set, other) = (ready(&keystore), ready(&keystore));
    let user = login(&key_set, UserType::USER, PIN);
    let id = key_set.id();
    keystore.delete_key_set(id).unwrap();
    keystore.delete_key_set(id).unwrap();
    assert!(keystore.key_set(id).is_none() && !user.alive());
    assert!(key_set.login(&caller(1), UserType::USER, PIN, operation()).is_err());
    until(|| keystore.core().store.scan(&format!("/ks/{id}")).is_empty());
    let kept = other.id();
    drop((key_set, other, keystore));
    let keystore = folder.open();
    assert!(keystore.key_set(id).is_none());
    login(&keystore.key_set(kept).unwrap(), UserType::USER, PIN);
}

#[test]
fn a_key_set_made_twice_under_one_id_is_one() {
    let keystore = memory();
    let id = hsmd_proto::ids::KeySetId([9; 16]);
    let first = keystore.create_key_set_as(id, Policy::Standard).unwrap();
    let second = keystore.create_key_set_as(id, Policy::Standard).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert!(matches!(
        keystore.create_key_set_as(id, Policy::Legacy),
        Err(crate::Error::KeySetExists)
    ));
}

#[test]
fn a_policy_is_tightened_and_never_loosened() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let user = login(&key_set, UserType::USER, PIN);
    key_set.tighten(Policy::Strict).unwrap();
    assert!(matches!(
        key_set.tighten(Policy::Standard),
        Err(crate::Error::PolicyLoosened)
    ));
    assert_eq!(key_set.policy(), Policy::Strict);
    assert!(user.alive());
    key_set.end_logins().unwrap();
    assert!(!user.alive());
}

/// Waits for the background thread.
fn until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !condition() {
        assert!(
            std::time::Instant::now() < deadline,
            "the background thread does not do its work"
        );
        std::thread::yield_now();
    }
}
