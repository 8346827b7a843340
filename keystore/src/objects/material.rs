//! Between attributes and key material: which attributes hold which part of a key, in both directions.

use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Key, KeyError, Material, RsaCrt, RsaPrivate, check_value, point};
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, KeyType, ObjectClass, Rv};
use hsmd_proto::dh::DhGroup;
use hsmd_proto::meta::{Curve, modulus_bits};
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::policy::Policy;
use zeroize::Zeroizing;

use super::object::Values;
use super::rules::{Draft, Shape};

/// Largest secret in bytes: that of the HMAC rows in the mechanism table.
const MAX_SECRET: usize = 1024;
/// Secrets shorter than this get no check value, which would give away too much of them.
const MIN_CHECKED: usize = 14;

/// The material of an object, from its attributes and values.
///
/// # Errors
/// `CKR_TEMPLATE_INCOMPLETE` for a missing part, `CKR_CURVE_NOT_SUPPORTED`, `CKR_ATTRIBUTE_VALUE_INVALID`.
pub(crate) fn of(shape: Shape, attributes: &Template, values: &Values) -> Result<Material, Rv> {
    let public = |attribute| attributes.value(attribute).ok_or(Rv::TEMPLATE_INCOMPLETE);
    let secret = |attribute| {
        values
            .get(attribute)
            .map(Secret::duplicate)
            .ok_or(Rv::TEMPLATE_INCOMPLETE)
    };
    match shape {
        Shape::RsaPublic => Ok(Material::RsaPublic {
            n: public(A::MODULUS)?.to_vec(),
            e: public(A::PUBLIC_EXPONENT)?.to_vec(),
        }),
        Shape::RsaPrivate => Ok(Material::RsaPrivate(RsaPrivate {
            n: public(A::MODULUS)?.to_vec(),
            e: public(A::PUBLIC_EXPONENT)?.to_vec(),
            d: secret(A::PRIVATE_EXPONENT)?,
            crt: chinese(secret),
        })),
        Shape::EcPublic => {
            let curve = curve(shape, attributes)?;
            let point = point::decode(curve, public(A::EC_POINT)?).ok_or(Rv::ATTRIBUTE_VALUE_INVALID)?;
            Ok(Material::EcPublic { curve, point })
        }
        Shape::EdPublic => {
            curve(shape, attributes)?;
            let point = point::decode_edwards(public(A::EC_POINT)?).ok_or(Rv::ATTRIBUTE_VALUE_INVALID)?;
            Ok(Material::EdPublic { point })
        }
        Shape::MontgomeryPublic => {
            curve(shape, attributes)?;
            let point = point::decode_edwards(public(A::EC_POINT)?).ok_or(Rv::ATTRIBUTE_VALUE_INVALID)?;
            Ok(Material::MontgomeryPublic { point })
        }
        Shape::MontgomeryPrivate => {
            curve(shape, attributes)?;
            Ok(Material::MontgomeryPrivate {
                scalar: secret(A::VALUE)?,
            })
        }
        Shape::EcPrivate => {
            let curve = curve(shape, attributes)?;
            Ok(Material::EcPrivate {
                curve,
                scalar: padded(&secret(A::VALUE)?, curve.field_bytes())?,
            })
        }
        Shape::EdPrivate => {
            curve(shape, attributes)?;
            Ok(Material::EdPrivate {
                seed: secret(A::VALUE)?,
            })
        }
        Shape::DhPublic => Ok(Material::DhPublic {
            group: group(attributes)?,
            value: public(A::VALUE)?.to_vec(),
        }),
        Shape::DhPrivate => Ok(Material::DhPrivate {
            group: group(attributes)?,
            value: secret(A::VALUE)?,
        }),
        Shape::MlDsaPublic | Shape::MlKemPublic | Shape::SlhDsaPublic => Ok(Material::PqPublic {
            set: parameter_set(shape, attributes)?,
            value: public(A::VALUE)?.to_vec(),
        }),
        Shape::HssPublic | Shape::XmssPublic => stateful(attributes, public(A::VALUE)?),
        Shape::MlDsaPrivate | Shape::MlKemPrivate | Shape::SlhDsaPrivate => {
            pq_private(parameter_set(shape, attributes)?, secret(A::SEED), secret(A::VALUE))
        }
        Shape::Aes | Shape::AesXts | Shape::ChaCha | Shape::Des3 | Shape::Generic | Shape::Hmac => {
            Ok(Material::Secret(secret(A::VALUE)?))
        }
        Shape::Data
        | Shape::Certificate
        | Shape::AttributeCertificate
        | Shape::WtlsCertificate
        | Shape::Trust
        | Shape::Profile
        | Shape::Mechanism
        | Shape::Feature => Err(Rv::KEY_HANDLE_INVALID),
    }
}

/// A key with a state: the shape does not tell XMSS from XMSS^MT.
fn stateful(attributes: &Template, value: &[u8]) -> Result<Material, Rv> {
    let key_type = KeyType(attributes.ulong(A::KEY_TYPE)?.ok_or(Rv::TEMPLATE_INCOMPLETE)?);
    let value = value.to_vec();
    Ok(Material::StatefulPublic { key_type, value })
}

/// The parts of an RSA key by the Chinese remainder theorem, if all are there.
fn chinese(secret: impl Fn(A) -> Result<Secret, Rv>) -> Option<RsaCrt> {
    match [A::PRIME_1, A::PRIME_2, A::EXPONENT_1, A::EXPONENT_2, A::COEFFICIENT].map(secret) {
        [Ok(p), Ok(q), Ok(dp), Ok(dq), Ok(qi)] => Some(RsaCrt { p, q, dp, dq, qi }),
        _ => None,
    }
}

/// A post-quantum private key: of ML-DSA and ML-KEM the seed is enough.
fn pq_private(set: ParameterSet, seed: Result<Secret, Rv>, value: Result<Secret, Rv>) -> Result<Material, Rv> {
    match (seed, value) {
        (Ok(seed), Err(_)) => Material::from_seed(set, seed).map_err(|_| Rv::ATTRIBUTE_VALUE_INVALID),
        (seed, value) => Ok(Material::PqPrivate {
            set,
            seed: seed.ok(),
            value: value?,
        }),
    }
}

/// The curve of `CKA_EC_PARAMS`, if keys of this shape are on it.
pub(crate) fn curve(shape: Shape, attributes: &Template) -> Result<Curve, Rv> {
    let params = attributes.value(A::EC_PARAMS).ok_or(Rv::TEMPLATE_INCOMPLETE)?;
    let key_type = match shape {
        Shape::EdPublic | Shape::EdPrivate => KeyType::EC_EDWARDS,
        Shape::MontgomeryPublic | Shape::MontgomeryPrivate => KeyType::EC_MONTGOMERY,
        _ => KeyType::EC,
    };
    Curve::from_params(params)
        .filter(|curve| curve.key_type() == key_type)
        .ok_or(Rv::CURVE_NOT_SUPPORTED)
}

/// The group that `CKA_PRIME` and `CKA_BASE` name (docs/decisions/0018).
///
/// # Errors
/// `CKR_TEMPLATE_INCOMPLETE` without them, `CKR_DOMAIN_PARAMS_INVALID` for another.
pub(crate) fn group(attributes: &Template) -> Result<DhGroup, Rv> {
    let value = |attribute| attributes.value(attribute).ok_or(Rv::TEMPLATE_INCOMPLETE);
    DhGroup::from_params(value(A::PRIME)?, value(A::BASE)?).ok_or(Rv::DOMAIN_PARAMS_INVALID)
}

/// The parameter set that `CKA_PARAMETER_SET` names.
///
/// # Errors
/// `CKR_TEMPLATE_INCOMPLETE` without it, `CKR_PARAMETER_SET_NOT_SUPPORTED` for one that keys of this shape do not have.
pub(crate) fn parameter_set(shape: Shape, attributes: &Template) -> Result<ParameterSet, Rv> {
    let number = attributes.ulong(A::PARAMETER_SET)?.ok_or(Rv::TEMPLATE_INCOMPLETE)?;
    let key_type = match shape {
        Shape::MlDsaPublic | Shape::MlDsaPrivate => KeyType::ML_DSA,
        Shape::MlKemPublic | Shape::MlKemPrivate => KeyType::ML_KEM,
        Shape::SlhDsaPublic | Shape::SlhDsaPrivate => KeyType::SLH_DSA,
        _ => return Err(Rv::PARAMETER_SET_NOT_SUPPORTED),
    };
    ParameterSet::new(key_type, number).ok_or(Rv::PARAMETER_SET_NOT_SUPPORTED)
}

/// A scalar as long as a field element; clients strip or add leading zeros.
fn padded(scalar: &Secret, length: usize) -> Result<Secret, Rv> {
    let bytes = scalar.expose();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let significant = &bytes[zeros..];
    if significant.len() > length {
        return Err(Rv::ATTRIBUTE_VALUE_INVALID);
    }
    let mut out = Zeroizing::new(vec![0; length]);
    out[length - significant.len()..].copy_from_slice(significant);
    Ok(Secret::from_slice(&out))
}

/// Checks material that came from outside, by the policy's sizes and by the provider, and opens it.
///
/// # Errors
/// `CKR_ATTRIBUTE_VALUE_INVALID`.
pub(crate) fn open(shape: Shape, material: &Material, policy: Policy) -> Result<Key, Rv> {
    let good = match material {
        Material::RsaPublic { n, e } | Material::RsaPrivate(RsaPrivate { n, e, .. }) => {
            (policy.min_rsa_bits()..=4096).contains(&modulus_bits(n))
                && good_exponent(e, policy)
                && (policy == Policy::Legacy || !has_small_factor(n))
        }
        Material::EcPublic { curve, .. } | Material::EcPrivate { curve, .. } => {
            policy != Policy::Fips || curve.approved()
        }
        Material::MontgomeryPublic { .. } | Material::MontgomeryPrivate { .. } => policy != Policy::Fips,
        Material::Secret(value) if shape == Shape::Aes => matches!(value.len(), 16 | 24 | 32),
        Material::Secret(value) if shape == Shape::AesXts => hsmd_crypto::is_xts_key(value.expose()),
        Material::Secret(value) if shape == Shape::ChaCha => value.len() == 32,
        Material::Secret(value) if shape == Shape::Des3 => {
            policy == Policy::Legacy && hsmd_crypto::is_des3_key(value.expose())
        }
        Material::Secret(value) => (1..=MAX_SECRET).contains(&value.len()),
        _ => true,
    };
    if !good {
        return Err(Rv::ATTRIBUTE_VALUE_INVALID);
    }
    let key = Key::open(material).map_err(|error| match error {
        KeyError::Size | KeyError::Invalid => Rv::ATTRIBUTE_VALUE_INVALID,
    })?;
    if key.is_whole() && (policy != Policy::Fips || key.has_approved_state()) {
        Ok(key)
    } else {
        Err(Rv::ATTRIBUTE_VALUE_INVALID)
    }
}

/// Whether a modulus is even, or divisible by another prime below 752: then it was made wrongly, or to be opened (A12; SP 800-89,
/// 5.3.3 e).
fn has_small_factor(n: &[u8]) -> bool {
    let rest = |small: u32| n.iter().fold(0, |rest, byte| ((rest << 8) | u32::from(*byte)) % small);
    let prime = |number: &u32| {
        (2..*number)
            .take_while(|other| other * other <= *number)
            .all(|other| !number.is_multiple_of(other))
    };
    (2..752).filter(prime).any(|small| rest(small) == 0)
}

/// Whether a public exponent is odd and large enough: 65,537, under `legacy` 3 (A12).
pub(crate) fn good_exponent(e: &[u8], policy: Policy) -> bool {
    let odd = e.last().is_some_and(|byte| byte & 1 == 1);
    let least = if policy == Policy::Legacy { 3 } else { 65_537 };
    let small = e.iter().skip_while(|byte| **byte == 0).try_fold(0u64, |all, byte| {
        all.checked_mul(256).and_then(|all| all.checked_add(u64::from(*byte)))
    });
    odd && small.is_none_or(|value| value >= least)
}

/// Puts the attributes that follow from the material into a draft. `key` is the opened material.
///
/// # Errors
/// `CKR_TEMPLATE_INCONSISTENT` when the template named one of them with another value.
pub(crate) fn describe(draft: &mut Draft, key_type: KeyType, material: &Material, key: &Key) -> Result<(), Rv> {
    match material {
        Material::RsaPublic { n, e } => {
            draft.agree(Attribute::bytes(A::MODULUS, n))?;
            draft.agree(Attribute::bytes(A::PUBLIC_EXPONENT, e))?;
            draft.agree(Attribute::ulong(A::MODULUS_BITS, modulus_bits(n)))?;
        }
        Material::RsaPrivate(RsaPrivate { n, e, .. }) => {
            draft.agree(Attribute::bytes(A::MODULUS, n))?;
            draft.agree(Attribute::bytes(A::PUBLIC_EXPONENT, e))?;
        }
        Material::EcPublic { .. } | Material::EdPublic { .. } | Material::MontgomeryPublic { .. } => {
            put_point(draft, material)?;
        }
        Material::EcPrivate { .. } | Material::EdPrivate { .. } | Material::MontgomeryPrivate { .. } => {
            if let Some(public) = key.public() {
                put_point(draft, &public)?;
            }
        }
        Material::DhPublic { group, value } => {
            put_group(draft, *group);
            draft.put(Attribute::bytes(A::VALUE, value));
        }
        Material::DhPrivate { group, value } => {
            put_group(draft, *group);
            draft.agree(Attribute::ulong(A::VALUE_BITS, modulus_bits(value.expose())))?;
        }
        Material::PqPublic { set, value } => {
            draft.agree(Attribute::ulong(A::PARAMETER_SET, set.number()))?;
            draft.agree(Attribute::bytes(A::VALUE, value))?;
        }
        Material::StatefulPublic { key_type, value } => {
            describe_stateful(draft, *key_type, value)?;
        }
        Material::PqPrivate { set, .. } => draft.agree(Attribute::ulong(A::PARAMETER_SET, set.number()))?,
        Material::Secret(value) => {
            draft.agree(Attribute::ulong(A::VALUE_LEN, value.len() as u64))?;
            let check = if value.len() < MIN_CHECKED {
                None
            } else {
                check_value(key_type, material)
            };
            describe_check_value(draft, check)?;
        }
    }
    if draft.shape.class() != ObjectClass::SECRET_KEY {
        let info = key.public_der().unwrap_or_default();
        // One that the template names is this one; an empty one asks for it (PKCS#11 3.2, 4.9 and 4.10).
        match draft.attributes.value(A::PUBLIC_KEY_INFO) {
            None | Some([]) => draft.put(Attribute::bytes(A::PUBLIC_KEY_INFO, &info)),
            Some(named) if named == info => {}
            Some(_) => return Err(Rv::TEMPLATE_INCONSISTENT),
        }
    }
    Ok(())
}

/// The numbers that stand in a key with a state: levels and types of HSS (RFC 8554, 6.1 and 5.3), the parameter set of XMSS (RFC 8391,
/// appendix B), each of four bytes.
///
/// # Errors
/// `CKR_TEMPLATE_INCONSISTENT` for another parameter set than the key's.
fn describe_stateful(draft: &mut Draft, key_type: KeyType, value: &[u8]) -> Result<(), Rv> {
    draft.agree(Attribute::bytes(A::VALUE, value))?;
    let numbers: &[A] = match key_type {
        KeyType::HSS => &[A::HSS_LEVELS, A::HSS_LMS_TYPE, A::HSS_LMOTS_TYPE],
        _ => &[A::PARAMETER_SET],
    };
    for (attribute, bytes) in numbers.iter().zip(value.as_chunks::<4>().0) {
        draft.agree(Attribute::ulong(*attribute, u64::from(u32::from_be_bytes(*bytes))))?;
    }
    Ok(())
}

/// The group's numbers without leading zeros.
fn put_group(draft: &mut Draft, group: DhGroup) {
    draft.put(Attribute::bytes(A::PRIME, group.prime()));
    draft.put(Attribute::bytes(A::BASE, &DhGroup::BASE));
}

/// The curve and the point; what the template named is the same point, maybe in another form, and stays as it is.
fn put_point(draft: &mut Draft, public: &Material) -> Result<(), Rv> {
    let (curve, bytes): (Curve, &[u8]) = match public {
        Material::EcPublic { curve, point } => (*curve, point),
        Material::EdPublic { point } => (Curve::Ed25519, point),
        Material::MontgomeryPublic { point } => (Curve::X25519, point),
        _ => return Ok(()),
    };
    let named = draft.attributes.value(A::EC_PARAMS);
    if named.is_none_or(|named| named == Curve::MISCOUNTED) {
        draft.put(Attribute::bytes(A::EC_PARAMS, curve.oid_der()));
    }
    if let Some(named) = draft.attributes.value(A::EC_POINT) {
        let same = match curve {
            Curve::Ed25519 | Curve::X25519 => point::decode_edwards(named).is_some_and(|named| named == bytes),
            _ => point::decode(curve, named).is_some_and(|named| named == bytes),
        };
        if !same {
            return Err(Rv::TEMPLATE_INCONSISTENT);
        }
    }
    draft.put(Attribute::bytes(A::EC_POINT, &point::encode(bytes)));
    Ok(())
}

/// Puts the curve of private material that came without attributes.
pub(crate) fn put_curve(draft: &mut Draft, material: &Material) {
    let curve = match material {
        Material::EcPrivate { curve, .. } => *curve,
        Material::EdPrivate { .. } => Curve::Ed25519,
        Material::MontgomeryPrivate { .. } => Curve::X25519,
        _ => return,
    };
    draft.put(Attribute::bytes(A::EC_PARAMS, curve.oid_der()));
}

/// A check value that the template names must be right; an empty one asks for none (PKCS#11 3.2, 4.11).
fn describe_check_value(draft: &mut Draft, check: Option<[u8; 3]>) -> Result<(), Rv> {
    let computed = check.as_ref().map_or(&[][..], |check| check.as_slice());
    match draft.attributes.value(A::CHECK_VALUE) {
        Some([]) => Ok(()),
        Some(named) if named != computed => Err(Rv::ATTRIBUTE_VALUE_INVALID),
        _ => {
            draft.put(Attribute::bytes(A::CHECK_VALUE, computed));
            Ok(())
        }
    }
}

/// The key values to be stored.
pub(crate) fn values(material: &Material) -> Values {
    let mut out = Values::default();
    let mut put = |attribute, value: &Secret| out.0.push((attribute, value.duplicate()));
    match material {
        Material::Secret(value)
        | Material::EcPrivate { scalar: value, .. }
        | Material::EdPrivate { seed: value }
        | Material::MontgomeryPrivate { scalar: value }
        | Material::DhPrivate { value, .. } => {
            put(A::VALUE, value);
        }
        Material::RsaPrivate(key) => {
            put(A::PRIVATE_EXPONENT, &key.d);
            if let Some(crt) = &key.crt {
                put(A::PRIME_1, &crt.p);
                put(A::PRIME_2, &crt.q);
                put(A::EXPONENT_1, &crt.dp);
                put(A::EXPONENT_2, &crt.dq);
                put(A::COEFFICIENT, &crt.qi);
            }
        }
        Material::PqPrivate { seed, value, .. } => {
            put(A::VALUE, value);
            if let Some(seed) = seed {
                put(A::SEED, seed);
            }
        }
        Material::RsaPublic { .. }
        | Material::EcPublic { .. }
        | Material::EdPublic { .. }
        | Material::MontgomeryPublic { .. }
        | Material::DhPublic { .. }
        | Material::PqPublic { .. }
        | Material::StatefulPublic { .. } => {}
    }
    out
}

/// The shape of material of this class: what an unwrapped private key turned out to be.
pub(crate) fn shape_of(material: &Material) -> Option<Shape> {
    Some(match material {
        Material::RsaPublic { .. } => Shape::RsaPublic,
        Material::EcPublic { .. } => Shape::EcPublic,
        Material::EdPublic { .. } => Shape::EdPublic,
        Material::RsaPrivate(_) => Shape::RsaPrivate,
        Material::EcPrivate { .. } => Shape::EcPrivate,
        Material::EdPrivate { .. } => Shape::EdPrivate,
        Material::MontgomeryPublic { .. } => Shape::MontgomeryPublic,
        Material::MontgomeryPrivate { .. } => Shape::MontgomeryPrivate,
        Material::DhPublic { .. } => Shape::DhPublic,
        Material::DhPrivate { .. } => Shape::DhPrivate,
        Material::StatefulPublic { key_type, .. } if *key_type == KeyType::HSS => Shape::HssPublic,
        Material::StatefulPublic { .. } => Shape::XmssPublic,
        Material::PqPublic { set, .. } if set.key_type() == KeyType::ML_KEM => Shape::MlKemPublic,
        Material::PqPrivate { set, .. } if set.key_type() == KeyType::ML_KEM => Shape::MlKemPrivate,
        Material::PqPublic { set, .. } if set.key_type() == KeyType::SLH_DSA => Shape::SlhDsaPublic,
        Material::PqPrivate { set, .. } if set.key_type() == KeyType::SLH_DSA => Shape::SlhDsaPrivate,
        Material::PqPublic { .. } => Shape::MlDsaPublic,
        Material::PqPrivate { .. } => Shape::MlDsaPrivate,
        Material::Secret(_) => return None,
    })
}
