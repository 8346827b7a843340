//! C_WrapKey (PKCS#11 3.2, 5.18.3). The blob of a sensitive key leaves only after the latch of the wrapping key is durable.

use std::sync::Arc;

use hsmd_crypto::secret::Secret;
use hsmd_crypto::{OpError, pkcs8};
use hsmd_proto::ck::{AttributeType as A, ObjectClass, Rv};
use hsmd_proto::init::Operation;
use hsmd_proto::mechanism::{Family, Row};
use hsmd_proto::meta::KeyMeta;
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::wipe::wipe;

use super::access::Usable;
use super::object::Object;
use super::{ObjectRef, latch, material, policy};
use crate::audit::Act;
use crate::caller::Context;
use crate::key_set::KeySet;

/// A wrap that passed every check.
struct Wrap {
    row: &'static Row,
    wrapping: Usable,
    key: Arc<Object>,
    value: Secret,
}

impl KeySet {
    /// Wraps a key. INV-5: one durable write, the first time that this material wraps a sensitive key.
    ///
    /// # Errors
    /// As C_WrapKey.
    pub fn wrap_key(
        &self,
        context: &Context,
        wrapping: &ObjectRef<'_>,
        mechanism: &Mechanism,
        key: &ObjectRef<'_>,
    ) -> Result<Vec<u8>, Rv> {
        let wrap = self.checked(context, wrapping, mechanism, key)?;
        let latches = self.policy().latches();
        let detail = format!("with {} by {}", wrap.wrapping.id, mechanism.kind);
        let event = self.event(Act::KeyWrap, &wrap.key).detail(detail);
        let first = latches && wrap.key.sensitive() && !wrap.wrapping.wrapping();
        if first {
            // INV-1, INV-2: from here on nothing but wrapping is left to the material, on any node and after any crash.
            let material = wrap.wrapping.material.ok_or(Rv::KEY_NOT_WRAPPABLE)?;
            latch::set_wrapping(self.core(), material, event.clone())?;
        }
        let mut out = Vec::new();
        let wrapped = wrap.wrapping.key()?.encrypt(mechanism, wrap.value.expose(), &mut out);
        wrapped.map_err(|error| match error {
            OpError::DataLength | OpError::Data => Rv::KEY_SIZE_RANGE,
            error => error.rv(),
        })?;
        if let (Params::Gcm(gcm), Some(material)) = (&mechanism.params, wrap.wrapping.material) {
            let tag = out.get(wrap.value.len()..).unwrap_or_default();
            let noted = self.note_iv(&wrap.wrapping, material, &gcm.iv, (false, tag));
            if let Err(refused) = noted {
                wipe(&mut out);
                return Err(refused);
            }
        }
        if !first {
            self.core().audit.note(event);
        }
        Ok(out)
    }

    /// The length of what [`KeySet::wrap_key`] would give. Changes nothing and sets no latch.
    ///
    /// # Errors
    /// As C_WrapKey.
    pub fn wrap_length(
        &self,
        context: &Context,
        wrapping: &ObjectRef<'_>,
        mechanism: &Mechanism,
        key: &ObjectRef<'_>,
    ) -> Result<usize, Rv> {
        let wrap = self.checked(context, wrapping, mechanism, key)?;
        let length = wrap.value.len();
        let point = || {
            wrap.wrapping
                .meta(false)
                .and_then(|meta| meta.curve)
                .map_or(0, |curve| 1 + 2 * curve.field_bytes())
        };
        let modulus = || wrap.wrapping.meta(false).map_or(0, KeyMeta::modulus_bytes);
        Ok(match (wrap.row.family, &mechanism.params) {
            (Family::RsaAesWrap, _) => modulus() + length.next_multiple_of(8) + 8,
            (Family::EcdhAesWrap, _) => point() + length.next_multiple_of(8) + 8,
            (Family::AesCbcPad, _) => (length / 16 + 1) * 16,
            (Family::AesKw, _) => length + 8,
            (Family::AesKwp, _) => length.next_multiple_of(8) + 8,
            (Family::AesGcm, Params::Gcm(gcm)) => length + gcm.tag_bits as usize / 8,
            _ => modulus(),
        })
    }

    fn checked(
        &self,
        context: &Context,
        wrapping: &ObjectRef<'_>,
        mechanism: &Mechanism,
        key: &ObjectRef<'_>,
    ) -> Result<Wrap, Rv> {
        let policy = self.policy();
        let invalid = Rv::WRAPPING_KEY_HANDLE_INVALID;
        let wrapping = self.usable(context, Operation::Wrap, mechanism, wrapping, invalid)?;
        let row = hsmd_proto::mechanism::row(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?;
        let key = match self.object(context, key) {
            Err(Rv::OBJECT_HANDLE_INVALID) => return Err(Rv::KEY_HANDLE_INVALID),
            other => other?,
        };
        if !key.shape().is_key() {
            return Err(Rv::KEY_HANDLE_INVALID);
        }
        policy::may_wrap(policy, (row, &mechanism.params), &wrapping, &key)?;
        let value = wrappable(row, &wrapping, mechanism, &key)?;
        Ok(Wrap {
            row,
            wrapping,
            key,
            value,
        })
    }
}

/// The bytes to be wrapped: the value of a secret key, the PKCS#8 form of a private one, if the mechanism takes that many.
fn wrappable(row: &Row, wrapping: &Object, mechanism: &Mechanism, key: &Object) -> Result<Secret, Rv> {
    let private = key.class() == ObjectClass::PRIVATE_KEY;
    let value = if private {
        let material = material::of(key.shape(), &key.attributes, &key.values).map_err(|_| Rv::DEVICE_ERROR)?;
        pkcs8::encode(&material).ok_or(Rv::KEY_NOT_WRAPPABLE)?
    } else {
        key.values
            .get(A::VALUE)
            .map(Secret::duplicate)
            .ok_or(Rv::DEVICE_ERROR)?
    };
    let length = value.len();
    let fits = match (row.family, &mechanism.params) {
        // RFC 3394: whole semiblocks, at least two.
        (Family::AesKw, _) => length >= 16 && length.is_multiple_of(8),
        (Family::RsaPkcs1, _) => {
            // PKCS#11 3.2, 6.1.6: v1.5 wraps secret keys.
            if private {
                return Err(Rv::KEY_NOT_WRAPPABLE);
            }
            length + 11 <= wrapping.meta(false).map_or(0, KeyMeta::modulus_bytes)
        }
        (Family::RsaOaep, Params::Oaep(oaep)) => {
            // PKCS#11 3.2, 6.1.8: OAEP wraps secret keys.
            if private {
                return Err(Rv::KEY_NOT_WRAPPABLE);
            }
            let hash = hsmd_proto::mechanism::digest_length(oaep.hash).unwrap_or_default();
            let modulus = wrapping.meta(false).map_or(0, KeyMeta::modulus_bytes);
            length + 2 * hash + 2 <= modulus
        }
        _ => true,
    };
    if fits { Ok(value) } else { Err(Rv::KEY_SIZE_RANGE) }
}
