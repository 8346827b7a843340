//! PKCS #8 private keys (RFC 5208, RFC 5958; ML-DSA: RFC 9881; SLH-DSA: RFC 9909; ML-KEM: RFC 9935): what C_WrapKey and C_UnwrapKey carry for private keys (PKCS#11 3.2, 6.7).

mod lattice;

use crate::encoding::{self, EcPrivateKey};
use crate::engine::Ec;
use crate::key::{Key, curve, montgomery, rsa};
use crate::material::Material;
use crate::secret::Secret;
use der::asn1::{AnyRef, BitStringRef, Null, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode, Encode};
use hsmd_proto::ck::KeyType;
use hsmd_proto::meta::Curve;
use pkcs8::PrivateKeyInfoRef;
use spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

/// The DER of a private key, version 1; `None` for other material, for numbers that make no key, and for an RSA key
/// without its primes, which `RSAPrivateKey` (RFC 8017, A.1.2) cannot express.
#[must_use]
pub fn encode(material: &Material) -> Option<Secret> {
    match material {
        Material::RsaPrivate(key) if key.crt.is_some() => {
            let inner = rsa::open_private(key).ok()?.der(crate::engine::RsaHalf::Private)?;
            wrap(encoding::RSA, Some(AnyRef::from(Null)), inner.expose())
        }
        Material::EcPrivate { curve, scalar } => encode_ec(*curve, scalar),
        Material::EdPrivate { seed } if seed.len() == 32 => {
            // RFC 8410, 7: the seed is an OCTET STRING inside the OCTET STRING.
            let inner = Zeroizing::new(OctetStringRef::new(seed.expose()).ok()?.to_der().ok()?);
            wrap(encoding::ED25519, None, &inner)
        }
        Material::MontgomeryPrivate { scalar } if scalar.len() == 32 => {
            let inner = Zeroizing::new(OctetStringRef::new(scalar.expose()).ok()?.to_der().ok()?);
            wrap(encoding::X25519, None, &inner)
        }
        Material::DhPrivate { group, value } => {
            let parameter = encoding::dh_parameter(*group)?;
            let inner = Zeroizing::new(UintRef::new(value.expose()).ok()?.to_der().ok()?);
            wrap(encoding::DH, Some(AnyRef::from_der(&parameter).ok()?), &inner)
        }
        // RFC 9909, 6: the key as it is.
        Material::PqPrivate { set, value, .. } if set.key_type() == KeyType::SLH_DSA => {
            wrap(encoding::parameter_set(*set), None, value.expose())
        }
        Material::PqPrivate { set, seed, value } => wrap(
            encoding::parameter_set(*set),
            None,
            &lattice::encode(seed.as_ref(), value)?,
        ),
        _ => None,
    }
}

fn encode_ec(curve: Curve, scalar: &Secret) -> Option<Secret> {
    let key = curve::open_private(curve, scalar).ok()?;
    let (scalar, point) = (key.scalar()?, key.point()?);
    let name = encoding::named_curve(curve)?;
    let inner = EcPrivateKey {
        version: 1,
        scalar: OctetStringRef::new(scalar.expose()).ok()?,
        curve: None,
        point: Some(BitStringRef::from_bytes(point).ok()?),
    };
    let inner = Zeroizing::new(inner.to_der().ok()?);
    wrap(encoding::EC, Some(AnyRef::from(&name)), &inner)
}

/// The DER of a private key of ML-KEM or ML-DSA that holds the seed alone: as aws-lc takes one.
#[cfg(feature = "aws-lc")]
pub(crate) fn encode_seed(set: hsmd_proto::parameter_set::ParameterSet, seed: &Secret) -> Option<Secret> {
    wrap(encoding::parameter_set(set), None, &lattice::encode(Some(seed), seed)?)
}

fn wrap(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Option<Secret> {
    let algorithm = AlgorithmIdentifierRef { oid, parameters };
    let info = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(key).ok()?);
    info.to_der().ok().map(Secret::new)
}

/// Reads a private key of a type that this build has; `None` for anything else, including trailing bytes. The numbers
/// are checked when the key is opened, but for a public half that contradicts the private one: it is refused here,
/// because it is not kept.
#[must_use]
pub fn decode(der: &[u8]) -> Option<Material> {
    let info = PrivateKeyInfoRef::from_der(der).ok()?;
    let (oid, parameters) = (info.algorithm.oid, info.algorithm.parameters);
    let key = info.private_key.as_bytes();
    if oid == encoding::RSA {
        return encoding::rsa_private(key);
    }
    if oid == encoding::EC {
        return decode_ec(encoding::curve_of(parameters?.try_into().ok()?)?, key);
    }
    if oid == encoding::ED25519 && parameters.is_none() {
        let seed = Secret::from_slice(<&OctetStringRef>::from_der(key).ok()?.as_bytes());
        let pair = curve::open_edwards_private(&seed).ok()?;
        let stated = info.public_key.map(|point| point.raw_bytes());
        let fits = stated.is_none_or(|point| point == pair.public().point());
        return fits.then_some(Material::EdPrivate { seed });
    }
    if oid == encoding::X25519 && parameters.is_none() {
        let scalar = Secret::from_slice(<&OctetStringRef>::from_der(key).ok()?.as_bytes());
        let pair = montgomery::open_private(&scalar).ok()?;
        let stated = info.public_key.map(|point| point.raw_bytes());
        let fits = stated.is_none_or(|point| point == pair.point());
        return fits.then_some(Material::MontgomeryPrivate { scalar });
    }
    if oid == encoding::DH {
        let group = encoding::dh_group(parameters?)?;
        let value = UintRef::from_der(key).ok()?;
        return Some(Material::DhPrivate {
            group,
            value: Secret::from_slice(value.as_bytes()),
        });
    }
    if parameters.is_none() {
        let material = lattice::decode(oid, key)?;
        let stated = info.public_key.map(|point| point.raw_bytes().to_vec());
        let fits = stated.is_none_or(|stated| {
            let public = Key::open(&material).ok().and_then(|key| key.public());
            matches!(public, Some(Material::PqPublic { value, .. }) if value == stated)
        });
        return fits.then_some(material);
    }
    None
}

fn decode_ec(curve: Curve, der: &[u8]) -> Option<Material> {
    let key = EcPrivateKey::from_der(der).ok().filter(|key| key.version == 1)?;
    if key.curve.is_some_and(|name| encoding::curve_of(name) != Some(curve)) {
        return None;
    }
    let private = curve::open_private(curve, &Secret::from_slice(key.scalar.as_bytes())).ok()?;
    if let Some(stated) = key.point {
        let stated = Ec::from_point(curve, stated.raw_bytes())?;
        if stated.point() != private.point() {
            return None;
        }
    }
    Some(Material::EcPrivate {
        curve,
        scalar: private.scalar()?,
    })
}
