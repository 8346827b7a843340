//! C_WrapKey and C_UnwrapKey. A length query computes and changes nothing.

use super::call::{Answer, Call, object_ref, unique_id};
use hsmd_proto::convert::mechanism_from_wire;
use hsmd_proto::wire::{self, reply};

pub(super) fn wrap(call: &mut Call<'_>, request: wire::WrapKey) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let wrapping = object_ref(request.wrapping_key.as_ref())?;
    let key = object_ref(request.key.as_ref())?;
    let key_set = call.key_set()?;
    if request.query {
        let length = key_set.wrap_length(&call.context, &wrapping, &mechanism, &key)?;
        return Ok(Some(reply::Result::Length(length as u64)));
    }
    let wrapped = key_set.wrap_key(&call.context, &wrapping, &mechanism, &key)?;
    call.output(&wrapped)
}

pub(super) fn unwrap(call: &mut Call<'_>, request: wire::UnwrapKey) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let unwrapping = object_ref(request.unwrapping_key.as_ref())?;
    let wrapped = call.section(request.wrapped.as_ref())?;
    let template = call.template(&request.template)?;
    let id = unique_id(&request.unique_id)?;
    let view = call
        .key_set()?
        .unwrap_key(&call.context, &unwrapping, &mechanism, wrapped, id, &template)?;
    Ok(Some(reply::Result::Object(call.object(&view))))
}
