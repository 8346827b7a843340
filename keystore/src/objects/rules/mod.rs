//! The attribute rules: what each attribute may be named for, what it defaults to, how it may change. The rows are in
//! [`table`]; the functions that apply them to a template are in [`apply`]. Nothing else in the crate decides on attributes
//! by their name (STYLE 3). PKCS#11 3.2, chapter 4.

mod apply;
#[cfg(test)]
mod page;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use apply::{Draft, Plan, amend, complete};
pub(crate) use table::RULES;

use hsmd_proto::ck::{AttributeType, CertificateType, KeyType, ObjectClass, Rv};
use hsmd_proto::policy::Policy;

/// A way in which an object comes to be, or is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// C_CreateObject.
    Create,
    /// C_GenerateKey, C_GenerateKeyPair.
    Generate,
    /// C_UnwrapKey.
    Unwrap,
    /// C_DeriveKey.
    Derive,
    /// C_CopyObject.
    Copy,
    /// C_SetAttributeValue.
    Set,
}

/// A set of ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ways(u8);

impl Ways {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const CREATE: Self = Self(1);
    pub(crate) const GENERATE: Self = Self(2);
    pub(crate) const UNWRAP: Self = Self(4);
    pub(crate) const DERIVE: Self = Self(8);
    pub(crate) const COPY: Self = Self(16);
    pub(crate) const SET: Self = Self(32);
    /// Every way of making an object but a copy.
    pub(crate) const MAKE: Self = Self(1 | 2 | 4 | 8);

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, way: Way) -> bool {
        self.0 & (1 << way as u8) != 0
    }
}

/// Class and key type as far as the rules tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Data,
    Certificate,
    AttributeCertificate,
    WtlsCertificate,
    Trust,
    Profile,
    Mechanism,
    Feature,
    RsaPublic,
    EcPublic,
    EdPublic,
    MontgomeryPublic,
    DhPublic,
    MlDsaPublic,
    MlKemPublic,
    SlhDsaPublic,
    HssPublic,
    XmssPublic,
    RsaPrivate,
    EcPrivate,
    EdPrivate,
    MontgomeryPrivate,
    DhPrivate,
    MlDsaPrivate,
    MlKemPrivate,
    SlhDsaPrivate,
    Aes,
    AesXts,
    ChaCha,
    Des3,
    Generic,
    Hmac,
}

impl Shape {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 32] = [
        Self::Data,
        Self::Certificate,
        Self::AttributeCertificate,
        Self::WtlsCertificate,
        Self::Trust,
        Self::Profile,
        Self::Mechanism,
        Self::Feature,
        Self::RsaPublic,
        Self::EcPublic,
        Self::EdPublic,
        Self::MontgomeryPublic,
        Self::DhPublic,
        Self::MlDsaPublic,
        Self::MlKemPublic,
        Self::SlhDsaPublic,
        Self::HssPublic,
        Self::XmssPublic,
        Self::RsaPrivate,
        Self::EcPrivate,
        Self::EdPrivate,
        Self::MontgomeryPrivate,
        Self::DhPrivate,
        Self::MlDsaPrivate,
        Self::MlKemPrivate,
        Self::SlhDsaPrivate,
        Self::Aes,
        Self::AesXts,
        Self::ChaCha,
        Self::Des3,
        Self::Generic,
        Self::Hmac,
    ];

    /// The shape of what is no key: by its class, of a certificate by its type as well. `None`: this build does not have it.
    pub(crate) const fn of_other(class: ObjectClass, certificate: Option<CertificateType>) -> Option<Self> {
        Some(match (class, certificate) {
            (ObjectClass::DATA, _) => Self::Data,
            (ObjectClass::CERTIFICATE, Some(CertificateType::X_509)) => Self::Certificate,
            (ObjectClass::CERTIFICATE, Some(CertificateType::X_509_ATTR_CERT)) => Self::AttributeCertificate,
            (ObjectClass::CERTIFICATE, Some(CertificateType::WTLS)) => Self::WtlsCertificate,
            (ObjectClass::TRUST, _) => Self::Trust,
            (ObjectClass::PROFILE, _) => Self::Profile,
            (ObjectClass::MECHANISM, _) => Self::Mechanism,
            (ObjectClass::HW_FEATURE, _) => Self::Feature,
            _ => return None,
        })
    }

    /// The shape of a key; `CKR_ATTRIBUTE_VALUE_INVALID` for classes and types that this build does not have.
    pub(crate) fn of_key(class: ObjectClass, key_type: KeyType) -> Result<Self, Rv> {
        Ok(match (class, key_type) {
            (ObjectClass::PUBLIC_KEY, KeyType::RSA) => Self::RsaPublic,
            (ObjectClass::PUBLIC_KEY, KeyType::EC) => Self::EcPublic,
            (ObjectClass::PUBLIC_KEY, KeyType::EC_EDWARDS) => Self::EdPublic,
            (ObjectClass::PUBLIC_KEY, KeyType::EC_MONTGOMERY) => Self::MontgomeryPublic,
            (ObjectClass::PUBLIC_KEY, KeyType::DH) => Self::DhPublic,
            (ObjectClass::PUBLIC_KEY, KeyType::ML_DSA) => Self::MlDsaPublic,
            (ObjectClass::PUBLIC_KEY, KeyType::ML_KEM) => Self::MlKemPublic,
            (ObjectClass::PUBLIC_KEY, KeyType::SLH_DSA) => Self::SlhDsaPublic,
            (ObjectClass::PUBLIC_KEY, KeyType::HSS) => Self::HssPublic,
            (ObjectClass::PUBLIC_KEY, KeyType::XMSS | KeyType::XMSSMT) => Self::XmssPublic,
            (ObjectClass::PRIVATE_KEY, KeyType::RSA) => Self::RsaPrivate,
            (ObjectClass::PRIVATE_KEY, KeyType::EC) => Self::EcPrivate,
            (ObjectClass::PRIVATE_KEY, KeyType::EC_EDWARDS) => Self::EdPrivate,
            (ObjectClass::PRIVATE_KEY, KeyType::EC_MONTGOMERY) => Self::MontgomeryPrivate,
            (ObjectClass::PRIVATE_KEY, KeyType::DH) => Self::DhPrivate,
            (ObjectClass::PRIVATE_KEY, KeyType::ML_DSA) => Self::MlDsaPrivate,
            (ObjectClass::PRIVATE_KEY, KeyType::ML_KEM) => Self::MlKemPrivate,
            (ObjectClass::PRIVATE_KEY, KeyType::SLH_DSA) => Self::SlhDsaPrivate,
            (ObjectClass::SECRET_KEY, KeyType::AES) => Self::Aes,
            (ObjectClass::SECRET_KEY, KeyType::AES_XTS) => Self::AesXts,
            (ObjectClass::SECRET_KEY, KeyType::CHACHA20) => Self::ChaCha,
            (ObjectClass::SECRET_KEY, KeyType::DES3) => Self::Des3,
            (ObjectClass::SECRET_KEY, KeyType::GENERIC_SECRET | KeyType::HKDF) => Self::Generic,
            (
                ObjectClass::SECRET_KEY,
                KeyType::SHA_1_HMAC
                | KeyType::SHA224_HMAC
                | KeyType::SHA256_HMAC
                | KeyType::SHA384_HMAC
                | KeyType::SHA512_HMAC
                | KeyType::SHA512_224_HMAC
                | KeyType::SHA512_256_HMAC
                | KeyType::SHA3_224_HMAC
                | KeyType::SHA3_256_HMAC
                | KeyType::SHA3_384_HMAC
                | KeyType::SHA3_512_HMAC
                | KeyType::BLAKE2B_160_HMAC
                | KeyType::BLAKE2B_256_HMAC
                | KeyType::BLAKE2B_384_HMAC
                | KeyType::BLAKE2B_512_HMAC,
            ) => Self::Hmac,
            _ => return Err(Rv::ATTRIBUTE_VALUE_INVALID),
        })
    }

    pub(crate) const fn class(self) -> ObjectClass {
        match self {
            Self::Data => ObjectClass::DATA,
            Self::Certificate | Self::AttributeCertificate | Self::WtlsCertificate => ObjectClass::CERTIFICATE,
            Self::Trust => ObjectClass::TRUST,
            Self::Profile => ObjectClass::PROFILE,
            Self::Mechanism => ObjectClass::MECHANISM,
            Self::Feature => ObjectClass::HW_FEATURE,
            Self::RsaPublic | Self::EcPublic | Self::EdPublic | Self::MontgomeryPublic => ObjectClass::PUBLIC_KEY,
            Self::DhPublic | Self::MlDsaPublic | Self::MlKemPublic | Self::SlhDsaPublic => ObjectClass::PUBLIC_KEY,
            Self::HssPublic | Self::XmssPublic => ObjectClass::PUBLIC_KEY,
            Self::RsaPrivate | Self::EcPrivate | Self::EdPrivate | Self::MontgomeryPrivate => ObjectClass::PRIVATE_KEY,
            Self::DhPrivate | Self::MlDsaPrivate | Self::MlKemPrivate | Self::SlhDsaPrivate => ObjectClass::PRIVATE_KEY,
            Self::Aes | Self::AesXts | Self::ChaCha | Self::Des3 | Self::Generic | Self::Hmac => {
                ObjectClass::SECRET_KEY
            }
        }
    }

    pub(crate) fn is_secret(self) -> bool {
        self.class() == ObjectClass::SECRET_KEY
    }

    pub(crate) fn is_key(self) -> bool {
        Shapes::KEYS.has(self)
    }
}

/// A set of shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shapes(u32);

impl Shapes {
    #[cfg(test)]
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const DATA: Self = Self(1 << Shape::Data as u16);
    pub(crate) const CERTIFICATE: Self = Self(1 << Shape::Certificate as u16);
    pub(crate) const ATTRIBUTE_CERTIFICATE: Self = Self(1 << Shape::AttributeCertificate as u16);
    pub(crate) const WTLS_CERTIFICATE: Self = Self(1 << Shape::WtlsCertificate as u16);
    pub(crate) const CERTIFICATES: Self = Self::CERTIFICATE
        .or(Self::ATTRIBUTE_CERTIFICATE)
        .or(Self::WTLS_CERTIFICATE);
    pub(crate) const TRUST: Self = Self(1 << Shape::Trust as u16);
    pub(crate) const PROFILE: Self = Self(1 << Shape::Profile as u16);
    pub(crate) const MECHANISM: Self = Self(1 << Shape::Mechanism as u16);
    pub(crate) const FEATURE: Self = Self(1 << Shape::Feature as u16);
    /// Made by the token itself, and changed by nobody.
    pub(crate) const BUILT_IN: Self = Self::PROFILE.or(Self::MECHANISM).or(Self::FEATURE);
    pub(crate) const RSA_PUBLIC: Self = Self(1 << Shape::RsaPublic as u16);
    pub(crate) const RSA_PRIVATE: Self = Self(1 << Shape::RsaPrivate as u16);
    pub(crate) const EC_PRIVATE: Self = Self(1 << Shape::EcPrivate as u16);
    pub(crate) const MONTGOMERY_PRIVATE: Self = Self(1 << Shape::MontgomeryPrivate as u16);
    /// Curves with signatures.
    pub(crate) const SIGNING_PUBLIC: Self = Self((1 << Shape::EcPublic as u16) | (1 << Shape::EdPublic as u16));
    pub(crate) const SIGNING_PRIVATE: Self = Self::EC_PRIVATE.or(Self(1 << Shape::EdPrivate as u16));
    pub(crate) const CURVE_PUBLIC: Self = Self::SIGNING_PUBLIC.or(Self(1 << Shape::MontgomeryPublic as u16));
    pub(crate) const CURVE_PRIVATE: Self = Self::SIGNING_PRIVATE.or(Self::MONTGOMERY_PRIVATE);
    pub(crate) const DH_PUBLIC: Self = Self(1 << Shape::DhPublic as u32);
    pub(crate) const DH_PRIVATE: Self = Self(1 << Shape::DhPrivate as u32);
    pub(crate) const ML_DSA_PUBLIC: Self = Self(1 << Shape::MlDsaPublic as u16);
    pub(crate) const ML_DSA_PRIVATE: Self = Self(1 << Shape::MlDsaPrivate as u16);
    pub(crate) const ML_KEM_PUBLIC: Self = Self(1 << Shape::MlKemPublic as u16);
    pub(crate) const ML_KEM_PRIVATE: Self = Self(1 << Shape::MlKemPrivate as u16);
    pub(crate) const SLH_DSA_PUBLIC: Self = Self(1 << Shape::SlhDsaPublic as u16);
    pub(crate) const SLH_DSA_PRIVATE: Self = Self(1 << Shape::SlhDsaPrivate as u16);
    pub(crate) const HSS_PUBLIC: Self = Self(1 << Shape::HssPublic as u16);
    pub(crate) const XMSS_PUBLIC: Self = Self(1 << Shape::XmssPublic as u16);
    /// Keys that come in and verify; they are not made here.
    pub(crate) const STATEFUL_PUBLIC: Self = Self::HSS_PUBLIC.or(Self::XMSS_PUBLIC);
    /// Keys with a parameter set.
    pub(crate) const PQ_PUBLIC: Self = Self::ML_DSA_PUBLIC.or(Self::ML_KEM_PUBLIC).or(Self::SLH_DSA_PUBLIC);
    pub(crate) const PQ_PRIVATE: Self = Self::ML_DSA_PRIVATE.or(Self::ML_KEM_PRIVATE).or(Self::SLH_DSA_PRIVATE);
    pub(crate) const PUBLIC: Self = Self::RSA_PUBLIC
        .or(Self::CURVE_PUBLIC)
        .or(Self::DH_PUBLIC)
        .or(Self::PQ_PUBLIC)
        .or(Self::STATEFUL_PUBLIC);
    pub(crate) const PRIVATE: Self = Self::RSA_PRIVATE
        .or(Self::CURVE_PRIVATE)
        .or(Self::DH_PRIVATE)
        .or(Self::PQ_PRIVATE);
    pub(crate) const AES: Self = Self(1 << Shape::Aes as u16);
    pub(crate) const AES_XTS: Self = Self(1 << Shape::AesXts as u16);
    pub(crate) const CHACHA: Self = Self(1 << Shape::ChaCha as u16);
    pub(crate) const DES3: Self = Self(1 << Shape::Des3 as u32);
    /// Keys that encrypt and neither wrap nor derive.
    pub(crate) const CIPHERS: Self = Self::AES_XTS.or(Self::CHACHA).or(Self::DES3);
    /// Keys that all have the same length.
    pub(crate) const OF_ONE_LENGTH: Self = Self::CHACHA.or(Self::DES3);
    pub(crate) const GENERIC: Self = Self(1 << Shape::Generic as u16);
    pub(crate) const HMAC: Self = Self(1 << Shape::Hmac as u16);
    pub(crate) const SECRET: Self = Self::AES.or(Self::CIPHERS).or(Self::GENERIC).or(Self::HMAC);
    pub(crate) const KEYS: Self = Self::PUBLIC.or(Self::PRIVATE).or(Self::SECRET);
    /// Who made them with SoftHSM and said nothing could read them only after a login.
    pub(crate) const PRIVATE_BY_DEFAULT: Self = Self::PRIVATE.or(Self::SECRET).or(Self::DATA);
    /// What applications make (4.4).
    pub(crate) const STORED: Self = Self::DATA.or(Self::CERTIFICATES).or(Self::TRUST).or(Self::KEYS);
    pub(crate) const ALL: Self = Self::STORED.or(Self::BUILT_IN);

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, shape: Shape) -> bool {
        self.0 & (1 << shape as u16) != 0
    }
}

/// What an attribute is when the template does not name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Default {
    /// The object does not have it.
    Absent,
    /// No bytes.
    Empty,
    /// CK_FALSE.
    False,
    /// CK_TRUE.
    True,
    /// A CK_ULONG.
    Number(u64),
    /// CK_TRUE for these shapes where the policy gives usage flags unasked, else CK_FALSE (DESIGN 8).
    Usage(Shapes),
    /// As `Usage`, but under `legacy` only: the wrapping flags of secret keys.
    LegacyUsage(Shapes),
    /// CK_TRUE for private and secret keys and for data.
    Private,
    /// CK_TRUE, but for the output of a key agreement, see [`readable_by_default`].
    Sensitive,
    /// CK_FALSE, but for the output of a key agreement, see [`readable_by_default`].
    Extractable,
    /// The operation fills it in.
    Computed,
}

/// How copy and set may change a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// To any value.
    Any,
    /// Only from CK_FALSE to CK_TRUE.
    Raise,
    /// Only from CK_TRUE to CK_FALSE.
    Lower,
    /// It may be named with the value that it has.
    Same,
}

/// One attribute of some shapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) attribute: AttributeType,
    pub(crate) shapes: Shapes,
    /// The ways in which a template may name it.
    pub(crate) named: Ways,
    /// The ways in which a template must name it.
    pub(crate) required: Ways,
    pub(crate) default: Default,
    pub(crate) change: Change,
    /// Only the SO may make it CK_TRUE.
    pub(crate) so_only: bool,
}

/// The rule of an attribute for a shape; `None`: objects of that shape do not have it.
pub(crate) fn rule(shape: Shape, attribute: AttributeType) -> Option<&'static Rule> {
    RULES
        .iter()
        .find(|rule| rule.attribute == attribute && rule.shapes.has(shape))
}

/// Whether a derived key of this shape is readable unless its template says otherwise: Java's `KeyAgreement` names neither
/// CKA_SENSITIVE nor CKA_EXTRACTABLE and then reads the secret (DESIGN 8, "as Java needs").
fn readable_by_default(way: Way, shape: Shape, policy: Policy) -> bool {
    way == Way::Derive && shape == Shape::Generic && policy.usage_by_default()
}
