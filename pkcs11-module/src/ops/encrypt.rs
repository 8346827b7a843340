//! C_EncryptInit, C_Encrypt, C_EncryptUpdate, C_EncryptFinal (PKCS#11 3.2, 5.8): [`crypt`] in the one direction.

use super::crypt::{self, Direction};
use super::key::begin;
use super::request::Asker;
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{RawInput, RawOut};
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::operation::{or_end, run};
use crate::state::phase::Step;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::init::Operation;

const DIRECTION: Direction = Direction::Encrypt;

/// C_EncryptInit.
pub(crate) fn init(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let mut operations = lock(&session.operations);
    begin(
        Asker::session(instance, &session),
        &mut operations.encrypt,
        Operation::Encrypt,
        mechanism,
        key,
    )
}

/// C_Encrypt.
pub(crate) fn single(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).encrypt;
    let (data, out) = or_end(place, data.get().and_then(|data| Ok((data, out.get()?))))?;
    run(place, &session.slot, Step::Single, |operation| {
        crypt::whole(Asker::session(instance, &session), operation, DIRECTION, data, &out)
    })
}

/// C_EncryptUpdate.
pub(crate) fn update(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).encrypt;
    let (data, out) = or_end(place, data.get().and_then(|data| Ok((data, out.get()?))))?;
    run(place, &session.slot, Step::Update, |operation| {
        crypt::part(Asker::session(instance, &session), operation, DIRECTION, data, &out)
    })
}

/// C_EncryptFinal.
pub(crate) fn finish(instance: &Instance, session: CK_SESSION_HANDLE, out: RawOut<'_>) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).encrypt;
    let out = or_end(place, out.get())?;
    run(place, &session.slot, Step::Final, |operation| {
        crypt::last(Asker::session(instance, &session), operation, DIRECTION, &out)
    })
}
