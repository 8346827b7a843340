//! C_DigestInit, C_Digest, C_DigestUpdate, C_DigestKey, C_DigestFinal: in this process. Only C_DigestKey
//! makes a request, for the key's value.

use super::request::Asker;
use super::{attribute, slot};
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{RawInput, RawOut};
use crate::local::Digest;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::operation::{DigestOperation, Outcome, or_end, run};
use crate::state::phase::{Phase, Step};
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::mechanism::{Operations, digest_length};

/// C_DigestInit (PKCS#11 3.2, 5.12.1).
pub(crate) fn init(instance: &Instance, session: CK_SESSION_HANDLE, mechanism: &RawMechanism<'_>) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).digest;
    if mechanism.is_null() {
        return if place.take().is_some() {
            Ok(())
        } else {
            Err(Rv::ARGUMENTS_BAD)
        };
    }
    if place.is_some() {
        return Err(Rv::OPERATION_ACTIVE);
    }
    let mechanism = mechanism.parse()?;
    let row = slot::row(instance, &session.slot, mechanism.kind)?;
    if !row.operations.contains(Operations::DIGEST) {
        return Err(Rv::MECHANISM_INVALID);
    }
    mechanism.check(session.slot.policy())?;
    let length = digest_length(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?;
    let digest = Digest::new(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?;
    *place = Some(DigestOperation {
        phase: Phase::Ready,
        mechanism: mechanism.kind,
        digest,
        length,
    });
    Ok(())
}

/// C_Digest.
pub(crate) fn single(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).digest;
    let (data, out) = or_end(place, data.get().and_then(|data| Ok((data, out.get()?))))?;
    run(place, &session.slot, Step::Single, |operation| {
        if let Some(refused) = out.refuse(operation.length) {
            return Ok(refused.into());
        }
        operation.digest.update(data);
        Ok(out.put(&operation.digest.clone().finish()).into())
    })
}

/// C_DigestUpdate.
pub(crate) fn update(instance: &Instance, session: CK_SESSION_HANDLE, data: RawInput<'_>) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).digest;
    let data = or_end(place, data.get())?;
    run(place, &session.slot, Step::Update, |operation| {
        operation.digest.update(data);
        Ok(Outcome::Open)
    })
}

/// C_DigestKey for secret keys whose value the application may read. A digest that absorbed another key must not be in
/// this process in clear (INV-1): `CKR_KEY_INDIGESTIBLE`.
pub(crate) fn key(instance: &Instance, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).digest;
    run(place, &session.slot, Step::Update, |operation| {
        let key = session.slot.objects.get(key).ok_or(Rv::KEY_HANDLE_INVALID)?;
        let value = attribute::secret_value(Asker::session(instance, &session), &key).map_err(|rv| match rv {
            Rv::OBJECT_HANDLE_INVALID => Rv::KEY_HANDLE_INVALID,
            Rv::ATTRIBUTE_SENSITIVE | Rv::ATTRIBUTE_TYPE_INVALID => Rv::KEY_INDIGESTIBLE,
            other => other,
        })?;
        operation.digest.update(&value);
        Ok(Outcome::Open)
    })
}

/// C_DigestFinal.
pub(crate) fn finish(instance: &Instance, session: CK_SESSION_HANDLE, out: RawOut<'_>) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).digest;
    let out = or_end(place, out.get())?;
    run(place, &session.slot, Step::Final, |operation| {
        if let Some(refused) = out.refuse(operation.length) {
            return Ok(refused.into());
        }
        Ok(out.put(&operation.digest.clone().finish()).into())
    })
}
