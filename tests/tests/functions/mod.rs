//! Functions that few clients use, through C and with a real daemon: signatures with recovery, dual functions, operation
//! state, digests of keys, roles, keys that want the PIN for each use. What clients use every day is tested with them, each in its own folder.

use std::mem::offset_of;

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN};
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{self, Attribute, Mechanism, bytes, flag, number};

const TEXT: &[u8] = b"text that is longer than a block of any hash, so that a state has a chaining value: \
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A function that only newer lists have.
macro_rules! newer {
    ($application:expr, $name:ident, $words:expr) => {{
        let library = &$application.module.library;
        let list = library.interface([3, 2], size_of::<CK_FUNCTION_LIST_3_2>());
        let index = offset_of!(CK_FUNCTION_LIST_3_2, $name) / size_of::<usize>() - 1;
        let pointer = list.expect("C_GetInterface")[index];
        Rv::check(library.call_pointer(stringify!($name), pointer, $words))
    }};
}

mod digest_key;
mod each_use;
mod roles;
mod wrap_authenticated;

/// An application with a login.
struct Application {
    module: Module,
    session: Session,
}

impl Application {
    fn new(daemon: &Daemon) -> Self {
        let module = daemon.module();
        module.initialize().expect("C_Initialize");
        let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
        module.login(session, CKU_USER, PIN).expect("C_Login");
        Self { module, session }
    }

    fn aes(&self, template: &[Attribute]) -> Object {
        let template: Vec<Attribute> = [number(CKA_VALUE_LEN, 32)].iter().chain(template).cloned().collect();
        self.module
            .generate_key(self.session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)
            .expect("C_GenerateKey")
    }

    fn begin(&self, function: &str, mechanism: &Mechanism, key: Object) {
        self.module
            .start(function, self.session, mechanism, key)
            .unwrap_or_else(|rv| panic!("{function}: {rv}"));
    }

    /// A call with one input and one output.
    fn part(&self, function: &str, input: &[u8]) -> Result<Vec<u8>, Rv> {
        let mut out = vec![0_u8; input.len() + 1024];
        let mut length = out.len() as CK_ULONG;
        let words = [
            self.session as usize,
            input.as_ptr() as usize,
            input.len(),
            out.as_mut_ptr() as usize,
            &raw mut length as usize,
        ];
        Rv::check(self.module.library.call(function, &words))?;
        out.truncate(length as usize);
        Ok(out)
    }

    /// A call with one output.
    fn last(&self, function: &str) -> Result<Vec<u8>, Rv> {
        let mut out = vec![0_u8; 4096];
        let mut length = out.len() as CK_ULONG;
        let words = [
            self.session as usize,
            out.as_mut_ptr() as usize,
            &raw mut length as usize,
        ];
        Rv::check(self.module.library.call(function, &words))?;
        out.truncate(length as usize);
        Ok(out)
    }

    /// A call with one input.
    fn give(&self, function: &str, input: &[u8]) -> Result<(), Rv> {
        let words = [self.session as usize, input.as_ptr() as usize, input.len()];
        Rv::check(self.module.library.call(function, &words))
    }

    fn restore(&self, state: &[u8], encryption: Object, authentication: Object) -> Result<(), Rv> {
        let words = [
            self.session as usize,
            state.as_ptr() as usize,
            state.len(),
            encryption as usize,
            authentication as usize,
        ];
        Rv::check(self.module.library.call("C_SetOperationState", &words))
    }

    fn digest(&self) {
        self.begin("C_DigestInit", &Mechanism::Plain(CKM_SHA256), 0);
    }

    fn named(&self, label: &str) -> Object {
        let found = self.module.find(self.session, &[bytes(CKA_LABEL, label)]);
        found.expect("C_FindObjects").remove(0)
    }
}

fn cbc() -> Mechanism {
    Mechanism::Bytes(CKM_AES_CBC_PAD, vec![7; 16])
}

#[test]
fn a_signature_with_recovery_gives_its_data_back() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let (module, session) = (&application.module, application.session);
    let pair = |recover| {
        module
            .generate_key_pair(
                session,
                &Mechanism::Plain(CKM_RSA_PKCS_KEY_PAIR_GEN),
                &[number(CKA_MODULUS_BITS, 2048), flag(CKA_VERIFY_RECOVER, recover)],
                &[flag(CKA_SIGN_RECOVER, recover)],
            )
            .expect("C_GenerateKeyPair")
    };
    let (public, private) = pair(true);
    let padded = Mechanism::Plain(CKM_RSA_PKCS);
    let raw = Mechanism::Plain(CKM_RSA_X_509);
    for (mechanism, data, expected) in [
        (&padded, &b"data"[..], b"data".to_vec()),
        (&padded, &[1; 245], vec![1; 245]),
        (&padded, b"", Vec::new()),
        (&raw, b"data", [&[0; 252][..], b"data"].concat()),
    ] {
        application.begin("C_SignRecoverInit", mechanism, private);
        let signature = module.finish("C_SignRecover", session, data).expect("C_SignRecover");
        let plain = module.sign(session, mechanism, private, data).expect("C_Sign");
        assert_eq!(signature, plain, "the same signature, which gives its data back");
        application.begin("C_VerifyRecoverInit", mechanism, public);
        let found = module.finish("C_VerifyRecover", session, &signature);
        assert_eq!(found, Ok(expected));
        let mut wrong = signature;
        wrong[9] ^= 1;
        application.begin("C_VerifyRecoverInit", mechanism, public);
        let found = application.part("C_VerifyRecover", &wrong);
        if matches!(mechanism, Mechanism::Plain(CKM_RSA_PKCS)) {
            assert_eq!(found, Err(Rv(CKR_SIGNATURE_INVALID)));
        } else {
            assert_ne!(found, Ok(data.to_vec()), "raw RSA has nothing to check");
        }
    }
    application.begin("C_VerifyRecoverInit", &padded, public);
    let short = application.part("C_VerifyRecover", &[1; 255]);
    assert_eq!(short, Err(Rv(CKR_SIGNATURE_LEN_RANGE)));
    application.begin("C_SignRecoverInit", &padded, private);
    let long = application.part("C_SignRecover", &[1; 246]);
    assert_eq!(long, Err(Rv(CKR_DATA_LEN_RANGE)));
    let over = application.part("C_SignRecover", b"data");
    assert_eq!(over, Err(Rv(CKR_OPERATION_NOT_INITIALIZED)));
    let hashing = Mechanism::Plain(CKM_SHA256_RSA_PKCS);
    let refused = module.start("C_SignRecoverInit", session, &hashing, private);
    assert_eq!(refused, Err(Rv(CKR_MECHANISM_INVALID)));

    // The usage flags are flags of their own, and FALSE unless named.
    let (public, private) = pair(false);
    for (function, key) in [("C_SignRecoverInit", private), ("C_VerifyRecoverInit", public)] {
        let refused = module.start(function, session, &padded, key);
        assert_eq!(refused, Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)), "{function}");
    }
}

/// DESIGN 8: what a key has wrapped, no other operation with it opens.
#[test]
fn a_key_that_has_wrapped_signs_with_recovery_no_more() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let (module, session) = (&application.module, application.session);
    let (public, private) = module
        .generate_key_pair(
            session,
            &Mechanism::Plain(CKM_RSA_PKCS_KEY_PAIR_GEN),
            &[number(CKA_MODULUS_BITS, 2048), flag(CKA_WRAP, true)],
            &[flag(CKA_SIGN_RECOVER, true)],
        )
        .expect("C_GenerateKeyPair");
    let prize = application.aes(&[flag(CKA_EXTRACTABLE, true)]);
    let oaep = Mechanism::Oaep {
        hash: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
    };
    let blob = module.wrap(session, &oaep, public, prize).expect("C_WrapKey");
    assert_eq!(blob.len(), 256);
    for mechanism in [CKM_RSA_X_509, CKM_RSA_PKCS] {
        let refused = module.start("C_SignRecoverInit", session, &Mechanism::Plain(mechanism), private);
        assert_eq!(refused, Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)));
    }
}

#[test]
fn dual_functions_do_two_things_at_once() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let (module, session) = (&application.module, application.session);
    let key = application.aes(&[]);
    let mac = Mechanism::Plain(CKM_AES_CMAC);
    let sealed = module.encrypt(session, &cbc(), key, TEXT).expect("C_Encrypt");
    let signature = module.sign(session, &mac, key, TEXT).expect("C_Sign");
    application.digest();
    let hash = application.part("C_Digest", TEXT).expect("C_Digest");
    let halves = TEXT.split_at(33);

    application.digest();
    application.begin("C_EncryptInit", &cbc(), key);
    let mut out = application.part("C_DigestEncryptUpdate", halves.0).expect("first half");
    out.extend(
        application
            .part("C_DigestEncryptUpdate", halves.1)
            .expect("second half"),
    );
    out.extend(application.last("C_EncryptFinal").expect("C_EncryptFinal"));
    assert_eq!((&out, application.last("C_DigestFinal")), (&sealed, Ok(hash.clone())));

    application.begin("C_SignInit", &mac, key);
    application.begin("C_EncryptInit", &cbc(), key);
    let mut out = application.part("C_SignEncryptUpdate", TEXT).expect("all of it");
    out.extend(application.last("C_EncryptFinal").expect("C_EncryptFinal"));
    assert_eq!(
        (&out, application.last("C_SignFinal")),
        (&sealed, Ok(signature.clone()))
    );

    for verify in [false, true] {
        let update = if verify {
            application.begin("C_VerifyInit", &mac, key);
            "C_DecryptVerifyUpdate"
        } else {
            application.digest();
            "C_DecryptDigestUpdate"
        };
        application.begin("C_DecryptInit", &cbc(), key);
        let mut text = application.part(update, &sealed).expect(update);
        let end = application.last("C_DecryptFinal").expect("C_DecryptFinal");
        text.extend(&end);
        assert_eq!(text, TEXT);
        if verify {
            application.give("C_VerifyUpdate", &end).expect("C_VerifyUpdate");
            assert_eq!(application.give("C_VerifyFinal", &signature), Ok(()));
        } else {
            application.give("C_DigestUpdate", &end).expect("C_DigestUpdate");
            assert_eq!(application.last("C_DigestFinal"), Ok(hash.clone()));
        }
    }
}

/// PKCS#11 3.2, 5.6.6 and 5.6.7: saved on one session, restored on another one of another application, while the daemon is
/// killed and started in between.
#[test]
fn saved_operations_go_on_in_another_application_after_a_restart() {
    let mut daemon = Daemon::start();
    let first = Application::new(&daemon);
    let key = first.aes(&[flag(CKA_TOKEN, true), bytes(CKA_LABEL, "state")]);
    let mac = Mechanism::Plain(CKM_AES_CMAC);
    let sealed = first
        .module
        .encrypt(first.session, &cbc(), key, TEXT)
        .expect("C_Encrypt");
    let signature = first.module.sign(first.session, &mac, key, TEXT).expect("C_Sign");
    first.digest();
    let hash = first.part("C_Digest", TEXT).expect("C_Digest");

    first.digest();
    first.begin("C_EncryptInit", &cbc(), key);
    let mut out = first.part("C_DigestEncryptUpdate", &TEXT[..83]).expect("a part");
    let state = first.last("C_GetOperationState").expect("C_GetOperationState");
    let third = first
        .module
        .open_session(first.module.slot_of(LABEL))
        .expect("C_OpenSession");
    first.module.start("C_SignInit", third, &mac, key).expect("C_SignInit");
    let words = [third as usize, TEXT.as_ptr() as usize, 50];
    assert_eq!(first.module.library.call("C_SignUpdate", &words), CKR_OK);

    daemon.kill9();
    daemon.restart();
    let second = Application::new(&daemon);
    let same = second.named("state");
    assert_eq!(second.restore(&state, 0, 0), Err(Rv(CKR_KEY_NEEDED)));
    assert_eq!(second.restore(&state, same, same), Err(Rv(CKR_KEY_NOT_NEEDED)));
    let other = second.aes(&[]);
    assert_eq!(second.restore(&state, other, 0), Err(Rv(CKR_KEY_CHANGED)));
    assert_eq!(second.restore(&state[1..], same, 0), Err(Rv(CKR_SAVED_STATE_INVALID)));
    assert_eq!(second.restore(&state, same, 0), Ok(()));
    out.extend(second.part("C_DigestEncryptUpdate", &TEXT[83..]).expect("the rest"));
    out.extend(second.last("C_EncryptFinal").expect("C_EncryptFinal"));
    assert_eq!((&out, second.last("C_DigestFinal")), (&sealed, Ok(hash)));

    // The MAC goes on in the session that began it, and its state in the other application.
    let mut state = vec![0_u8; 4096];
    let mut length = state.len() as CK_ULONG;
    let words = [third as usize, state.as_mut_ptr() as usize, &raw mut length as usize];
    assert_eq!(first.module.library.call("C_GetOperationState", &words), CKR_OK);
    state.truncate(length as usize);
    assert_eq!(second.restore(&state, 0, same), Ok(()));
    second.give("C_SignUpdate", &TEXT[50..]).expect("C_SignUpdate");
    assert_eq!(second.last("C_SignFinal"), Ok(signature));
}

/// PKCS#11 3.2: the signature comes first.
#[test]
fn a_signature_that_comes_first_is_verified_at_once_and_in_parts() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let (module, session) = (&application.module, application.session);
    let (public, private) = module
        .generate_key_pair(
            session,
            &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN),
            &[bytes(CKA_EC_PARAMS, template::P256)],
            &[],
        )
        .expect("C_GenerateKeyPair");
    let mechanism = Mechanism::Plain(CKM_ECDSA_SHA256);
    let good = module.sign(session, &mechanism, private, TEXT).expect("C_Sign");
    let mut wrong = good.clone();
    wrong[5] ^= 1;
    let h = session as usize;
    let begin = |signature: &[u8]| {
        mechanism.with(|mechanism| {
            let words = [
                h,
                mechanism,
                public as usize,
                signature.as_ptr() as usize,
                signature.len(),
            ];
            newer!(application, C_VerifySignatureInit, &words)
        })
    };
    let (at, length) = (TEXT.as_ptr() as usize, TEXT.len());
    for (signature, verdict) in [(&good, Ok(())), (&wrong, Err(Rv(CKR_SIGNATURE_INVALID)))] {
        assert_eq!(begin(signature), Ok(()));
        assert_eq!(begin(signature), Err(Rv(CKR_OPERATION_ACTIVE)));
        assert_eq!(newer!(application, C_VerifySignature, &[h, at, length]), verdict);
        assert_eq!(begin(signature), Ok(()));
        for (at, length) in [(at, 10), (at + 10, length - 10)] {
            assert_eq!(newer!(application, C_VerifySignatureUpdate, &[h, at, length]), Ok(()));
        }
        assert_eq!(newer!(application, C_VerifySignatureFinal, &[h]), verdict);
        let over = newer!(application, C_VerifySignatureFinal, &[h]);
        assert_eq!(over, Err(Rv(CKR_OPERATION_NOT_INITIALIZED)));
    }
    assert_eq!(begin(&[1; 65]), Err(Rv(CKR_SIGNATURE_LEN_RANGE)));
}

/// DESIGN 8: the daemon refuses an IV that the key has used, whichever function it came by.
#[test]
fn messages_of_a_key_have_different_ivs_on_the_daemon_too() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let key = application.aes(&[]);
    let h = application.session as usize;
    let begun = Mechanism::Plain(CKM_AES_GCM)
        .with(|mechanism| newer!(application, C_MessageEncryptInit, &[h, mechanism, key as usize]));
    assert_eq!(begun, Ok(()));
    let (mut iv, mut tag, mut out) = ([7_u8; 12], [0_u8; 16], [0_u8; 16]);
    let mut encrypt = |generator, text: &[u8; 16]| {
        let parameter = CK_GCM_MESSAGE_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvFixedBits: 0,
            ivGenerator: generator,
            pTag: tag.as_mut_ptr(),
            ulTagBits: 128,
        };
        let mut length: CK_ULONG = 16;
        let words = [
            h,
            &raw const parameter as usize,
            size_of_val(&parameter),
            0,
            0,
            text.as_ptr() as usize,
            text.len(),
            out.as_mut_ptr() as usize,
            &raw mut length as usize,
        ];
        newer!(application, C_EncryptMessage, &words)
    };
    assert_eq!(encrypt(CKG_NO_GENERATE, b"a text of 16 byt"), Ok(()));
    assert_eq!(
        encrypt(CKG_NO_GENERATE, b"another of those"),
        Err(Rv(CKR_FUNCTION_FAILED))
    );
    for _ in 0..50 {
        assert_eq!(encrypt(CKG_GENERATE, b"another of those"), Ok(()));
    }
    let gcm = Mechanism::Gcm {
        iv: iv.to_vec(),
        aad: Vec::new(),
        tag_bits: 128,
    };
    let sealed = [&out[..], &tag].concat();
    let text = application.module.decrypt(application.session, &gcm, key, &sealed);
    assert_eq!(text, Ok(b"another of those".to_vec()));
    assert_eq!(newer!(application, C_MessageEncryptFinal, &[h]), Ok(()));
}
