//! Attributes changed to the attacker's liking: A03, A06, A09, A10.

use cryptoki_sys::*;
use hsmd_tests::module::Object;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, P256, array, bytes, flag, number};

use super::token::{Token, all, cbc, kw, oaep, readable, refused, secret};

/// The role that a key lacked is added after it wrapped, or before, by set or by copy.
pub(super) fn add_the_role_later(token: &Token<'_>) {
    let later = [flag(CKA_DECRYPT, true)];
    let key = token.wrapping_key(&[flag(CKA_DECRYPT, false)]).expect("a wrapping key");
    let blob = token.wrap(&kw(), key, token.prize()).expect("C_WrapKey");
    if token.strict() {
        refused(token.set(key, &later), CKR_TEMPLATE_INCONSISTENT);
        refused(token.copy(key, &later), CKR_TEMPLATE_INCONSISTENT);
        token.set(key, &[flag(CKA_WRAP, false)]).expect("a role is given up");
        refused(token.set(key, &later), CKR_TEMPLATE_INCONSISTENT);
    } else {
        let copy = token.copy(key, &later).expect("C_CopyObject");
        token.set(key, &later).expect("C_SetAttributeValue");
        for key in [key, copy] {
            let text = token.decrypt(&cbc(CKM_AES_CBC), key, &blob[..32]);
            refused(text, CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
    }
    // The other way round: a key that decrypts becomes one that wraps.
    let key = token.aes(&[flag(CKA_DECRYPT, true)]).expect("a key");
    let wraps = token.set(key, &[flag(CKA_WRAP, true)]);
    if token.strict() {
        refused(wraps, CKR_TEMPLATE_INCONSISTENT);
    } else {
        wraps.expect("C_SetAttributeValue");
        let blob = token.wrap(&kw(), key, token.prize()).expect("C_WrapKey");
        let text = token.decrypt(&cbc(CKM_AES_CBC), key, &blob[..32]);
        refused(text, CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    reencryption(token);
}

/// The same for the roles of unwrapping and encryption.
fn reencryption(token: &Token<'_>) {
    let key = token
        .aes(&[flag(CKA_UNWRAP, true), flag(CKA_ENCRYPT, false)])
        .expect("a key");
    let added = token.set(key, &[flag(CKA_ENCRYPT, true)]);
    if token.strict() {
        refused(added, CKR_TEMPLATE_INCONSISTENT);
        return;
    }
    added.expect("C_SetAttributeValue");
    let blob = token.encrypt(&kw(), key, &[3; 32]).expect("C_Encrypt");
    let known = token
        .unwrap(&kw(), key, &blob, &all(&[&secret(CKK_AES), &[flag(CKA_WRAP, true)]]))
        .expect("C_UnwrapKey");
    refused(token.wrap(&kw(), known, token.prize()), CKR_KEY_NOT_WRAPPABLE);
}

/// A way to change a key's attributes, or those of a copy.
type Way<'a> = dyn Fn(&[Attribute]) -> Result<(), Rv> + 'a;

/// One-way attributes, and values that nobody sets.
pub(super) fn loosen(token: &Token<'_>) {
    let key = token.aes(&[]).expect("a key with the defaults");
    let (_, private) = token.rsa(&[], &[]).expect("a pair");
    for key in [key, private] {
        let ways: [&Way<'_>; 2] = [&|template| token.set(key, template), &|template| {
            token.copy(key, template).map(drop)
        }];
        for way in ways {
            for loose in readable() {
                refused(way(&[loose]), CKR_ATTRIBUTE_READ_ONLY);
            }
            for claim in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
                refused(way(&[flag(claim, true)]), CKR_ATTRIBUTE_READ_ONLY);
            }
            for value in [CKA_VALUE, CKA_UNIQUE_ID] {
                refused(way(&[bytes(value, [1; 32])]).map_err(known), CKR_ATTRIBUTE_READ_ONLY);
            }
            refused(way(&[number(CKA_CLASS, CKO_DATA)]), CKR_ATTRIBUTE_READ_ONLY);
            refused(
                way(&[number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)]),
                CKR_ATTRIBUTE_READ_ONLY,
            );
        }
    }
    refused(token.get(key, CKA_VALUE), CKR_ATTRIBUTE_SENSITIVE);
    let parts = [
        CKA_PRIVATE_EXPONENT,
        CKA_PRIME_1,
        CKA_PRIME_2,
        CKA_EXPONENT_1,
        CKA_EXPONENT_2,
        CKA_COEFFICIENT,
    ];
    for part in parts {
        refused(token.get(private, part), CKR_ATTRIBUTE_SENSITIVE);
        refused(token.set(private, &[bytes(part, [1; 128])]), CKR_ATTRIBUTE_READ_ONLY);
    }
    refused(
        token.set(private, &[bytes(CKA_MODULUS, [1; 256])]),
        CKR_ATTRIBUTE_READ_ONLY,
    );
    // Only one of two locks is open: a value leaves by neither alone.
    for half in readable() {
        let key = token.aes(&[half]).expect("a key");
        refused(token.get(key, CKA_VALUE), CKR_ATTRIBUTE_SENSITIVE);
    }
    // Readable once, then closed: it stays known, so it wraps nothing sensitive.
    let once = all(&[&readable(), &[flag(CKA_WRAP, true)]]);
    let once = token.aes(&once).expect("a readable key");
    assert_eq!(token.get(once, CKA_VALUE).map(|value| value.len()), Ok(32));
    token
        .set(once, &[flag(CKA_SENSITIVE, true)])
        .expect("C_SetAttributeValue");
    refused(token.get(once, CKA_VALUE), CKR_ATTRIBUTE_SENSITIVE);
    for key in [once, token.copy(once, &[]).expect("C_CopyObject")] {
        refused(token.wrap(&kw(), key, token.prize()), CKR_KEY_NOT_WRAPPABLE);
    }
}

/// A private RSA key has no CKA_VALUE: that code is as good.
fn known(rv: Rv) -> Rv {
    match rv {
        Rv(CKR_ATTRIBUTE_TYPE_INVALID) => Rv(CKR_ATTRIBUTE_READ_ONLY),
        other => other,
    }
}

/// CKA_WRAP_WITH_TRUSTED is not taken back; CKA_TRUSTED is the officer's to give; what an unwrapping key imposes holds.
pub(super) fn claim_trust(token: &Token<'_>) {
    let key = token.aes(&[flag(CKA_WRAP, true)]).expect("a wrapping key");
    let guarded = token
        .aes(&[flag(CKA_EXTRACTABLE, true), flag(CKA_WRAP_WITH_TRUSTED, true)])
        .expect("a guarded key");
    refused(token.wrap(&kw(), key, guarded), CKR_KEY_NOT_WRAPPABLE);
    let off = [flag(CKA_WRAP_WITH_TRUSTED, false)];
    refused(token.set(guarded, &off), CKR_ATTRIBUTE_READ_ONLY);
    refused(token.copy(guarded, &off), CKR_ATTRIBUTE_READ_ONLY);
    let copy = token.copy(guarded, &[]).expect("C_CopyObject");
    refused(token.wrap(&kw(), copy, guarded), CKR_KEY_FUNCTION_NOT_PERMITTED);
    refused(token.wrap(&kw(), key, copy), CKR_KEY_NOT_WRAPPABLE);
    let trusted = [flag(CKA_TRUSTED, true)];
    refused(token.aes(&trusted), CKR_ATTRIBUTE_READ_ONLY);
    refused(token.import(&[1; 32], &trusted), CKR_ATTRIBUTE_READ_ONLY);
    refused(token.set(key, &trusted), CKR_ATTRIBUTE_READ_ONLY);
    refused(token.copy(key, &trusted), CKR_ATTRIBUTE_READ_ONLY);
    refused(token.rsa(&trusted, &[]), CKR_ATTRIBUTE_READ_ONLY);
    let officers = token.trusted(&[flag(CKA_WRAP, true)]).expect("the officer's key");
    token
        .wrap(&kw(), officers, guarded)
        .expect("by the officer's key it may leave");
    let copy = token.copy(officers, &[flag(CKA_LABEL, false)]).expect("C_CopyObject");
    assert!(!token.is(copy, CKA_TRUSTED), "the officer trusted that very key");
    refused(token.wrap(&kw(), copy, guarded), CKR_KEY_NOT_WRAPPABLE);
    imposed(token);
}

/// CKA_UNWRAP_TEMPLATE and CKA_WRAP_TEMPLATE.
fn imposed(token: &Token<'_>) {
    let closed = [flag(CKA_SENSITIVE, true), flag(CKA_EXTRACTABLE, false)];
    let key = token
        .wrapping_key(&[
            flag(CKA_UNWRAP, true),
            array(CKA_UNWRAP_TEMPLATE, &closed),
            array(CKA_WRAP_TEMPLATE, &[bytes(CKA_ID, b"wrappable")]),
        ])
        .expect("a key with templates");
    refused(token.wrap(&kw(), key, token.prize()), CKR_KEY_NOT_WRAPPABLE);
    let inner = token
        .aes(&all(&[&readable(), &[bytes(CKA_ID, b"wrappable")]]))
        .expect("a readable key");
    let blob = token.wrap(&kw(), key, inner).expect("C_WrapKey");
    for loose in readable() {
        let template = all(&[&secret(CKK_AES), &[loose]]);
        refused(token.unwrap(&kw(), key, &blob, &template), CKR_TEMPLATE_INCONSISTENT);
    }
    let back = token.unwrap(&kw(), key, &blob, &secret(CKK_AES)).expect("C_UnwrapKey");
    assert!(token.is(back, CKA_SENSITIVE) && !token.is(back, CKA_EXTRACTABLE));
    refused(
        token.set(key, &[array(CKA_UNWRAP_TEMPLATE, &[])]),
        CKR_ATTRIBUTE_READ_ONLY,
    );
}

const EVERY: [CK_ATTRIBUTE_TYPE; 9] = [
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_SIGN_RECOVER,
    CKA_VERIFY_RECOVER,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_DERIVE,
];

/// Each flag by itself: all others on, this one off.
pub(super) fn use_without_flag(token: &Token<'_>) {
    let but = |named: &[CK_ATTRIBUTE_TYPE]| -> Vec<Attribute> { named.iter().map(|kind| flag(*kind, false)).collect() };
    let denied = CKR_KEY_FUNCTION_NOT_PERMITTED;
    let secret_flags = [
        CKA_ENCRYPT,
        CKA_DECRYPT,
        CKA_SIGN,
        CKA_VERIFY,
        CKA_WRAP,
        CKA_UNWRAP,
        CKA_DERIVE,
    ];
    let key = token.aes(&but(&secret_flags)).expect("a key that may nothing");
    let started = |function: &str, mechanism: &Mechanism, key: Object| {
        refused(token.module.start(function, token.session, mechanism, key), denied);
    };
    started("C_EncryptInit", &cbc(CKM_AES_CBC), key);
    started("C_DecryptInit", &cbc(CKM_AES_CBC), key);
    started("C_SignInit", &Mechanism::Plain(CKM_AES_CMAC), key);
    started("C_VerifyInit", &Mechanism::Plain(CKM_AES_CMAC), key);
    refused(token.wrap(&kw(), key, token.prize()), denied);
    refused(token.unwrap(&kw(), key, &[0; 40], &secret(CKK_AES)), denied);
    let public = but(&[CKA_ENCRYPT, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP]);
    let private = but(&[CKA_DECRYPT, CKA_SIGN, CKA_SIGN_RECOVER, CKA_UNWRAP]);
    let (public, private) = token.rsa(&public, &private).expect("a pair");
    started("C_EncryptInit", &oaep(), public);
    started("C_DecryptInit", &oaep(), private);
    let pkcs1 = Mechanism::Plain(CKM_SHA256_RSA_PKCS);
    started("C_SignInit", &pkcs1, private);
    started("C_VerifyInit", &pkcs1, public);
    started("C_SignRecoverInit", &Mechanism::Plain(CKM_RSA_PKCS), private);
    started("C_VerifyRecoverInit", &Mechanism::Plain(CKM_RSA_PKCS), public);
    refused(token.wrap(&oaep(), public, token.prize()), denied);
    refused(token.unwrap(&oaep(), private, &[1; 256], &secret(CKK_AES)), denied);
    let (public, private) = token
        .pair(
            CKM_EC_KEY_PAIR_GEN,
            P256,
            &but(&[CKA_VERIFY]),
            &but(&[CKA_SIGN, CKA_DERIVE]),
        )
        .expect("a pair");
    started("C_SignInit", &Mechanism::Plain(CKM_ECDSA_SHA256), private);
    started("C_VerifyInit", &Mechanism::Plain(CKM_ECDSA_SHA256), public);
    let agree = Mechanism::Ecdh {
        public: token.get(public, CKA_EC_POINT).expect("a point"),
    };
    refused(token.derive(&agree, private, &secret(CKK_GENERIC_SECRET)), denied);
    if token.strict() {
        // Nothing is allowed that was not named.
        let silent = token.aes(&[]).expect("a key");
        let (public, private) = token.rsa(&[], &[]).expect("a pair");
        for key in [silent, public, private] {
            for kind in EVERY {
                assert!(!token.is(key, kind), "{kind:#x}");
            }
        }
    }
}
