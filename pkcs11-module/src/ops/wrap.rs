//! C_WrapKey, C_UnwrapKey.

use super::attribute::known;
use super::key::{Admitted, admit};
use super::object::{adopt, check_new, one_object};
use super::request::{Asker, output};
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{RawInput, RawOut, RawSlot, Written};
use crate::abi::template::RawTemplate;
use crate::local;
use crate::state::instance::Instance;
use crate::transport::Failure;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::{AttributeType, ObjectClass, Rv};
use hsmd_proto::convert::{mechanism_to_wire, template_to_wire};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::init::Operation;
use hsmd_proto::returns::{Function, late};
use hsmd_proto::wire::{self, reply, request};

/// The longest wrapped key that is sent, in bytes.
const LONGEST: usize = 1 << 20;

/// C_WrapKey (PKCS#11 3.2, 5.18.3). A length query is a request of its own that changes nothing.
pub(crate) fn wrap(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let out = out.get()?;
    let asker = Asker::session(instance, &session);
    let Admitted {
        key: wrapping,
        mechanism,
        ..
    } = admit(
        asker,
        Operation::Wrap,
        mechanism,
        wrapping,
        Rv::WRAPPING_KEY_HANDLE_INVALID,
    )?;
    let key = session.slot.objects.get(key).ok_or(Rv::KEY_HANDLE_INVALID)?;
    let no_key = |rv| {
        if rv == Rv::OBJECT_HANDLE_INVALID {
            Rv::KEY_HANDLE_INVALID
        } else {
            rv
        }
    };
    let view = known(asker, &key).map_err(no_key)?;
    match view.class() {
        ObjectClass::SECRET_KEY | ObjectClass::PRIVATE_KEY => {}
        ObjectClass::PUBLIC_KEY => return Err(Rv::KEY_NOT_WRAPPABLE),
        _ => return Err(Rv::KEY_HANDLE_INVALID),
    }
    // One-way: what is false stays false.
    if view.attributes.boolean(AttributeType::EXTRACTABLE) == Ok(Some(false)) {
        return Err(Rv::KEY_UNEXTRACTABLE);
    }
    let make = |query| {
        request::Op::WrapKey(wire::WrapKey {
            wrapping_key: Some(wrapping.reference()),
            mechanism: Some(mechanism_to_wire(&mechanism)),
            key: Some(key.reference()),
            query,
        })
    };
    if out.is_query() {
        let length = asker.call(
            |_| make(true),
            |result, _| match result {
                Some(reply::Result::Length(length)) if length <= LONGEST as u64 => Ok(length as usize),
                _ => Err(Failure::Lost),
            },
        );
        out.refuse(length.map_err(|rv| late(Function::Wrap, no_key(rv)))?);
        return Ok(());
    }
    let wrapped = asker
        .call(|_| make(false), output)
        .map_err(|rv| late(Function::Wrap, no_key(rv)))?;
    // As the daemon has it: a sensitive key latches the material that wrapped it.
    if session.slot.policy().latches() && view.flag(AttributeType::SENSITIVE) {
        wrapping.has_wrapped();
    }
    match out.put(&wrapped) {
        Written::TooSmall => Err(Rv::BUFFER_TOO_SMALL),
        _ => Ok(()),
    }
}

/// C_UnwrapKey (PKCS#11 3.2, 5.18.4).
pub(crate) fn unwrap(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: RawInput<'_>,
    template: &RawTemplate<'_>,
    out: &RawSlot<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    out.check()?;
    let wrapped = wrapped.get()?;
    let template = template.parse()?;
    let asker = Asker::session(instance, &session);
    let Admitted {
        key, meta, mechanism, ..
    } = admit(
        asker,
        Operation::Unwrap,
        mechanism,
        unwrapping,
        Rv::UNWRAPPING_KEY_HANDLE_INVALID,
    )?;
    if wrapped.is_empty() || wrapped.len() > LONGEST {
        return Err(Rv::WRAPPED_KEY_LEN_RANGE);
    }
    if meta.always_authenticate {
        // There is no operation that a context-specific login could be for (PKCS#11 3.2, 4.9).
        return Err(Rv::USER_NOT_LOGGED_IN);
    }
    check_new(&session, &template)?;
    let id = UniqueId(local::random());
    let made = asker.call(
        |writer| {
            let wrapped = writer.hide(wrapped);
            let template = template_to_wire(&template, writer);
            request::Op::UnwrapKey(wire::UnwrapKey {
                unwrapping_key: Some(key.reference()),
                mechanism: Some(mechanism_to_wire(&mechanism)),
                wrapped: Some(wrapped),
                unique_id: id.0.to_vec(),
                template,
            })
        },
        |result, sections| one_object(result, sections, id),
    );
    let made = made.map_err(|rv| late(Function::Unwrap, rv))?;
    out.set(adopt(instance, &session, id, made).handle.0)
}
