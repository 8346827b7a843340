//! Both engines on the same inputs: what one makes the other makes alike, verifies or opens.
#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use crate::awslc::ffi as other;
use crate::engine::{AeadKind, EdInstance, RsaHalf, RsaHashes, RsaNumbers, Way};
use crate::material::Material;
use crate::random;
use crate::secret::Secret;
use crate::{encoding, portable};
use hsmd_proto::ck::MechanismType as M;
use hsmd_proto::meta::Curve;
use hsmd_proto::parameter_set::ParameterSet;

const HASHES: [M; 11] = [
    M::SHA_1,
    M::SHA224,
    M::SHA256,
    M::SHA384,
    M::SHA512,
    M::SHA512_224,
    M::SHA512_256,
    M::SHA3_224,
    M::SHA3_256,
    M::SHA3_384,
    M::SHA3_512,
];

/// Lengths around the ends of blocks.
const LENGTHS: [usize; 14] = [0, 1, 15, 16, 17, 55, 63, 64, 65, 127, 128, 129, 1000, 5000];

fn bytes(length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    random::fill(&mut out);
    out
}

#[test]
fn hashes_are_the_same() {
    for hash in HASHES {
        for length in LENGTHS {
            let (data, mut out) = (bytes(length), [[0; 64]; 2]);
            let [one, two] = &mut out;
            assert_eq!(portable::digest(hash, &data, one), other::digest(hash, &data, two));
            assert_eq!(one, two, "{hash}, {length}");
            let keys = (portable::Hmac::new(hash, &data), other::Hmac::new(hash, &data));
            let parts: [&[u8]; 2] = [&data, b"more"];
            assert_eq!(
                keys.0.unwrap().compute(&parts, one),
                keys.1.unwrap().compute(&parts, two)
            );
            assert_eq!(one, two, "{hash}, {length}");
        }
        let (password, salt, mut out) = (bytes(9), bytes(16), [[0; 100]; 2]);
        portable::pbkdf2(hash, &password, &salt, 3, &mut out[0]).unwrap();
        other::pbkdf2(hash, &password, &salt, 3, &mut out[1]).unwrap();
        assert_eq!(out[0], out[1], "{hash}");
    }
    for length in LENGTHS {
        let (data, mut out) = (bytes(length), [[0; 300]; 2]);
        portable::Shake::new().unwrap().hash(&[&data], &mut out[0]).unwrap();
        other::Shake::new().unwrap().hash(&[&data], &mut out[1]).unwrap();
        assert_eq!(out[0], out[1]);
        portable::Shake::new_128().unwrap().hash(&[&data], &mut out[0]).unwrap();
        other::Shake::new_128().unwrap().hash(&[&data], &mut out[1]).unwrap();
        assert_eq!(out[0], out[1]);
    }
}

/// A state of C_GetOperationState goes on under the other engine.
#[test]
fn running_hashes_change_hands() {
    for hash in &HASHES[..7] {
        for length in LENGTHS {
            let (data, mut out) = (bytes(length), [[0; 64]; 2]);
            let (mut one, mut two) = (portable::Sha::new(*hash).unwrap(), other::Sha::new(*hash).unwrap());
            one.update(&data).unwrap();
            two.update(&data).unwrap();
            assert_eq!(one.export(), two.export(), "{hash}, {length}");
            let (mut swapped, mut back) = (
                portable::Sha::import(*hash, &two.export()).unwrap(),
                other::Sha::import(*hash, &one.export()).unwrap(),
            );
            swapped.update(b"more").unwrap();
            back.update(b"more").unwrap();
            assert_eq!(swapped.finish(&mut out[0]), back.finish(&mut out[1]));
            assert_eq!(out[0], out[1]);
        }
    }
}

#[test]
fn ciphers_are_the_same() {
    for size in [16, 24, 32] {
        let key = bytes(size);
        let keys = (portable::Aes::new(&key).unwrap(), other::Aes::new(&key).unwrap());
        for length in LENGTHS {
            let (data, mut out) = (bytes(length), [vec![0; length], vec![0; length]]);
            let mut counters = [[0xff; 16]; 2];
            keys.0.ctr(&mut counters[0], &data, &mut out[0]).unwrap();
            keys.1.ctr(&mut counters[1], &data, &mut out[1]).unwrap();
            assert!(out[0] == out[1] && counters[0] == counters[1]);
            let whole = length / 16 * 16;
            for way in [Way::Encrypt, Way::Decrypt] {
                let mut ivs = [[3; 16]; 2];
                keys.0
                    .cbc(way, &mut ivs[0], &data[..whole], &mut out[0][..whole])
                    .unwrap();
                keys.1
                    .cbc(way, &mut ivs[1], &data[..whole], &mut out[1][..whole])
                    .unwrap();
                assert!(out[0] == out[1] && (ivs[0] == ivs[1] || whole == 0));
            }
        }
    }
    let (key, data, mut out) = (bytes(24), bytes(64), [[0; 64]; 2]);
    let keys = (portable::Des3::new(&key).unwrap(), other::Des3::new(&key).unwrap());
    for way in [Way::Encrypt, Way::Decrypt] {
        let mut ivs = [[3; 8]; 2];
        keys.0.cbc(way, &mut ivs[0], &data, &mut out[0]).unwrap();
        keys.1.cbc(way, &mut ivs[1], &data, &mut out[1]).unwrap();
        assert!(out[0] == out[1] && ivs[0] == ivs[1]);
    }
}

#[test]
fn authenticated_ciphers_open_each_others() {
    let kinds = [
        (AeadKind::Gcm, 16, 16),
        (AeadKind::Gcm, 24, 12),
        (AeadKind::Gcm, 32, 13),
        (AeadKind::ChaCha, 32, 16),
        (AeadKind::GcmSiv, 32, 16),
    ];
    for (kind, size, tag) in kinds {
        let key = bytes(size);
        let one = portable::Aead::new(kind, &key, tag).unwrap();
        let two = other::Aead::new(kind, &key, tag).unwrap();
        let nonces: &[usize] = if matches!(kind, AeadKind::Gcm) {
            &[1, 8, 12, 16, 60, 256]
        } else {
            &[12]
        };
        for (length, nonce) in LENGTHS.into_iter().zip(nonces.iter().cycle()) {
            let (data, nonce, aad) = (bytes(length), bytes(*nonce), bytes(length / 3));
            let mut sealed = [vec![0; length + tag], vec![0; length + tag]];
            one.run(Way::Encrypt, &nonce, &aad, &data, &mut sealed[0]).unwrap();
            two.run(Way::Encrypt, &nonce, &aad, &data, &mut sealed[1]).unwrap();
            assert_eq!(sealed[0], sealed[1]);
            let mut opened = vec![0; length];
            one.run(Way::Decrypt, &nonce, &aad, &sealed[1], &mut opened).unwrap();
            assert_eq!(opened, data);
            let [bad, _] = &mut sealed;
            bad[length] ^= 1;
            assert_eq!(one.run(Way::Decrypt, &nonce, &aad, bad, &mut opened), None);
            assert!(opened.iter().all(|byte| *byte == 0));
        }
        assert!(portable::Aead::new(kind, &key[1..], tag).is_none());
        assert!(one.run(Way::Encrypt, &[], b"", b"", &mut vec![0; tag]).is_none());
    }
    for (at, length) in LENGTHS.into_iter().enumerate() {
        let (key, nonce, tag) = (bytes(16 + at % 3 * 8), bytes(7 + at % 7), 4 + at % 7 * 2);
        let (data, aad) = (bytes(length), bytes(if at == 13 { 70_000 } else { length / 2 }));
        let mut out = [(vec![0; length], vec![0; tag]), (vec![0; length], vec![0; tag])];
        let [one, two] = &mut out;
        portable::ccm_seal(&key, &nonce, &aad, &data, &mut one.0, &mut one.1).unwrap();
        other::ccm_seal(&key, &nonce, &aad, &data, &mut two.0, &mut two.1).unwrap();
        assert_eq!(one, two);
        let mut opened = vec![0; length];
        portable::ccm_open(&key, &nonce, &aad, &two.0, &two.1, &mut opened).unwrap();
        assert_eq!(opened, data);
        one.1[0] ^= 1;
        assert!(portable::ccm_open(&key, &nonce, &aad, &one.0, &one.1, &mut opened).is_none());
    }
}

#[test]
fn curves_agree() {
    for curve in [Curve::P224, Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1] {
        let (one, peer) = (
            portable::Ec::generate(curve).unwrap(),
            other::Ec::generate(curve).unwrap(),
        );
        let two = other::Ec::from_scalar(curve, one.scalar().unwrap().expose()).unwrap();
        assert!(one.point() == two.point() && one.scalar() == two.scalar());
        let shared = one.agree(peer.point().unwrap()).unwrap();
        assert_eq!(shared, two.agree(peer.point().unwrap()).unwrap());
        let public = portable::Ec::from_point(curve, two.point().unwrap()).unwrap();
        assert!(public.scalar().is_none() && public.sign(b"", &mut [0; 64]).is_none());
        for length in [0, 1, 16, 20, 28, 32, 48, 64, 66, 67, 100] {
            let (digest, mut signature) = (bytes(length), vec![0; 2 * curve.field_bytes()]);
            one.sign(&digest, &mut signature).unwrap();
            two.verify(&digest, &signature).unwrap();
            // Of secp256k1's signatures half have the higher s, which is as good.
            for _ in 0..4 {
                two.sign(&digest, &mut signature).unwrap();
                public.verify(&digest, &signature).unwrap();
            }
            signature[3] ^= 1;
            assert!(public.verify(&digest, &signature).is_none());
        }
        for wrong in [vec![0; curve.field_bytes()], vec![0xff; curve.field_bytes()]] {
            assert!(portable::Ec::from_scalar(curve, &wrong).is_none());
            assert!(portable::Ec::from_point(curve, &[&[4], &wrong[..], &wrong].concat()).is_none());
        }
    }
}

#[test]
fn curve25519_is_the_same() {
    for length in LENGTHS {
        let (message, seed) = (bytes(length), Secret::random(32));
        let one = portable::EdPrivate::from_seed(&seed).unwrap();
        let two = other::EdPrivate::from_seed(&seed).unwrap();
        assert_eq!(one.public().point(), two.public().point());
        let context = bytes(1 + length % 255);
        let instance = |prehash| {
            Some(EdInstance {
                prehash,
                context: &context,
            })
        };
        for instance in [None, instance(false), instance(true)] {
            let signature = one.sign(instance, &message).unwrap();
            assert_eq!(Some(signature), two.sign(instance, &message));
            one.public().verify(instance, &message, &signature).unwrap();
            let mut bad = signature;
            bad[40] ^= 1;
            assert!(one.public().verify(instance, &message, &bad).is_none());
        }
        let (scalar, point) = (random::array(), random::array());
        assert_eq!(portable::x25519_public(&scalar), other::x25519_public(&scalar));
        assert_eq!(portable::x25519(&scalar, &point), other::x25519(&scalar, &point));
        assert!(portable::x25519(&scalar, &[0; 32]).is_none());
    }
}

#[test]
fn powers_are_the_same() {
    for length in [16, 128, 256, 257] {
        let (mut modulus, base, exponent) = (bytes(length), bytes(length - 1), bytes(length));
        modulus[0] |= 0x80;
        modulus[length - 1] |= 1;
        let mut out = [vec![0; length], vec![0; length]];
        portable::power(&modulus, &base, &exponent, &mut out[0]).unwrap();
        other::power(&modulus, &base, &exponent, &mut out[1]).unwrap();
        assert_eq!(out[0], out[1]);
    }
}

/// The same key in both engines.
fn rsa(bits: u32) -> (portable::Rsa, other::Rsa) {
    let one = portable::Rsa::generate(bits, &[1, 0, 1]).unwrap();
    let der = one.der(RsaHalf::Private).unwrap();
    let Some(Material::RsaPrivate(key)) = encoding::rsa_private(der.expose()) else {
        panic!("no key");
    };
    let crt = key.crt.as_ref().unwrap();
    let numbers = RsaNumbers {
        n: &key.n,
        e: &key.e,
        d: Some(key.d.expose()),
        crt: Some([&crt.p, &crt.q, &crt.dp, &crt.dq, &crt.qi].map(|part| part.expose())),
    };
    assert!(portable::Rsa::new(&numbers).is_some());
    let without = RsaNumbers { crt: None, ..numbers };
    let recovered = portable::Rsa::new(&without).unwrap();
    assert_eq!(recovered.private_exponent(), one.private_exponent());
    let wrong = RsaNumbers {
        crt: Some([&crt.p, &crt.q, &crt.dq, &crt.dp, &crt.qi].map(|part| part.expose())),
        ..without
    };
    assert!(portable::Rsa::new(&wrong).is_none());
    let two = other::Rsa::new(&RsaNumbers {
        crt: Some([&crt.p, &crt.q, &crt.dp, &crt.dq, &crt.qi].map(|part| part.expose())),
        ..without
    });
    (one, two.unwrap())
}

#[test]
fn rsa_is_the_same() {
    // 8 k + 1 bits less one are whole bytes: PSS has a block shorter than the modulus there; such keys are not generated.
    for bits in [1024, 2048] {
        let (one, two) = rsa(bits);
        let length = one.bytes();
        assert!(one.bits() == bits && two.bytes() == length);
        assert_eq!(one.private_exponent(), two.private_exponent());
        for half in [RsaHalf::Private, RsaHalf::Public] {
            assert_eq!(one.der(half), two.der(half));
        }
        let mut out = [vec![0; length], vec![0; length]];
        one.sign(b"some data", &mut out[0]).unwrap();
        two.sign(b"some data", &mut out[1]).unwrap();
        assert_eq!(out[0], out[1]);
        let mut recovered = vec![0; length];
        assert_eq!(one.recover(&out[1], &mut recovered), Some(9));
        assert_eq!(&recovered[..9], b"some data");
        for (half, mut number) in [(RsaHalf::Private, bytes(length)), (RsaHalf::Public, bytes(length))] {
            number[0] = 0;
            one.raw(half, &number, &mut out[0]).unwrap();
            two.raw(half, &number, &mut out[1]).unwrap();
            assert_eq!(out[0], out[1]);
            for fixed in [0, 1] {
                let number = [&vec![0; length - 1][..], &[fixed]].concat();
                one.raw(half, &number, &mut out[0]).unwrap();
                assert_eq!(out[0], number);
            }
            assert!(one.raw(half, &vec![0xff; length], &mut out[0]).is_none());
        }
        for (hash, mgf, salt) in [
            (M::SHA256, M::SHA256, 32),
            (M::SHA_1, M::SHA3_256, 0),
            (M::SHA3_512, M::SHA_1, 20),
        ] {
            let with = RsaHashes { hash, mgf };
            let mut digest = [0; 64];
            let size = other::digest(hash, b"message", &mut digest).unwrap();
            let digest = &digest[..size];
            one.sign_pss(with, salt, digest, &mut out[0]).unwrap();
            two.verify_pss(with, salt, digest, &out[0]).unwrap();
            two.sign_pss(with, salt, digest, &mut out[1]).unwrap();
            one.verify_pss(with, salt, digest, &out[1]).unwrap();
            assert!(one.verify_pss(with, salt + 1, digest, &out[1]).is_none());
            out[1][9] ^= 1;
            assert!(one.verify_pss(with, salt, digest, &out[1]).is_none());
            let text = if size == 64 { &b""[..] } else { b"some text" };
            if 2 * size + 2 + text.len() > length {
                continue;
            }
            for label in [&b""[..], b"label"] {
                one.oaep(Way::Encrypt, with, label, text, &mut out[0]).unwrap();
                let written = two.oaep(Way::Decrypt, with, label, &out[0], &mut recovered).unwrap();
                assert_eq!(&recovered[..written], text);
                two.oaep(Way::Encrypt, with, label, text, &mut out[1]).unwrap();
                let written = one.oaep(Way::Decrypt, with, label, &out[1], &mut recovered).unwrap();
                assert_eq!(&recovered[..written], text);
                assert!(
                    one.oaep(Way::Decrypt, with, b"other", &out[1], &mut recovered)
                        .is_none()
                );
            }
        }
    }
}

#[test]
fn lattices_are_the_same() {
    for set in [ParameterSet::MlDsa44, ParameterSet::MlDsa65, ParameterSet::MlDsa87] {
        let seed = Secret::random(set.seed_bytes());
        let one = portable::Lattice::from_private(set, seed.expose()).unwrap();
        let two = other::Lattice::from_private(set, seed.expose()).unwrap();
        assert!(one.public() == two.public() && one.private() == two.private());
        let (mu, mut signature) = (random::array(), vec![0; set.output_bytes()]);
        one.sign(&mu, &mut signature).unwrap();
        two.verify(&mu, &signature).unwrap();
        two.sign(&mu, &mut signature).unwrap();
        let expanded = two.private().unwrap();
        let again = portable::Lattice::from_private(set, expanded.expose()).unwrap();
        again.verify(&mu, &signature).unwrap();
        signature[50] ^= 1;
        assert!(again.verify(&mu, &signature).is_none());
        // The hash of the public half; the first coefficient of the secret vectors.
        for (at, value) in [(64, expanded.expose()[64] ^ 1), (128, 0xff)] {
            let mut wrong = expanded.duplicate();
            wrong.expose_mut()[at] = value;
            assert!(portable::Lattice::from_private(set, wrong.expose()).is_none());
            assert!(other::Lattice::from_private(set, wrong.expose()).is_none());
        }
    }
    for set in [ParameterSet::MlKem512, ParameterSet::MlKem768, ParameterSet::MlKem1024] {
        let seed = Secret::random(set.seed_bytes());
        let one = portable::Lattice::from_kem_seed(set, &seed).unwrap();
        let two = other::Lattice::from_kem_seed(set, &seed).unwrap();
        assert!(one.public() == two.public() && one.private() == two.private());
        let (public, private) = (two.public().unwrap(), two.private().unwrap());
        let (sealed, secret) = portable::Lattice::from_kem_public(set, &public)
            .unwrap()
            .encapsulate()
            .unwrap();
        assert_eq!(two.decapsulate(&sealed).unwrap(), secret);
        let again = portable::Lattice::from_kem_pair(set, &public, private.expose()).unwrap();
        // A ciphertext of nobody gives the same secret in both (implicit rejection).
        let (sealed, noise) = (two.encapsulate().unwrap(), bytes(set.output_bytes()));
        assert_eq!(again.decapsulate(&sealed.0).unwrap(), sealed.1);
        assert_eq!(again.decapsulate(&noise).unwrap(), two.decapsulate(&noise).unwrap());
        assert!(portable::Lattice::from_kem_public(set, &vec![0xff; public.len()]).is_none());
    }
}
