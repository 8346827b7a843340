//! Who may do what, and for how long: A19, A20.

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, P256, bytes, flag, number};

use super::token::{Partition, Token, cbc, refused};

fn ecdsa() -> Mechanism {
    Mechanism::Plain(CKM_ECDSA)
}

/// Logout, read-only sessions, CKA_ALWAYS_AUTHENTICATE, CKA_ALLOWED_MECHANISMS, CKA_MODIFIABLE, CKA_COPYABLE,
/// CKA_DESTROYABLE.
pub(super) fn limits(token: &Token<'_>) {
    one_key_one_mechanism(token);
    frozen(token);
    each_time_a_pin(token);
    read_only(token);
    logout(token);
}

fn one_key_one_mechanism(token: &Token<'_>) {
    let allowed = |kind: CK_MECHANISM_TYPE| bytes(CKA_ALLOWED_MECHANISMS, kind.to_ne_bytes());
    let key = token
        .aes(&[flag(CKA_ENCRYPT, true), flag(CKA_DECRYPT, true), allowed(CKM_AES_CBC)])
        .expect("a key");
    assert!(token.encrypt(&cbc(CKM_AES_CBC), key, &[0; 16]).is_ok());
    for other in [Mechanism::Plain(CKM_AES_ECB), cbc(CKM_AES_CBC_PAD)] {
        refused(token.encrypt(&other, key, &[0; 16]), CKR_MECHANISM_INVALID);
        refused(token.decrypt(&other, key, &[0; 16]), CKR_MECHANISM_INVALID);
    }
    let other = [allowed(CKM_AES_ECB)];
    refused(token.set(key, &other), CKR_ATTRIBUTE_READ_ONLY);
    refused(token.copy(key, &other), CKR_ATTRIBUTE_READ_ONLY);
    let copy = token.copy(key, &[]).expect("C_CopyObject");
    refused(
        token.encrypt(&Mechanism::Plain(CKM_AES_ECB), copy, &[0; 16]),
        CKR_MECHANISM_INVALID,
    );
    let wraps = token
        .wrapping_key(&[flag(CKA_UNWRAP, true), allowed(CKM_AES_KEY_WRAP)])
        .expect("a wrapping key");
    let kwp = super::token::kwp();
    refused(token.wrap(&kwp, wraps, token.prize()), CKR_MECHANISM_INVALID);
    let secret = super::token::secret(CKK_AES);
    refused(token.unwrap(&kwp, wraps, &[0; 40], &secret), CKR_MECHANISM_INVALID);
    let base = [flag(CKA_DERIVE, true), flag(CKA_SIGN, true), allowed(CKM_ECDSA)];
    let (public, private) = token.pair(CKM_EC_KEY_PAIR_GEN, P256, &[], &base).expect("a pair");
    let agree = Mechanism::Ecdh {
        public: token.get(public, CKA_EC_POINT).expect("a point"),
    };
    refused(token.derive(&agree, private, &secret), CKR_MECHANISM_INVALID);
    let hashes = Mechanism::Plain(CKM_ECDSA_SHA256);
    refused(
        token.module.sign(token.session, &hashes, private, b"text"),
        CKR_MECHANISM_INVALID,
    );
}

fn frozen(token: &Token<'_>) {
    let key = |kind| token.aes(&[flag(kind, false)]).expect("a key");
    let label = [bytes(CKA_LABEL, "another")];
    let still = key(CKA_MODIFIABLE);
    refused(token.set(still, &label), CKR_ACTION_PROHIBITED);
    refused(token.set(still, &[flag(CKA_MODIFIABLE, true)]), CKR_ACTION_PROHIBITED);
    refused(token.copy(key(CKA_COPYABLE), &[]), CKR_ACTION_PROHIBITED);
    let kept = key(CKA_DESTROYABLE);
    refused(token.module.destroy(token.session, kept), CKR_ACTION_PROHIBITED);
    for (key, kind) in [(kept, CKA_DESTROYABLE), (key(CKA_COPYABLE), CKA_COPYABLE)] {
        refused(token.set(key, &[flag(kind, true)]), CKR_ATTRIBUTE_READ_ONLY);
    }
}

/// One PIN, one signature.
fn each_time_a_pin(token: &Token<'_>) {
    let flags = [flag(CKA_SIGN, true), flag(CKA_ALWAYS_AUTHENTICATE, true)];
    let (_, private) = token.pair(CKM_EC_KEY_PAIR_GEN, P256, &[], &flags).expect("a pair");
    let sign = || token.module.sign(token.session, &ecdsa(), private, &[1; 32]);
    refused(sign(), CKR_USER_NOT_LOGGED_IN);
    token
        .module
        .start("C_SignInit", token.session, &ecdsa(), private)
        .expect("C_SignInit");
    token
        .module
        .login(token.session, CKU_CONTEXT_SPECIFIC, PIN)
        .expect("C_Login");
    token.module.finish("C_Sign", token.session, &[1; 32]).expect("C_Sign");
    refused(sign(), CKR_USER_NOT_LOGGED_IN);
    // Without an operation there is nothing to authenticate.
    let without = token.module.login(token.session, CKU_CONTEXT_SPECIFIC, PIN);
    refused(without, CKR_OPERATION_NOT_INITIALIZED);
    refused(
        token.set(private, &[flag(CKA_ALWAYS_AUTHENTICATE, false)]),
        CKR_ATTRIBUTE_READ_ONLY,
    );
    refused(
        token.copy(private, &[flag(CKA_ALWAYS_AUTHENTICATE, false)]),
        CKR_ATTRIBUTE_READ_ONLY,
    );
}

fn read_only(token: &Token<'_>) {
    let slot = token.module.slot_of(LABEL) as usize;
    let mut session: CK_SESSION_HANDLE = 0;
    let opened = token.module.library.call(
        "C_OpenSession",
        &[slot, CKF_SERIAL_SESSION as usize, 0, 0, &raw mut session as usize],
    );
    assert_eq!(opened, CKR_OK);
    let on_token = [number(CKA_VALUE_LEN, 32), flag(CKA_TOKEN, true)];
    let made = token
        .module
        .generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &on_token);
    refused(made, CKR_SESSION_READ_ONLY);
    let key = token.aes(&on_token[1..]).expect("a token key");
    refused(token.module.copy_object(session, key, &[]), CKR_SESSION_READ_ONLY);
    refused(
        token.module.set(session, key, &[bytes(CKA_LABEL, "x")]),
        CKR_SESSION_READ_ONLY,
    );
    refused(token.module.destroy(session, key), CKR_SESSION_READ_ONLY);
    refused(
        token.module.copy_object(session, token.prize(), &on_token[1..]),
        CKR_SESSION_READ_ONLY,
    );
    token.module.close_session(session).expect("C_CloseSession");
}

/// What is in flight ends, handles die, private objects are not there.
fn logout(token: &Token<'_>) {
    let (_, private) = token
        .pair(CKM_EC_KEY_PAIR_GEN, P256, &[], &[flag(CKA_SIGN, true)])
        .expect("a pair");
    let key = token
        .aes(&[flag(CKA_TOKEN, true), flag(CKA_ENCRYPT, true)])
        .expect("a token key");
    let module = &token.module;
    module
        .start("C_SignInit", token.session, &ecdsa(), private)
        .expect("C_SignInit");
    module
        .start("C_EncryptInit", token.session, &cbc(CKM_AES_CBC), key)
        .expect("C_EncryptInit");
    module.logout(token.session).expect("C_Logout");
    let ended: [Result<Vec<u8>, Rv>; 2] = [
        module.finish("C_Sign", token.session, &[1; 32]),
        module.finish("C_Encrypt", token.session, &[1; 32]),
    ];
    for result in ended {
        let code = result.expect_err("an operation outlived the login").0;
        assert!(
            [CKR_OPERATION_NOT_INITIALIZED, CKR_USER_NOT_LOGGED_IN].contains(&code),
            "{}",
            Rv(code)
        );
    }
    for key in [private, key] {
        let begun = module.start("C_SignInit", token.session, &ecdsa(), key);
        refused(begun, CKR_KEY_HANDLE_INVALID);
    }
    let private: [Attribute; 1] = [flag(CKA_PRIVATE, true)];
    assert_eq!(module.find(token.session, &private), Ok(Vec::new()));
    refused(token.aes(&[]), CKR_USER_NOT_LOGGED_IN);
    module.login(token.session, CKU_USER, PIN).expect("C_Login");
    let begun = module.start("C_EncryptInit", token.session, &cbc(CKM_AES_CBC), key);
    refused(begun, CKR_KEY_HANDLE_INVALID);
}

/// Thirty wrong PINs, from several applications, against a token of its own: ten are looked at. INV-8.
pub(super) fn guess(token: &Token<'_>) {
    let partition = Partition::new(token.partition.policy);
    let modules: Vec<_> = (0..3).map(|_| partition.daemon.module()).collect();
    let sessions: Vec<_> = modules
        .iter()
        .map(|module| {
            module.initialize().expect("C_Initialize");
            module.open_session(module.slot_of(LABEL)).expect("C_OpenSession")
        })
        .collect();
    let mut codes = Vec::new();
    for index in 0..30 {
        let wrong = format!("99{index:04}");
        let which = index % modules.len();
        let result = modules[which].login(sessions[which], CKU_USER, &wrong);
        codes.push(result.expect_err("a wrong PIN").0);
    }
    let looked_at = codes.iter().filter(|code| **code == CKR_PIN_INCORRECT).count();
    assert!(looked_at <= 10, "{looked_at} guesses were looked at");
    assert!(codes[10..].iter().all(|code| *code == CKR_PIN_LOCKED), "{codes:x?}");
    refused(modules[0].login(sessions[0], CKU_USER, PIN), CKR_PIN_LOCKED);
}
