//! The message functions of 3.0, detached verification of 3.2, and what else those versions added.

use super::fake::{AES_KEY, Fake};
use super::{App, good};
use crate::abi::mechanism::RawMechanism;
use crate::abi::message::RawMessage;
use crate::abi::pointers::{RawInput, RawOut, RawSlot};
use crate::ops;
use crate::ops::message_crypt::{DECRYPT, ENCRYPT, Side};
use crate::ops::message_sign::{self, SIGN};
use crate::state::instance::Instance;
use cryptoki_sys::*;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Input, Key, Material};
use hsmd_proto::ck::{MechanismType as M, Rv};
use hsmd_proto::params::{GcmParams, Mechanism, Params};
use std::collections::HashSet;

const TEXT: &[u8] = b"a message of 26 characters";
const AAD: &[u8] = b"in clear";

/// One message's parameter with the memory that it points to.
struct Message {
    iv: Vec<u8>,
    tag: [u8; 16],
    fixed_bits: u64,
    generator: CK_GENERATOR_FUNCTION,
}

impl Message {
    fn new(generator: CK_GENERATOR_FUNCTION, fixed_bits: u64) -> Self {
        Self {
            iv: vec![0xaa; 12],
            tag: [0; 16],
            fixed_bits,
            generator,
        }
    }

    fn raw(&mut self) -> CK_GCM_MESSAGE_PARAMS {
        CK_GCM_MESSAGE_PARAMS {
            pIv: self.iv.as_mut_ptr(),
            ulIvLen: self.iv.len() as u64,
            ulIvFixedBits: self.fixed_bits,
            ivGenerator: self.generator,
            pTag: self.tag.as_mut_ptr(),
            ulTagBits: 128,
        }
    }
}

fn input(data: &[u8]) -> RawInput<'_> {
    // SAFETY: a valid slice.
    unsafe { RawInput::new(data.as_ptr(), data.len() as u64) }
}

fn parameter(raw: &CK_GCM_MESSAGE_PARAMS) -> RawMessage<'_> {
    // SAFETY: the structure points into a `Message` that outlives the call.
    unsafe { RawMessage::new(std::ptr::from_ref(raw).cast(), size_of_val(raw) as u64) }
}

/// Calls with room for so many bytes.
fn with_room<T>(room: usize, call: impl FnOnce(RawOut<'_>) -> Result<T, Rv>) -> Result<Vec<u8>, Rv> {
    let mut out = vec![0; room];
    let mut length = room as u64;
    // SAFETY: room as the length says.
    call(unsafe { RawOut::new(out.as_mut_ptr(), &raw mut length) })?;
    out.truncate(length as usize);
    Ok(out)
}

impl App {
    fn encrypts(&self, session: u64, key: u64) -> Result<(), Rv> {
        let init = |instance: &Instance, session, mechanism: &RawMechanism<'_>, key| {
            ops::message_crypt::init(ENCRYPT, instance, session, mechanism, key)
        };
        self.init(init, session, (M::AES_GCM, &[]), key)
    }

    fn decrypts(&self, session: u64, key: u64) -> Result<(), Rv> {
        let init = |instance: &Instance, session, mechanism: &RawMechanism<'_>, key| {
            ops::message_crypt::init(DECRYPT, instance, session, mechanism, key)
        };
        self.init(init, session, (M::AES_GCM, &[]), key)
    }

    fn message(&self, side: Side, session: u64, message: &mut Message, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let raw = message.raw();
        with_room(data.len(), |out| {
            let parameter = (&parameter(&raw), input(AAD));
            ops::message_crypt::whole(side, &self.instance, session, parameter, input(data), out)
        })
    }
}

fn key() -> Key {
    Key::open(&Material::Secret(Secret::from_slice(&AES_KEY))).unwrap()
}

fn opened(message: &Message, sealed: &[u8]) -> Vec<u8> {
    let mechanism = Mechanism {
        kind: M::AES_GCM,
        params: Params::Gcm(GcmParams {
            iv: message.iv.clone(),
            aad: AAD.to_vec(),
            tag_bits: 128,
        }),
    };
    let mut out = Vec::new();
    let whole = [sealed, &message.tag].concat();
    key().decrypt(&mechanism, &whole, &mut out).unwrap();
    out
}

#[test]
fn each_message_has_an_iv_of_its_own_and_opens_again() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    for (generator, fixed) in [
        (CKG_GENERATE, 0),
        (CKG_GENERATE_RANDOM, 32),
        (CKG_GENERATE_COUNTER, 64),
        (CKG_GENERATE_COUNTER_XOR, 32),
    ] {
        app.encrypts(session, key).unwrap();
        app.decrypts(session, key).unwrap();
        let mut ivs = HashSet::new();
        for _ in 0..20 {
            let mut message = Message::new(generator, fixed);
            let sealed = app.message(ENCRYPT, session, &mut message, TEXT).unwrap();
            assert_eq!(opened(&message, &sealed), TEXT);
            assert_eq!(message.iv[..fixed as usize / 8], [0xaa; 12][..fixed as usize / 8]);
            assert!(ivs.insert(message.iv.clone()), "{generator} gave one IV twice");
            assert_eq!(app.message(DECRYPT, session, &mut message, &sealed).unwrap(), TEXT);
        }
        for side in [ENCRYPT, DECRYPT] {
            ops::message_crypt::finish(side, &app.instance, session).unwrap();
            let over = ops::message_crypt::finish(side, &app.instance, session);
            assert_eq!(over, Err(Rv::OPERATION_NOT_INITIALIZED));
        }
    }
}

/// TLS 1.3 (RFC 8446, 5.3): the first record's IV is the caller's own, the second differs in the last bit.
#[test]
fn a_counter_that_is_xored_begins_with_the_callers_iv() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    app.encrypts(session, key).unwrap();
    for last in [0xaa, 0xab, 0xa8] {
        let mut message = Message::new(CKG_GENERATE_COUNTER_XOR, 0);
        app.message(ENCRYPT, session, &mut message, TEXT).unwrap();
        assert_eq!((message.iv[..11].to_vec(), message.iv[11]), (vec![0xaa; 11], last));
    }
    // A counter of two bits makes four IVs.
    app.decrypts(session, key).unwrap();
    ops::message_crypt::finish(ENCRYPT, &app.instance, session).unwrap();
    app.encrypts(session, key).unwrap();
    let codes: Vec<_> = (0..5)
        .map(|_| {
            app.message(ENCRYPT, session, &mut Message::new(CKG_GENERATE_COUNTER, 94), TEXT)
                .map(|_| ())
        })
        .collect();
    assert_eq!(codes, [Ok(()), Ok(()), Ok(()), Ok(()), Err(Rv::DATA_LEN_RANGE)]);
}

#[test]
fn a_message_that_does_not_open_ends_neither_the_operation_nor_the_buffer_rules() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    app.encrypts(session, key).unwrap();
    app.decrypts(session, key).unwrap();
    let mut message = Message::new(CKG_GENERATE, 0);
    let sealed = app.message(ENCRYPT, session, &mut message, TEXT).unwrap();
    message.tag[3] ^= 1;
    let refused = app.message(DECRYPT, session, &mut message, &sealed);
    assert_eq!(refused, Err(Rv::AEAD_DECRYPT_FAILED));
    message.tag[3] ^= 1;
    let raw = message.raw();
    let small = with_room(5, |out| {
        ops::message_crypt::whole(
            DECRYPT,
            &app.instance,
            session,
            (&parameter(&raw), input(AAD)),
            input(&sealed),
            out,
        )
    });
    assert_eq!(small, Err(Rv::BUFFER_TOO_SMALL));
    assert_eq!(app.message(DECRYPT, session, &mut message, &sealed).unwrap(), TEXT);
    for bad in [5, CKG_NO_GENERATE.wrapping_sub(1)] {
        let refused = app.message(ENCRYPT, session, &mut Message::new(bad, 0), TEXT);
        assert_eq!(refused, Err(Rv::ARGUMENTS_BAD), "generator {bad}");
    }
    let refused = app.message(ENCRYPT, session, &mut Message::new(CKG_GENERATE, 97), TEXT);
    assert_eq!(refused, Err(Rv::ARGUMENTS_BAD), "more fixed bits than there are");
    let refused = app.message(ENCRYPT, session, &mut Message::new(CKG_GENERATE, 40), TEXT);
    assert_eq!(refused, Err(Rv::ARGUMENTS_BAD), "too few random bits");
    assert_eq!(app.encrypts(session, key), Err(Rv::OPERATION_ACTIVE));
}

#[test]
fn a_message_in_parts_comes_out_at_its_end() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    app.encrypts(session, key).unwrap();
    app.decrypts(session, key).unwrap();
    let mut message = Message::new(CKG_GENERATE, 0);
    let mut data = TEXT.to_vec();
    for side in [ENCRYPT, DECRYPT] {
        let raw = message.raw();
        let next = |part: &[u8], flags, room| {
            with_room(room, |out| {
                ops::message_crypt::next(
                    side,
                    &app.instance,
                    session,
                    (&parameter(&raw), flags),
                    input(part),
                    out,
                )
            })
        };
        assert_eq!(next(b"x", 0, 0), Err(Rv::OPERATION_NOT_INITIALIZED));
        let begin = || ops::message_crypt::begin(side, &app.instance, session, &parameter(&raw), input(AAD));
        begin().unwrap();
        assert_eq!(begin(), Err(Rv::OPERATION_ACTIVE));
        let finish = ops::message_crypt::finish(side, &app.instance, session);
        assert_eq!(finish, Err(Rv::OPERATION_ACTIVE));
        assert_eq!(next(&data[..9], 0, 9), Ok(vec![]));
        assert_eq!(
            next(&data[9..], CKF_END_OF_MESSAGE, data.len() - 1),
            Err(Rv::BUFFER_TOO_SMALL)
        );
        let out = next(&data[9..], CKF_END_OF_MESSAGE, data.len()).unwrap();
        data = out;
    }
    assert_eq!(data, TEXT);
}

fn signed(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    key()
        .sign(&Mechanism::plain(M::AES_CMAC), Input::Message(data), &mut out)
        .unwrap();
    out
}

#[test]
fn any_number_of_messages_is_signed_with_one_init() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    let init = |instance: &Instance, session, mechanism: &RawMechanism<'_>, key| {
        message_sign::init(SIGN, instance, session, mechanism, key)
    };
    app.init(init, session, (M::AES_CMAC, &[]), key).unwrap();
    let whole = |data: &[u8]| {
        with_room(16, |out| {
            message_sign::sign_whole(&app.instance, session, input(data), out)
        })
    };
    let next = |data: &[u8], room| {
        with_room(room, |out| {
            message_sign::sign_next(&app.instance, session, input(data), out)
        })
    };
    // SAFETY: no buffer and no place for a length.
    let nowhere = || unsafe { RawOut::new(std::ptr::null_mut(), std::ptr::null_mut()) };
    for _ in 0..2 {
        assert_eq!(whole(TEXT), Ok(signed(TEXT)));
        assert_eq!(next(TEXT, 16), Err(Rv::OPERATION_NOT_INITIALIZED));
        message_sign::begin(SIGN, &app.instance, session).unwrap();
        assert_eq!(whole(TEXT), Err(Rv::OPERATION_ACTIVE));
        message_sign::sign_next(&app.instance, session, input(&TEXT[..5]), nowhere()).unwrap();
        assert_eq!(next(&TEXT[5..], 15), Err(Rv::BUFFER_TOO_SMALL));
        assert_eq!(next(&TEXT[5..], 16), Ok(signed(TEXT)));
    }
    message_sign::finish(SIGN, &app.instance, session).unwrap();
    assert_eq!(whole(TEXT), Err(Rv::OPERATION_NOT_INITIALIZED));
}

#[test]
fn sessions_say_what_they_are_not() {
    let fake: Fake = good();
    let app = App::new(&fake);
    assert_eq!(app.open(CKF_ASYNC_SESSION), Err(Rv::SESSION_ASYNC_NOT_SUPPORTED));
    let session = app.session();
    let mut flags = 7;
    // SAFETY: room for one number.
    let place = unsafe { RawSlot::new(&raw mut flags) };
    ops::session::validation_flags(&app.instance, session, CKS_LAST_VALIDATION_OK, &place).unwrap();
    let other = ops::session::validation_flags(&app.instance, session, 99, &place);
    assert_eq!((flags, other), (0, Err(Rv::ARGUMENTS_BAD)));
    let gone = ops::absent::asynchronous(&app.instance, 1);
    assert_eq!(gone, Err(Rv::SESSION_HANDLE_INVALID));
    // A cancelled operation of each kind is gone.
    let key = app.aes(session);
    app.encrypts(session, key).unwrap();
    ops::session::cancel(&app.instance, session, CKF_MESSAGE_ENCRYPT).unwrap();
    app.encrypts(session, key).unwrap();
}
