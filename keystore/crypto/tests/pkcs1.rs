//! PKCS #1 v1.5 decryption: the same synthetic text as another implementation of the draft, the same every time, and
//! nothing that tells a wrong padding from a right one.

use crate::sample;
use crate::vectors::read;
use hsmd_crypto::{Input, Key, Material, OpError, pkcs8};
use hsmd_proto::ck::MechanismType;
use hsmd_proto::params::Mechanism;

const V15: Mechanism = Mechanism::plain(MechanismType::RSA_PKCS);
const RAW: Mechanism = Mechanism::plain(MechanismType::RSA_X_509);

fn decrypt(key: &Key, cipher: &[u8]) -> Result<Vec<u8>, OpError> {
    let mut out = Vec::new();
    key.decrypt(&V15, cipher, &mut out).map(|()| out)
}

#[test]
fn rejected_texts_are_those_of_openssl() {
    for vector in read(include_str!("vectors/pkcs1.txt")) {
        let material = pkcs8::decode(&vector.bytes("key")).unwrap();
        let key = sample::open(&material);
        assert_eq!(decrypt(&key, &vector.bytes("cipher")), Ok(vector.bytes("plain")));
    }
}

/// A ciphertext of this padded text under the shared key.
fn seal(padded: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let key = sample::open(&sample::RSA_2048);
    key.encrypt(&RAW, padded, &mut out).unwrap();
    out
}

fn padded(kind: u8, padding: usize, text: &[u8]) -> Vec<u8> {
    let mut out = vec![0, kind];
    out.resize(2 + padding, 0x55);
    out.push(0);
    out.extend_from_slice(text);
    out.resize(256, 0x77);
    out
}

#[test]
fn every_ciphertext_gives_a_text_and_always_the_same() {
    let key = sample::open(&sample::RSA_2048);
    let again = sample::open(&sample::RSA_2048);
    let right = seal(&padded(2, 8, b"text"));
    assert!(decrypt(&key, &right).unwrap().starts_with(b"text"));
    let mut lengths = Vec::new();
    for wrong in [
        padded(1, 20, b"text"),
        padded(2, 7, b"text"),
        padded(0, 20, b"text"),
        vec![0x55; 256],
    ] {
        let wrong = seal(&wrong[..256]);
        let text = decrypt(&key, &wrong).unwrap();
        assert!(text.len() <= 245);
        assert_ne!(text.get(..4), Some(&b"text"[..]));
        assert_eq!(decrypt(&again, &wrong), Ok(text.clone()));
        lengths.push(text.len());
    }
    lengths.dedup();
    assert!(lengths.len() > 1, "the length is one of many");
    assert_eq!(decrypt(&key, &right[1..]), Err(OpError::EncryptedLength));
    assert_eq!(decrypt(&key, &[0xff; 256]), Err(OpError::Encrypted));
}

#[test]
fn a_key_without_primes_rejects_alike() {
    let Material::RsaPrivate(mut plain) = sample::RSA_2048.duplicate() else {
        panic!("no RSA key");
    };
    plain.crt = None;
    let (key, plain) = (
        sample::open(&sample::RSA_2048),
        sample::open(&Material::RsaPrivate(plain)),
    );
    let wrong = seal(&[7; 256][..256]);
    assert_eq!(decrypt(&key, &wrong), decrypt(&plain, &wrong));
}

#[test]
fn a_wrong_blob_unwraps_to_a_key_of_the_length_wanted() {
    let key = sample::open(&sample::RSA_2048);
    let mut right = Vec::new();
    key.encrypt(&V15, &[9; 24], &mut right).unwrap();
    let unwrap = |blob: &[u8], wanted, aes| key.unwrap_pkcs1(blob, wanted, aes).unwrap();
    for (wanted, aes) in [(Some(24), true), (None, true), (None, false)] {
        assert_eq!(unwrap(&right, wanted, aes).expose(), [9; 24]);
    }
    let substitute = unwrap(&right, Some(32), true);
    assert_eq!(substitute.len(), 32);
    assert_eq!(substitute, unwrap(&right, Some(32), true));
    let (mut odd, wrong) = (Vec::new(), seal(&[7; 256]));
    key.encrypt(&V15, &[9; 23], &mut odd).unwrap();
    assert_eq!(unwrap(&odd, None, false).expose(), [9; 23]);
    for blob in [&odd, &wrong] {
        assert!(matches!(unwrap(blob, None, true).len(), 16 | 24 | 32));
        assert_eq!(unwrap(blob, Some(17), false).len(), 17);
    }
    assert_eq!(key.unwrap_pkcs1(&right, Some(246), false), Err(OpError::DataLength));
    let public = sample::open(&key.public().unwrap());
    assert_eq!(public.unwrap_pkcs1(&right, None, true), Err(OpError::KeyType));
}

#[test]
fn raw_signatures_verify_data_of_any_length() {
    let key = sample::open(&sample::RSA_2048);
    for data in [&b"short"[..], &[0, 1, 2], &[], &[1]] {
        let mut signature = Vec::new();
        key.sign(&RAW, Input::Message(data), &mut signature).unwrap();
        key.verify(&RAW, Input::Message(data), &signature).unwrap();
        let other = key.verify(&RAW, Input::Message(b"other"), &signature);
        assert_eq!(other, Err(OpError::Signature));
    }
}
