//! C_CreateObject, C_CopyObject, C_DestroyObject; and how objects of replies become handles.

use super::request::{Asker, nothing};
use crate::abi::pointers::RawSlot;
use crate::abi::template::RawTemplate;
use crate::local;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::object::{Object, View};
use crate::state::session::Session;
use crate::transport::Failure;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::attribute::Template;
use hsmd_proto::ck::{AttributeType, Rv};
use hsmd_proto::convert::template_to_wire;
use hsmd_proto::frame::Sections;
use hsmd_proto::ids::UniqueId;
use hsmd_proto::wire::{self, reply, request};
use std::sync::Arc;

/// C_CreateObject (PKCS#11 3.2, 5.7.1). The module chooses the id, so a repeated request creates nothing twice (INV-10).
pub(crate) fn create(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    template: &RawTemplate<'_>,
    out: &RawSlot<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    out.check()?;
    let template = template.parse()?;
    if template.0.is_empty() {
        return Err(Rv::TEMPLATE_INCOMPLETE);
    }
    check_new(&session, &template)?;
    let id = UniqueId(local::random());
    let made = Asker::session(instance, &session).call(
        |writer| {
            let template = template_to_wire(&template, writer);
            request::Op::CreateObject(wire::CreateObject {
                unique_id: id.0.to_vec(),
                template,
            })
        },
        |result, sections| one_object(result, sections, id),
    )?;
    out.set(adopt(instance, &session, id, made).handle.0)
}

/// C_CopyObject (PKCS#11 3.2, 5.7.2).
pub(crate) fn copy(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    source: CK_OBJECT_HANDLE,
    template: &RawTemplate<'_>,
    out: &RawSlot<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    out.check()?;
    let template = template.parse()?;
    let source = session.slot.objects.get(source).ok_or(Rv::OBJECT_HANDLE_INVALID)?;
    check_new(&session, &template)?;
    // A19: the copy of a token object is one, unless the template says otherwise.
    let on_token = template
        .boolean(AttributeType::TOKEN)?
        .unwrap_or(source.owner.is_none());
    if on_token && !session.read_write {
        return Err(Rv::SESSION_READ_ONLY);
    }
    let id = UniqueId(local::random());
    let made = Asker::session(instance, &session).call(
        |writer| {
            let template = template_to_wire(&template, writer);
            request::Op::CopyObject(wire::CopyObject {
                source: Some(source.reference()),
                unique_id: id.0.to_vec(),
                template,
            })
        },
        |result, sections| one_object(result, sections, id),
    )?;
    let copy = adopt(instance, &session, id, made);
    copy.joins(&source);
    out.set(copy.handle.0)
}

/// C_DestroyObject (PKCS#11 3.2, 5.7.3). Operations of this application with the key end.
pub(crate) fn destroy(instance: &Instance, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let object = session.slot.objects.get(object).ok_or(Rv::OBJECT_HANDLE_INVALID)?;
    let _change = lock(&object.change);
    if object.owner.is_some() {
        // The module has the only copy: what the sealed blob holds ends with it.
        let kept = |view: Arc<View>| view.attributes.boolean(AttributeType::DESTROYABLE) == Ok(Some(false));
        if object.view().is_some_and(kept) {
            return Err(Rv::ACTION_PROHIBITED);
        }
    } else {
        if !session.read_write {
            return Err(Rv::SESSION_READ_ONLY);
        }
        let operation: [u8; 16] = local::random();
        let result = Asker::session(instance, &session).call(
            |_| {
                request::Op::DestroyObject(wire::DestroyObject {
                    object: Some(object.reference()),
                    operation: operation.to_vec(),
                })
            },
            nothing,
        );
        // Someone else was faster: the handle is void all the same.
        if result == Err(Rv::OBJECT_HANDLE_INVALID) {
            session.slot.objects.remove(&object);
        }
        result?;
    }
    session.slot.objects.remove(&object);
    Ok(())
}

/// What can be said of a new object's template without the daemon.
///
/// # Errors
/// The form of an attribute; `CKR_SESSION_READ_ONLY`, `CKR_USER_NOT_LOGGED_IN`.
pub(crate) fn check_new(session: &Session, template: &Template) -> Result<(), Rv> {
    template.check_form()?;
    if template.boolean(AttributeType::TOKEN)? == Some(true) && !session.read_write {
        return Err(Rv::SESSION_READ_ONLY);
    }
    if template.boolean(AttributeType::PRIVATE)? == Some(true) && !session.slot.user_logged_in() {
        return Err(Rv::USER_NOT_LOGGED_IN);
    }
    Ok(())
}

/// Reads a reply that must be this object.
///
/// # Errors
/// [`Failure::Lost`].
pub(crate) fn one_object(
    result: Option<reply::Result>,
    sections: &Sections<'_>,
    id: UniqueId,
) -> Result<View, Failure> {
    match result {
        Some(reply::Result::Object(object)) => expected(object, sections, id),
        _ => Err(Failure::Lost),
    }
}

/// Reads an object that must have this id.
///
/// # Errors
/// [`Failure::Lost`].
pub(crate) fn expected(object: wire::Object, sections: &Sections<'_>, id: UniqueId) -> Result<View, Failure> {
    let (found, view) = View::from_wire(object, sections)?;
    if found == id { Ok(view) } else { Err(Failure::Lost) }
}

/// Gives a new object its handle. What came with a blob belongs to the session.
pub(crate) fn adopt(instance: &Instance, session: &Session, id: UniqueId, view: View) -> Arc<Object> {
    let owner = (!view.blob.is_empty()).then_some(session.handle);
    let object = session.slot.objects.intern_view(&instance.handles, id, view, owner);
    // C_CloseSession of another thread may have swept before this object was there.
    if session.ended().is_some() && owner.is_some() {
        session.slot.objects.remove(&object);
    }
    object
}
