//! C_GetOperationState, C_SetOperationState: operations leave a session as bytes and go on in another, of this application or
//! of the next, also after a restart of the daemon. The keys do not go along: the application names them again, and each passes
//! the checks of Init again.

use super::key::admit_parsed;
use super::request::Asker;
use super::sealed_digest;
use crate::abi::pointers::{RawInput, RawOut, Written};
use crate::local::Digest;
use crate::ops::chain::counters_left;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::operation::{DigestOperation, DigestState, KeyOperation, Operations, Running, Work};
use crate::state::phase::Phase;
use crate::state::saved::{Family, Saved, SavedDigest, SavedOperation, SavedWork};
use crate::state::session::Session;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::{MechanismType, Rv};
use hsmd_proto::init::Operation;
use hsmd_proto::mechanism::{Family as Row, digest_length};
use hsmd_proto::params::Params;
use hsmd_proto::wipe::WipingVec;

/// What a state has beside the data that was collected.
const BESIDE: usize = 1 << 21;

/// C_GetOperationState (PKCS#11 3.2, 5.6.6).
pub(crate) fn save(instance: &Instance, session: CK_SESSION_HANDLE, out: RawOut<'_>) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let out = out.get()?;
    let operations = lock(&session.operations);
    match out.put(&saved(&operations, Asker::session(instance, &session))?.encode()) {
        Written::TooSmall => Err(Rv::BUFFER_TOO_SMALL),
        _ => Ok(()),
    }
}

fn saved(operations: &Operations, asker: Asker<'_>) -> Result<Saved, Rv> {
    let mut all = Saved::default();
    if let Some(digest) = operations.digest.as_ref().filter(|digest| digest.alive(asker.slot)) {
        let parts = parts(digest.phase)?;
        let (sealed, state) = match &digest.state {
            DigestState::Open(digest) => {
                let state = digest.state().ok_or(Rv::STATE_UNSAVEABLE)?;
                (false, WipingVec::from(state.as_slice()))
            }
            DigestState::Sealed(sealed) => (true, sealed.settled(asker, digest.mechanism)?),
        };
        all.digest = Some(SavedDigest {
            hash: digest.mechanism.0,
            parts,
            sealed,
            state,
        });
    }
    for family in Family::ALL {
        let running = place_of(operations, family).filter(|running| running.alive(asker.slot));
        if let Some(running) = running {
            all.operations.push(one(running, family)?);
        }
    }
    let others = operations.sign_recover.is_some()
        || operations.verify_recover.is_some()
        || operations.verify_signature.is_some()
        || operations.message_sign.is_some()
        || operations.message_verify.is_some()
        || operations.message_encrypt.is_some()
        || operations.message_decrypt.is_some();
    match (all.digest.is_some() || !all.operations.is_empty(), others) {
        (_, true) => Err(Rv::STATE_UNSAVEABLE),
        (false, false) => Err(Rv::OPERATION_NOT_INITIALIZED),
        (true, false) => Ok(all),
    }
}

fn place_of(operations: &Operations, family: Family) -> Option<&KeyOperation> {
    match family {
        Family::Encrypt => operations.encrypt.as_ref(),
        Family::Decrypt => operations.decrypt.as_ref(),
        Family::Sign => operations.sign.as_ref(),
        Family::Verify => operations.verify.as_ref(),
    }
}

/// Whether data came in parts. A call that waits for a larger buffer is one to finish, not to save.
fn parts(phase: Phase) -> Result<bool, Rv> {
    match phase {
        Phase::Ready => Ok(false),
        Phase::Parts => Ok(true),
        Phase::Single | Phase::Finishing => Err(Rv::STATE_UNSAVEABLE),
    }
}

fn one(running: &KeyOperation, family: Family) -> Result<SavedOperation, Rv> {
    // The grant is for one operation on this session (DESIGN 5).
    if running.meta.always_authenticate || running.keeps() {
        return Err(Rv::STATE_UNSAVEABLE);
    }
    let work = match &running.work {
        Work::Whole => SavedWork::Whole,
        Work::Hash(None) => SavedWork::Hash(None),
        Work::Hash(Some(digest)) => {
            let state = digest.state().ok_or(Rv::STATE_UNSAVEABLE)?;
            SavedWork::Hash(Some(WipingVec::from(state.as_slice())))
        }
        Work::Collect(data) => SavedWork::Collect(WipingVec::from(data.as_slice())),
        Work::Blocks(chain) => SavedWork::Blocks(chain.duplicate()),
    };
    Ok(SavedOperation {
        family,
        key: running.key.id,
        parts: parts(running.phase)?,
        mechanism: running.mechanism.clone(),
        work,
    })
}

/// C_SetOperationState (PKCS#11 3.2, 5.6.7). The operations that the session had end, unless the state is refused.
pub(crate) fn restore(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    state: RawInput<'_>,
    (encryption, authentication): (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let state = state.not_null()?;
    if state.len() > instance.pool.max_data().saturating_add(BESIDE) {
        return Err(Rv::SAVED_STATE_INVALID);
    }
    let saved = Saved::decode(state).ok_or(Rv::SAVED_STATE_INVALID)?;
    let needs = |encryption| {
        let mut all = saved.operations.iter();
        all.any(|operation| operation.family.takes_encryption_key() == encryption)
    };
    for (key, needed) in [(encryption, needs(true)), (authentication, needs(false))] {
        match (key, needed) {
            (0, true) => return Err(Rv::KEY_NEEDED),
            (1.., false) => return Err(Rv::KEY_NOT_NEEDED),
            _ => {}
        }
    }
    let mut operations = lock(&session.operations);
    let mut restored = Operations {
        digest: saved
            .digest
            .map(|digest| restore_digest(instance, &session, digest))
            .transpose()?,
        ..Operations::default()
    };
    let asker = Asker::session(instance, &session);
    for operation in saved.operations {
        let family = operation.family;
        let key = if family.takes_encryption_key() {
            encryption
        } else {
            authentication
        };
        let running = restore_operation(asker, operation, key)?;
        let place = match family {
            Family::Encrypt => &mut restored.encrypt,
            Family::Decrypt => &mut restored.decrypt,
            Family::Sign => &mut restored.sign,
            Family::Verify => &mut restored.verify,
        };
        *place = Some(running);
    }
    restored.search = operations.search.take();
    *operations = restored;
    Ok(())
}

fn restore_digest(instance: &Instance, session: &Session, saved: SavedDigest) -> Result<DigestOperation, Rv> {
    let mechanism = MechanismType(saved.hash);
    super::slot::row(instance, &session.slot, mechanism).map_err(refused)?;
    let length = digest_length(mechanism).ok_or(Rv::SAVED_STATE_INVALID)?;
    let state = if saved.sealed {
        let restored = sealed_digest::restore(Asker::session(instance, session), mechanism, &saved.state);
        DigestState::Sealed(restored.map_err(refused)?)
    } else {
        DigestState::Open(Digest::resume(mechanism, &saved.state).ok_or(Rv::SAVED_STATE_INVALID)?)
    };
    Ok(DigestOperation {
        phase: if saved.parts { Phase::Parts } else { Phase::Ready },
        state,
        mechanism,
        length,
    })
}

fn restore_operation(asker: Asker<'_>, saved: SavedOperation, key: CK_OBJECT_HANDLE) -> Result<KeyOperation, Rv> {
    let operation = match saved.family {
        Family::Encrypt => Operation::Encrypt,
        Family::Decrypt => Operation::Decrypt,
        Family::Sign => Operation::Sign,
        Family::Verify => Operation::Verify,
    };
    let same = asker.slot.objects.get(key).is_some_and(|object| object.id == saved.key);
    if !same {
        return Err(Rv::KEY_CHANGED);
    }
    let admitted = admit_parsed(asker, operation, saved.mechanism, key, Rv::KEY_CHANGED).map_err(refused)?;
    let mut running = KeyOperation::new(asker, admitted);
    let fresh = std::mem::replace(&mut running.work, Work::Whole);
    running.work = restore_work(&running.mechanism.params, fresh, saved.work, running.row, asker)?;
    running.phase = if saved.parts { Phase::Parts } else { Phase::Ready };
    Ok(running)
}

/// The saved work, if it is of the kind that Init begins with.
fn restore_work(
    params: &Params,
    fresh: Work,
    saved: SavedWork,
    row: &hsmd_proto::mechanism::Row,
    asker: Asker<'_>,
) -> Result<Work, Rv> {
    let good = match (fresh, saved) {
        (Work::Whole, SavedWork::Whole) => Some(Work::Whole),
        (Work::Hash(_), SavedWork::Hash(None)) => Some(Work::Hash(None)),
        (Work::Hash(_), SavedWork::Hash(Some(state))) => row
            .hash
            .and_then(|hash| Digest::resume(hash, &state))
            .map(|digest| Work::Hash(Some(digest))),
        (Work::Collect(_), SavedWork::Collect(data)) if data.len() <= asker.instance.pool.max_data() => {
            Some(Work::Collect(data))
        }
        (Work::Blocks(_), SavedWork::Blocks(chain)) => {
            // CBC_PAD holds a whole block back when it decrypts; a stream holds nothing.
            let held = match row.family {
                Row::AesCtr => 0,
                Row::AesCbcPad => 16,
                _ => 15,
            };
            let counted = match params {
                Params::Ctr(start) => chain.left <= counters_left(start),
                _ => chain.used == 0 && chain.left == 0,
            };
            (counted && chain.pending.len() <= held).then_some(Work::Blocks(chain))
        }
        _ => None,
    };
    good.ok_or(Rv::SAVED_STATE_INVALID)
}

/// The codes that C_SetOperationState may return for what Init would have refused.
fn refused(rv: Rv) -> Rv {
    match rv {
        Rv::KEY_CHANGED
        | Rv::DEVICE_ERROR
        | Rv::DEVICE_REMOVED
        | Rv::DEVICE_MEMORY
        | Rv::FUNCTION_FAILED
        | Rv::GENERAL_ERROR
        | Rv::HOST_MEMORY
        | Rv::SESSION_CLOSED
        | Rv::CRYPTOKI_NOT_INITIALIZED => rv,
        _ => Rv::SAVED_STATE_INVALID,
    }
}
