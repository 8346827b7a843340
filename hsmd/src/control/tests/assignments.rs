//! Assignments: named in every way, wrong, twice, in parallel, over a restart and over what is deleted.

use super::{keystore, model, with_hsm};
use crate::control::groups::GroupChange;
use crate::control::model::{ModelError, NewHsm};

const A: &str = include_str!("a.pem");
const B: &str = include_str!("b.pem");

#[test]
fn a_client_and_a_partition_are_named_in_every_way_and_assigned_once() {
    let (keystore, before, _) = with_hsm(false);
    let client = before.create_client(Some("app"), A).unwrap();
    let partition = before.create_partition("", "p", None).unwrap();
    let arn = before.hsm("").unwrap().partition_arn(&partition.serial);
    for name in [&client.id, &client.arn, &client.label] {
        for to in [&partition.serial, &arn] {
            assert_eq!(
                before.assign(name, to).unwrap().partitions,
                std::slice::from_ref(&partition.serial)
            );
        }
    }
    let (after, _) = model(&keystore);
    assert_eq!(after.assignments("app").unwrap()[0].slots, [partition.slot]);
    assert_eq!(after.revoke("app", &arn).unwrap().key_sets.len(), 1);
    let again = after.revoke("app", &arn).unwrap();
    assert_eq!(
        (again.left.slots, again.key_sets.len()),
        (vec![], 1),
        "what a stop left is ended"
    );
}

#[test]
fn what_does_not_exist_is_named() {
    let (_keystore, model, _) = with_hsm(false);
    model.create_client(Some("app"), A).unwrap();
    model.create_client(Some("app"), B).unwrap();
    let serial = model.create_partition("", "p", None).unwrap().serial;
    let client = model.clients()[0].id.clone();
    let elsewhere = format!("arn:aws:cloudhsm:local-1:123456789012:hsm-00000000/partition-{serial}");
    let long = "x".repeat(100_000);
    for (name, to, expected) in [
        ("", serial.as_str(), "Client is missing: it must be an id, ARN or label"),
        (
            &client,
            "",
            "Partition is missing: it must be a serial number, id or ARN",
        ),
        ("app", &serial, "Client must be an id or ARN: several have this label"),
        ("client-00000000", &serial, "Client: there is no client of this name"),
        (&long, &serial, "Client: there is no client of this name"),
        ("user-0", &serial, "Client: there is no client of this name"),
        (
            &client,
            "hapg-00000000",
            "Partition: there is no partition or group of this name",
        ),
        (
            &client,
            &elsewhere,
            "Partition: there is no partition or group of this name",
        ),
        (&client, &long, "Partition: there is no partition or group of this name"),
    ] {
        assert_eq!(model.assign(name, to).unwrap_err().to_string(), expected);
        assert_eq!(model.revoke(name, to).unwrap_err().to_string(), expected);
    }
    assert_eq!(
        model.assignments("nobody").unwrap_err().to_string(),
        "Client: there is no client of this name"
    );
    assert!(
        model
            .assignments("")
            .unwrap()
            .iter()
            .all(|client| client.slots.is_empty())
    );
}

#[test]
fn a_group_shows_its_members_whatever_they_are() {
    let keystore = keystore();
    let (before, _) = model(&keystore);
    let p: Vec<_> = (0..2)
        .map(|_| {
            let hsm = before.create_hsm(&NewHsm::default()).unwrap();
            before.confirm(&hsm.id).unwrap();
            before.create_partition(&hsm.id, "p", None).unwrap()
        })
        .collect();
    let client = before.create_client(None, A).unwrap().id;
    let group = before.create_group("g").unwrap();
    let own = group.slot.unwrap();
    assert_eq!(before.assign(&client, &group.serial).unwrap().slots, [own]);
    before.assign(&client, &p[0].serial).unwrap();
    let members = Some(p.iter().map(|record| record.serial.clone()).collect());
    let change = GroupChange {
        members,
        ..GroupChange::default()
    };
    before.modify_group(&group.arn, change).unwrap();
    let view = before.assignments(&client).unwrap().remove(0);
    assert_eq!(
        (view.groups, view.slots),
        (vec![group.id.clone()], vec![p[0].slot, p[1].slot, own])
    );
    // Both members refer to one key set: whoever keeps one member keeps its logins.
    let revoked = before.revoke(&client, &group.arn).unwrap();
    assert_eq!((revoked.left.slots, revoked.key_sets.len()), (vec![p[0].slot], 0));
    before.assign(&client, &group.id).unwrap();
    before.delete_group(&group.arn).unwrap();
    let (after, _) = model(&keystore);
    let view = after.assignments(&client).unwrap().remove(0);
    assert_eq!((view.groups.len(), view.slots), (0, vec![p[0].slot]));
    assert!(
        after.revoke(&client, &group.id).is_ok(),
        "what is gone can be taken away"
    );
    assert!(after.revoke(&client, &group.id).is_err());
}

#[test]
fn a_local_user_is_a_client_once() {
    let (keystore, before, _) = with_hsm(false);
    let made = before.create_local_client(1000, "").unwrap();
    assert_eq!((made.client.as_str(), made.label.as_str()), ("user-1000", "user-1000"));
    assert_eq!(before.create_local_client(1000, "").unwrap(), made);
    assert!(matches!(
        before.create_local_client(1000, "x"),
        Err(ModelError::UserTaken(_))
    ));
    for wrong in ["\n".to_owned(), "x".repeat(65)] {
        assert!(matches!(
            before.create_local_client(1, &wrong),
            Err(ModelError::Invalid(..))
        ));
    }
    let (after, _) = model(&keystore);
    assert_eq!(after.assignments("").unwrap(), [made]);
    let client = after.create_client(None, A).unwrap().id;
    assert!(matches!(
        after.delete_local_client(&client),
        Err(ModelError::Invalid(..))
    ));
    after.delete_local_client("user-1000").unwrap();
    assert!(matches!(
        after.delete_local_client("user-1000"),
        Err(ModelError::Unknown(..))
    ));
}

#[test]
fn changes_in_parallel_all_count() {
    let (keystore, model, _) = with_hsm(false);
    let client = model.create_client(None, A).unwrap().id;
    let serials: Vec<_> = (0..8)
        .map(|n| model.create_partition("", &format!("p{n}"), None).unwrap().serial)
        .collect();
    std::thread::scope(|scope| {
        for serial in &serials {
            scope.spawn(|| model.assign(&client, serial).unwrap());
        }
    });
    std::thread::scope(|scope| {
        for serial in &serials[..4] {
            scope.spawn(|| model.revoke(&client, serial).unwrap());
        }
    });
    let (after, _) = super::model(&keystore);
    assert_eq!(after.assignments(&client).unwrap()[0].partitions, serials[4..]);
}
