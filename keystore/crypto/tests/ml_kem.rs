//! ML-KEM against the crate `ml-kem`. Project Wycheproof's vectors and NIST's run through C in the `tests` crate.

use crate::sample;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Generate, Key, Material, OpError, generate, pkcs8};
use hsmd_proto::parameter_set::ParameterSet;
use ml_kem::{B32, FromSeed, MlKem512, MlKem768, MlKem1024};
use ml_kem::{Decapsulate, KeyExport};

const SETS: [ParameterSet; 3] = [ParameterSet::MlKem512, ParameterSet::MlKem768, ParameterSet::MlKem1024];

/// One set, both ways, from one seed: what we encapsulate the oracle opens, and the other way round.
macro_rules! agrees {
    ($kem:ident, $set:expr, $fill:literal) => {{
        let (set, seed) = ($set, [$fill; 64]);
        let ours = sample::open(&Material::from_seed(set, Secret::from_slice(&seed)).unwrap());
        let (theirs, public) = $kem::from_seed(&seed.into());
        let Some(Material::PqPublic { value, .. }) = ours.public() else {
            panic!("no public half");
        };
        assert_eq!(value, public.to_bytes().as_slice(), "{set:?}");
        let opened = Key::open(&Material::PqPublic { set, value }).unwrap();
        for round in 0..10 {
            let (ciphertext, secret) = opened.encapsulate().unwrap();
            assert_eq!(ciphertext.len(), set.output_bytes());
            let there = theirs.decapsulate(&ciphertext.as_slice().try_into().unwrap());
            assert_eq!(secret.expose(), there.as_slice(), "{set:?}");
            let (ciphertext, secret) = public.encapsulate_deterministic(&B32::from([round; 32]));
            let here = ours.decapsulate(&ciphertext).unwrap();
            assert_eq!(here.expose(), secret.as_slice(), "{set:?}");
            // Implicit rejection is part of the standard: both give the same pseudo-random secret.
            let mut other = ciphertext;
            other[7 + usize::from(round)] ^= 1;
            let here = ours.decapsulate(&other).unwrap();
            assert_eq!(here.expose(), theirs.decapsulate(&other).as_slice(), "{set:?}");
        }
    }};
}

#[test]
fn the_oracle_agrees_in_both_directions() {
    agrees!(MlKem512, ParameterSet::MlKem512, 1_u8);
    agrees!(MlKem768, ParameterSet::MlKem768, 2_u8);
    agrees!(MlKem1024, ParameterSet::MlKem1024, 3_u8);
}

#[test]
fn a_private_key_reads_back_from_pkcs8_with_and_without_its_seed() {
    for set in SETS {
        let material = generate(&Generate::Pq(set)).unwrap();
        let der = pkcs8::encode(&material).unwrap();
        assert!(der.len() < 100, "{set:?}: the seed alone");
        assert_eq!(pkcs8::decode(der.expose()), Some(material.duplicate()));
        let Material::PqPrivate { value, .. } = material else {
            panic!("{set:?}");
        };
        let expanded = Material::PqPrivate { set, seed: None, value };
        let der = pkcs8::encode(&expanded).unwrap();
        assert_eq!(pkcs8::decode(der.expose()), Some(expanded.duplicate()));
        // Both, of two keys.
        let Material::PqPrivate { value, .. } = expanded else {
            panic!("{set:?}");
        };
        let seed = Some(Secret::zeroed(64));
        assert!(Key::open(&Material::PqPrivate { set, seed, value }).is_err());
    }
}

#[test]
fn lengths_and_numbers_out_of_range_are_refused() {
    for set in SETS {
        let Material::PqPrivate { value, .. } = generate(&Generate::Pq(set)).unwrap() else {
            panic!("{set:?}");
        };
        let private = |bytes: &[u8]| {
            let value = Secret::from_slice(bytes);
            Key::open(&Material::PqPrivate { set, seed: None, value })
        };
        let (bytes, public) = (value.expose(), set.private_bytes() - set.public_bytes() - 64);
        let key = private(bytes).unwrap();
        // The hash of the public half, that half itself, and a vector that fits neither.
        for place in [set.private_bytes() - 40, public + 5, 5] {
            let mut wrong = bytes.to_vec();
            wrong[place] ^= 1;
            assert!(private(&wrong).is_err(), "{set:?} {place}");
        }
        for length in [0, 63, 65, set.private_bytes() - 1, set.private_bytes() + 1] {
            assert!(private(&vec![0; length]).is_err());
            assert!(Material::from_seed(set, Secret::zeroed(length)).is_err());
            let value = vec![0; length];
            assert!(Key::open(&Material::PqPublic { set, value }).is_err());
        }
        // FIPS 203, 7.2: coefficients below the modulus.
        let value = vec![0xff; set.public_bytes()];
        assert!(Key::open(&Material::PqPublic { set, value }).is_err());
        for length in [0, set.output_bytes() - 1, set.output_bytes() + 1] {
            let refused = key.decapsulate(&vec![0; length]).map(|_| ());
            assert_eq!(refused, Err(OpError::EncryptedLength));
        }
        let public = Key::open(&key.public().unwrap()).unwrap();
        let refused = public.decapsulate(&vec![0; set.output_bytes()]).map(|_| ());
        assert_eq!(refused, Err(OpError::KeyType));
        assert_eq!(
            sample::secret(&[1; 32]).encapsulate().map(|_| ()),
            Err(OpError::KeyType)
        );
    }
}
