//! Groups: members refer to one key set (INV-3), and no token is lost by a change (INV-2).

use super::{keystore, model};
use crate::control::groups::GroupChange;
use crate::control::model::{Model, ModelError, NewHsm};
use crate::control::records::{GroupRecord, PartitionRecord};
use crate::slots::Slots;
use hsmd_keystore::{Caller, Identity};
use hsmd_proto::ids::{ApplicationId, OperationId, SlotId};
use hsmd_proto::policy::Policy;

pub(super) fn initialise(slots: &Slots, slot: u32) {
    let caller = Caller {
        identity: Identity([7; 32]),
        application: ApplicationId([8; 16]),
    };
    let key_set = slots.get(SlotId(slot)).unwrap().key_set.clone().unwrap();
    let operation = OperationId(hsmd_crypto::random::array());
    key_set
        .init_token(&caller, b"87654321", &[b'x'; 32], operation)
        .unwrap();
}

pub(super) fn partitions(model: &Model, count: usize) -> Vec<PartitionRecord> {
    let one = |_| {
        let hsm = model.create_hsm(&NewHsm::default()).unwrap();
        model.confirm(&hsm.id).unwrap();
        model.create_partition(&hsm.id, "p", None).unwrap()
    };
    (0..count).map(one).collect()
}

pub(super) fn set(model: &Model, arn: &str, members: &[&PartitionRecord]) -> Result<(), ModelError> {
    let members = Some(members.iter().map(|record| record.serial.clone()).collect());
    let change = GroupChange {
        members,
        ..GroupChange::default()
    };
    model.modify_group(arn, change).map(|_| ())
}

/// The key set of each partition's slot, and whether its token is initialised.
pub(super) fn tokens(slots: &Slots) -> Vec<(String, bool)> {
    let mut all = slots.all();
    all.retain(|slot| !slot.is_virtual());
    let of = |slot: &std::sync::Arc<crate::slots::Slot>| {
        let key_set = slot.key_set.clone().unwrap();
        (key_set.id().to_string(), key_set.token().initialized)
    };
    all.iter().map(of).collect()
}

#[test]
fn members_share_one_key_set_and_the_keys_stay_with_the_group() {
    let keystore = keystore();
    let (before, slots) = model(&keystore);
    let p = partitions(&before, 3);
    let group = before.create_group("g").unwrap().arn;
    initialise(&slots, p[1].slot);
    let founder = tokens(&slots)[1].0.clone();
    // INV-3: whatever the order, the one with a token gives the keys.
    set(&before, &group, &[&p[0], &p[1], &p[2]]).unwrap();
    assert_eq!(tokens(&slots), vec![(founder.clone(), true); 3]);
    assert_eq!(keystore.key_sets().len(), 1, "the empty key sets are gone");
    // One leaves with a copy, then comes back: the group keeps the keys.
    set(&before, &group, &[&p[0], &p[2]]).unwrap();
    assert!(tokens(&slots)[1].1 && tokens(&slots)[1].0 != founder);
    assert!(matches!(
        before.delete_partition(&p[0].serial),
        Err(ModelError::InGroup(_))
    ));
    set(&before, &group, &[&p[2], &p[0], &p[1]]).unwrap();
    let (after, slots) = model(&keystore);
    assert_eq!(tokens(&slots), vec![(founder.clone(), true); 3], "after a restart");
    assert_eq!(after.group(&group).unwrap().record.members[0], p[2].serial);
    assert_eq!(keystore.key_sets().len(), 1, "so are those that were merged");
    // Nobody is left: the first keeps the keys, the others have copies.
    set(&after, &group, &[]).unwrap();
    assert!(tokens(&slots).iter().all(|(_, token)| *token));
    assert_eq!(tokens(&slots)[2].0, founder);
    assert_eq!(keystore.key_sets().len(), 3);
}

#[test]
fn a_deleted_group_leaves_the_keys_and_the_last_partition_takes_them_along() {
    let keystore = keystore();
    let (model, slots) = model(&keystore);
    let p = partitions(&model, 2);
    let group = model.create_group("g").unwrap().arn;
    set(&model, &group, &[&p[0], &p[1]]).unwrap();
    initialise(&slots, p[0].slot);
    model.delete_group(&group).unwrap();
    assert!(matches!(model.delete_group(&group), Err(ModelError::Unknown(..))));
    assert!(tokens(&slots).iter().all(|(_, token)| *token));
    model.delete_partition(&p[0].serial).unwrap();
    assert_eq!(tokens(&slots).len(), 1);
    assert!(tokens(&slots)[0].1, "the other partition still has the keys");
    model.delete_partition(&p[1].serial).unwrap();
    assert!(keystore.key_sets().is_empty());
}

#[test]
fn what_cannot_join_changes_nothing() {
    let keystore = keystore();
    let (model, slots) = model(&keystore);
    let p = partitions(&model, 3);
    let group = model.create_group("g").unwrap().arn;
    let other = model.create_group("h").unwrap().arn;
    set(&model, &other, &[&p[2]]).unwrap();
    set(&model, &group, &[&p[0]]).unwrap();
    initialise(&slots, p[0].slot);
    let same_hsm = model.create_partition(&p[0].hsm, "q", None).unwrap();
    let strict = model.create_partition(&p[1].hsm, "s", Some(Policy::Strict)).unwrap();
    let unknown = PartitionRecord {
        serial: "999999999".into(),
        ..p[0].clone()
    };
    let before = (tokens(&slots), model.group(&group).unwrap().record);
    assert!(matches!(
        set(&model, &group, &[&p[0], &same_hsm]),
        Err(ModelError::Invalid(..))
    ));
    assert!(matches!(
        set(&model, &group, &[&p[0], &p[0]]),
        Err(ModelError::Invalid(..))
    ));
    assert!(matches!(
        set(&model, &group, &[&p[0], &unknown]),
        Err(ModelError::Unknown(..))
    ));
    assert!(matches!(
        set(&model, &group, &[&p[0], &p[2]]),
        Err(ModelError::InGroup(_))
    ));
    assert!(matches!(
        set(&model, &group, &[&p[0], &strict]),
        Err(ModelError::PolicyDiffers(_))
    ));
    let stale = GroupChange {
        if_modified: Some(before.1.modified_ms - 1),
        ..GroupChange::default()
    };
    assert!(matches!(model.modify_group(&group, stale), Err(ModelError::Changed)));
    assert_eq!(model.group(&group).unwrap().record, before.1);
    assert_eq!(tokens(&slots)[0], before.0[0]);
    assert_eq!(keystore.key_sets().len(), 5);
}

#[test]
fn a_group_is_degraded_while_a_member_is_suspended() {
    let keystore = keystore();
    let (model, slots) = model(&keystore);
    let p = partitions(&model, 2);
    let group = model.create_group("g").unwrap().arn;
    set(&model, &group, &[&p[0], &p[1]]).unwrap();
    assert_eq!(model.group(&group).unwrap().state, "READY");
    model.suspend_hsm(&p[0].hsm).unwrap();
    assert_eq!(model.group(&group).unwrap().state, "DEGRADED");
    assert_eq!(slots.all().len(), 3, "the slot stays, without token");
    assert!(slots.get(SlotId(p[0].slot)).unwrap().key_set.is_none());
    assert!(matches!(
        model.suspend_hsm(&p[0].hsm),
        Err(ModelError::State("SUSPENDED"))
    ));
    model.resume_hsm(&p[0].hsm).unwrap();
    assert_eq!(model.group(&group).unwrap().state, "READY");
    assert!(matches!(
        model.delete_hsm(&model.hsm(&p[0].hsm).unwrap().arn),
        Err(ModelError::InGroup(_))
    ));
}

#[test]
fn the_virtual_slot_goes_on_while_one_member_serves() {
    let keystore = keystore();
    let (model, slots) = model(&keystore);
    let p = partitions(&model, 2);
    let group = model.create_group("g").unwrap();
    let id = SlotId(group.slot.unwrap());
    assert!(id.0 > p[1].slot, "after the physical slots");
    let seen = || {
        let slot = slots.get(id).unwrap();
        (
            slot.serial.clone(),
            slot.is_virtual(),
            slot.key_set.as_ref().map(|key_set| key_set.id().to_string()),
        )
    };
    let serial = group.serial.clone();
    assert_eq!(
        seen(),
        (serial.clone(), true, None),
        "a group without members has a slot without token"
    );
    set(&model, &group.arn, &[&p[0], &p[1]]).unwrap();
    initialise(&slots, id.0);
    let keys = Some(tokens(&slots)[0].0.clone());
    assert_eq!(seen(), (serial.clone(), true, keys.clone()));
    assert!(
        tokens(&slots).iter().all(|(_, token)| *token),
        "what was done through it is done to all members"
    );
    model.suspend_hsm(&p[0].hsm).unwrap();
    assert_eq!(seen(), (serial.clone(), true, keys.clone()));
    model.suspend_hsm(&p[1].hsm).unwrap();
    assert_eq!(seen(), (serial.clone(), true, None));
    model.resume_hsm(&p[0].hsm).unwrap();
    assert_eq!(seen(), (serial, true, keys));
    model.delete_group(&group.arn).unwrap();
    assert!(slots.get(id).is_none());
    assert!(
        model.create_group("h").unwrap().slot.unwrap() > id.0,
        "a slot id is never used again"
    );
}

#[test]
fn a_group_of_an_earlier_version_gets_its_slot_at_the_next_start() {
    let keystore = keystore();
    let (before, _) = model(&keystore);
    let p = partitions(&before, 1);
    let group = before.create_group("g").unwrap();
    {
        let mut state = before.state.lock();
        let entry = state.groups.get_mut(&group.id).unwrap();
        let record = GroupRecord {
            slot: None,
            ..group.clone()
        };
        before.replace(entry, record).unwrap();
    }
    let (after, slots) = model(&keystore);
    let slot = after.groups()[0].slot.unwrap();
    assert!(slot > group.slot.unwrap() && slot > p[0].slot);
    let (_, again) = model(&keystore);
    assert_eq!(
        again.get(SlotId(slot)).unwrap().serial,
        slots.get(SlotId(slot)).unwrap().serial
    );
}
