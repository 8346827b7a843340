//! Derivations of which the base key follows (DESIGN 8): concatenation, XOR, extraction (PKCS#11 3.2, 6.43). What they give is as
//! readable as the base at most, and of a sensitive base it is the whole: from parts, and from what known bytes make of them, the
//! base would be found byte by byte through their check values (docs/decisions/0014). `strict` and `fips` have none of them.

use hsmd_crypto::secret::Secret;
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, MechanismType, Rv};
use hsmd_proto::mechanism::{Family, Row};
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::policy::Policy;

use super::object::Object;
use super::policy;
use super::rules::Shape;

/// The template with what the base keys impose: sensitive and unextractable as soon as one of them is.
///
/// # Errors
/// `CKR_TEMPLATE_INCONSISTENT` when the template says otherwise.
pub(super) fn narrowed(bases: &[&Object], mut template: Template) -> Result<Template, Rv> {
    let mut narrow = Template::default();
    if bases.iter().any(|base| base.flag(A::SENSITIVE)) {
        narrow.0.push(Attribute::boolean(A::SENSITIVE, true));
    }
    if bases.iter().any(|base| !base.flag(A::EXTRACTABLE)) {
        narrow.0.push(Attribute::boolean(A::EXTRACTABLE, false));
    }
    policy::impose(&mut template, narrow)?;
    Ok(template)
}

/// All bytes that the derivation gives before the template's length cuts them. Extraction gives as many as there are, from the bit
/// on and then from the front.
///
/// # Errors
/// `CKR_MECHANISM_PARAM_INVALID`: no second key, or a bit that is not there.
pub(super) fn whole(row: &Row, mechanism: &Mechanism, base: &Object, other: Option<&Object>) -> Result<Secret, Rv> {
    let value = |object: &Object| {
        object
            .values
            .get(A::VALUE)
            .map(Secret::duplicate)
            .ok_or(Rv::DEVICE_ERROR)
    };
    let base = value(base)?;
    match (row.family, &mechanism.params) {
        (Family::Concatenate, Params::Data(data)) if row.mechanism == MechanismType::CONCATENATE_DATA_AND_BASE => {
            Ok(joined(data, base.expose()))
        }
        (Family::Concatenate, Params::Data(data)) => Ok(joined(base.expose(), data)),
        (Family::Concatenate, _) => {
            let other = value(other.ok_or(Rv::MECHANISM_PARAM_INVALID)?)?;
            Ok(joined(base.expose(), other.expose()))
        }
        (Family::Xor, Params::Data(data)) => {
            let mut out = Secret::zeroed(base.len().min(data.len()));
            for ((target, base), data) in out.expose_mut().iter_mut().zip(base.expose()).zip(data) {
                *target = base ^ data;
            }
            Ok(out)
        }
        (Family::Extract, Params::Number(bit)) => {
            let bit = usize::try_from(*bit).ok().filter(|bit| *bit < 8 * base.len());
            Ok(turned(base.expose(), bit.ok_or(Rv::MECHANISM_PARAM_INVALID)?))
        }
        _ => Err(Rv::MECHANISM_PARAM_INVALID),
    }
}

/// Whether the rules of DESIGN 8 hold for these bases: one of them is not open to everybody who uses it.
fn guarded(policy: Policy, bases: &[&Object]) -> bool {
    let open = |base: &&Object| !base.sensitive() && base.flag(A::EXTRACTABLE);
    policy.latches() && !bases.iter().all(open)
}

/// Whether there may be such a derivation from these keys at all.
///
/// # Errors
/// `CKR_KEY_FUNCTION_NOT_PERMITTED` for extraction from a sensitive key.
pub(super) fn permitted(policy: Policy, row: &Row, bases: &[&Object]) -> Result<(), Rv> {
    if row.family == Family::Extract && guarded(policy, bases) {
        return Err(Rv::KEY_FUNCTION_NOT_PERMITTED);
    }
    Ok(())
}

/// Whether a derivation may give `length` bytes of `whole` as a key of this shape.
///
/// # Errors
/// `CKR_TEMPLATE_INCONSISTENT` for a part of a sensitive key, and for one in the two keys of XTS, of which the caller would know the
/// other.
pub(super) fn complete(
    policy: Policy,
    row: &Row,
    bases: &[&Object],
    (shape, length, whole): (Shape, usize, usize),
) -> Result<(), Rv> {
    if !guarded(policy, bases) {
        return Ok(());
    }
    // XOR with less data than there is key cuts, too.
    let cut = row.family == Family::Xor && bases.iter().any(|base| size(base) != whole);
    if length != whole || cut || shape == Shape::AesXts {
        return Err(Rv::TEMPLATE_INCONSISTENT);
    }
    Ok(())
}

fn size(object: &Object) -> usize {
    object.values.get(A::VALUE).map_or(0, Secret::len)
}

fn joined(front: &[u8], back: &[u8]) -> Secret {
    let mut out = Secret::zeroed(front.len() + back.len());
    let (left, right) = out.expose_mut().split_at_mut(front.len());
    left.copy_from_slice(front);
    right.copy_from_slice(back);
    out
}

/// The same bits, beginning with this one; bit 0 is the highest of the first byte.
fn turned(value: &[u8], bit: usize) -> Secret {
    let (bytes, bits) = (bit / 8, bit % 8);
    let mut out = Secret::zeroed(value.len());
    for (index, target) in out.expose_mut().iter_mut().enumerate() {
        let at = |place: usize| u16::from(value[place % value.len()]);
        let pair = at(index + bytes) << 8 | at(index + bytes + 1);
        *target = (pair >> (8 - bits)) as u8;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of PKCS#11 3.2, 6.43.7.
    #[test]
    fn bits_are_counted_from_the_front_and_come_round() {
        let turned = |bit| turned(&[0x32, 0x9f, 0x84, 0xa9], bit).expose().to_vec();
        assert_eq!(turned(21)[..2], [0x95, 0x26]);
        assert_eq!(turned(0), [0x32, 0x9f, 0x84, 0xa9]);
        assert_eq!(turned(8), [0x9f, 0x84, 0xa9, 0x32]);
    }
}
