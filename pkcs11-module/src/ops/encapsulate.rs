//! C_EncapsulateKey, C_DecapsulateKey. Both are one request; the length of a ciphertext follows from the key's parameter set,
//! so that asking for it makes nothing.

use super::key::{Admitted, admit};
use super::object::{adopt, check_new, expected, one_object};
use super::request::Asker;
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{RawInput, RawOut, RawSlot, Written};
use crate::abi::template::RawTemplate;
use crate::local;
use crate::state::instance::Instance;
use crate::transport::Failure;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::convert::{mechanism_to_wire, template_to_wire};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::init::Operation;
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::returns::{Function, late};
use hsmd_proto::wire::{self, reply, request};

/// C_EncapsulateKey (PKCS#11 3.2, 5.18.8).
pub(crate) fn encapsulate(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    (mechanism, key): (&RawMechanism<'_>, CK_OBJECT_HANDLE),
    template: &RawTemplate<'_>,
    out: RawOut<'_>,
    made: &RawSlot<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let out = out.get()?;
    let asker = Asker::session(instance, &session);
    if !out.is_query() {
        made.check()?;
    }
    let template = template.parse()?;
    let Admitted {
        key, meta, mechanism, ..
    } = admit(asker, Operation::Encapsulate, mechanism, key, Rv::KEY_HANDLE_INVALID)?;
    let length = meta.set.map(ParameterSet::output_bytes).ok_or(Rv::FUNCTION_FAILED)?;
    if let Some(refused) = out.refuse(length) {
        return match refused {
            Written::TooSmall => Err(Rv::BUFFER_TOO_SMALL),
            _ => Ok(()),
        };
    }
    check_new(&session, &template)?;
    let id = UniqueId(local::random());
    let answer = asker.call(
        |writer| {
            let template = template_to_wire(&template, writer);
            request::Op::EncapsulateKey(wire::EncapsulateKey {
                key: Some(key.reference()),
                mechanism: Some(mechanism_to_wire(&mechanism)),
                unique_id: id.0.to_vec(),
                template,
            })
        },
        |result, sections| match result {
            Some(reply::Result::Encapsulated(answer)) if answer.ciphertext.len() == length => {
                let view = expected(answer.key.ok_or(Failure::Lost)?, sections, id)?;
                Ok((view, answer.ciphertext))
            }
            _ => Err(Failure::Lost),
        },
    );
    let (view, ciphertext) = answer.map_err(|rv| late(Function::Unwrap, rv))?;
    out.put(&ciphertext);
    made.set(adopt(instance, &session, id, view).handle.0)
}

/// C_DecapsulateKey (PKCS#11 3.2, 5.18.9).
pub(crate) fn decapsulate(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    (mechanism, key): (&RawMechanism<'_>, CK_OBJECT_HANDLE),
    template: &RawTemplate<'_>,
    ciphertext: RawInput<'_>,
    made: &RawSlot<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    made.check()?;
    let ciphertext = ciphertext.get()?;
    let template = template.parse()?;
    let asker = Asker::session(instance, &session);
    let Admitted {
        key, meta, mechanism, ..
    } = admit(
        asker,
        Operation::Decapsulate,
        mechanism,
        key,
        Rv::UNWRAPPING_KEY_HANDLE_INVALID,
    )?;
    if meta.set.map(ParameterSet::output_bytes) != Some(ciphertext.len()) {
        return Err(Rv::WRAPPED_KEY_LEN_RANGE);
    }
    if meta.always_authenticate {
        // There is no operation that a context-specific login could be for (PKCS#11 3.2, 4.10).
        return Err(Rv::USER_NOT_LOGGED_IN);
    }
    check_new(&session, &template)?;
    let id = UniqueId(local::random());
    let view = asker.call(
        |writer| {
            let template = template_to_wire(&template, writer);
            request::Op::DecapsulateKey(wire::DecapsulateKey {
                key: Some(key.reference()),
                mechanism: Some(mechanism_to_wire(&mechanism)),
                ciphertext: ciphertext.to_vec(),
                unique_id: id.0.to_vec(),
                template,
            })
        },
        |result, sections| one_object(result, sections, id),
    );
    let view = view.map_err(|rv| late(Function::Unwrap, rv))?;
    made.set(adopt(instance, &session, id, view).handle.0)
}
