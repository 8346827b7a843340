//! C_GetTokenInfo, C_InitToken, C_InitPIN, C_SetPIN.

use super::general::{padded, version};
use super::request::{Asker, nothing};
use crate::abi::pointers::{RawInput, RawSlot};
use crate::abi::template::UNAVAILABLE;
use crate::local;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::transport::Failure;
use cryptoki_sys::{CK_SESSION_HANDLE, CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG};
use hsmd_proto::ck::{Rv, UserType};
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::{self, reply, request};

/// No PIN is longer: what is, is not sent.
const LONGEST_PIN: usize = 4096;

/// C_GetTokenInfo. Asked from the daemon each time: PIN flags change with every try.
pub(crate) fn info(instance: &Instance, slot: CK_SLOT_ID, out: &RawSlot<'_, CK_TOKEN_INFO>) -> Result<(), Rv> {
    let slot = instance.slot(slot)?;
    out.check()?;
    // A daemon that is away does not take the token away: what it told last is shown.
    if let Err(Failure::Ended(rv)) = instance.refresh_slots(false) {
        return Err(rv);
    }
    let info = slot.info();
    let token = info
        .token
        .as_ref()
        .filter(|_| info.token_present)
        .ok_or(Rv::TOKEN_NOT_PRESENT)?;
    let gate = *lock(&slot.gate);
    let (memory, free) = match token.memory {
        0 => (UNAVAILABLE, UNAVAILABLE),
        memory => (CK_ULONG::from(memory), CK_ULONG::from(token.free_memory)),
    };
    out.set(CK_TOKEN_INFO {
        label: padded(&token.label),
        manufacturerID: padded(&token.manufacturer),
        model: padded(&token.model),
        serialNumber: padded(&token.serial),
        flags: token.flags,
        // CK_EFFECTIVELY_INFINITE (PKCS#11 3.2, 3.2).
        ulMaxSessionCount: 0,
        ulSessionCount: gate.read_only + gate.read_write,
        ulMaxRwSessionCount: 0,
        ulRwSessionCount: gate.read_write,
        ulMaxPinLen: CK_ULONG::from(token.max_pin),
        ulMinPinLen: CK_ULONG::from(token.min_pin),
        // Public and private objects share one quota.
        ulTotalPublicMemory: memory,
        ulFreePublicMemory: free,
        ulTotalPrivateMemory: memory,
        ulFreePrivateMemory: free,
        hardwareVersion: version(),
        firmwareVersion: version(),
        // No CKF_CLOCK_ON_TOKEN.
        utcTime: [b' '; 16],
    })
}

/// A PIN as the caller gave it. NULL asks for a PIN pad, which no token has.
///
/// # Errors
/// `CKR_ARGUMENTS_BAD`, `CKR_PIN_LEN_RANGE`.
pub(crate) fn pin<'a>(raw: RawInput<'a>) -> Result<&'a [u8], Rv> {
    let pin = raw.not_null()?;
    if pin.len() > LONGEST_PIN {
        Err(Rv::PIN_LEN_RANGE)
    } else {
        Ok(pin)
    }
}

/// C_InitToken: initialises or initialises again (PKCS#11 3.2, 5.5.7). The slot stays, what was on it is gone.
pub(crate) fn init_token(
    instance: &Instance,
    slot: CK_SLOT_ID,
    so_pin: RawInput<'_>,
    label: RawInput<'_>,
) -> Result<(), Rv> {
    let slot = instance.slot(slot)?;
    let so_pin = pin(so_pin)?;
    let label = label.get()?;
    if !slot.info().token_present {
        return Err(Rv::TOKEN_NOT_PRESENT);
    }
    // Held to the end: no session opens meanwhile. Other applications' sessions do not count (DESIGN 5).
    let gate = lock(&slot.gate);
    if gate.read_only + gate.read_write > 0 {
        return Err(Rv::SESSION_EXISTS);
    }
    let operation: [u8; 16] = local::random();
    Asker::slot(instance, &slot).call(
        |writer| {
            request::Op::InitToken(wire::InitToken {
                so_pin: Some(writer.hide(so_pin)),
                label: label.to_vec(),
                operation: operation.to_vec(),
            })
        },
        nothing,
    )?;
    slot.logged_out();
    slot.objects.remove_if(|_| true);
    // What is known of the token is old now; if the daemon went away just then, the next question asks again.
    let _ = instance.refresh_slots(false);
    Ok(())
}

/// C_InitPIN: the SO sets the user's PIN (PKCS#11 3.2, 5.5.8).
pub(crate) fn init_pin(instance: &Instance, session: CK_SESSION_HANDLE, new: RawInput<'_>) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let new = pin(new)?;
    if !session.read_write {
        return Err(Rv::SESSION_READ_ONLY);
    }
    if session.slot.login().is_none_or(|login| login.user != UserType::SO) {
        return Err(Rv::USER_NOT_LOGGED_IN);
    }
    let operation: [u8; 16] = local::random();
    Asker::session(instance, &session).call(
        |writer| {
            request::Op::InitPin(wire::InitPin {
                pin: Some(writer.hide(new)),
                operation: operation.to_vec(),
            })
        },
        nothing,
    )
}

/// C_SetPIN: of whoever is logged in, and of the user when nobody is (PKCS#11 3.2, 5.5.9). All logins stay.
pub(crate) fn set_pin(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    old: RawInput<'_>,
    new: RawInput<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let (old, new) = (pin(old)?, pin(new)?);
    if !session.read_write {
        return Err(Rv::SESSION_READ_ONLY);
    }
    let operation: [u8; 16] = local::random();
    let renewed = Asker::session(instance, &session).call(
        |writer| {
            request::Op::SetPin(wire::SetPin {
                old_pin: Some(writer.hide(old)),
                new_pin: Some(writer.hide(new)),
                operation: operation.to_vec(),
            })
        },
        |result, sections| match result {
            Some(reply::Result::Login(login)) => {
                let ticket = sections.get_opt(login.ticket.as_ref()).map_err(|_| Failure::Lost)?;
                Ok(ticket.map(WipingVec::from))
            }
            _ => Ok(None),
        },
    )?;
    if let Some(ticket) = renewed {
        session.slot.renew(ticket);
    }
    Ok(())
}
