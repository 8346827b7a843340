//! The security officer of an HSM: initialised once, counted durably, locked after three wrong PINs, zeroised whole.

use super::groups::initialise;
use super::{keystore, with_hsm};
use crate::config::{Hsm, Lockout};
use crate::control::groups::GroupChange;
use crate::control::model::{Model, ModelError, NewHsm};
use crate::control::records::HsmState;
use crate::slots::Slots;
use hsmd_keystore::Keystore;
use hsmd_proto::ids::SlotId;
use std::sync::Arc;

const PIN: &[u8] = b"officer-pin";

fn configured(keystore: &Keystore, change: impl FnOnce(&mut Hsm)) -> (Model, Arc<Slots>) {
    let mut config = Hsm::default();
    change(&mut config);
    let slots = Arc::new(Slots::default());
    (Model::load(keystore.clone(), config, slots.clone()).unwrap(), slots)
}

#[test]
fn an_hsm_is_initialised_once() {
    let (keystore, model, _) = with_hsm(false);
    for (label, pin, domain, expected) in [
        (
            "",
            PIN,
            b"d".as_slice(),
            "a label has 1 to 32 bytes and no control characters",
        ),
        (
            &"x".repeat(33),
            PIN,
            b"d",
            "a label has 1 to 32 bytes and no control characters",
        ),
        (
            "vault",
            b"abc",
            b"d",
            "SoPin must be as long as pin.min_length and pin.max_length say",
        ),
        (
            "vault",
            &[b'x'; 256],
            b"d",
            "SoPin must be as long as pin.min_length and pin.max_length say",
        ),
        ("vault", PIN, b"", "Domain must be 1 to 128 bytes"),
        ("vault", PIN, &[b'd'; 129], "Domain must be 1 to 128 bytes"),
    ] {
        let refused = model.initialise_hsm("", label, pin, domain).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    assert!(matches!(
        model.initialise_hsm("hsm-0", "v", PIN, b"d"),
        Err(ModelError::NotFound(_))
    ));
    assert!(!model.officer("").unwrap().initialised);
    let made = model.initialise_hsm("", "vault", PIN, b"domain").unwrap();
    assert!(
        made.initialised && made.label == "vault" && made.domain.len() == 16,
        "{made:?}"
    );
    assert!(matches!(
        model.initialise_hsm("", "v", PIN, b"d"),
        Err(ModelError::Initialised)
    ));
    // It survives a restart, and its key set is swept by nobody.
    let (after, _) = super::model(&keystore);
    assert_eq!(after.officer("").unwrap(), made);
    after.authorise("", Some(PIN)).unwrap();
    // An HSM without tokens is empty: it may be deleted, and nothing is left.
    let arn = after.hsm("").unwrap().arn;
    after.delete_hsm(&arn).unwrap();
    assert!(keystore.key_sets().is_empty());
}

#[test]
fn of_two_who_initialise_at_once_one_does() {
    let (_keystore, model, _) = with_hsm(false);
    let done: Vec<_> = std::thread::scope(|scope| {
        let each = ["pin-one", "pin-two"].map(|pin| {
            let model = &model;
            scope.spawn(move || model.initialise_hsm("", "vault", pin.as_bytes(), b"d").is_ok())
        });
        each.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(done.iter().filter(|done| **done).count(), 1);
    let right = ["pin-one", "pin-two"].map(|pin| model.authorise("", Some(pin.as_bytes())).is_ok());
    assert_eq!(right.to_vec(), done);
}

#[test]
fn three_wrong_pins_lock_the_administration_also_over_a_restart() {
    let (keystore, before, _) = with_hsm(false);
    assert!(matches!(
        before.authorise("", Some(PIN)),
        Err(ModelError::NotInitialised)
    ));
    before.authorise("", None).unwrap();
    before.initialise_hsm("", "vault", PIN, b"d").unwrap();
    let partition = before.create_partition("", "p", None).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            before.authorise("", Some(b"wrong")),
            Err(ModelError::PinWrong(_))
        ));
    }
    // INV-8: the count is in the store.
    let (model, slots) = super::model(&keystore);
    assert!(model.officer("").unwrap().last_try);
    assert!(matches!(
        model.authorise("", Some(b"wrong")),
        Err(ModelError::PinWrong(_))
    ));
    for pin in [Some(PIN), None] {
        assert!(matches!(model.authorise("", pin), Err(ModelError::RoleLocked(_))));
    }
    assert!(model.officer("").unwrap().locked);
    // Whatever changes the HSM's partitions is refused, also what asks for no PIN of the officer.
    let group = model.create_group("g").unwrap().arn;
    let change = GroupChange {
        members: Some(vec![partition.serial.clone()]),
        ..GroupChange::default()
    };
    let backup = super::restore::back_up(&model, "", "p");
    let from = &backup.1[hsmd_keystore::BACKUP_HEADER_BYTES..];
    let incoming = hsmd_keystore::Incoming::open(from, &backup.0).unwrap();
    for refused in [
        model.reset_pin(&partition.serial, b"so-pin-1", b"user-pin"),
        model.unlock(&partition.serial, "user").map(drop),
        model.modify_group(&group, change).map(drop),
        model.authorise_restore(&incoming, &super::restore::labelled("again"), None),
        model.authorise_restore(&incoming, &super::restore::replacing("p"), None),
    ] {
        assert!(matches!(refused, Err(ModelError::RoleLocked(_))), "{refused:?}");
    }
    assert!(
        slots.get(SlotId(partition.slot)).unwrap().key_set.is_some(),
        "applications go on"
    );
    // What is left is to begin again.
    model.delete_group(&group).unwrap();
    let hsm = model.hsm("").unwrap().id;
    assert_eq!(model.zeroise_hsm(&hsm).unwrap(), 1);
    assert!(keystore.key_sets().is_empty() && slots.all().is_empty());
    model.initialise_hsm("", "again", PIN, b"d").unwrap();
}

#[test]
fn the_third_wrong_pin_zeroises_where_the_configuration_says_so() {
    let (keystore, before, slots) = with_hsm(false);
    let partition = before.create_partition("", "p", None).unwrap();
    initialise(&slots, partition.slot);
    let (model, slots) = configured(&keystore, |hsm| {
        hsm.so_lockout = Lockout::Zeroize;
        hsm.require_so = true;
    });
    assert!(matches!(model.authorise("", None), Err(ModelError::NotInitialised)));
    model.initialise_hsm("", "vault", PIN, b"d").unwrap();
    assert!(matches!(model.authorise("", None), Err(ModelError::PinNeeded)));
    model.authorise("", Some(PIN)).unwrap();
    for _ in 0..3 {
        assert!(matches!(
            model.authorise("", Some(b"wrong")),
            Err(ModelError::PinWrong(_))
        ));
    }
    assert!(slots.all().is_empty() && keystore.key_sets().is_empty());
    assert!(!model.officer("").unwrap().initialised);
    assert_eq!(model.hsm("").unwrap().state, HsmState::Running);
    // A stop right after the lock: the next PIN that is given finds it.
    let (other, _) = configured(&keystore, |_| ());
    other.initialise_hsm("", "vault", PIN, b"d").unwrap();
    other.create_partition("", "p", None).unwrap();
    for _ in 0..3 {
        assert!(other.authorise("", Some(b"wrong")).is_err());
    }
    let (model, slots) = configured(&keystore, |hsm| hsm.so_lockout = Lockout::Zeroize);
    assert!(matches!(model.authorise("", None), Err(ModelError::RoleLocked(_))));
    assert_eq!(slots.all().len(), 1, "a look destroys nothing");
    assert!(matches!(model.authorise("", Some(PIN)), Err(ModelError::RoleLocked(_))));
    assert!(slots.all().is_empty());
}

#[test]
fn a_zeroised_hsm_leaves_its_groups_and_others_keep_the_keys() {
    let keystore = keystore();
    let (model, slots) = super::model(&keystore);
    let p: Vec<_> = (0..2)
        .map(|_| {
            let hsm = model.create_hsm(&NewHsm::default()).unwrap();
            model.confirm(&hsm.id).unwrap();
            model.create_partition(&hsm.id, "p", None).unwrap()
        })
        .collect();
    initialise(&slots, p[0].slot);
    let group = model.create_group("g").unwrap().arn;
    let members = Some(p.iter().map(|record| record.serial.clone()).collect());
    let change = GroupChange {
        members,
        ..GroupChange::default()
    };
    model.modify_group(&group, change).unwrap();
    assert!(matches!(model.zeroise_hsm(""), Err(ModelError::Missing(..))));
    assert_eq!(model.zeroise_hsm(&p[0].hsm).unwrap(), 1);
    assert_eq!(model.zeroise_hsm(&p[0].hsm).unwrap(), 0, "done again it is done");
    assert_eq!(model.group(&group).unwrap().record.members, [p[1].serial.clone()]);
    assert!(slots.get(SlotId(p[0].slot)).is_none());
    assert!(slots.get(SlotId(p[1].slot)).unwrap().token().unwrap().initialized);
    assert_eq!(keystore.key_sets().len(), 1);
}

#[test]
fn a_zeroisation_that_was_cut_off_is_finished_at_the_next_start() {
    let (keystore, before, slots) = with_hsm(true);
    before.initialise_hsm("", "vault", PIN, b"d").unwrap();
    let partition = before.create_partition("", "p", None).unwrap();
    initialise(&slots, partition.slot);
    {
        let mut state = before.state.lock();
        let entry = state.hsms.values_mut().next().unwrap();
        let mut record = entry.record.clone();
        record.officer.zeroizing = true;
        before.replace(entry, record).unwrap();
    }
    before.show();
    assert!(
        slots.all().iter().all(|slot| slot.key_set.is_none()),
        "no token from that moment on"
    );
    assert!(matches!(
        before.create_partition("", "q", None),
        Err(ModelError::State("being zeroized"))
    ));
    let (after, slots) = super::model(&keystore);
    assert!(!after.officer("").unwrap().initialised);
    // Only a new free slot is there, without token.
    assert_eq!(slots.all().len(), 1);
    assert!(!slots.all()[0].token().unwrap().initialized);
    assert_eq!(keystore.key_sets().len(), 1);
}
