//! Joining with keys of one's own and leaving with a copy: what is seen meanwhile, what ends it, what a stop leaves. Kills at
//! each step of the copying itself are the keystore's tests.

use super::groups::{partitions, set, tokens};
use super::{keystore, model};
use crate::control::model::{Model, ModelError};
use crate::control::records::{GroupRecord, Leaving, PartitionRecord};
use crate::slots::Slots;
use hsmd_keystore::{Caller, Context, Fault, Faults, Identity, KeySet, Keystore, ObjectRef, Options, PinCost, Step};
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, MechanismType, UserType};
use hsmd_proto::ids::{ApplicationId, OperationId, SlotId, UniqueId};
use hsmd_proto::params::Mechanism;
use std::sync::Arc;

const SO_PIN: &[u8] = b"87654321";
pub(super) const PIN: &[u8] = b"123456";
const PROTECTED: u64 = 0x2;

fn caller() -> Caller {
    Caller {
        identity: Identity([7; 32]),
        application: ApplicationId([8; 16]),
    }
}

fn operation() -> OperationId {
    OperationId(hsmd_crypto::random::array())
}

pub(super) fn keys(slots: &Slots, slot: u32) -> Arc<KeySet> {
    slots.get(SlotId(slot)).unwrap().key_set.clone().unwrap()
}

fn login(key_set: &KeySet, user: UserType, pin: &[u8]) -> Context {
    let caller = caller();
    let ticket = key_set.login(&caller, user, pin, operation()).unwrap();
    let login = key_set.resolve(&caller, ticket.expose()).unwrap();
    Context {
        caller,
        login: Some(login),
        grant: None,
    }
}

/// A token with this PIN and one key.
pub(super) fn token(slots: &Slots, slot: u32, pin: &[u8]) -> UniqueId {
    let key_set = keys(slots, slot);
    key_set.init_token(&caller(), SO_PIN, &[b'x'; 32], operation()).unwrap();
    let so = login(&key_set, UserType::SO, SO_PIN);
    key_set.init_pin(so.login.as_ref().unwrap(), pin, operation()).unwrap();
    make_key(&key_set, pin)
}

pub(super) fn make_key(key_set: &KeySet, pin: &[u8]) -> UniqueId {
    let template = Template(vec![
        Attribute::boolean(A::TOKEN, true),
        Attribute::ulong(A::VALUE_LEN, 32),
    ]);
    let user = login(key_set, UserType::USER, pin);
    let id = UniqueId(hsmd_crypto::random::array());
    let mechanism = Mechanism::plain(MechanismType::AES_KEY_GEN);
    key_set.generate_key(&user, &mechanism, id, &template).unwrap().id
}

fn rename(key_set: &KeySet, key: UniqueId, label: &str) {
    let template = Template(vec![Attribute::bytes(A::LABEL, label.as_bytes())]);
    let user = login(key_set, UserType::USER, PIN);
    key_set
        .set_attributes(&user, &ObjectRef::token(key), &template, operation())
        .unwrap();
}

pub(super) fn found(key_set: &KeySet, pin: &[u8]) -> Vec<UniqueId> {
    let user = login(key_set, UserType::USER, pin);
    let hits = key_set.find(&user, &Template::default()).unwrap();
    let mut ids: Vec<UniqueId> = hits.into_iter().map(|hit| hit.id).collect();
    ids.sort_unstable();
    ids
}

pub(super) fn sorted<const N: usize>(mut ids: [UniqueId; N]) -> [UniqueId; N] {
    ids.sort_unstable();
    ids
}

/// State, HSMs that join, that leave, whose action failed.
fn seen(model: &Model, arn: &str) -> (&'static str, usize, usize, usize) {
    let view = model.group(arn).unwrap();
    let [a, b, c] = [
        &view.pending_registration,
        &view.pending_deletion,
        &view.last_action_failed,
    ]
    .map(Vec::len);
    (view.state, a, b, c)
}

/// A group of one partition with a token, and a second partition with one of its own, joining.
fn joining(model: &Model, slots: &Slots, pin: &[u8]) -> (Vec<PartitionRecord>, GroupRecord, [UniqueId; 2]) {
    let p = partitions(model, 3);
    let group = model.create_group("g").unwrap();
    let ids = [token(slots, p[0].slot, PIN), token(slots, p[1].slot, pin)];
    set(model, &group.arn, &[&p[0]]).unwrap();
    set(model, &group.arn, &[&p[0], &p[1]]).unwrap();
    (p, group, ids)
}

#[test]
fn a_partition_with_keys_joins_at_a_login_that_opens_both_tokens() {
    for through_the_group in [true, false] {
        let keystore = keystore();
        let (model, slots) = model(&keystore);
        let (p, group, ids) = joining(&model, &slots, PIN);
        assert_eq!(seen(&model, &group.arn), ("UPDATING", 1, 0, 0));
        assert!(model.joins_wait());
        let joiner = keys(&slots, p[1].slot);
        assert_ne!(joiner.token().flags & PROTECTED, 0);
        assert_eq!(found(&joiner, PIN), [ids[1]], "it is read, under its own keys");
        let logged_in = if through_the_group {
            keys(&slots, group.slot.unwrap())
        } else {
            joiner
        };
        login(&logged_in, UserType::USER, PIN);
        model.merge_with(&logged_in, &caller(), PIN);
        assert_eq!(seen(&model, &group.arn), ("READY", 0, 0, 0));
        assert!(!model.joins_wait());
        // INV-3: one key set.
        assert_eq!(tokens(&slots)[0], tokens(&slots)[1]);
        assert_eq!(found(&keys(&slots, p[1].slot), PIN), sorted(ids));
        assert_eq!(keystore.key_sets().len(), 2, "the old key set is gone");
    }
}

#[test]
fn a_join_waits_over_a_restart_for_the_right_pin() {
    let keystore = keystore();
    let (before, slots) = model(&keystore);
    let (p, group, ids) = joining(&before, &slots, b"another-pin");
    let (after, slots) = model(&keystore);
    let joiner = keys(&slots, p[1].slot);
    for (key_set, pin) in [
        (keys(&slots, p[0].slot), PIN),
        (joiner.clone(), b"another-pin".as_slice()),
    ] {
        login(&key_set, UserType::USER, pin);
        after.merge_with(&key_set, &caller(), pin);
    }
    assert_eq!(seen(&after, &group.arn), ("UPDATING", 1, 0, 0));
    assert_ne!(joiner.token().flags & PROTECTED, 0);
    login(&keys(&slots, p[0].slot), UserType::USER, PIN);
    joiner
        .set_pin(&caller(), None, b"another-pin", PIN, operation())
        .unwrap();
    login(&joiner, UserType::USER, PIN);
    after.merge_with(&joiner, &caller(), PIN);
    assert_eq!(seen(&after, &group.arn), ("READY", 0, 0, 0));
    assert_eq!(found(&keys(&slots, p[1].slot), PIN), sorted(ids));
}

#[test]
fn a_newer_list_cancels_a_join() {
    let keystore = keystore();
    let (model, slots) = model(&keystore);
    let (p, group, ids) = joining(&model, &slots, PIN);
    assert!(matches!(
        model.delete_partition(&p[1].serial),
        Err(ModelError::InGroup(_))
    ));
    set(&model, &group.arn, &[&p[0], &p[2]]).unwrap();
    assert_eq!(seen(&model, &group.arn), ("READY", 0, 0, 0));
    let left = keys(&slots, p[1].slot);
    assert_eq!(left.token().flags & PROTECTED, 0);
    model.merge_with(&left, &caller(), PIN);
    assert_eq!(found(&left, PIN), [ids[1]]);
    make_key(&left, PIN);
    // So does the end of the group.
    set(&model, &group.arn, &[&p[0], &p[1], &p[2]]).unwrap();
    assert_eq!(seen(&model, &group.arn), ("UPDATING", 1, 0, 0));
    model.delete_group(&group.arn).unwrap();
    assert_eq!(left.token().flags & PROTECTED, 0);
    assert_eq!(found(&left, PIN).len(), 2);
    assert!(!model.joins_wait());
}

#[test]
fn a_join_that_cannot_be_done_is_named_and_can_be_tried_again() {
    let keystore = keystore();
    let (model, slots) = model(&keystore);
    let (p, group, [first, _]) = joining(&model, &slots, PIN);
    // It joins, leaves with a copy, and one object of both changes.
    model.merge_with(&keys(&slots, p[0].slot), &caller(), PIN);
    set(&model, &group.arn, &[&p[0]]).unwrap();
    assert_eq!(seen(&model, &group.arn), ("READY", 0, 0, 0));
    let left = keys(&slots, p[1].slot);
    assert_ne!(left.id(), keys(&slots, p[0].slot).id());
    rename(&left, first, "changed");
    set(&model, &group.arn, &[&p[0], &p[1]]).unwrap();
    model.merge_with(&left, &caller(), PIN);
    assert_eq!(seen(&model, &group.arn), ("DEGRADED", 0, 0, 1));
    assert_eq!(
        left.token().flags & PROTECTED,
        0,
        "and it may be changed, to be what it must"
    );
    let (model, slots) = super::model(&keystore);
    assert_eq!(seen(&model, &group.arn), ("DEGRADED", 0, 0, 1), "over a restart");
    rename(&keys(&slots, p[0].slot), first, "changed");
    set(&model, &group.arn, &[&p[0], &p[1]]).unwrap();
    assert_eq!(seen(&model, &group.arn), ("UPDATING", 1, 0, 0));
    model.merge_with(&keys(&slots, p[0].slot), &caller(), PIN);
    assert_eq!(seen(&model, &group.arn), ("READY", 0, 0, 0));
}

#[test]
fn who_leaves_has_a_copy_and_a_leave_that_was_cut_off_goes_on_at_the_next_start() {
    let keystore = keystore();
    let (before, slots) = model(&keystore);
    let p = partitions(&before, 2);
    let group = before.create_group("g").unwrap();
    let key = token(&slots, p[0].slot, PIN);
    set(&before, &group.arn, &[&p[0], &p[1]]).unwrap();
    // As a stop right after the first batch leaves it.
    {
        let mut state = before.state.lock();
        let entry = state.groups.get_mut(&group.id).unwrap();
        let mut record = entry.record.clone();
        record.members.pop();
        let (serial, failed) = (p[1].serial.clone(), String::new());
        record.leaving.push(Leaving { serial, failed });
        before.replace(entry, record).unwrap();
    }
    assert_eq!(seen(&before, &group.arn), ("UPDATING", 0, 1, 0));
    assert!(matches!(
        before.delete_partition(&p[1].serial),
        Err(ModelError::InGroup(_))
    ));
    assert_eq!(
        tokens(&slots)[0],
        tokens(&slots)[1],
        "it goes on with the group's keys until then"
    );
    let (_, slots) = {
        let (after, slots) = model(&keystore);
        assert_eq!(seen(&after, &group.arn), ("READY", 0, 0, 0));
        (after, slots)
    };
    let (stays, left) = (keys(&slots, p[0].slot), keys(&slots, p[1].slot));
    assert_ne!(stays.id(), left.id());
    assert_eq!((found(&stays, PIN), found(&left, PIN)), (vec![key], vec![key]));
    make_key(&left, PIN);
    assert_eq!(found(&stays, PIN), [key]);
    assert_eq!(keystore.key_sets().len(), 2);
}

#[test]
fn a_list_of_others_takes_their_keys_and_lets_the_old_ones_go() {
    let keystore = keystore();
    let (model, slots) = model(&keystore);
    let p = partitions(&model, 2);
    let group = model.create_group("g").unwrap();
    let (first, second) = (token(&slots, p[0].slot, PIN), token(&slots, p[1].slot, PIN));
    set(&model, &group.arn, &[&p[0]]).unwrap();
    let old = tokens(&slots)[0].clone();
    set(&model, &group.arn, &[&p[1]]).unwrap();
    assert_eq!(seen(&model, &group.arn), ("READY", 0, 0, 0));
    assert_eq!(tokens(&slots)[0], old);
    assert_eq!(found(&keys(&slots, p[0].slot), PIN), [first]);
    assert_eq!(found(&keys(&slots, group.slot.unwrap()), PIN), [second]);
}

// INV-2: whatever batch is the last one of a process, each partition has its own keys, or all, and nobody has half.
#[test]
fn a_process_that_ends_at_any_batch_leaves_joins_and_leaves_undone_or_done() {
    for nth in 1.. {
        let faults = Faults::new();
        let options = Options {
            dev: true,
            pin_cost: PinCost::SMALL,
            faults: faults.clone(),
            ..Options::default()
        };
        let keystore = Keystore::in_memory(&options).unwrap();
        let (before, slots) = model(&keystore);
        let p = partitions(&before, 2);
        let group = before.create_group("g").unwrap();
        let ids = [token(&slots, p[0].slot, PIN), token(&slots, p[1].slot, PIN)];
        set(&before, &group.arn, &[&p[0]]).unwrap();
        let all = sorted(ids);
        let join_and_leave = |model: &Model, slots: &Slots| -> Result<(), ModelError> {
            set(model, &group.arn, &[&p[0], &p[1]])?;
            model.merge_with(&keys(slots, p[0].slot), &caller(), PIN);
            set(model, &group.arn, &[&p[0]])
        };
        login(&keys(&slots, p[0].slot), UserType::USER, PIN);
        let begun = faults.steps(Some(Step::Commit));
        faults.plan(Some(Step::Commit), nth, u64::MAX, Fault::Ambiguous { done: false });
        // It fails, or leaves things to the next start.
        let _ = join_and_leave(&before, &slots);
        let used = faults.steps(Some(Step::Commit)) - begun;
        faults.clear();
        drop(before);
        let (after, slots) = model(&keystore);
        let [one, two] = [p[0].slot, p[1].slot].map(|slot| found(&keys(&slots, slot), PIN));
        assert!(one == [ids[0]] || one == all, "batch {nth}: {one:?}");
        assert!(two == [ids[1]] || two == all, "batch {nth}: {two:?}");
        if used < nth {
            assert!(nth > 5, "{nth} batches");
            assert_eq!((one.len(), two.len()), (2, 2));
            return;
        }
        join_and_leave(&after, &slots).unwrap();
        assert_eq!(seen(&after, &group.arn), ("READY", 0, 0, 0), "batch {nth}");
        let [one, two] = [p[0].slot, p[1].slot].map(|slot| found(&keys(&slots, slot), PIN));
        assert_eq!(
            (one.as_slice(), two.as_slice()),
            (all.as_slice(), all.as_slice()),
            "batch {nth}"
        );
        assert_ne!(tokens(&slots)[0].0, tokens(&slots)[1].0);
        assert_eq!(keystore.key_sets().len(), 2, "batch {nth}: nothing is left over");
    }
}
