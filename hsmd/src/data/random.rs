//! C_GenerateRandom for partitions whose policy wants the daemon's generator.

use super::call::{Answer, Call};
use hsmd_proto::ck::Rv;
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire;

/// The most bytes of one request; the module asks again for more.
const MAX_RANDOM: u32 = 64 << 10;

pub(super) fn random(call: &mut Call<'_>, request: &wire::Random) -> Answer {
    if request.length > MAX_RANDOM {
        return Err(Rv::ARGUMENTS_BAD);
    }
    let mut bytes = WipingVec::from(vec![0; request.length as usize]);
    hsmd_crypto::random::generator(&mut bytes);
    call.output(&bytes)
}
