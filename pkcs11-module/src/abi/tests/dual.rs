//! Two operations at once, and operations that move from one session to another.

use super::fake::{AES_KEY, Fake};
use super::{App, Part, good};
use crate::abi::pointers::{RawInput, RawOut};
use crate::ops;
use crate::state::instance::Instance;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Input, Key, Material};
use hsmd_proto::ck::{MechanismType as M, Rv};
use hsmd_proto::params::{Mechanism, Params};

const IV: [u8; 16] = [3; 16];
const TEXT: &[u8] = b"seventy-three bytes, so that no block ends where the data does: 0123456789";

fn digest(app: &App, session: u64) {
    app.init(
        |instance, session, mechanism, _| ops::digest::init(instance, session, mechanism),
        session,
        (M::SHA256, &[]),
        0,
    )
    .unwrap();
}

fn key() -> Key {
    Key::open(&Material::Secret(Secret::from_slice(&AES_KEY))).unwrap()
}

fn sealed() -> Vec<u8> {
    let mechanism = Mechanism {
        kind: M::AES_CBC_PAD,
        params: Params::Iv(IV.to_vec()),
    };
    let mut out = Vec::new();
    key().encrypt(&mechanism, TEXT, &mut out).unwrap();
    out
}

fn mac() -> Vec<u8> {
    let mut out = Vec::new();
    key()
        .sign(&Mechanism::plain(M::AES_CMAC), Input::Message(TEXT), &mut out)
        .unwrap();
    out
}

fn parts(app: &App, session: u64, update: Part, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in data.chunks(7) {
        // Neither a query nor a buffer that is too small moves one of the two.
        let (queried, length, _) = app.part(update, session, part, None);
        assert_eq!(queried, Ok(()));
        if length > 0 {
            assert_eq!(app.part(update, session, part, Some(1)).0, Err(Rv::BUFFER_TOO_SMALL));
        }
        let ready = app.whole(update, session, part).unwrap();
        assert_eq!(ready.len() as u64, length);
        out.extend(ready);
    }
    out
}

fn last(app: &App, session: u64, last: super::Last) -> Vec<u8> {
    let (result, length, mut out) = app.last(last, session, Some(64));
    assert_eq!(result, Ok(()));
    out.truncate(length as usize);
    out
}

#[test]
fn two_operations_at_once_give_what_each_gives_alone() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    let hash = hsmd_crypto::digest::hash(M::SHA256, TEXT).unwrap();

    digest(&app, session);
    app.init(ops::encrypt::init, session, (M::AES_CBC_PAD, &IV), key)
        .unwrap();
    let mut out = parts(&app, session, ops::dual::digest_encrypt, TEXT);
    out.extend(last(&app, session, ops::encrypt::finish));
    assert_eq!(out, sealed());
    assert_eq!(last(&app, session, ops::digest::finish), hash);

    digest(&app, session);
    app.init(ops::decrypt::init, session, (M::AES_CBC_PAD, &IV), key)
        .unwrap();
    let mut out = parts(&app, session, ops::dual::decrypt_digest, &sealed());
    // What comes out at the end is the application's to digest (PKCS#11 3.2, 5.17.2).
    let end = last(&app, session, ops::decrypt::finish);
    // SAFETY: a valid slice.
    let input = unsafe { RawInput::new(end.as_ptr(), end.len() as u64) };
    ops::digest::update(&app.instance, session, input).unwrap();
    out.extend(end);
    assert_eq!(out, TEXT);
    assert_eq!(last(&app, session, ops::digest::finish), hash);

    app.init(ops::sign::init, session, (M::AES_CMAC, &[]), key).unwrap();
    app.init(ops::encrypt::init, session, (M::AES_CBC_PAD, &IV), key)
        .unwrap();
    let mut out = parts(&app, session, ops::dual::sign_encrypt, TEXT);
    out.extend(last(&app, session, ops::encrypt::finish));
    assert_eq!((out, last(&app, session, ops::sign::finish)), (sealed(), mac()));
}

/// Input and output may be the same memory.
#[test]
fn a_part_may_be_encrypted_in_place() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    digest(&app, session);
    app.init(ops::encrypt::init, session, (M::AES_ECB, &[]), key).unwrap();
    let mut memory = [5_u8; 32];
    let mut length = 32;
    let at = memory.as_mut_ptr();
    // SAFETY: 32 bytes, read and then written by the one call.
    let (input, place) = unsafe { (RawInput::new(at, 32), RawOut::new(at, &raw mut length)) };
    ops::dual::digest_encrypt(&app.instance, session, input, place).unwrap();
    assert_ne!(memory, [5; 32]);
    assert_eq!(
        last(&app, session, ops::digest::finish),
        hsmd_crypto::digest::hash(M::SHA256, &[5; 32]).unwrap()
    );
}

#[test]
fn one_operation_alone_stays_and_an_error_ends_both() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    let both: Part = ops::dual::digest_encrypt;
    let missing = Err(Rv::OPERATION_NOT_INITIALIZED);
    assert_eq!(app.whole(both, session, b"a"), missing);
    digest(&app, session);
    assert_eq!(app.whole(both, session, b"a"), missing);
    app.init(ops::encrypt::init, session, (M::AES_ECB, &[]), key).unwrap();
    assert_eq!(app.whole(both, session, b"a"), Ok(vec![]));
    assert_eq!(
        app.whole(ops::digest::single, session, b"a"),
        Err(Rv::OPERATION_ACTIVE),
        "the digest is in parts"
    );
    assert_eq!(app.whole(both, session, b"a"), missing, "which ended it");
    digest(&app, session);
    // A part for which there is no room for the length ends both.
    // SAFETY: NULL is allowed.
    let (input, nowhere) = unsafe {
        (
            RawInput::new(b"a".as_ptr(), 1),
            RawOut::new(std::ptr::null_mut(), std::ptr::null_mut()),
        )
    };
    assert_eq!(both(&app.instance, session, input, nowhere), Err(Rv::ARGUMENTS_BAD));
    assert_eq!(
        app.last(ops::digest::finish, session, Some(32)).0,
        missing.map(|_: Vec<u8>| ())
    );
    assert_eq!(
        app.last(ops::encrypt::finish, session, Some(32)).0,
        Err(Rv::OPERATION_NOT_INITIALIZED)
    );
}

fn save(app: &App, session: u64) -> Result<Vec<u8>, Rv> {
    let get = |room| app.last(ops::state::save, session, room);
    let (result, length, _) = get(None);
    result?;
    assert_eq!(get(Some(length as usize - 1)).0, Err(Rv::BUFFER_TOO_SMALL));
    let (result, written, mut state) = get(Some(length as usize + 9));
    state.truncate(written as usize);
    result.map(|()| state)
}

fn restore(instance: &Instance, session: u64, state: &[u8], keys: (u64, u64)) -> Result<(), Rv> {
    // SAFETY: a valid slice.
    let state = unsafe { RawInput::new(state.as_ptr(), state.len() as u64) };
    ops::state::restore(instance, session, state, keys)
}

/// From one session to another, of another application: a digest with an encryption, and a MAC.
#[test]
fn saved_operations_go_on_elsewhere() {
    let fake = good();
    let (app, other) = (App::new(&fake), App::new(&fake));
    let session = app.session();
    let key = app.aes(session);
    let there = other.session();
    let same = other.find(there, &super::aes_template()).unwrap()[0];
    let hash = hsmd_crypto::digest::hash(M::SHA256, TEXT).unwrap();
    for at in [0, 1, 20, 64, TEXT.len()] {
        digest(&app, session);
        app.init(ops::encrypt::init, session, (M::AES_CBC_PAD, &IV), key)
            .unwrap();
        let mut out = parts(&app, session, ops::dual::digest_encrypt, &TEXT[..at]);
        let state = save(&app, session).unwrap();
        restore(&other.instance, there, &state, (same, 0)).unwrap();
        out.extend(parts(&other, there, ops::dual::digest_encrypt, &TEXT[at..]));
        out.extend(last(&other, there, ops::encrypt::finish));
        assert_eq!(out, sealed(), "at {at}");
        assert_eq!(last(&other, there, ops::digest::finish), hash, "at {at}");
        // The saved session goes on by itself.
        assert_eq!(app.last(ops::digest::finish, session, Some(32)).0, Ok(()));
        app.last(ops::encrypt::finish, session, Some(64)).0.unwrap();
    }
    app.init(ops::decrypt::init, session, (M::AES_CBC_PAD, &IV), key)
        .unwrap();
    let mut out = parts(&app, session, ops::decrypt::update, &sealed()[..48]);
    restore(&other.instance, there, &save(&app, session).unwrap(), (same, 0)).unwrap();
    out.extend(parts(&other, there, ops::decrypt::update, &sealed()[48..]));
    out.extend(last(&other, there, ops::decrypt::finish));
    assert_eq!(out, TEXT);

    app.init(ops::sign::init, session, (M::AES_CMAC, &[]), key).unwrap();
    // SAFETY: a valid slice.
    let input = |data: &[u8]| unsafe { RawInput::new(data.as_ptr(), data.len() as u64) };
    ops::sign::update(&app.instance, session, input(&TEXT[..30])).unwrap();
    app.init(ops::decrypt::init, session, (M::AES_ECB, &[]), key)
        .expect_err("the decryption is in progress");
    let state = save(&app, session).unwrap();
    assert_eq!(
        restore(&other.instance, there, &state, (same, same)),
        Ok(()),
        "both keys are needed"
    );
    ops::sign::update(&other.instance, there, input(&TEXT[30..])).unwrap();
    assert_eq!(last(&other, there, ops::sign::finish), mac());
}

#[test]
fn a_state_wants_its_own_key_and_no_other_and_is_refused_when_damaged() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let (key, another) = (app.aes(session), app.aes(session));
    assert_eq!(save(&app, session), Err(Rv::OPERATION_NOT_INITIALIZED));
    digest(&app, session);
    let state = save(&app, session).unwrap();
    let try_with = |state: &[u8], keys| restore(&app.instance, session, state, keys);
    assert_eq!(try_with(&state, (key, 0)), Err(Rv::KEY_NOT_NEEDED));
    assert_eq!(try_with(&state, (0, key)), Err(Rv::KEY_NOT_NEEDED));
    assert_eq!(try_with(&state, (0, 0)), Ok(()));
    app.init(ops::encrypt::init, session, (M::AES_CBC, &IV), key).unwrap();
    let state = save(&app, session).unwrap();
    assert_eq!(try_with(&state, (0, 0)), Err(Rv::KEY_NEEDED));
    assert_eq!(try_with(&state, (another, 0)), Err(Rv::KEY_CHANGED));
    assert_eq!(try_with(&state, (1, 0)), Err(Rv::KEY_CHANGED));
    assert_eq!(
        try_with(&state[..state.len() - 1], (key, 0)),
        Err(Rv::SAVED_STATE_INVALID)
    );
    assert_eq!(try_with(b"", (key, 0)), Err(Rv::SAVED_STATE_INVALID));
    assert_eq!(try_with(&state, (key, 0)), Ok(()));
    // A result that waits for room, and a hash whose state the engine keeps to itself.
    let single: Part = ops::encrypt::single;
    assert_eq!(app.part(single, session, &[0; 16], None).0, Ok(()));
    assert_eq!(save(&app, session), Err(Rv::STATE_UNSAVEABLE));
}

/// INV-1: nothing of a key is in a state.
#[test]
fn a_state_holds_no_key() {
    let fake: Fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    app.init(ops::encrypt::init, session, (M::AES_CBC, &IV), key).unwrap();
    app.whole(ops::encrypt::update, session, &[9; 24]).unwrap();
    let state = save(&app, session).unwrap();
    assert!(!state.windows(8).any(|window| window == &AES_KEY[..8]));
}
