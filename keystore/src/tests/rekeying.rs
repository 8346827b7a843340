//! Another PSK for a key set: nothing is lost and nothing stays under the old one, whoever uses the token meanwhile and wherever
//! the process is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hsmd_proto::attribute::Attribute;
use hsmd_proto::ck::{AttributeType as A, ObjectClass, Rv, UserType};
use hsmd_proto::ids::{KeySetId, UniqueId};

use super::merging::kills::sweep;
use super::merging::{
    Contents, JOIN, contents, copy, destroy, join, make_key, make_public, nobody, protect, rename, template, two, user,
};
use super::*;
use crate::login::Role;
use crate::objects::merging::{Content, Envelope};
use crate::pin;
use crate::records::PinRecord;
use crate::seal::{Kind, Psk};
use crate::{MergeError, Quota, RekeyError};

/// CKF_USER_PIN_LOCKED.
const LOCKED: u64 = 0x4_0000;

fn rekey(key_set: &Arc<KeySet>) -> Result<u64, RekeyError> {
    key_set
        .begin_rekey(&caller(9), SO_PIN, Some(PIN), None)?
        .run(&mut |_, _| {})
}

/// The PSK that the user's PIN gives now, from the record.
fn psk(key_set: &KeySet) -> Psk {
    let root = key_set.root();
    let path = key_set.pin_path(&root, Role::User);
    let (record, _) = key_set.core().read::<PinRecord>(&path, Kind::Pin).unwrap().unwrap();
    let place = pin::Place {
        key_set: key_set.id(),
        incarnation: root.incarnation(),
        role: Role::User,
    };
    pin::unwrap(&record, PIN, place).unwrap().unwrap()
}

/// How many private objects of the store a PSK opens, wherever in the key set they are.
fn opens(keystore: &Keystore, key_set: &KeySet, psk: &Psk) -> usize {
    let core = keystore.core();
    let all = core.store.scan(&format!("/ks/{}/", key_set.id()));
    let opened = all.into_iter().filter(|(path, record)| {
        let plain = core.barrier.open(path, record.version, Kind::Object, &record.value);
        let envelope = plain.ok().and_then(|plain| Envelope::decode(&plain));
        envelope.is_some_and(|envelope| match &envelope.content {
            Content::Private(sealed) => {
                let version = envelope.sealed_at.unwrap_or(record.version);
                psk.open(&envelope.id, version, Kind::Object, sealed).is_ok()
            }
            Content::Public(_) => false,
        })
    });
    opened.count()
}

fn wait_until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "in time");
        std::thread::yield_now();
    }
}

/// The prefixes of a key set that hold something.
fn incarnations(keystore: &Keystore, key_set: &KeySet) -> usize {
    let base = format!("/ks/{}/", key_set.id());
    let all = keystore.core().store.scan(&base);
    let folders = all.iter().filter_map(|(path, _)| {
        let rest = path.as_str().strip_prefix(&base)?;
        Some(rest.split_once('/')?.0)
    });
    folders.collect::<std::collections::BTreeSet<_>>().len()
}

// INV-7: what the old PSK opened is gone.
#[test]
fn a_rekeyed_token_has_its_objects_and_pins_and_nothing_under_the_old_key() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    key_set.set_quota(Quota { objects: 500, bytes: 0 }).unwrap();
    let context = user(&key_set);
    for number in 0..130 {
        make_key(&key_set, &context, &format!("key {number}"));
    }
    make_public(&key_set, "open");
    let gone = make_key(&key_set, &context, "gone");
    destroy(&key_set, &context, gone).unwrap();
    let before: Contents = contents(&key_set, &context);
    let (old, used) = (psk(&key_set), key_set.used());
    assert_eq!(opens(&keystore, &key_set, &old), 130);
    let mut told = Vec::new();
    let begun = key_set.begin_rekey(&caller(9), SO_PIN, Some(PIN), None).unwrap();
    let count = begun.run(&mut |done, of| told.push((done, of))).unwrap();
    assert_eq!(count, 131);
    assert!(told.is_sorted() && told.last() == Some(&(132, 132)), "{told:?}");
    assert!(!context.login.as_ref().unwrap().alive(), "logins have ended");
    assert_eq!((key_set.used().objects, key_set.quota().objects), (used.objects, 500));
    assert_ne!(psk(&key_set).expose(), old.expose());
    let check = |keystore: &Keystore, key_set: &KeySet| {
        assert_eq!(contents(key_set, &user(key_set)), before);
        login(key_set, UserType::SO, SO_PIN);
        wait_until(|| incarnations(keystore, key_set) == 1);
        assert_eq!(opens(keystore, key_set, &old), 0);
        assert_eq!(opens(keystore, key_set, &psk(key_set)), 130);
        assert!(keystore.quarantined().is_empty());
    };
    check(&keystore, &key_set);
    let context = user(&key_set);
    let (id, ..) = before.iter().next().unwrap();
    rename(&key_set, &context, *id, "changed").unwrap();
    keystore.close().unwrap();
    drop((key_set, keystore));
    let keystore = folder.open();
    let key_set = keystore.key_sets().remove(0);
    rename(&key_set, &user(&key_set), *id, "again").unwrap();
    rekey(&key_set).unwrap();
    assert_eq!(contents(&key_set, &user(&key_set)).len(), before.len());
}

// INV-8
#[test]
fn pins_that_are_wrong_or_missing_are_refused_counted_and_go_along() {
    let keystore = memory();
    let empty = keystore.create_key_set(Policy::Standard).unwrap();
    let refused = empty.begin_rekey(&caller(1), SO_PIN, None, None).err();
    assert!(matches!(refused, Some(RekeyError::Pin(Role::So, _))));
    let key_set = ready(&keystore);
    let before = key_set.root();
    let begin = |so: &[u8], user: Option<&[u8]>| key_set.begin_rekey(&caller(9), so, user, None).err();
    assert!(matches!(begin(SO_PIN, None), Some(RekeyError::PinNeeded(Role::User))));
    assert!(matches!(
        begin(b"wrong pin", Some(PIN)),
        Some(RekeyError::Pin(Role::So, Rv::PIN_INCORRECT))
    ));
    for _ in 0..2 {
        let refused = begin(SO_PIN, Some(b"wrong pin"));
        assert!(matches!(refused, Some(RekeyError::Pin(Role::User, Rv::PIN_INCORRECT))));
    }
    assert!(key_set.root().is_same(&before), "nothing has changed");
    // Failures that came after the right PIN was proven: they are the new token's.
    let begun = key_set.begin_rekey(&caller(9), SO_PIN, Some(PIN), None).unwrap();
    let wrong = || key_set.login(&caller(1), UserType::USER, b"wrong pin", operation());
    for _ in 0..9 {
        assert_eq!(wrong().err(), Some(Rv::PIN_INCORRECT));
    }
    begun.run(&mut |_, _| {}).unwrap();
    assert_eq!(wrong().err(), Some(Rv::PIN_INCORRECT));
    assert_ne!(key_set.token().flags & LOCKED, 0, "the tenth");
    let locked = begin(SO_PIN, Some(PIN));
    assert!(matches!(locked, Some(RekeyError::Pin(Role::User, Rv::PIN_LOCKED))));
}

#[test]
fn whoever_changes_the_token_meanwhile_is_not_overwritten() {
    let keystore = memory();
    let (key_set, group) = two(&keystore);
    make_key(&key_set, &user(&key_set), "key");
    let begun = || key_set.begin_rekey(&caller(9), SO_PIN, Some(PIN), None).unwrap();
    let changed = |done: Result<u64, RekeyError>| assert!(matches!(done, Err(RekeyError::Changed)), "{done:?}");
    // A PIN that was changed after it was proven.
    let late = begun();
    let session = login(&key_set, UserType::USER, PIN);
    key_set
        .set_pin(&caller(1), Some(&session), PIN, b"another", operation())
        .unwrap();
    changed(late.run(&mut |_, _| {}));
    key_set
        .set_pin(&caller(1), Some(&session), b"another", PIN, operation())
        .unwrap();
    // Two at once: the second finds the first's.
    let late = begun();
    rekey(&key_set).unwrap();
    changed(late.run(&mut |_, _| {}));
    let late = begun();
    protect(&keystore, &key_set, true).unwrap();
    changed(late.run(&mut |_, _| {}));
    assert!(matches!(rekey(&key_set), Err(RekeyError::Protected)));
    protect(&keystore, &key_set, false).unwrap();
    let late = begun();
    key_set.init_token(&caller(1), SO_PIN, &LABEL, operation()).unwrap();
    changed(late.run(&mut |_, _| {}));
    wait_until(|| incarnations(&keystore, &key_set) == 1);
    drop(group);
}

// INV-2: what was acknowledged while it ran is there afterwards, with its last value.
#[test]
fn a_token_is_in_use_while_it_is_rekeyed() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    let context = user(&key_set);
    let ids: Vec<_> = (0..200)
        .map(|number| make_key(&key_set, &context, &format!("{number}")))
        .collect();
    let (stop, created) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (made, names, destroyed) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut made, mut names, mut destroyed) = (Vec::new(), std::collections::BTreeMap::new(), Vec::new());
            let mut context = user(&key_set);
            let mut step = 0;
            while !stop.load(Ordering::Acquire) {
                if !context.login.as_ref().is_some_and(|login| login.alive()) {
                    // The login has ended with the old key.
                    context = user(&key_set);
                }
                step += 1;
                let id = ids[step * 7 % 150];
                let name = format!("name {step}");
                if rename(&key_set, &context, id, &name).is_ok() {
                    names.insert(id, name.into_bytes());
                }
                if step % 5 == 0 && step / 5 <= 50 && destroy(&key_set, &context, ids[149 + step / 5]).is_ok() {
                    destroyed.push(ids[149 + step / 5]);
                }
                let label = format!("new {step}");
                let data = template(&label, &[Attribute::ulong(A::CLASS, ObjectClass::DATA.0)]);
                let id = UniqueId(random::array());
                if step % 3 == 0 && key_set.create_object(&context, id, &data).is_ok() {
                    made.push(id);
                    created.fetch_add(1, Ordering::Release);
                }
            }
            (made, names, destroyed)
        });
        for round in 0..4 {
            rekey(&key_set).unwrap();
            // However late the writer gets a processor, each of the other three meets it at work.
            wait_until(|| created.load(Ordering::Acquire) > round);
        }
        stop.store(true, Ordering::Release);
        writer.join().unwrap()
    });
    keystore.close().unwrap();
    drop((key_set, keystore));
    let keystore = folder.open();
    let key_set = keystore.key_sets().remove(0);
    let found = contents(&key_set, &user(&key_set));
    let label = |id| {
        found
            .iter()
            .find(|(known, ..)| known == id)
            .map(|(_, label, _)| label.clone())
    };
    assert!(!made.is_empty() && !names.is_empty());
    for id in &made {
        assert!(label(id).is_some(), "an object is lost");
    }
    for (id, name) in &names {
        assert_eq!(label(id).as_ref(), Some(name), "INV-2: an older value came back");
    }
    for id in &destroyed {
        assert!(label(id).is_none(), "INV-6");
    }
    assert!(keystore.quarantined().is_empty());
    assert_eq!(found.len(), 200 + made.len() - destroyed.len());
}

// INV-2: a PSK from before the token was initialised anew or rekeyed seals nothing there: it would be lost with the memory.
#[test]
fn a_join_seals_nothing_under_a_key_that_the_group_has_no_more() {
    let keystore = memory();
    let (from, into) = two(&keystore);
    make_key(&from, &user(&from), "key");
    protect(&keystore, &from, true).unwrap();
    let keys = from.open_with(&into, &caller(1), PIN).unwrap();
    rekey(&into).unwrap();
    let refused = from.copy_objects(&into, JOIN, Some(&keys), &|| true);
    assert!(matches!(refused, Err(MergeError::NeedsPin)));
    // In the middle of it.
    let keys = from.open_with(&into, &caller(1), PIN).unwrap();
    let again = std::cell::Cell::new(true);
    let wanted = || {
        if again.take() {
            into.init_token(&caller(1), SO_PIN, &LABEL, operation()).unwrap();
            let so = so(&into);
            into.init_pin(&so, PIN, operation()).unwrap();
        }
        true
    };
    let refused = from.copy_objects(&into, JOIN, Some(&keys), &wanted);
    assert!(matches!(refused, Err(MergeError::NeedsPin)), "{:?}", refused.err());
    assert!(contents(&into, &nobody()).is_empty());
    // What a join has left unseen is not carried over; the next one brings it.
    let joined = copy(&from, &into).unwrap();
    rekey(&into).unwrap();
    drop(joined);
    join(&keystore, &from, &into).unwrap();
    assert_eq!(contents(&into, &user(&into)).len(), 1);
}

// INV-2: a kill at any step leaves the old key or the new one, never both or neither.
#[test]
fn a_rekey_that_is_killed_at_any_step_is_before_or_after() {
    const ALL: usize = 130;
    let prepare = |keystore: &Keystore| {
        let (key_set, other) = two(keystore);
        let context = user(&key_set);
        for number in 1..ALL {
            make_key(&key_set, &context, &number.to_string());
        }
        make_public(&key_set, "open");
        [key_set.id(), other.id()]
    };
    let done = AtomicBool::new(false);
    let act = |keystore: &Keystore, [id, _]: [KeySetId; 2]| {
        let result = rekey(&keystore.key_set(id).unwrap());
        done.store(result.is_ok(), Ordering::Release);
    };
    let check = |keystore: &Keystore, [id, _]: [KeySetId; 2]| {
        let key_set = keystore.key_set(id).unwrap();
        let found = contents(&key_set, &user(&key_set));
        assert_eq!(found.len(), ALL);
        let old = key_set.root().incarnation() == 1;
        assert!(!(old && done.load(Ordering::Acquire)), "INV-2: it was said to be done");
        wait_until(|| incarnations(keystore, &key_set) == 1);
        assert_eq!(opens(keystore, &key_set, &psk(&key_set)), ALL - 1);
        rekey(&key_set).unwrap();
        assert_eq!(contents(&key_set, &user(&key_set)), found);
    };
    let steps = sweep(prepare, act, check);
    assert!(steps > 6, "{steps} steps");
}
