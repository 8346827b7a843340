//! PINs and logins: C_Login, C_Logout, C_InitPIN, C_SetPIN. PINs are only ever borrowed from the frame's section.

use super::call::{Answer, Call, object_ref, operation_id};
use hsmd_proto::ck::{Rv, UserType};
use hsmd_proto::convert::mechanism_from_wire;
use hsmd_proto::ids::OperationId;
use hsmd_proto::init::Operation;
use hsmd_proto::wire::{self, reply};

pub(super) fn login(call: &mut Call<'_>, request: &wire::Login) -> Answer {
    let pin = call.section(request.pin.as_ref())?;
    let attempt = operation_id(&request.attempt)?;
    if UserType(request.user) == UserType::CONTEXT_SPECIFIC {
        return grant(call, request.purpose.as_ref(), pin, attempt);
    }
    let (caller, user) = (call.context.caller, UserType(request.user));
    let mut key_set = call.key_set()?;
    let mut ticket = key_set.login(&caller, user, pin, attempt)?;
    if user == UserType::USER && call.node.model.joins_wait() {
        call.node.model.merge_with(&key_set, &caller, pin);
        // The slot's keys may be the group's now; the same PIN opens both.
        let now = call.key_set()?;
        if now.id() != key_set.id() {
            ticket = now.login(&caller, user, pin, attempt)?;
            key_set = now;
        }
    }
    let ticket = call.writer.hide(ticket.expose());
    Ok(Some(reply::Result::Login(wire::LoginReply {
        ticket: Some(ticket),
        key_set: key_set.id().0.to_vec(),
    })))
}

/// The PIN once more, for one operation.
fn grant(call: &mut Call<'_>, purpose: Option<&wire::Purpose>, pin: &[u8], attempt: OperationId) -> Answer {
    let purpose = purpose.ok_or(Rv::ARGUMENTS_BAD)?;
    let operation = match purpose.operation() {
        wire::purpose::Operation::Sign => Operation::Sign,
        wire::purpose::Operation::Decrypt => Operation::Decrypt,
        wire::purpose::Operation::SignRecover => Operation::SignRecover,
        wire::purpose::Operation::None => return Err(Rv::OPERATION_NOT_INITIALIZED),
    };
    let mechanism = mechanism_from_wire(purpose.mechanism.clone())?;
    let key = object_ref(purpose.key.as_ref())?;
    let purpose = (operation, &mechanism, &key);
    let grant = call.key_set()?.grant(&call.context, purpose, pin, attempt)?;
    let ticket = Some(call.writer.hide(grant.expose()));
    Ok(Some(reply::Result::Login(wire::LoginReply {
        ticket,
        key_set: Vec::new(),
    })))
}

pub(super) fn logout(call: &Call<'_>) -> Answer {
    let login = call.context.login.as_ref().ok_or(Rv::USER_NOT_LOGGED_IN)?;
    call.key_set()?.logout(login);
    Ok(None)
}

pub(super) fn init_pin(call: &Call<'_>, request: &wire::InitPin) -> Answer {
    let pin = call.section(request.pin.as_ref())?;
    let operation = operation_id(&request.operation)?;
    let login = call.context.login.as_ref().ok_or(Rv::USER_NOT_LOGGED_IN)?;
    call.key_set()?.init_pin(login, pin, operation)?;
    Ok(None)
}

pub(super) fn set_pin(call: &Call<'_>, request: &wire::SetPin) -> Answer {
    let old = call.section(request.old_pin.as_ref())?;
    let new = call.section(request.new_pin.as_ref())?;
    let operation = operation_id(&request.operation)?;
    let login = call.context.login.as_deref();
    call.key_set()?
        .set_pin(&call.context.caller, login, old, new, operation)?;
    Ok(None)
}
