//! ASN.1 of keys: PKCS #1 (RFC 8017, A.1), SEC 1 private keys (RFC 5915), SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) and
//! the algorithm identifiers of RFC 3279, 5480, 8410, 9802, 9881, 9909 and 9935. Structures and bytes; whether numbers make a key is checked by
//! [`crate::Key::open`].

use crate::material::{Material, RsaCrt, RsaPrivate};
use crate::secret::Secret;
use der::asn1::{AnyRef, BitStringRef, Null, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode, Encode, Sequence};
use hsmd_proto::ck::KeyType;
use hsmd_proto::dh::DhGroup;
use hsmd_proto::meta::Curve;
use hsmd_proto::parameter_set::ParameterSet;
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(crate) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
pub(crate) const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
pub(crate) const DH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.3.1");
const P224: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.33");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");

const HSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.3.17");
const XMSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.6.34");
const XMSSMT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.6.35");
const ML_DSA_44: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");
const ML_DSA_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
const ML_DSA_87: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");
const ML_KEM_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.1");
const ML_KEM_768: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.2");
const ML_KEM_1024: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.3");
const SLH_DSA_SHA2_128S: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.20");
const SLH_DSA_SHA2_128F: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.21");
const SLH_DSA_SHA2_192S: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.22");
const SLH_DSA_SHA2_192F: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.23");
const SLH_DSA_SHA2_256S: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.24");
const SLH_DSA_SHA2_256F: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.25");
const SLH_DSA_SHAKE_128S: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.26");
const SLH_DSA_SHAKE_128F: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.27");
const SLH_DSA_SHAKE_192S: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.28");
const SLH_DSA_SHAKE_192F: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.29");
const SLH_DSA_SHAKE_256S: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.30");
const SLH_DSA_SHAKE_256F: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.31");

/// `namedCurve`; `None` for Ed25519 and X25519, whose algorithm says it all.
pub(crate) const fn named_curve(curve: Curve) -> Option<ObjectIdentifier> {
    match curve {
        Curve::P224 => Some(P224),
        Curve::P256 => Some(P256),
        Curve::P384 => Some(P384),
        Curve::P521 => Some(P521),
        Curve::Secp256k1 => Some(SECP256K1),
        Curve::Ed25519 | Curve::X25519 => None,
    }
}

/// The algorithm of a parameter set (RFC 9881, 2; RFC 9909, 3; RFC 9935, 3): it has no parameters.
pub(crate) const fn parameter_set(set: ParameterSet) -> ObjectIdentifier {
    match set {
        ParameterSet::MlDsa44 => ML_DSA_44,
        ParameterSet::MlDsa65 => ML_DSA_65,
        ParameterSet::MlDsa87 => ML_DSA_87,
        ParameterSet::MlKem512 => ML_KEM_512,
        ParameterSet::MlKem768 => ML_KEM_768,
        ParameterSet::MlKem1024 => ML_KEM_1024,
        ParameterSet::SlhDsaSha2_128s => SLH_DSA_SHA2_128S,
        ParameterSet::SlhDsaSha2_128f => SLH_DSA_SHA2_128F,
        ParameterSet::SlhDsaSha2_192s => SLH_DSA_SHA2_192S,
        ParameterSet::SlhDsaSha2_192f => SLH_DSA_SHA2_192F,
        ParameterSet::SlhDsaSha2_256s => SLH_DSA_SHA2_256S,
        ParameterSet::SlhDsaSha2_256f => SLH_DSA_SHA2_256F,
        ParameterSet::SlhDsaShake128s => SLH_DSA_SHAKE_128S,
        ParameterSet::SlhDsaShake128f => SLH_DSA_SHAKE_128F,
        ParameterSet::SlhDsaShake192s => SLH_DSA_SHAKE_192S,
        ParameterSet::SlhDsaShake192f => SLH_DSA_SHAKE_192F,
        ParameterSet::SlhDsaShake256s => SLH_DSA_SHAKE_256S,
        ParameterSet::SlhDsaShake256f => SLH_DSA_SHAKE_256F,
    }
}

/// The algorithm of keys with a state (RFC 9802, 3): it has no parameters, the key says them itself.
const fn stateful(key_type: KeyType) -> Option<ObjectIdentifier> {
    match key_type {
        KeyType::HSS => Some(HSS),
        KeyType::XMSS => Some(XMSS),
        KeyType::XMSSMT => Some(XMSSMT),
        _ => None,
    }
}

/// The curve of a `namedCurve`.
pub(crate) fn curve_of(name: ObjectIdentifier) -> Option<Curve> {
    Curve::ALL.into_iter().find(|curve| named_curve(*curve) == Some(name))
}

/// `RSAPublicKey`.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    n: UintRef<'a>,
    e: UintRef<'a>,
}

/// `RSAPrivateKey` of two primes.
#[derive(Sequence)]
struct RsaPrivateKey<'a> {
    version: u8,
    n: UintRef<'a>,
    e: UintRef<'a>,
    d: UintRef<'a>,
    p: UintRef<'a>,
    q: UintRef<'a>,
    dp: UintRef<'a>,
    dq: UintRef<'a>,
    qi: UintRef<'a>,
}

/// `ECPrivateKey`.
#[derive(Sequence)]
pub(crate) struct EcPrivateKey<'a> {
    pub(crate) version: u8,
    pub(crate) scalar: &'a OctetStringRef,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(crate) curve: Option<ObjectIdentifier>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub(crate) point: Option<BitStringRef<'a>>,
}

/// `DHParameter` (PKCS #3, 9).
#[derive(Sequence)]
struct DhParameter<'a> {
    prime: UintRef<'a>,
    base: UintRef<'a>,
    #[asn1(optional = "true")]
    length: Option<u32>,
}

/// DER of `DHParameter`.
pub(crate) fn dh_parameter(group: DhGroup) -> Option<Vec<u8>> {
    let (prime, base) = (UintRef::new(group.prime()).ok()?, UintRef::new(&DhGroup::BASE).ok()?);
    let length = None;
    DhParameter { prime, base, length }.to_der().ok()
}

/// The group of a `DHParameter`.
pub(crate) fn dh_group(parameter: AnyRef<'_>) -> Option<DhGroup> {
    let parameter = DhParameter::from_der(&parameter.to_der().ok()?).ok().map(|read| {
        let (prime, base) = (read.prime.as_bytes(), read.base.as_bytes());
        DhGroup::from_params(prime, base)
    });
    parameter.flatten()
}

/// Reads an `RSAPublicKey`: n and e.
pub(crate) fn rsa_public(der: &[u8]) -> Option<Material> {
    let key = RsaPublicKey::from_der(der).ok()?;
    Some(Material::RsaPublic {
        n: key.n.as_bytes().to_vec(),
        e: key.e.as_bytes().to_vec(),
    })
}

/// Reads an `RSAPrivateKey`.
pub(crate) fn rsa_private(der: &[u8]) -> Option<Material> {
    let key = RsaPrivateKey::from_der(der).ok().filter(|key| key.version == 0)?;
    let secret = |number: UintRef<'_>| Secret::from_slice(number.as_bytes());
    Some(Material::RsaPrivate(RsaPrivate {
        n: key.n.as_bytes().to_vec(),
        e: key.e.as_bytes().to_vec(),
        d: secret(key.d),
        crt: Some(RsaCrt {
            p: secret(key.p),
            q: secret(key.q),
            dp: secret(key.dp),
            dq: secret(key.dq),
            qi: secret(key.qi),
        }),
    }))
}

/// DER of SubjectPublicKeyInfo; `None` for material that is no public key.
pub(crate) fn public_key_info(public: &Material) -> Option<Vec<u8>> {
    match public {
        Material::RsaPublic { n, e } => {
            let (n, e) = (UintRef::new(n).ok()?, UintRef::new(e).ok()?);
            info(RSA, Some(AnyRef::from(Null)), &RsaPublicKey { n, e }.to_der().ok()?)
        }
        Material::EcPublic { curve, point } => info(EC, Some(AnyRef::from(&named_curve(*curve)?)), point),
        Material::EdPublic { point } => info(ED25519, None, point),
        Material::MontgomeryPublic { point } => info(X25519, None, point),
        Material::DhPublic { group, value } => {
            let parameter = dh_parameter(*group)?;
            let value = UintRef::new(value).ok()?.to_der().ok()?;
            info(DH, Some(AnyRef::from_der(&parameter).ok()?), &value)
        }
        Material::PqPublic { set, value } => info(parameter_set(*set), None, value),
        Material::StatefulPublic { key_type, value } => info(stateful(*key_type)?, None, value),
        _ => None,
    }
}

fn info(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Option<Vec<u8>> {
    let algorithm = AlgorithmIdentifierRef { oid, parameters };
    let subject_public_key = BitStringRef::from_bytes(key).ok()?;
    SubjectPublicKeyInfoRef {
        algorithm,
        subject_public_key,
    }
    .to_der()
    .ok()
}
