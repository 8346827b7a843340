//! IVs that the daemon makes, under policies that take no others: one round trip at C_EncryptInit, or for a message that asks
//! for one. How it reaches the caller: C_EncryptInit writes it where CK_GCM_PARAMS.pIv points (of CCM and ChaCha20-Poly1305:
//! pNonce), twelve bytes of zeros before (as AWS CloudHSM has it; PKCS#11 3.2, 6.13.5 leaves it open); C_EncryptMessage where
//! CK_GCM_MESSAGE_PARAMS.pIv points.

use super::key::Admitted;
use super::request::{Asker, output};
use crate::abi::mechanism::RawMechanism;
use hsmd_proto::ck::Rv;
use hsmd_proto::convert::mechanism_to_wire;
use hsmd_proto::init::{MADE_IV, Operation};
use hsmd_proto::params::Mechanism;
use hsmd_proto::wire::{self, request};

/// Whether the daemon makes the IV, and the caller left it to it.
///
/// # Errors
/// `CKR_MECHANISM_PARAM_INVALID` for an IV that the caller chose.
pub(crate) fn wanted(asker: Asker<'_>, operation: Operation, mechanism: &Mechanism) -> Result<bool, Rv> {
    match (operation, mechanism.params.nonce(), asker.slot.policy().makes_ivs()) {
        (Operation::Encrypt, Some(nonce), true) if nonce == [0; MADE_IV] => Ok(true),
        (Operation::Encrypt, Some(_), true) => Err(Rv::MECHANISM_PARAM_INVALID),
        _ => Ok(false),
    }
}

/// Asks for the IV of an operation that was admitted, and writes it for the caller.
///
/// # Errors
/// What C_EncryptInit may return.
pub(crate) fn fill_in(asker: Asker<'_>, admitted: &mut Admitted, mechanism: &RawMechanism<'_>) -> Result<(), Rv> {
    let made = made(asker, admitted.key.reference(), &admitted.mechanism)?;
    mechanism.put_iv(&made);
    admitted.mechanism.params.set_nonce(made);
    Ok(())
}

/// Asks for an IV for a key.
///
/// # Errors
/// What the daemon answers; `CKR_DEVICE_ERROR` for what is no IV.
pub(crate) fn made(asker: Asker<'_>, key: wire::ObjectRef, mechanism: &Mechanism) -> Result<Vec<u8>, Rv> {
    let iv = asker.call(
        |_| {
            request::Op::MakeIv(wire::MakeIv {
                key: Some(key.clone()),
                mechanism: Some(mechanism_to_wire(mechanism)),
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
