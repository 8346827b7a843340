//! The key derivation functions of ECDH (ANSI X9.63, 5.6.3; SP 800-56C, 4.1), written a second time here over RustCrypto's
//! hashes, and how the secret of CKD_NULL is cut.

use crate::sample;
use hsmd_crypto::{Key, Material, OpError};
use hsmd_proto::ck::Kdf;
use hsmd_proto::meta::Curve;
use hsmd_proto::params::EcdhParams;
use sha2::Digest;

/// Both forms over one hash: the secret stands before the counter, or after it.
fn expected<H: Digest>(secret_first: bool, secret: &[u8], data: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut counter = 0_u32;
    while out.len() < length {
        counter += 1;
        let counter = counter.to_be_bytes();
        let hash = H::new();
        let hash = if secret_first {
            hash.chain_update(secret).chain_update(counter)
        } else {
            hash.chain_update(counter).chain_update(secret)
        };
        out.extend_from_slice(&hash.chain_update(data).finalize());
    }
    out.truncate(length);
    out
}

type Oracle = fn(bool, &[u8], &[u8], usize) -> Vec<u8>;

/// X9.63's function, SP 800-56C's, the hash's length in bytes, and the second implementation.
const FUNCTIONS: [(Kdf, Kdf, usize, Oracle); 9] = [
    (Kdf::SHA1_KDF, Kdf::SHA1_KDF_SP800, 20, expected::<sha1::Sha1>),
    (Kdf::SHA224_KDF, Kdf::SHA224_KDF_SP800, 28, expected::<sha2::Sha224>),
    (Kdf::SHA256_KDF, Kdf::SHA256_KDF_SP800, 32, expected::<sha2::Sha256>),
    (Kdf::SHA384_KDF, Kdf::SHA384_KDF_SP800, 48, expected::<sha2::Sha384>),
    (Kdf::SHA512_KDF, Kdf::SHA512_KDF_SP800, 64, expected::<sha2::Sha512>),
    (
        Kdf::SHA3_224_KDF,
        Kdf::SHA3_224_KDF_SP800,
        28,
        expected::<sha3::Sha3_224>,
    ),
    (
        Kdf::SHA3_256_KDF,
        Kdf::SHA3_256_KDF_SP800,
        32,
        expected::<sha3::Sha3_256>,
    ),
    (
        Kdf::SHA3_384_KDF,
        Kdf::SHA3_384_KDF_SP800,
        48,
        expected::<sha3::Sha3_384>,
    ),
    (
        Kdf::SHA3_512_KDF,
        Kdf::SHA3_512_KDF_SP800,
        64,
        expected::<sha3::Sha3_512>,
    ),
];

/// A key and another's public point.
fn two(curve: Curve) -> (Key, Vec<u8>) {
    let other = sample::open(&sample::ec(curve)).public();
    let Some(Material::EcPublic { point, .. }) = other else {
        panic!("no point")
    };
    (sample::open(&sample::ec(curve)), point)
}

#[test]
fn every_function_gives_what_a_second_implementation_gives() {
    for curve in [Curve::P224, Curve::P256, Curve::P521] {
        let (key, point) = two(curve);
        let secret = key.agree(&sample::ecdh(&point), None).unwrap();
        for (x963, sp800, whole, oracle) in FUNCTIONS {
            for (kdf, secret_first) in [(x963, true), (sp800, false)] {
                for data in [&b""[..], b"shared info", &[0xab; 1000]] {
                    let params = EcdhParams {
                        kdf,
                        shared_data: data.to_vec(),
                        public_point: point.clone(),
                    };
                    // Within a hash, a whole one, several, and a cut one; without a length it is one hash.
                    for length in [1, whole - 1, whole, whole + 1, 3 * whole + 7] {
                        let ours = key.agree(&params, Some(length)).unwrap();
                        let theirs = oracle(secret_first, secret.expose(), data, length);
                        assert_eq!(ours.expose(), theirs, "{kdf:?} {length}");
                    }
                    let ours = key.agree(&params, None).unwrap();
                    assert_eq!(ours.expose(), oracle(secret_first, secret.expose(), data, whole));
                    assert_eq!(key.agree(&params, Some(0)), Err(OpError::DataLength));
                    assert_eq!(key.agree(&params, Some((1 << 16) + 1)), Err(OpError::DataLength));
                }
            }
        }
    }
}

// PKCS#11 3.2, 6.3.17: what is too long loses its leading bytes.
#[test]
fn without_a_function_the_leading_bytes_are_cut() {
    for curve in [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1] {
        let (key, point) = two(curve);
        let params = sample::ecdh(&point);
        let whole = key.agree(&params, None).unwrap();
        assert_eq!(whole.len(), curve.field_bytes());
        let cut = key.agree(&params, Some(16)).unwrap();
        assert_eq!(cut.expose(), &whole.expose()[curve.field_bytes() - 16..]);
        let longer = key.agree(&params, Some(curve.field_bytes() + 1));
        assert_eq!(longer, Err(OpError::DataLength));
        let shared = EcdhParams {
            shared_data: vec![1],
            ..params
        };
        assert_eq!(key.agree(&shared, None), Err(OpError::Parameter));
    }
}
