//! PIN tries: counting, waiting, locking, surviving a kill.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use hsmd_proto::ck::{Rv, UserType};
use hsmd_store::{Fault, Step};

use super::*;
use crate::Role;
use crate::key_set::TokenState;
use crate::records::TriesRecord;
use crate::seal::Kind;

const USER_COUNT_LOW: u64 = 0x1_0000;
const USER_FINAL_TRY: u64 = 0x2_0000;
const USER_LOCKED: u64 = 0x4_0000;
const SO_LOCKED: u64 = 0x40_0000;

fn wrong(key_set: &KeySet) -> Rv {
    key_set
        .login(&caller(1), UserType::USER, b"wrong pin", operation())
        .map(drop)
        .unwrap_err()
}

fn flags(key_set: &KeySet, mask: u64) -> u64 {
    let TokenState { flags, .. } = key_set.token();
    flags & mask
}

fn tries(keystore: &Keystore, key_set: &KeySet) -> TriesRecord {
    let path = key_set.root().path("tries/user");
    keystore
        .core()
        .read::<TriesRecord>(&path, Kind::Tries)
        .unwrap()
        .unwrap_or_default()
        .0
}

// INV-8: right PINs in parallel never lock and are never refused.
#[test]
fn sixty_four_right_pins_at_once_all_log_in() {
    let keystore = memory();
    let key_set = ready(&keystore);
    key_set.verifiers_for_tests().clear();
    let start = Barrier::new(64);
    let right = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                start.wait();
                key_set.login(&caller(1), UserType::USER, PIN, operation()).unwrap();
                right.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(right.into_inner(), 64);
    assert_eq!(tries(&keystore, &key_set).failures, []);
    assert_eq!(tries(&keystore, &key_set).reservations, []);
}

// INV-8: however many try at once, ten wrong PINs are checked and no more.
#[test]
fn thirty_wrong_pins_from_many_threads_are_ten_tries() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let start = Barrier::new(30);
    let answers: Vec<Rv> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..30)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    wrong(&key_set)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let count = |rv: Rv| answers.iter().filter(|answer| **answer == rv).count();
    assert_eq!((count(Rv::PIN_INCORRECT), count(Rv::PIN_LOCKED)), (10, 20));
    assert_eq!(tries(&keystore, &key_set).failures.len(), 10);
    assert_eq!(flags(&key_set, USER_LOCKED), USER_LOCKED);
}

/// INV-8 broken on purpose: somebody removes the counter's record below the keystore, again and again. More than ten wrong
/// PINs are checked then, which the count of the test above notices. (On disk the heads notice the removal, INV-7.)
#[test]
fn a_counter_that_loses_its_record_is_noticed_by_the_count_of_checked_pins() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let store = &keystore.core().store;
    let mut checked = 0;
    for guess in 0..30 {
        if guess % 9 == 8 {
            let found = store.scan(key_set.root().path("tries").as_str());
            assert!(!found.is_empty());
            let writes = found.into_iter().map(|(path, record)| hsmd_store::Write {
                path,
                version: record.version + 1,
                value: None,
            });
            let batch = hsmd_store::Batch {
                operation: operation().0,
                writes: writes.collect(),
                ..Default::default()
            };
            assert!(matches!(store.commit(batch), Ok(hsmd_store::Outcome::Committed(_))));
        }
        checked += usize::from(wrong(&key_set) == Rv::PIN_INCORRECT);
    }
    assert!(checked > 10, "{checked}: ten would be right");
}

#[test]
fn a_locked_role_refuses_the_right_pin_too_and_ends_all_logins_until_the_so_gives_a_new_one() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let user = login(&key_set, UserType::USER, PIN);
    for _ in 0..10 {
        assert_eq!(wrong(&key_set), Rv::PIN_INCORRECT);
    }
    // The verifier knows the PIN; the lock state comes first.
    assert_eq!(
        key_set.login(&caller(1), UserType::USER, PIN, operation()).unwrap_err(),
        Rv::PIN_LOCKED
    );
    assert!(!user.alive());
    let so = so(&key_set);
    key_set.init_pin(&so, b"another", operation()).unwrap();
    assert!(so.alive());
    assert_eq!(flags(&key_set, USER_LOCKED | USER_COUNT_LOW), 0);
    login(&key_set, UserType::USER, b"another");
}

#[test]
fn token_flags_follow_the_count() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let mask = USER_COUNT_LOW | USER_FINAL_TRY | USER_LOCKED;
    assert_eq!(flags(&key_set, mask), 0);
    wrong(&key_set);
    assert_eq!(flags(&key_set, mask), USER_COUNT_LOW);
    (0..8).for_each(|_| assert_eq!(wrong(&key_set), Rv::PIN_INCORRECT));
    assert_eq!(flags(&key_set, mask), USER_COUNT_LOW | USER_FINAL_TRY);
    login(&key_set, UserType::USER, PIN);
    assert_eq!(flags(&key_set, mask), 0);
    (0..10).for_each(|_| assert_eq!(wrong(&key_set), Rv::PIN_INCORRECT));
    assert_eq!(flags(&key_set, mask), USER_COUNT_LOW | USER_LOCKED);
    key_set.unlock(Role::User).unwrap();
    assert_eq!(flags(&key_set, mask), 0);
    login(&key_set, UserType::USER, PIN);
}

#[test]
fn a_locked_so_closes_the_role_to_that_client_only() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let user = login(&key_set, UserType::USER, PIN);
    let try_so = |number, pin| key_set.login(&caller(number), UserType::SO, pin, operation()).map(drop);
    for _ in 0..10 {
        assert_eq!(try_so(2, b"guess"), Err(Rv::PIN_INCORRECT));
    }
    assert_eq!(try_so(2, SO_PIN), Err(Rv::PIN_LOCKED));
    assert_eq!(try_so(1, SO_PIN), Ok(()));
    assert!(user.alive(), "one client's guesses end nobody's login");
    assert_eq!(flags(&key_set, SO_LOCKED), SO_LOCKED);
    key_set.unlock(Role::So).unwrap();
    assert_eq!(try_so(2, SO_PIN), Ok(()));
}

// INV-8, INV-10: a repeated try is the same try.
#[test]
fn the_same_attempt_is_counted_once_and_makes_one_login() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let attempt = operation();
    for _ in 0..20 {
        let answer = key_set
            .login(&caller(1), UserType::USER, b"wrong pin", attempt)
            .map(drop);
        assert_eq!(answer, Err(Rv::PIN_INCORRECT));
    }
    assert_eq!(tries(&keystore, &key_set).failures.len(), 1);
    let attempt = operation();
    let first = key_set.login(&caller(1), UserType::USER, PIN, attempt).unwrap();
    let second = key_set.login(&caller(1), UserType::USER, PIN, attempt).unwrap();
    assert_eq!(first.expose(), second.expose());
    // The id of a try that was right opens no way to guess without being counted.
    let guess = key_set
        .login(&caller(1), UserType::USER, b"wrong pin", attempt)
        .map(drop);
    assert_eq!(guess, Err(Rv::PIN_INCORRECT));
    assert_eq!(tries(&keystore, &key_set).failures.len(), 1);
}

// INV-8, INV-2: a place that was taken before a kill and got no verdict is a failure after the restart.
#[test]
fn a_try_cut_off_by_a_kill_counts_as_a_failure() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    let (id, cut_off) = (key_set.id(), operation());
    key_set.reserve_for_tests(&caller(1), cut_off);
    drop((key_set, keystore));
    let keystore = folder.open();
    let key_set = keystore.key_set(id).unwrap();
    assert_eq!(flags(&key_set, USER_COUNT_LOW), USER_COUNT_LOW);
    for _ in 0..9 {
        assert_eq!(wrong(&key_set), Rv::PIN_INCORRECT);
    }
    assert_eq!(wrong(&key_set), Rv::PIN_LOCKED);
}

#[test]
fn a_try_cut_off_by_a_kill_may_go_on_after_the_restart() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    let (id, cut_off) = (key_set.id(), operation());
    key_set.reserve_for_tests(&caller(1), cut_off);
    drop((key_set, keystore));
    let keystore = folder.open();
    let key_set = keystore.key_set(id).unwrap();
    // Another's verdict falls first and counts the place as a failure.
    assert_eq!(wrong(&key_set), Rv::PIN_INCORRECT);
    key_set.login(&caller(1), UserType::USER, PIN, cut_off).unwrap();
}

// INV-8: the place is durable before the PIN is checked: no store, no check.
#[test]
fn without_the_store_no_pin_is_checked() {
    let faults = hsmd_store::Faults::new();
    let keystore = Keystore::in_memory(&Options {
        faults: faults.clone(),
        ..options()
    })
    .unwrap();
    let key_set = ready(&keystore);
    key_set.verifiers_for_tests().clear();
    faults.plan(Some(Step::Commit), 1, u64::MAX, Fault::Ambiguous { done: false });
    let answer = key_set.login(&caller(1), UserType::USER, PIN, operation()).map(drop);
    assert_eq!(answer, Err(Rv::FUNCTION_FAILED));
    faults.clear();
    login(&key_set, UserType::USER, PIN);
}

// INV-8: an outcome that is not known is found out.
#[test]
fn ambiguous_commits_lose_no_try() {
    for done in [false, true] {
        let faults = hsmd_store::Faults::new();
        let keystore = Keystore::in_memory(&Options {
            faults: faults.clone(),
            ..options()
        })
        .unwrap();
        let key_set = ready(&keystore);
        for nth in 1..=2 {
            faults.plan(Some(Step::Commit), nth, 1, Fault::Ambiguous { done });
            let _ = wrong(&key_set);
            faults.clear();
        }
        let record = tries(&keystore, &key_set);
        assert!(record.failures.len() + record.reservations.len() <= 2);
        assert_eq!(record.failures.len() == 2, done || record.failures.len() == 2);
        login(&key_set, UserType::USER, PIN);
    }
}

#[test]
fn roles_without_a_pin_and_unknown_roles_are_named() {
    let keystore = memory();
    let key_set = keystore.create_key_set(Policy::Standard).unwrap();
    let try_login = |user, pin| key_set.login(&caller(1), user, pin, operation()).map(drop);
    assert_eq!(try_login(UserType::USER, PIN), Err(Rv::USER_PIN_NOT_INITIALIZED));
    key_set.init_token(&caller(1), SO_PIN, &LABEL, operation()).unwrap();
    assert_eq!(try_login(UserType::USER, PIN), Err(Rv::USER_PIN_NOT_INITIALIZED));
    assert_eq!(try_login(UserType::CONTEXT_SPECIFIC, PIN), Err(Rv::USER_TYPE_INVALID));
    assert_eq!(try_login(UserType(77), PIN), Err(Rv::USER_TYPE_INVALID));
}

#[test]
fn pins_of_bad_length_are_refused() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let so = so(&key_set);
    for pin in [b"abc".as_slice(), b"", &[b'x'; 256]] {
        assert_eq!(key_set.init_pin(&so, pin, operation()), Err(Rv::PIN_LEN_RANGE));
        assert_eq!(
            key_set.set_pin(&caller(1), None, PIN, pin, operation()),
            Err(Rv::PIN_LEN_RANGE)
        );
        let fresh = keystore.create_key_set(Policy::Standard).unwrap();
        assert_eq!(
            fresh.init_token(&caller(1), pin, &LABEL, operation()),
            Err(Rv::PIN_INCORRECT)
        );
    }
}

// INV-10: the reply of a PIN change may be lost; the repeated call has an old PIN that is no longer right.
#[test]
fn a_repeated_pin_change_is_the_same_change() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let user = login(&key_set, UserType::USER, PIN);
    let change = operation();
    key_set
        .set_pin(&caller(1), Some(&user), PIN, b"the new one", change)
        .unwrap();
    key_set
        .set_pin(&caller(1), Some(&user), PIN, b"the new one", change)
        .unwrap();
    assert!(user.alive(), "a PIN change keeps logins");
    assert_eq!(flags(&key_set, USER_COUNT_LOW), 0);
    assert_eq!(
        key_set.set_pin(&caller(1), None, PIN, b"yet another", operation()),
        Err(Rv::PIN_INCORRECT)
    );
    login(&key_set, UserType::USER, b"the new one");
    let so = so(&key_set);
    let reset = operation();
    key_set.init_pin(&so, PIN, reset).unwrap();
    let epoch = key_set.epoch();
    key_set.init_pin(&so, PIN, reset).unwrap();
    assert_eq!(key_set.epoch(), epoch);
    assert!(!user.alive(), "a reset by the SO ends logins");
    key_set
        .set_pin(&caller(1), Some(&so), SO_PIN, b"so pin two", operation())
        .unwrap();
    login(&key_set, UserType::SO, b"so pin two");
}
