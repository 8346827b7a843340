//! Logins and tickets: identity, persistence, ends, idle wipe.

use std::time::Duration;

use hsmd_proto::ck::{Rv, UserType};

use super::*;

fn ticket(key_set: &KeySet) -> Vec<u8> {
    key_set
        .login(&caller(1), UserType::USER, PIN, operation())
        .unwrap()
        .expose()
        .to_vec()
}

fn resolves(key_set: &KeySet, number: u8, ticket: &[u8]) -> bool {
    match key_set.resolve(&caller(number), ticket) {
        Ok(login) => login.alive(),
        Err(rv) => {
            assert_eq!(rv, Rv::USER_NOT_LOGGED_IN);
            false
        }
    }
}

// INV-4: a login is a record; another run of the daemon goes on with it.
#[test]
fn a_login_goes_on_after_a_restart_without_a_pin() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    let (id, ticket) = (key_set.id(), ticket(&key_set));
    keystore.core().background.flush();
    // No close: as after kill -9.
    drop((key_set, keystore));
    let keystore = folder.open();
    let key_set = keystore.key_set(id).unwrap();
    assert!(key_set.psk().is_none());
    assert!(!resolves(&key_set, 2, &ticket), "it belongs to another client");
    assert!(resolves(&key_set, 1, &ticket));
    assert!(key_set.psk().is_some());
    assert!(resolves(&key_set, 1, &ticket));
}

#[test]
fn a_logout_is_final_also_after_a_restart() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    let (id, ticket) = (key_set.id(), ticket(&key_set));
    let login = key_set.resolve(&caller(1), &ticket).unwrap();
    key_set.logout(&login);
    assert!(!login.alive());
    assert!(!resolves(&key_set, 1, &ticket));
    drop((login, key_set, keystore));
    assert!(!resolves(&folder.open().key_set(id).unwrap(), 1, &ticket));
}

#[test]
fn a_ticket_is_good_for_its_identity_and_key_set_only() {
    let keystore = memory();
    let (key_set, other) = (ready(&keystore), ready(&keystore));
    let ticket = ticket(&key_set);
    assert!(resolves(&key_set, 1, &ticket));
    assert!(!resolves(&key_set, 2, &ticket));
    assert!(!resolves(&other, 1, &ticket));
    for byte in 0..ticket.len() {
        let mut changed = ticket.clone();
        changed[byte] ^= 1;
        assert!(!resolves(&key_set, 1, &changed));
    }
    for length in 0..ticket.len() {
        assert!(!resolves(&key_set, 1, &ticket[..length]));
    }
    assert!(!resolves(&key_set, 1, &[ticket.as_slice(), b"x"].concat()));
}

#[test]
fn an_idle_key_set_forgets_its_secrets_and_a_ticket_brings_them_back() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let ticket = ticket(&key_set);
    keystore.core().background.flush();
    keystore.idle_wipe();
    assert!(key_set.psk().is_some());
    keystore.core().clock.advance(Duration::from_secs(3600));
    keystore.idle_wipe();
    assert!(key_set.psk().is_none());
    assert!(resolves(&key_set, 1, &ticket));
    assert!(key_set.psk().is_some());
}

#[test]
fn a_login_that_is_used_lives_and_one_that_is_not_ends() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let (used, unused) = (ticket(&key_set), ticket(&key_set));
    keystore.core().background.flush();
    for _ in 0..40 {
        keystore.core().clock.advance(Duration::from_secs(86_400));
        assert!(resolves(&key_set, 1, &used));
        keystore.idle_wipe();
        keystore.core().background.flush();
    }
    assert!(resolves(&key_set, 1, &used));
    assert!(!resolves(&key_set, 1, &unused));
    assert_eq!(
        keystore.core().store.scan(key_set.root().path("login").as_str()).len(),
        1
    );
}

#[test]
fn a_ticket_key_is_renewed_and_old_tickets_stay_good() {
    let (folder, keystore) = Folder::new();
    let key_set = ready(&keystore);
    let (id, old) = (key_set.id(), ticket(&key_set));
    for _ in 0..3 {
        keystore.core().clock.advance(Duration::from_secs(90_000));
        keystore.idle_wipe();
        assert!(resolves(&key_set, 1, &old));
    }
    let new = ticket(&key_set);
    assert_ne!(old[1..5], new[1..5], "another key version");
    keystore.close().unwrap();
    drop((key_set, keystore));
    let key_set = folder.open().key_set(id).unwrap();
    assert!(resolves(&key_set, 1, &old));
    assert!(resolves(&key_set, 1, &new));
}

#[test]
fn many_threads_resolve_while_others_log_in_and_out() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let kept = ticket(&key_set);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2000).for_each(|_| assert!(resolves(&key_set, 1, &kept))));
            scope.spawn(|| {
                for _ in 0..100 {
                    let ticket = ticket(&key_set);
                    let login = key_set.resolve(&caller(1), &ticket).unwrap();
                    key_set.logout(&login);
                    assert!(!resolves(&key_set, 1, &ticket));
                }
            });
        }
    });
    assert_eq!(keystore.status().logins, 1);
}

#[test]
fn a_context_specific_login_checks_the_pin_of_the_same_role() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let user = login(&key_set, UserType::USER, PIN);
    assert_eq!(key_set.reauthenticate(&caller(1), &user, PIN, operation()), Ok(()));
    assert_eq!(
        key_set.reauthenticate(&caller(1), &user, SO_PIN, operation()),
        Err(Rv::PIN_INCORRECT)
    );
}

#[test]
fn only_the_so_gives_the_user_a_pin() {
    let keystore = memory();
    let (key_set, other) = (ready(&keystore), ready(&keystore));
    let user = login(&key_set, UserType::USER, PIN);
    assert_eq!(key_set.init_pin(&user, PIN, operation()), Err(Rv::USER_NOT_LOGGED_IN));
    assert_eq!(
        key_set.init_pin(&so(&other), PIN, operation()),
        Err(Rv::USER_NOT_LOGGED_IN)
    );
}

// Whatever meets, nothing hangs, and the SO can always put it right.
#[test]
fn everything_at_once_does_not_deadlock() {
    let keystore = memory();
    let key_set = ready(&keystore);
    std::thread::scope(|scope| {
        for number in 1..=8 {
            let (keystore, key_set) = (&keystore, &key_set);
            scope.spawn(move || (0..60).for_each(|_| act(keystore, key_set, number)));
        }
    });
    key_set.unlock(crate::Role::User).unwrap();
    key_set.unlock(crate::Role::So).unwrap();
    key_set.init_token(&caller(1), SO_PIN, &LABEL, operation()).unwrap();
    key_set.init_pin(&so(&key_set), PIN, operation()).unwrap();
    login(&key_set, UserType::USER, PIN);
}

/// Something at random. Every call may be refused here: others change the same token.
fn act(keystore: &Keystore, key_set: &KeySet, number: u8) {
    let caller = caller(number);
    let log_in = |user, pin| {
        let ticket = key_set.login(&caller, user, pin, operation()).ok()?;
        key_set.resolve(&caller, ticket.expose()).ok()
    };
    let [choice] = random::array::<1>();
    match choice % 12 {
        0 => drop(log_in(UserType::USER, b"wrong")),
        1 => drop(log_in(UserType::SO, b"wrong")),
        2 => _ = key_set.set_pin(&caller, None, PIN, PIN, operation()),
        3 => {
            if let Some(so) = log_in(UserType::SO, SO_PIN) {
                _ = key_set.init_pin(&so, PIN, operation());
            }
        }
        4 if number == 1 => _ = key_set.init_token(&caller, SO_PIN, &LABEL, operation()),
        5 => key_set.end_logins().unwrap(),
        6 => key_set.unlock(crate::Role::User).unwrap(),
        7 => {
            keystore.core().clock.advance(Duration::from_secs(3601));
            keystore.idle_wipe();
        }
        8 => drop(key_set.token()),
        _ => {
            if let Some(login) = log_in(UserType::USER, PIN) {
                key_set.logout(&login);
                assert!(!login.alive());
            }
        }
    }
}

#[test]
fn of_too_many_logins_of_a_client_those_unused_longest_end_and_no_others() {
    let options = Options {
        max_logins: 16,
        ..options()
    };
    let keystore = Keystore::in_memory(&options).unwrap();
    let key_set = ready(&keystore);
    let mut mine = vec![ticket(&key_set)];
    let other = key_set.login(&caller(2), UserType::USER, PIN, operation()).unwrap();
    for _ in 0..64 {
        keystore.core().clock.advance(Duration::from_secs(1));
        mine.push(ticket(&key_set));
        // The first one is in use all the time.
        assert!(resolves(&key_set, 1, &mine[0]));
    }
    keystore.core().background.flush();
    let stored = keystore.core().store.scan(key_set.root().path("login").as_str()).len();
    assert!((16..=19).contains(&stored), "{stored} logins");
    assert!(resolves(&key_set, 2, other.expose()), "another client's login");
    assert!(resolves(&key_set, 1, &mine[0]));
    assert!(resolves(&key_set, 1, &mine[64]), "the newest");
    assert!(!resolves(&key_set, 1, &mine[1]), "the oldest unused");
}
