//! C_Sign, C_Verify and their forms with recovery on the node's keys. Messages in parts are the module's business.

use super::call::{Answer, Call, object_ref};
use hsmd_crypto::Input;
use hsmd_proto::convert::mechanism_from_wire;
use hsmd_proto::wire::{self, reply};

/// RSA-4096.
const LONGEST_SIGNATURE: usize = 512;

pub(super) fn sign(call: &mut Call<'_>, request: wire::Crypt) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let key = object_ref(request.key.as_ref())?;
    let data = call.data(request.data.as_ref())?;
    let input = input(request.digested, data);
    let key_set = call.key_set()?;
    let (context, writer) = (&call.context, &mut *call.writer);
    let output = writer.hide_with(LONGEST_SIGNATURE, |out| {
        key_set.sign(context, &key, &mechanism, input, out)
    })?;
    Ok(Some(reply::Result::Output(output)))
}

pub(super) fn verify(call: &mut Call<'_>, request: wire::Verify) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let key = object_ref(request.key.as_ref())?;
    let data = call.data(request.data.as_ref())?;
    let input = input(request.digested, data);
    call.key_set()?
        .verify(&call.context, &key, &mechanism, input, &request.signature)?;
    Ok(None)
}

pub(super) fn sign_recover(call: &mut Call<'_>, request: wire::Crypt) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let key = object_ref(request.key.as_ref())?;
    let data = call.data(request.data.as_ref())?;
    let key_set = call.key_set()?;
    let (context, writer) = (&call.context, &mut *call.writer);
    let output = writer.hide_with(LONGEST_SIGNATURE, |out| {
        key_set.sign_recover(context, &key, &mechanism, data, out)
    })?;
    Ok(Some(reply::Result::Output(output)))
}

pub(super) fn verify_recover(call: &mut Call<'_>, request: wire::Crypt) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let key = object_ref(request.key.as_ref())?;
    let signature = call.data(request.data.as_ref())?;
    let key_set = call.key_set()?;
    let (context, writer) = (&call.context, &mut *call.writer);
    let output = writer.hide_with(LONGEST_SIGNATURE, |out| {
        key_set.verify_recover(context, &key, &mechanism, signature, out)
    })?;
    Ok(Some(reply::Result::Output(output)))
}

const fn input(digested: bool, data: &[u8]) -> Input<'_> {
    if digested {
        Input::Digest(data)
    } else {
        Input::Message(data)
    }
}
