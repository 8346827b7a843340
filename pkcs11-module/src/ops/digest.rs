//! C_DigestInit, C_Digest, C_DigestUpdate, C_DigestKey, C_DigestFinal: in this process. Only C_DigestKey
//! makes a request, for the key's value.

use super::family::{Place, begin, step, steps};
use super::request::Asker;
use super::{attribute, slot};
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{OutBuf, RawInput, RawOut};
use crate::local::Digest;
use crate::state::instance::Instance;
use crate::state::operation::{DigestOperation, Outcome};
use crate::state::phase::{Phase, Step};
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::mechanism::{Operations, digest_length};

/// Where it runs.
pub(crate) const PLACE: Place<DigestOperation> = |operations| &mut operations.digest;

/// C_DigestInit (PKCS#11 3.2, 5.12.1).
pub(crate) fn init(instance: &Instance, session: CK_SESSION_HANDLE, mechanism: &RawMechanism<'_>) -> Result<(), Rv> {
    begin(instance, session, PLACE, (mechanism, ()), |asker, ()| {
        let mechanism = mechanism.parse()?;
        let row = slot::row(instance, asker.slot, mechanism.kind)?;
        if !row.operations.contains(Operations::DIGEST) {
            return Err(Rv::MECHANISM_INVALID);
        }
        mechanism.check(asker.slot.policy())?;
        Ok(DigestOperation {
            phase: Phase::Ready,
            mechanism: mechanism.kind,
            digest: Digest::new(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?,
            length: digest_length(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?,
        })
    })
}

steps! { PLACE;
    /// C_Digest.
    single(Single, data: RawInput<'_>, out: RawOut<'_>) => |_, operation, (data, out)| {
        if let Some(refused) = out.refuse(operation.length) {
            return Ok(refused.into());
        }
        operation.digest.update(data);
        last(operation, &out)
    };
    /// C_DigestUpdate.
    update(Update, data: RawInput<'_>) => add;
    /// C_DigestFinal.
    finish(Final, out: RawOut<'_>) => |_, operation, out| last(operation, &out);
}

/// Takes a part in.
pub(crate) fn add(_: Asker<'_>, operation: &mut DigestOperation, data: &[u8]) -> Result<Outcome, Rv> {
    operation.digest.update(data);
    Ok(Outcome::Open)
}

fn last(operation: &DigestOperation, out: &OutBuf<'_>) -> Result<Outcome, Rv> {
    if let Some(refused) = out.refuse(operation.length) {
        return Ok(refused.into());
    }
    Ok(out.put(&operation.digest.clone().finish()).into())
}

/// C_DigestKey for secret keys whose value the application may read. A digest that absorbed another key must not be in
/// this process in clear (INV-1): `CKR_KEY_INDIGESTIBLE`.
pub(crate) fn key(instance: &Instance, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<(), Rv> {
    step(instance, session, (PLACE, Step::Update), (), |asker, operation, ()| {
        let key = asker.slot.objects.get(key).ok_or(Rv::KEY_HANDLE_INVALID)?;
        let value = attribute::secret_value(asker, &key).map_err(|rv| match rv {
            Rv::OBJECT_HANDLE_INVALID => Rv::KEY_HANDLE_INVALID,
            Rv::ATTRIBUTE_SENSITIVE | Rv::ATTRIBUTE_TYPE_INVALID => Rv::KEY_INDIGESTIBLE,
            other => other,
        })?;
        operation.digest.update(&value);
        Ok(Outcome::Open)
    })
}
