//! What comes from outside: A04, A05, A21.

use cryptoki_sys::*;
use hsmd_tests::template::{Mechanism, bytes, flag, number};

use super::token::{Token, all, cbc, kw, kwp, oaep, readable, refused, secret};

/// A key that the attacker knows wraps nothing sensitive, however it got in and whatever was done with it since.
pub(super) fn known_wrapping_key(token: &Token<'_>) {
    let wraps = [flag(CKA_WRAP, true)];
    let known = token.import(&[7; 32], &wraps).expect("C_CreateObject");
    let prize = token.prize();
    let copy = token.copy(known, &[flag(CKA_TOKEN, true)]).expect("C_CopyObject");
    let closed = all(&[&wraps, &[flag(CKA_SENSITIVE, true), flag(CKA_EXTRACTABLE, false)]]);
    let closed = token.import(&[7; 32], &closed).expect("C_CreateObject");
    for key in [known, copy, closed] {
        for mechanism in [kw(), kwp(), Mechanism::Plain(CKM_AES_KEY_WRAP_PAD)] {
            refused(token.wrap(&mechanism, key, prize), CKR_KEY_NOT_WRAPPABLE);
        }
    }
    // Laundered: wrapped and unwrapped inside, where nobody saw it.
    let outer = token.wrapping_key(&[flag(CKA_UNWRAP, true)]).expect("a wrapping key");
    let may_leave = token
        .import(&[8; 32], &[flag(CKA_EXTRACTABLE, true), flag(CKA_WRAP, true)])
        .expect("C_CreateObject");
    let blob = token.wrap(&kw(), outer, may_leave).expect("C_WrapKey");
    let back = token
        .unwrap(&kw(), outer, &blob, &all(&[&secret(CKK_AES), &wraps]))
        .expect("C_UnwrapKey");
    refused(token.wrap(&kw(), back, prize), CKR_KEY_NOT_WRAPPABLE);
    // Made here, but readable from the start or for a moment.
    let open = token.aes(&all(&[&readable(), &wraps])).expect("C_GenerateKey");
    refused(token.wrap(&kw(), open, prize), CKR_KEY_NOT_WRAPPABLE);
    let refusal = if token.strict() {
        CKR_MECHANISM_INVALID
    } else {
        CKR_KEY_NOT_WRAPPABLE
    };
    refused(token.wrap(&cbc(CKM_AES_CBC_PAD), known, prize), refusal);
}

/// The public key of a pair whose private half the attacker has, made here or imported.
pub(super) fn known_public_key(token: &Token<'_>) {
    let wraps = [flag(CKA_WRAP, true)];
    let (public, private) = token.rsa(&wraps, &readable()).expect("a pair");
    let prize = token.prize();
    refused(token.wrap(&oaep(), public, prize), CKR_KEY_NOT_WRAPPABLE);
    assert!(token.get(private, CKA_PRIVATE_EXPONENT).is_ok(), "the attacker has it");
    let modulus = token.get(public, CKA_MODULUS).expect("a modulus");
    let template = [
        number(CKA_CLASS, CKO_PUBLIC_KEY),
        number(CKA_KEY_TYPE, CKK_RSA),
        bytes(CKA_MODULUS, modulus),
        bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1]),
        flag(CKA_WRAP, true),
    ];
    let imported = token.module.create(token.session, &template).expect("C_CreateObject");
    refused(token.wrap(&oaep(), imported, prize), CKR_KEY_NOT_WRAPPABLE);
    let copy = token.copy(imported, &[flag(CKA_TOKEN, true)]).expect("C_CopyObject");
    refused(token.wrap(&oaep(), copy, prize), CKR_KEY_NOT_WRAPPABLE);
    let trusted = all(&[&template, &[flag(CKA_TRUSTED, true)]]);
    refused(token.module.create(token.session, &trusted), CKR_ATTRIBUTE_READ_ONLY);
    for mechanism in [Mechanism::Plain(CKM_RSA_PKCS), Mechanism::Plain(CKM_RSA_X_509)] {
        refused(token.wrap(&mechanism, imported, prize), CKR_MECHANISM_INVALID);
    }
    refused(token.wrap(&oaep(), private, prize), CKR_WRAPPING_KEY_TYPE_INCONSISTENT);
}

/// An imported key was neither made here nor always closed, and says so.
pub(super) fn claim_history(token: &Token<'_>) {
    for claim in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
        for value in [true, false] {
            refused(token.import(&[2; 32], &[flag(claim, value)]), CKR_ATTRIBUTE_READ_ONLY);
            refused(token.aes(&[flag(claim, value)]), CKR_ATTRIBUTE_READ_ONLY);
        }
    }
    let mechanism = [number(CKA_KEY_GEN_MECHANISM, CKM_AES_KEY_GEN)];
    refused(token.import(&[2; 32], &mechanism), CKR_ATTRIBUTE_READ_ONLY);
    let closed = [flag(CKA_SENSITIVE, true), flag(CKA_EXTRACTABLE, false)];
    let imported = token.import(&[2; 32], &closed).expect("C_CreateObject");
    let copy = token.copy(imported, &[]).expect("C_CopyObject");
    for key in [imported, copy] {
        for claim in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
            assert!(!token.is(key, claim), "{claim:#x}");
        }
        let unknown = CK_UNAVAILABLE_INFORMATION.to_ne_bytes().to_vec();
        assert_eq!(token.get(key, CKA_KEY_GEN_MECHANISM), Ok(unknown));
    }
    let generated = token.aes(&[]).expect("C_GenerateKey");
    for claim in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
        assert!(token.is(generated, claim), "{claim:#x}");
    }
    // A key that was open once was not always closed.
    let open = token.aes(&readable()).expect("C_GenerateKey");
    token.set(open, &closed).expect("C_SetAttributeValue");
    assert!(!token.is(open, CKA_ALWAYS_SENSITIVE) && !token.is(open, CKA_NEVER_EXTRACTABLE));
}
