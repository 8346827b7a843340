//! C_Encrypt and C_Decrypt on the node's keys, and the IVs that the node makes for them.

use super::call::{Answer, Call, object_ref};
use hsmd_proto::convert::mechanism_from_wire;
use hsmd_proto::wire::{self, reply};

/// Room for a padding block, a tag or a modulus beside the data, so that the buffer does not move.
const ROOM: usize = 1024;

pub(super) fn encrypt(call: &mut Call<'_>, request: wire::Crypt) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let key = object_ref(request.key.as_ref())?;
    let data = call.data(request.data.as_ref())?;
    let key_set = call.key_set()?;
    let (context, writer) = (&call.context, &mut *call.writer);
    let output = writer.hide_with(data.len() + ROOM, |out| {
        key_set.encrypt(context, &key, &mechanism, data, out)
    })?;
    Ok(Some(reply::Result::Output(output)))
}

pub(super) fn decrypt(call: &mut Call<'_>, request: wire::Crypt) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let key = object_ref(request.key.as_ref())?;
    let data = call.data(request.data.as_ref())?;
    let key_set = call.key_set()?;
    let (context, writer) = (&call.context, &mut *call.writer);
    let output = writer.hide_with(data.len() + ROOM, |out| {
        key_set.decrypt(context, &key, &mechanism, data, out)
    })?;
    Ok(Some(reply::Result::Output(output)))
}

pub(super) fn make_iv(call: &mut Call<'_>, request: wire::MakeIv) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let key = object_ref(request.key.as_ref())?;
    let iv = call
        .key_set()?
        .make_iv(&call.context, &key, &mechanism, request.wrapping)?;
    Ok(Some(reply::Result::Output(call.writer.hide(&iv))))
}
