//! C_VerifySignatureInit, C_VerifySignature, C_VerifySignatureUpdate, C_VerifySignatureFinal (PKCS#11 3.2, 5.15.5 and following):
//! verification that is given the signature first.

use super::family::{Place, begin, steps};
use super::key::admit;
use super::sign::{add, longest_signature};
use super::verify::verify;
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::RawInput;
use crate::state::instance::Instance;
use crate::state::operation::{KeyOperation, SignedOperation};
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::init::Operation;

const PLACE: Place<SignedOperation> = |operations| &mut operations.verify_signature;

/// C_VerifySignatureInit.
pub(crate) fn init(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
    signature: RawInput<'_>,
) -> Result<(), Rv> {
    begin(instance, session, PLACE, (mechanism, signature), |asker, signature| {
        let admitted = admit(asker, Operation::Verify, mechanism, key, Rv::KEY_HANDLE_INVALID)?;
        let running = KeyOperation::new(asker, admitted);
        // No signature is longer: what is, is not kept.
        if signature.len() > longest_signature(&running)? {
            return Err(Rv::SIGNATURE_LEN_RANGE);
        }
        Ok(SignedOperation {
            running,
            signature: signature.to_vec(),
        })
    })
}

steps! { PLACE;
    /// C_VerifySignature.
    single(Single, data: RawInput<'_>) => |asker, operation, data| {
        verify(asker, &mut operation.running, Some(data), &operation.signature)
    };
    /// C_VerifySignatureUpdate.
    update(Update, data: RawInput<'_>) => |asker, operation, data| add(asker, &mut operation.running, data);
    /// C_VerifySignatureFinal.
    finish(Final) => |asker, operation, ()| verify(asker, &mut operation.running, None, &operation.signature);
}
