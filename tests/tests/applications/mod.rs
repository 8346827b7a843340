//! Several programs and several threads on one token. Each instance of the module is an application of its own.

use std::sync::Barrier;
use std::thread;

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN};
use hsmd_tests::module::{Module, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::soak;
use hsmd_tests::template::{self, Mechanism, bytes, flag, number};

fn logged_in(daemon: &Daemon) -> (Module, Session) {
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    (module, session)
}

#[test]
fn a_token_object_of_one_program_is_seen_by_another_until_it_is_destroyed() {
    let daemon = Daemon::start();
    let (first, session) = logged_in(&daemon);
    let (second, other) = logged_in(&daemon);
    let template = [
        flag(CKA_TOKEN, true),
        number(CKA_VALUE_LEN, 32),
        bytes(CKA_LABEL, "shared"),
    ];
    let key = first
        .generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)
        .expect("a key");
    let seen = second
        .find(other, &[bytes(CKA_LABEL, "shared")])
        .expect("C_FindObjects");
    assert_eq!(seen.len(), 1);
    first
        .set(session, key, &[bytes(CKA_LABEL, "renamed")])
        .expect("C_SetAttributeValue");
    assert_eq!(
        second
            .find(other, &[bytes(CKA_LABEL, "renamed")])
            .expect("C_FindObjects")
            .len(),
        1
    );
    first.destroy(session, key).expect("C_DestroyObject");
    assert_eq!(second.find(other, &[bytes(CKA_LABEL, "renamed")]), Ok(Vec::new()));
    let cbc = Mechanism::Bytes(CKM_AES_CBC, vec![0; 16]);
    let used = second.encrypt(other, &cbc, seen[0], &[0; 16]);
    let refused = [CKR_KEY_HANDLE_INVALID, CKR_FUNCTION_FAILED, CKR_OBJECT_HANDLE_INVALID];
    assert!(used.as_ref().is_err_and(|rv| refused.contains(&rv.0)), "{used:?}");
}

#[test]
fn session_objects_and_logins_belong_to_their_program() {
    let daemon = Daemon::start();
    let (first, session) = logged_in(&daemon);
    let second = daemon.module();
    second.initialize().expect("C_Initialize");
    let other = second.open_session(second.slot_of(LABEL)).expect("C_OpenSession");
    let template = [
        flag(CKA_PRIVATE, false),
        number(CKA_CLASS, CKO_DATA),
        bytes(CKA_LABEL, "mine"),
    ];
    first.create(session, &template).expect("a session object");
    assert_eq!(second.find(other, &[bytes(CKA_LABEL, "mine")]), Ok(Vec::new()));
    let private = [
        number(CKA_CLASS, CKO_DATA),
        flag(CKA_PRIVATE, true),
        bytes(CKA_VALUE, "x"),
    ];
    assert_eq!(
        second.create(other, &private),
        Err(Rv(CKR_USER_NOT_LOGGED_IN)),
        "a login of another program"
    );
    assert_eq!(
        second.login(other, CKU_USER, PIN),
        Ok(()),
        "a login beside that of another program"
    );
}

#[test]
fn right_pins_in_parallel_never_lock() {
    // INV-8: a try reserves its place before the check, and right ones give it back.
    let daemon = Daemon::start();
    let count = 32;
    let applications: Vec<(Module, Session)> = (0..count)
        .map(|_| {
            let module = daemon.module();
            module.initialize().expect("C_Initialize");
            let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
            (module, session)
        })
        .collect();
    let barrier = Barrier::new(count);
    thread::scope(|scope| {
        for (module, session) in &applications {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                assert_eq!(module.login(*session, CKU_USER, PIN), Ok(()));
            });
        }
    });
    let flags = applications[0]
        .0
        .token_info(applications[0].0.slot_of(LABEL))
        .expect("C_GetTokenInfo")
        .flags;
    assert_eq!(
        flags & (CKF_USER_PIN_LOCKED | CKF_USER_PIN_COUNT_LOW),
        0,
        "flags {flags:#x}"
    );
}

#[test]
fn eight_threads_with_a_session_each_make_no_error() {
    let daemon = Daemon::start();
    let (module, _session) = logged_in(&daemon);
    let slot = module.slot_of(LABEL);
    thread::scope(|scope| {
        for worker in 0..8 {
            let module = &module;
            scope.spawn(move || {
                let session = module.open_session(slot).expect("C_OpenSession");
                for round in 0..10 * soak() {
                    one_round(module, session, &format!("{worker}-{round}"));
                }
                module.close_session(session).expect("C_CloseSession");
            });
        }
    });
}

fn one_round(module: &Module, session: Session, name: &str) {
    let (public, private) = module
        .generate_key_pair(
            session,
            &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN),
            &[
                bytes(CKA_EC_PARAMS, template::P256),
                flag(CKA_TOKEN, true),
                bytes(CKA_LABEL, name),
            ],
            &[flag(CKA_TOKEN, true), bytes(CKA_LABEL, name)],
        )
        .expect("C_GenerateKeyPair");
    assert_eq!(
        module
            .find(session, &[bytes(CKA_LABEL, name)])
            .expect("C_FindObjects")
            .len(),
        2
    );
    let mechanism = Mechanism::Plain(CKM_ECDSA_SHA256);
    let signature = module
        .sign(session, &mechanism, private, name.as_bytes())
        .expect("C_Sign");
    module
        .verify(session, &mechanism, public, name.as_bytes(), &signature)
        .expect("C_Verify");
    module.destroy(session, private).expect("C_DestroyObject");
    module.destroy(session, public).expect("C_DestroyObject");
    assert_eq!(module.find(session, &[bytes(CKA_LABEL, name)]), Ok(Vec::new()));
}
