//! The model over a keystore in memory: slots, deletion, restart, idempotent creation.

mod administrators;
mod assignments;
mod clients;
mod clone;
mod documents;
mod groups;
mod kills;
mod moves;
mod officers;
mod provision;
mod restore;
mod rows;
mod subnets;

use super::model::{Model, ModelError, NewHsm};
use super::records::HsmState;
use crate::config::Hsm;
use crate::slots::Slots;
use hsmd_keystore::{Keystore, Options, PinCost};
use hsmd_proto::policy::Policy;
use std::sync::Arc;

fn keystore() -> Keystore {
    let options = Options {
        dev: true,
        pin_cost: PinCost::SMALL,
        ..Options::default()
    };
    Keystore::in_memory(&options).unwrap()
}

fn model(keystore: &Keystore) -> (Model, Arc<Slots>) {
    let slots = Arc::new(Slots::default());
    let model = Model::load(keystore.clone(), Hsm::default(), slots.clone()).unwrap();
    (model, slots)
}

fn with_hsm(free_slot: bool) -> (Keystore, Model, Arc<Slots>) {
    let keystore = keystore();
    let (model, slots) = model(&keystore);
    let new = NewHsm {
        free_slot,
        ..NewHsm::default()
    };
    let hsm = model.create_hsm(&new).unwrap();
    assert_eq!(hsm.state, HsmState::Pending);
    model.confirm(&hsm.id).unwrap();
    (keystore, model, slots)
}

fn ids(slots: &Slots) -> Vec<(u32, bool)> {
    slots.all().iter().map(|slot| (slot.id.0, slot.free)).collect()
}

#[test]
fn a_slot_id_is_never_used_again() {
    let (keystore, model_before, slots) = with_hsm(false);
    for label in ["a", "b", "c"] {
        model_before.create_partition("", label, None).unwrap();
    }
    let last = model_before.partitions("").unwrap().remove(2);
    model_before.delete_partition(&last.serial).unwrap();
    assert_eq!(ids(&slots), [(0, false), (1, false)]);
    // Also not after a restart.
    let (model, slots) = model(&keystore);
    assert_eq!(ids(&slots), [(0, false), (1, false)]);
    let next = model.create_partition("", "d", None).unwrap();
    assert_eq!(next.slot, 3);
    assert_ne!(next.serial, last.serial);
    assert!(matches!(
        model.delete_partition(&last.serial),
        Err(ModelError::NotFound(_))
    ));
}

#[test]
fn the_free_slot_is_one_and_the_last() {
    let (keystore, model_before, slots) = with_hsm(true);
    assert_eq!(ids(&slots), [(0, true)]);
    let web = model_before.create_partition("", "web", Some(Policy::Strict)).unwrap();
    assert_eq!((web.slot, web.policy.as_str()), (0, "strict"));
    assert_eq!(slots.all()[0].token().unwrap().policy, Policy::Strict);
    assert_eq!(ids(&slots), [(0, false), (1, true)]);
    model_before.taken(hsmd_proto::ids::SlotId(1)).unwrap();
    assert_eq!(ids(&slots), [(0, false), (1, false), (2, true)]);
    let (_, slots) = model(&keystore);
    assert_eq!(ids(&slots), [(0, false), (1, false), (2, true)]);
}

#[test]
fn a_serial_number_begins_with_that_of_the_hsm() {
    let (_keystore, model, _slots) = with_hsm(false);
    let hsm = model.hsm("").unwrap();
    let partition = model.create_partition(&hsm.serial, "web", None).unwrap();
    assert_eq!(partition.serial, format!("{}001", hsm.serial));
    assert_eq!(hsm.serial.len(), 6);
    assert!(hsm.id.starts_with("hsm-") && hsm.id.len() == 12);
    let arn = hsm.partition_arn(&partition.serial);
    model.delete_partition(&arn).unwrap();
    assert!(model.partitions("").unwrap().is_empty());
}

#[test]
fn a_client_token_makes_creation_idempotent() {
    let keystore = keystore();
    let (model, _) = model(&keystore);
    let new = NewHsm {
        client_token: "once".into(),
        ..NewHsm::default()
    };
    let first = model.create_hsm(&new).unwrap();
    assert_eq!(model.create_hsm(&new).unwrap().id, first.id);
    let other = NewHsm {
        subnet_id: "subnet-00000001".into(),
        ..new
    };
    assert!(matches!(model.create_hsm(&other), Err(ModelError::TokenReused)));
    assert_eq!(model.hsms().len(), 1);
}

#[test]
fn an_hsm_that_was_not_confirmed_is_at_the_next_start() {
    let keystore = keystore();
    let (before, _) = model(&keystore);
    before.create_hsm(&NewHsm::default()).unwrap();
    let pending = before.create_partition("", "early", None);
    assert!(matches!(pending, Err(ModelError::State("PENDING"))));
    let (after, _) = model(&keystore);
    assert_eq!(after.hsms()[0].state, HsmState::Running);
}

#[test]
fn labels_are_checked_and_unique() {
    let (_keystore, model, _slots) = with_hsm(false);
    model.create_partition("", "web", None).unwrap();
    assert!(matches!(
        model.create_partition("", "web", None),
        Err(ModelError::LabelTaken)
    ));
    assert!(matches!(model.create_partition("", "", None), Err(ModelError::Label)));
    assert!(matches!(
        model.create_partition("", &"x".repeat(33), None),
        Err(ModelError::Label)
    ));
    assert!(matches!(
        model.create_partition("hsm-none", "x", None),
        Err(ModelError::NotFound(_))
    ));
}

#[test]
fn an_hsm_goes_when_it_holds_no_token_and_is_remembered() {
    let (keystore, model_before, slots) = with_hsm(true);
    let hsm = model_before.hsm("").unwrap();
    let web = model_before.create_partition("", "web", None).unwrap();
    groups::initialise(&slots, web.slot);
    assert!(matches!(
        model_before.delete_hsm(&hsm.arn),
        Err(ModelError::HoldsTokens(1))
    ));
    assert_eq!(
        model_before.hsm("").unwrap(),
        model_before.hsm(&hsm.id).unwrap(),
        "nothing changed"
    );
    model_before.delete_partition(&web.serial).unwrap();
    model_before.delete_hsm(&hsm.arn).unwrap();
    model_before.delete_hsm(&hsm.arn).unwrap();
    assert!(slots.all().is_empty() && keystore.key_sets().is_empty());
    let (model, _) = model(&keystore);
    assert_eq!(model.hsm(&hsm.id).unwrap().state, HsmState::Terminated);
    assert!(matches!(model.hsm(""), Err(ModelError::NotFound(_))));
    assert!(matches!(model.add_tags(&hsm.arn, &[]), Err(ModelError::Unknown(..))));
}

#[test]
fn a_deletion_that_was_interrupted_is_finished_at_the_next_start() {
    let (keystore, before, _) = with_hsm(true);
    let id = before.hsm("").unwrap().id;
    // As a stop right after the first batch leaves it.
    before.change_state(&id, HsmState::Terminating).unwrap();
    let (after, slots) = model(&keystore);
    assert_eq!(after.hsm(&id).unwrap().state, HsmState::Terminated);
    assert!(slots.all().is_empty());
}

#[test]
fn a_new_address_makes_an_hsm_updating_until_it_is_confirmed() {
    let (keystore, before, _) = with_hsm(false);
    let hsm = before.hsm("").unwrap();
    let change = super::HsmChange {
        eni_ip: Some("10.9.9.9".into()),
        external_id: Some("x".into()),
        ..Default::default()
    };
    let changed = before.modify_hsm(&hsm.arn, change.clone()).unwrap();
    assert_eq!(
        (changed.state, changed.eni_ip.as_str()),
        (HsmState::Updating, "10.9.9.9")
    );
    let refused = before.modify_hsm(&hsm.arn, super::HsmChange::default());
    assert!(matches!(refused, Err(ModelError::State("UPDATING"))));
    // A stop before the confirmation.
    let (after, _) = model(&keystore);
    let found = after.hsm("").unwrap();
    assert_eq!(
        (found.state, found.eni_ip.as_str(), found.external_id.as_str()),
        (HsmState::Running, "10.9.9.9", "x")
    );
    let other = after.create_hsm(&NewHsm {
        eni_ip: "10.9.9.9".into(),
        ..NewHsm::default()
    });
    assert!(matches!(other, Err(ModelError::AddressTaken)));
}
