//! C_Login, C_LoginUser, C_Logout. Login state is one per slot and process, and lives here (DESIGN 5, "Login state").

use super::request::{Asker, nothing};
use super::token::pin;
use crate::abi::pointers::RawInput;
use crate::local;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::operation::{KeyOperation, Operations, Running};
use crate::state::phase::Phase;
use crate::state::session::Session;
use crate::state::slot::{Login, Slot};
use crate::transport::Failure;
use cryptoki_sys::{CK_SESSION_HANDLE, CK_USER_TYPE};
use hsmd_proto::ck::{Rv, UserType};
use hsmd_proto::convert::mechanism_to_wire;
use hsmd_proto::init::Operation;
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::{self, reply, request};

/// C_Login (PKCS#11 3.2, 5.6.8).
pub(crate) fn login(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin_given: RawInput<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let user = UserType(user);
    if user != UserType::SO && user != UserType::CONTEXT_SPECIFIC && !user.uses_keys() {
        return Err(Rv::USER_TYPE_INVALID);
    }
    if user == UserType::CONTEXT_SPECIFIC {
        return context_specific(instance, &session, pin_given);
    }
    let pin = tried(pin_given)?;
    let slot = &session.slot;
    // Held over the round trip: of two logins at once the second finds the first one's result.
    let gate = lock(&slot.gate);
    if let Some(login) = slot.login() {
        return Err(if login.user == user {
            Rv::USER_ALREADY_LOGGED_IN
        } else {
            Rv::USER_ANOTHER_ALREADY_LOGGED_IN
        });
    }
    if user == UserType::SO && gate.read_only > 0 {
        return Err(Rv::SESSION_READ_ONLY_EXISTS);
    }
    let (ticket, key_set) = ask(Asker::session(instance, &session), user, pin, None)?;
    let ticket = ticket.ok_or(Rv::DEVICE_ERROR)?;
    let known = slot.info().token.as_ref().map(|token| token.key_set.clone());
    if !key_set.is_empty() && known.is_some_and(|known| known != key_set) {
        // The partition has joined a group: its token is another one. If the daemon is away just now, the next question
        // tells, and ends this login.
        let _ = instance.refresh_slots(false);
    }
    // A session that was closed meanwhile may have been the last.
    if session.ended().is_some() {
        return Err(Rv::SESSION_CLOSED);
    }
    slot.logged_in(Login { user, ticket });
    Ok(())
}

/// The PIN that is tried. One that is longer than any can be is wrong: these functions have no other code for it.
fn tried(given: RawInput<'_>) -> Result<&[u8], Rv> {
    pin(given).map_err(|rv| match rv {
        Rv::PIN_LEN_RANGE => Rv::PIN_INCORRECT,
        other => other,
    })
}

/// Sends a PIN and reads the ticket, and whose token it is for. The same attempt repeated after a lost reply counts once.
fn ask(
    asker: Asker<'_>,
    user: UserType,
    pin: &[u8],
    purpose: Option<&wire::Purpose>,
) -> Result<(Option<WipingVec>, Vec<u8>), Rv> {
    let attempt: [u8; 16] = local::random();
    asker.call(
        |writer| {
            request::Op::Login(wire::Login {
                user: user.0,
                pin: Some(writer.hide(pin)),
                attempt: attempt.to_vec(),
                purpose: purpose.cloned(),
            })
        },
        |result, sections| match result {
            Some(reply::Result::Login(login)) => {
                let ticket = sections.get_opt(login.ticket.as_ref()).map_err(|_| Failure::Lost)?;
                Ok((ticket.map(WipingVec::from), login.key_set))
            }
            _ => Err(Failure::Lost),
        },
    )
}

/// CKU_CONTEXT_SPECIFIC: between an Init on a key with CKA_ALWAYS_AUTHENTICATE and its first data; one operation each.
fn context_specific(instance: &Instance, session: &Session, pin_given: RawInput<'_>) -> Result<(), Rv> {
    let pin = tried(pin_given)?;
    let mut operations = lock(&session.operations);
    let operation = waiting(&mut operations, &session.slot).ok_or(Rv::OPERATION_NOT_INITIALIZED)?;
    let purpose = wire::Purpose {
        operation: kind(operation.operation).into(),
        key: Some(operation.key.reference()),
        mechanism: Some(mechanism_to_wire(&operation.mechanism)),
    };
    let asker = Asker::session(instance, session);
    let granted = ask(asker.binding(), UserType::CONTEXT_SPECIFIC, pin, Some(&purpose));
    if granted.as_ref().is_err_and(|rv| *rv == Rv::PIN_LOCKED) {
        // It also logs the user out (PKCS#11 3.2, 4.10).
        session.slot.logged_out();
    }
    operation.grant = Some(granted?.0.ok_or(Rv::DEVICE_ERROR)?);
    Ok(())
}

/// What the daemon calls an operation with a private key.
const fn kind(operation: Operation) -> wire::purpose::Operation {
    match operation {
        Operation::Sign => wire::purpose::Operation::Sign,
        Operation::Decrypt => wire::purpose::Operation::Decrypt,
        Operation::SignRecover => wire::purpose::Operation::SignRecover,
        _ => wire::purpose::Operation::None,
    }
}

/// The operation that waits for a context-specific login: of those that use private keys.
fn waiting<'a>(operations: &'a mut Operations, slot: &Slot) -> Option<&'a mut KeyOperation> {
    let all = [
        &mut operations.sign,
        &mut operations.decrypt,
        &mut operations.sign_recover,
        &mut operations.message_sign,
    ];
    all.into_iter().flatten().find(|operation| {
        operation.meta.always_authenticate
            && operation.grant.is_none()
            && matches!(operation.phase, Phase::Ready | Phase::Single)
            && operation.alive(slot)
    })
}

/// The users of a token by name, as C_LoginUser takes them.
const NAMES: [(&[u8], UserType, UserType); 6] = [
    (b"so", UserType::SO, UserType::SO),
    (b"co", UserType::USER, UserType::USER),
    (b"crypto-officer", UserType::USER, UserType::USER),
    (b"user", UserType::USER, UserType::USER),
    (b"cu", UserType::USER, UserType::CRYPTO_USER),
    (b"crypto-user", UserType::USER, UserType::CRYPTO_USER),
];

/// C_LoginUser (PKCS#11 3.2, 5.6.9): who a name means, of those that log in as this type. Without a name it is C_Login.
pub(crate) fn login_user(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: RawInput<'_>,
    name: RawInput<'_>,
) -> Result<(), Rv> {
    instance.session(session)?;
    let name = name.get()?;
    if name.is_empty() || UserType(user) == UserType::CONTEXT_SPECIFIC {
        return login(instance, session, user, pin);
    }
    let meant = NAMES
        .iter()
        .find(|(known, as_type, who)| *known == name && (as_type.0 == user || who.0 == user));
    let (_, _, who) = meant.ok_or(Rv::USER_TYPE_INVALID)?;
    login(instance, session, who.0, pin)
}

/// C_Logout (PKCS#11 3.2, 5.6.10).
pub(crate) fn logout(instance: &Instance, session: CK_SESSION_HANDLE) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let _gate = lock(&session.slot.gate);
    if leave(Asker::session(instance, &session)) {
        Ok(())
    } else {
        Err(Rv::USER_NOT_LOGGED_IN)
    }
}

/// Logs out here whatever the daemon says, and tells it. `false` when nobody was logged in. The caller holds the gate.
pub(crate) fn leave(asker: Asker<'_>) -> bool {
    let Some(login) = asker.slot.logged_out() else {
        return false;
    };
    // The record in the store ends at once if the daemon is there, else by its age: no waiting for one that is not.
    let asker = asker.with_ticket(&login.ticket).without_waiting();
    let _ = asker.call(|_| request::Op::Logout(wire::Logout {}), nothing);
    true
}
