//! Hostile input: lengths, points, DER, RSA numbers. Each gives an error, none panics, and `out` stays as it was.

use crate::sample;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{
    Generate, Input, Key, KeyError, Material, OpError, RsaCrt, RsaPrivate, generate, pkcs8, point, random,
};
use hsmd_proto::ck::{Kdf, MechanismType as M, Mgf};
use hsmd_proto::meta::Curve;
use hsmd_proto::params::{EcdhParams, Mechanism, Params};

fn rsa() -> RsaPrivate {
    match sample::RSA_1024.duplicate() {
        Material::RsaPrivate(key) => key,
        other => panic!("{other:?}"),
    }
}

fn refused(material: &Material) -> KeyError {
    Key::open(material).map(|_| ()).unwrap_err()
}

#[test]
fn rsa_numbers_that_do_not_belong_together_are_refused() {
    type Change = fn(&mut RsaPrivate);
    fn crt(key: &mut RsaPrivate) -> &mut RsaCrt {
        key.crt.as_mut().unwrap()
    }
    fn flip(secret: &mut Secret) {
        secret.expose_mut()[7] ^= 4;
    }
    let changes: [(&str, Change); 14] = [
        ("an even modulus", |key| *key.n.last_mut().unwrap() &= 0xfe),
        ("another modulus", |key| key.n[9] ^= 1),
        ("e = 1", |key| key.e = vec![1]),
        ("e = 0", |key| key.e = Vec::new()),
        ("an even e", |key| key.e = vec![2]),
        ("another e", |key| key.e = vec![3]),
        ("an e of 40 bits", |key| key.e = vec![0xff; 5]),
        ("another d", |key| flip(&mut key.d)),
        ("another d without primes", |key| {
            key.crt = None;
            flip(&mut key.d);
        }),
        ("another p", |key| flip(&mut crt(key).p)),
        ("q = 0", |key| crt(key).q = Secret::zeroed(64)),
        ("another dp", |key| flip(&mut crt(key).dp)),
        ("another qi", |key| flip(&mut crt(key).qi)),
        ("a p of 10,000 bytes", |key| {
            crt(key).p = Secret::new(vec![0xff; 10_000])
        }),
    ];
    for (name, change) in changes {
        let mut key = rsa();
        change(&mut key);
        assert_eq!(refused(&Material::RsaPrivate(key)), KeyError::Invalid, "{name}");
    }
    let mut without_primes = rsa();
    without_primes.crt = None;
    assert!(Key::open(&Material::RsaPrivate(without_primes)).is_ok());
}

#[test]
fn rsa_sizes_outside_the_table_are_refused() {
    for n in [
        vec![],
        vec![0; 300],
        vec![0xff; 64],
        vec![0xff; 513],
        vec![0xff; 100_000],
    ] {
        let e = vec![1, 0, 1];
        assert_eq!(refused(&Material::RsaPublic { n, e }), KeyError::Size);
    }
    for (bits, exponent) in [
        (512, 65_537_u32),
        (2049, 65_537),
        (8192, 65_537),
        (0, 65_537),
        (1024, 3),
        (1024, 65_536),
    ] {
        let exponent = exponent.to_be_bytes().to_vec();
        assert!(generate(&Generate::Rsa { bits, exponent }).is_err());
    }
    let exponent = vec![1, 0, 0, 0, 0, 1];
    assert!(generate(&Generate::Rsa { bits: 1024, exponent }).is_err());
    assert!(generate(&Generate::Ec(Curve::Ed25519)).is_err());
    assert!(generate(&Generate::Secret { bytes: 0 }).is_err());
}

#[test]
fn rsa_data_and_parameters_out_of_range_are_refused() {
    let key = sample::open(&sample::RSA_1024);
    let mut out = Vec::new();
    let mut sign = |mechanism: &Mechanism, data: &[u8]| key.sign(mechanism, Input::Message(data), &mut out);
    let raw = Mechanism::plain(M::RSA_PKCS);
    assert_eq!(sign(&raw, &[1; 117]), Ok(()));
    assert_eq!(sign(&raw, &[1; 118]), Err(OpError::DataLength));
    assert_eq!(sign(&raw, &[1; 100_000]), Err(OpError::DataLength));
    let pss = |salt| sample::pss(M::RSA_PKCS_PSS, M::SHA256, Mgf::MGF1_SHA256, salt);
    assert_eq!(sign(&pss(94), &[1; 32]), Ok(()));
    for salt in [95, 512, u64::MAX] {
        assert_eq!(sign(&pss(salt), &[1; 32]), Err(OpError::Parameter));
    }
    assert_eq!(sign(&pss(20), &[1; 31]), Err(OpError::DataLength));
    let other = sample::pss(M::SHA1_RSA_PKCS_PSS, M::SHA256, Mgf::MGF1_SHA256, 20);
    assert_eq!(sign(&other, b""), Err(OpError::Parameter));
    assert_eq!(
        sign(&Mechanism::plain(M::RSA_PKCS_PSS), &[1; 32]),
        Err(OpError::Parameter)
    );
    let odd = sample::pss(M::RSA_PKCS_PSS, M::AES_CBC, Mgf::MGF1_SHA1, 20);
    assert_eq!(sign(&odd, &[1; 32]), Err(OpError::Parameter));

    let oaep = sample::oaep(M::SHA256, Mgf::MGF1_SHA256, b"");
    assert_eq!(key.encrypt(&oaep, &[1; 63], &mut out), Err(OpError::DataLength));
    let wide = sample::oaep(M::SHA512, Mgf::MGF1_SHA256, b"");
    assert_eq!(key.encrypt(&wide, b"", &mut out), Err(OpError::KeySize));
    // Larger than the modulus, zero and garbage: one answer.
    for sealed in [[0xff; 128], [0; 128], random::array()] {
        assert_eq!(key.decrypt(&oaep, &sealed, &mut out), Err(OpError::Encrypted));
        let verified = key.verify(&raw, Input::Message(b"x"), &sealed);
        assert_eq!(verified, Err(OpError::Signature));
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    for curve in [Curve::P256, Curve::P384] {
        let key = sample::open(&sample::ec(curve));
        let Some(Material::EcPublic { point: good, .. }) = key.public() else {
            panic!("no point");
        };
        let field = curve.field_bytes();
        let mut off = good.clone();
        off[2 * field] ^= 1;
        let mut hybrid = good.clone();
        hybrid[0] = 6;
        let mut infinity = vec![0; good.len()];
        infinity[0] = 4;
        let other_curve = vec![4; if field == 32 { 97 } else { 65 }];
        let long = [good.as_slice(), &[0]].concat();
        let mut truncated = point::encode(&good);
        truncated.pop();
        for bad in [
            vec![],
            vec![0],
            off,
            hybrid,
            infinity,
            other_curve,
            long,
            truncated,
            vec![4; 100_000],
        ] {
            assert_eq!(key.agree(&sample::ecdh(&bad), None).err(), Some(OpError::Parameter));
            assert_eq!(point::decode(curve, &bad), None);
            assert_eq!(refused(&Material::EcPublic { curve, point: bad }), KeyError::Invalid);
        }
        assert_eq!(point::decode(curve, &point::encode(&good)), Some(good.clone()));
        let kdf = EcdhParams {
            kdf: Kdf::SHA1_KDF_ASN1,
            ..sample::ecdh(&good)
        };
        assert_eq!(key.agree(&kdf, None).err(), Some(OpError::Parameter));
    }
}

#[test]
fn scalars_out_of_range_are_refused() {
    for curve in [Curve::P256, Curve::P384] {
        let field = curve.field_bytes();
        for bad in [
            vec![],
            vec![0; field],
            vec![0xff; field],
            vec![1; field + 1],
            vec![1; 10_000],
        ] {
            let scalar = Secret::new(bad);
            assert_eq!(refused(&Material::EcPrivate { curve, scalar }), KeyError::Invalid);
        }
        let mut padded = vec![0; field + 1];
        padded[field] = 5;
        let scalar = Secret::new(padded);
        assert!(Key::open(&Material::EcPrivate { curve, scalar }).is_ok());
    }
    for length in [0, 31, 33] {
        let seed = Secret::zeroed(length);
        assert_eq!(refused(&Material::EdPrivate { seed }), KeyError::Invalid);
    }
    assert_eq!(refused(&Material::Secret(Secret::zeroed(0))), KeyError::Size);
}

#[test]
fn signatures_of_zeros_and_ones_are_wrong() {
    for curve in [Curve::P256, Curve::P384] {
        let key = sample::open(&sample::ec(curve));
        let ecdsa = Mechanism::plain(M::ECDSA);
        for byte in [0, 0xff] {
            let signature = vec![byte; 2 * curve.field_bytes()];
            let verified = key.verify(&ecdsa, Input::Message(&[1; 32]), &signature);
            assert_eq!(verified, Err(OpError::Signature));
        }
        let mut out = Vec::new();
        for length in [0, 1, 20, 100, 5000] {
            let data = vec![9; length];
            out.clear();
            key.sign(&ecdsa, Input::Message(&data), &mut out).unwrap();
            key.verify(&ecdsa, Input::Message(&data), &out).unwrap();
        }
    }
    let point = [0xff; 32];
    if let Ok(key) = Key::open(&Material::EdPublic { point }) {
        let verified = key.verify(&Mechanism::plain(M::EDDSA), Input::Message(b""), &[0; 64]);
        assert_eq!(verified, Err(OpError::Signature));
    }
}

#[test]
fn a_counter_never_wraps() {
    let key = sample::secret(&[1; 16]);
    let mut out = Vec::new();
    let mut run = |bits, block: [u8; 16], length| key.encrypt(&sample::ctr(bits, block), &vec![0; length], &mut out);
    let last = |low: u8| {
        let mut block = [0xff; 16];
        block[15] = low;
        block
    };
    assert_eq!(run(8, last(0xfe), 32), Ok(()));
    assert_eq!(run(8, last(0xfe), 33), Err(OpError::DataLength));
    assert_eq!(run(8, last(0), 256 * 16), Ok(()));
    assert_eq!(run(8, last(0), 256 * 16 + 1), Err(OpError::DataLength));
    assert_eq!(run(1, last(0xff), 17), Err(OpError::DataLength));
    assert_eq!(run(128, last(0xff), 16), Ok(()));
    assert_eq!(run(128, last(0xff), 17), Err(OpError::DataLength));
    assert_eq!(run(8, last(0xff), 0), Ok(()));
    for bits in [0, 129, u32::MAX] {
        assert_eq!(run(bits, [0; 16], 1), Err(OpError::Parameter));
    }
}

#[test]
fn lengths_and_parameters_of_ciphers_are_checked() {
    let key = sample::secret(&[1; 16]);
    let mut out = b"before".to_vec();
    let cbc = sample::cbc(M::AES_CBC, &[0; 16]);
    assert_eq!(key.encrypt(&cbc, &[0; 15], &mut out), Err(OpError::DataLength));
    assert_eq!(key.decrypt(&cbc, &[0; 17], &mut out), Err(OpError::EncryptedLength));
    assert_eq!(
        key.encrypt(&sample::cbc(M::AES_CBC, &[0; 15]), b"", &mut out),
        Err(OpError::Parameter)
    );
    assert_eq!(
        key.encrypt(&Mechanism::plain(M::AES_CBC), b"", &mut out),
        Err(OpError::Parameter)
    );
    let padded = sample::cbc(M::AES_CBC_PAD, &[0; 16]);
    assert_eq!(key.decrypt(&padded, b"", &mut out), Err(OpError::EncryptedLength));
    for (iv, tag) in [(0, 128), (257, 128), (12, 95), (12, 64), (12, 0), (12, 136)] {
        let gcm = sample::gcm(&vec![0; iv], b"", tag);
        assert_eq!(key.encrypt(&gcm, b"", &mut out), Err(OpError::Parameter));
    }
    for length in [0, 7, 8, 15, 17] {
        let kw = key.encrypt(&Mechanism::plain(M::AES_KEY_WRAP), &vec![0; length], &mut out);
        assert_eq!(kw, Err(OpError::DataLength));
    }
    for kind in [M::AES_KEY_WRAP, M::AES_KEY_WRAP_KWP] {
        for length in [0, 8, 15, 23, 25] {
            let unwrapped = key.decrypt(&Mechanism::plain(kind), &vec![0; length], &mut out);
            assert_eq!(unwrapped, Err(OpError::EncryptedLength));
        }
        let odd = sample::mechanism(kind, Params::Iv(vec![0; 5]));
        assert_eq!(key.encrypt(&odd, &[0; 16], &mut out), Err(OpError::Parameter));
    }
    let short = sample::secret(&[1; 15]);
    assert_eq!(short.encrypt(&cbc, &[0; 16], &mut out), Err(OpError::KeySize));
    assert_eq!(out, b"before");
}

#[test]
fn key_wrap_takes_an_initial_value_of_the_callers() {
    let key = sample::secret(&[1; 32]);
    for (kind, length) in [(M::AES_KEY_WRAP, 8), (M::AES_KEY_WRAP_KWP, 4)] {
        let own = sample::mechanism(kind, Params::Iv(vec![9; length]));
        for size in [8, 16, 40] {
            if kind == M::AES_KEY_WRAP && size == 8 {
                continue;
            }
            let (mut sealed, mut plain) = (Vec::new(), Vec::new());
            key.encrypt(&own, &vec![7; size], &mut sealed).unwrap();
            key.decrypt(&own, &sealed, &mut plain).unwrap();
            assert_eq!(plain, vec![7; size]);
            let default = key.decrypt(&Mechanism::plain(kind), &sealed, &mut plain);
            assert_eq!(default, Err(OpError::Encrypted));
        }
    }
}

#[test]
fn every_wrong_padding_gets_one_answer() {
    let key = sample::secret(&[1; 16]);
    let raw = sample::cbc(M::AES_CBC, &[0; 16]);
    let padded = sample::cbc(M::AES_CBC_PAD, &[0; 16]);
    for last in 0..=255_u8 {
        let mut block = [0xee; 16];
        block[15] = last;
        let (mut sealed, mut plain) = (Vec::new(), Vec::new());
        key.encrypt(&raw, &block, &mut sealed).unwrap();
        let opened = key.decrypt(&padded, &sealed, &mut plain);
        let good = last == 1;
        assert_eq!(opened, if good { Ok(()) } else { Err(OpError::Encrypted) }, "{last}");
        assert_eq!(plain.len(), if good { 15 } else { 0 });
    }
}

#[test]
fn damaged_der_is_no_key_and_no_panic() {
    let materials = [sample::RSA_1024.duplicate(), sample::ec(Curve::P256)];
    for material in materials {
        let der = pkcs8::encode(&material).unwrap();
        for length in 0..der.len() {
            assert_eq!(pkcs8::decode(&der.expose()[..length]), None);
        }
        let mut long = der.expose().to_vec();
        long.push(0);
        assert_eq!(pkcs8::decode(&long), None);
        for at in 0..der.len() {
            let mut damaged = der.expose().to_vec();
            damaged[at] ^= 1 << (at % 8);
            // What still reads is another key, which opens or does not.
            let other = pkcs8::decode(&damaged).map(|other| Key::open(&other).map(|key| key.size()));
            assert!(other.is_none_or(|opened| opened != Ok(0)));
        }
    }
    assert_eq!(pkcs8::decode(&[]), None);
    assert!(pkcs8::encode(&Material::Secret(Secret::random(16))).is_none());
}
