//! What a template leaves open, and what a copy makes of it: A23.

use cryptoki_sys::*;
use hsmd_tests::module::Object;
use hsmd_tests::template::{Mechanism, P256, bytes, flag, number};

use super::token::{Token, all, kw, refused, secret};

/// Keys of every origin with a template that says nothing are closed, and wrap nothing.
pub(super) fn defaults(token: &Token<'_>) {
    let generated = token.aes(&[]).expect("C_GenerateKey");
    let imported = token.import(&[1; 32], &[]).expect("C_CreateObject");
    let copied = token.copy(generated, &[]).expect("C_CopyObject");
    let (_, rsa) = token.rsa(&[], &[]).expect("a pair");
    let (_, ec) = token
        .pair(CKM_EC_KEY_PAIR_GEN, P256, &[], &[flag(CKA_DERIVE, true)])
        .expect("a pair");
    for key in [generated, imported, copied, rsa, ec] {
        closed(token, key);
    }
    for key in [generated, imported, copied] {
        assert!(!token.is(key, CKA_WRAP) && !token.is(key, CKA_UNWRAP) && !token.is(key, CKA_TRUSTED));
        refused(token.wrap(&kw(), key, token.prize()), CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    let other = token.wrapping_key(&[flag(CKA_UNWRAP, true)]).expect("a wrapping key");
    let blob = token.wrap(&kw(), other, token.prize()).expect("C_WrapKey");
    let unwrapped = token
        .unwrap(&kw(), other, &blob, &secret(CKK_AES))
        .expect("C_UnwrapKey");
    closed(token, unwrapped);
    assert!(!token.is(unwrapped, CKA_WRAP) && !token.is(unwrapped, CKA_UNWRAP));
    agreed(token, ec);
}

fn closed(token: &Token<'_>, key: Object) {
    for on in [CKA_SENSITIVE, CKA_PRIVATE] {
        assert!(token.is(key, on), "{on:#x}");
    }
    assert!(!token.is(key, CKA_EXTRACTABLE));
}

/// An agreed AES key is closed like any other; Java reads a generic secret under `standard`, and under `standard` alone.
fn agreed(token: &Token<'_>, private: Object) {
    let (public, _) = token.pair(CKM_EC_KEY_PAIR_GEN, P256, &[], &[]).expect("a pair");
    let agree = Mechanism::Ecdh {
        public: token.get(public, CKA_EC_POINT).expect("a point"),
    };
    let aes = all(&[
        &secret(CKK_AES),
        &[number(CKA_VALUE_LEN, 32), bytes(CKA_LABEL, "agreed")],
    ]);
    closed(token, token.derive(&agree, private, &aes).expect("C_DeriveKey"));
    let generic = token
        .derive(&agree, private, &secret(CKK_GENERIC_SECRET))
        .expect("C_DeriveKey");
    assert_eq!(token.is(generic, CKA_SENSITIVE), token.strict());
}
