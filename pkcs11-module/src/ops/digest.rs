//! C_DigestInit, C_Digest, C_DigestUpdate, C_DigestKey, C_DigestFinal: in this process, until C_DigestKey adds a key whose value
//! may not be read. Such a digest goes on at the daemon, and its state is here sealed (`sealed_digest.rs`).

use super::crypt::{Length, check_length};
use super::family::{Place, begin, step, steps};
use super::request::Asker;
use super::{attribute, sealed_digest, slot};
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{OutBuf, RawInput, RawOut};
use crate::local::Digest;
use crate::state::instance::Instance;
use crate::state::operation::{DigestOperation, DigestState, Outcome};
use crate::state::phase::{Phase, Step};
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::{ObjectClass, Rv};
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
            state: DigestState::Open(Digest::new(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?),
            length: digest_length(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?,
        })
    })
}

steps! { PLACE;
    /// C_Digest.
    single(Single, data: RawInput<'_>, out: RawOut<'_>) => |asker, operation, (data, out)| {
        if let Some(refused) = out.refuse(operation.length) {
            return Ok(refused.into());
        }
        add(asker, operation, data)?;
        last(asker, operation, &out)
    };
    /// C_DigestUpdate.
    update(Update, data: RawInput<'_>) => add;
    /// C_DigestFinal.
    finish(Final, out: RawOut<'_>) => |asker, operation, out| last(asker, operation, &out);
}

/// Takes a part in.
pub(crate) fn add(asker: Asker<'_>, operation: &mut DigestOperation, data: &[u8]) -> Result<Outcome, Rv> {
    match &mut operation.state {
        DigestState::Open(digest) => digest.update(data),
        DigestState::Sealed(sealed) => sealed.add(asker, operation.mechanism, data)?,
    }
    Ok(Outcome::Open)
}

fn last(asker: Asker<'_>, operation: &DigestOperation, out: &OutBuf<'_>) -> Result<Outcome, Rv> {
    if let Some(refused) = out.refuse(operation.length) {
        return Ok(refused.into());
    }
    let digest = match &operation.state {
        DigestState::Open(digest) => digest.clone().finish(),
        DigestState::Sealed(sealed) => sealed.finish(asker, operation.mechanism)?,
    };
    // Neither an engine that failed nor a daemon that answers something else is believed.
    check_length(&digest, Length::Exact(operation.length))?;
    Ok(out.put(&digest).into())
}

/// C_DigestKey (PKCS#11 3.2, 5.12.4), of secret keys. One whose value may be read is added here, another on the daemon: then the
/// state is never in this process in clear (INV-1).
pub(crate) fn key(instance: &Instance, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<(), Rv> {
    step(instance, session, (PLACE, Step::Update), (), |asker, operation, ()| {
        let key = asker.slot.objects.get(key).ok_or(Rv::KEY_HANDLE_INVALID)?;
        let gone = |rv| match rv {
            Rv::OBJECT_HANDLE_INVALID => Rv::KEY_HANDLE_INVALID,
            other => other,
        };
        let view = attribute::known(asker, &key).map_err(gone)?;
        let meta = view.meta.as_ref().ok_or(Rv::KEY_HANDLE_INVALID)?;
        let allowed = meta
            .allowed
            .as_ref()
            .is_none_or(|list| list.contains(&operation.mechanism));
        if meta.class != ObjectClass::SECRET_KEY || meta.wrapping || key.is_wrapping() || !allowed {
            return Err(Rv::KEY_INDIGESTIBLE);
        }
        if let DigestState::Open(digest) = &mut operation.state {
            match attribute::secret_value(asker, &key) {
                Ok(value) => {
                    digest.update(&value);
                    return Ok(Outcome::Open);
                }
                Err(Rv::ATTRIBUTE_SENSITIVE) => {}
                Err(rv) => return Err(gone(rv)),
            }
        }
        sealed_digest::absorb(asker, operation, key, meta.private)?;
        Ok(Outcome::Open)
    })
}
