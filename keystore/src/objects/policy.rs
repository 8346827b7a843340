//! The rules of DESIGN 8 that are not attribute rules: which keys may wrap which, by which mechanisms, what unwrapping may give,
//! and which roles exclude each other. Facts are origin and latch; policies say whether they count.

use hsmd_proto::attribute::{Attribute, Template, decode_nested};
use hsmd_proto::ck::{AttributeType as A, KeyType, MechanismType, ObjectClass, Rv};
use hsmd_proto::mechanism::{Family, Row};
use hsmd_proto::meta::Usage;
use hsmd_proto::params::Params;
use hsmd_proto::policy::Policy;

use super::object::Object;
use super::rules::Shape;

/// Least number of bytes of a secret that is derived from a sensitive key: shorter ones could be guessed one by one.
pub(crate) const MIN_DERIVED: usize = 14;
/// No wrapping key is asked to be longer: there are no longer AES keys.
const LONGEST_AES: u64 = 32;

/// Whether a mechanism may wrap a sensitive key, and whether a `wrapping` key may still be used by it: AES-KW, AES-KWP and
/// RSA-OAEP, and the two that wrap by KWP with an AES key that serves once. The others either let the caller choose what is XORed to the value or tell by their padding what it is.
pub(crate) fn wraps_sensitive(row: &Row) -> bool {
    matches!(
        row.family,
        Family::AesKw | Family::AesKwp | Family::RsaOaep | Family::RsaAesWrap | Family::EcdhAesWrap
    )
}

/// Whether `wrapping` may wrap `key` by this mechanism. Usage flags, sizes and login were checked before.
///
/// # Errors
/// `CKR_KEY_NOT_WRAPPABLE`, `CKR_KEY_UNEXTRACTABLE`, `CKR_WRAPPING_KEY_SIZE_RANGE`, `CKR_KEY_FUNCTION_NOT_PERMITTED`.
pub(crate) fn may_wrap(
    policy: Policy,
    (row, params): (&Row, &Params),
    wrapping: &Object,
    key: &Object,
) -> Result<(), Rv> {
    if !matches!(key.class(), ObjectClass::SECRET_KEY | ObjectClass::PRIVATE_KEY) {
        return Err(Rv::KEY_NOT_WRAPPABLE);
    }
    if !key.flag(A::EXTRACTABLE) {
        return Err(Rv::KEY_UNEXTRACTABLE);
    }
    let trusted = wrapping.flag(A::TRUSTED);
    if key.flag(A::WRAP_WITH_TRUSTED) && !trusted {
        return Err(Rv::KEY_NOT_WRAPPABLE);
    }
    if let Some(template) = wrapping.attributes.value(A::WRAP_TEMPLATE) {
        let template = decode_nested(template).ok_or(Rv::DEVICE_ERROR)?;
        if !template.matches(key.class(), |attribute| key.shown(attribute)) {
            return Err(Rv::KEY_NOT_WRAPPABLE);
        }
    }
    if !policy.latches() {
        return Ok(());
    }
    // INV-1: what a sensitive key leaves in is nothing that the caller can open.
    if wrapping.wrapping() && !wraps_sensitive(row) {
        return Err(Rv::KEY_FUNCTION_NOT_PERMITTED);
    }
    if !key.sensitive() {
        return Ok(());
    }
    let needs_trust = matches!(policy, Policy::Strict | Policy::Fips) || !wrapping.origin.inside();
    if !wraps_sensitive(row) || (needs_trust && !trusted) {
        return Err(Rv::KEY_NOT_WRAPPABLE);
    }
    strong_enough(params, wrapping, key)
}

/// A22: an AES key at least as long as the symmetric key that it wraps, also one that serves once. RSA wraps with 2,048 bits or
/// more, EC with 256, by the table.
fn strong_enough(params: &Params, wrapping: &Object, key: &Object) -> Result<(), Rv> {
    let size = |object: &Object| object.meta(false).map_or(0, |meta| meta.size);
    let needed = size(key).min(LONGEST_AES);
    if key.shape().is_secret() && params.transport_bytes().is_some_and(|bytes| bytes < needed) {
        return Err(Rv::WRAPPING_KEY_SIZE_RANGE);
    }
    if wrapping.shape() == Shape::Aes && key.shape().is_secret() && size(wrapping) < size(key).min(LONGEST_AES) {
        return Err(Rv::WRAPPING_KEY_SIZE_RANGE);
    }
    Ok(())
}

/// The template of an unwrapped or derived key with what the other key imposes on it: its CKA_UNWRAP_TEMPLATE or
/// CKA_DERIVE_TEMPLATE and, once it wrapped a sensitive key, that the result is sensitive and unextractable.
///
/// # Errors
/// `CKR_TEMPLATE_INCONSISTENT` when the caller's template says otherwise.
pub(crate) fn imposed(policy: Policy, by: &Object, nested: A, template: &Template) -> Result<Template, Rv> {
    let mut all = template.clone();
    if let Some(nested) = by.attributes.value(nested) {
        impose(&mut all, decode_nested(nested).ok_or(Rv::DEVICE_ERROR)?)?;
    }
    if policy.latches() && by.wrapping() {
        // INV-1, A07: or the blob of a sensitive key would come back readable.
        let narrow = [
            Attribute::boolean(A::SENSITIVE, true),
            Attribute::boolean(A::EXTRACTABLE, false),
        ];
        impose(&mut all, Template(narrow.into()))?;
    }
    Ok(all)
}

/// Puts what must be into a template.
///
/// # Errors
/// `CKR_TEMPLATE_INCONSISTENT` when the template says otherwise.
pub(super) fn impose(template: &mut Template, imposed: Template) -> Result<(), Rv> {
    for entry in imposed.0 {
        match template.get(entry.attribute) {
            Some(named) if named.value != entry.value => return Err(Rv::TEMPLATE_INCONSISTENT),
            Some(_) => {}
            None => template.0.push(entry),
        }
    }
    Ok(())
}

/// `strict` and `fips`: one key never wraps and decrypts, nor unwraps and encrypts, at any time of its life (A01 to A03). The
/// flags of a pair are looked at together.
///
/// # Errors
/// `CKR_TEMPLATE_INCONSISTENT`.
pub(crate) fn roles_agree(policy: Policy, held: Usage) -> Result<(), Rv> {
    let strict = matches!(policy, Policy::Strict | Policy::Fips);
    let both = |a: Usage, b: Usage| held.contains(a.with(b));
    if strict && (both(Usage::WRAP, Usage::DECRYPT) || both(Usage::UNWRAP, Usage::ENCRYPT)) {
        return Err(Rv::TEMPLATE_INCONSISTENT);
    }
    Ok(())
}

/// The usage flags among attributes.
pub(crate) fn usage(attributes: &Template) -> Usage {
    let set = |attribute: A| attributes.value(attribute) == Some(&[1]);
    Usage::ATTRIBUTES
        .iter()
        .filter(|(attribute, _)| set(*attribute))
        .fold(Usage::default(), |all, (_, flag)| all.with(*flag))
}

/// The length of the secret that a derivation or generation is to give.
///
/// # Errors
/// `CKR_ATTRIBUTE_VALUE_INVALID` for a length that keys of this type do not have.
pub(crate) fn secret_length(shape: Shape, length: u64) -> Result<usize, Rv> {
    let good = match shape {
        Shape::Aes => matches!(length, 16 | 24 | 32),
        Shape::AesXts => matches!(length, 32 | 64),
        Shape::ChaCha => length == 32,
        Shape::Des3 => length == 24,
        _ => (1..=1024).contains(&length),
    };
    usize::try_from(length)
        .ok()
        .filter(|_| good)
        .ok_or(Rv::ATTRIBUTE_VALUE_INVALID)
}

/// The key type that a mechanism generates, and whether the template may name this other one: generic secrets may be HMAC keys.
pub(crate) fn generated_type(mechanism: MechanismType, named: Option<KeyType>) -> Result<KeyType, Rv> {
    let row = hsmd_proto::mechanism::row(mechanism).ok_or(Rv::MECHANISM_INVALID)?;
    let (class, own) = match row.family {
        Family::AesKeyGen => (ObjectClass::SECRET_KEY, KeyType::AES),
        Family::AesXtsKeyGen => (ObjectClass::SECRET_KEY, KeyType::AES_XTS),
        Family::HkdfKeyGen => (ObjectClass::SECRET_KEY, KeyType::HKDF),
        // Each of its rows makes keys of one type.
        Family::HmacKeyGen => (
            ObjectClass::SECRET_KEY,
            row.key_types.first().copied().ok_or(Rv::MECHANISM_INVALID)?,
        ),
        Family::Des3KeyGen => (ObjectClass::SECRET_KEY, KeyType::DES3),
        Family::ChaChaKeyGen => (ObjectClass::SECRET_KEY, KeyType::CHACHA20),
        Family::GenericSecretKeyGen | Family::Pbkdf2 => (ObjectClass::SECRET_KEY, KeyType::GENERIC_SECRET),
        Family::RsaKeyPairGen => (ObjectClass::PRIVATE_KEY, KeyType::RSA),
        Family::EcKeyPairGen => (ObjectClass::PRIVATE_KEY, KeyType::EC),
        Family::EdwardsKeyPairGen => (ObjectClass::PRIVATE_KEY, KeyType::EC_EDWARDS),
        Family::MontgomeryKeyPairGen => (ObjectClass::PRIVATE_KEY, KeyType::EC_MONTGOMERY),
        Family::DhKeyPairGen => (ObjectClass::PRIVATE_KEY, KeyType::DH),
        Family::MlDsaKeyPairGen => (ObjectClass::PRIVATE_KEY, KeyType::ML_DSA),
        Family::SlhDsaKeyPairGen => (ObjectClass::PRIVATE_KEY, KeyType::SLH_DSA),
        Family::MlKemKeyPairGen => (ObjectClass::PRIVATE_KEY, KeyType::ML_KEM),
        _ => return Err(Rv::MECHANISM_INVALID),
    };
    // Of a password comes a key of any type that has no structure, and of any length that the template names.
    let of_password = row.family == Family::Pbkdf2;
    let named = named.unwrap_or(own);
    if of_password && row.key_types.contains(&named) {
        return Ok(named);
    }
    let hmac = matches!(row.family, Family::GenericSecretKeyGen | Family::Pbkdf2)
        && Shape::of_key(class, named) == Ok(Shape::Hmac);
    if named == own || hmac {
        Ok(named)
    } else {
        Err(Rv::TEMPLATE_INCONSISTENT)
    }
}
