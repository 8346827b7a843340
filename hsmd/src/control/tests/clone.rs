//! CloneGroup: all keys or none come into sight, the source goes on, and a PIN that does not open both changes nothing.

use super::groups::{partitions, set};
use super::moves::{PIN, found, keys, make_key, sorted, token};
use super::{keystore, model};
use crate::control::model::{Model, ModelError};
use crate::slots::Slots;

/// Two groups of one partition each, and a third without members.
fn groups(model: &Model) -> [String; 3] {
    let p = partitions(model, 2);
    let made = ["a", "b", "c"].map(|label| model.create_group(label).unwrap());
    for (group, partition) in made.iter().zip(&p) {
        set(model, &group.arn, &[partition]).unwrap();
    }
    made.map(|group| group.id)
}

fn slot(model: &Model, number: usize) -> u32 {
    model.partitions("").unwrap()[number].slot
}

fn ids(model: &Model, slots: &Slots, number: usize) -> Vec<hsmd_proto::ids::UniqueId> {
    found(&keys(slots, slot(model, number)), PIN)
}

#[test]
fn the_keys_of_a_group_are_in_another_one_with_a_token_as_well() {
    let keystore = keystore();
    let (before, slots) = model(&keystore);
    let [a, b, _] = groups(&before);
    let theirs = [
        token(&slots, slot(&before, 0), PIN),
        token(&slots, slot(&before, 1), PIN),
    ];
    assert_eq!(before.clone_group(&a, &b, PIN).unwrap(), (1, 2));
    assert_eq!(ids(&before, &slots, 0), [theirs[0]], "the source is as it was");
    assert_eq!(ids(&before, &slots, 1), sorted(theirs));
    // Again it copies what is new, and each goes on by itself.
    let new = make_key(&keys(&slots, slot(&before, 0)), PIN);
    assert_eq!(before.clone_group(&a, &b, PIN).unwrap(), (1, 3));
    make_key(&keys(&slots, slot(&before, 1)), PIN);
    let (after, slots) = model(&keystore);
    assert_eq!(ids(&after, &slots, 0), sorted([theirs[0], new]));
    assert_eq!(ids(&after, &slots, 1).len(), 4, "after a restart");
    assert_eq!(keystore.key_sets().len(), 2);
}

#[test]
fn a_group_without_a_token_gets_that_of_the_source() {
    let keystore = keystore();
    let (before, slots) = model(&keystore);
    let [a, b, _] = groups(&before);
    let key = token(&slots, slot(&before, 0), PIN);
    assert_eq!(before.clone_group(&a, &b, PIN).unwrap(), (1, 1));
    assert_eq!(ids(&before, &slots, 1), [key]);
    // INV-3: two key sets, of which each is its group's own.
    make_key(&keys(&slots, slot(&before, 1)), PIN);
    assert_eq!(ids(&before, &slots, 0), [key]);
    let (after, slots) = model(&keystore);
    assert_eq!((ids(&after, &slots, 0).len(), ids(&after, &slots, 1).len()), (1, 2));
    assert_eq!(keystore.key_sets().len(), 2, "the empty one is gone");
}

#[test]
fn a_clone_that_is_refused_changes_nothing() {
    let keystore = keystore();
    let (model, slots) = model(&keystore);
    let [a, b, c] = groups(&model);
    let key = token(&slots, slot(&model, 0), PIN);
    token(&slots, slot(&model, 1), b"another-pin");
    assert!(matches!(model.clone_group(&a, &b, PIN), Err(ModelError::PinWrong(_))));
    assert!(matches!(
        model.clone_group(&a, &b, b"wrong"),
        Err(ModelError::PinWrong(_))
    ));
    assert!(matches!(model.clone_group(&a, &c, PIN), Err(ModelError::NoMembers(_))));
    assert!(matches!(
        model.clone_group(&a, "hapg-none", PIN),
        Err(ModelError::Unknown(..))
    ));
    assert!(matches!(model.clone_group("", &a, PIN), Err(ModelError::Missing(..))));
    assert_eq!(model.clone_group(&a, &a, PIN).unwrap(), (0, 1));
    assert_eq!(found(&keys(&slots, slot(&model, 0)), PIN), [key]);
    assert_eq!(found(&keys(&slots, slot(&model, 1)), b"another-pin").len(), 1);
}
