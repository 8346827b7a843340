//! C_MessageSignInit to C_MessageSignFinal and their counterparts (PKCS#11 3.0, 5.14 and 5.16): any number of messages with one
//! key. No mechanism of this build has a parameter of single messages: what comes as one is not looked at.

use super::family::{self, Place};
use super::request::Asker;
use super::{sign, verify};
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{RawInput, RawOut};
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::operation::{KeyOperation, Outcome, Running};
use crate::state::phase::Phase;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::init::Operation;
use hsmd_proto::mechanism::Row;

/// Which of the two.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    operation: Operation,
    place: Place,
}

/// C_MessageSignInit, C_SignMessage, ...
pub(crate) const SIGN: Side = Side {
    operation: Operation::Sign,
    place: |operations| &mut operations.message_sign,
};

/// C_MessageVerifyInit, C_VerifyMessage, ...
pub(crate) const VERIFY: Side = Side {
    operation: Operation::Verify,
    place: |operations| &mut operations.message_verify,
};

/// C_MessageSignInit, C_MessageVerifyInit.
pub(crate) fn init(
    side: Side,
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
) -> Result<(), Rv> {
    let serves = |kind| hsmd_proto::mechanism::row(kind).is_none_or(Row::signs_messages);
    if !mechanism.is_null() && !serves(mechanism.kind()?) {
        instance.session(session)?;
        return Err(Rv::MECHANISM_INVALID);
    }
    family::init(instance, session, (side.place, side.operation), mechanism, key)
}

/// C_SignMessage.
pub(crate) fn sign_whole(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    with(SIGN, instance, session, Phase::Ready, |asker, running| {
        sign::sign(asker, running, Some(data.get()?), &out.get()?)
    })
}

/// C_VerifyMessage.
pub(crate) fn verify_whole(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    signature: RawInput<'_>,
) -> Result<(), Rv> {
    with(VERIFY, instance, session, Phase::Ready, |asker, running| {
        verify::verify(asker, running, Some(data.get()?), signature.get()?)
    })
}

/// C_SignMessageBegin, C_VerifyMessageBegin.
pub(crate) fn begin(side: Side, instance: &Instance, session: CK_SESSION_HANDLE) -> Result<(), Rv> {
    with(side, instance, session, Phase::Ready, |_, running| {
        running.check_grant()?;
        Ok(Outcome::Open)
    })?;
    mark(side, instance, session, Phase::Parts)
}

/// C_SignMessageNext. Without a place for the signature's length the message goes on.
pub(crate) fn sign_next(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let last = !out.is_absent();
    let mut complete = false;
    let result = with(SIGN, instance, session, Phase::Parts, |asker, running| {
        let data = data.get()?;
        if !last {
            return sign::add(asker, running, data);
        }
        let out = out.get()?;
        // The last part is taken in once: not with a question for the length, nor with too small a buffer.
        if let Some(refused) = out.refuse(sign::signature_length(running)?) {
            return Ok(refused.into());
        }
        sign::add(asker, running, data)?;
        complete = true;
        sign::sign(asker, running, None, &out)
    });
    settle(SIGN, instance, session, complete, result)
}

/// C_VerifyMessageNext. Without a signature the message goes on.
pub(crate) fn verify_next(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    signature: RawInput<'_>,
) -> Result<(), Rv> {
    let last = !signature.is_absent();
    let result = with(VERIFY, instance, session, Phase::Parts, |asker, running| {
        sign::add(asker, running, data.get()?)?;
        if last {
            verify::verify(asker, running, None, signature.get()?)
        } else {
            Ok(Outcome::Open)
        }
    });
    settle(VERIFY, instance, session, last, result)
}

/// C_MessageSignFinal, C_MessageVerifyFinal.
pub(crate) fn finish(side: Side, instance: &Instance, session: CK_SESSION_HANDLE) -> Result<(), Rv> {
    with(side, instance, session, Phase::Ready, |_, _| Ok(Outcome::Open))?;
    let session = instance.session(session)?;
    *(side.place)(&mut lock(&session.operations)) = None;
    Ok(())
}

/// Runs one call. Whatever becomes of a message, the operation goes on.
fn with(
    side: Side,
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    phase: Phase,
    work: impl FnOnce(Asker<'_>, &mut KeyOperation) -> Result<Outcome, Rv>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let mut operations = lock(&session.operations);
    let place = (side.place)(&mut operations);
    let running = place.as_mut().filter(|running| running.alive(&session.slot));
    let running = running.ok_or(Rv::OPERATION_NOT_INITIALIZED)?;
    match (running.phase, phase) {
        (Phase::Parts, Phase::Ready) => return Err(Rv::OPERATION_ACTIVE),
        (Phase::Ready, Phase::Parts) => return Err(Rv::OPERATION_NOT_INITIALIZED),
        _ => {}
    }
    match work(Asker::session(instance, &session), running)? {
        Outcome::TooSmall => Err(Rv::BUFFER_TOO_SMALL),
        _ => Ok(()),
    }
}

/// A message in parts ends with its signature, or with an error.
fn settle(
    side: Side,
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    complete: bool,
    result: Result<(), Rv>,
) -> Result<(), Rv> {
    let goes_on = matches!(
        result,
        Ok(()) | Err(Rv::BUFFER_TOO_SMALL | Rv::OPERATION_NOT_INITIALIZED | Rv::SESSION_HANDLE_INVALID)
    );
    if complete || !goes_on {
        mark(side, instance, session, Phase::Ready)?;
    }
    result
}

/// Sets the phase; a message that ends leaves nothing behind.
fn mark(side: Side, instance: &Instance, session: CK_SESSION_HANDLE, phase: Phase) -> Result<(), Rv> {
    let session = instance.session(session)?;
    if let Some(running) = (side.place)(&mut lock(&session.operations)) {
        running.phase = phase;
        running.forget_parts();
    }
    Ok(())
}
