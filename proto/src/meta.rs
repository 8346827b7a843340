//! What Init needs to know of a key. Made by the daemon from the object, by the module from the attributes that a
//! create or find reply brought along; both use the same function.

use crate::attribute::{Template, decode_mechanisms};
use crate::ck::{AttributeType as A, KeyType, MechanismType, ObjectClass};
use crate::parameter_set::ParameterSet;

/// Usage flags of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage(pub u16);

#[expect(missing_docs, reason = "the names are those of the CKA_ attributes")]
impl Usage {
    pub const ENCRYPT: Self = Self(1);
    pub const DECRYPT: Self = Self(1 << 1);
    pub const SIGN: Self = Self(1 << 2);
    pub const SIGN_RECOVER: Self = Self(1 << 3);
    pub const VERIFY: Self = Self(1 << 4);
    pub const VERIFY_RECOVER: Self = Self(1 << 5);
    pub const WRAP: Self = Self(1 << 6);
    pub const UNWRAP: Self = Self(1 << 7);
    pub const DERIVE: Self = Self(1 << 8);
    pub const ENCAPSULATE: Self = Self(1 << 9);
    pub const DECAPSULATE: Self = Self(1 << 10);

    /// The attribute of each flag.
    pub const ATTRIBUTES: [(A, Self); 11] = [
        (A::ENCRYPT, Self::ENCRYPT),
        (A::DECRYPT, Self::DECRYPT),
        (A::SIGN, Self::SIGN),
        (A::SIGN_RECOVER, Self::SIGN_RECOVER),
        (A::VERIFY, Self::VERIFY),
        (A::VERIFY_RECOVER, Self::VERIFY_RECOVER),
        (A::WRAP, Self::WRAP),
        (A::UNWRAP, Self::UNWRAP),
        (A::DERIVE, Self::DERIVE),
        (A::ENCAPSULATE, Self::ENCAPSULATE),
        (A::DECAPSULATE, Self::DECAPSULATE),
    ];

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Elliptic curves of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Curve {
    P224,
    P256,
    P384,
    P521,
    Secp256k1,
    Ed25519,
    X25519,
}

impl Curve {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::P224,
        Self::P256,
        Self::P384,
        Self::P521,
        Self::Secp256k1,
        Self::Ed25519,
        Self::X25519,
    ];

    /// DER of the object identifier (RFC 5480, SEC 2, RFC 8410).
    #[must_use]
    pub const fn oid_der(self) -> &'static [u8] {
        match self {
            Self::P224 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21],
            Self::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Self::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
            Self::P521 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
            Self::Secp256k1 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a],
            Self::Ed25519 => &[0x06, 0x03, 0x2b, 0x65, 0x70],
            Self::X25519 => &[0x06, 0x03, 0x2b, 0x65, 0x6e],
        }
    }

    /// What pkcs11-tool of OpenSC 0.23 sends for `EC:curve25519`: a PrintableString whose length is one too large. It is
    /// read for what it means, and stored as [`Self::oid_der`]: it is no DER that another client could read.
    pub const MISCOUNTED: &[u8] = b"\x13\x0bcurve25519";

    /// Size in bits as CK_MECHANISM_INFO counts it.
    #[must_use]
    pub const fn bits(self) -> u64 {
        match self {
            Self::P224 => 224,
            Self::P256 | Self::Secp256k1 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
            Self::Ed25519 | Self::X25519 => 255,
        }
    }

    /// Length in bytes of a field element, of a scalar, and of half a signature.
    #[must_use]
    pub const fn field_bytes(self) -> usize {
        match self {
            Self::P224 => 28,
            Self::P256 | Self::Secp256k1 | Self::Ed25519 | Self::X25519 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// Reads `CKA_EC_PARAMS`: an OID, or a PrintableString with the curve's name (PKCS#11 3.2, 6.3.3).
    #[must_use]
    pub fn from_params(der: &[u8]) -> Option<Self> {
        const NAMES: [(&[u8], Curve); 10] = [
            (b"edwards25519", Curve::Ed25519),
            (b"Ed25519", Curve::Ed25519),
            (b"secp224r1", Curve::P224),
            (b"secp256r1", Curve::P256),
            (b"prime256v1", Curve::P256),
            (b"secp384r1", Curve::P384),
            (b"secp521r1", Curve::P521),
            (b"secp256k1", Curve::Secp256k1),
            (b"curve25519", Curve::X25519),
            (b"X25519", Curve::X25519),
        ];
        if let Some(curve) = Self::ALL.into_iter().find(|curve| curve.oid_der() == der) {
            return Some(curve);
        }
        // The OIDs of before RFC 8410 (GnuPG's), which some clients still send.
        match der {
            Self::MISCOUNTED => Some(Self::X25519),
            [0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01] => Some(Self::X25519),
            [0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01] => Some(Self::Ed25519),
            [0x13, length, name @ ..] if *length as usize == name.len() => {
                NAMES.iter().find(|(known, _)| *known == name).map(|(_, curve)| *curve)
            }
            _ => None,
        }
    }

    /// The key type of keys on this curve.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::P224 | Self::P256 | Self::P384 | Self::P521 | Self::Secp256k1 => KeyType::EC,
            Self::Ed25519 => KeyType::EC_EDWARDS,
            Self::X25519 => KeyType::EC_MONTGOMERY,
        }
    }
}

/// What Init needs to know of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMeta {
    /// Public, private or secret key.
    pub class: ObjectClass,
    /// The key's type.
    pub key_type: KeyType,
    /// Bits for RSA, DH and EC, bytes for secret keys and for the public halves of post-quantum keys: the unit of the mechanism
    /// table.
    pub size: u64,
    /// The curve of EC and Edwards keys.
    pub curve: Option<Curve>,
    /// The parameter set of post-quantum keys.
    pub set: Option<ParameterSet>,
    /// Usage flags.
    pub usage: Usage,
    /// `CKA_PRIVATE`: needs a login.
    pub private: bool,
    /// `CKA_ALWAYS_AUTHENTICATE`.
    pub always_authenticate: bool,
    /// The material has wrapped a sensitive key (DESIGN 8).
    pub wrapping: bool,
    /// `CKA_ALLOWED_MECHANISMS`; `None` when it is absent or empty: all.
    pub allowed: Option<Vec<MechanismType>>,
}

impl KeyMeta {
    /// Reads the metadata from an object's attributes; `None` if it is no key that this build can use.
    pub fn from_values<'a>(wrapping: bool, value_of: impl Fn(A) -> Option<&'a [u8]>) -> Option<Self> {
        let number = |attribute| Some(u64::from_le_bytes(value_of(attribute)?.try_into().ok()?));
        let flag = |attribute| value_of(attribute) == Some(&[1]);
        let class = ObjectClass(number(A::CLASS)?);
        let key_type = KeyType(number(A::KEY_TYPE)?);
        let curve = value_of(A::EC_PARAMS).and_then(Curve::from_params);
        let set = number(A::PARAMETER_SET).and_then(|set| ParameterSet::new(key_type, set));
        let size = match (class, key_type) {
            (ObjectClass::SECRET_KEY, _) => number(A::VALUE_LEN)?,
            (_, KeyType::RSA) => modulus_bits(value_of(A::MODULUS)?),
            (_, KeyType::DH) => modulus_bits(value_of(A::PRIME)?),
            (_, KeyType::ML_DSA | KeyType::ML_KEM | KeyType::SLH_DSA) => set?.public_bytes() as u64,
            // PKCS#11 3.2, 6.65 and 6.66: their mechanisms have no sizes.
            (_, KeyType::HSS | KeyType::XMSS | KeyType::XMSSMT) => 0,
            _ => curve?.bits(),
        };
        let usage = Usage::ATTRIBUTES
            .iter()
            .filter(|(attribute, _)| flag(*attribute))
            .fold(Usage::default(), |all, (_, bit)| all.with(*bit));
        let allowed = value_of(A::ALLOWED_MECHANISMS)
            .map(decode_mechanisms)
            .filter(|list| !list.is_empty());
        Some(Self {
            class,
            key_type,
            size,
            curve,
            set,
            usage,
            private: flag(A::PRIVATE),
            always_authenticate: flag(A::ALWAYS_AUTHENTICATE),
            wrapping,
            allowed,
        })
    }

    /// [`Self::from_values`] over a list of attributes.
    #[must_use]
    pub fn from_template(attributes: &Template, wrapping: bool) -> Option<Self> {
        Self::from_values(wrapping, |attribute| attributes.value(attribute))
    }

    /// The length in bytes of an RSA modulus, or of the prime of a DH key.
    #[must_use]
    pub const fn modulus_bytes(&self) -> usize {
        (self.size as usize).div_ceil(8)
    }
}

/// The number of significant bits of a big-endian integer.
#[must_use]
pub fn modulus_bits(modulus: &[u8]) -> u64 {
    let significant = modulus.iter().skip_while(|byte| **byte == 0).collect::<Vec<_>>();
    match significant.split_first() {
        None => 0,
        Some((first, rest)) => rest.len() as u64 * 8 + u64::from(8 - first.leading_zeros()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_named_by_oid_or_by_string() {
        assert_eq!(Curve::from_params(Curve::P384.oid_der()), Some(Curve::P384));
        assert_eq!(Curve::from_params(b"\x13\x0cedwards25519"), Some(Curve::Ed25519));
        assert_eq!(Curve::from_params(b"\x13\x0dedwards25519"), None);
        assert_eq!(Curve::from_params(Curve::MISCOUNTED), Some(Curve::X25519));
        assert_eq!(Curve::from_params(b"\x13\x0acurve25519"), Some(Curve::X25519));
        let gnupg = [0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01];
        assert_eq!(Curve::from_params(&gnupg), Some(Curve::X25519));
        assert_eq!(Curve::from_params(&[]), None);
        for curve in Curve::ALL {
            assert_eq!(Curve::from_params(curve.oid_der()), Some(curve));
        }
    }

    #[test]
    fn leading_zeros_of_a_modulus_do_not_count() {
        assert_eq!(modulus_bits(&[0, 0x80, 0]), 16);
        assert_eq!(modulus_bits(&[1, 0]), 9);
        assert_eq!(modulus_bits(&[]), 0);
    }
}
