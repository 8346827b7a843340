//! Attributes as values: their kinds, their bytes, templates, and the one function that matches an object against one.
//!
//! A value is what C_GetAttributeValue would return: CK_BBOOL one byte, CK_ULONG eight bytes (little endian), dates,
//! strings and big integers as they are, mechanism lists as CK_ULONGs. What an attribute *means* for a class of objects
//! (default, settable when) is a table of `keystore`.

use crate::ck::{AttributeType, MechanismType, ObjectClass, Rv};
use crate::value::Value;
use crate::wipe::WipingVec;

/// How the bytes of an attribute are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CK_BBOOL: one byte, 0 or 1.
    Bool,
    /// CK_ULONG: eight bytes.
    Ulong,
    /// Bytes of any length: strings, DER, big integers.
    Bytes,
    /// CK_DATE: empty, or eight ASCII digits YYYYMMDD.
    Date,
    /// CK_MECHANISM_TYPE array.
    Mechanisms,
    /// CK_ATTRIBUTE array (`CKF_ARRAY_ATTRIBUTE`).
    Template,
}

/// The kind of every attribute that this build knows; `None` means `CKR_ATTRIBUTE_TYPE_INVALID`.
#[must_use]
pub fn kind(attribute: AttributeType) -> Option<Kind> {
    use AttributeType as A;
    Some(match attribute {
        A::TOKEN | A::PRIVATE | A::MODIFIABLE | A::COPYABLE | A::DESTROYABLE | A::SENSITIVE | A::EXTRACTABLE => {
            Kind::Bool
        }
        A::ENCRYPT | A::DECRYPT | A::SIGN | A::SIGN_RECOVER | A::VERIFY | A::VERIFY_RECOVER => Kind::Bool,
        A::WRAP | A::UNWRAP | A::DERIVE | A::ENCAPSULATE | A::DECAPSULATE => Kind::Bool,
        A::LOCAL | A::NEVER_EXTRACTABLE | A::ALWAYS_SENSITIVE | A::ALWAYS_AUTHENTICATE => Kind::Bool,
        A::WRAP_WITH_TRUSTED | A::TRUSTED => Kind::Bool,
        A::CLASS | A::KEY_TYPE | A::CERTIFICATE_TYPE | A::CERTIFICATE_CATEGORY => Kind::Ulong,
        A::JAVA_MIDP_SECURITY_DOMAIN | A::NAME_HASH_ALGORITHM | A::KEY_GEN_MECHANISM => Kind::Ulong,
        A::MODULUS_BITS | A::VALUE_LEN | A::VALUE_BITS | A::PRIME_BITS | A::SUBPRIME_BITS => Kind::Ulong,
        A::PROFILE_ID | A::PARAMETER_SET | A::HSS_LEVELS | A::HSS_LMS_TYPE | A::HSS_LMOTS_TYPE => Kind::Ulong,
        A::MECHANISM_TYPE | A::HW_FEATURE_TYPE | A::HSMD_ORIGIN => Kind::Ulong,
        A::TRUST_SERVER_AUTH | A::TRUST_CLIENT_AUTH | A::TRUST_CODE_SIGNING | A::TRUST_EMAIL_PROTECTION => Kind::Ulong,
        A::TRUST_IPSEC_IKE | A::TRUST_TIME_STAMPING | A::TRUST_OCSP_SIGNING => Kind::Ulong,
        A::HSMD_WRAPPING => Kind::Bool,
        A::HSMD_POLICY | A::HASH_OF_CERTIFICATE => Kind::Bytes,
        A::START_DATE | A::END_DATE => Kind::Date,
        A::ALLOWED_MECHANISMS => Kind::Mechanisms,
        A::WRAP_TEMPLATE | A::UNWRAP_TEMPLATE | A::DERIVE_TEMPLATE => Kind::Template,
        A::ENCAPSULATE_TEMPLATE | A::DECAPSULATE_TEMPLATE => Kind::Template,
        A::LABEL | A::UNIQUE_ID | A::APPLICATION | A::VALUE | A::OBJECT_ID | A::ISSUER | A::SERIAL_NUMBER => {
            Kind::Bytes
        }
        A::AC_ISSUER | A::OWNER | A::ATTR_TYPES | A::URL | A::CHECK_VALUE | A::SUBJECT | A::ID => Kind::Bytes,
        A::HASH_OF_SUBJECT_PUBLIC_KEY | A::HASH_OF_ISSUER_PUBLIC_KEY | A::PUBLIC_KEY_INFO => Kind::Bytes,
        A::MODULUS | A::PUBLIC_EXPONENT | A::PRIVATE_EXPONENT | A::PRIME_1 | A::PRIME_2 => Kind::Bytes,
        A::EXPONENT_1 | A::EXPONENT_2 | A::COEFFICIENT | A::EC_PARAMS | A::EC_POINT => Kind::Bytes,
        A::PRIME | A::SUBPRIME | A::BASE | A::SEED => Kind::Bytes,
        _ => return None,
    })
}

/// YYYYMMDD with a month and a day that there are.
fn is_date(value: &[u8]) -> bool {
    let number = |digits: &[u8]| digits.iter().fold(0, |all, digit| all * 10 + u32::from(digit - b'0'));
    value.len() == 8
        && value.iter().all(u8::is_ascii_digit)
        && (1..=12).contains(&number(&value[4..6]))
        && (1..=31).contains(&number(&value[6..]))
}

/// Whether an attribute of an object of this class is a value that INV-1 keeps inside: never in a message, a reply's
/// metadata or a search.
#[must_use]
pub fn is_key_value(class: ObjectClass, attribute: AttributeType) -> bool {
    use AttributeType as A;
    match class {
        ObjectClass::SECRET_KEY => matches!(attribute, A::VALUE | A::SEED),
        ObjectClass::PRIVATE_KEY => matches!(
            attribute,
            A::VALUE
                | A::PRIVATE_EXPONENT
                | A::PRIME_1
                | A::PRIME_2
                | A::EXPONENT_1
                | A::EXPONENT_2
                | A::COEFFICIENT
                | A::SEED
        ),
        _ => false,
    }
}

/// Whether an attribute holds a key value for at least one class: such values always travel in the secret section.
#[must_use]
pub fn may_be_key_value(attribute: AttributeType) -> bool {
    is_key_value(ObjectClass::PRIVATE_KEY, attribute) || is_key_value(ObjectClass::SECRET_KEY, attribute)
}

/// One attribute with its bytes. The bytes are wiped when it is dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The type.
    pub attribute: AttributeType,
    /// The value as PKCS#11 defines its bytes.
    pub value: Value,
}

impl std::fmt::Debug for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{} bytes]", self.attribute, self.value.len())
    }
}

impl Attribute {
    /// An attribute of these bytes.
    #[must_use]
    pub fn bytes(attribute: AttributeType, value: &[u8]) -> Self {
        // INV-1: a key value does not lie where its owner is moved.
        let value = if may_be_key_value(attribute) {
            Value::boxed(value)
        } else {
            Value::new(value)
        };
        Self { attribute, value }
    }

    /// A CK_ULONG.
    #[must_use]
    pub fn ulong(attribute: AttributeType, value: u64) -> Self {
        Self::bytes(attribute, &value.to_le_bytes())
    }

    /// A CK_BBOOL.
    #[must_use]
    pub fn boolean(attribute: AttributeType, value: bool) -> Self {
        Self::bytes(attribute, &[u8::from(value)])
    }

    /// Checks that the bytes have the form that the type commands.
    ///
    /// # Errors
    /// `CKR_ATTRIBUTE_TYPE_INVALID` for a type that this build does not know, `CKR_ATTRIBUTE_VALUE_INVALID` for bytes
    /// of the wrong form.
    pub fn check_form(&self) -> Result<(), Rv> {
        let value = self.value.as_slice();
        let good = match kind(self.attribute).ok_or(Rv::ATTRIBUTE_TYPE_INVALID)? {
            Kind::Bool => matches!(value, [0 | 1]),
            Kind::Ulong => value.len() == 8,
            Kind::Bytes => true,
            Kind::Date => value.is_empty() || is_date(value),
            Kind::Mechanisms => value.len().is_multiple_of(8),
            Kind::Template => decode_nested(value).is_some(),
        };
        if good { Ok(()) } else { Err(Rv::ATTRIBUTE_VALUE_INVALID) }
    }

    /// The value as CK_BBOOL.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.value.as_slice() {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    /// The value as CK_ULONG.
    #[must_use]
    pub fn as_ulong(&self) -> Option<u64> {
        self.value.as_slice().try_into().ok().map(u64::from_le_bytes)
    }
}

/// A list of attributes in the caller's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(pub Vec<Attribute>);

impl Template {
    /// The first attribute of this type.
    #[must_use]
    pub fn get(&self, attribute: AttributeType) -> Option<&Attribute> {
        self.0.iter().find(|entry| entry.attribute == attribute)
    }

    /// The bytes of the first attribute of this type.
    #[must_use]
    pub fn value(&self, attribute: AttributeType) -> Option<&[u8]> {
        self.get(attribute).map(|entry| entry.value.as_slice())
    }

    /// A boolean, if the attribute is there.
    ///
    /// # Errors
    /// `CKR_ATTRIBUTE_VALUE_INVALID` when it is not a CK_BBOOL.
    pub fn boolean(&self, attribute: AttributeType) -> Result<Option<bool>, Rv> {
        self.get(attribute)
            .map(|entry| entry.as_bool().ok_or(Rv::ATTRIBUTE_VALUE_INVALID))
            .transpose()
    }

    /// A number, if the attribute is there.
    ///
    /// # Errors
    /// `CKR_ATTRIBUTE_VALUE_INVALID` when it is not a CK_ULONG.
    pub fn ulong(&self, attribute: AttributeType) -> Result<Option<u64>, Rv> {
        self.get(attribute)
            .map(|entry| entry.as_ulong().ok_or(Rv::ATTRIBUTE_VALUE_INVALID))
            .transpose()
    }

    /// Checks the form of every attribute and that none stands twice with different values.
    ///
    /// # Errors
    /// As [`Attribute::check_form`]; `CKR_TEMPLATE_INCONSISTENT` for a contradiction.
    pub fn check_form(&self) -> Result<(), Rv> {
        for (index, entry) in self.0.iter().enumerate() {
            entry.check_form()?;
            let earlier = self.0[..index].iter().find(|other| other.attribute == entry.attribute);
            if earlier.is_some_and(|other| other.value != entry.value) {
                return Err(Rv::TEMPLATE_INCONSISTENT);
            }
        }
        Ok(())
    }

    /// Whether an object matches this search template: every entry equals the object's value. An attribute that the
    /// object lacks, and one that is a key value, never matches (PKCS#11 3.2, 5.7.7).
    pub fn matches<'a>(&self, class: ObjectClass, value_of: impl Fn(AttributeType) -> Option<&'a [u8]>) -> bool {
        self.0.iter().all(|wanted| {
            !is_key_value(class, wanted.attribute) && value_of(wanted.attribute) == Some(wanted.value.as_slice())
        })
    }
}

impl FromIterator<Attribute> for Template {
    fn from_iter<T: IntoIterator<Item = Attribute>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// Reads a CK_MECHANISM_TYPE array.
#[must_use]
pub fn decode_mechanisms(value: &[u8]) -> Vec<MechanismType> {
    let (entries, _) = value.as_chunks::<8>();
    entries
        .iter()
        .map(|entry| MechanismType(u64::from_le_bytes(*entry)))
        .collect()
}

/// The bytes of a nested template: entries of type (8 bytes), length (4 bytes) and value. An entry may be a template itself,
/// whose entries are none ([`MAX_NESTING`]).
#[must_use]
pub fn encode_nested(template: &Template) -> Value {
    let size = template.0.iter().map(|entry| 12 + entry.value.len()).sum();
    let mut out = WipingVec::with_capacity(size);
    for entry in &template.0 {
        let length = u32::try_from(entry.value.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&entry.attribute.0.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&entry.value);
    }
    Value::from(out)
}

/// How deep templates nest: one inside an object's template, and one inside that (CVE-2026-13757 of p11-kit was a stack that
/// went deeper).
pub const MAX_NESTING: u32 = 2;

/// Reads what [`encode_nested`] wrote; `None` for malformed bytes, for unknown attributes and for a third level.
#[must_use]
pub fn decode_nested(bytes: &[u8]) -> Option<Template> {
    decode_level(bytes, MAX_NESTING)
}

fn decode_level(mut bytes: &[u8], levels: u32) -> Option<Template> {
    let below = levels.checked_sub(1)?;
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (attribute, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let attribute = AttributeType(u64::from_le_bytes(*attribute));
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let entry = Attribute::bytes(attribute, value);
        if kind(attribute)? == Kind::Template {
            decode_level(value, below)?;
        } else {
            entry.check_form().ok()?;
        }
        entries.push(entry);
        bytes = rest;
    }
    Some(Template(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_template_reads_back_and_nests_once_more() {
        let inner = Template(vec![
            Attribute::boolean(AttributeType::SENSITIVE, true),
            Attribute::bytes(AttributeType::LABEL, b"x"),
        ]);
        let bytes = encode_nested(&inner);
        assert_eq!(decode_nested(&bytes), Some(inner));
        assert_eq!(decode_nested(&bytes[..bytes.len() - 1]), None);
        let around = |bytes: &[u8]| Template(vec![Attribute::bytes(AttributeType::UNWRAP_TEMPLATE, bytes)]);
        let second = encode_nested(&around(&bytes));
        assert_eq!(decode_nested(&second), Some(around(&bytes)));
        assert_eq!(decode_nested(&encode_nested(&around(&second))), None);
        let torn = encode_nested(&around(&bytes[..bytes.len() - 1]));
        assert_eq!(decode_nested(&torn), None);
    }

    #[test]
    fn a_search_never_matches_on_a_key_value() {
        let wanted = Template(vec![Attribute::bytes(AttributeType::VALUE, b"k")]);
        assert!(!wanted.matches(ObjectClass::SECRET_KEY, |_| Some(b"k")));
        assert!(wanted.matches(ObjectClass::DATA, |_| Some(b"k")));
    }

    #[test]
    fn a_template_that_contradicts_itself_is_refused() {
        let twice = |a, b| {
            Template(vec![
                Attribute::boolean(AttributeType::TOKEN, a),
                Attribute::boolean(AttributeType::TOKEN, b),
            ])
        };
        assert_eq!(twice(true, false).check_form(), Err(Rv::TEMPLATE_INCONSISTENT));
        assert_eq!(twice(true, true).check_form(), Ok(()));
        let wrong = Template(vec![Attribute::bytes(AttributeType::TOKEN, &[2])]);
        assert_eq!(wrong.check_form(), Err(Rv::ATTRIBUTE_VALUE_INVALID));
        let unknown = Template(vec![Attribute::bytes(AttributeType(0x8765_4321), &[2])]);
        assert_eq!(unknown.check_form(), Err(Rv::ATTRIBUTE_TYPE_INVALID));
    }
}
