//! Operations: phases, lengths, chains, digests.

use super::fake::{AES_KEY, Fake, Reaction};
use super::{App, Last, Part, good};
use crate::ops;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Key, Material};
use hsmd_proto::ck::{MechanismType as M, Rv};
use hsmd_proto::params::{CtrParams, Mechanism, Params};
use hsmd_proto::wire::request::Op;

const IV: [u8; 16] = [3; 16];

/// What the engine makes of the data at once.
fn expected(mechanism: &Mechanism, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let key = Key::open(&Material::Secret(Secret::from_slice(&AES_KEY))).unwrap();
    key.encrypt(mechanism, data, &mut out).unwrap();
    out
}

/// Runs data through Update in parts of these lengths, and Final.
fn in_parts(app: &App, session: u64, (update, last): (Part, Last), data: &[u8], lengths: &[usize]) -> Vec<u8> {
    let (mut rest, mut out) = (data, Vec::new());
    for length in lengths.iter().cycle() {
        let (part, after) = rest.split_at((*length).min(rest.len()));
        out.extend(app.whole(update, session, part).unwrap());
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let (result, length, written) = app.last(last, session, Some(64));
    result.unwrap();
    out.extend(&written[..length as usize]);
    out
}

const ENCRYPT: (Part, Last) = (ops::encrypt::update, ops::encrypt::finish);
const DECRYPT: (Part, Last) = (ops::decrypt::update, ops::decrypt::finish);

#[test]
fn parts_give_what_the_whole_gives() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    let block = *b"\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    let mut ctr = 128_u64.to_ne_bytes().to_vec();
    ctr.extend(block);
    let counter = Params::Ctr(CtrParams {
        counter_bits: 128,
        block,
    });
    let rows: [(M, &[u8], Params, &[usize]); 3] = [
        (M::AES_CBC, &IV, Params::Iv(IV.to_vec()), &[0, 16, 160]),
        (M::AES_CBC_PAD, &IV, Params::Iv(IV.to_vec()), &[0, 1, 15, 16, 17, 100]),
        (M::AES_CTR, &ctr, counter, &[0, 1, 15, 16, 17, 100]),
    ];
    for (kind, parameter, params, lengths) in rows {
        for length in lengths {
            let data: Vec<u8> = (0..*length).map(|byte| byte as u8).collect();
            let whole = expected(
                &Mechanism {
                    kind,
                    params: params.clone(),
                },
                &data,
            );
            for parts in [&[1, 2][..], &[16], &[17, 5], &[200]] {
                app.init(ops::encrypt::init, session, (kind, parameter), key).unwrap();
                assert_eq!(
                    in_parts(&app, session, ENCRYPT, &data, parts),
                    whole,
                    "{kind} {length} {parts:?}"
                );
                app.init(ops::decrypt::init, session, (kind, parameter), key).unwrap();
                assert_eq!(
                    in_parts(&app, session, DECRYPT, &whole, parts),
                    data,
                    "{kind} {length} {parts:?}"
                );
            }
        }
    }
}

#[test]
fn a_counter_that_would_repeat_is_refused() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    let mut ctr = 2_u64.to_ne_bytes().to_vec();
    ctr.extend([1; 16]);
    app.init(ops::encrypt::init, session, (M::AES_CTR, &ctr), key).unwrap();
    assert_eq!(
        app.whole(ops::encrypt::update, session, &[0; 40]).map(|out| out.len()),
        Ok(40)
    );
    assert_eq!(
        app.whole(ops::encrypt::update, session, &[0; 8]).map(|out| out.len()),
        Ok(8)
    );
    assert_eq!(
        app.whole(ops::encrypt::update, session, &[0; 1]),
        Err(Rv::DATA_LEN_RANGE)
    );
}

#[test]
fn a_query_and_too_small_a_buffer_keep_the_operation_and_reach_no_daemon() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    app.init(ops::encrypt::init, session, (M::AES_CBC_PAD, &IV), key)
        .unwrap();
    let single: Part = ops::encrypt::single;
    assert_eq!(app.part(single, session, b"abc", None).0, Ok(()));
    let (result, length, _) = app.part(single, session, b"abc", Some(15));
    assert_eq!((result, length), (Err(Rv::BUFFER_TOO_SMALL), 16));
    assert_eq!(fake.requests("Encrypt"), 0);
    assert_eq!(app.part(single, session, b"abc", Some(16)).0, Ok(()));
    assert_eq!(
        app.part(single, session, b"abc", Some(16)).0,
        Err(Rv::OPERATION_NOT_INITIALIZED)
    );
}

#[test]
fn a_result_that_does_not_fit_is_kept_and_the_daemon_is_asked_once() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    let params = Params::Iv(IV.to_vec());
    let sealed = expected(
        &Mechanism {
            kind: M::AES_CBC_PAD,
            params,
        },
        b"abcde",
    );
    app.init(ops::decrypt::init, session, (M::AES_CBC_PAD, &IV), key)
        .unwrap();
    let single: Part = ops::decrypt::single;
    for room in [0, 4] {
        let (result, length, _) = app.part(single, session, &sealed, Some(room));
        assert_eq!((result, length), (Err(Rv::BUFFER_TOO_SMALL), 5));
    }
    let (result, length, out) = app.part(single, session, &sealed, Some(5));
    assert_eq!((result, length, out.as_slice()), (Ok(()), 5, &b"abcde"[..]));
    assert_eq!(fake.requests("Decrypt"), 1);
}

#[test]
fn modes_are_policed() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    let start = || app.init(ops::encrypt::init, session, (M::AES_CBC, &IV), key);
    let (single, update): (Part, Part) = (ops::encrypt::single, ops::encrypt::update);
    start().unwrap();
    assert_eq!(start(), Err(Rv::OPERATION_ACTIVE));
    app.whole(update, session, &[0; 16]).unwrap();
    assert_eq!(app.whole(single, session, &[0; 16]), Err(Rv::OPERATION_ACTIVE));
    assert_eq!(app.whole(update, session, &[0; 16]), Err(Rv::OPERATION_NOT_INITIALIZED));
    start().unwrap();
    assert_eq!(app.part(single, session, &[0; 16], None).0, Ok(()));
    assert_eq!(app.whole(update, session, &[0; 16]), Err(Rv::OPERATION_ACTIVE));
    start().unwrap();
    assert_eq!(app.whole(single, session, &[0; 15]), Err(Rv::DATA_LEN_RANGE));
    assert_eq!(
        app.last(ops::encrypt::finish, session, Some(0)).0,
        Err(Rv::OPERATION_NOT_INITIALIZED)
    );
    // No mechanism cancels (PKCS#11 3.0); with nothing to cancel it is a bad argument.
    start().unwrap();
    // SAFETY: NULL is allowed.
    let none = unsafe { crate::abi::mechanism::RawMechanism::new(std::ptr::null()) };
    assert_eq!(ops::encrypt::init(&app.instance, session, &none, key), Ok(()));
    assert_eq!(
        ops::encrypt::init(&app.instance, session, &none, key),
        Err(Rv::ARGUMENTS_BAD)
    );
}

#[test]
fn a_bad_argument_ends_the_operation() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    app.init(
        |instance, session, mechanism, _| ops::digest::init(instance, session, mechanism),
        session,
        (M::SHA256, &[]),
        0,
    )
    .unwrap();
    // SAFETY: the NULL length is refused.
    let (input, out) = unsafe {
        (
            crate::abi::pointers::RawInput::new(b"x".as_ptr(), 1),
            crate::abi::pointers::RawOut::new(std::ptr::null_mut(), std::ptr::null_mut()),
        )
    };
    assert_eq!(
        ops::digest::single(&app.instance, session, input, out),
        Err(Rv::ARGUMENTS_BAD)
    );
    assert_eq!(
        app.whole(ops::digest::single, session, b"x"),
        Err(Rv::OPERATION_NOT_INITIALIZED)
    );
}

#[test]
fn init_answers_without_a_request_in_the_order_of_the_design() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    let init = |mechanism: (M, &[u8]), key| app.init(ops::encrypt::init, session, mechanism, key);
    let before = fake.token.seen.lock().unwrap().len() + 1;
    assert_eq!(init((M(0x8000_0000), &[]), 0), Err(Rv::MECHANISM_INVALID));
    assert_eq!(init((M::SHA256, &[]), 0), Err(Rv::MECHANISM_INVALID));
    assert_eq!(init((M::AES_CBC, &IV[..15]), 0), Err(Rv::MECHANISM_PARAM_INVALID));
    assert_eq!(init((M::AES_CBC, &IV), 0), Err(Rv::KEY_HANDLE_INVALID));
    assert_eq!(
        app.init(ops::sign::init, session, (M::SHA256_HMAC, &[]), key),
        Err(Rv::KEY_TYPE_INCONSISTENT)
    );
    // One request: the list of mechanisms.
    assert_eq!(fake.token.seen.lock().unwrap().len(), before);
}

#[test]
fn logging_out_and_destroying_end_operations_with_the_key() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    app.init(ops::encrypt::init, session, (M::AES_CBC, &IV), key).unwrap();
    ops::object::destroy(&app.instance, session, key).unwrap();
    assert_eq!(
        app.whole(ops::encrypt::single, session, &[0; 16]),
        Err(Rv::OPERATION_NOT_INITIALIZED)
    );
}

#[test]
fn what_the_daemon_finds_late_is_a_code_that_the_function_may_return() {
    let fake = Fake::start(|_, request, _, _| {
        matches!(request.op, Some(Op::Encrypt(_))).then(|| super::fake::refuse(Rv::KEY_HANDLE_INVALID))
    });
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    app.init(ops::encrypt::init, session, (M::AES_CBC, &IV), key).unwrap();
    assert_eq!(
        app.whole(ops::encrypt::single, session, &[0; 16]),
        Err(Rv::FUNCTION_FAILED)
    );
}

#[test]
fn a_result_of_the_wrong_length_is_not_believed() {
    let fake = Fake::start(|_, request, _, _| {
        matches!(request.op, Some(Op::Encrypt(_))).then(|| {
            let range = hsmd_proto::wire::Section { offset: 0, length: 17 };
            let result = Some(hsmd_proto::wire::reply::Result::Output(range));
            Reaction::Reply(
                hsmd_proto::wire::Reply {
                    result,
                    ..hsmd_proto::wire::Reply::default()
                },
                vec![1; 17],
            )
        })
    });
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    app.init(ops::encrypt::init, session, (M::AES_CBC, &IV), key).unwrap();
    let (result, _, out) = app.part(ops::encrypt::single, session, &[0; 16], Some(16));
    assert_eq!((result, out.as_slice()), (Err(Rv::DEVICE_ERROR), &[0; 16][..]));
}

#[test]
fn digests_are_made_here() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let start = || {
        app.init(
            |instance, session, mechanism, _| ops::digest::init(instance, session, mechanism),
            session,
            (M::SHA256, &[]),
            0,
        )
    };
    let wanted = hsmd_crypto::digest::hash(M::SHA256, b"abc").unwrap();
    start().unwrap();
    let requests = fake.token.seen.lock().unwrap().len();
    assert_eq!(app.part(ops::digest::single, session, b"abc", None).1, 32);
    assert_eq!(app.whole(ops::digest::single, session, b"abc").unwrap(), wanted);
    start().unwrap();
    for part in [&b"a"[..], b"", b"bc"] {
        // SAFETY: a valid slice.
        let input = unsafe { crate::abi::pointers::RawInput::new(part.as_ptr(), part.len() as u64) };
        ops::digest::update(&app.instance, session, input).unwrap();
    }
    let (result, length, _) = app.last(ops::digest::finish, session, Some(31));
    assert_eq!((result, length), (Err(Rv::BUFFER_TOO_SMALL), 32));
    assert_eq!(app.last(ops::digest::finish, session, Some(32)).2, wanted);
    assert_eq!(fake.token.seen.lock().unwrap().len(), requests);
}
