//! RustCrypto as the oracle of the families beyond the everyday ones: P-521, secp256k1, X25519, KWP, CMAC and HMAC with their
//! variants of a chosen length.

use crate::sample;
use blake2::digest::consts::{U20, U32, U48, U64};
use blake2::{Blake2b, Digest};
use cmac::{Cmac, KeyInit, Mac};
use hmac::{Hmac, SimpleHmac};
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Input, Key, Material, OpError, digest};
use hsmd_proto::ck::MechanismType as M;
use hsmd_proto::meta::Curve;
use hsmd_proto::params::{EddsaParams, Mechanism, Params};
use hsmd_proto::policy::Policy;
use proptest::prelude::*;
use signature::hazmat::{PrehashSigner, PrehashVerifier};

fn bytes(length: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), length)
}

fn scalar(material: &Material) -> &[u8] {
    match material {
        Material::EcPrivate { scalar, .. } => scalar.expose(),
        _ => panic!("no scalar"),
    }
}

fn sign(key: &Key, mechanism: &Mechanism, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    key.sign(mechanism, Input::Message(message), &mut out).unwrap();
    out
}

/// MACs under our key against the oracle's whole MAC: whole, cut, verified, and refused when a bit or the length differs.
fn same_mac(key: &[u8], kinds: (M, M), message: &[u8], whole: &[u8], length: usize) {
    let key = sample::secret(key);
    let length = 1 + length % whole.len();
    let general = sample::mechanism(kinds.1, Params::Number(length as u64));
    for (mechanism, expected) in [(Mechanism::plain(kinds.0), whole), (general, &whole[..length])] {
        assert_eq!(sign(&key, &mechanism, message), expected, "{mechanism:?}");
        let verify = |mac: &[u8]| key.verify(&mechanism, Input::Message(message), mac);
        assert_eq!(verify(expected), Ok(()));
        let mut other = expected.to_vec();
        other[length - 1] ^= 1;
        assert_eq!(verify(&other), Err(OpError::Signature));
        assert_eq!(verify(&[expected, &[0]].concat()), Err(OpError::SignatureLength));
    }
    for wrong in [0, whole.len() as u64 + 1, u64::MAX] {
        let mechanism = sample::mechanism(kinds.1, Params::Number(wrong));
        let refused = key.sign(&mechanism, Input::Message(message), &mut Vec::new());
        assert_eq!(refused, Err(OpError::Parameter), "{wrong}");
    }
}

fn mac<T: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut running = <T as KeyInit>::new_from_slice(key).unwrap();
    running.update(message);
    running.finalize().into_bytes().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cmacs_are_the_oracles(key in bytes(32), message in bytes(0..200), length in any::<usize>()) {
        let kinds = (M::AES_CMAC, M::AES_CMAC_GENERAL);
        same_mac(&key[..16], kinds, &message, &mac::<Cmac<aes::Aes128>>(&key[..16], &message), length);
        same_mac(&key[..24], kinds, &message, &mac::<Cmac<aes::Aes192>>(&key[..24], &message), length);
        same_mac(&key, kinds, &message, &mac::<Cmac<aes::Aes256>>(&key, &message), length);
    }

    #[test]
    fn hmacs_are_the_oracles(key in bytes(1..300), message in bytes(0..300), length in any::<usize>()) {
        let macs = [
            ((M::SHA_1_HMAC, M::SHA_1_HMAC_GENERAL), mac::<Hmac<sha1::Sha1>>(&key, &message)),
            ((M::SHA224_HMAC, M::SHA224_HMAC_GENERAL), mac::<Hmac<sha2::Sha224>>(&key, &message)),
            ((M::SHA256_HMAC, M::SHA256_HMAC_GENERAL), mac::<Hmac<sha2::Sha256>>(&key, &message)),
            ((M::SHA384_HMAC, M::SHA384_HMAC_GENERAL), mac::<Hmac<sha2::Sha384>>(&key, &message)),
            ((M::SHA512_HMAC, M::SHA512_HMAC_GENERAL), mac::<Hmac<sha2::Sha512>>(&key, &message)),
            ((M::SHA3_224_HMAC, M::SHA3_224_HMAC_GENERAL), mac::<SimpleHmac<sha3::Sha3_224>>(&key, &message)),
            ((M::SHA3_256_HMAC, M::SHA3_256_HMAC_GENERAL), mac::<SimpleHmac<sha3::Sha3_256>>(&key, &message)),
            ((M::SHA3_384_HMAC, M::SHA3_384_HMAC_GENERAL), mac::<SimpleHmac<sha3::Sha3_384>>(&key, &message)),
            ((M::SHA3_512_HMAC, M::SHA3_512_HMAC_GENERAL), mac::<SimpleHmac<sha3::Sha3_512>>(&key, &message)),
            ((M::BLAKE2B_160_HMAC, M::BLAKE2B_160_HMAC_GENERAL), mac::<SimpleHmac<Blake2b<U20>>>(&key, &message)),
            ((M::BLAKE2B_256_HMAC, M::BLAKE2B_256_HMAC_GENERAL), mac::<SimpleHmac<Blake2b<U32>>>(&key, &message)),
            ((M::BLAKE2B_384_HMAC, M::BLAKE2B_384_HMAC_GENERAL), mac::<SimpleHmac<Blake2b<U48>>>(&key, &message)),
            ((M::BLAKE2B_512_HMAC, M::BLAKE2B_512_HMAC_GENERAL), mac::<SimpleHmac<Blake2b<U64>>>(&key, &message)),
        ];
        for (kinds, whole) in macs {
            same_mac(&key, kinds, &message, &whole, length);
        }
    }

    #[test]
    fn blake2b_is_the_oracles(message in bytes(0..700), at in any::<usize>()) {
        let whole = [
            (M::BLAKE2B_160, Blake2b::<U20>::digest(&message).to_vec()),
            (M::BLAKE2B_256, Blake2b::<U32>::digest(&message).to_vec()),
            (M::BLAKE2B_384, Blake2b::<U48>::digest(&message).to_vec()),
            (M::BLAKE2B_512, Blake2b::<U64>::digest(&message).to_vec()),
        ];
        for (kind, whole) in whole {
            prop_assert_eq!(digest::hash(kind, &message), Some(whole.clone()));
            let (front, back) = message.split_at(at % (message.len() + 1));
            let mut running = digest::Digest::new(kind).unwrap();
            running.update(front);
            let state = running.state().unwrap();
            let mut running = digest::Digest::resume(kind, &state).unwrap();
            running.update(back);
            prop_assert_eq!(running.finish(), whole);
        }
    }

    #[test]
    fn wrapped_keys_are_the_oracles(key in bytes(32), data in bytes(1..200)) {
        let mut ours = Vec::new();
        let kwp = Mechanism::plain(M::AES_KEY_WRAP_KWP);
        sample::secret(&key).encrypt(&kwp, &data, &mut ours).unwrap();
        let oracle = aes_kw::KwpAes256::new_from_slice(&key).unwrap();
        let mut theirs = vec![0; data.len().next_multiple_of(8) + 8];
        let theirs = oracle.wrap_key(&data, &mut theirs).unwrap();
        prop_assert_eq!(&ours, &theirs);
    }

    #[test]
    fn x25519_agrees_with_the_oracle(mine in any::<[u8; 32]>(), theirs in any::<[u8; 32]>()) {
        let key = sample::open(&Material::MontgomeryPrivate { scalar: Secret::from_slice(&mine) });
        let (mine, theirs) = (x25519_dalek::StaticSecret::from(mine), x25519_dalek::StaticSecret::from(theirs));
        let point = x25519_dalek::PublicKey::from(&mine).to_bytes();
        prop_assert_eq!(key.public(), Some(Material::MontgomeryPublic { point }));
        let other = x25519_dalek::PublicKey::from(&theirs);
        let shared = key.agree(&sample::ecdh(other.as_bytes()), None).unwrap();
        let expected = mine.diffie_hellman(&other);
        prop_assert_eq!(shared.expose(), expected.as_bytes());
    }

    #[test]
    fn signatures_on_p521_verify_each_other(digest in bytes(64)) {
        let ecdsa = Mechanism::plain(M::ECDSA);
        let material = sample::ec(Curve::P521);
        let oracle = p521::ecdsa::SigningKey::from_slice(scalar(&material)).unwrap();
        let key = sample::open(&material);
        let ours = p521::ecdsa::Signature::from_slice(&sign(&key, &ecdsa, &digest)).unwrap();
        oracle.verifying_key().verify_prehash(&digest, &ours).unwrap();
        let theirs: p521::ecdsa::Signature = oracle.sign_prehash(&digest).unwrap();
        key.verify(&ecdsa, Input::Message(&digest), &theirs.to_bytes()).unwrap();
    }

    // PKCS#11 3.2, 6.3.1: "the signature may have a shorter length but must be composed as specified before".
    #[test]
    fn signatures_without_leading_zeros_verify(digest in bytes(32)) {
        let ecdsa = Mechanism::plain(M::ECDSA);
        let key = sample::open(&sample::ec(Curve::P521));
        let verify = |signature: &[u8]| key.verify(&ecdsa, Input::Message(&digest), signature);
        // One of two halves begins with a zero byte.
        let signature = std::iter::repeat_with(|| sign(&key, &ecdsa, &digest))
            .find(|signature| signature[0] == 0 && signature[66] == 0)
            .unwrap();
        let short = [&signature[1..66], &signature[67..]].concat();
        prop_assert_eq!(verify(&short), Ok(()));
        prop_assert_eq!(verify(&[&short[..], &[0, 0]].concat()), Err(OpError::Signature));
        prop_assert_eq!(verify(&short[2..]), Err(OpError::Signature));
        for wrong in [&short[1..], &[], &[&[0], &signature[..], &[0]].concat()] {
            prop_assert_eq!(verify(wrong), Err(OpError::SignatureLength));
        }
    }

    #[test]
    fn signatures_on_secp256k1_verify_each_other(digest in bytes(32)) {
        let ecdsa = Mechanism::plain(M::ECDSA);
        let material = sample::ec(Curve::Secp256k1);
        let oracle = k256::ecdsa::SigningKey::from_slice(scalar(&material)).unwrap();
        let key = sample::open(&material);
        // The oracle keeps Bitcoin's rule that s is the smaller of the two; PKCS#11 has none.
        let ours = k256::ecdsa::Signature::from_slice(&sign(&key, &ecdsa, &digest)).unwrap().normalize_s();
        oracle.verifying_key().verify_prehash(&digest, &ours).unwrap();
        let theirs: k256::ecdsa::Signature = oracle.sign_prehash(&digest).unwrap();
        key.verify(&ecdsa, Input::Message(&digest), &theirs.to_bytes()).unwrap();
    }

    #[test]
    fn agreements_on_p521_and_secp256k1_are_the_oracles(_ in any::<u8>()) {
        let (mine, other) = (sample::ec(Curve::P521), sample::ec(Curve::P521));
        let theirs = p521::SecretKey::from_slice(scalar(&other)).unwrap().public_key();
        let expected = p521::ecdh::diffie_hellman(
            p521::SecretKey::from_slice(scalar(&mine)).unwrap().to_nonzero_scalar(),
            theirs.as_affine(),
        );
        let point = theirs.to_sec1_bytes();
        let shared = sample::open(&mine).agree(&sample::ecdh(&point), None).unwrap();
        prop_assert_eq!(shared.expose(), expected.raw_secret_bytes().as_slice());
        let (mine, other) = (sample::ec(Curve::Secp256k1), sample::ec(Curve::Secp256k1));
        let theirs = k256::SecretKey::from_slice(scalar(&other)).unwrap().public_key();
        let expected = k256::ecdh::diffie_hellman(
            k256::SecretKey::from_slice(scalar(&mine)).unwrap().to_nonzero_scalar(),
            theirs.as_affine(),
        );
        let point = theirs.to_sec1_bytes();
        let shared = sample::open(&mine).agree(&sample::ecdh(&point), None).unwrap();
        prop_assert_eq!(shared.expose(), expected.raw_secret_bytes().as_slice());
    }
}

/// RFC 8032, 7.2 (Ed25519ctx, `foo`) and 7.3 (Ed25519ph).
#[test]
fn edwards_signatures_with_a_context_and_of_a_hash() {
    let hex = |text: &str| -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    };
    for (prehash, seed, context, message, signature) in [
        (
            false,
            "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6",
            "foo",
            hex("f726936d19c800494e3fdaff20b276a8"),
            "55a4cc2f70a54e04288c5f4cd1e45a7bb520b36292911876cada7323198dd87a\
             8b36950b95130022907a7fb7c4e9b2d5f6cca685a587b4b21f4b888e4e7edb0d",
        ),
        (
            true,
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "",
            b"abc".to_vec(),
            "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41\
             31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406",
        ),
    ] {
        let seed = Secret::from_slice(&hex(seed));
        let key = sample::open(&Material::EdPrivate { seed });
        let with = |prehash, context: &[u8]| {
            let context = context.to_vec();
            sample::mechanism(M::EDDSA, Params::Eddsa(EddsaParams { prehash, context }))
        };
        let mechanism = with(prehash, context.as_bytes());
        mechanism.check(Policy::Fips).unwrap();
        assert_eq!(sign(&key, &mechanism, &message), hex(signature));
        let public = Key::open(&key.public().unwrap()).unwrap();
        let verify = |mechanism: &Mechanism| public.verify(mechanism, Input::Message(&message), &hex(signature));
        assert_eq!(verify(&mechanism), Ok(()));
        for other in [
            with(!prehash, b"foo"),
            with(prehash, b"bar"),
            Mechanism::plain(M::EDDSA),
            with(false, b""),
        ] {
            assert_eq!(verify(&other), Err(OpError::Signature), "{other:?}");
        }
        assert!(with(prehash, &[0; 256]).check(Policy::Standard).is_err());
    }
}
