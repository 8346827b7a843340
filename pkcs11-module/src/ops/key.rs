//! What the functions of encryption, decryption, signing and verification have in common: where a session keeps the
//! operation, how a call enters it, and the checks of Init, which need no round trip.

use super::attribute::{fetch, known};
use super::request::Asker;
use super::{chain, slot};
use crate::abi::mechanism::RawMechanism;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::object::{Object, View};
use crate::state::operation::{Chain, KeyOperation, Operations, Outcome, Running, Work, or_end, run};
use crate::state::phase::{Phase, Step};
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::{AttributeType, MechanismType, Rv};
use hsmd_proto::init::{self, Operation};
use hsmd_proto::mechanism::{Family, MultiPart, Row};
use hsmd_proto::meta::KeyMeta;
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::wipe::WipingVec;
use std::sync::Arc;

/// A key that passed the checks of an Init, a wrap, an unwrap or a derive.
pub(crate) struct Admitted {
    pub(crate) key: Arc<Object>,
    pub(crate) meta: KeyMeta,
    pub(crate) mechanism: Mechanism,
    pub(crate) row: &'static Row,
}

/// Where a session keeps the operation of a function family.
pub(crate) type Place = fn(&mut Operations) -> &mut Option<KeyOperation>;

/// C_EncryptInit, C_DecryptInit, C_SignInit, C_VerifyInit.
///
/// # Errors
/// The code of the Init function.
pub(crate) fn init(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    (place, operation): (Place, Operation),
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let mut operations = lock(&session.operations);
    begin(
        Asker::session(instance, &session),
        place(&mut operations),
        operation,
        mechanism,
        key,
    )
}

/// One call of an operation that goes on: session, arguments, then the work. A bad argument ends the operation.
///
/// # Errors
/// The code of the function.
pub(crate) fn step<A>(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    (place, step): (Place, Step),
    arguments: Result<A, Rv>,
    work: impl FnOnce(Asker<'_>, &mut KeyOperation, A) -> Result<Outcome, Rv>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let mut operations = lock(&session.operations);
    let place = place(&mut operations);
    let arguments = or_end(place, arguments)?;
    run(place, &session.slot, step, |operation| {
        work(Asker::session(instance, &session), operation, arguments)
    })
}

/// Begins an operation, or ends the one in progress when there is no mechanism (PKCS#11 3.0, 5.8.1 and others).
///
/// # Errors
/// The code of the Init function.
fn begin(
    asker: Asker<'_>,
    place: &mut Option<KeyOperation>,
    operation: Operation,
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
) -> Result<(), Rv> {
    let active = place.as_ref().is_some_and(|running| running.alive(asker.slot));
    if mechanism.is_null() {
        *place = None;
        return if active { Ok(()) } else { Err(Rv::ARGUMENTS_BAD) };
    }
    if active {
        return Err(Rv::OPERATION_ACTIVE);
    }
    *place = None;
    let epoch = asker.slot.epoch();
    let admitted = admit(asker, operation, mechanism, key, Rv::KEY_HANDLE_INVALID)?;
    let work = work(asker, operation, &admitted);
    *place = Some(KeyOperation::new(admitted, epoch, work));
    Ok(())
}

/// The checks in the order of the design. `no_key` is the code for a handle that is no key.
///
/// # Errors
/// As C_XxxInit, C_WrapKey, C_UnwrapKey, C_DeriveKey.
pub(crate) fn admit(
    asker: Asker<'_>,
    operation: Operation,
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
    no_key: Rv,
) -> Result<Admitted, Rv> {
    admit_parsed(asker, operation, mechanism.parse()?, key, no_key)
}

/// [`admit`] with a mechanism that is in hand.
///
/// # Errors
/// As [`admit`].
pub(crate) fn admit_parsed(
    asker: Asker<'_>,
    operation: Operation,
    mechanism: Mechanism,
    key: CK_OBJECT_HANDLE,
    no_key: Rv,
) -> Result<Admitted, Rv> {
    slot::row(asker.instance, asker.slot, mechanism.kind)?;
    let policy = asker.slot.policy();
    init::check_mechanism(operation, &mechanism, policy)?;
    let key = asker.slot.objects.get(key).ok_or(no_key)?;
    let gone = |rv| if rv == Rv::OBJECT_HANDLE_INVALID { no_key } else { rv };
    let mut view = known(asker, &key).map_err(gone)?;
    let check = |view: &View| -> Result<(KeyMeta, &'static Row), Rv> {
        let mut meta = view.meta.clone().ok_or(no_key)?;
        meta.wrapping |= key.is_wrapping();
        let row = init::check(operation, &mechanism, &meta, policy, asker.slot.user_logged_in())?;
        Ok((meta, row))
    };
    let mut checked = check(&view);
    // Another application may have changed the key since: what is old is asked for again before it is refused.
    if checked.is_err() && !view.serves(AttributeType::LABEL) {
        view = fetch(asker, &key, 1).map_err(gone)?;
        checked = check(&view);
    }
    let (meta, row) = checked?;
    Ok(Admitted {
        key,
        meta,
        mechanism,
        row,
    })
}

/// What an operation begins with.
pub(crate) fn work(asker: Asker<'_>, operation: Operation, admitted: &Admitted) -> Work {
    let Admitted {
        mechanism, row, meta, ..
    } = admitted;
    match row.multi_part {
        MultiPart::No => Work::Whole,
        MultiPart::Hash => Work::Hash(None),
        MultiPart::Collect => Work::Collect(WipingVec::new()),
        MultiPart::Blocks => begin_chain(asker, operation, mechanism, row, meta)
            .map_or_else(|| Work::Collect(WipingVec::new()), Work::Blocks),
    }
}

/// A chain of blocks; `None` where the key or the slot lacks the plain mechanism that a padded one is continued with.
fn begin_chain(
    asker: Asker<'_>,
    operation: Operation,
    mechanism: &Mechanism,
    row: &Row,
    meta: &KeyMeta,
) -> Option<Chain> {
    let plain = Mechanism {
        kind: MechanismType::AES_CBC,
        params: mechanism.params.clone(),
    };
    if row.family == Family::AesCbcPad
        && (slot::row(asker.instance, asker.slot, plain.kind).is_err()
            || init::check(operation, &plain, meta, asker.slot.policy(), true).is_err())
    {
        return None;
    }
    let (block, left) = match &mechanism.params {
        Params::Iv(iv) => (iv.as_slice().try_into().ok()?, 0),
        Params::Ctr(ctr) => (ctr.block, chain::counters_left(ctr)),
        // ECB keeps nothing but the block that is not full yet.
        Params::None => ([0; 16], 0),
        _ => return None,
    };
    Some(Chain {
        block,
        pending: WipingVec::new(),
        used: 0,
        left,
    })
}

impl KeyOperation {
    /// An operation that begins under the login of `epoch`.
    pub(crate) fn new(admitted: Admitted, epoch: u64, work: Work) -> Self {
        let Admitted {
            key,
            meta,
            mechanism,
            row,
        } = admitted;
        Self {
            phase: Phase::Ready,
            key,
            epoch: meta.private.then_some(epoch),
            meta,
            mechanism,
            row,
            work,
            kept: None,
            authenticated: false,
            grant: None,
        }
    }

    /// Refuses to use a key that wants a PIN for each use and has had none.
    ///
    /// # Errors
    /// `CKR_USER_NOT_LOGGED_IN`; the operation ends.
    pub(crate) fn check_grant(&self) -> Result<(), Rv> {
        if self.meta.always_authenticate && !self.authenticated {
            Err(Rv::USER_NOT_LOGGED_IN)
        } else {
            Ok(())
        }
    }
}
