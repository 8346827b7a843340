//! Objects: C_CreateObject, C_CopyObject, C_DestroyObject, C_GetAttributeValue, C_SetAttributeValue.

use super::call::{Answer, Call, object_ref, operation_id, unique_id};
use hsmd_proto::ck::{AttributeType, Rv};
use hsmd_proto::convert::{self, MAX_ATTRIBUTES};
use hsmd_proto::wire::{self, reply};

pub(super) fn create(call: &mut Call<'_>, request: &wire::CreateObject) -> Answer {
    let template = call.template(&request.template)?;
    let view = call
        .key_set()?
        .create_object(&call.context, unique_id(&request.unique_id)?, &template)?;
    Ok(Some(reply::Result::Object(call.object(&view))))
}

pub(super) fn copy(call: &mut Call<'_>, request: &wire::CopyObject) -> Answer {
    let template = call.template(&request.template)?;
    let source = object_ref(request.source.as_ref())?;
    let id = unique_id(&request.unique_id)?;
    let view = call.key_set()?.copy_object(&call.context, &source, id, &template)?;
    Ok(Some(reply::Result::Object(call.object(&view))))
}

pub(super) fn destroy(call: &Call<'_>, request: &wire::DestroyObject) -> Answer {
    let object = object_ref(request.object.as_ref())?;
    let operation = operation_id(&request.operation)?;
    call.key_set()?.destroy_object(&call.context, &object, operation)?;
    Ok(None)
}

pub(super) fn attributes(call: &mut Call<'_>, request: &wire::GetAttributes) -> Answer {
    if request.types.len() > MAX_ATTRIBUTES {
        return Err(Rv::ARGUMENTS_BAD);
    }
    let object = object_ref(request.object.as_ref())?;
    let types: Vec<_> = request.types.iter().map(|number| AttributeType(*number)).collect();
    let values = call.key_set()?.attributes(&call.context, &object, &types)?;
    let values = values
        .iter()
        .map(|value| match value {
            Ok(attribute) => wire::AttributeValue {
                rv: Rv::OK.0,
                attribute: Some(convert::attribute_to_wire(attribute, call.writer)),
            },
            Err(rv) => wire::AttributeValue {
                rv: rv.0,
                attribute: None,
            },
        })
        .collect();
    Ok(Some(reply::Result::Attributes(wire::AttributeValues { values })))
}

pub(super) fn set_attributes(call: &mut Call<'_>, request: &wire::SetAttributes) -> Answer {
    let template = call.template(&request.template)?;
    let object = object_ref(request.object.as_ref())?;
    let operation = operation_id(&request.operation)?;
    let view = call
        .key_set()?
        .set_attributes(&call.context, &object, &template, operation)?;
    Ok(Some(reply::Result::Object(call.object(&view))))
}
