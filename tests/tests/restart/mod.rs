//! What survives when the daemon is killed and started again, seen by a program that was running all the time.

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN, SO_PIN};
use hsmd_tests::module::{Module, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{self, Mechanism, bytes, flag, number};

fn logged_in(daemon: &Daemon) -> (Module, Session) {
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    // A login's record waits for no flush; the first write that is acknowledged after it waits for both (INV-4).
    let template = [
        number(CKA_CLASS, CKO_DATA),
        flag(CKA_TOKEN, true),
        bytes(CKA_LABEL, "first write"),
    ];
    module.create(session, &template).expect("C_CreateObject");
    (module, session)
}

#[test]
fn sessions_logins_handles_and_session_keys_go_on() {
    let mut daemon = Daemon::start();
    let (module, session) = logged_in(&daemon);
    let pair = |token| {
        let (public, private) = (
            [bytes(CKA_EC_PARAMS, template::P256), flag(CKA_TOKEN, token)],
            [flag(CKA_TOKEN, token)],
        );
        module
            .generate_key_pair(session, &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN), &public, &private)
            .expect("a pair")
    };
    let (token_pair, session_pair) = (pair(true), pair(false));
    for round in 0..3 {
        daemon.kill9();
        daemon.restart();
        for (public, private) in [token_pair, session_pair] {
            let mechanism = Mechanism::Plain(CKM_ECDSA_SHA256);
            let signature = module.sign(session, &mechanism, private, b"data");
            let signature = signature.unwrap_or_else(|rv| panic!("round {round}: {rv}"));
            module
                .verify(session, &mechanism, public, b"data", &signature)
                .expect("the signature verifies");
        }
    }
}

#[test]
fn an_operation_begun_before_the_restart_ends_after_it() {
    let mut daemon = Daemon::start();
    let (module, session) = logged_in(&daemon);
    let template = [number(CKA_VALUE_LEN, 32), flag(CKA_SIGN, true)];
    let key = module
        .generate_key(session, &Mechanism::Plain(CKM_GENERIC_SECRET_KEY_GEN), &template)
        .expect("a key");
    let mechanism = Mechanism::Plain(CKM_SHA256_HMAC);
    let expected = module.sign(session, &mechanism, key, b"data").expect("a MAC");
    module
        .start("C_SignInit", session, &mechanism, key)
        .expect("C_SignInit");
    daemon.restart();
    assert_eq!(module.finish("C_Sign", session, b"data"), Ok(expected));
}

#[test]
fn token_keys_and_pins_are_the_same_for_a_new_program() {
    let mut daemon = Daemon::start();
    let serial = {
        let (module, session) = logged_in(&daemon);
        let template = [
            flag(CKA_TOKEN, true),
            number(CKA_VALUE_LEN, 32),
            bytes(CKA_LABEL, "kept"),
        ];
        module
            .generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)
            .expect("a key");
        module.set_pin(session, PIN, "new-pin-1").expect("C_SetPIN");
        module.token_info(module.slot_of(LABEL)).expect("C_GetTokenInfo").serial
    };
    daemon.restart();
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let slot = module.slot_of(LABEL);
    assert_eq!(module.token_info(slot).expect("C_GetTokenInfo").serial, serial);
    let session = module.open_session(slot).expect("C_OpenSession");
    assert_eq!(module.login(session, CKU_USER, PIN), Err(Rv(CKR_PIN_INCORRECT)));
    assert_eq!(module.login(session, CKU_USER, "new-pin-1"), Ok(()));
    assert_eq!(
        module
            .find(session, &[bytes(CKA_LABEL, "kept")])
            .expect("C_FindObjects")
            .len(),
        1
    );
}

#[test]
fn wrong_pins_count_over_restarts_and_the_officer_can_unlock() {
    // INV-8: lock-out counts once, durably, before the PIN is checked.
    let mut daemon = Daemon::start();
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let slot = module.slot_of(LABEL);
    let session = module.open_session(slot).expect("C_OpenSession");
    for attempt in 0..10 {
        if attempt % 4 == 3 {
            daemon.restart();
        }
        let refused = module.login(session, CKU_USER, "wrong-pin");
        let locked_last = attempt == 9 && refused == Err(Rv(CKR_PIN_LOCKED));
        assert!(
            refused == Err(Rv(CKR_PIN_INCORRECT)) || locked_last,
            "attempt {attempt}: {refused:?}"
        );
    }
    assert_eq!(
        module.login(session, CKU_USER, PIN),
        Err(Rv(CKR_PIN_LOCKED)),
        "the right PIN after ten wrong ones"
    );
    daemon.restart();
    assert_eq!(
        module.login(session, CKU_USER, PIN),
        Err(Rv(CKR_PIN_LOCKED)),
        "after a restart"
    );
    let flags = module.token_info(slot).expect("C_GetTokenInfo").flags;
    assert_ne!(flags & CKF_USER_PIN_LOCKED, 0, "flags {flags:#x}");
    module.login(session, CKU_SO, SO_PIN).expect("the officer's login");
    module.init_pin(session, "fresh-pin").expect("C_InitPIN");
    module.logout(session).expect("C_Logout");
    assert_eq!(module.login(session, CKU_USER, "fresh-pin"), Ok(()));
}

#[test]
fn a_daemon_that_is_away_gives_an_error_in_time_and_works_again_when_back() {
    // INV-9: no call hangs past its deadline.
    let mut daemon = Daemon::start();
    let (module, session) = logged_in(&daemon);
    daemon.kill9();
    let started = std::time::Instant::now();
    let away = module.find(session, &[]);
    assert_eq!(away, Err(Rv(CKR_DEVICE_ERROR)));
    assert!(
        started.elapsed() < std::time::Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    daemon.restart();
    module.find(session, &[]).expect("C_FindObjects after the restart");
}

#[test]
fn a_program_that_starts_before_the_daemon_sees_no_slots_and_then_all() {
    let mut daemon = Daemon::start();
    daemon.kill9();
    let module = daemon.module();
    assert_eq!(module.initialize(), Ok(()), "C_Initialize does not need the daemon");
    assert_eq!(module.slots(true), Ok(Vec::new()));
    daemon.restart();
    assert_eq!(module.slots(true).expect("C_GetSlotList").len(), 1);
}
