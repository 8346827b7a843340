//! Slots and tokens: C_GetSlotList, C_GetSlotInfo, C_GetTokenInfo, C_GetMechanismList, C_InitToken.

use super::call::{Answer, Call, operation_id};
use crate::node::Node;
use crate::slots::Slot;
use hsmd_proto::ck::Rv;
use hsmd_proto::mechanism::TABLE;
use hsmd_proto::policy::Policy;
use hsmd_proto::wire::{self, reply};

const MANUFACTURER: &str = "hsmd";
/// The description of a group's slot, as Luna clients know it.
const VIRTUAL: &str = "HA Virtual Card Slot";

pub(super) fn list_slots(call: &Call<'_>) -> Answer {
    let slots = call.node.slots.list(call.peer);
    Ok(Some(reply::Result::Slots(wire::SlotList {
        slots: slots.iter().map(|slot| describe(call.node, slot)).collect(),
    })))
}

/// The token's model: applications and their logs show where keys are protected otherwise than usual (DESIGN 8, 9). CK_TOKEN_INFO
/// has no other place for a policy: its flags are the specification's, label and serial the owner's.
const fn model(dev: bool, policy: Policy) -> &'static str {
    match (dev, policy) {
        (true, Policy::Legacy) => "hsmd dev legacy",
        (true, Policy::Standard) => "hsmd dev",
        (true, Policy::Strict) => "hsmd dev strict",
        (true, Policy::Fips) => "hsmd dev fips",
        (false, Policy::Legacy) => "hsmd legacy",
        (false, Policy::Standard) => "hsmd",
        (false, Policy::Strict) => "hsmd strict",
        (false, Policy::Fips) => "hsmd fips",
    }
}

fn describe(node: &Node, slot: &Slot) -> wire::Slot {
    let key_set = slot.key_set.as_ref();
    let (memory, used) = key_set.map_or((0, 0), |key_set| (key_set.quota().bytes, key_set.used().bytes));
    let token = slot.token().map(|state| wire::Token {
        label: String::from_utf8_lossy(&state.label)
            .trim_end_matches([' ', '\0'])
            .to_owned(),
        manufacturer: MANUFACTURER.into(),
        model: model(node.keystore.dev(), state.policy).into(),
        serial: slot.serial.clone(),
        flags: state.flags,
        min_pin: node.config.pin.min_length as u32,
        max_pin: node.config.pin.max_length as u32,
        policy: state.policy.name().into(),
        key_set: slot
            .key_set
            .as_ref()
            .map(|key_set| key_set.id().0.to_vec())
            .unwrap_or_default(),
        incarnation: state.incarnation,
        memory,
        free_memory: memory.saturating_sub(used),
    });
    wire::Slot {
        id: slot.id.0,
        description: match slot.is_virtual() {
            true => VIRTUAL.into(),
            false => format!("hsmd {} partition-{}", slot.hsm, slot.serial),
        },
        manufacturer: MANUFACTURER.into(),
        token_present: token.is_some(),
        token,
        r#virtual: slot.is_virtual(),
    }
}

pub(super) fn list_mechanisms(call: &Call<'_>) -> Answer {
    let policy = call.slot()?.policy;
    let types = TABLE
        .iter()
        .filter(|row| row.allowed(policy))
        .map(|row| row.mechanism.0)
        .collect();
    Ok(Some(reply::Result::Mechanisms(wire::MechanismList { types })))
}

pub(super) fn init_token(call: &Call<'_>, request: &wire::InitToken) -> Answer {
    // What the slot refers to stays until the token is made: groups and deletions look whether there is one (INV-2).
    let _steady = call.node.model.steady();
    let slot = call.slot()?;
    let pin = call.section(request.so_pin.as_ref())?;
    let label: &[u8; 32] = request.label.as_slice().try_into().map_err(|_| Rv::ARGUMENTS_BAD)?;
    let operation = operation_id(&request.operation)?;
    call.key_set()?
        .init_token(&call.context.caller, pin, label, operation)?;
    if slot.free {
        // The token is initialised whatever becomes of the next free slot; at the next start it is offered anyway.
        if let Err(error) = call.node.model.taken(slot.id) {
            tracing::warn!(slot = slot.id.0, %error, "no new free slot");
        }
    }
    Ok(None)
}
