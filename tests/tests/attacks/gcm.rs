//! AES-GCM misused: A17. Under `strict` and `fips` the daemon makes the IV; and so for AES-CCM.

use std::collections::BTreeSet;
use std::mem::offset_of;

use cryptoki_sys::*;
use hsmd_tests::module::Object;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Mechanism, Word, flag, words};

use super::token::{Token, refused};

fn gcm(iv: &[u8], tag_bits: CK_ULONG) -> Mechanism {
    Mechanism::Gcm {
        iv: iv.to_vec(),
        aad: b"data".to_vec(),
        tag_bits,
    }
}

/// A place for an IV, and the mechanism that points there: the token writes what it made.
fn place(iv: &mut [u8]) -> Mechanism {
    let at = iv.as_mut_ptr() as usize;
    let aad: &[u8] = b"data";
    let fields = [at, iv.len(), iv.len() * 8].map(Word::Number);
    let rest = [Word::Bytes(aad), Word::Number(aad.len()), Word::Number(128)];
    words(CKM_AES_GCM, &[fields, rest].concat())
}

/// An IV twice, none, a short tag, text before the tag is checked.
pub(super) fn misuse(token: &Token<'_>) {
    let encrypts = token
        .aes(&[flag(CKA_ENCRYPT, true), flag(CKA_DECRYPT, true)])
        .expect("a key");
    for (iv, tag_bits) in [
        (&[][..], 128),
        (&[7; 12], 0),
        (&[7; 12], 8),
        (&[7; 12], 64),
        (&[7; 12], 95),
        (&[7; 12], 129),
    ] {
        for function in ["C_EncryptInit", "C_DecryptInit"] {
            let begun = token
                .module
                .start(function, token.session, &gcm(iv, tag_bits), encrypts);
            refused(begun, CKR_MECHANISM_PARAM_INVALID);
        }
    }
    let (iv, sealed) = if token.strict() {
        made_by_the_daemon(token, encrypts)
    } else {
        given_by_the_caller(token, encrypts)
    };
    let whole = gcm(&iv, 128);
    assert_eq!(
        token.decrypt(&whole, encrypts, &sealed),
        Ok(b"a first message".to_vec())
    );
    for at in [0, sealed.len() - 16, sealed.len() - 1] {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        refused(token.decrypt(&whole, encrypts, &damaged), CKR_ENCRYPTED_DATA_INVALID);
        in_parts(token, &whole, encrypts, &damaged);
    }
    messages(token, encrypts);
    ccm(token, encrypts);
}

/// The nonces of CCM, whose structure is another.
fn ccm(token: &Token<'_>, key: Object) {
    let text = b"thirty-two bytes of text to seal";
    let with = |nonce: &mut [u8]| {
        let (at, length) = (nonce.as_mut_ptr() as usize, nonce.len());
        let fields = [text.len(), at, length, 0, 0, 16].map(Word::Number);
        words(CKM_AES_CCM, &fields)
    };
    let mut seen = BTreeSet::new();
    for round in 0..20 {
        let mut nonce = if token.strict() {
            vec![0; 12]
        } else {
            vec![0x40 + round; 12]
        };
        let sealed = token.encrypt(&with(&mut nonce), key, text).expect("C_Encrypt");
        assert!(seen.insert(nonce.clone()) && nonce != [0; 12], "{nonce:?}");
        assert_eq!(token.decrypt(&with(&mut nonce), key, &sealed).as_deref(), Ok(&text[..]));
        let other = token.encrypt(&with(&mut nonce), key, b"other text of as many bytes: 32.");
        // Under the stricter policies it is refused at once, for it is not zeros.
        let code = if token.strict() {
            CKR_MECHANISM_PARAM_INVALID
        } else {
            CKR_FUNCTION_FAILED
        };
        refused(other, code);
    }
    if token.strict() {
        for mut nonce in [vec![0; 7], vec![0; 13]] {
            refused(token.encrypt(&with(&mut nonce), key, text), CKR_MECHANISM_PARAM_INVALID);
        }
    }
}

/// Nothing comes out before the end, and nothing at the end.
fn in_parts(token: &Token<'_>, mechanism: &Mechanism, key: Object, damaged: &[u8]) {
    let big = [&[0; 4096][..], damaged].concat();
    token
        .module
        .start("C_DecryptInit", token.session, mechanism, key)
        .expect("C_DecryptInit");
    for part in big.chunks(512) {
        assert_eq!(token.update("C_DecryptUpdate", part), Ok(Vec::new()));
    }
    let (mut out, mut length) = (vec![0x55_u8; 8192], 8192 as CK_ULONG);
    let last = token.call("C_DecryptFinal", &[out.as_mut_ptr() as usize, &raw mut length as usize]);
    refused(last, CKR_ENCRYPTED_DATA_INVALID);
    assert!(out.iter().all(|byte| *byte == 0x55), "nothing was written");
}

/// The same IV for another message is refused, also with a copy of the key; the same request again is not another.
fn given_by_the_caller(token: &Token<'_>, key: Object) -> (Vec<u8>, Vec<u8>) {
    let (first, second) = (b"a first message", b"a second message");
    let iv = vec![7; 12];
    let sealed = token.encrypt(&gcm(&iv, 128), key, first).expect("C_Encrypt");
    assert_eq!(token.encrypt(&gcm(&iv, 128), key, first).as_ref(), Ok(&sealed));
    let copy = token.copy(key, &[]).expect("C_CopyObject");
    for key in [key, copy] {
        refused(token.encrypt(&gcm(&iv, 128), key, second), CKR_FUNCTION_FAILED);
        refused(token.encrypt(&gcm(&iv, 96), key, second), CKR_FUNCTION_FAILED);
    }
    (iv, sealed)
}

/// An IV that the caller chose is refused; where it gives zeros the token writes one that never comes again.
fn made_by_the_daemon(token: &Token<'_>, key: Object) -> (Vec<u8>, Vec<u8>) {
    for iv in [vec![7; 12], vec![0; 16], vec![0; 1], [vec![0; 11], vec![1]].concat()] {
        let begun = token.module.start("C_EncryptInit", token.session, &gcm(&iv, 128), key);
        refused(begun, CKR_MECHANISM_PARAM_INVALID);
    }
    let mut seen = BTreeSet::new();
    let mut last = None;
    for _ in 0..20 {
        let mut iv = vec![0; 12];
        let sealed = token
            .encrypt(&place(&mut iv), key, b"a first message")
            .expect("C_Encrypt");
        assert!(iv != [0; 12] && seen.insert(iv.clone()), "{iv:?}");
        last = Some((iv, sealed));
    }
    last.expect("twenty of them")
}

/// The message functions of 3.0: the generator is the token's, or under `standard` the caller's.
fn messages(token: &Token<'_>, key: Object) {
    let list = token
        .module
        .library
        .interface([3, 0], size_of::<CK_FUNCTION_LIST_3_0>());
    let list = list.expect("C_GetInterface");
    let call = |name: &str, offset: usize, words: &[usize]| {
        Rv::check(
            token
                .module
                .library
                .call_pointer(name, list[offset / size_of::<usize>() - 1], words),
        )
    };
    let session = token.session as usize;
    let plain = CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: std::ptr::null_mut(),
        ulParameterLen: 0,
    };
    let init = offset_of!(CK_FUNCTION_LIST_3_0, C_MessageEncryptInit);
    call(
        "C_MessageEncryptInit",
        init,
        &[session, &raw const plain as usize, key as usize],
    )
    .expect("Init");
    let message = |iv: &mut [u8; 12], generator| {
        let (mut tag, mut out, mut length) = ([0_u8; 16], [0_u8; 64], 64 as CK_ULONG);
        let parameter = CK_GCM_MESSAGE_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvFixedBits: 0,
            ivGenerator: generator,
            pTag: tag.as_mut_ptr(),
            ulTagBits: 128,
        };
        let words = [
            session,
            &raw const parameter as usize,
            size_of_val(&parameter),
            0,
            0,
            b"text".as_ptr() as usize,
            4,
            out.as_mut_ptr() as usize,
            &raw mut length as usize,
        ];
        call(
            "C_EncryptMessage",
            offset_of!(CK_FUNCTION_LIST_3_0, C_EncryptMessage),
            &words,
        )
    };
    let given = message(&mut [9; 12], CKG_NO_GENERATE);
    if token.strict() {
        refused(given, CKR_ARGUMENTS_BAD);
    } else {
        given.expect("an IV of the caller's");
    }
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let mut iv = [0; 12];
        message(&mut iv, CKG_GENERATE).expect("C_EncryptMessage");
        assert!(seen.insert(iv), "{iv:?}");
    }
    let finish = offset_of!(CK_FUNCTION_LIST_3_0, C_MessageEncryptFinal);
    call("C_MessageEncryptFinal", finish, &[session]).expect("Final");
}
