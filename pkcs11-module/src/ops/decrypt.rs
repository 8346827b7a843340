//! C_DecryptInit, C_Decrypt, C_DecryptUpdate, C_DecryptFinal (PKCS#11 3.2, 5.10): [`crypt`] in the other direction.

use super::crypt::{self, Direction};
use super::key::{Place, init as begin, step};
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{RawInput, RawOut};
use crate::state::instance::Instance;
use crate::state::phase::Step;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::init::Operation;

const DIRECTION: Direction = Direction::Decrypt;
const PLACE: Place = |operations| &mut operations.decrypt;

/// C_DecryptInit.
pub(crate) fn init(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
) -> Result<(), Rv> {
    begin(instance, session, (PLACE, Operation::Decrypt), mechanism, key)
}

/// C_Decrypt.
pub(crate) fn single(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let arguments = data.get().and_then(|data| Ok((data, out.get()?)));
    step(
        instance,
        session,
        (PLACE, Step::Single),
        arguments,
        |asker, operation, (data, out)| crypt::whole(asker, operation, DIRECTION, data, &out),
    )
}

/// C_DecryptUpdate.
pub(crate) fn update(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let arguments = data.get().and_then(|data| Ok((data, out.get()?)));
    step(
        instance,
        session,
        (PLACE, Step::Update),
        arguments,
        |asker, operation, (data, out)| crypt::part(asker, operation, DIRECTION, data, &out, |_| Ok(())),
    )
}

/// C_DecryptFinal.
pub(crate) fn finish(instance: &Instance, session: CK_SESSION_HANDLE, out: RawOut<'_>) -> Result<(), Rv> {
    step(
        instance,
        session,
        (PLACE, Step::Final),
        out.get(),
        |asker, operation, out| crypt::last(asker, operation, DIRECTION, &out),
    )
}
