//! Wrapping against decryption and unwrapping: A01, A02, A07, A08.

use cryptoki_sys::*;
use hsmd_tests::module::Object;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, P256, flag, number};

use super::token::{Token, all, cbc, kw, kwp, oaep, readable, refused, secret};

/// The key that wrapped does nothing with the blob: by every mechanism that the token has, at Init, in an operation that was
/// open before, by its copies, and after it was brought back by unwrapping.
pub(super) fn wrap_then_decrypt(token: &Token<'_>) {
    let both = [
        flag(CKA_DECRYPT, true),
        flag(CKA_ENCRYPT, true),
        flag(CKA_EXTRACTABLE, true),
    ];
    if token.strict() {
        conflicts_are_refused(token, CKA_WRAP, CKA_DECRYPT);
        refused(token.wrapping_key(&both), CKR_TEMPLATE_INCONSISTENT);
        // What can be made decrypts nothing.
        let key = token.wrapping_key(&[]).expect("a TRUSTED wrapping key");
        let blob = token.wrap(&kw(), key, token.prize()).expect("C_WrapKey");
        decrypts_nothing(token, key, &blob);
        return;
    }
    for mechanism in [kw(), kwp(), Mechanism::Plain(CKM_AES_KEY_WRAP_PAD)] {
        let key = token.wrapping_key(&both).expect("one key for several roles");
        let text = token.decrypt(&cbc(CKM_AES_CBC), key, &[0; 32]);
        assert_eq!(text.map(|text| text.len()), Ok(32), "before it wrapped");
        let copy = token.copy(key, &[flag(CKA_TOKEN, true)]).expect("C_CopyObject");
        // An operation that was begun before, with a part of it done.
        token
            .module
            .start("C_DecryptInit", token.session, &cbc(CKM_AES_CBC), key)
            .expect("C_DecryptInit");
        token.update("C_DecryptUpdate", &[0; 16]).expect("C_DecryptUpdate");
        let blob = token.wrap(&mechanism, key, token.prize()).expect("C_WrapKey");
        refused(token.update("C_DecryptUpdate", &blob[..32]), CKR_FUNCTION_FAILED);
        decrypts_nothing(token, key, &blob);
        decrypts_nothing(token, copy, &blob);
        token.wrap(&mechanism, key, token.prize()).expect("it goes on wrapping");
        back_by_unwrapping(token, key, &blob);
    }
    public_halves(token);
}

/// A key that is destroyed and unwrapped again is the same material.
fn back_by_unwrapping(token: &Token<'_>, key: Object, blob: &[u8]) {
    let outer = token
        .wrapping_key(&[flag(CKA_UNWRAP, true)])
        .expect("a second wrapping key");
    let wrapped = token.wrap(&kw(), outer, key).expect("a wrapping key that may leave");
    token.module.destroy(token.session, key).expect("C_DestroyObject");
    let again = all(&[&secret(CKK_AES), &[flag(CKA_DECRYPT, true)]]);
    let again = token.unwrap(&kw(), outer, &wrapped, &again).expect("C_UnwrapKey");
    decrypts_nothing(token, again, blob);
}

/// No mechanism decrypts, encrypts or signs with it.
fn decrypts_nothing(token: &Token<'_>, key: Object, blob: &[u8]) {
    let ctr = Mechanism::Bytes(CKM_AES_CTR, [&8_usize.to_ne_bytes()[..], &[0; 16]].concat());
    let gcm = Mechanism::Gcm {
        iv: vec![0; 12],
        aad: Vec::new(),
        tag_bits: 128,
    };
    let every = [
        Mechanism::Plain(CKM_AES_ECB),
        cbc(CKM_AES_CBC),
        cbc(CKM_AES_CBC_PAD),
        kw(),
        kwp(),
        ctr,
        gcm,
    ];
    for mechanism in every {
        for function in ["C_DecryptInit", "C_EncryptInit"] {
            let begun = token.module.start(function, token.session, &mechanism, key);
            refused(begun, CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
    }
    let signed = token
        .module
        .sign(token.session, &Mechanism::Plain(CKM_AES_CMAC), key, &blob[..16]);
    refused(signed, CKR_KEY_FUNCTION_NOT_PERMITTED);
    let session = token.module.open_session(token.slot()).expect("C_OpenSession");
    let sha256 = Mechanism::Plain(CKM_SHA256);
    token
        .module
        .start("C_DigestInit", session, &sha256, 0)
        .expect("C_DigestInit");
    let digested = token
        .module
        .library
        .call("C_DigestKey", &[session as usize, key as usize]);
    assert!(
        [CKR_KEY_INDIGESTIBLE, CKR_FUNCTION_FAILED].contains(&digested),
        "{}",
        Rv(digested)
    );
    token.module.close_session(session).expect("C_CloseSession");
}

/// The private half of a pair that wrapped, by padding or by raw RSA in any of its disguises.
fn public_halves(token: &Token<'_>) {
    let roles = [
        flag(CKA_UNWRAP, true),
        flag(CKA_DECRYPT, true),
        flag(CKA_SIGN_RECOVER, true),
    ];
    let (public, private) = token.rsa(&[flag(CKA_WRAP, true)], &roles).expect("a pair");
    let sealed = token.encrypt(&oaep(), public, b"text").expect("C_Encrypt");
    assert_eq!(token.decrypt(&oaep(), private, &sealed), Ok(b"text".to_vec()));
    let blob = token.wrap(&oaep(), public, token.prize()).expect("C_WrapKey");
    for mechanism in [oaep(), Mechanism::Plain(CKM_RSA_PKCS), Mechanism::Plain(CKM_RSA_X_509)] {
        refused(
            token.decrypt(&mechanism, private, &blob),
            CKR_KEY_FUNCTION_NOT_PERMITTED,
        );
    }
    let raw = Mechanism::Plain(CKM_RSA_X_509);
    for function in ["C_SignInit", "C_SignRecoverInit"] {
        let begun = token.module.start(function, token.session, &raw, private);
        refused(begun, CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
}

/// Every way to a key with two roles that exclude each other.
pub(super) fn conflicts_are_refused(token: &Token<'_>, one: CK_ATTRIBUTE_TYPE, other: CK_ATTRIBUTE_TYPE) {
    let both = [flag(one, true), flag(other, true)];
    let clash = CKR_TEMPLATE_INCONSISTENT;
    refused(token.aes(&both), clash);
    refused(token.import(&[5; 32], &both), clash);
    for (first, second) in [(one, other), (other, one)] {
        let key = token
            .aes(&[flag(first, true), flag(CKA_EXTRACTABLE, true)])
            .expect("one role");
        refused(token.copy(key, &[flag(second, true)]), clash);
        refused(token.set(key, &[flag(second, true)]), clash);
        token.set(key, &[flag(first, false)]).expect("a role is given up");
        refused(token.set(key, &[flag(second, true)]), clash);
        let copy = token.copy(key, &[]).expect("C_CopyObject");
        refused(token.set(copy, &[flag(second, true)]), clash);
    }
    let outer = token.wrapping_key(&[flag(CKA_UNWRAP, true)]).expect("a wrapping key");
    let inner = token
        .aes(&[flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)])
        .expect("a key");
    let blob = token.wrap(&kw(), outer, inner).expect("C_WrapKey");
    refused(
        token.unwrap(&kw(), outer, &blob, &all(&[&secret(CKK_AES), &both])),
        clash,
    );
    let halves = |flag: &Attribute| match flag.kind {
        CKA_WRAP | CKA_ENCRYPT => (vec![flag.clone()], Vec::new()),
        _ => (Vec::new(), vec![flag.clone()]),
    };
    let (one, other) = (halves(&both[0]), halves(&both[1]));
    let pair = token.rsa(&all(&[&one.0, &other.0]), &all(&[&one.1, &other.1]));
    refused(pair, clash);
    derived(token, &both);
}

fn derived(token: &Token<'_>, both: &[Attribute]) {
    let (public, private) = token
        .pair(CKM_EC_KEY_PAIR_GEN, P256, &[], &[flag(CKA_DERIVE, true)])
        .expect("a pair");
    let point = token.get(public, CKA_EC_POINT).expect("a point");
    let agree = Mechanism::Ecdh { public: point };
    let template = all(&[&secret(CKK_AES), &[number(CKA_VALUE_LEN, 32)], both]);
    refused(token.derive(&agree, private, &template), CKR_TEMPLATE_INCONSISTENT);
}

/// A known key is encrypted and unwrapped; what comes out wraps nothing sensitive, whatever it is called.
pub(super) fn encrypt_then_unwrap(token: &Token<'_>) {
    let both = [flag(CKA_ENCRYPT, true), flag(CKA_UNWRAP, true)];
    if token.strict() {
        conflicts_are_refused(token, CKA_UNWRAP, CKA_ENCRYPT);
        refused(token.trusted(&both), CKR_TEMPLATE_INCONSISTENT);
        // The same bytes twice, once for each role: what comes out is nobody's trusted key.
        let encrypts = token.import(&[6; 32], &both[..1]).expect("C_CreateObject");
        let unwraps = token.import(&[6; 32], &both[1..]).expect("C_CreateObject");
        plants(token, encrypts, unwraps);
        return;
    }
    let key = token.aes(&both).expect("one key for several roles");
    plants(token, key, key);
    // By single blocks: RFC 3394 done by hand is the same blob, so any blob will do.
    let pair = token
        .rsa(&[flag(CKA_ENCRYPT, true)], &[flag(CKA_UNWRAP, true)])
        .expect("a pair");
    let blob = token.encrypt(&oaep(), pair.0, &[9; 32]).expect("C_Encrypt");
    let known = token
        .unwrap(
            &oaep(),
            pair.1,
            &blob,
            &all(&[&secret(CKK_AES), &[flag(CKA_WRAP, true)]]),
        )
        .expect("C_UnwrapKey");
    refused(token.wrap(&kw(), known, token.prize()), CKR_KEY_NOT_WRAPPABLE);
}

fn plants(token: &Token<'_>, encrypts: Object, unwraps: Object) {
    for mechanism in [kw(), kwp()] {
        let blob = token.encrypt(&mechanism, encrypts, &[9; 32]).expect("C_Encrypt");
        let template = all(&[&secret(CKK_AES), &[flag(CKA_WRAP, true)]]);
        let known = token
            .unwrap(&mechanism, unwraps, &blob, &template)
            .expect("C_UnwrapKey");
        refused(token.wrap(&kw(), known, token.prize()), CKR_KEY_NOT_WRAPPABLE);
        let copy = token.copy(known, &[flag(CKA_TOKEN, true)]).expect("C_CopyObject");
        refused(token.wrap(&kw(), copy, token.prize()), CKR_KEY_NOT_WRAPPABLE);
        let trusted = all(&[&template, &[flag(CKA_TRUSTED, true)]]);
        refused(
            token.unwrap(&mechanism, unwraps, &blob, &trusted),
            CKR_ATTRIBUTE_READ_ONLY,
        );
    }
}

/// What was wrapped comes back as closed as it was.
pub(super) fn unwrap_readable(token: &Token<'_>) {
    let key = token.wrapping_key(&[flag(CKA_UNWRAP, true)]).expect("a wrapping key");
    let prize = token.prize();
    for mechanism in [kw(), kwp()] {
        let blob = token.wrap(&mechanism, key, prize).expect("C_WrapKey");
        for kind in [CKK_AES, CKK_GENERIC_SECRET, CKK_SHA256_HMAC] {
            comes_back_closed(token, &mechanism, (key, key), &blob, kind);
        }
    }
    if !token.strict() {
        let pair = token
            .rsa(&[flag(CKA_WRAP, true)], &[flag(CKA_UNWRAP, true)])
            .expect("a pair");
        let blob = token.wrap(&oaep(), pair.0, prize).expect("C_WrapKey");
        comes_back_closed(token, &oaep(), pair, &blob, CKK_AES);
    }
}

fn comes_back_closed(
    token: &Token<'_>,
    mechanism: &Mechanism,
    (wraps, key): (Object, Object),
    blob: &[u8],
    kind: CK_KEY_TYPE,
) {
    for loose in [&readable()[..1], &readable()[1..], &readable()] {
        let template = all(&[&secret(kind), loose]);
        refused(token.unwrap(mechanism, key, blob, &template), CKR_TEMPLATE_INCONSISTENT);
    }
    let back = token.unwrap(mechanism, key, blob, &secret(kind)).expect("C_UnwrapKey");
    refused(token.get(back, CKA_VALUE), CKR_ATTRIBUTE_SENSITIVE);
    refused(token.wrap(mechanism, wraps, back), CKR_KEY_UNEXTRACTABLE);
    for attribute in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
        assert!(!token.is(back, attribute), "{attribute:#x}");
    }
}

/// A private key in a blob is not read as bytes.
pub(super) fn unwrap_as_another_type(token: &Token<'_>) {
    let key = token.wrapping_key(&[flag(CKA_UNWRAP, true)]).expect("a wrapping key");
    let may_leave = [flag(CKA_EXTRACTABLE, true)];
    let (_, ec) = token.pair(CKM_EC_KEY_PAIR_GEN, P256, &[], &may_leave).expect("a pair");
    let (_, rsa) = token.rsa(&[], &may_leave).expect("a pair");
    for private in [ec, rsa] {
        let blob = token.wrap(&kwp(), key, private).expect("C_WrapKey");
        for kind in [CKK_GENERIC_SECRET, CKK_SHA256_HMAC] {
            if blob.len() > 1024 && kind == CKK_SHA256_HMAC {
                continue;
            }
            let template = all(&[&secret(kind), &readable()]);
            refused(token.unwrap(&kwp(), key, &blob, &template), CKR_TEMPLATE_INCONSISTENT);
            if let Ok(back) = token.unwrap(&kwp(), key, &blob, &secret(kind)) {
                refused(token.get(back, CKA_VALUE), CKR_ATTRIBUTE_SENSITIVE);
                refused(token.wrap(&kwp(), key, back), CKR_KEY_UNEXTRACTABLE);
            }
        }
    }
}
