//! Making keys: C_GenerateKey, C_GenerateKeyPair, C_DeriveKey, C_EncapsulateKey, C_DecapsulateKey.

use super::call::{Answer, Call, object_ref, unique_id};
use hsmd_proto::convert::mechanism_from_wire;
use hsmd_proto::wire::{self, reply};

pub(super) fn generate(call: &mut Call<'_>, request: wire::GenerateKey) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let template = call.template(&request.template)?;
    let id = unique_id(&request.unique_id)?;
    let password = request.password.as_ref();
    let password = password.map(|range| call.section(Some(range))).transpose()?;
    let view = call
        .key_set()?
        .generate_key_of(&call.context, (&mechanism, password), id, &template)?;
    Ok(Some(reply::Result::Object(call.object(&view))))
}

pub(super) fn generate_pair(call: &mut Call<'_>, request: wire::GenerateKeyPair) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let public_template = call.template(&request.public_template)?;
    let private_template = call.template(&request.private_template)?;
    let public = (unique_id(&request.public_id)?, &public_template);
    let private = (unique_id(&request.private_id)?, &private_template);
    let (public, private) = call
        .key_set()?
        .generate_key_pair(&call.context, &mechanism, public, private)?;
    let pair = wire::ObjectPair {
        public_key: Some(call.object(&public)),
        private_key: Some(call.object(&private)),
    };
    Ok(Some(reply::Result::Pair(pair)))
}

pub(super) fn derive(call: &mut Call<'_>, request: wire::DeriveKey) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let template = call.template(&request.template)?;
    let base = object_ref(request.base_key.as_ref())?;
    let other = request
        .other_key
        .as_ref()
        .map(|other| object_ref(Some(other)))
        .transpose()?;
    let id = unique_id(&request.unique_id)?;
    let view = call
        .key_set()?
        .derive_key_of(&call.context, (&base, other.as_ref()), &mechanism, id, &template)?;
    Ok(Some(reply::Result::Object(call.object(&view))))
}

pub(super) fn encapsulate(call: &mut Call<'_>, request: wire::EncapsulateKey) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let template = call.template(&request.template)?;
    let public = object_ref(request.key.as_ref())?;
    let id = unique_id(&request.unique_id)?;
    let (view, ciphertext) = call
        .key_set()?
        .encapsulate_key(&call.context, &public, &mechanism, id, &template)?;
    let key = Some(call.object(&view));
    Ok(Some(reply::Result::Encapsulated(wire::Encapsulated {
        key,
        ciphertext,
    })))
}

pub(super) fn decapsulate(call: &mut Call<'_>, request: wire::DecapsulateKey) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let template = call.template(&request.template)?;
    let private = object_ref(request.key.as_ref())?;
    let id = unique_id(&request.unique_id)?;
    let view =
        call.key_set()?
            .decapsulate_key(&call.context, &private, &mechanism, &request.ciphertext, id, &template)?;
    Ok(Some(reply::Result::Object(call.object(&view))))
}
