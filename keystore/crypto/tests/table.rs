//! Every row of the mechanism table is bound to code: each does what it says, and says so for other keys.

use crate::sample;
use hsmd_crypto::{Generate, Input, Key, Material, OpError, digest, generate};
use hsmd_proto::ck::{Kdf, KeyType, MechanismType, Mgf};
use hsmd_proto::dh::DhGroup;
use hsmd_proto::kbkdf::{KbkdfField, KbkdfMode, KbkdfParams, NumberFormat};
use hsmd_proto::mechanism::{Family, Operations, ParamKind, Row, TABLE};
use hsmd_proto::meta::Curve;
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::params::{
    EcdhAesParams, Hedge, HkdfParams, Mechanism, Params, Pbkdf2Params, RsaAesParams, SignContext,
};
use hsmd_proto::policy::Policy;
use hsmd_proto::tls::{TlsMacParams, TlsParams};

/// A mechanism of the row with a parameter that fits.
fn mechanism_of(row: &Row) -> Mechanism {
    let hash = row.hash.unwrap_or(MechanismType::SHA256);
    match row.params {
        ParamKind::None | ParamKind::OptionalIv(_) | ParamKind::Eddsa | ParamKind::SignContext => {
            Mechanism::plain(row.mechanism)
        }
        ParamKind::HashSignContext => {
            let (hedge, context, hash) = (Hedge::Preferred, Vec::new(), Some(hash));
            sample::mechanism(row.mechanism, Params::SignContext(SignContext { hedge, context, hash }))
        }
        ParamKind::MacLength => sample::mechanism(row.mechanism, Params::Number(7)),
        ParamKind::Iv(length) => sample::mechanism(row.mechanism, Params::Iv(vec![1; length])),
        ParamKind::Ctr => sample::ctr(32, [0; 16]),
        ParamKind::Gcm if row.family == Family::AesGmac => {
            let Params::Gcm(params) = sample::gcm(&[2; 12], b"", 96).params else {
                panic!("no GCM");
            };
            sample::mechanism(row.mechanism, Params::Gcm(params))
        }
        ParamKind::Gcm => sample::gcm(&[2; 12], b"aad", 96),
        ParamKind::Key | ParamKind::Bit => sample::mechanism(row.mechanism, Params::Number(1)),
        ParamKind::Data => sample::mechanism(row.mechanism, Params::Data(b"data".to_vec())),
        ParamKind::PeerValue => sample::mechanism(row.mechanism, Params::Data(vec![4])),
        ParamKind::RsaAes => {
            let Params::Oaep(oaep) = sample::oaep(hash, Mgf::MGF1_SHA256, b"").params else {
                panic!("no OAEP");
            };
            sample::mechanism(row.mechanism, Params::RsaAes(RsaAesParams { aes_bits: 256, oaep }))
        }
        ParamKind::EcdhAes => {
            let params = EcdhAesParams {
                aes_bits: 256,
                kdf: Kdf::SHA256_KDF,
                shared_data: b"shared".to_vec(),
            };
            sample::mechanism(row.mechanism, Params::EcdhAes(params))
        }
        ParamKind::Tls(_) | ParamKind::TlsMac | ParamKind::Pbkdf2 | ParamKind::Kbkdf(_) | ParamKind::Hkdf => {
            sample::mechanism(row.mechanism, derivation_of(row, hash))
        }
        ParamKind::Ccm => sample::ccm(32, &[2; 12], b"aad", 8),
        ParamKind::ChaCha => sample::chacha(&[2; 12], b"aad"),
        ParamKind::Pss => sample::pss(row.mechanism, hash, Mgf::MGF1_SHA1, 20),
        ParamKind::Oaep => sample::oaep(hash, Mgf::MGF1_SHA384, b"label"),
        ParamKind::Ecdh => {
            let Some(Material::EcPublic { point, .. }) = sample::open(&sample::ec(Curve::P256)).public() else {
                panic!("no point");
            };
            sample::mechanism(row.mechanism, Params::Ecdh(sample::ecdh(&point)))
        }
    }
}

/// The parameter of a derivation, or of a MAC of TLS.
fn derivation_of(row: &Row, hash: MechanismType) -> Params {
    match row.params {
        ParamKind::Tls(secret) => {
            let params = TlsParams {
                hash,
                label: secret.label().unwrap_or(b"test label").to_vec(),
                seed: vec![7; 64],
            };
            Params::Tls(params)
        }
        ParamKind::TlsMac => {
            let params = TlsMacParams {
                hash,
                length: 12,
                server: true,
            };
            Params::TlsMac(params)
        }
        ParamKind::Pbkdf2 => {
            let params = Pbkdf2Params {
                hash: MechanismType::SHA512,
                salt: b"salt".to_vec(),
                iterations: 2,
            };
            Params::Pbkdf2(params)
        }
        ParamKind::Kbkdf(mode) => {
            let counter = NumberFormat {
                little_endian: false,
                bits: 32,
            };
            let iteration = KbkdfField::Iteration((mode == KbkdfMode::Counter).then_some(counter));
            let params = KbkdfParams {
                prf: MechanismType::SHA256_HMAC,
                fields: vec![iteration, KbkdfField::Bytes(b"label".to_vec())],
                iv: Vec::new(),
            };
            Params::Kbkdf(params)
        }
        ParamKind::Hkdf => {
            let (salt, info) = (b"salt".to_vec(), b"info".to_vec());
            let params = HkdfParams {
                extract: true,
                expand: true,
                hash,
                salt,
                info,
            };
            Params::Hkdf(params)
        }
        other => panic!("{other:?}"),
    }
}

/// A pair of Diffie-Hellman with a private value of the usual length.
fn dh(group: DhGroup) -> Generate {
    let bits = group.exponent_bits();
    Generate::Dh { group, bits }
}

/// A key of the row's first key type, and its public half or itself.
fn keys_of(row: &Row) -> (Key, Key) {
    let material = match row.key_types[0] {
        KeyType::RSA => sample::RSA_2048.duplicate(),
        KeyType::EC => sample::ec(Curve::P256),
        KeyType::EC_EDWARDS => generate(&Generate::Ed25519).unwrap(),
        KeyType::ML_DSA => generate(&Generate::Pq(ParameterSet::MlDsa44)).unwrap(),
        KeyType::ML_KEM => generate(&Generate::Pq(ParameterSet::MlKem768)).unwrap(),
        KeyType::SLH_DSA => generate(&Generate::Pq(ParameterSet::SlhDsaSha2_128f)).unwrap(),
        KeyType::EC_MONTGOMERY => generate(&Generate::X25519).unwrap(),
        // Of one level, its tree of height 5 with digits of 8 bits; of the first parameter set.
        KeyType::HSS => stateful(KeyType::HSS, [1, 5, 4], 48),
        kind @ (KeyType::XMSS | KeyType::XMSSMT) => stateful(kind, [1], 64),
        KeyType::DH => generate(&dh(DhGroup::Ffdhe2048)).unwrap(),
        KeyType::DES3 => generate(&Generate::Des3).unwrap(),
        _ => generate(&Generate::Secret { bytes: 32 }).unwrap(),
    };
    let key = sample::open(&material);
    let other = sample::open(&key.public().unwrap_or(material));
    (key, other)
}

/// A public key of a type whose keys are not made here: numbers of four bytes, and hash values that nobody has signed under.
fn stateful<const N: usize>(key_type: KeyType, numbers: [u32; N], rest: usize) -> Material {
    let mut value: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    value.resize(value.len() + rest, 7);
    Material::StatefulPublic { key_type, value }
}

/// A mechanism that only verifies: vectors are in `stateful.rs`.
fn refuses(row: &Row, mechanism: &Mechanism) {
    assert_eq!(row.operations, Operations::VERIFY);
    let (key, _) = keys_of(row);
    let verify = |key: &Key| key.verify(mechanism, Input::Message(b"message"), &[0; 100]);
    assert_eq!(verify(&key), Err(OpError::SignatureLength), "{}", row.mechanism);
    assert_eq!(verify(&other_key(row)), Err(OpError::KeyType), "{}", row.mechanism);
    let signed = key.sign(mechanism, Input::Message(b"message"), &mut Vec::new());
    assert_eq!(signed, Err(OpError::KeyType), "{}", row.mechanism);
}

fn other_key(row: &Row) -> Key {
    if row.key_types[0] == KeyType::EC {
        sample::secret(&[7; 32])
    } else {
        sample::open(&sample::ec(Curve::P384))
    }
}

#[test]
fn every_row_is_bound() {
    for row in TABLE {
        let mechanism = mechanism_of(row);
        mechanism.check(Policy::Legacy).unwrap();
        match row.family {
            Family::Digest => assert!(digest::hash(row.mechanism, b"").is_some(), "{}", row.mechanism),
            Family::RsaKeyPairGen
            | Family::EcKeyPairGen
            | Family::EdwardsKeyPairGen
            | Family::AesKeyGen
            | Family::AesXtsKeyGen
            | Family::ChaChaKeyGen
            | Family::GenericSecretKeyGen
            | Family::HkdfKeyGen
            | Family::HmacKeyGen
            | Family::MontgomeryKeyPairGen
            | Family::MlDsaKeyPairGen
            | Family::MlKemKeyPairGen
            | Family::SlhDsaKeyPairGen
            | Family::DhKeyPairGen
            | Family::Des3KeyGen => generates(row.family),
            Family::MlKem => {
                assert!(
                    row.operations
                        .contains(Operations::ENCAPSULATE | Operations::DECAPSULATE)
                );
                let (key, other) = keys_of(row);
                let (ciphertext, secret) = other.encapsulate().unwrap();
                assert_eq!(key.decapsulate(&ciphertext).unwrap(), secret);
                assert_eq!(other_key(row).encapsulate().unwrap_err(), OpError::KeyType);
            }
            Family::RsaPkcs1 if row.hash.is_none() => {
                signs(row, &mechanism);
                encrypts(row, &mechanism);
            }
            Family::RsaRaw => {
                signs(row, &mechanism);
                encrypts_raw(row, &mechanism);
            }
            Family::AesGmac => signs(row, &mechanism),
            Family::RsaAesWrap | Family::EcdhAesWrap => wraps(row, &mechanism),
            // The keystore puts them together: nothing is computed.
            Family::Concatenate | Family::Xor | Family::Extract => {}
            Family::Hmac | Family::AesCmac | Family::RsaPkcs1 | Family::RsaPss | Family::Ecdsa | Family::Eddsa => {
                signs(row, &mechanism)
            }
            Family::MlDsa | Family::HashMlDsa | Family::SlhDsa | Family::HashSlhDsa => signs(row, &mechanism),
            Family::Stateful => refuses(row, &mechanism),
            Family::RsaOaep
            | Family::AesEcb
            | Family::AesCbc
            | Family::AesCbcPad
            | Family::AesCts
            | Family::AesXts
            | Family::AesCtr
            | Family::AesGcm
            | Family::AesCcm
            | Family::ChaChaPoly
            | Family::AesKw
            | Family::AesKwp
            | Family::Des3Ecb
            | Family::Des3Cbc
            | Family::Des3CbcPad => encrypts(row, &mechanism),
            Family::Des3Cmac => signs(row, &mechanism),
            Family::TlsMac => signs(row, &mechanism),
            Family::Pbkdf2 | Family::Kbkdf | Family::Tls | Family::Shake | Family::Dh | Family::Hkdf | Family::Ecdh => {
                derives(row, &mechanism)
            }
        }
    }
}

fn generates(family: Family) {
    match family {
        Family::RsaKeyPairGen => assert!(!sample::RSA_2048.is_public()),
        Family::EcKeyPairGen => assert!(!sample::ec(Curve::P384).is_public()),
        Family::EdwardsKeyPairGen => assert!(generate(&Generate::Ed25519).is_ok()),
        Family::AesKeyGen
        | Family::AesXtsKeyGen
        | Family::ChaChaKeyGen
        | Family::GenericSecretKeyGen
        | Family::HkdfKeyGen
        | Family::HmacKeyGen => {
            assert!(generate(&Generate::Secret { bytes: 16 }).is_ok());
        }
        Family::MontgomeryKeyPairGen => assert!(generate(&Generate::X25519).is_ok()),
        Family::MlDsaKeyPairGen => assert!(generate(&Generate::Pq(ParameterSet::MlDsa87)).is_ok()),
        Family::MlKemKeyPairGen => assert!(generate(&Generate::Pq(ParameterSet::MlKem1024)).is_ok()),
        Family::SlhDsaKeyPairGen => assert!(generate(&Generate::Pq(ParameterSet::SlhDsaShake128f)).is_ok()),
        Family::DhKeyPairGen => assert!(generate(&dh(DhGroup::Modp3072)).is_ok()),
        Family::Des3KeyGen => assert!(generate(&Generate::Des3).is_ok()),
        _ => panic!("{family:?} makes no key"),
    }
}

/// As many bytes as are asked for, and none of another kind of key.
fn derives(row: &Row, mechanism: &Mechanism) {
    match row.family {
        Family::Pbkdf2 => {
            let Params::Pbkdf2(params) = &mechanism.params else {
                panic!("{}", row.mechanism);
            };
            assert_eq!(hsmd_crypto::pbkdf2(params, b"password", 100).unwrap().len(), 100);
        }
        Family::Kbkdf => {
            let (Params::Kbkdf(params), ParamKind::Kbkdf(mode)) = (&mechanism.params, row.params) else {
                panic!("{}", row.mechanism);
            };
            assert_eq!(keys_of(row).0.kbkdf(mode, params, 100).unwrap().len(), 100);
            assert_eq!(other_key(row).kbkdf(mode, params, 32).unwrap_err(), OpError::KeyType);
        }
        Family::Tls => {
            let Params::Tls(params) = &mechanism.params else {
                panic!("{}", row.mechanism);
            };
            assert_eq!(keys_of(row).0.tls(params, 100).unwrap().len(), 100);
            assert_eq!(other_key(row).tls(params, 32).unwrap_err(), OpError::KeyType);
        }
        Family::Shake => {
            assert_eq!(keys_of(row).0.shake(row.mechanism, 100).unwrap().len(), 100);
            assert_eq!(other_key(row).shake(row.mechanism, 32).unwrap_err(), OpError::KeyType);
        }
        Family::Dh => {
            let Params::Data(other) = &mechanism.params else {
                panic!("{}", row.mechanism);
            };
            assert_eq!(keys_of(row).0.agree_with_value(other, Some(32)).unwrap().len(), 32);
            assert_eq!(
                other_key(row).agree_with_value(other, None).unwrap_err(),
                OpError::KeyType
            );
        }
        Family::Hkdf => {
            let Params::Hkdf(params) = &mechanism.params else {
                panic!("{}", row.mechanism);
            };
            assert_eq!(keys_of(row).0.hkdf(params, 100).unwrap().len(), 100);
            assert_eq!(other_key(row).hkdf(params, 32).unwrap_err(), OpError::KeyType);
        }
        Family::Ecdh => {
            let Params::Ecdh(params) = &mechanism.params else {
                panic!("{}", row.mechanism);
            };
            assert_eq!(keys_of(row).0.agree(params, None).unwrap().len(), 32);
            assert_eq!(other_key(row).agree(params, None).unwrap_err(), OpError::KeyType);
        }
        _ => panic!("{} derives nothing", row.mechanism),
    }
}

/// What the public half wraps the private one opens, and nothing that was changed.
fn wraps(row: &Row, mechanism: &Mechanism) {
    assert!(row.operations.contains(Operations::WRAP | Operations::UNWRAP));
    let (key, other) = keys_of(row);
    let (mut sealed, mut opened) = (Vec::new(), b"before".to_vec());
    other.encrypt(mechanism, &[5; 40], &mut sealed).unwrap();
    key.decrypt(mechanism, &sealed, &mut opened).unwrap();
    assert_eq!(opened.strip_prefix(b"before"), Some(&[5; 40][..]));
    for at in [1, sealed.len() / 2, sealed.len() - 1] {
        let mut wrong = sealed.clone();
        wrong[at] ^= 1;
        assert_eq!(
            key.decrypt(mechanism, &wrong, &mut opened),
            Err(OpError::Encrypted),
            "{at}"
        );
    }
    assert_eq!(
        key.decrypt(mechanism, &sealed[..40], &mut opened),
        Err(OpError::EncryptedLength)
    );
    assert_eq!(opened.len(), 46);
    let secret = sample::secret(&[7; 32]);
    assert!(secret.encrypt(mechanism, &[5; 40], &mut opened).is_err());
}

fn signs(row: &Row, mechanism: &Mechanism) {
    assert!(row.operations.contains(Operations::SIGN | Operations::VERIFY));
    let name = row.mechanism;
    let (key, other) = keys_of(row);
    let data = [5; 32];
    let mut signature = b"before".to_vec();
    key.sign(mechanism, Input::Message(&data), &mut signature).unwrap();
    let signature = signature.strip_prefix(b"before").unwrap();
    other.verify(mechanism, Input::Message(&data), signature).unwrap();
    key.verify(mechanism, Input::Message(&data), signature).unwrap();
    let wrong = other.verify(mechanism, Input::Message(&[6; 32]), signature);
    assert_eq!(wrong, Err(OpError::Signature), "{name}");
    let short = other.verify(mechanism, Input::Message(&data), &signature[1..]);
    assert_eq!(short, Err(OpError::SignatureLength), "{name}");
    let mut out = Vec::new();
    let foreign = other_key(row).sign(mechanism, Input::Message(&data), &mut out);
    assert_eq!(foreign, Err(OpError::KeyType), "{name}");
    if !row.operations.contains(Operations::ENCRYPT) {
        let other_operation = key.encrypt(mechanism, &data, &mut out);
        assert_eq!(other_operation, Err(OpError::Mechanism), "{name}");
    }
    if row.hashes_in_module() {
        let digest = digest::hash(row.hash.unwrap(), &data).unwrap();
        other.verify(mechanism, Input::Digest(&digest), signature).unwrap();
        let odd = other.verify(mechanism, Input::Digest(&digest[1..]), signature);
        assert_eq!(odd, Err(OpError::DataLength), "{name}");
    }
    assert!(out.is_empty());
}

fn encrypts(row: &Row, mechanism: &Mechanism) {
    assert!(row.operations.contains(Operations::ENCRYPT | Operations::DECRYPT));
    let name = row.mechanism;
    let (key, other) = keys_of(row);
    let data = [5; 32];
    let mut sealed = b"before".to_vec();
    other.encrypt(mechanism, &data, &mut sealed).unwrap();
    let sealed = sealed.strip_prefix(b"before").unwrap();
    let mut out = b"before".to_vec();
    key.decrypt(mechanism, sealed, &mut out).unwrap();
    assert_eq!(out.strip_prefix(b"before"), Some(data.as_slice()), "{name}");
    let mut out = b"before".to_vec();
    let foreign = other_key(row).encrypt(mechanism, &data, &mut out);
    assert_eq!(foreign, Err(OpError::KeyType), "{name}");
    // Without its own check value a mode cannot notice damage.
    let unchecked = [
        Family::AesEcb,
        Family::AesCbc,
        Family::AesCbcPad,
        Family::AesCts,
        Family::AesCtr,
        Family::AesXts,
        Family::Des3Ecb,
        Family::Des3Cbc,
        Family::Des3CbcPad,
    ];
    if row.family == Family::RsaPkcs1 {
        // Implicit rejection: another text, but no error.
        let mut damaged = sealed.to_vec();
        damaged[100] ^= 1;
        let mut text = Vec::new();
        key.decrypt(mechanism, &damaged, &mut text).unwrap();
        assert_ne!(text, data);
    } else if !unchecked.contains(&row.family) {
        let mut damaged = sealed.to_vec();
        damaged[3] ^= 1;
        assert_eq!(
            key.decrypt(mechanism, &damaged, &mut out),
            Err(OpError::Encrypted),
            "{name}"
        );
    }
    if row.family != Family::AesCtr {
        let partial = key.decrypt(mechanism, &sealed[..7], &mut out);
        assert_eq!(partial, Err(OpError::EncryptedLength), "{name}");
    }
    assert_eq!(out, b"before");
}

fn encrypts_raw(row: &Row, mechanism: &Mechanism) {
    let (key, other) = keys_of(row);
    let mut sealed = Vec::new();
    other.encrypt(mechanism, &[5; 32], &mut sealed).unwrap();
    let mut out = Vec::new();
    key.decrypt(mechanism, &sealed, &mut out).unwrap();
    assert_eq!(out.len(), sealed.len());
    assert!(out.ends_with(&[5; 32]) && out[..224].iter().all(|byte| *byte == 0));
    let wrong = [
        (vec![0xff; 256], OpError::Encrypted),
        (vec![1; 255], OpError::EncryptedLength),
    ];
    for (data, error) in wrong {
        assert_eq!(key.decrypt(mechanism, &data, &mut out), Err(error));
    }
    assert_eq!(other.encrypt(mechanism, &[0xff; 256], &mut out), Err(OpError::Data));
    assert_eq!(other.encrypt(mechanism, &[0; 257], &mut out), Err(OpError::DataLength));
    assert_eq!(
        key.sign(mechanism, Input::Message(&[0xff; 256]), &mut out),
        Err(OpError::Data)
    );
    assert_eq!(out.len(), 256);
}

#[test]
fn the_size_is_in_the_tables_unit() {
    for row in TABLE.iter().filter(|row| !row.key_types.is_empty()) {
        let size = keys_of(row).0.size();
        assert!((row.min..=row.max).contains(&size), "{}: {size}", row.mechanism);
    }
}

#[test]
fn threads_share_one_key_from_its_first_use() {
    let (rsa, curve, secret) = (
        sample::open(&sample::RSA_2048),
        sample::open(&sample::ec(Curve::P256)),
        sample::secret(&[9; 32]),
    );
    let jobs = [
        (&rsa, MechanismType::SHA256_RSA_PKCS),
        (&curve, MechanismType::ECDSA_SHA256),
        (&secret, MechanismType::SHA512_HMAC),
    ];
    std::thread::scope(|scope| {
        for (key, kind) in jobs.into_iter().cycle().take(12) {
            scope.spawn(move || {
                let mechanism = Mechanism::plain(kind);
                for round in 0..20_u8 {
                    let mut signature = Vec::new();
                    key.sign(&mechanism, Input::Message(&[round]), &mut signature).unwrap();
                    key.verify(&mechanism, Input::Message(&[round]), &signature).unwrap();
                }
            });
        }
    });
}
