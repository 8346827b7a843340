//! C_Encrypt and C_Decrypt on the node's keys.

use super::call::{Answer, Call, object_ref};
use hsmd_proto::convert::mechanism_from_wire;
use hsmd_proto::wire;
use zeroize::Zeroizing;

/// Room for a padding block, a tag or a modulus beside the data, so that the buffer does not move.
const ROOM: usize = 1024;

pub(super) fn encrypt(call: &mut Call<'_>, request: wire::Crypt) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let key = object_ref(request.key.as_ref())?;
    let data = call.data(request.data.as_ref())?;
    let mut output = Vec::with_capacity(data.len() + ROOM);
    call.key_set()?
        .encrypt(&call.context, &key, &mechanism, data, &mut output)?;
    call.output(&output)
}

pub(super) fn decrypt(call: &mut Call<'_>, request: wire::Crypt) -> Answer {
    let mechanism = mechanism_from_wire(request.mechanism)?;
    let key = object_ref(request.key.as_ref())?;
    let data = call.data(request.data.as_ref())?;
    let mut plain = Zeroizing::new(Vec::with_capacity(data.len() + ROOM));
    call.key_set()?
        .decrypt(&call.context, &key, &mechanism, data, &mut plain)?;
    call.output(&plain)
}
