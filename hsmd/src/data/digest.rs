//! C_DigestKey, and what follows it, with keys whose value may not be read. Other digests are the module's business.

use super::call::{Answer, Call, object_ref};
use hsmd_keystore::{DigestFrom, DigestStep};
use hsmd_proto::ck::{MechanismType, Rv};
use hsmd_proto::wire;

pub(super) fn digest(call: &mut Call<'_>, request: &wire::Digest) -> Answer {
    let key = request.key.as_ref().map(|key| object_ref(Some(key))).transpose()?;
    let from = match (&request.state, &request.sealed) {
        (state @ Some(_), None) => DigestFrom::Clear(call.section(state.as_ref())?),
        (None, sealed @ Some(_)) => DigestFrom::Sealed(call.section(sealed.as_ref())?),
        _ => return Err(Rv::ARGUMENTS_BAD),
    };
    let step = DigestStep {
        mechanism: MechanismType(request.mechanism),
        from,
        data: call.data(request.data.as_ref())?,
        key,
        last: request.last,
    };
    let output = call.key_set()?.digest(&call.context, &step)?;
    call.output(&output)
}
