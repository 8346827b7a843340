//! C_VerifySignatureInit, C_VerifySignature, C_VerifySignatureUpdate, C_VerifySignatureFinal (PKCS#11 3.2, 5.15.5 and following):
//! verification that is given the signature first.

use super::key::{admit, work};
use super::request::Asker;
use super::sign::{add, signature_length};
use super::verify::verify;
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::RawInput;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::operation::{KeyOperation, Outcome, Running, SignedOperation, or_end, run};
use crate::state::phase::Step;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::init::Operation;

/// C_VerifySignatureInit.
pub(crate) fn init(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
    signature: RawInput<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).verify_signature;
    let active = place.as_ref().is_some_and(|running| running.alive(&session.slot));
    if mechanism.is_null() {
        *place = None;
        return if active { Ok(()) } else { Err(Rv::ARGUMENTS_BAD) };
    }
    let signature = signature.get()?;
    if active {
        return Err(Rv::OPERATION_ACTIVE);
    }
    *place = None;
    let asker = Asker::session(instance, &session);
    let epoch = asker.slot.epoch();
    let admitted = admit(asker, Operation::Verify, mechanism, key, Rv::KEY_HANDLE_INVALID)?;
    let work = work(asker, Operation::Verify, &admitted);
    let running = KeyOperation::new(admitted, epoch, work);
    // No signature is longer: what is, is not kept.
    if signature.len() > signature_length(&running)? {
        return Err(Rv::SIGNATURE_LEN_RANGE);
    }
    *place = Some(SignedOperation {
        running,
        signature: signature.to_vec(),
    });
    Ok(())
}

/// C_VerifySignature.
pub(crate) fn single(instance: &Instance, session: CK_SESSION_HANDLE, data: RawInput<'_>) -> Result<(), Rv> {
    step(instance, session, Step::Single, data.get(), |asker, operation, data| {
        verify(asker, &mut operation.running, Some(data), &operation.signature)
    })
}

/// C_VerifySignatureUpdate.
pub(crate) fn update(instance: &Instance, session: CK_SESSION_HANDLE, data: RawInput<'_>) -> Result<(), Rv> {
    step(instance, session, Step::Update, data.get(), |asker, operation, data| {
        add(asker, &mut operation.running, data)
    })
}

/// C_VerifySignatureFinal.
pub(crate) fn finish(instance: &Instance, session: CK_SESSION_HANDLE) -> Result<(), Rv> {
    step(instance, session, Step::Final, Ok(()), |asker, operation, ()| {
        verify(asker, &mut operation.running, None, &operation.signature)
    })
}

fn step<A>(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    step: Step,
    arguments: Result<A, Rv>,
    work: impl FnOnce(Asker<'_>, &mut SignedOperation, A) -> Result<Outcome, Rv>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).verify_signature;
    let arguments = or_end(place, arguments)?;
    run(place, &session.slot, step, |operation| {
        work(Asker::session(instance, &session), operation, arguments)
    })
}
