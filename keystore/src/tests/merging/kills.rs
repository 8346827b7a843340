//! Joins and leaves that a kill cuts off at any step of the files: before or after, never between (INV-2).

use hsmd_store::{Fault, Faults};

use super::*;

/// A folder that is copied, used under faults, and opened again as after a kill.
pub(in crate::tests) fn sweep(
    prepare: impl Fn(&Keystore) -> [KeySetId; 2],
    act: impl Fn(&Keystore, [KeySetId; 2]),
    check: impl Fn(&Keystore, [KeySetId; 2]),
) -> u64 {
    let (folder, keystore) = Folder::new();
    let ids = prepare(&keystore);
    keystore.close().unwrap();
    drop(keystore);
    for nth in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keystore");
        copy_folder(&folder.path(), &path);
        let faults = Faults::new();
        let options = Options {
            on_fatal: Some(Arc::new(|_| {})),
            faults: faults.clone(),
            ..options()
        };
        let keystore = Keystore::open(&path, &folder.master, &options).unwrap();
        faults.plan(None, nth, 1, Fault::Crash);
        act(&keystore, ids);
        let crashed = faults.crashed();
        drop(keystore);
        faults.clear();
        let keystore = Keystore::open(&path, &folder.master, &options).unwrap();
        assert!(keystore.quarantined().is_empty());
        check(&keystore, ids);
        if !crashed {
            return nth;
        }
    }
    unreachable!("steps end")
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

// INV-2: a kill at any step of a join leaves it undone or done; going on finishes it, with nothing lost and nothing double.
#[test]
fn a_join_that_is_killed_at_any_step_is_before_or_after() {
    const THEIRS: usize = 130;
    let prepare = |keystore: &Keystore| {
        let (from, into) = two(keystore);
        let (there, here) = (user(&from), user(&into));
        make_key(&into, &here, "of the group");
        for number in 1..THEIRS {
            make_key(&from, &there, &number.to_string());
        }
        make_public(&from, "open");
        [from.id(), into.id()]
    };
    let act = |keystore: &Keystore, [from, into]: [KeySetId; 2]| {
        // It fails at the step that fails.
        let _ = join(
            keystore,
            &keystore.key_set(from).unwrap(),
            &keystore.key_set(into).unwrap(),
        );
    };
    let check = |keystore: &Keystore, [from, into]: [KeySetId; 2]| {
        let group = keystore.key_set(into).unwrap();
        let seen = contents(&group, &user(&group)).len();
        if reference(keystore) != "joined" {
            let joiner = keystore.key_set(from).unwrap();
            assert_eq!((seen, contents(&joiner, &user(&joiner)).len()), (1, THEIRS));
            assert_eq!(joiner.token().flags & PROTECTED != 0, reference(keystore) == "joining");
            join(keystore, &joiner, &group).unwrap();
        } else {
            assert_eq!(seen, THEIRS + 1);
        }
        assert!(keystore.key_set(from).is_none());
        assert_eq!(contents(&group, &user(&group)).len(), THEIRS + 1);
    };
    let steps = sweep(prepare, act, check);
    assert!(steps > 8, "{steps} steps");
}

#[test]
fn a_leave_that_is_killed_at_any_step_is_before_or_after() {
    const ALL: usize = 130;
    let prepare = |keystore: &Keystore| {
        let (other, group) = two(keystore);
        let here = user(&group);
        for number in 1..ALL {
            make_key(&group, &here, &number.to_string());
        }
        make_public(&group, "open");
        [group.id(), other.id()]
    };
    let act = |keystore: &Keystore, [group, _]: [KeySetId; 2]| {
        let _ = leave(keystore, &keystore.key_set(group).unwrap());
    };
    let check = |keystore: &Keystore, [group, _]: [KeySetId; 2]| {
        let group = keystore.key_set(group).unwrap();
        if reference(keystore) == "own" {
            let tokens = keystore
                .key_sets()
                .into_iter()
                .filter(|key_set| key_set.token().initialized)
                .count();
            assert_eq!(tokens, 2, "a copy that was not finished is no token");
            leave(keystore, &group).unwrap();
        }
        let copy = keystore
            .key_set(KeySetId::from_hex(&reference(keystore)).unwrap())
            .unwrap();
        assert_eq!(contents(&copy, &user(&copy)), contents(&group, &user(&group)));
        assert_eq!(contents(&copy, &user(&copy)).len(), ALL);
    };
    let steps = sweep(prepare, act, check);
    assert!(steps > 6, "{steps} steps");
}
