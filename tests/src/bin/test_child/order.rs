//! Calls in the wrong order, and the rule of lengths: PKCS#11 3.2, sections 5.2 and 5.10 to 5.16.

use cryptoki_sys::*;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{self, Mechanism, bytes, flag, number};

use super::{Findings, logged_in};

/// Runs every sequence.
pub(crate) fn run(module: &Module, pin: &str, findings: &mut Findings) {
    let session = logged_in(module, pin);
    without_init(module, session, findings);
    digests(module, session, findings);
    let template = [
        flag(CKA_SIGN, true),
        flag(CKA_ENCRYPT, true),
        flag(CKA_DECRYPT, true),
        number(CKA_VALUE_LEN, 32),
    ];
    let aes = module
        .generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)
        .expect("an AES key");
    encryption(module, session, aes, findings);
    signatures(module, session, findings);
    searches(module, session, findings);
    sessions_and_logins(module, session, pin, findings);
}

fn call(module: &Module, name: &str, words: &[usize]) -> Rv {
    Rv(module.library.call(name, words))
}

fn is(findings: &mut Findings, what: &str, rv: Rv, expected: CK_RV) {
    findings.expect(rv.0 == expected, || format!("{what}: {rv:?}, not {:?}", Rv(expected)));
}

fn without_init(module: &Module, session: Session, findings: &mut Findings) {
    let mut memory = [0_usize; 64];
    let (h, place) = (session as usize, memory.as_mut_ptr() as usize);
    for (name, words) in [
        ("C_Encrypt", vec![h, place, 1, place, place]),
        ("C_EncryptUpdate", vec![h, place, 1, place, place]),
        ("C_EncryptFinal", vec![h, place, place]),
        ("C_Decrypt", vec![h, place, 1, place, place]),
        ("C_DecryptFinal", vec![h, place, place]),
        ("C_Digest", vec![h, place, 1, place, place]),
        ("C_DigestUpdate", vec![h, place, 1]),
        ("C_DigestFinal", vec![h, place, place]),
        ("C_Sign", vec![h, place, 1, place, place]),
        ("C_SignUpdate", vec![h, place, 1]),
        ("C_SignFinal", vec![h, place, place]),
        ("C_Verify", vec![h, place, 1, place, 1]),
        ("C_VerifyFinal", vec![h, place, 1]),
        ("C_FindObjects", vec![h, place, 1, place]),
        ("C_FindObjectsFinal", vec![h]),
    ] {
        is(
            findings,
            &format!("{name} without Init"),
            call(module, name, &words),
            CKR_OPERATION_NOT_INITIALIZED,
        );
    }
}

fn digests(module: &Module, session: Session, findings: &mut Findings) {
    Mechanism::Plain(CKM_SHA256).with(|mechanism| {
        lengths(module, session as usize, mechanism, findings);
        modes(module, session as usize, mechanism, findings);
    });
}

/// A length query and a buffer that is too small keep the operation alive; a result ends it.
fn lengths(module: &Module, h: usize, mechanism: usize, findings: &mut Findings) {
    let (mut out, mut length) = ([0_u8; 64], 8_usize);
    let (out, place) = (out.as_mut_ptr() as usize, &raw mut length as usize);
    is(
        findings,
        "C_DigestInit",
        call(module, "C_DigestInit", &[h, mechanism]),
        CKR_OK,
    );
    is(
        findings,
        "C_DigestInit twice",
        call(module, "C_DigestInit", &[h, mechanism]),
        CKR_OPERATION_ACTIVE,
    );
    let rv = call(module, "C_Digest", &[h, out, 3, out, place]);
    is(findings, "C_Digest into 8 bytes", rv, CKR_BUFFER_TOO_SMALL);
    findings.expect(length == 32, || format!("C_Digest said {length} bytes are needed"));
    let rv = call(module, "C_Digest", &[h, out, 3, 0, place]);
    is(findings, "C_Digest asked for the length", rv, CKR_OK);
    length = 64;
    let words = [h, out, 3, out, place];
    is(
        findings,
        "C_Digest after both",
        call(module, "C_Digest", &words),
        CKR_OK,
    );
    findings.expect(length == 32, || format!("C_Digest wrote {length} bytes"));
    is(
        findings,
        "C_Digest again",
        call(module, "C_Digest", &words),
        CKR_OPERATION_NOT_INITIALIZED,
    );
}

/// One shot and parts do not mix, and an error ends the operation.
fn modes(module: &Module, h: usize, mechanism: usize, findings: &mut Findings) {
    let (mut out, mut length) = ([0_u8; 64], 64_usize);
    let (out, place) = (out.as_mut_ptr() as usize, &raw mut length as usize);
    is(
        findings,
        "C_DigestInit",
        call(module, "C_DigestInit", &[h, mechanism]),
        CKR_OK,
    );
    // A zero-length part with a NULL pointer is legal.
    is(
        findings,
        "C_DigestUpdate(NULL, 0)",
        call(module, "C_DigestUpdate", &[h, 0, 0]),
        CKR_OK,
    );
    let rv = call(module, "C_Digest", &[h, out, 3, out, place]);
    is(findings, "C_Digest after C_DigestUpdate", rv, CKR_OPERATION_ACTIVE);
    let rv = call(module, "C_DigestFinal", &[h, out, place]);
    is(
        findings,
        "C_DigestFinal after the error",
        rv,
        CKR_OPERATION_NOT_INITIALIZED,
    );

    is(
        findings,
        "C_DigestInit",
        call(module, "C_DigestInit", &[h, mechanism]),
        CKR_OK,
    );
    let rv = call(module, "C_Digest", &[h, out, 3, out, 0]);
    is(
        findings,
        "C_Digest without a place for the length",
        rv,
        CKR_ARGUMENTS_BAD,
    );
    let rv = call(module, "C_Digest", &[h, out, 3, out, place]);
    is(findings, "C_Digest after that", rv, CKR_OPERATION_NOT_INITIALIZED);
}

fn encryption(module: &Module, session: Session, aes: Object, findings: &mut Findings) {
    let bad_iv = module.start(
        "C_EncryptInit",
        session,
        &Mechanism::Bytes(CKM_AES_CBC_PAD, vec![0; 5]),
        aes,
    );
    findings.expect(bad_iv == Err(Rv(CKR_MECHANISM_PARAM_INVALID)), || {
        format!("an IV of 5 bytes: {bad_iv:?}")
    });
    let no_key = module.start(
        "C_EncryptInit",
        session,
        &Mechanism::Bytes(CKM_AES_CBC_PAD, vec![0; 16]),
        1,
    );
    findings.expect(no_key == Err(Rv(CKR_KEY_HANDLE_INVALID)), || {
        format!("a key that does not exist: {no_key:?}")
    });
    let hash = module.start("C_EncryptInit", session, &Mechanism::Plain(CKM_SHA256), aes);
    findings.expect(hash == Err(Rv(CKR_MECHANISM_INVALID)), || {
        format!("a hash to encrypt: {hash:?}")
    });
    let kind = module.start("C_SignInit", session, &Mechanism::Plain(CKM_ECDSA), aes);
    findings.expect(kind == Err(Rv(CKR_KEY_TYPE_INCONSISTENT)), || {
        format!("ECDSA with an AES key: {kind:?}")
    });

    let cbc = Mechanism::Bytes(CKM_AES_CBC, vec![7; 16]);
    let partial = module.encrypt(session, &cbc, aes, b"five!");
    findings.expect(partial == Err(Rv(CKR_DATA_LEN_RANGE)), || {
        format!("CBC of 5 bytes: {partial:?}")
    });
    let partial = module.decrypt(session, &cbc, aes, b"five!");
    let expected = Err(Rv(CKR_ENCRYPTED_DATA_LEN_RANGE));
    findings.expect(partial == expected, || {
        format!("CBC decryption of 5 bytes: {partial:?}")
    });

    let gcm = Mechanism::Gcm {
        iv: vec![9; 12],
        aad: b"a".to_vec(),
        tag_bits: 128,
    };
    let text = module.encrypt(session, &gcm, aes, b"hello").expect("GCM");
    let plain = module.decrypt(session, &gcm, aes, &text);
    findings.expect(plain.as_deref() == Ok(b"hello"), || {
        format!("GCM round trip: {plain:?}")
    });
    let mut forged = text;
    forged[0] ^= 1;
    let plain = module.decrypt(session, &gcm, aes, &forged);
    findings.expect(plain == Err(Rv(CKR_ENCRYPTED_DATA_INVALID)), || {
        format!("a forged GCM text: {plain:?}")
    });
}

fn signatures(module: &Module, session: Session, findings: &mut Findings) {
    let (public, private) = module
        .generate_key_pair(
            session,
            &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN),
            &[bytes(CKA_EC_PARAMS, template::P256)],
            &[flag(CKA_SIGN, true)],
        )
        .expect("a P-256 pair");
    let mechanism = Mechanism::Plain(CKM_ECDSA);
    let digest = [5_u8; 32];
    let mut signature = module.sign(session, &mechanism, private, &digest).expect("a signature");
    let short = module.verify(session, &mechanism, public, &digest, &signature[1..]);
    findings.expect(short == Err(Rv(CKR_SIGNATURE_LEN_RANGE)), || {
        format!("a short signature: {short:?}")
    });
    signature[40] ^= 1;
    let wrong = module.verify(session, &mechanism, public, &digest, &signature);
    findings.expect(wrong == Err(Rv(CKR_SIGNATURE_INVALID)), || {
        format!("a wrong signature: {wrong:?}")
    });
    module
        .start("C_SignInit", session, &mechanism, private)
        .expect("C_SignInit");
    let twice = module.start("C_SignInit", session, &mechanism, private);
    findings.expect(twice == Err(Rv(CKR_OPERATION_ACTIVE)), || {
        format!("C_SignInit twice: {twice:?}")
    });
    let first = module.finish("C_Sign", session, &digest);
    findings.expect(first.is_ok(), || {
        format!("the first operation after the second Init: {first:?}")
    });
    let public_sign = module.start("C_SignInit", session, &mechanism, public);
    findings.expect(public_sign.is_err(), || "a public key signs".to_owned());
    let value = module.get(session, private, CKA_VALUE);
    findings.expect(value == Err(Rv(CKR_ATTRIBUTE_SENSITIVE)), || {
        format!("a private value: {value:?}")
    });
    let attribute = module.get(session, private, 0x1234_5678);
    let expected = Err(Rv(CKR_ATTRIBUTE_TYPE_INVALID));
    findings.expect(attribute == expected, || format!("an unknown attribute: {attribute:?}"));
}

fn searches(module: &Module, session: Session, findings: &mut Findings) {
    let h = session as usize;
    is(
        findings,
        "C_FindObjectsInit",
        call(module, "C_FindObjectsInit", &[h, 0, 0]),
        CKR_OK,
    );
    is(
        findings,
        "C_FindObjectsInit twice",
        call(module, "C_FindObjectsInit", &[h, 0, 0]),
        CKR_OPERATION_ACTIVE,
    );
    let (mut found, mut count) = ([0_usize; 4], 9_usize);
    let words = [h, found.as_mut_ptr() as usize, 0, &raw mut count as usize];
    is(
        findings,
        "C_FindObjects of 0",
        call(module, "C_FindObjects", &words),
        CKR_OK,
    );
    findings.expect(count == 0, || format!("C_FindObjects of 0 found {count}"));
    // pkcs11-provider looks at objects between Init and Final.
    let other = module.random(session, 8);
    findings.expect(other.is_ok(), || format!("another call during a search: {other:?}"));
    is(
        findings,
        "C_FindObjectsFinal",
        call(module, "C_FindObjectsFinal", &[h]),
        CKR_OK,
    );
    let nothing = module.find(session, &[bytes(CKA_LABEL, "no such label")]);
    findings.expect(nothing == Ok(Vec::new()), || {
        format!("a label that is not there: {nothing:?}")
    });
}

fn sessions_and_logins(module: &Module, session: Session, pin: &str, findings: &mut Findings) {
    let slot = module.slot_of(hsmd_tests::daemon::LABEL);
    let mut handle = 0_usize;
    let words = [slot as usize, CKF_RW_SESSION as usize, 0, 0, &raw mut handle as usize];
    let rv = call(module, "C_OpenSession", &words);
    is(
        findings,
        "C_OpenSession without CKF_SERIAL_SESSION",
        rv,
        CKR_SESSION_PARALLEL_NOT_SUPPORTED,
    );
    let again = module.login(session, CKU_USER, pin);
    findings.expect(again == Err(Rv(CKR_USER_ALREADY_LOGGED_IN)), || {
        format!("a second login: {again:?}")
    });
    let officer = module.login(session, CKU_SO, pin);
    let expected = Err(Rv(CKR_USER_ANOTHER_ALREADY_LOGGED_IN));
    findings.expect(officer == expected, || {
        format!("the officer beside the user: {officer:?}")
    });
    let nobody = module.login(session, 77, pin);
    findings.expect(nobody == Err(Rv(CKR_USER_TYPE_INVALID)), || {
        format!("user type 77: {nobody:?}")
    });
    findings.expect(module.logout(session) == Ok(()), || "C_Logout".to_owned());
    let twice = module.logout(session);
    findings.expect(twice == Err(Rv(CKR_USER_NOT_LOGGED_IN)), || {
        format!("C_Logout twice: {twice:?}")
    });
    let private = [
        number(CKA_CLASS, CKO_DATA),
        flag(CKA_PRIVATE, true),
        bytes(CKA_VALUE, "x"),
    ];
    let refused = module.create(session, &private);
    findings.expect(refused == Err(Rv(CKR_USER_NOT_LOGGED_IN)), || {
        format!("private without login: {refused:?}")
    });
    let wrong = module.login(session, CKU_USER, "not the pin");
    findings.expect(wrong == Err(Rv(CKR_PIN_INCORRECT)), || {
        format!("a wrong PIN: {wrong:?}")
    });
    findings.expect(module.close_session(session) == Ok(()), || "C_CloseSession".to_owned());
    let closed = module.random(session, 4);
    findings.expect(closed == Err(Rv(CKR_SESSION_HANDLE_INVALID)), || {
        format!("a closed session: {closed:?}")
    });
}
