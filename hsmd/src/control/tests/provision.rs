//! Partitions that come initialised, their PINs, quota, policy, roles and logins.

use super::with_hsm;
use crate::control::model::{Model, ModelError};
use crate::control::provision::NewPartition;
use crate::slots::Slots;
use hsmd_keystore::{Caller, Identity, KeySet, Quota};
use hsmd_proto::ck::{Rv, UserType};
use hsmd_proto::ids::{ApplicationId, OperationId, SlotId};
use hsmd_proto::policy::Policy;
use std::sync::Arc;

const SO: &[u8] = b"so-pin-1";
const USER: &[u8] = b"user-pin-1";

fn caller() -> Caller {
    Caller {
        identity: Identity([7; 32]),
        application: ApplicationId([8; 16]),
    }
}

fn login(key_set: &KeySet, user: UserType, pin: &[u8]) -> Result<(), Rv> {
    let attempt = OperationId(hsmd_crypto::random::array());
    key_set.login(&caller(), user, pin, attempt).map(drop)
}

fn ready(model: &Model, slots: &Slots, label: &str) -> (String, Arc<KeySet>) {
    let new = NewPartition {
        label,
        quota: Quota { objects: 5, bytes: 0 },
        so_pin: Some(SO),
        user_pin: Some(USER),
        ..NewPartition::default()
    };
    let record = model.provision(&new).unwrap();
    let key_set = slots.get(SlotId(record.slot)).unwrap().key_set.clone().unwrap();
    (record.serial, key_set)
}

#[test]
fn a_partition_with_pins_comes_ready_to_use() {
    for free_slot in [false, true] {
        let (keystore, before, slots) = with_hsm(free_slot);
        let (serial, key_set) = ready(&before, &slots, "web");
        assert_eq!(&key_set.token().label[..4], b"web ");
        assert_eq!(key_set.quota(), Quota { objects: 5, bytes: 0 });
        login(&key_set, UserType::USER, USER).unwrap();
        login(&key_set, UserType::SO, SO).unwrap();
        drop(key_set);
        let (after, slots) = super::model(&keystore);
        assert!(after.partition_keys(&serial).unwrap().token().has_user_pin);
        assert_eq!(
            slots.all().len(),
            1 + usize::from(free_slot),
            "and the next free slot after it"
        );
    }
}

#[test]
fn what_cannot_be_made_whole_is_not_made() {
    let (keystore, model, slots) = with_hsm(false);
    const PIN: &str = "must be as long as pin.min_length and pin.max_length say";
    let long = [b'x'; 256];
    for (so_pin, user_pin, expected) in [
        (Some(b"abc".as_slice()), Some(USER), format!("SoPin {PIN}")),
        (Some(b"".as_slice()), None, format!("SoPin {PIN}")),
        (Some(SO), Some(b"".as_slice()), format!("UserPin {PIN}")),
        (Some(SO), Some(long.as_slice()), format!("UserPin {PIN}")),
        (
            None,
            Some(USER),
            "SoPin is missing: it must be given where UserPin is".to_owned(),
        ),
    ] {
        let new = NewPartition {
            label: "web",
            so_pin,
            user_pin,
            ..NewPartition::default()
        };
        assert_eq!(model.provision(&new).unwrap_err().to_string(), expected);
    }
    assert!(slots.all().is_empty() && keystore.key_sets().is_empty());
    ready(&model, &slots, "web");
    let twice = NewPartition {
        label: "web",
        so_pin: Some(SO),
        ..NewPartition::default()
    };
    assert!(matches!(model.provision(&twice), Err(ModelError::LabelTaken)));
    assert_eq!((slots.all().len(), keystore.key_sets().len()), (1, 1));
}

#[test]
fn a_partition_that_was_not_ready_when_the_daemon_stopped_is_gone_after_it() {
    let (keystore, before, slots) = with_hsm(false);
    let new = NewPartition {
        label: "web",
        ..NewPartition::default()
    };
    let hidden = before.make_partition(&new, true).unwrap();
    before.show();
    assert!(slots.all().is_empty() && before.partitions("").unwrap().is_empty());
    assert!(before.partition(&hidden.serial).is_err());
    let (after, _) = super::model(&keystore);
    assert!(keystore.key_sets().is_empty());
    after.create_partition("", "web", None).unwrap();
}

#[test]
fn a_pin_is_reset_by_the_officer_and_wrong_ones_count() {
    let (keystore, before, slots) = with_hsm(false);
    let (serial, key_set) = ready(&before, &slots, "web");
    for (so_pin, pin) in [(SO, b"".as_slice()), (SO, b"abc")] {
        assert!(matches!(
            before.reset_pin(&serial, so_pin, pin),
            Err(ModelError::Invalid("UserPin", _))
        ));
    }
    before.reset_pin(&serial, SO, b"new-pin").unwrap();
    assert_eq!(login(&key_set, UserType::USER, USER), Err(Rv::PIN_INCORRECT));
    login(&key_set, UserType::USER, b"new-pin").unwrap();
    let wrong = |model: &Model| model.reset_pin(&serial, b"wrong", b"new-pin");
    for _ in 0..5 {
        assert!(matches!(wrong(&before), Err(ModelError::PinWrong(_))));
    }
    drop(key_set);
    let (model, _) = super::model(&keystore);
    for _ in 0..5 {
        assert!(matches!(wrong(&model), Err(ModelError::PinWrong(_))));
    }
    assert!(matches!(
        model.reset_pin(&serial, SO, USER),
        Err(ModelError::RoleLocked(_))
    ));
    // The officer's role is closed to administrators only, until one opens it.
    assert!(model.roles(&serial).unwrap()[0].locked);
    login(&model.partition_keys(&serial).unwrap(), UserType::SO, SO).unwrap();
    assert!(!model.unlock(&serial, "so").unwrap().locked);
    model.reset_pin(&serial, SO, USER).unwrap();
    let empty = model.create_partition("", "empty", None).unwrap().serial;
    assert!(matches!(model.reset_pin(&empty, SO, USER), Err(ModelError::NoPin(_))));
}

#[test]
fn a_locked_user_is_opened_again_with_the_same_pin() {
    let (_keystore, model, slots) = with_hsm(false);
    let (serial, key_set) = ready(&model, &slots, "web");
    while login(&key_set, UserType::USER, b"wrong") != Err(Rv::PIN_LOCKED) {}
    let roles = model.roles(&serial).unwrap();
    assert!(roles[1].locked && !roles[0].locked, "{roles:?}");
    for wrong in ["", "User", "auditor"] {
        assert!(matches!(
            model.unlock(&serial, wrong),
            Err(ModelError::Invalid("Role", _))
        ));
    }
    model.unlock(&serial, "user").unwrap();
    model.unlock(&serial, "user").unwrap();
    login(&key_set, UserType::USER, USER).unwrap();
}

#[test]
fn a_quota_is_changed_in_part_and_kept() {
    let (keystore, before, slots) = with_hsm(false);
    let (serial, key_set) = ready(&before, &slots, "web");
    before.resize(&serial, None, Some(4_096)).unwrap();
    assert_eq!(
        key_set.quota(),
        Quota {
            objects: 5,
            bytes: 4_096
        }
    );
    before.resize(&serial, Some(0), None).unwrap();
    drop(key_set);
    let (after, _) = super::model(&keystore);
    let key_set = after.partition_keys(&serial).unwrap();
    assert_eq!(
        key_set.quota(),
        Quota {
            objects: 0,
            bytes: 4_096
        }
    );
    for unknown in [
        "",
        "123456789",
        "arn:aws:cloudhsm:local-1:000000000000:hsm-00000000/partition-1",
    ] {
        assert!(matches!(
            after.resize(unknown, None, None),
            Err(ModelError::NotFound(_))
        ));
    }
}

#[test]
fn a_policy_is_tightened_and_never_loosened() {
    let (keystore, before, slots) = with_hsm(false);
    let (serial, key_set) = ready(&before, &slots, "web");
    login(&key_set, UserType::USER, USER).unwrap();
    assert_eq!(before.tighten(&serial, Policy::Strict).unwrap().policy, "strict");
    for policy in [Policy::Standard, Policy::Legacy] {
        let refused = before.tighten(&serial, policy).unwrap_err();
        assert_eq!(refused.to_string(), "a policy can be tightened, not loosened");
    }
    before.tighten(&serial, Policy::Strict).unwrap();
    assert_eq!(key_set.logins().len(), 1, "logins go on");
    // A stop between the key set and the record is made good.
    key_set.tighten(Policy::Fips).unwrap();
    drop(key_set);
    let (after, slots) = super::model(&keystore);
    assert_eq!(after.partition(&serial).unwrap().policy, "fips");
    assert_eq!(slots.all()[0].policy, Policy::Fips);
}

#[test]
fn logins_are_listed_by_name_and_ended() {
    let (_keystore, model, slots) = with_hsm(false);
    let (serial, key_set) = ready(&model, &slots, "web");
    login(&key_set, UserType::USER, USER).unwrap();
    let listed = model.logins(&serial).unwrap();
    assert_eq!(listed.len(), 1);
    let id = listed[0].id.to_string();
    for wrong in [
        "",
        "1234",
        &"g".repeat(32),
        &id.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A"),
    ] {
        assert!(
            matches!(model.end_login(&serial, wrong), Err(ModelError::Invalid("Login", _))),
            "{wrong}"
        );
    }
    model.end_login(&serial, &id).unwrap();
    assert!(matches!(model.end_login(&serial, &id), Err(ModelError::NoLogin)));
    assert!(model.logins(&serial).unwrap().is_empty());
    let user = model.create_local_client(4_242_424, "web").unwrap();
    assert!(model.names().values().any(|name| *name == user.client));
}
