//! Backup and restore of the control plane's side: slots, serial numbers, policies, groups.

use super::{keystore, model, with_hsm};
use crate::control::model::{Model, ModelError};
use crate::control::restore::{RestoreOptions, RestoreReport};
use crate::control::tests::groups::initialise;
use hsmd_keystore::{BackupKey, BackupSecret, Incoming, PinCost, Secret};
use hsmd_proto::policy::Policy;

pub(super) fn back_up(model: &Model, hsm: &str, partition: &str) -> (BackupKey, Vec<u8>) {
    let secret = BackupSecret::Passphrase(Secret::from_slice(b"a passphrase"));
    let key = secret.seal(PinCost::SMALL).unwrap();
    let request = model.backup_request(hsm, partition).unwrap();
    let mut bytes = Vec::new();
    model
        .keystore
        .write_backup(&request, &key, &mut bytes, &mut |_, _| {})
        .unwrap();
    (key, bytes)
}

pub(super) fn restore(
    model: &Model,
    (key, bytes): &(BackupKey, Vec<u8>),
    options: &RestoreOptions,
) -> Result<RestoreReport, ModelError> {
    let from = &bytes[hsmd_keystore::BACKUP_HEADER_BYTES..];
    model.restore(Incoming::open(from, key).unwrap(), options, &mut |_| {})
}

pub(super) fn labelled(label: &str) -> RestoreOptions {
    RestoreOptions {
        label: label.to_owned(),
        ..RestoreOptions::default()
    }
}

pub(super) fn replacing(name: &str) -> RestoreOptions {
    RestoreOptions {
        replace: name.to_owned(),
        ..RestoreOptions::default()
    }
}

#[test]
fn a_restored_partition_has_a_slot_of_its_own_and_is_there_after_a_restart() {
    let (keystore, before, slots) = with_hsm(false);
    let web = before.create_partition("", "web", Some(Policy::Strict)).unwrap();
    initialise(&slots, web.slot);
    let backup = back_up(&before, "", "web");
    assert!(matches!(
        restore(&before, &backup, &RestoreOptions::default()),
        Err(ModelError::LabelTaken)
    ));
    let dry = RestoreOptions {
        dry_run: true,
        ..labelled("again")
    };
    let planned = restore(&before, &backup, &dry).unwrap();
    assert!(planned.partitions[0].record.serial.is_empty() && slots.all().len() == 1);
    let made = restore(&before, &backup, &labelled("again")).unwrap();
    let record = &made.partitions[0].record;
    assert_eq!(
        (record.slot, record.label.as_str(), record.policy.as_str()),
        (1, "again", "strict")
    );
    assert!(slots.all()[1].token().unwrap().initialized);
    let (after, slots) = model(&keystore);
    assert!(slots.all()[1].token().unwrap().initialized);
    assert_eq!(after.create_partition("", "next", None).unwrap().slot, 2);
    assert_eq!(keystore.key_sets().len(), 3);
}

#[test]
fn a_free_slot_stays_the_last_one() {
    let (_keystore, model, slots) = with_hsm(true);
    let web = model.create_partition("", "web", None).unwrap();
    initialise(&slots, web.slot);
    let backup = back_up(&model, "", &web.serial);
    restore(&model, &backup, &labelled("again")).unwrap();
    let seen: Vec<_> = slots.all().iter().map(|slot| (slot.id.0, slot.free)).collect();
    assert_eq!(seen, [(0, false), (1, false), (2, true)]);
    // In place of the free one, which then is free no more.
    let free = model.partitions("").unwrap().remove(2);
    restore(&model, &backup, &replacing(&free.serial)).unwrap();
    let seen: Vec<_> = slots.all().iter().map(|slot| (slot.id.0, slot.free)).collect();
    assert_eq!(seen, [(0, false), (1, false), (2, false), (3, true)]);
    assert!(slots.all()[2].token().unwrap().initialized);
}

#[test]
fn an_hsm_comes_back_as_another_one_and_in_place() {
    let (keystore, before, slots) = with_hsm(true);
    for label in ["a", "b"] {
        let record = before.create_partition("", label, None).unwrap();
        initialise(&slots, record.slot);
    }
    let hsm = before.hsm("").unwrap();
    let backup = back_up(&before, &hsm.serial, "");
    let made = restore(&before, &backup, &RestoreOptions::default()).unwrap();
    assert_eq!(made.partitions.len(), 2);
    let other = before.hsm(&made.hsm_arn).unwrap();
    assert_ne!((&other.serial, &other.eni_ip), (&hsm.serial, &hsm.eni_ip));
    let labels: Vec<_> = before
        .partitions(&other.id)
        .unwrap()
        .into_iter()
        .map(|record| record.label)
        .collect();
    assert_eq!(labels, ["a", "b", ""]);
    restore(&before, &backup, &replacing(&hsm.id)).unwrap();
    // By label, into the one that was made of it.
    let replaced = restore(&before, &backup, &replacing(&other.id)).unwrap();
    assert!(
        replaced
            .partitions
            .iter()
            .all(|row| row.replaced && row.record.hsm == other.id)
    );
    before
        .delete_partition(&before.partitions(&hsm.id).unwrap()[0].serial)
        .unwrap();
    let refused = restore(&before, &backup, &replacing(&hsm.id));
    assert!(matches!(refused, Err(ModelError::NotFound(_))));
    let (after, slots) = model(&keystore);
    assert_eq!(after.hsms().len(), 2);
    let tokens = slots
        .all()
        .iter()
        .filter(|slot| slot.token().is_some_and(|token| token.initialized))
        .count();
    assert_eq!(tokens, 3);
}

#[test]
fn what_is_replaced_keeps_the_stricter_policy_and_says_who_shares_it() {
    let keystore = keystore();
    let (model, slots) = model(&keystore);
    let p = super::groups::partitions(&model, 2);
    initialise(&slots, p[0].slot);
    let group = model.create_group("g").unwrap().arn;
    super::groups::set(&model, &group, &[&p[0], &p[1]]).unwrap();
    let strict = {
        let (other, slots) = {
            let hsm = model.create_hsm(&super::NewHsm::default()).unwrap();
            model.confirm(&hsm.id).unwrap();
            (
                model.create_partition(&hsm.id, "s", Some(Policy::Strict)).unwrap(),
                &slots,
            )
        };
        initialise(slots, other.slot);
        back_up(&model, "", &other.serial)
    };
    let row = restore(&model, &strict, &replacing(&p[0].serial))
        .unwrap()
        .partitions
        .remove(0);
    assert_eq!(row.shared_with, [p[1].serial.clone()]);
    for record in &p {
        let slot = slots.get(hsmd_proto::ids::SlotId(record.slot)).unwrap();
        assert_eq!(
            (slot.policy, slot.token().unwrap().policy),
            (Policy::Strict, Policy::Strict)
        );
    }
}

#[test]
fn a_backup_of_everything_is_not_restored_into_a_running_daemon() {
    let (_keystore, model, _slots) = with_hsm(false);
    let backup = back_up(&model, "", "");
    let refused = restore(&model, &backup, &RestoreOptions::default());
    assert!(matches!(
        refused,
        Err(ModelError::Keystore(hsmd_keystore::Error::Restore(
            hsmd_keystore::RestoreError::Scope(_)
        )))
    ));
    assert!(matches!(
        model.backup_request("", "nobody"),
        Err(ModelError::NotFound(_))
    ));
}
