//! C_GetAttributeValue, C_SetAttributeValue, C_GetObjectSize.

use super::object::expected;
use super::request::Asker;
use crate::abi::pointers::RawSlot;
use crate::abi::template::{RawPlaces, RawTemplate};
use crate::local;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::object::{Object, View, is_hidden};
use crate::transport::Failure;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_ULONG};
use hsmd_proto::attribute::Attribute;
use hsmd_proto::ck::{AttributeType, ObjectClass, Rv};
use hsmd_proto::convert::{attribute_from_wire, template_to_wire};
use hsmd_proto::frame::Sections;
use hsmd_proto::ids::UniqueId;
use hsmd_proto::value::Value;
use hsmd_proto::wire::{self, reply, request};
use std::sync::Arc;

/// How many objects one request fetches when nothing is known of one: readers go on with its neighbours.
const BATCH: usize = 64;

/// C_GetAttributeValue: every entry is answered; of several errors one is returned (PKCS#11 3.2, 5.7.5).
pub(crate) fn read(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    places: &RawPlaces<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let types = places.types()?;
    let object = session.slot.objects.get(object).ok_or(Rv::OBJECT_HANDLE_INVALID)?;
    let asker = Asker::session(instance, &session);
    let mut view = known(asker, &object)?;
    if types.iter().any(|attribute| is_hidden(&view, *attribute)) {
        let values = ask(asker, &object, &types)?;
        return answer(places, values.iter().map(bytes));
    }
    if !types.iter().all(|attribute| view.serves(*attribute)) {
        view = fetch(asker, &object, 1)?;
    }
    let value = |attribute: &AttributeType| view.attributes.value(*attribute).ok_or(Rv::ATTRIBUTE_TYPE_INVALID);
    answer(places, types.iter().map(value))
}

fn bytes(value: &Result<Attribute, Rv>) -> Result<&[u8], Rv> {
    value.as_ref().map(|found| found.value.as_slice()).map_err(|rv| *rv)
}

/// Fills the places. Of several codes the first of SENSITIVE, TYPE_INVALID, BUFFER_TOO_SMALL is returned.
fn answer<'a>(places: &RawPlaces<'_>, values: impl Iterator<Item = Result<&'a [u8], Rv>>) -> Result<(), Rv> {
    const ORDER: [Rv; 3] = [
        Rv::ATTRIBUTE_SENSITIVE,
        Rv::ATTRIBUTE_TYPE_INVALID,
        Rv::BUFFER_TOO_SMALL,
    ];
    let rank = |rv: Rv| ORDER.iter().position(|other| *other == rv).unwrap_or(ORDER.len());
    let mut worst = Ok(());
    for (index, value) in values.enumerate() {
        if let Err(rv) = places.fill(index, value) {
            worst = match worst {
                Err(other) if rank(other) <= rank(rv) => Err(other),
                _ => Err(rv),
            };
        }
    }
    worst
}

/// The value of a secret key.
///
/// # Errors
/// `CKR_ATTRIBUTE_SENSITIVE` if it may not be read, `CKR_ATTRIBUTE_TYPE_INVALID` if it is no secret key,
/// `CKR_OBJECT_HANDLE_INVALID` if it is gone, and codes for a daemon that cannot be reached.
pub(crate) fn secret_value(asker: Asker<'_>, object: &Arc<Object>) -> Result<Value, Rv> {
    let view = known(asker, object)?;
    if view
        .meta
        .as_ref()
        .is_none_or(|meta| meta.class != ObjectClass::SECRET_KEY)
    {
        return Err(Rv::ATTRIBUTE_TYPE_INVALID);
    }
    let mut values = ask(asker, object, &[AttributeType::VALUE])?;
    values.pop().ok_or(Rv::DEVICE_ERROR)?.map(|found| found.value)
}

/// Asks for values, key values among them: they are in the reply's secret section, and in no cache.
fn ask(asker: Asker<'_>, object: &Object, types: &[AttributeType]) -> Result<Vec<Result<Attribute, Rv>>, Rv> {
    let result = asker.call(
        |_| {
            request::Op::GetAttributes(wire::GetAttributes {
                object: Some(object.reference()),
                types: types.iter().map(|attribute| attribute.0).collect(),
            })
        },
        |result, sections| match result {
            Some(reply::Result::Attributes(list)) if list.values.len() == types.len() => types
                .iter()
                .zip(list.values)
                .map(|(wanted, value)| one_value(*wanted, value, sections))
                .collect(),
            _ => Err(Failure::Lost),
        },
    );
    if matches!(result, Err(Rv::OBJECT_HANDLE_INVALID)) {
        asker.slot.objects.remove(object);
    }
    result
}

fn one_value(
    wanted: AttributeType,
    value: wire::AttributeValue,
    sections: &Sections<'_>,
) -> Result<Result<Attribute, Rv>, Failure> {
    if value.rv != Rv::OK.0 {
        let sensitive = Rv(value.rv) == Rv::ATTRIBUTE_SENSITIVE;
        return Ok(Err(if sensitive {
            Rv::ATTRIBUTE_SENSITIVE
        } else {
            Rv::ATTRIBUTE_TYPE_INVALID
        }));
    }
    let attribute = value.attribute.as_ref().ok_or(Failure::Lost)?;
    let found = attribute_from_wire(attribute, sections).map_err(|_| Failure::Lost)?;
    if found.attribute == wanted {
        Ok(Ok(found))
    } else {
        Err(Failure::Lost)
    }
}

/// What is known of an object, fetched with its neighbours if nothing is.
///
/// # Errors
/// `CKR_OBJECT_HANDLE_INVALID` if it is gone, and codes for a daemon that cannot be reached.
pub(crate) fn known(asker: Asker<'_>, object: &Arc<Object>) -> Result<Arc<View>, Rv> {
    match object.view() {
        Some(view) => Ok(view),
        None => fetch(asker, object, BATCH),
    }
}

/// Fetches the attributes of an object, and of up to `batch` that follow it and are unknown too.
///
/// # Errors
/// As [`known`].
pub(crate) fn fetch(asker: Asker<'_>, object: &Arc<Object>, batch: usize) -> Result<Arc<View>, Rv> {
    let mut wanted = vec![Arc::clone(object)];
    if batch > 1 {
        let others = asker.slot.objects.unknown_from(object.handle, batch);
        wanted.extend(others.into_iter().filter(|other| other.id != object.id));
    }
    let ids: Vec<u8> = wanted.iter().flat_map(|object| object.id.0).collect();
    let views = asker.call(
        |_| {
            request::Op::Fetch(wire::Fetch {
                unique_ids: ids.clone(),
            })
        },
        |result, sections| match result {
            Some(reply::Result::Objects(list)) if list.objects.len() <= wanted.len() => list
                .objects
                .into_iter()
                .map(|object| View::from_wire(object, sections))
                .collect::<Result<Vec<_>, _>>(),
            None => Ok(Vec::new()),
            _ => Err(Failure::Lost),
        },
    )?;
    let mut found = false;
    for (id, view) in views {
        let place = wanted.iter().find(|object| object.id == id).ok_or(Rv::DEVICE_ERROR)?;
        place.set_view(view);
        found |= id == object.id;
    }
    if found && let Some(view) = object.view() {
        return Ok(view);
    }
    // Left out of the reply: destroyed, or no longer visible to this login.
    asker.slot.objects.remove(object);
    Err(Rv::OBJECT_HANDLE_INVALID)
}

/// C_SetAttributeValue (PKCS#11 3.2, 5.7.6).
pub(crate) fn change(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: &RawTemplate<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let template = template.parse()?;
    let object = session.slot.objects.get(object).ok_or(Rv::OBJECT_HANDLE_INVALID)?;
    if template.0.is_empty() {
        return Err(Rv::ARGUMENTS_BAD);
    }
    template.check_form()?;
    if object.owner.is_none() && !session.read_write {
        return Err(Rv::SESSION_READ_ONLY);
    }
    // A session object's blobs follow one another.
    let _change = lock(&object.change);
    let operation: [u8; 16] = local::random();
    let id: UniqueId = object.id;
    let changed = Asker::session(instance, &session).call(
        |writer| {
            let template = template_to_wire(&template, writer);
            request::Op::SetAttributes(wire::SetAttributes {
                object: Some(object.reference()),
                template,
                operation: operation.to_vec(),
            })
        },
        |result, sections| match result {
            Some(reply::Result::Object(changed)) => expected(changed, sections, id).map(Some),
            _ => Ok(None),
        },
    )?;
    match changed {
        Some(view) => object.set_view(view),
        None => object.forget(),
    }
    Ok(())
}

/// C_GetObjectSize: the sum of the values that the module may know, in bytes.
pub(crate) fn size(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    out: &RawSlot<'_, CK_ULONG>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    out.check()?;
    let object = session.slot.objects.get(object).ok_or(Rv::OBJECT_HANDLE_INVALID)?;
    let view = known(Asker::session(instance, &session), &object)?;
    let size: usize = view.attributes.0.iter().map(|attribute| attribute.value.len()).sum();
    out.set(size as CK_ULONG)
}
