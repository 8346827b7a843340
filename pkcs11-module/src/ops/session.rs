//! Sessions: open, close, information, cancel.

use super::login;
use super::request::Asker;
use crate::abi::pointers::RawSlot;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::object::SessionHandle;
use crate::state::session::Session;
use crate::state::slot::Slot;
use cryptoki_sys::{
    CK_FLAGS, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SESSION_VALIDATION_FLAGS_TYPE, CK_SLOT_ID, CKF_ASYNC_SESSION,
    CKF_DECRYPT, CKF_DIGEST, CKF_ENCRYPT, CKF_FIND_OBJECTS, CKF_MESSAGE_DECRYPT, CKF_MESSAGE_ENCRYPT, CKF_MESSAGE_SIGN,
    CKF_MESSAGE_VERIFY, CKF_RW_SESSION, CKF_SERIAL_SESSION, CKF_SIGN, CKF_SIGN_RECOVER, CKF_TOKEN_INITIALIZED,
    CKF_VERIFY, CKF_VERIFY_RECOVER, CKS_LAST_VALIDATION_OK, CKS_RO_PUBLIC_SESSION, CKS_RO_USER_FUNCTIONS,
    CKS_RW_PUBLIC_SESSION, CKS_RW_SO_FUNCTIONS, CKS_RW_USER_FUNCTIONS,
};
use hsmd_proto::ck::{Rv, UserType};
use std::sync::Arc;

/// C_OpenSession (PKCS#11 3.2, 5.6.1). Notify callbacks are accepted and never called.
pub(crate) fn open(
    instance: &Instance,
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    out: &RawSlot<'_, CK_SESSION_HANDLE>,
) -> Result<(), Rv> {
    let slot = instance.slot(slot)?;
    out.check()?;
    if flags & CKF_SERIAL_SESSION == 0 {
        return Err(Rv::SESSION_PARALLEL_NOT_SUPPORTED);
    }
    if flags & CKF_ASYNC_SESSION != 0 {
        return Err(Rv::SESSION_ASYNC_NOT_SUPPORTED);
    }
    if usable(&slot).is_err() {
        // Another application may have initialised the token since, or it has come back.
        instance.refresh_slots(false)?;
        usable(&slot)?;
    }
    let read_write = flags & CKF_RW_SESSION != 0;
    let mut gate = lock(&slot.gate);
    if !read_write && slot.login().is_some_and(|login| login.user == UserType::SO) {
        return Err(Rv::SESSION_READ_WRITE_SO_EXISTS);
    }
    let session = instance.add_session(Arc::clone(&slot), read_write);
    if read_write {
        gate.read_write += 1;
    } else {
        gate.read_only += 1;
    }
    out.set(session.handle.0)
}

/// Whether a session can be opened on what is known of the token.
fn usable(slot: &Slot) -> Result<(), Rv> {
    let info = slot.info();
    let token = info
        .token
        .as_ref()
        .filter(|_| info.token_present)
        .ok_or(Rv::TOKEN_NOT_PRESENT)?;
    if token.flags & CKF_TOKEN_INITIALIZED == 0 {
        Err(Rv::TOKEN_NOT_RECOGNIZED)
    } else {
        Ok(())
    }
}

/// C_CloseSession.
pub(crate) fn close(instance: &Instance, session: CK_SESSION_HANDLE) -> Result<(), Rv> {
    let session = instance
        .remove_session(SessionHandle(session))
        .ok_or(Rv::SESSION_HANDLE_INVALID)?;
    end(instance, &session);
    Ok(())
}

/// C_CloseAllSessions.
pub(crate) fn close_all(instance: &Instance, slot: CK_SLOT_ID) -> Result<(), Rv> {
    let slot = instance.slot(slot)?;
    for session in instance.sessions_of(&slot) {
        if let Some(session) = instance.remove_session(session.handle) {
            end(instance, &session);
        }
    }
    Ok(())
}

/// A session that was taken out ends: calls under way return, its objects go, and the last one of a slot logs out.
fn end(instance: &Instance, session: &Session) {
    session.close();
    let slot = &session.slot;
    let mut gate = lock(&slot.gate);
    if session.read_write {
        gate.read_write = gate.read_write.saturating_sub(1);
    } else {
        gate.read_only = gate.read_only.saturating_sub(1);
    }
    slot.objects.remove_if(|object| object.owner == Some(session.handle));
    if gate.read_only + gate.read_write == 0 {
        login::leave(Asker::slot(instance, slot));
    }
}

/// C_GetSessionInfo.
pub(crate) fn info(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    out: &RawSlot<'_, CK_SESSION_INFO>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let rw = if session.read_write { CKF_RW_SESSION } else { 0 };
    out.set(CK_SESSION_INFO {
        slotID: CK_SLOT_ID::from(session.slot.id.0),
        state: state(&session.slot, session.read_write),
        flags: CKF_SERIAL_SESSION | rw,
        ulDeviceError: 0,
    })
}

/// C_GetSessionValidationFlags (PKCS#11 3.2, 5.6.11): no token has a CKO_VALIDATION object, so that no operation is validated.
pub(crate) fn validation_flags(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    kind: CK_SESSION_VALIDATION_FLAGS_TYPE,
    out: &RawSlot<'_, CK_FLAGS>,
) -> Result<(), Rv> {
    instance.session(session)?;
    out.check()?;
    if kind != CKS_LAST_VALIDATION_OK {
        return Err(Rv::ARGUMENTS_BAD);
    }
    out.set(0)
}

fn state(slot: &Slot, read_write: bool) -> u64 {
    match (slot.login().map(|login| login.user), read_write) {
        (Some(UserType::SO), _) => CKS_RW_SO_FUNCTIONS,
        (Some(_), true) => CKS_RW_USER_FUNCTIONS,
        (Some(_), false) => CKS_RO_USER_FUNCTIONS,
        (None, true) => CKS_RW_PUBLIC_SESSION,
        (None, false) => CKS_RO_PUBLIC_SESSION,
    }
}

/// C_SessionCancel (PKCS#11 3.0, 5.6.10): ends what the flags name; operations that are not there are no error. A call
/// of another thread that waits returns `CKR_FUNCTION_CANCELED`.
pub(crate) fn cancel(instance: &Instance, session: CK_SESSION_HANDLE, flags: CK_FLAGS) -> Result<(), Rv> {
    let session = instance.session(session)?;
    session.cancel();
    let mut operations = lock(&session.operations);
    macro_rules! end {
        ($($flag:ident => $place:ident,)*) => {
            $(if flags & $flag != 0 {
                operations.$place = None;
            })*
        };
    }
    end! {
        CKF_DIGEST => digest,
        CKF_SIGN => sign,
        CKF_SIGN_RECOVER => sign_recover,
        CKF_VERIFY => verify,
        // The flag of both kinds of verification.
        CKF_VERIFY => verify_signature,
        CKF_VERIFY_RECOVER => verify_recover,
        CKF_ENCRYPT => encrypt,
        CKF_DECRYPT => decrypt,
        CKF_MESSAGE_ENCRYPT => message_encrypt,
        CKF_MESSAGE_DECRYPT => message_decrypt,
        CKF_MESSAGE_SIGN => message_sign,
        CKF_MESSAGE_VERIFY => message_verify,
        CKF_FIND_OBJECTS => search,
    }
    Ok(())
}
