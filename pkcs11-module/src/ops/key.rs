//! Keys in operations: the checks of Init, which need no round trip; what an operation with a key begins with; and the request
//! by which it reaches the key.

use super::attribute::{fetch, known};
use super::request::{Asker, output_with};
use super::{chain, iv, slot};
use crate::abi::mechanism::RawMechanism;
use crate::state::object::{Object, View};
use crate::state::operation::{Chain, KeyOperation, Work};
use crate::state::phase::Phase;
use crate::transport::Failure;
use cryptoki_sys::CK_OBJECT_HANDLE;
use hsmd_proto::ck::{AttributeType, MechanismType, Rv};
use hsmd_proto::convert::mechanism_to_wire;
use hsmd_proto::init::{self, Operation};
use hsmd_proto::mechanism::{Family, MultiPart, Row};
use hsmd_proto::meta::KeyMeta;
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::returns::{Function, late};
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::{self, request};
use std::sync::Arc;

/// Data from this length on, in bytes, is sent from where it lies; below, a copy costs less than a list of pieces.
const LENT: usize = 4_096;

/// A key that passed the checks of an Init, a wrap, an unwrap or a derive.
pub(crate) struct Admitted {
    pub(crate) operation: Operation,
    pub(crate) key: Arc<Object>,
    pub(crate) meta: KeyMeta,
    pub(crate) mechanism: Mechanism,
    pub(crate) row: &'static Row,
    /// The login that was there when the checks began.
    epoch: u64,
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
    let parsed = mechanism.parse()?;
    let made = iv::wanted(asker, operation, &parsed, mechanism)?;
    let mut admitted = admit_parsed(asker, operation, parsed, key, no_key)?;
    if made {
        iv::fill_in(asker, &mut admitted, mechanism)?;
    }
    Ok(admitted)
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
    let epoch = asker.slot.epoch();
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
        operation,
        key,
        meta,
        mechanism,
        row,
        epoch,
    })
}

/// What an operation begins with.
fn work(asker: Asker<'_>, admitted: &Admitted) -> Work {
    match admitted.row.multi_part {
        MultiPart::No => Work::Whole,
        MultiPart::Hash => Work::Hash(None),
        MultiPart::Collect => Work::Collect(WipingVec::new()),
        MultiPart::Blocks => begin_chain(asker, admitted).map_or_else(|| Work::Collect(WipingVec::new()), Work::Blocks),
    }
}

/// A chain of blocks; `None` where the key or the slot lacks the plain mechanism that a padded one is continued with.
fn begin_chain(asker: Asker<'_>, admitted: &Admitted) -> Option<Chain> {
    let Admitted {
        operation,
        mechanism,
        row,
        meta,
        ..
    } = admitted;
    let plain = Mechanism {
        kind: MechanismType::AES_CBC,
        params: mechanism.params.clone(),
    };
    if row.family == Family::AesCbcPad
        && (slot::row(asker.instance, asker.slot, plain.kind).is_err()
            || init::check(*operation, &plain, meta, asker.slot.policy(), true).is_err())
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
    /// An operation that begins.
    pub(crate) fn new(asker: Asker<'_>, admitted: Admitted) -> Self {
        let work = work(asker, &admitted);
        let Admitted {
            operation,
            key,
            meta,
            mechanism,
            row,
            epoch,
        } = admitted;
        Self {
            operation,
            phase: Phase::Ready,
            key,
            epoch: meta.private.then_some(epoch),
            meta,
            mechanism,
            row,
            work,
            kept: None,
            grant: None,
        }
    }

    /// Refuses to use a key that wants a PIN for each use and has had none.
    ///
    /// # Errors
    /// `CKR_USER_NOT_LOGGED_IN`; the operation ends.
    pub(crate) fn check_grant(&self) -> Result<(), Rv> {
        if self.meta.always_authenticate && self.grant.is_none() {
            Err(Rv::USER_NOT_LOGGED_IN)
        } else {
            Ok(())
        }
    }

    /// Sends data to the key and hands the result over where it lies. An operation reaches the daemon by this alone, but for
    /// verification, which has no result.
    ///
    /// # Errors
    /// Codes that the functions of a running operation may return; `CKR_DEVICE_ERROR` for a result that `take` refuses.
    pub(crate) fn ask<T>(
        &self,
        asker: Asker<'_>,
        op: fn(wire::Crypt) -> request::Op,
        (mechanism, data, digested): (&Mechanism, &[u8], bool),
        take: impl FnOnce(&[u8]) -> Result<T, Rv>,
    ) -> Result<T, Rv> {
        self.check_grant()?;
        let lent = if data.len() >= LENT { data } else { &[] };
        let result = asker
            .with_grant(self.grant.as_ref().map(|grant| grant.as_slice()))
            .lending(lent)
            .call(
                |writer| {
                    op(wire::Crypt {
                        key: Some(self.key.reference()),
                        mechanism: Some(mechanism_to_wire(mechanism)),
                        data: Some(if lent.is_empty() {
                            writer.hide(data)
                        } else {
                            writer.lend(lent.len())
                        }),
                        digested,
                    })
                },
                |result, sections| output_with(result, sections, |bytes| take(bytes).map_err(|_| Failure::Lost)),
            );
        result.map_err(|rv| late(Function::Use, rv))
    }
}
