//! C_VerifyInit, C_Verify, C_VerifyUpdate, C_VerifyFinal. With a public key in this process under policies that allow it.

use super::family::{Place, family};
use super::request::{Asker, nothing};
use super::sign::{Message, add, longest_signature};
use crate::abi::pointers::RawInput;
use crate::state::operation::{KeyOperation, Outcome};
use hsmd_proto::ck::{ObjectClass, Rv};
use hsmd_proto::convert::mechanism_to_wire;
use hsmd_proto::mechanism::Family;
use hsmd_proto::returns::{Function, late};
use hsmd_proto::wire::{self, request};

/// Where it runs.
pub(crate) const PLACE: Place = |operations| &mut operations.verify;

family! { PLACE;
    /// C_VerifyInit (PKCS#11 3.2, 5.15.1).
    init = Verify;
    /// C_Verify.
    single(Single, data: RawInput<'_>, signature: RawInput<'_>) => |asker, operation, (data, signature)| {
        verify(asker, operation, Some(data), signature)
    };
    /// C_VerifyUpdate.
    update(Update, data: RawInput<'_>) => add;
    /// C_VerifyFinal.
    finish(Final, signature: RawInput<'_>) => |asker, operation, signature| verify(asker, operation, None, signature);
}

/// Verifies the message, or what came of it in parts.
///
/// # Errors
/// As C_Verify and C_VerifyFinal.
pub(crate) fn verify(
    asker: Asker<'_>,
    operation: &mut KeyOperation,
    data: Option<&[u8]>,
    signature: &[u8],
) -> Result<Outcome, Rv> {
    operation.check_grant()?;
    if !has_length(operation, signature.len())? {
        return Err(Rv::SIGNATURE_LEN_RANGE);
    }
    let message = operation.message(data, asker.instance.pool.max_data())?;
    let here = asker.slot.policy().local_public_operations() && operation.meta.class == ObjectClass::PUBLIC_KEY;
    if here
        && let Some(view) = operation.key.view()
        && let Some(key) = view.public_key()
    {
        key.verify(&operation.mechanism, &message.bytes, message.digested, signature)?;
        return Ok(Outcome::Done);
    }
    on_the_daemon(asker, operation, &message, signature)?;
    Ok(Outcome::Done)
}

/// Whether signatures of this operation may be so long.
fn has_length(operation: &KeyOperation, length: usize) -> Result<bool, Rv> {
    let whole = longest_signature(operation)?;
    Ok(match operation.row.family {
        // The halves may both lack leading zeros (PKCS#11 3.2, 6.3.1): the provider widens them.
        Family::Ecdsa => length == whole || ((2..whole).contains(&length) && length.is_multiple_of(2)),
        // The signature says itself how long it is.
        Family::Stateful => length <= whole,
        _ => length == whole,
    })
}

fn on_the_daemon(
    asker: Asker<'_>,
    operation: &KeyOperation,
    message: &Message<'_>,
    signature: &[u8],
) -> Result<(), Rv> {
    let result = asker
        .with_grant(operation.grant.as_ref().map(|grant| grant.as_slice()))
        .call(
            |writer| {
                request::Op::Verify(wire::Verify {
                    key: Some(operation.key.reference()),
                    mechanism: Some(mechanism_to_wire(&operation.mechanism)),
                    data: Some(writer.hide(&message.bytes)),
                    digested: message.digested,
                    signature: signature.to_vec(),
                })
            },
            nothing,
        );
    result.map_err(|rv| late(Function::Use, rv))
}
