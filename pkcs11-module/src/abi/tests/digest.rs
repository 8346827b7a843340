//! Digests that go on at the daemon (C_DigestKey), with one that answers what it likes: nothing that is no digest gets out, and
//! each answer is a code that the function may return.

use super::fake::{Fake, ok, output, refuse};
use super::*;
use hsmd_proto::wire::{self, reply, request::Op};
use std::sync::{Arc, Mutex};

/// What the daemon answers to a step: a state or a digest.
type Answers = Arc<Mutex<(Result<Vec<u8>, Rv>, Result<Vec<u8>, Rv>)>>;

fn daemon() -> (Fake, Answers) {
    let answers: Answers = Arc::new(Mutex::new((Ok(b"sealed".to_vec()), Ok(vec![9; 32]))));
    let given = Arc::clone(&answers);
    let fake = Fake::start(move |_, request, _, _| match &request.op {
        Some(Op::GetAttributes(get)) => {
            let sensitive = wire::AttributeValue {
                rv: Rv::ATTRIBUTE_SENSITIVE.0,
                attribute: None,
            };
            let values = get.types.iter().map(|_| sensitive.clone()).collect();
            Some(ok(reply::Result::Attributes(wire::AttributeValues { values })))
        }
        Some(Op::Digest(step)) => {
            let given = given.lock().unwrap();
            let answer = if step.last { &given.1 } else { &given.0 };
            Some(answer.as_ref().map_or_else(|rv| refuse(*rv), |bytes| output(bytes)))
        }
        _ => None,
    });
    (fake, answers)
}

impl App {
    fn begin_digest(&self, session: u64) {
        let begun = self.init(
            |instance, session, mechanism, _| ops::digest::init(instance, session, mechanism),
            session,
            (MechanismType::SHA256, &[]),
            0,
        );
        assert_eq!(begun, Ok(()));
    }
}

#[test]
fn a_digest_is_believed_if_it_has_the_length_of_one() {
    let (fake, answers) = daemon();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    for (length, expected) in [
        (32, Ok(())),
        (0, Err(Rv::DEVICE_ERROR)),
        (31, Err(Rv::DEVICE_ERROR)),
        (33, Err(Rv::DEVICE_ERROR)),
    ] {
        answers.lock().unwrap().1 = Ok(vec![9; length]);
        app.begin_digest(session);
        assert_eq!(ops::digest::key(&app.instance, session, key), Ok(()));
        let before = fake.requests("other");
        // SAFETY: a valid slice.
        let data = unsafe { RawInput::new([7; 100].as_ptr(), 100) };
        assert_eq!(ops::digest::update(&app.instance, session, data), Ok(()));
        assert_eq!(fake.requests("other"), before, "a little data waits for more");
        assert_eq!(app.last(ops::digest::finish, session, None).1, 32);
        assert_eq!(
            app.last(ops::digest::finish, session, Some(31)).0,
            Err(Rv::BUFFER_TOO_SMALL)
        );
        assert_eq!(fake.requests("other"), before, "nor do questions for the length go out");
        let (result, _, out) = app.last(ops::digest::finish, session, Some(32));
        assert_eq!(result, expected);
        assert_eq!(out == [9; 32], expected.is_ok());
    }
}

#[test]
fn refusals_become_codes_that_the_function_has() {
    let (fake, answers) = daemon();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    for (refused, expected) in [
        (Rv::KEY_INDIGESTIBLE, Rv::KEY_INDIGESTIBLE),
        (Rv::KEY_SIZE_RANGE, Rv::KEY_SIZE_RANGE),
        (Rv::USER_NOT_LOGGED_IN, Rv::KEY_HANDLE_INVALID),
        (Rv::OBJECT_HANDLE_INVALID, Rv::KEY_HANDLE_INVALID),
        (Rv::MECHANISM_INVALID, Rv::FUNCTION_FAILED),
        (Rv::DEVICE_MEMORY, Rv::DEVICE_MEMORY),
    ] {
        answers.lock().unwrap().0 = Err(refused);
        app.begin_digest(session);
        assert_eq!(ops::digest::key(&app.instance, session, key), Err(expected));
    }
    // A state without end is none.
    answers.lock().unwrap().0 = Ok(vec![0; 5000]);
    app.begin_digest(session);
    assert_eq!(ops::digest::key(&app.instance, session, key), Err(Rv::DEVICE_ERROR));
    *answers.lock().unwrap() = (Ok(vec![1; 300]), Err(Rv::SAVED_STATE_INVALID));
    app.begin_digest(session);
    assert_eq!(ops::digest::key(&app.instance, session, key), Ok(()));
    let ended = app.last(ops::digest::finish, session, Some(32)).0;
    assert_eq!(ended, Err(Rv::FUNCTION_FAILED));
    let over = app.last(ops::digest::finish, session, Some(32)).0;
    assert_eq!(over, Err(Rv::OPERATION_NOT_INITIALIZED));
}
