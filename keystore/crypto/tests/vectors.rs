//! Published vectors: `tests/vectors/*.txt`, blocks of `name = hex` lines, each run by one loop per file.

use crate::sample;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Input, Key, Material, digest};
use hsmd_proto::ck::MechanismType;
use hsmd_proto::mechanism::TABLE;
use hsmd_proto::meta::Curve;
use hsmd_proto::params::Mechanism;
use std::collections::HashMap;

pub(crate) struct Vector(HashMap<&'static str, &'static str>);

impl Vector {
    fn word(&self, name: &str) -> &'static str {
        self.0.get(name).copied().unwrap_or_else(|| panic!("no {name}"))
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let hex = self.word(name);
        assert!(hex.len().is_multiple_of(2), "{name}: {hex}");
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    fn mechanism(&self, name: &str) -> MechanismType {
        let word = format!("CKM_{}", self.word(name));
        TABLE
            .iter()
            .map(|row| row.mechanism)
            .find(|mechanism| mechanism.name() == Some(&word))
            .unwrap_or_else(|| panic!("no mechanism {word}"))
    }
}

pub(crate) fn read(text: &'static str) -> Vec<Vector> {
    let mut vectors = Vec::new();
    for block in text.split("\n\n") {
        let lines = block.lines().filter(|line| !line.starts_with('#'));
        let fields = lines.map(|line| line.split_once('=').unwrap());
        let fields = fields.map(|(name, value)| (name.trim(), value.trim()));
        vectors.push(Vector(fields.collect()));
    }
    vectors.retain(|vector| !vector.0.is_empty());
    assert!(!vectors.is_empty());
    vectors
}

#[test]
fn digests_of_fips_180_4() {
    for vector in read(include_str!("vectors/digest.txt")) {
        let digest = digest::hash(vector.mechanism("hash"), &vector.bytes("message"));
        assert_eq!(digest, Some(vector.bytes("digest")), "{}", vector.word("hash"));
    }
}

#[test]
fn macs_of_rfc_4231() {
    for vector in read(include_str!("vectors/hmac.txt")) {
        let (key, mechanism) = (
            sample::secret(&vector.bytes("key")),
            Mechanism::plain(vector.mechanism("mechanism")),
        );
        let (message, mac) = (vector.bytes("message"), vector.bytes("mac"));
        let mut out = Vec::new();
        key.sign(&mechanism, Input::Message(&message), &mut out).unwrap();
        assert_eq!(out, mac);
        key.verify(&mechanism, Input::Message(&message), &mac).unwrap();
    }
}

#[test]
fn ciphers_of_sp_800_38_and_rfc_3394_and_5649() {
    for vector in read(include_str!("vectors/cipher.txt")) {
        let mechanism = match vector.word("mode") {
            "cbc" => sample::cbc(MechanismType::AES_CBC, &vector.bytes("iv")),
            "ctr" => sample::ctr(128, vector.bytes("iv").try_into().unwrap()),
            "gcm" => sample::gcm(&vector.bytes("iv"), &vector.bytes("aad"), 128),
            "kw" => Mechanism::plain(MechanismType::AES_KEY_WRAP),
            "kwp" => Mechanism::plain(MechanismType::AES_KEY_WRAP_KWP),
            other => panic!("{other}"),
        };
        let key = sample::secret(&vector.bytes("key"));
        let (plain, cipher) = (vector.bytes("plain"), vector.bytes("cipher"));
        let mut out = Vec::new();
        key.encrypt(&mechanism, &plain, &mut out).unwrap();
        assert_eq!(out, cipher, "{}", vector.word("mode"));
        out.clear();
        key.decrypt(&mechanism, &cipher, &mut out).unwrap();
        assert_eq!(out, plain, "{}", vector.word("mode"));
    }
}

#[test]
fn curves_of_rfc_8032_rfc_6979_and_cavp() {
    for vector in read(include_str!("vectors/curves.txt")) {
        let (private, public) = (Secret::new(vector.bytes("private")), vector.bytes("public"));
        let (message, result) = (vector.bytes("message"), vector.bytes("result"));
        let input = Input::Message(&message);
        let mut out = Vec::new();
        match vector.word("kind") {
            "ed25519" => {
                let key = sample::open(&Material::EdPrivate { seed: private });
                let point = public.as_slice().try_into().unwrap();
                assert_eq!(key.public(), Some(Material::EdPublic { point }));
                let eddsa = Mechanism::plain(MechanismType::EDDSA);
                key.sign(&eddsa, input, &mut out).unwrap();
                assert_eq!(out, result);
                let public = sample::open(&Material::EdPublic { point });
                public.verify(&eddsa, input, &result).unwrap();
            }
            "ecdsa" => {
                let key = p256(private, &public);
                let ecdsa = Mechanism::plain(MechanismType::ECDSA_SHA256);
                key.verify(&ecdsa, input, &result).unwrap();
            }
            "ecdh" => {
                let shared = p256(private, &public).agree(&sample::ecdh(&message), None).unwrap();
                assert_eq!(shared.expose(), result);
            }
            other => panic!("{other}"),
        }
    }
}

fn p256(scalar: Secret, public: &[u8]) -> Key {
    let curve = Curve::P256;
    let key = sample::open(&Material::EcPrivate { curve, scalar });
    let point = public.to_vec();
    assert_eq!(key.public(), Some(Material::EcPublic { curve, point }));
    key
}
