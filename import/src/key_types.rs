//! The kinds of private keys that PKCS #8 names: key type, what they may do, and how their public half is made.

use cryptoki::object::{Attribute, KeyType};
use der::asn1::{BitString, ObjectIdentifier, OctetStringRef};
use der::{Any, Decode as _, Encode as _, Sequence};

/// A row: the algorithm of PKCS #8 and of SubjectPublicKeyInfo.
pub(crate) struct Kind {
    oid: ObjectIdentifier,
    pub(crate) name: &'static str,
    pub(crate) key_type: KeyType,
    private: &'static [Use],
    public: &'static [Use],
    shape: Shape,
}

/// How a public key's attributes are made of its SubjectPublicKeyInfo.
#[derive(Clone, Copy)]
enum Shape {
    Rsa,
    /// Parameters of the algorithm, point.
    Curve,
    /// The algorithm itself names the curve (RFC 8410).
    NamedCurve,
    /// The group is the algorithm's parameters (PKCS #3, 9).
    Group,
}

#[derive(Clone, Copy)]
enum Use {
    Sign,
    Verify,
    Encrypt,
    Decrypt,
    Derive,
}

impl Use {
    const fn attribute(self) -> Attribute {
        match self {
            Self::Sign => Attribute::Sign(true),
            Self::Verify => Attribute::Verify(true),
            Self::Encrypt => Attribute::Encrypt(true),
            Self::Decrypt => Attribute::Decrypt(true),
            Self::Derive => Attribute::Derive(true),
        }
    }
}

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

/// What is not here is refused with its object identifier.
const KINDS: [Kind; 7] = [
    Kind {
        oid: oid("1.2.840.113549.1.1.1"),
        name: "RSA",
        key_type: KeyType::RSA,
        private: &[Use::Sign, Use::Decrypt],
        public: &[Use::Verify, Use::Encrypt],
        shape: Shape::Rsa,
    },
    Kind {
        oid: oid("1.2.840.10045.2.1"),
        name: "EC",
        key_type: KeyType::EC,
        private: &[Use::Sign, Use::Derive],
        public: &[Use::Verify],
        shape: Shape::Curve,
    },
    Kind {
        oid: oid("1.3.101.112"),
        name: "Ed25519",
        key_type: KeyType::EC_EDWARDS,
        private: &[Use::Sign],
        public: &[Use::Verify],
        shape: Shape::NamedCurve,
    },
    Kind {
        oid: oid("1.3.101.113"),
        name: "Ed448",
        key_type: KeyType::EC_EDWARDS,
        private: &[Use::Sign],
        public: &[Use::Verify],
        shape: Shape::NamedCurve,
    },
    Kind {
        oid: oid("1.3.101.110"),
        name: "X25519",
        key_type: KeyType::EC_MONTGOMERY,
        private: &[Use::Derive],
        public: &[],
        shape: Shape::NamedCurve,
    },
    Kind {
        oid: oid("1.3.101.111"),
        name: "X448",
        key_type: KeyType::EC_MONTGOMERY,
        private: &[Use::Derive],
        public: &[],
        shape: Shape::NamedCurve,
    },
    // dhKeyAgreement; the keys of X9.42 (1.2.840.10046.2.1) are others.
    Kind {
        oid: oid("1.2.840.113549.1.3.1"),
        name: "DH",
        key_type: KeyType::DH,
        private: &[Use::Derive],
        public: &[],
        shape: Shape::Group,
    },
];

/// `SubjectPublicKeyInfo` (RFC 5280, 4.1.2.7).
#[derive(Sequence)]
struct PublicKeyInfo {
    algorithm: Algorithm,
    key: BitString,
}

#[derive(Sequence)]
struct Algorithm {
    oid: ObjectIdentifier,
    parameters: Option<Any>,
}

/// `RSAPublicKey` (RFC 8017, A.1.1).
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: der::asn1::UintRef<'a>,
    exponent: der::asn1::UintRef<'a>,
}

/// `DHParameter` (PKCS #3, 9).
#[derive(Sequence)]
struct DhParameter<'a> {
    prime: der::asn1::UintRef<'a>,
    base: der::asn1::UintRef<'a>,
    #[asn1(optional = "true")]
    private_bits: Option<u32>,
}

impl Kind {
    /// The row of an algorithm.
    pub(crate) fn of(algorithm: ObjectIdentifier) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.oid == algorithm)
    }

    /// Key type and flags of a private key.
    pub(crate) fn private_attributes(&self) -> Vec<Attribute> {
        let flags = self.private.iter().map(|flag| flag.attribute());
        std::iter::once(Attribute::KeyType(self.key_type))
            .chain(flags)
            .collect()
    }
}

/// The kind and the attributes of a public key, and the bits that identify it; `None`: no SubjectPublicKeyInfo of a known kind.
pub(crate) fn public_attributes(info: &[u8]) -> Option<(&'static Kind, Vec<Attribute>)> {
    let info = PublicKeyInfo::from_der(info).ok()?;
    let kind = Kind::of(info.algorithm.oid)?;
    let bits = info.key.as_bytes()?;
    let mut attributes = vec![Attribute::KeyType(kind.key_type)];
    attributes.extend(kind.public.iter().map(|flag| flag.attribute()));
    let point = || OctetStringRef::new(bits).ok()?.to_der().ok();
    match kind.shape {
        Shape::Rsa => {
            let key = RsaPublicKey::from_der(bits).ok()?;
            attributes.push(Attribute::Modulus(key.modulus.as_bytes().to_vec()));
            attributes.push(Attribute::PublicExponent(key.exponent.as_bytes().to_vec()));
        }
        Shape::Curve => {
            attributes.push(Attribute::EcParams(info.algorithm.parameters?.to_der().ok()?));
            attributes.push(Attribute::EcPoint(point()?));
        }
        Shape::NamedCurve => {
            attributes.push(Attribute::EcParams(info.algorithm.oid.to_der().ok()?));
            attributes.push(Attribute::EcPoint(point()?));
        }
        Shape::Group => {
            let parameters = info.algorithm.parameters?.to_der().ok()?;
            let group = DhParameter::from_der(&parameters).ok()?;
            let value = der::asn1::UintRef::from_der(bits).ok()?;
            attributes.push(Attribute::Prime(group.prime.as_bytes().to_vec()));
            attributes.push(Attribute::Base(group.base.as_bytes().to_vec()));
            attributes.push(Attribute::Value(value.as_bytes().to_vec()));
        }
    }
    Some((kind, attributes))
}

/// The identifier of a public key: the SHA-1 of its bits, as certificates have it (RFC 5280, 4.2.1.2, method 1). No security
/// rests on it.
pub(crate) fn key_id(info: &[u8]) -> Option<Vec<u8>> {
    use sha1::Digest as _;
    let info = PublicKeyInfo::from_der(info).ok()?;
    Some(sha1::Sha1::digest(info.key.as_bytes()?).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_value_of_diffie_hellman_comes_with_its_group() {
        const OID: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 3, 1];
        const VALUE: &[u8] = &[0x03, 4, 0, 2, 1, 8];
        // 23 and 5; the second names the length of private values, too.
        for group in [&[2, 1, 23, 2, 1, 5][..], &[2, 1, 23, 2, 1, 5, 2, 1, 4]] {
            let sequence = |parts: &[&[u8]]| {
                let inside = parts.concat();
                [&[0x30, inside.len() as u8][..], &inside].concat()
            };
            let info = sequence(&[&sequence(&[OID, &sequence(&[group])]), VALUE]);
            let (kind, attributes) = public_attributes(&info).expect("a public key");
            assert_eq!(kind.name, "DH");
            let expected = [
                Attribute::KeyType(KeyType::DH),
                Attribute::Prime(vec![23]),
                Attribute::Base(vec![5]),
                Attribute::Value(vec![8]),
            ];
            assert_eq!(attributes, expected);
        }
    }
}
