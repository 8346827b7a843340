//! Slots, sessions, logins.

use super::fake::{Fake, PIN, Reaction, refuse};
use super::{App, aes_template, data, good};
use crate::config::Config;
use crate::ops;
use crate::state::instance::Instance;
use hsmd_proto::ck::{Rv, UserType};
use hsmd_proto::wire::request::Op;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn without_a_daemon_there_are_no_slots_and_no_tokens() {
    let config = Config {
        socket: Some("/nonexistent/data.sock".into()),
        deadline: Duration::from_secs(9),
        ..Config::default()
    };
    let app = App {
        instance: Instance::with(config).unwrap(),
    };
    let started = Instant::now();
    assert_eq!(app.slots(), Ok(Vec::new()));
    assert_eq!(app.open(0), Err(Rv::TOKEN_NOT_PRESENT));
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "it waited for what never was there"
    );
}

#[test]
fn a_pin_that_is_longer_than_any_is_wrong_and_is_not_sent() {
    let fake = good();
    let app = App::new(&fake);
    assert_eq!(app.slots(), Ok(vec![3]));
    let session = app.session();
    let long = [b'1'; 5000];
    assert_eq!(app.login(session, UserType::USER, &long), Err(Rv::PIN_INCORRECT));
    assert_eq!(fake.requests("Login"), 0);
}

#[test]
fn a_second_login_sends_no_pin() {
    let fake = good();
    let app = App::new(&fake);
    assert_eq!(app.slots(), Ok(vec![3]));
    let session = app.session();
    assert_eq!(app.login(session, UserType::USER, b"wrong"), Err(Rv::PIN_INCORRECT));
    assert_eq!(app.login(session, UserType::USER, PIN), Ok(()));
    assert_eq!(
        app.login(session, UserType::USER, b"wrong"),
        Err(Rv::USER_ALREADY_LOGGED_IN)
    );
    assert_eq!(
        app.login(session, UserType::SO, PIN),
        Err(Rv::USER_ANOTHER_ALREADY_LOGGED_IN)
    );
    assert_eq!(app.login(session, UserType(77), PIN), Err(Rv::USER_TYPE_INVALID));
    assert_eq!(
        app.login(session, UserType::CONTEXT_SPECIFIC, PIN),
        Err(Rv::OPERATION_NOT_INITIALIZED)
    );
    assert_eq!(fake.requests("Login"), 2);
    assert_eq!(ops::login::logout(&app.instance, session), Ok(()));
    assert_eq!(ops::login::logout(&app.instance, session), Err(Rv::USER_NOT_LOGGED_IN));
}

#[test]
fn the_so_and_read_only_sessions_exclude_each_other() {
    let fake = good();
    let app = App::new(&fake);
    assert_eq!(app.instance.slot(9).err(), Some(Rv::SLOT_ID_INVALID));
    let (writer, reader) = (app.session(), app.open(0).unwrap());
    assert_eq!(app.login(writer, UserType::SO, PIN), Err(Rv::SESSION_READ_ONLY_EXISTS));
    ops::session::close(&app.instance, reader).unwrap();
    assert_eq!(app.login(writer, UserType::SO, PIN), Ok(()));
    assert_eq!(app.open(0), Err(Rv::SESSION_READ_WRITE_SO_EXISTS));
}

#[test]
fn closing_the_last_session_logs_out_and_handles_are_not_used_again() {
    let fake = good();
    let app = App::new(&fake);
    let (one, two) = (app.session(), app.session());
    app.login(one, UserType::USER, PIN).unwrap();
    ops::session::close(&app.instance, one).unwrap();
    assert_eq!(ops::session::close(&app.instance, one), Err(Rv::SESSION_HANDLE_INVALID));
    assert_eq!(app.login(two, UserType::USER, PIN), Err(Rv::USER_ALREADY_LOGGED_IN));
    ops::session::close_all(&app.instance, 3).unwrap();
    assert_eq!(fake.requests("Logout"), 1);
    let three = app.session();
    assert!(three > two);
    assert_eq!(app.login(three, UserType::USER, PIN), Ok(()));
}

#[test]
fn finalising_ends_logins() {
    let fake = good();
    let app = App::new(&fake);
    app.login(app.session(), UserType::USER, PIN).unwrap();
    app.instance.finalize();
    assert_eq!(fake.requests("Logout"), 1);
    assert_eq!(app.slots(), Err(Rv::CRYPTOKI_NOT_INITIALIZED));
}

#[test]
fn a_refused_ticket_logs_the_slot_out_here() {
    let fake = Fake::start(|_, request, _, _| match request.op {
        Some(Op::Find(_)) if request.ticket.is_some() => Some(refuse(Rv::USER_NOT_LOGGED_IN)),
        _ => None,
    });
    let app = App::new(&fake);
    let session = app.session();
    app.login(session, UserType::USER, PIN).unwrap();
    assert_eq!(app.find(session, &data("x", true, false)), Err(Rv::USER_NOT_LOGGED_IN));
    assert_eq!(app.find(session, &data("x", true, false)), Ok(Vec::new()));
    assert_eq!(app.login(session, UserType::USER, PIN), Ok(()));
}

/// INV-10: the request that met a broken connection goes again with the same id.
#[test]
fn a_broken_connection_is_replaced_and_the_same_request_goes_again() {
    let ids = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&ids);
    let fake = Fake::start(move |_, request, _, _| {
        let Some(Op::CreateObject(create)) = &request.op else {
            return None;
        };
        let mut seen = seen.lock().unwrap();
        seen.push(create.unique_id.clone());
        (seen.len() < 3).then_some(Reaction::Close)
    });
    let app = App::new(&fake);
    let session = app.session();
    assert!(app.create(session, &aes_template()).is_ok());
    let ids = ids.lock().unwrap();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0]));
}

/// INV-9: no call outlives its deadline.
#[test]
fn a_silent_daemon_costs_the_deadline_and_the_session_lives_on() {
    let fake = Fake::start(|token, request, _, _| {
        let first = token
            .seen
            .lock()
            .unwrap()
            .iter()
            .filter(|name| **name == "Find")
            .count()
            == 1;
        (first && matches!(request.op, Some(Op::Find(_)))).then_some(Reaction::Silence)
    });
    let app = App::with_deadline(&fake, Duration::from_millis(400));
    let session = app.session();
    let started = Instant::now();
    assert_eq!(app.find(session, &data("x", true, false)), Err(Rv::DEVICE_ERROR));
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(app.find(session, &data("x", true, false)), Ok(Vec::new()));
}

#[test]
fn closing_cancelling_and_finalising_end_a_call_that_waits() {
    type End = fn(&Instance, u64);
    let ends: [(End, Rv); 3] = [
        (
            |instance, session| ops::session::close(instance, session).unwrap(),
            Rv::SESSION_CLOSED,
        ),
        (
            |instance, session| ops::session::cancel(instance, session, cryptoki_sys::CKF_SIGN).unwrap(),
            Rv::FUNCTION_CANCELED,
        ),
        (|instance, _| instance.finalize(), Rv::CRYPTOKI_NOT_INITIALIZED),
    ];
    for (end, code) in ends {
        let (waits, waiting) = std::sync::mpsc::channel();
        let fake = Fake::start(move |_, request, _, _| {
            matches!(request.op, Some(Op::Find(_))).then(|| {
                waits.send(()).unwrap();
                Reaction::Silence
            })
        });
        let app = Arc::new(App::new(&fake));
        let session = app.session();
        let caller = Arc::clone(&app);
        let call = std::thread::spawn(move || caller.find(session, &data("x", true, false)));
        waiting.recv().unwrap();
        end(&app.instance, session);
        assert_eq!(call.join().unwrap(), Err(code));
    }
}

#[test]
fn waiting_for_a_slot_event_ends_with_finalise() {
    let fake = good();
    let app = Arc::new(App::new(&fake));
    let wait = |app: &App, flags| {
        let mut slot = 0;
        // SAFETY: room for one id.
        let place = unsafe { crate::abi::pointers::RawSlot::new(&raw mut slot) };
        ops::general::wait_for_slot_event(&app.instance, flags, &place, false)
    };
    assert_eq!(wait(&app, cryptoki_sys::CKF_DONT_BLOCK), Err(Rv::NO_EVENT));
    let other = Arc::clone(&app);
    let waiter = std::thread::spawn(move || wait(&other, 0));
    app.instance.finalize();
    assert_eq!(waiter.join().unwrap(), Err(Rv::CRYPTOKI_NOT_INITIALIZED));
}
