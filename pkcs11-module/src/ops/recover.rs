//! C_SignRecoverInit, C_SignRecover, C_VerifyRecoverInit, C_VerifyRecover (PKCS#11 3.2, 5.14 and 5.16): signatures that give
//! their data back. Single-part by nature.

use super::crypt::{Length, check_length};
use super::key::{Place, init as begin, step};
use super::request::{Asker, output_with};
use super::sign::signature_length;
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{OutBuf, RawInput, RawOut};
use crate::state::instance::Instance;
use crate::state::operation::{KeyOperation, Outcome};
use crate::state::phase::Step;
use crate::transport::Failure;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::{ObjectClass, Rv};
use hsmd_proto::convert::mechanism_to_wire;
use hsmd_proto::init::Operation;
use hsmd_proto::mechanism::Family;
use hsmd_proto::returns::{Function, late};
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::{self, request};

const SIGN: Place = |operations| &mut operations.sign_recover;
const VERIFY: Place = |operations| &mut operations.verify_recover;
/// What PKCS #1 v1.5 adds to the data.
const PADDING: usize = 11;

/// C_SignRecoverInit.
pub(crate) fn sign_init(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
) -> Result<(), Rv> {
    begin(instance, session, (SIGN, Operation::SignRecover), mechanism, key)
}

/// C_SignRecover.
pub(crate) fn sign(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let arguments = data.get().and_then(|data| Ok((data, out.get()?)));
    step(
        instance,
        session,
        (SIGN, Step::Single),
        arguments,
        |asker, operation, (data, out)| {
            let length = signature_length(operation)?;
            let most = match operation.row.family {
                Family::RsaPkcs1 => length.saturating_sub(PADDING),
                _ => length,
            };
            if data.len() > most {
                return Err(Rv::DATA_LEN_RANGE);
            }
            if let Some(refused) = out.refuse(length) {
                return Ok(refused.into());
            }
            let signature = ask(asker, operation, data, request::Op::SignRecover)?;
            check_length(&signature, Length::Exact(length))?;
            Ok(out.put(&signature).into())
        },
    )
}

/// C_VerifyRecoverInit.
pub(crate) fn verify_init(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
) -> Result<(), Rv> {
    begin(instance, session, (VERIFY, Operation::VerifyRecover), mechanism, key)
}

/// C_VerifyRecover.
pub(crate) fn verify(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    signature: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let arguments = signature.get().and_then(|signature| Ok((signature, out.get()?)));
    step(
        instance,
        session,
        (VERIFY, Step::Single),
        arguments,
        |asker, operation, (signature, out)| recover(asker, operation, signature, &out),
    )
}

fn recover(asker: Asker<'_>, operation: &mut KeyOperation, signature: &[u8], out: &OutBuf<'_>) -> Result<Outcome, Rv> {
    if let Some(outcome) = operation.give_kept(out) {
        return Ok(outcome);
    }
    let modulus = signature_length(operation)?;
    if signature.len() != modulus {
        return Err(Rv::SIGNATURE_LEN_RANGE);
    }
    let length = match operation.row.family {
        Family::RsaPkcs1 => Length::AtMost(modulus.saturating_sub(PADDING)),
        _ => Length::Exact(modulus),
    };
    let (Length::AtMost(most) | Length::Exact(most)) = length;
    if out.is_query() {
        out.refuse(most);
        return Ok(Outcome::Open);
    }
    let view = operation.key.view();
    let here = asker.slot.policy().local_public_operations() && operation.meta.class == ObjectClass::PUBLIC_KEY;
    let key = view.as_ref().filter(|_| here).and_then(|view| view.public_key());
    let found = match key {
        Some(key) => WipingVec::from(key.recover(&operation.mechanism, signature)?),
        None => ask(asker, operation, signature, request::Op::VerifyRecover)?,
    };
    check_length(&found, length)?;
    Ok(operation.give(out, found))
}

/// The daemon's part.
fn ask(
    asker: Asker<'_>,
    operation: &KeyOperation,
    data: &[u8],
    op: fn(wire::Crypt) -> request::Op,
) -> Result<WipingVec, Rv> {
    operation.check_grant()?;
    let result = asker
        .with_grant(operation.grant.as_ref().map(|grant| grant.as_slice()))
        .call(
            |writer| {
                op(wire::Crypt {
                    key: Some(operation.key.reference()),
                    mechanism: Some(mechanism_to_wire(&operation.mechanism)),
                    data: Some(writer.hide(data)),
                    digested: false,
                })
            },
            |result, sections| output_with(result, sections, |bytes| Ok::<_, Failure>(WipingVec::from(bytes))),
        );
    result.map_err(|rv| late(Function::Use, rv))
}
