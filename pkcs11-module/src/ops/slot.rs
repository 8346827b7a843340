//! C_GetSlotList, C_GetSlotInfo, C_GetMechanismList, C_GetMechanismInfo.

use super::general::{padded, version};
use super::request::Asker;
use crate::abi::pointers::{RawList, RawSlot};
use crate::state::instance::Instance;
use crate::state::slot::Slot;
use crate::transport::Failure;
use cryptoki_sys::{CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_SLOT_ID, CK_SLOT_INFO, CKF_TOKEN_PRESENT};
use hsmd_proto::ck::{MechanismType, Rv};
use hsmd_proto::mechanism::{self, Row, TABLE};
use hsmd_proto::wire::{self, reply, request};
use std::sync::Arc;

/// The most mechanisms that a daemon may list.
const MOST: usize = 4096;

/// C_GetSlotList. Only the call with NULL asks the daemon for new slots (PKCS#11 3.2, 5.5.1).
pub(crate) fn list(instance: &Instance, present: bool, out: &RawList<'_, CK_SLOT_ID>) -> Result<(), Rv> {
    out.check()?;
    let refreshed = if out.is_query() {
        instance.refresh_slots(true)
    } else {
        Ok(())
    };
    let slots = match refreshed.and_then(|()| instance.slots()) {
        Ok(slots) => slots,
        Err(Failure::Ended(rv)) => return Err(rv),
        // No daemon: what was listed last, and nothing if there never was one (DESIGN 5, "Daemon absent").
        Err(_) => instance.listed(),
    };
    let shown = slots.iter().filter(|slot| {
        let info = slot.info();
        // HAOnly: a write to a member's own slot would be no surprise here, but to its users it is.
        (!present || info.token_present) && (!instance.pool.ha_only() || info.r#virtual)
    });
    let ids: Vec<CK_SLOT_ID> = shown.map(|slot| CK_SLOT_ID::from(slot.id.0)).collect();
    out.put(&ids)
}

/// C_GetSlotInfo. Without a daemon there are no slots: the function has no other code for it (5.5.2).
pub(crate) fn info(instance: &Instance, slot: CK_SLOT_ID, out: &RawSlot<'_, CK_SLOT_INFO>) -> Result<(), Rv> {
    let slot = instance.slot(slot).map_err(|rv| match rv {
        Rv::TOKEN_NOT_PRESENT => Rv::SLOT_ID_INVALID,
        other => other,
    })?;
    out.check()?;
    let info = slot.info();
    let present = if info.token_present { CKF_TOKEN_PRESENT } else { 0 };
    out.set(CK_SLOT_INFO {
        slotDescription: padded(&info.description),
        manufacturerID: padded(&info.manufacturer),
        // No CKF_REMOVABLE_DEVICE, although a suspended HSM takes its token away: NSS and Java would poll.
        flags: present,
        hardwareVersion: version(),
        firmwareVersion: version(),
    })
}

/// C_GetMechanismList.
pub(crate) fn mechanisms(
    instance: &Instance,
    slot: CK_SLOT_ID,
    out: &RawList<'_, CK_MECHANISM_TYPE>,
) -> Result<(), Rv> {
    let slot = instance.slot(slot)?;
    out.check()?;
    let types = available(instance, &slot)?;
    let list: Vec<CK_MECHANISM_TYPE> = types.iter().map(|kind| kind.0).collect();
    out.put(&list)
}

/// C_GetMechanismInfo.
pub(crate) fn mechanism_info(
    instance: &Instance,
    slot: CK_SLOT_ID,
    kind: CK_MECHANISM_TYPE,
    out: &RawSlot<'_, CK_MECHANISM_INFO>,
) -> Result<(), Rv> {
    let slot = instance.slot(slot)?;
    out.check()?;
    let row = row(instance, &slot, MechanismType(kind))?;
    out.set(CK_MECHANISM_INFO {
        ulMinKeySize: row.min_under(slot.policy()),
        ulMaxKeySize: row.max,
        flags: row.flags_under(slot.policy()),
    })
}

/// The mechanisms of a slot: the table's rows that policy and daemon have, fetched once.
///
/// # Errors
/// `CKR_TOKEN_NOT_PRESENT`, `CKR_DEVICE_ERROR`.
pub(crate) fn available(instance: &Instance, slot: &Arc<Slot>) -> Result<Arc<[MechanismType]>, Rv> {
    if let Some(known) = slot.mechanisms() {
        return Ok(known);
    }
    if !slot.info().token_present {
        // A token that was away when the daemon was asked last may be back: an operation goes on without C_GetSlotList. If
        // nobody answers, it is still away.
        let _ = instance.refresh_slots(false);
        if !slot.info().token_present {
            return Err(Rv::TOKEN_NOT_PRESENT);
        }
    }
    let types = Asker::slot(instance, slot).call(
        |_| request::Op::ListMechanisms(wire::ListMechanisms {}),
        |result, _| match result {
            Some(reply::Result::Mechanisms(list)) if list.types.len() <= MOST => Ok(list.types),
            _ => Err(Failure::Lost),
        },
    )?;
    let policy = slot.policy();
    let rows = TABLE
        .iter()
        .filter(|row| row.allowed(policy) && types.contains(&row.mechanism.0));
    let list: Arc<[MechanismType]> = rows.map(|row| row.mechanism).collect();
    slot.set_mechanisms(Arc::clone(&list));
    Ok(list)
}

/// The row of a mechanism that this slot has.
///
/// # Errors
/// `CKR_MECHANISM_INVALID`, and as [`available`].
pub(crate) fn row(instance: &Instance, slot: &Arc<Slot>, kind: MechanismType) -> Result<&'static Row, Rv> {
    if !available(instance, slot)?.contains(&kind) {
        return Err(Rv::MECHANISM_INVALID);
    }
    mechanism::row(kind).ok_or(Rv::MECHANISM_INVALID)
}
