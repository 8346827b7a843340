//! Derivations that give the base away, and points chosen to learn it: A11, A13, A14.

use cryptoki_sys::*;
use hsmd_tests::module::Object;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, P256, P384, Word, bytes, flag, number, words};

use super::token::{Token, all, kw, readable, refused, secret};

/// The DER of the object identifier of X25519 (RFC 8410, 3).
const X25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x6e];

/// Invertible derivations from a sensitive key; an agreement into data, into few bytes, and with attributes that the base
/// forbids.
pub(super) fn readable_or_short(token: &Token<'_>) {
    invertible(token);
    let flags = [flag(CKA_DERIVE, true)];
    let (public, private) = token.pair(CKM_EC_KEY_PAIR_GEN, P256, &[], &flags).expect("a pair");
    let agree = Mechanism::Ecdh {
        public: token.get(public, CKA_EC_POINT).expect("a point"),
    };
    let clash = CKR_TEMPLATE_INCONSISTENT;
    for class in [CKO_DATA, CKO_PRIVATE_KEY, CKO_CERTIFICATE] {
        let template = [number(CKA_CLASS, class), number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)];
        refused(token.derive(&agree, private, &template), clash);
    }
    // A key of one byte is guessed in 256 tries, the next one in 256 more (Clulow's reduced key space).
    for length in 1..14 {
        let template = all(&[&secret(CKK_GENERIC_SECRET), &[number(CKA_VALUE_LEN, length)]]);
        refused(token.derive(&agree, private, &template), clash);
    }
    let beyond = all(&[&secret(CKK_GENERIC_SECRET), &[number(CKA_VALUE_LEN, 33)]]);
    refused(token.derive(&agree, private, &beyond), clash);
    // Whoever sent the point knows the secret: it wraps nothing sensitive.
    let wraps = all(&[&secret(CKK_AES), &[flag(CKA_WRAP, true)]]);
    let agreed = token.derive(&agree, private, &wraps).expect("C_DeriveKey");
    refused(token.wrap(&kw(), agreed, token.prize()), CKR_KEY_NOT_WRAPPABLE);
}

/// Concatenation, XOR, extraction: under `standard` as readable as the base, under the stricter policies none. Encryption of data
/// is not here; would it come, its result must not be readable.
fn invertible(token: &Token<'_>) {
    if !token.strict() {
        byte_by_byte(token);
    }
    let flags = [flag(CKA_DERIVE, true), flag(CKA_EXTRACTABLE, true)];
    let generic = all(&[&[number(CKA_VALUE_LEN, 32)], &flags]);
    let generic = token
        .module
        .generate_key(token.session, &Mechanism::Plain(CKM_GENERIC_SECRET_KEY_GEN), &generic)
        .expect("C_GenerateKey");
    let aes = token.aes(&flags).expect("C_GenerateKey");
    let data = |kind, bytes: &[u8]| words(kind, &[Word::Bytes(bytes), Word::Number(bytes.len())]);
    let iv = [0_usize; 2].map(Word::Number);
    let cbc_data = |kind| words(kind, &[iv[0], iv[1], Word::Bytes(&[0; 32]), Word::Number(32)]);
    let every = [
        (generic, data(CKM_XOR_BASE_AND_DATA, &[0; 32])),
        (generic, data(CKM_CONCATENATE_BASE_AND_DATA, &[0; 1])),
        (generic, data(CKM_CONCATENATE_DATA_AND_BASE, &[0; 1])),
        (
            generic,
            words(CKM_CONCATENATE_BASE_AND_KEY, &[Word::Number(generic as usize)]),
        ),
        (generic, words(CKM_EXTRACT_KEY_FROM_KEY, &[Word::Number(8)])),
        (aes, data(CKM_AES_ECB_ENCRYPT_DATA, &[0; 32])),
        (aes, cbc_data(CKM_AES_CBC_ENCRYPT_DATA)),
        (aes, data(CKM_DES3_ECB_ENCRYPT_DATA, &[0; 32])),
        (aes, cbc_data(CKM_DES3_CBC_ENCRYPT_DATA)),
    ];
    let offered = token
        .module
        .mechanisms(token.module.slot_of(hsmd_tests::daemon::LABEL))
        .expect("C_GetMechanismList");
    for (base, mechanism) in every {
        let (Mechanism::Bytes(kind, _) | Mechanism::Plain(kind)) = &mechanism else {
            continue;
        };
        let open = all(&[&secret(CKK_GENERIC_SECRET), &[number(CKA_VALUE_LEN, 32)], &readable()]);
        let silent = secret(CKK_GENERIC_SECRET);
        let as_data = [number(CKA_CLASS, CKO_DATA)];
        for template in [&open[..], &silent, &as_data] {
            let derived = token.derive(&mechanism, base, template);
            if offered.contains(kind) {
                not_readable(token, derived);
            } else {
                refused(derived, CKR_MECHANISM_INVALID);
            }
        }
    }
}

/// A key of fifteen known bytes and one of the base is found in 256 tries by its check value, and the next byte in 256 more; in
/// longer keys, too, when known bytes fill them. Nothing that holds less than the whole base may come of a sensitive one.
fn byte_by_byte(token: &Token<'_>) {
    let flags = [flag(CKA_DERIVE, true), number(CKA_VALUE_LEN, 16)];
    let made = |more: &[Attribute]| {
        let template = all(&[&flags, more]);
        let kind = Mechanism::Plain(CKM_GENERIC_SECRET_KEY_GEN);
        token
            .module
            .generate_key(token.session, &kind, &template)
            .expect("a key")
    };
    let data = |kind, bytes: &[u8]| words(kind, &[Word::Bytes(bytes), Word::Number(bytes.len())]);
    let with = |other: Object| words(CKM_CONCATENATE_BASE_AND_KEY, &[Word::Number(other as usize)]);
    let known = [
        &secret(CKK_GENERIC_SECRET)[..],
        &[bytes(CKA_VALUE, [0; 15])],
        &readable(),
    ]
    .concat();
    let known = token.module.create(token.session, &known).expect("C_CreateObject");
    let cut = |length| all(&[&secret(CKK_GENERIC_SECRET), &[number(CKA_VALUE_LEN, length)]]);
    let closed = [
        made(&[]),
        made(&[flag(CKA_EXTRACTABLE, true), flag(CKA_SENSITIVE, true)]),
        made(&[flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, false)]),
    ];
    for base in closed {
        for length in [14, 15, 16, 30] {
            let clash = CKR_TEMPLATE_INCONSISTENT;
            refused(
                token.derive(&data(CKM_CONCATENATE_DATA_AND_BASE, &[0; 15]), base, &cut(length)),
                clash,
            );
            refused(
                token.derive(&data(CKM_CONCATENATE_BASE_AND_DATA, &[0; 15]), base, &cut(length)),
                clash,
            );
            refused(token.derive(&with(base), known, &cut(length)), clash);
            refused(token.derive(&with(known), base, &cut(length)), clash);
            refused(
                token.derive(&data(CKM_XOR_BASE_AND_DATA, &vec![0; length as usize]), base, &cut(14)),
                clash,
            );
            let bit = words(CKM_EXTRACT_KEY_FROM_KEY, &[Word::Number(16)]);
            refused(
                token.derive(&bit, base, &cut(length.min(16))),
                CKR_KEY_FUNCTION_NOT_PERMITTED,
            );
        }
        // An AES key is cut as well where the template names no length; and XTS with a known second key is ECB with the first.
        refused(
            token.derive(&data(CKM_CONCATENATE_DATA_AND_BASE, &[0; 15]), base, &secret(CKK_AES)),
            CKR_TEMPLATE_INCONSISTENT,
        );
        refused(
            token.derive(
                &data(CKM_CONCATENATE_BASE_AND_DATA, &[0; 16]),
                base,
                &secret(CKK_AES_XTS),
            ),
            CKR_TEMPLATE_INCONSISTENT,
        );
        // The whole is as closed as the base, and wraps nothing sensitive.
        let wraps = all(&[&secret(CKK_AES), &[flag(CKA_WRAP, true)]]);
        let whole = token.derive(&data(CKM_CONCATENATE_BASE_AND_DATA, &[0; 16]), base, &wraps);
        let whole = whole.expect("C_DeriveKey");
        for kind in [CKA_SENSITIVE, CKA_EXTRACTABLE] {
            let of_base = token.get(base, kind).expect("a flag");
            // What is closed in the base is closed here.
            if (kind == CKA_SENSITIVE) == (of_base == [1]) {
                assert_eq!(token.get(whole, kind), Ok(of_base));
            }
        }
        assert!(token.get(whole, CKA_VALUE).is_err());
        refused(token.wrap(&kw(), whole, token.prize()), CKR_KEY_NOT_WRAPPABLE);
    }
}

fn not_readable(token: &Token<'_>, derived: Result<Object, Rv>) {
    match derived {
        Err(rv) => assert!(
            [CKR_TEMPLATE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED].contains(&rv.0),
            "{rv}"
        ),
        Ok(key) => refused(token.get(key, CKA_VALUE), CKR_ATTRIBUTE_SENSITIVE),
    }
}

/// Eighteen points that are on no curve, or on another one: for agreement and for import.
pub(super) fn invalid_points(token: &Token<'_>) {
    for (curve, field) in [(P256, 32), (P384, 48)] {
        let flags = [flag(CKA_DERIVE, true)];
        let (public, private) = token.pair(CKM_EC_KEY_PAIR_GEN, curve, &[], &flags).expect("a pair");
        let other = if field == 32 { P384 } else { P256 };
        let (foreign, _) = token.pair(CKM_EC_KEY_PAIR_GEN, other, &[], &[]).expect("a pair");
        // Without the head of the OCTET STRING.
        let raw = |key| token.get(key, CKA_EC_POINT).expect("a point")[2..].to_vec();
        for bad in nine(&raw(public), field, &raw(foreign)) {
            let agree = Mechanism::Ecdh { public: bad.clone() };
            let derived = token.derive(&agree, private, &secret(CKK_GENERIC_SECRET));
            refused(derived, CKR_MECHANISM_PARAM_INVALID);
            let template = [
                number(CKA_CLASS, CKO_PUBLIC_KEY),
                number(CKA_KEY_TYPE, CKK_EC),
                bytes(CKA_EC_PARAMS, curve),
                bytes(CKA_EC_POINT, &bad),
            ];
            refused(
                token.module.create(token.session, &template),
                CKR_ATTRIBUTE_VALUE_INVALID,
            );
        }
    }
}

/// Off the curve, infinity in three forms, cut, extended, of the other curve, beyond the field, with a head that is none.
fn nine(point: &[u8], field: usize, foreign: &[u8]) -> [Vec<u8>; 9] {
    let mut off = point.to_vec();
    off[2 * field] ^= 1;
    let mut head = point.to_vec();
    head[0] = 5;
    let mut beyond = vec![0xff; 1 + 2 * field];
    beyond[0] = 4;
    let mut zero = vec![0; 1 + 2 * field];
    zero[0] = 4;
    [
        off,
        vec![0],
        zero,
        vec![4],
        point[..point.len() - 1].to_vec(),
        [point, &[0]].concat(),
        foreign.to_vec(),
        beyond,
        head,
    ]
}

/// The points of small order of RFC 7748, 6.1, and their twins beyond the field.
pub(super) fn low_order(token: &Token<'_>) {
    let flags = [flag(CKA_DERIVE, true)];
    let pair = token.pair(CKM_EC_MONTGOMERY_KEY_PAIR_GEN, X25519, &[], &flags);
    if token.fips() {
        // Not on the list of SP 800-186.
        refused(pair, CKR_MECHANISM_INVALID);
        return;
    }
    let (_, private) = pair.expect("a pair");
    let edge = |low: u8, high: u8| [vec![low], vec![0xff; 30], vec![high]].concat();
    let eighth = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
    let other = "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157";
    let mut points = vec![
        vec![0; 32],
        [vec![1], vec![0; 31]].concat(),
        hex(eighth),
        hex(other),
        edge(0xec, 0x7f),
        edge(0xed, 0x7f),
        edge(0xee, 0x7f),
    ];
    // The highest bit does not count (RFC 7748, 5).
    points.extend(points.clone().into_iter().map(|mut point| {
        point[31] |= 0x80;
        point
    }));
    for public in points {
        let template: Vec<Attribute> = secret(CKK_GENERIC_SECRET).into();
        let derived = token.derive(&Mechanism::Ecdh { public }, private, &template);
        refused(derived, CKR_MECHANISM_PARAM_INVALID);
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
