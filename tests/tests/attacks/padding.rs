//! Oracles that a padding makes: A15, A16.

use std::collections::BTreeSet;

use cryptoki_sys::*;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Mechanism, flag};

use super::token::{Token, all, kw, oaep, readable, refused, secret};

/// So many ciphertexts that no padding fits: Bleichenbacher's attack needs one answer that differs in about 65,536 of
/// these, and Manger's none of those.
const FORGERIES: u32 = 200;

/// PKCS #1 v1.5, and OAEP beside it.
pub(super) fn pkcs1(token: &Token<'_>) {
    let (public, private) = token
        .rsa(&[flag(CKA_ENCRYPT, true)], &[flag(CKA_DECRYPT, true)])
        .expect("a pair");
    let padded = Mechanism::Plain(CKM_RSA_PKCS);
    let raw = Mechanism::Plain(CKM_RSA_X_509);
    let (_, unwraps) = token.rsa(&[], &[flag(CKA_UNWRAP, true)]).expect("a pair");
    for mechanism in [&padded, &raw] {
        let unwrapped = token.unwrap(mechanism, unwraps, &[1; 256], &secret(CKK_AES));
        refused(unwrapped, CKR_MECHANISM_INVALID);
    }
    if token.strict() {
        for mechanism in [&padded, &raw] {
            refused(token.decrypt(mechanism, private, &[1; 256]), CKR_MECHANISM_INVALID);
        }
        refused(
            token.module.start("C_SignInit", token.session, &raw, private),
            CKR_MECHANISM_INVALID,
        );
    } else {
        implicit_rejection(
            token,
            private,
            &token.encrypt(&padded, public, b"text").expect("C_Encrypt"),
        );
    }
    let sealed = token.encrypt(&oaep(), public, b"text").expect("C_Encrypt");
    for index in 0..FORGERIES / 4 {
        let text = token.decrypt(&oaep(), private, &forged(&sealed, index));
        refused(text, CKR_ENCRYPTED_DATA_INVALID);
    }
}

/// Every ciphertext gives some text, the same one each time, and no length says that it is none.
fn implicit_rejection(token: &Token<'_>, private: u64, sealed: &[u8]) {
    let padded = Mechanism::Plain(CKM_RSA_PKCS);
    assert_eq!(token.decrypt(&padded, private, sealed), Ok(b"text".to_vec()));
    let mut lengths = BTreeSet::new();
    for index in 0..FORGERIES {
        let forged = forged(sealed, index);
        let text = token.decrypt(&padded, private, &forged).expect("a synthetic text");
        lengths.insert(text.len());
        if index.is_multiple_of(16) {
            assert_eq!(token.decrypt(&padded, private, &forged), Ok(text), "twice the same");
        }
    }
    assert!(lengths.len() > 20, "lengths are drawn: {lengths:?}");
    // What the numbers alone betray is no padding: as long as the modulus, and below it.
    for length in [255, 257] {
        refused(
            token.decrypt(&padded, private, &vec![1; length]),
            CKR_ENCRYPTED_DATA_LEN_RANGE,
        );
    }
}

fn forged(sealed: &[u8], index: u32) -> Vec<u8> {
    let mut forged = sealed.to_vec();
    // The first byte stays, so that the number is below the modulus.
    let at = 1 + index as usize % (forged.len() - 1);
    forged[at] ^= 1 << (index % 8);
    forged[255] = forged[255].wrapping_add(index as u8 | 1);
    forged
}

/// CBC_PAD: nothing sensitive is in such a blob, no blob of another mechanism is taken for one, who may not decrypt does not
/// unwrap so, and decryption has one code.
pub(super) fn cbc(token: &Token<'_>) {
    let padded = super::token::cbc(CKM_AES_CBC_PAD);
    let key = token
        .wrapping_key(&[flag(CKA_UNWRAP, true), flag(CKA_DECRYPT, false)])
        .expect("a wrapping key");
    let prize = token.prize();
    let wrapped = token.wrap(&padded, key, prize);
    let unwrapped = |blob: &[u8]| token.unwrap(&padded, key, blob, &secret(CKK_GENERIC_SECRET));
    if token.strict() {
        refused(wrapped, CKR_MECHANISM_INVALID);
        refused(unwrapped(&[0; 32]), CKR_MECHANISM_INVALID);
    } else {
        refused(wrapped, CKR_KEY_NOT_WRAPPABLE);
        // Before it wrapped anything: what C_Decrypt would not tell, C_UnwrapKey does not.
        refused(unwrapped(&[0; 32]), CKR_KEY_FUNCTION_NOT_PERMITTED);
        let blob = token.wrap(&kw(), key, prize).expect("C_WrapKey");
        token.set(key, &[flag(CKA_DECRYPT, true)]).expect("C_SetAttributeValue");
        // Vaudenay's question about each byte, asked of the wrapped prize.
        for last in 0..=255 {
            let mut asked = blob[..32].to_vec();
            asked[15] = last;
            refused(unwrapped(&asked), CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
        compatible(token, &padded);
    }
    one_code(token, &padded);
}

/// Keys that are readable anyway go in and out, as with SoftHSM.
fn compatible(token: &Token<'_>, padded: &Mechanism) {
    let roles = [flag(CKA_WRAP, true), flag(CKA_UNWRAP, true), flag(CKA_DECRYPT, true)];
    let key = token.aes(&roles).expect("a key");
    let open = token.aes(&readable()).expect("a readable key");
    let blob = token.wrap(padded, key, open).expect("C_WrapKey");
    let template = all(&[&secret(CKK_AES), &readable()]);
    let back = token.unwrap(padded, key, &blob, &template).expect("C_UnwrapKey");
    assert_eq!(token.get(back, CKA_VALUE), token.get(open, CKA_VALUE));
}

fn one_code(token: &Token<'_>, padded: &Mechanism) {
    let key = token.aes(&[flag(CKA_DECRYPT, true)]).expect("a key");
    let mut codes = BTreeSet::new();
    for index in 0..64_u8 {
        if let Err(Rv(code)) = token.decrypt(padded, key, &[index; 32]) {
            codes.insert(code);
        }
    }
    assert_eq!(codes, BTreeSet::from([CKR_ENCRYPTED_DATA_INVALID]));
    let whole = cbc_whole();
    refused(token.decrypt(&whole, key, &[0; 31]), CKR_ENCRYPTED_DATA_LEN_RANGE);
    assert!(token.decrypt(&whole, key, &[0; 32]).is_ok(), "{:?}", Rv(CKR_OK));
}

fn cbc_whole() -> Mechanism {
    super::token::cbc(CKM_AES_CBC)
}
