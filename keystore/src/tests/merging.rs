//! Joining and leaving: what is copied, what is refused, who sees what when; `kills`: a kill at every step of the files.

pub(super) mod kills;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, MechanismType as M, ObjectClass, Rv};
use hsmd_proto::ids::{Hit, JoinId, KeySetId, UniqueId};
use hsmd_proto::params::Mechanism;

use super::*;
use crate::{Context, Copied, DocumentOutcome, DocumentWrite, Error, Joined, KeySetChange, MergeError};

pub(super) const JOIN: JoinId = JoinId([7; 16]);
const REFERENCE: &str = "reference";
/// CKF_WRITE_PROTECTED.
const PROTECTED: u64 = 0x2;
/// CKF_USER_PIN_COUNT_LOW.
const LOW: u64 = 0x1_0000;
/// CKF_USER_PIN_LOCKED.
const LOCKED: u64 = 0x4_0000;

pub(super) fn user(key_set: &KeySet) -> Context {
    Context {
        caller: caller(1),
        login: Some(login(key_set, UserType::USER, PIN)),
        grant: None,
    }
}

pub(super) fn nobody() -> Context {
    Context {
        caller: caller(1),
        login: None,
        grant: None,
    }
}

pub(super) fn template(label: &str, more: &[Attribute]) -> Template {
    let mut all = vec![
        Attribute::boolean(A::TOKEN, true),
        Attribute::bytes(A::LABEL, label.as_bytes()),
    ];
    all.extend_from_slice(more);
    Template(all)
}

/// An AES key whose value can be read: what tells copies apart.
pub(super) fn make_key(key_set: &KeySet, context: &Context, label: &str) -> UniqueId {
    let more = [
        Attribute::ulong(A::VALUE_LEN, 32),
        Attribute::boolean(A::SENSITIVE, false),
        Attribute::boolean(A::EXTRACTABLE, true),
    ];
    let id = UniqueId(random::array());
    let mechanism = Mechanism::plain(M::AES_KEY_GEN);
    key_set
        .generate_key(context, &mechanism, id, &template(label, &more))
        .unwrap()
        .id
}

pub(super) fn make_public(key_set: &KeySet, label: &str) -> UniqueId {
    let more = [
        Attribute::ulong(A::CLASS, ObjectClass::DATA.0),
        Attribute::boolean(A::PRIVATE, false),
        Attribute::bytes(A::VALUE, label.as_bytes()),
    ];
    let id = UniqueId(random::array());
    key_set
        .create_object(&nobody(), id, &template(label, &more))
        .unwrap()
        .id
}

pub(super) fn rename(key_set: &KeySet, context: &Context, id: UniqueId, label: &str) -> Result<(), Rv> {
    let template = Template(vec![Attribute::bytes(A::LABEL, label.as_bytes())]);
    let name = crate::ObjectRef::token(id);
    key_set.set_attributes(context, &name, &template, operation()).map(drop)
}

pub(super) fn destroy(key_set: &KeySet, context: &Context, id: UniqueId) -> Result<(), Rv> {
    key_set.destroy_object(context, &crate::ObjectRef::token(id), operation())
}

/// Id, label and value of every object that the context sees.
pub(super) type Contents = BTreeSet<(UniqueId, Vec<u8>, Vec<u8>)>;

pub(super) fn contents(key_set: &KeySet, context: &Context) -> Contents {
    let hits = key_set.find(context, &Template::default()).unwrap();
    let ids: Vec<UniqueId> = hits.into_iter().map(|hit| hit.id).collect();
    let read = |id: &UniqueId| {
        let values = key_set
            .attributes(context, &crate::ObjectRef::token(*id), &[A::LABEL, A::VALUE])
            .unwrap();
        let text = |at: usize| {
            values[at]
                .as_ref()
                .map(|attribute| attribute.value.to_vec())
                .unwrap_or_default()
        };
        (*id, text(0), text(1))
    };
    let all: Contents = ids.iter().map(read).collect();
    assert_eq!(all.len(), ids.len(), "no object twice");
    all
}

pub(super) fn set_reference(keystore: &Keystore, value: &str, changes: Vec<KeySetChange>) -> Result<(), Error> {
    let expected = keystore.document(REFERENCE)?.map_or(0, |document| document.version);
    let write = DocumentWrite {
        name: REFERENCE.into(),
        expected,
        value: Some(value.as_bytes().to_vec()),
    };
    match keystore.commit_with_key_sets(operation(), vec![write], changes)? {
        DocumentOutcome::Committed { .. } => Ok(()),
        DocumentOutcome::Conflict { .. } => Err(Error::Contended),
    }
}

fn reference(keystore: &Keystore) -> String {
    let document = keystore.document(REFERENCE).unwrap().unwrap();
    String::from_utf8(document.value.to_vec()).unwrap()
}

pub(super) fn protect(keystore: &Keystore, key_set: &Arc<KeySet>, on: bool) -> Result<(), Error> {
    let value = if on { "joining" } else { "own" };
    set_reference(keystore, value, vec![KeySetChange::Protect(Arc::clone(key_set), on)])
}

pub(super) fn copy(from: &Arc<KeySet>, into: &Arc<KeySet>) -> Result<Joined, MergeError> {
    from.login(&caller(1), UserType::USER, PIN, operation())
        .map_err(|_| MergeError::NeedsPin)?;
    let keys = from.open_with(into, &caller(1), PIN);
    from.copy_objects(into, JOIN, keys.as_ref(), &|| true)
}

fn switch(keystore: &Keystore, from: &Arc<KeySet>, joined: Joined) -> Result<(), Error> {
    let changes = vec![KeySetChange::Adopt(joined), KeySetChange::Delete(Arc::clone(from))];
    set_reference(keystore, "joined", changes)
}

/// Joins from wherever it stands.
pub(super) fn join(keystore: &Keystore, from: &Arc<KeySet>, into: &Arc<KeySet>) -> Result<(), MergeError> {
    if reference(keystore) == "own" {
        protect(keystore, from, true)?;
    }
    Ok(switch(keystore, from, copy(from, into)?)?)
}

pub(super) fn leave(keystore: &Keystore, source: &Arc<KeySet>) -> Result<Arc<KeySet>, MergeError> {
    let copy = keystore.create_key_set(source.policy())?;
    found(keystore, &copy, source.copy_to(&copy, &|| true)?)?;
    Ok(copy)
}

fn found(keystore: &Keystore, copy: &KeySet, copied: Copied) -> Result<(), Error> {
    set_reference(keystore, &copy.id().to_string(), vec![KeySetChange::Found(copied)])
}

/// Two tokens with the same PIN.
pub(super) fn two(keystore: &Keystore) -> (Arc<KeySet>, Arc<KeySet>) {
    set_reference(keystore, "own", Vec::new()).unwrap();
    (ready(keystore), ready(keystore))
}

#[test]
fn a_join_brings_every_object_with_its_id_origin_and_latch() {
    let keystore = memory();
    let (from, into) = two(&keystore);
    let (there, here) = (user(&from), user(&into));
    let first = make_key(&into, &here, "theirs");
    for number in 0..130 {
        make_key(&from, &there, &format!("key {number}"));
    }
    make_public(&from, "open");
    let kek = [Attribute::ulong(A::VALUE_LEN, 32), Attribute::boolean(A::WRAP, true)];
    let kek = from
        .generate_key(
            &there,
            &Mechanism::plain(M::AES_KEY_GEN),
            UniqueId(random::array()),
            &template("kek", &kek),
        )
        .unwrap();
    let victim = [
        Attribute::ulong(A::VALUE_LEN, 32),
        Attribute::boolean(A::EXTRACTABLE, true),
    ];
    let victim = from
        .generate_key(
            &there,
            &Mechanism::plain(M::AES_KEY_GEN),
            UniqueId(random::array()),
            &template("v", &victim),
        )
        .unwrap();
    let wrap = Mechanism::plain(M::AES_KEY_WRAP);
    from.wrap_key(&there, &kek.name(), &wrap, &victim.name()).unwrap();
    let mut all = contents(&from, &there);
    all.extend(contents(&into, &here));
    protect(&keystore, &from, true).unwrap();
    let joined = copy(&from, &into).unwrap();
    assert_eq!(contents(&into, &here).len(), 1, "nobody sees the copies yet");
    assert_eq!(contents(&from, &there).len(), all.len() - 1);
    switch(&keystore, &from, joined).unwrap();
    assert_eq!(contents(&into, &here), all);
    assert!(into.views(&here, &[kek.id])[0].wrapping, "the latch came along");
    assert!(keystore.key_set(from.id()).is_none() && from.resolve(&caller(1), b"any").is_err());
    assert!(
        !there.login.as_ref().unwrap().alive(),
        "logins of the old token have ended"
    );
    let order = into.find(&here, &Template::default()).unwrap();
    assert_eq!(
        order.first().map(|hit| hit.id),
        Some(first),
        "in the order of creation, the group's first"
    );
    rename(&into, &here, kek.id, "changed").unwrap();
    destroy(&into, &here, victim.id).unwrap();
}

// INV-3: while it joins, nothing changes behind the back of whoever copies.
#[test]
fn a_token_that_joins_is_read_only_and_says_so() {
    let keystore = memory();
    let (from, _) = two(&keystore);
    let context = user(&from);
    let key = make_key(&from, &context, "key");
    protect(&keystore, &from, true).unwrap();
    assert_ne!(from.token().flags & PROTECTED, 0);
    let refused = Err(Rv::TOKEN_WRITE_PROTECTED);
    assert_eq!(rename(&from, &context, key, "x"), refused);
    assert_eq!(destroy(&from, &context, key), refused);
    assert_eq!(from.init_token(&caller(1), SO_PIN, &LABEL, operation()), refused);
    let data = template("x", &[Attribute::ulong(A::CLASS, ObjectClass::DATA.0)]);
    let made = from.create_object(&context, UniqueId([1; 16]), &data);
    assert_eq!(made.err(), Some(Rv::TOKEN_WRITE_PROTECTED));
    assert_eq!(
        contents(&from, &context).len(),
        1,
        "reading goes on, and so does the login"
    );
    from.set_pin(&caller(1), None, PIN, b"another-pin", operation())
        .unwrap();
    protect(&keystore, &from, false).unwrap();
    assert_eq!(from.token().flags & PROTECTED, 0);
    rename(&from, &context, key, "x").unwrap();
}

// INV-8: a PIN that opens one side only is counted once on the other, and never locks it.
#[test]
fn a_pin_that_opens_one_side_waits_and_locks_nobody() {
    let keystore = memory();
    let (from, into) = two(&keystore);
    make_key(&from, &user(&from), "key");
    into.set_pin(&caller(1), None, PIN, b"the-groups-pin", operation())
        .unwrap();
    protect(&keystore, &from, true).unwrap();
    for _ in 0..15 {
        login(&from, UserType::USER, PIN);
        assert!(from.open_with(&into, &caller(1), PIN).is_none());
        login(&into, UserType::USER, b"the-groups-pin");
        assert!(into.open_with(&from, &caller(1), b"the-groups-pin").is_none());
    }
    assert_eq!((into.token().flags | from.token().flags) & LOCKED, 0);
    // A PIN that is changed again and again is no way to guess the other one.
    for number in 0..15 {
        let (old, new) = (format!("pin-of-mine-{number}"), format!("pin-of-mine-{}", number + 1));
        let old: &[u8] = if number == 0 { PIN } else { old.as_bytes() };
        from.set_pin(&caller(1), None, old, new.as_bytes(), operation())
            .unwrap();
        assert!(from.open_with(&into, &caller(1), new.as_bytes()).is_none());
    }
    assert_eq!(into.token().flags & (LOCKED | LOW), LOW, "one failure, and no more");
    assert!(matches!(
        from.copy_objects(&into, JOIN, None, &|| true),
        Err(MergeError::NeedsPin)
    ));
    login(&into, UserType::USER, b"the-groups-pin");
    from.set_pin(&caller(1), None, b"pin-of-mine-15", b"the-groups-pin", operation())
        .unwrap();
    let keys = from.open_with(&into, &caller(1), b"the-groups-pin").unwrap();
    let joined = from.copy_objects(&into, JOIN, Some(&keys), &|| true).unwrap();
    switch(&keystore, &from, joined).unwrap();
    assert_eq!(
        contents(
            &into,
            &Context {
                login: Some(login(&into, UserType::USER, b"the-groups-pin")),
                ..nobody()
            }
        )
        .len(),
        1
    );
}

#[test]
fn a_token_without_private_objects_needs_no_pin() {
    let keystore = memory();
    let (from, into) = two(&keystore);
    let id = make_public(&from, "open");
    protect(&keystore, &from, true).unwrap();
    let joined = from.copy_objects(&into, JOIN, None, &|| true).unwrap();
    switch(&keystore, &from, joined).unwrap();
    let found = into.find(&nobody(), &Template::default()).unwrap();
    assert_eq!(found, [Hit { id, private: false }]);
}

#[test]
fn a_cancelled_join_leaves_nothing() {
    let keystore = memory();
    let (from, into) = two(&keystore);
    for number in 0..70 {
        make_key(&from, &user(&from), &number.to_string());
    }
    protect(&keystore, &from, true).unwrap();
    let asked = AtomicUsize::new(0);
    let keys = from.open_with(&into, &caller(1), PIN).unwrap();
    let once = || asked.fetch_add(1, Ordering::Relaxed) == 0;
    assert!(matches!(
        from.copy_objects(&into, JOIN, Some(&keys), &once),
        Err(MergeError::Cancelled)
    ));
    let records = || keystore.core().store.scan(into.root().path("o").as_str()).len();
    assert_eq!(records(), 60, "one batch");
    into.forget_joins(&[JOIN]).unwrap();
    assert_eq!(records(), 60, "a join that goes on keeps what it has");
    into.forget_joins(&[]).unwrap();
    assert_eq!(records(), 0);
    protect(&keystore, &from, false).unwrap();
    assert_eq!(contents(&from, &user(&from)).len(), 70);
    join(&keystore, &from, &into).unwrap();
    assert_eq!(contents(&into, &user(&into)).len(), 70);
}

#[test]
fn who_left_comes_back_if_the_objects_are_still_the_same() {
    let keystore = memory();
    let (_, group) = two(&keystore);
    let here = user(&group);
    let [same, gone, changed] = ["same", "gone", "changed"].map(|label| make_key(&group, &here, label));
    let left = leave(&keystore, &group).unwrap();
    // INV-6: what was destroyed in the group stays destroyed.
    destroy(&group, &here, gone).unwrap();
    set_reference(&keystore, "own", Vec::new()).unwrap();
    rename(&left, &user(&left), changed, "another").unwrap();
    protect(&keystore, &left, true).unwrap();
    let refused = copy(&left, &group).err().unwrap();
    assert!(matches!(refused, MergeError::Differs(id) if id == changed) && refused.lasts());
    assert_eq!(contents(&group, &here).len(), 2, "nothing was copied");
    protect(&keystore, &left, false).unwrap();
    rename(&left, &user(&left), changed, "changed").unwrap();
    let new = make_key(&left, &user(&left), "new");
    join(&keystore, &left, &group).unwrap();
    let ids: BTreeSet<_> = contents(&group, &here).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, BTreeSet::from([same, changed, new]));
}

#[test]
fn a_copy_is_a_token_of_its_own_with_the_same_pins() {
    let keystore = memory();
    let (_, group) = two(&keystore);
    let here = user(&group);
    let keys: Vec<_> = (0..70)
        .map(|number| make_key(&group, &here, &number.to_string()))
        .collect();
    make_public(&group, "open");
    rename(&group, &here, keys[1], "second version").unwrap();
    // A wrong PIN counts in the copy as well (INV-8), and so does an officer's.
    let wrong = |key_set: &KeySet, user| key_set.login(&caller(1), user, b"wrong-pin", operation()).err();
    assert_eq!(wrong(&group, UserType::USER), Some(Rv::PIN_INCORRECT));
    (0..10).for_each(|_| assert!(wrong(&group, UserType::SO).is_some()));
    let copy = keystore.create_key_set(group.policy()).unwrap();
    let copied = group.copy_to(&copy, &|| true).unwrap();
    assert!(!copy.token().initialized, "nothing before the last batch");
    // What changes until then comes along.
    destroy(&group, &here, keys[0]).unwrap();
    let late = make_key(&group, &here, "late");
    rename(&group, &here, keys[2], "renamed late").unwrap();
    found(&keystore, &copy, copied).unwrap();
    assert_ne!(copy.token().flags & LOW, 0);
    assert_eq!(wrong(&copy, UserType::SO), Some(Rv::PIN_LOCKED));
    assert!(
        copy.login(&caller(2), UserType::SO, SO_PIN, operation()).is_ok(),
        "closed to that client only"
    );
    let there = user(&copy);
    assert_eq!(contents(&copy, &there), contents(&group, &here));
    assert_eq!(copy.token().label, group.token().label);
    // Independent from now on.
    copy.set_pin(&caller(1), None, PIN, b"a-pin-of-its-own", operation())
        .unwrap();
    rename(&copy, &there, late, "ours").unwrap();
    destroy(&copy, &there, keys[3]).unwrap();
    login(&group, UserType::USER, PIN);
    assert_eq!(contents(&group, &here).len(), 71);
    assert_eq!(contents(&copy, &there).len(), 70);
    assert!(
        copy.create_object(
            &there,
            keys[0],
            &template("x", &[Attribute::ulong(A::CLASS, ObjectClass::DATA.0)])
        )
        .is_err(),
        "tombstones, too"
    );
}

/// Creates numbered objects in a group until it is told to stop; `acknowledged` counts them.
fn write_on(group: &KeySet, context: &Context, stop: &AtomicBool, acknowledged: &AtomicUsize) {
    while !stop.load(Ordering::SeqCst) {
        let number = acknowledged.load(Ordering::SeqCst);
        let id = make_key(group, context, &format!("busy {number}"));
        rename(group, context, id, &format!("done {number}")).unwrap();
        acknowledged.store(number + 1, Ordering::SeqCst);
    }
}

// INV-2, INV-3: a group is in use while others join and leave; whoever joins brings all, whoever leaves has all that was there.
#[test]
fn a_group_is_in_use_while_others_join_and_leave() {
    let keystore = memory();
    let (from, group) = two(&keystore);
    let (there, here) = (user(&from), user(&group));
    for number in 0..100 {
        make_key(&from, &there, &format!("theirs {number}"));
    }
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    let labels = |key_set: &KeySet, context: &Context, word: &str| {
        let all = contents(key_set, context);
        all.iter()
            .filter(|(_, label, _)| label.starts_with(word.as_bytes()))
            .count()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| write_on(&group, &here, &stop, &acknowledged));
        while acknowledged.load(Ordering::SeqCst) < 20 {
            std::thread::yield_now();
        }
        join(&keystore, &from, &group).unwrap();
        let before = acknowledged.load(Ordering::SeqCst);
        let left = leave(&keystore, &group).unwrap();
        let after = acknowledged.load(Ordering::SeqCst);
        stop.store(true, Ordering::SeqCst);
        let context = user(&left);
        let (done, theirs) = (labels(&left, &context, "done"), labels(&left, &context, "theirs"));
        assert!(
            (before..=after + 1).contains(&done),
            "{before} <= {done} <= {after} + 1"
        );
        assert_eq!(theirs, 100);
    });
    assert_eq!(labels(&group, &here, "theirs"), 100);
    assert_eq!(labels(&group, &here, "done"), acknowledged.load(Ordering::SeqCst));
}

// INV-2: what another join cleans away is copied again, or the join is not done.
#[test]
fn a_join_whose_copies_were_removed_is_not_done() {
    let keystore = memory();
    let (from, into) = two(&keystore);
    make_key(&from, &user(&from), "key");
    protect(&keystore, &from, true).unwrap();
    let joined = copy(&from, &into).unwrap();
    into.forget_joins(&[]).unwrap();
    assert!(matches!(switch(&keystore, &from, joined), Err(Error::Contended)));
    assert_eq!(contents(&from, &user(&from)).len(), 1);
    join(&keystore, &from, &into).unwrap();
    assert_eq!(contents(&into, &user(&into)).len(), 1);
}

// INV-7: a damaged record is not left behind.
#[test]
fn a_token_with_a_damaged_record_neither_joins_nor_leaves() {
    let keystore = memory();
    let (from, into) = two(&keystore);
    let id = make_key(&from, &user(&from), "key");
    let root = from.root();
    let path = root.path(&format!("o/{id}"));
    let write = hsmd_store::Write {
        path,
        version: 2,
        value: Some(vec![7; 100]),
    };
    let batch = hsmd_store::Batch {
        operation: random::array(),
        writes: vec![write],
        ..hsmd_store::Batch::default()
    };
    keystore.core().commit(batch).unwrap();
    protect(&keystore, &from, true).unwrap();
    assert!(matches!(copy(&from, &into), Err(MergeError::Damaged)));
    let copy = keystore.create_key_set(from.policy()).unwrap();
    assert!(matches!(from.copy_to(&copy, &|| true), Err(MergeError::Damaged)));
    assert!(!copy.token().initialized);
}
