//! C_GenerateRandom, C_SeedRandom: this process's generator, the daemon's under `strict` and `fips`.

use super::request::{Asker, output};
use crate::abi::pointers::{RawFill, RawInput};
use crate::local;
use crate::state::instance::Instance;
use cryptoki_sys::CK_SESSION_HANDLE;
use hsmd_proto::ck::Rv;
use hsmd_proto::wire::{self, request};

/// The most random bytes of one request.
const CHUNK: usize = 64 * 1024;

/// C_GenerateRandom (PKCS#11 3.2, 5.19.2).
pub(crate) fn generate(instance: &Instance, session: CK_SESSION_HANDLE, out: RawFill<'_>) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let out = out.get()?;
    if session.slot.policy().local_public_operations() {
        local::fill(out);
        return Ok(());
    }
    for chunk in out.chunks_mut(CHUNK) {
        let length = chunk.len() as u32;
        let bytes =
            Asker::session(instance, &session).call(|_| request::Op::Random(wire::Random { length }), output)?;
        if bytes.len() != chunk.len() {
            return Err(Rv::DEVICE_ERROR);
        }
        chunk.copy_from_slice(&bytes);
    }
    Ok(())
}

/// C_SeedRandom: accepted and not used. The generator is seeded by the kernel, and a caller's seed cannot make it better.
pub(crate) fn seed(instance: &Instance, session: CK_SESSION_HANDLE, seed: RawInput<'_>) -> Result<(), Rv> {
    instance.session(session)?;
    seed.get()?;
    Ok(())
}
