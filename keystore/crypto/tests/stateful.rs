//! HSS, XMSS and XMSS^MT: the vectors that also run through the C functions (`tests/tests/vectors/stateful.rs`), and signatures that were
//! changed in every part.

use hsmd_crypto::{Input, Key, KeyError, Material, OpError};
use hsmd_proto::ck::{KeyType, MechanismType};
use hsmd_proto::params::Mechanism;

const VECTORS: &str = include_str!("../../../tests/tests/vectors/stateful.json");

struct Vector {
    mechanism: MechanismType,
    key: Material,
    message: Vec<u8>,
    signature: Vec<u8>,
    passed: bool,
    name: String,
}

/// One vector a line.
fn vectors() -> Vec<Vector> {
    let lines = VECTORS.lines().filter(|line| line.starts_with('{'));
    lines.map(vector).collect()
}

fn vector(line: &str) -> Vector {
    let field = |name: &str| {
        let (_, rest) = line.split_once(&format!("\"{name}\": ")).unwrap();
        let end = rest.find([',', '}']).unwrap();
        rest[..end].trim_matches('"').to_owned()
    };
    let bytes = |name: &str| -> Vec<u8> {
        let digits = field(name);
        let pairs = digits.as_bytes().as_chunks::<2>().0.iter();
        let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
        pairs.map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
    };
    let (mechanism, key_type) = match field("mechanism").as_str() {
        "HSS" => (MechanismType::HSS, KeyType::HSS),
        "XMSS" => (MechanismType::XMSS, KeyType::XMSS),
        _ => (MechanismType::XMSSMT, KeyType::XMSSMT),
    };
    let value = bytes("key");
    Vector {
        mechanism,
        key: Material::StatefulPublic { key_type, value },
        message: bytes("message"),
        signature: bytes("signature"),
        passed: field("passed") == "true",
        name: field("name"),
    }
}

#[test]
fn the_published_signatures_verify() {
    let all = vectors();
    assert!(all.len() > 100);
    for vector in all {
        let verified = Key::open(&vector.key).map(|key| {
            let mechanism = Mechanism::plain(vector.mechanism);
            key.verify(&mechanism, Input::Message(&vector.message), &vector.signature)
        });
        assert_eq!(verified == Ok(Ok(())), vector.passed, "{}: {verified:?}", vector.name);
    }
}

#[test]
fn a_changed_signature_is_refused() {
    for kind in [MechanismType::HSS, MechanismType::XMSS, MechanismType::XMSSMT] {
        let all = vectors();
        let vector = all
            .iter()
            .find(|vector| vector.mechanism == kind && vector.passed)
            .unwrap();
        let (key, mechanism) = (Key::open(&vector.key).unwrap(), Mechanism::plain(kind));
        let verify = |message: &[u8], signature: &[u8]| key.verify(&mechanism, Input::Message(message), signature);
        let length = vector.signature.len();
        for at in (0..length).step_by(61).chain([1, 2, 3, length - 1]) {
            let mut wrong = vector.signature.clone();
            wrong[at] ^= 1;
            assert!(verify(&vector.message, &wrong).is_err(), "{} at {at}", vector.name);
        }
        for cut in [0, 1, 3, 4, 40, length - 1] {
            assert!(verify(&vector.message, &vector.signature[..cut]).is_err());
        }
        let long = [&vector.signature[..], &[0]].concat();
        assert_eq!(verify(&vector.message, &long), Err(OpError::SignatureLength));
        assert_eq!(verify(b"another message", &vector.signature), Err(OpError::Signature));
    }
}

#[test]
fn other_bytes_are_no_keys() {
    for vector in vectors().iter().filter(|vector| vector.passed) {
        let Material::StatefulPublic { key_type, value } = &vector.key else {
            panic!("another key");
        };
        let open = |value: Vec<u8>| {
            let key_type = *key_type;
            Key::open(&Material::StatefulPublic { key_type, value }).map(drop)
        };
        let mut unknown = value.clone();
        unknown[3] = 99;
        for wrong in [
            unknown,
            value[..value.len() - 1].to_vec(),
            [&value[..], &[0]].concat(),
            Vec::new(),
        ] {
            assert_eq!(open(wrong), Err(KeyError::Invalid), "{}", vector.name);
        }
    }
    // No level, nine levels; a tree of SHA-256 over one-time signatures of SHAKE256.
    for numbers in [[0_u8, 5, 4], [9, 5, 4], [1, 5, 12]] {
        let mut value: Vec<u8> = numbers.iter().flat_map(|number| [0, 0, 0, *number]).collect();
        value.resize(60, 7);
        let key_type = KeyType::HSS;
        assert!(Key::open(&Material::StatefulPublic { key_type, value }).is_err());
    }
}
