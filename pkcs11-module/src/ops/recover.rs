//! C_SignRecoverInit, C_SignRecover, C_VerifyRecoverInit, C_VerifyRecover (PKCS#11 3.2, 5.14 and 5.16): signatures that give
//! their data back. Single-part by nature.

use super::crypt::{Length, check_length};
use super::family::{Place, family};
use super::request::Asker;
use super::sign::signature_length;
use crate::abi::pointers::{OutBuf, RawInput, RawOut};
use crate::state::operation::{KeyOperation, Outcome};
use hsmd_proto::ck::{ObjectClass, Rv};
use hsmd_proto::mechanism::Family;
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::request;

const SIGN: Place = |operations| &mut operations.sign_recover;
const VERIFY: Place = |operations| &mut operations.verify_recover;
/// What PKCS #1 v1.5 adds to the data.
const PADDING: usize = 11;

family! { SIGN;
    /// C_SignRecoverInit.
    sign_init = SignRecover;
    /// C_SignRecover.
    sign(Single, data: RawInput<'_>, out: RawOut<'_>) => make;
}

family! { VERIFY;
    /// C_VerifyRecoverInit.
    verify_init = VerifyRecover;
    /// C_VerifyRecover.
    verify(Single, signature: RawInput<'_>, out: RawOut<'_>) => recover;
}

fn make(asker: Asker<'_>, operation: &mut KeyOperation, (data, out): (&[u8], OutBuf<'_>)) -> Result<Outcome, Rv> {
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
    let given = (&operation.mechanism, data, false);
    let written = operation.ask(asker, request::Op::SignRecover, given, |signature| {
        check_length(signature, Length::Exact(length))?;
        Ok(out.put(signature))
    })?;
    Ok(written.into())
}

fn recover(
    asker: Asker<'_>,
    operation: &mut KeyOperation,
    (signature, out): (&[u8], OutBuf<'_>),
) -> Result<Outcome, Rv> {
    if let Some(outcome) = operation.give_kept(&out) {
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
        None => {
            let given = (&operation.mechanism, signature, false);
            operation.ask(asker, request::Op::VerifyRecover, given, |found| {
                Ok(WipingVec::from(found))
            })?
        }
    };
    check_length(&found, length)?;
    Ok(operation.give(&out, found))
}
