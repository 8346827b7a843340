//! C_UnwrapKey (PKCS#11 3.2, 5.18.4). What comes out is from outside, whoever made the blob.

use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Key, Material, OpError, pkcs8};
use hsmd_proto::attribute::Template;
use hsmd_proto::ck::{AttributeType as A, ObjectClass, Rv};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::init::Operation;
use hsmd_proto::mechanism::{Family, Row};
use hsmd_proto::params::Mechanism;

use super::birth::{self, Birth, Substance};
use super::rules::{Plan, Shape, Way, complete};
use super::{ObjectRef, ObjectView, access, material, policy};
use crate::audit::Act;
use crate::caller::Context;
use crate::key_set::KeySet;
use crate::login::Role;

impl KeySet {
    /// Unwraps a key. The same `id`, blob and template again find what the first try made (INV-10).
    ///
    /// # Errors
    /// As C_UnwrapKey. One code for every blob that does not open (A15, A16).
    pub fn unwrap_key(
        &self,
        context: &Context,
        unwrapping: &ObjectRef<'_>,
        mechanism: &Mechanism,
        wrapped: &[u8],
        id: UniqueId,
        template: &Template,
    ) -> Result<ObjectView, Rv> {
        let request = birth::fingerprint("unwrap", Some(mechanism), &[&unwrapping.id.0, wrapped], &[template]);
        if let Some(view) = self.made_before(context, id, &request)? {
            return Ok(view);
        }
        let policy = self.policy();
        let invalid = Rv::UNWRAPPING_KEY_HANDLE_INVALID;
        let unwrapping = self.usable(context, Operation::Unwrap, mechanism, unwrapping, invalid)?;
        let row = hsmd_proto::mechanism::row(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?;
        if policy.latches() && unwrapping.wrapping() && !policy::wraps_sensitive(row) {
            // A16: the padding check of CBC_PAD would open what KW has closed, block by block.
            return Err(Rv::KEY_FUNCTION_NOT_PERMITTED);
        }
        template.check_form()?;
        let template = policy::imposed(policy, &unwrapping, A::UNWRAP_TEMPLATE, template)?;
        let class = birth::class_of(&template)?.ok_or(Rv::TEMPLATE_INCOMPLETE)?;
        if !matches!(class, ObjectClass::SECRET_KEY | ObjectClass::PRIVATE_KEY) {
            return Err(Rv::TEMPLATE_INCONSISTENT);
        }
        let key_type = birth::key_type_of(&template)?.ok_or(Rv::TEMPLATE_INCOMPLETE)?;
        let shape = Shape::of_key(class, key_type)?;
        let so = access::role(self, context) == Some(Role::So);
        let mut draft = complete(
            Plan {
                way: Way::Unwrap,
                shape,
                policy,
                so,
            },
            &template,
        )?;
        access::may_write(self, context, draft.flag(A::TOKEN), draft.flag(A::PRIVATE))?;

        let named = draft.attributes.ulong(A::VALUE_LEN)?;
        let value = opened(unwrapping.key()?, row, mechanism, wrapped, shape, named)?;
        let material = content(shape, value)?;
        // The blob says which curve; the draft takes it from there.
        material::put_curve(&mut draft, &material);
        let substance = Substance::check(shape, material, policy).map_err(|_| Rv::WRAPPED_KEY_INVALID)?;
        let birth = Birth::outside(id, self.objects().next_sequence(), request);
        let object = birth::key(&self.core().latches, policy, draft, key_type, substance, birth)?;
        self.settle_one(context, Act::KeyUnwrap, object)
    }
}

/// The bytes in a blob. With PKCS #1 v1.5 a blob that is wrong gives a pseudo-random key (DESIGN 6).
fn opened(
    key: &Key,
    row: &Row,
    mechanism: &Mechanism,
    wrapped: &[u8],
    shape: Shape,
    named: Option<u64>,
) -> Result<Secret, Rv> {
    let result = if row.family == Family::RsaPkcs1 {
        if !shape.is_secret() {
            // No private key fits, and the padding must not be told from what a blob may hold.
            return Err(Rv::TEMPLATE_INCONSISTENT);
        }
        let named = named.map(|length| policy::secret_length(shape, length)).transpose()?;
        key.unwrap_pkcs1(wrapped, named, shape == Shape::Aes)
    } else {
        let mut value = Vec::new();
        let result = key.decrypt(mechanism, wrapped, &mut value);
        let value = Secret::new(value);
        result.map(|()| value)
    };
    result.map_err(|error| match error {
        OpError::EncryptedLength | OpError::DataLength => Rv::WRAPPED_KEY_LEN_RANGE,
        OpError::Encrypted | OpError::Data => Rv::WRAPPED_KEY_INVALID,
        error => error.rv(),
    })
}

/// The DER value at the start, without up to seven zeros behind it: SoftHSM 2.6 fills a private key to whole blocks of eight
/// bytes before it wraps with AES-KWP, which would do without.
fn without_filling(value: &[u8]) -> &[u8] {
    match der_length(value).and_then(|length| value.split_at_checked(length)) {
        Some((der, filling)) if filling.len() < 8 && filling.iter().all(|byte| *byte == 0) => der,
        _ => value,
    }
}

/// How long the DER value says that it is, with its tag and length.
fn der_length(value: &[u8]) -> Option<usize> {
    let (&[_, first], rest) = value.split_first_chunk::<2>()?;
    if first < 0x80 {
        return Some(2 + usize::from(first));
    }
    let count = usize::from(first & 0x7f);
    let bytes = rest.get(..count).filter(|bytes| bytes.len() <= 3)?;
    let length = bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
    Some(2 + count + length)
}

/// The material in an opened blob, if it is of the shape that the template names.
fn content(shape: Shape, value: Secret) -> Result<Material, Rv> {
    if shape.is_secret() {
        return Ok(Material::Secret(value));
    }
    let material = pkcs8::decode(without_filling(value.expose())).ok_or(Rv::WRAPPED_KEY_INVALID)?;
    if material::shape_of(&material) == Some(shape) {
        Ok(material)
    } else {
        Err(Rv::WRAPPED_KEY_INVALID)
    }
}

#[cfg(test)]
mod tests {
    use super::without_filling;

    #[test]
    fn up_to_seven_zeros_behind_an_encoding_are_cut_off_and_nothing_else_is() {
        for zeros in 0..8 {
            assert_eq!(
                without_filling(&[&[0x30, 2, 5, 0][..], &vec![0; zeros]].concat()),
                [0x30, 2, 5, 0]
            );
        }
        let long = [&[0x30, 0x82, 1, 0][..], &[7; 256]].concat();
        assert_eq!(without_filling(&[&long[..], &[0; 4]].concat()), long);
        for kept in [
            &[0x30, 2, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x30, 2, 5, 0, 0, 1],
            &[0x30, 9, 5, 0],
            &[0x30, 0x84, 0, 0, 0, 0],
            &[0x30],
            &[],
        ] {
            assert_eq!(without_filling(kept), kept);
        }
    }
}
