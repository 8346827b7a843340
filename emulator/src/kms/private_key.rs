//! Private keys as PKCS #8 (RFC 5958), made of the attributes of an object that may be read, and public keys of elliptic curves
//! taken out of their SubjectPublicKeyInfo.

use super::key::Kind;
use cryptoki::object::{Attribute, AttributeType};
use der::asn1::{AnyRef, BitStringRef, Null, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode, Encode, Sequence};
use zeroize::{Zeroize as _, Zeroizing};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// `AlgorithmIdentifier`.
#[derive(Sequence)]
struct Algorithm<'a> {
    oid: ObjectIdentifier,
    parameters: AnyRef<'a>,
}

/// `OneAsymmetricKey`, version 1.
#[derive(Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: Algorithm<'a>,
    key: &'a OctetStringRef,
}

/// `SubjectPublicKeyInfo`.
#[derive(Sequence)]
struct PublicKeyInfo<'a> {
    algorithm: Algorithm<'a>,
    key: BitStringRef<'a>,
}

/// `RSAPrivateKey` (RFC 8017, A.1.2).
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

/// `ECPrivateKey` (RFC 5915).
#[derive(Sequence)]
struct EcPrivateKey<'a> {
    version: u8,
    scalar: &'a OctetStringRef,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    point: BitStringRef<'a>,
}

/// The attributes of a private key of which its PKCS #8 is made.
pub(super) const fn attributes(kind: Kind) -> &'static [AttributeType] {
    match kind {
        Kind::Rsa(_) => &[
            AttributeType::Modulus,
            AttributeType::PublicExponent,
            AttributeType::PrivateExponent,
            AttributeType::Prime1,
            AttributeType::Prime2,
            AttributeType::Exponent1,
            AttributeType::Exponent2,
            AttributeType::Coefficient,
        ],
        Kind::Ec(..) => &[AttributeType::Value],
        Kind::Aes | Kind::Hmac(_) => &[],
    }
}

/// The secret bytes of attributes, wiped with what held them.
pub(super) struct Read(Vec<Attribute>);

impl Read {
    pub(super) const fn new(attributes: Vec<Attribute>) -> Self {
        Self(attributes)
    }

    fn bytes(&self, wanted: AttributeType) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|attribute| attribute.attribute_type() == wanted)
            .and_then(bytes)
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        for attribute in &mut self.0 {
            match attribute {
                Attribute::Value(bytes)
                | Attribute::PrivateExponent(bytes)
                | Attribute::Prime1(bytes)
                | Attribute::Prime2(bytes)
                | Attribute::Exponent1(bytes)
                | Attribute::Exponent2(bytes)
                | Attribute::Coefficient(bytes) => bytes.zeroize(),
                _ => {}
            }
        }
    }
}

fn bytes(attribute: &Attribute) -> Option<&[u8]> {
    match attribute {
        Attribute::Modulus(bytes)
        | Attribute::PublicExponent(bytes)
        | Attribute::PrivateExponent(bytes)
        | Attribute::Prime1(bytes)
        | Attribute::Prime2(bytes)
        | Attribute::Exponent1(bytes)
        | Attribute::Exponent2(bytes)
        | Attribute::Coefficient(bytes)
        | Attribute::Value(bytes) => Some(bytes),
        _ => None,
    }
}

/// PKCS #8 of a private key with these attributes; `public` is its SubjectPublicKeyInfo.
pub(super) fn pkcs8(kind: Kind, read: &Read, public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    match kind {
        Kind::Rsa(_) => {
            let number = |attribute| UintRef::new(read.bytes(attribute)?).ok();
            let key = RsaPrivateKey {
                version: 0,
                n: number(AttributeType::Modulus)?,
                e: number(AttributeType::PublicExponent)?,
                d: number(AttributeType::PrivateExponent)?,
                p: number(AttributeType::Prime1)?,
                q: number(AttributeType::Prime2)?,
                dp: number(AttributeType::Exponent1)?,
                dq: number(AttributeType::Exponent2)?,
                qi: number(AttributeType::Coefficient)?,
            };
            info(RSA, AnyRef::from(Null), &Zeroizing::new(key.to_der().ok()?))
        }
        Kind::Ec(curve, length) => {
            let scalar = read.bytes(AttributeType::Value)?;
            // The field has the length of the order; a token may leave zeros out.
            let mut padded = Zeroizing::new(vec![0; length.checked_sub(scalar.len())?]);
            padded.extend_from_slice(scalar);
            let public = PublicKeyInfo::from_der(public).ok()?;
            let key = EcPrivateKey {
                version: 1,
                scalar: OctetStringRef::new(&padded).ok()?,
                point: public.key,
            };
            let curve: ObjectIdentifier = ObjectIdentifier::from_der(curve).ok()?;
            info(EC, AnyRef::from(&curve), &Zeroizing::new(key.to_der().ok()?))
        }
        Kind::Aes | Kind::Hmac(_) => None,
    }
}

fn info(oid: ObjectIdentifier, parameters: AnyRef<'_>, key: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let info = PrivateKeyInfo {
        version: 0,
        algorithm: Algorithm { oid, parameters },
        key: OctetStringRef::new(key).ok()?,
    };
    info.to_der().ok().map(Zeroizing::new)
}

/// The point of a public key on this curve, named by its object identifier in DER.
pub(super) fn point(public: &[u8], curve: &[u8]) -> Option<Vec<u8>> {
    let info = PublicKeyInfo::from_der(public).ok()?;
    let named = info.algorithm.parameters.decode_as::<ObjectIdentifier>().ok()?;
    let wanted: ObjectIdentifier = ObjectIdentifier::from_der(curve).ok()?;
    let point = info.key.as_bytes()?;
    (info.algorithm.oid == EC && named == wanted).then(|| point.to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::key::SPECS;
    use super::*;

    fn kind(name: &str) -> Kind {
        SPECS.iter().find(|row| row.name == name).unwrap().kind
    }

    #[test]
    fn a_scalar_is_padded_to_the_length_of_its_curve_and_the_point_read_back() {
        let Kind::Ec(curve, length) = kind("ECC_NIST_P521") else {
            panic!()
        };
        let oid: ObjectIdentifier = ObjectIdentifier::from_der(curve).unwrap();
        let point_bytes = [vec![4], vec![7; 132]].concat();
        let public = PublicKeyInfo {
            algorithm: Algorithm {
                oid: EC,
                parameters: AnyRef::from(&oid),
            },
            key: BitStringRef::from_bytes(&point_bytes).unwrap(),
        };
        let public = public.to_der().unwrap();
        assert_eq!(point(&public, curve), Some(point_bytes));
        let Kind::Ec(other, _) = kind("ECC_NIST_P256") else {
            panic!()
        };
        assert_eq!(point(&public, other), None);
        let read = Read::new(vec![Attribute::Value(vec![9; 60])]);
        let made = pkcs8(Kind::Ec(curve, length), &read, &public).unwrap();
        let info = PrivateKeyInfo::from_der(&made).unwrap();
        let key = EcPrivateKey::from_der(info.key.as_bytes()).unwrap();
        assert_eq!(key.scalar.as_bytes(), [vec![0; 6], vec![9; 60]].concat());
        assert!(
            pkcs8(
                Kind::Ec(curve, length),
                &Read::new(vec![Attribute::Value(vec![9; 67])]),
                &public
            )
            .is_none()
        );
    }
}
