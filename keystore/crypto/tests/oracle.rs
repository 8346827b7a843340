//! RustCrypto as the oracle: on the same inputs, what one makes the other verifies, decrypts or makes alike.

use crate::sample;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Input, Material, digest, pkcs8, point, random};
use hsmd_proto::ck::{MechanismType as M, Mgf};
use hsmd_proto::meta::Curve;
use hsmd_proto::params::Mechanism;
use p256::elliptic_curve::sec1::ToSec1Point;
use proptest::prelude::*;
use rand_core::{TryCryptoRng, TryRng};
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use rsa::{Oaep, Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey};
use signature::hazmat::{PrehashSigner, PrehashVerifier};
use std::convert::Infallible;
use std::sync::LazyLock;

/// The oracle's randomness.
struct Random;

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes(random::array()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes(random::array()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        random::fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Random {}

/// The shared RSA key as the oracle reads it from our PKCS #8 and our SubjectPublicKeyInfo.
static ORACLE: LazyLock<(RsaPrivateKey, RsaPublicKey)> = LazyLock::new(|| {
    let der = pkcs8::encode(&sample::RSA_2048).unwrap();
    let info = sample::open(&sample::RSA_2048).public_der().unwrap();
    (
        RsaPrivateKey::from_pkcs8_der(der.expose()).unwrap(),
        RsaPublicKey::from_public_key_der(&info).unwrap(),
    )
});

const HASHES: [M; 5] = [M::SHA_1, M::SHA224, M::SHA256, M::SHA384, M::SHA512];

fn message() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rsa_pkcs1_signatures_are_the_oracles(message in message()) {
        let key = sample::open(&sample::RSA_2048);
        let (private, _) = &*ORACLE;
        let digests = HASHES.map(|hash| digest::hash(hash, &message).unwrap());
        let expected = [
            private.sign(Pkcs1v15Sign::new::<sha1::Sha1>(), &digests[0]).unwrap(),
            private.sign(Pkcs1v15Sign::new::<sha2::Sha224>(), &digests[1]).unwrap(),
            private.sign(Pkcs1v15Sign::new::<sha2::Sha256>(), &digests[2]).unwrap(),
            private.sign(Pkcs1v15Sign::new::<sha2::Sha384>(), &digests[3]).unwrap(),
            private.sign(Pkcs1v15Sign::new::<sha2::Sha512>(), &digests[4]).unwrap(),
        ];
        let kinds = [M::SHA1_RSA_PKCS, M::SHA224_RSA_PKCS, M::SHA256_RSA_PKCS, M::SHA384_RSA_PKCS, M::SHA512_RSA_PKCS];
        for ((kind, digest), expected) in kinds.into_iter().zip(&digests).zip(&expected) {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            key.sign(&Mechanism::plain(kind), Input::Message(&message), &mut first).unwrap();
            key.sign(&Mechanism::plain(kind), Input::Digest(digest), &mut second).unwrap();
            prop_assert_eq!(&first, expected);
            prop_assert_eq!(&second, expected);
        }
    }

    #[test]
    fn rsa_pkcs1_signs_any_data_up_to_k_minus_11(data in proptest::collection::vec(any::<u8>(), 0..=245)) {
        let key = sample::open(&sample::RSA_2048);
        let mut signature = Vec::new();
        key.sign(&Mechanism::plain(M::RSA_PKCS), Input::Message(&data), &mut signature).unwrap();
        ORACLE.1.verify(Pkcs1v15Sign::new_unprefixed(), &data, &signature).unwrap();
        key.verify(&Mechanism::plain(M::RSA_PKCS), Input::Message(&data), &signature).unwrap();
    }

    #[test]
    fn pss_signatures_verify_each_other(message in message(), salt in 0_usize..=64) {
        let key = sample::open(&sample::RSA_2048);
        let (private, public) = &*ORACLE;
        let digest = digest::hash(M::SHA256, &message).unwrap();
        let pss = |kind| sample::pss(kind, M::SHA256, Mgf::MGF1_SHA256, salt as u64);
        let mut ours = Vec::new();
        key.sign(&pss(M::SHA256_RSA_PKCS_PSS), Input::Message(&message), &mut ours).unwrap();
        public.verify(Pss::<sha2::Sha256>::new_with_salt(salt), &digest, &ours).unwrap();
        let theirs = private.sign_with_rng(&mut Random, Pss::<sha2::Sha256>::new_with_salt(salt), &digest).unwrap();
        key.verify(&pss(M::RSA_PKCS_PSS), Input::Message(&digest), &theirs).unwrap();
        key.verify(&pss(M::SHA256_RSA_PKCS_PSS), Input::Digest(&digest), &theirs).unwrap();
    }

    #[test]
    fn oaep_decrypts_each_other(data in proptest::collection::vec(any::<u8>(), 0..=190), label in message()) {
        let key = sample::open(&sample::RSA_2048);
        let (private, public) = &*ORACLE;
        // The hash and the mask's hash differ, as Java's default OAEP parameters have it.
        let scheme = || Oaep::<sha2::Sha256, sha1::Sha1>::new_with_mgf_hash_and_label(label.clone());
        let mechanism = sample::oaep(M::SHA256, Mgf::MGF1_SHA1, &label);
        let mut ours = Vec::new();
        key.encrypt(&mechanism, &data, &mut ours).unwrap();
        prop_assert_eq!(&private.decrypt(scheme(), &ours).unwrap(), &data);
        let theirs = public.encrypt(&mut Random, scheme(), &data).unwrap();
        let mut plain = Vec::new();
        key.decrypt(&mechanism, &theirs, &mut plain).unwrap();
        prop_assert_eq!(&plain, &data);
        let other = sample::oaep(M::SHA256, Mgf::MGF1_SHA256, &label);
        prop_assert!(key.decrypt(&other, &theirs, &mut plain).is_err());
    }

    #[test]
    fn ecdsa_signatures_verify_each_other(digest in proptest::collection::vec(any::<u8>(), 32..=64)) {
        let (curve, ecdsa) = (Curve::P256, Mechanism::plain(M::ECDSA));
        let material = sample::ec(curve);
        let key = sample::open(&material);
        let Material::EcPrivate { scalar, .. } = &material else { panic!("no scalar") };
        let oracle = p256::ecdsa::SigningKey::from_slice(scalar.expose()).unwrap();
        let mut ours = Vec::new();
        key.sign(&ecdsa, Input::Message(&digest), &mut ours).unwrap();
        let ours = p256::ecdsa::Signature::from_slice(&ours).unwrap();
        oracle.verifying_key().verify_prehash(&digest, &ours).unwrap();
        let theirs: p256::ecdsa::Signature = oracle.sign_prehash(&digest).unwrap();
        key.verify(&ecdsa, Input::Message(&digest), &theirs.to_bytes()).unwrap();
    }

    #[test]
    fn ecdsa_on_p384_too(digest in proptest::collection::vec(any::<u8>(), 48..=64)) {
        let (curve, ecdsa) = (Curve::P384, Mechanism::plain(M::ECDSA));
        let material = sample::ec(curve);
        let key = sample::open(&material);
        let Material::EcPrivate { scalar, .. } = &material else { panic!("no scalar") };
        let oracle = p384::ecdsa::SigningKey::from_slice(scalar.expose()).unwrap();
        let mut ours = Vec::new();
        key.sign(&ecdsa, Input::Message(&digest), &mut ours).unwrap();
        let ours = p384::ecdsa::Signature::from_slice(&ours).unwrap();
        oracle.verifying_key().verify_prehash(&digest, &ours).unwrap();
        let theirs: p384::ecdsa::Signature = oracle.sign_prehash(&digest).unwrap();
        key.verify(&ecdsa, Input::Message(&digest), &theirs.to_bytes()).unwrap();
    }

    #[test]
    fn ecdh_agrees_with_the_oracle_for_every_form_of_a_point(_ in any::<u8>()) {
        let material = sample::ec(Curve::P256);
        let Material::EcPrivate { scalar, .. } = &material else { panic!("no scalar") };
        let mine = p256::SecretKey::from_slice(scalar.expose()).unwrap();
        let Material::EcPrivate { scalar, .. } = sample::ec(Curve::P256) else { panic!("no scalar") };
        let theirs = p256::SecretKey::from_slice(scalar.expose()).unwrap().public_key();
        let expected = p256::ecdh::diffie_hellman(mine.to_nonzero_scalar(), theirs.as_affine());
        let key = sample::open(&material);
        for compressed in [false, true] {
            let raw = theirs.to_sec1_point(compressed);
            for form in [raw.as_bytes().to_vec(), point::encode(raw.as_bytes())] {
                let shared = key.agree(&sample::ecdh(&form), None).unwrap();
                prop_assert_eq!(shared.expose(), expected.raw_secret_bytes().as_slice());
            }
        }
    }

    #[test]
    fn ed25519_signatures_are_the_oracles(seed in any::<[u8; 32]>(), message in message()) {
        use ed25519_dalek::Signer;
        let key = sample::open(&Material::EdPrivate { seed: Secret::from_slice(&seed) });
        let oracle = ed25519_dalek::SigningKey::from_bytes(&seed);
        let mut ours = Vec::new();
        key.sign(&Mechanism::plain(M::EDDSA), Input::Message(&message), &mut ours).unwrap();
        prop_assert_eq!(ours, oracle.sign(&message).to_bytes().to_vec());
        prop_assert_eq!(key.public(), Some(Material::EdPublic { point: oracle.verifying_key().to_bytes() }));
    }

    #[test]
    fn digests_are_the_oracles_in_any_parts(message in message(), at in 0_usize..300) {
        use sha2::Digest;
        let at = at.min(message.len());
        let mut running = digest::Digest::new(M::SHA512).unwrap();
        running.update(&message[..at]);
        running.update(&message[at..]);
        prop_assert_eq!(running.finish(), sha2::Sha512::digest(&message).to_vec());
        prop_assert_eq!(digest::hash(M::SHA_1, &message), Some(sha1::Sha1::digest(&message).to_vec()));
    }

    #[test]
    fn symmetric_modes_give_back_what_they_took(
        key in prop_oneof![Just(16_usize), Just(24), Just(32)],
        data in message(),
        iv in proptest::collection::vec(any::<u8>(), 1..=256),
        tag in prop_oneof![Just(96_u32), Just(104), Just(112), Just(120), Just(128)],
    ) {
        let key = sample::secret(&random::array::<32>()[..key]);
        let padded = sample::cbc(M::AES_CBC_PAD, &[3; 16]);
        let mechanisms = [padded, sample::ctr(64, [0; 16]), sample::gcm(&iv, &data, tag), Mechanism::plain(M::AES_KEY_WRAP_KWP)];
        for mechanism in mechanisms {
            if data.is_empty() && mechanism.kind == M::AES_KEY_WRAP_KWP {
                continue;
            }
            let (mut sealed, mut plain) = (Vec::new(), Vec::new());
            key.encrypt(&mechanism, &data, &mut sealed).unwrap();
            key.decrypt(&mechanism, &sealed, &mut plain).unwrap();
            prop_assert_eq!(&plain, &data);
        }
    }
}

#[test]
fn private_keys_survive_pkcs8() {
    let ed25519 = hsmd_crypto::generate(&hsmd_crypto::Generate::Ed25519).unwrap();
    let keys = [
        sample::RSA_2048.duplicate(),
        sample::RSA_1024.duplicate(),
        sample::ec(Curve::P256),
        sample::ec(Curve::P384),
        ed25519,
    ];
    for material in &keys {
        let der = pkcs8::encode(material).unwrap();
        assert_eq!(pkcs8::decode(der.expose()).as_ref(), Some(material));
    }
    for (at, der) in keys.iter().map(|material| pkcs8::encode(material).unwrap()).enumerate() {
        let der = der.expose();
        match at {
            2 => assert!(p256::SecretKey::from_pkcs8_der(der).is_ok()),
            3 => assert!(p384::SecretKey::from_pkcs8_der(der).is_ok()),
            _ => {}
        }
    }
}

#[test]
fn public_key_infos_are_read_by_the_oracle() {
    let info = |material: &Material| sample::open(material).public_der().unwrap();
    let curve = sample::ec(Curve::P256);
    assert!(p256::PublicKey::from_public_key_der(&info(&curve)).is_ok());
    let curve = sample::ec(Curve::P384);
    assert!(p384::PublicKey::from_public_key_der(&info(&curve)).is_ok());
    let seed = Secret::from_slice(&[7; 32]);
    // RFC 8410, 4: the algorithm without parameters, then 32 bytes.
    let edwards = info(&Material::EdPrivate { seed });
    assert_eq!(edwards[..12], *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00");
    assert_eq!(edwards.len(), 44);
}
