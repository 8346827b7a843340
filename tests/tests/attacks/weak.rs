//! Keys and mechanisms that are too weak for what they are to protect: A12, A22.

use cryptoki_sys::*;
use hsmd_tests::template::{Mechanism, bytes, flag, number};

use super::token::{Token, all, cbc, kw, kwp, oaep, refused};

/// RSA: exponents and moduli, made and imported.
pub(super) fn rsa(token: &Token<'_>) {
    let bad = CKR_ATTRIBUTE_VALUE_INVALID;
    let pair = Mechanism::Plain(CKM_RSA_PKCS_KEY_PAIR_GEN);
    for bits in [0, 512, 1024, 1536, 2047, 1 << 20] {
        let public = [number(CKA_MODULUS_BITS, bits)];
        refused(token.module.generate_key_pair(token.session, &pair, &public, &[]), bad);
    }
    for exponent in [&[][..], &[0], &[1], &[3], &[0, 0, 17], &[1, 0, 0], &[2, 0, 0]] {
        refused(token.rsa(&[bytes(CKA_PUBLIC_EXPONENT, exponent)], &[]), bad);
    }
    let (public, _) = token.rsa(&[], &[]).expect("a pair");
    let modulus = token.get(public, CKA_MODULUS).expect("a modulus");
    let import = |modulus: &[u8], exponent: &[u8]| {
        let template = [
            number(CKA_CLASS, CKO_PUBLIC_KEY),
            number(CKA_KEY_TYPE, CKK_RSA),
            bytes(CKA_MODULUS, modulus),
            bytes(CKA_PUBLIC_EXPONENT, exponent),
            flag(CKA_WRAP, true),
        ];
        token.module.create(token.session, &template)
    };
    import(&modulus, &[1, 0, 1]).expect("a good one");
    for exponent in [&[][..], &[0], &[1], &[3], &[0, 0, 17], &[1, 0, 0]] {
        refused(import(&modulus, exponent), bad);
    }
    refused(import(&modulus[..64], &[1, 0, 1]), bad);
    refused(import(&modulus[..128], &[1, 0, 1]), bad);
    refused(import(&[], &[1, 0, 1]), bad);
    refused(import(&[0; 256], &[1, 0, 1]), bad);
    // Even, and divisible by 3, 5 and 751: whoever divides has the factors.
    let mut even = modulus.clone();
    even[255] &= 0xfe;
    refused(import(&even, &[1, 0, 1]), bad);
    for small in [3_u32, 5, 17, 101, 751] {
        refused(import(&divisible(&modulus, small), &[1, 0, 1]), bad);
    }
}

/// The odd multiple of a small number that is next below.
fn divisible(modulus: &[u8], small: u32) -> Vec<u8> {
    let mut number = modulus.to_vec();
    loop {
        let rest = number
            .iter()
            .fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % small);
        if rest == 0 && number[number.len() - 1] & 1 == 1 {
            return number;
        }
        let mut at = number.len();
        loop {
            at -= 1;
            let (less, borrowed) = number[at].overflowing_sub(1);
            number[at] = less;
            if !borrowed {
                break;
            }
        }
    }
}

/// The weaker key, and mechanisms that give the blob to whoever chose their parameter.
pub(super) fn wrapping(token: &Token<'_>) {
    let prize = token.prize();
    let flags = all(&[&[flag(CKA_WRAP, true)], &[flag(CKA_DECRYPT, false)]]);
    for length in [16, 24] {
        let weak = token.aes_of(length, &flags).expect("a short key");
        let wanted = if token.strict() {
            CKR_KEY_NOT_WRAPPABLE
        } else {
            CKR_WRAPPING_KEY_SIZE_RANGE
        };
        for mechanism in [kw(), kwp()] {
            refused(token.wrap(&mechanism, weak, prize), wanted);
        }
    }
    let key = token.wrapping_key(&[]).expect("a wrapping key");
    let gcm = |byte| Mechanism::Gcm {
        iv: vec![byte; 12],
        aad: Vec::new(),
        tag_bits: 128,
    };
    let ctr = Mechanism::Bytes(CKM_AES_CTR, [&128_usize.to_ne_bytes()[..], &[0; 16]].concat());
    for mechanism in [Mechanism::Plain(CKM_AES_ECB), cbc(CKM_AES_CBC), ctr] {
        refused(token.wrap(&mechanism, key, prize), CKR_MECHANISM_INVALID);
    }
    // GCM wraps what may be read, under `strict` with the token's IV.
    refused(token.wrap(&gcm(0), key, prize), CKR_KEY_NOT_WRAPPABLE);
    refused(
        token.wrap(&gcm(1), key, prize),
        if token.strict() {
            CKR_MECHANISM_PARAM_INVALID
        } else {
            CKR_KEY_NOT_WRAPPABLE
        },
    );
    let padded = token.wrap(&cbc(CKM_AES_CBC_PAD), key, prize);
    refused(
        padded,
        if token.strict() {
            CKR_MECHANISM_INVALID
        } else {
            CKR_KEY_NOT_WRAPPABLE
        },
    );
    // There is no DES3 here to wrap with: neither mechanisms nor keys. `legacy` has both, and wraps with neither.
    let with = |kind| Mechanism::Bytes(kind, vec![0; 8]);
    for mechanism in [
        Mechanism::Plain(CKM_DES3_ECB),
        with(CKM_DES3_CBC),
        with(CKM_DES3_CBC_PAD),
    ] {
        refused(token.wrap(&mechanism, key, prize), CKR_MECHANISM_INVALID);
    }
    let des3 = token.module.generate_key(
        token.session,
        &Mechanism::Plain(CKM_DES3_KEY_GEN),
        &[flag(CKA_WRAP, true)],
    );
    refused(des3, CKR_MECHANISM_INVALID);
    let (public, private) = token
        .rsa(&[flag(CKA_WRAP, true)], &[flag(CKA_UNWRAP, true)])
        .expect("a pair");
    for kind in [CKM_RSA_PKCS, CKM_RSA_X_509] {
        refused(
            token.wrap(&Mechanism::Plain(kind), public, prize),
            CKR_MECHANISM_INVALID,
        );
        let blob = [1; 256];
        let unwrapped = token.unwrap(&Mechanism::Plain(kind), private, &blob, &super::token::secret(CKK_AES));
        refused(unwrapped, CKR_MECHANISM_INVALID);
    }
    let wraps = token.wrap(&oaep(), public, prize);
    if token.strict() {
        refused(wraps, CKR_KEY_NOT_WRAPPABLE);
    } else {
        wraps.expect("RSA-2048 with OAEP");
    }
}
