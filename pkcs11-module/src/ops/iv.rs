//! IVs that the daemon makes, under policies that take no others: one round trip at C_EncryptInit, for a wrap, or for a message that
//! asks for one. How it reaches the caller: C_EncryptInit and C_WrapKey write it where CK_GCM_PARAMS.pIv points (of CCM and
//! ChaCha20-Poly1305: pNonce), twelve bytes of zeros before (docs/decisions/0013); C_EncryptMessage and C_WrapKeyAuthenticated where
//! CK_GCM_MESSAGE_PARAMS.pIv points.

use super::key::Admitted;
use super::request::{Asker, output};
use crate::abi::mechanism::RawMechanism;
use crate::abi::message::GcmMessage;
use cryptoki_sys::{CKG_GENERATE, CKG_GENERATE_RANDOM};
use hsmd_proto::ck::Rv;
use hsmd_proto::convert::mechanism_to_wire;
use hsmd_proto::init::{MADE_IV, Operation};
use hsmd_proto::params::Mechanism;
use hsmd_proto::wire::{self, request};

/// Whether the daemon makes the IV, and the caller left it to it, with room for it.
///
/// # Errors
/// `CKR_MECHANISM_PARAM_INVALID` for an IV that the caller chose, and for one that stands in memory that cannot be written.
pub(crate) fn wanted(
    asker: Asker<'_>,
    operation: Operation,
    parsed: &Mechanism,
    mechanism: &RawMechanism<'_>,
) -> Result<bool, Rv> {
    let makes =
        asker.slot.policy().makes_ivs() && matches!(operation, Operation::Encrypt | Operation::Sign | Operation::Wrap);
    match parsed.params.nonce() {
        Some(nonce) if makes && nonce == [0; MADE_IV] && mechanism.has_room_for_iv(MADE_IV) => Ok(true),
        Some(_) if makes => Err(Rv::MECHANISM_PARAM_INVALID),
        _ => Ok(false),
    }
}

/// Whether a message asks for an IV as the daemon makes them: all of it, twelve bytes.
pub(crate) fn asked_for(parameter: &GcmMessage<'_>) -> bool {
    matches!(parameter.generator(), CKG_GENERATE | CKG_GENERATE_RANDOM)
        && parameter.fixed_bits() == 0
        && parameter.iv().len() == MADE_IV
}

/// Asks for the IV of an operation that was admitted, and writes it for the caller.
///
/// # Errors
/// What C_EncryptInit may return.
pub(crate) fn fill_in(asker: Asker<'_>, admitted: &mut Admitted, mechanism: &RawMechanism<'_>) -> Result<(), Rv> {
    let made = made(asker, admitted.operation, admitted.key.reference(), &admitted.mechanism)?;
    mechanism.put_iv(&made);
    admitted.mechanism.params.set_nonce(made);
    Ok(())
}

/// Asks for an IV for a key that is to encrypt or to wrap.
///
/// # Errors
/// What the daemon answers; `CKR_DEVICE_ERROR` for what is no IV.
pub(crate) fn made(
    asker: Asker<'_>,
    operation: Operation,
    key: wire::ObjectRef,
    mechanism: &Mechanism,
) -> Result<Vec<u8>, Rv> {
    let iv = asker.binding().call(
        |_| {
            request::Op::MakeIv(wire::MakeIv {
                key: Some(key.clone()),
                mechanism: Some(mechanism_to_wire(mechanism)),
                wrapping: operation == Operation::Wrap,
            })
        },
        output,
    )?;
    if iv.len() == MADE_IV {
        Ok(iv.to_vec())
    } else {
        Err(Rv::DEVICE_ERROR)
    }
}
