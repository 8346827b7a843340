//! C_DigestEncryptUpdate, C_DecryptDigestUpdate, C_SignEncryptUpdate, C_DecryptVerifyUpdate (PKCS#11 3.2, 5.17): one part for
//! two operations that are in progress side by side. What does not come out goes into neither: a length query and too small a
//! buffer leave both where they were.

use super::crypt::{Direction, part_and};
use super::family::{Arguments, Place};
use super::request::Asker;
use super::{decrypt, digest, encrypt, sign, verify};
use crate::abi::pointers::{RawInput, RawOut};
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::operation::{KeyOperation, Outcome, Running, run};
use crate::state::phase::Step;
use crate::state::slot::Slot;
use cryptoki_sys::CK_SESSION_HANDLE;
use hsmd_proto::ck::Rv;

/// The dual functions: the operation that takes the text in, and the one that encrypts or decrypts.
macro_rules! dual {
    ($($(#[$doc:meta])* $name:ident => $first:expr, $cipher:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(
            instance: &Instance,
            session: CK_SESSION_HANDLE,
            data: RawInput<'_>,
            out: RawOut<'_>,
        ) -> Result<(), Rv> {
            update(instance, session, ($first, $cipher), data, out)
        }
    )*};
}

dual! {
    /// C_DigestEncryptUpdate.
    digest_encrypt => (digest::PLACE, digest::add), encrypt::PLACE;
    /// C_DecryptDigestUpdate.
    decrypt_digest => (digest::PLACE, digest::add), decrypt::PLACE;
    /// C_SignEncryptUpdate.
    sign_encrypt => (sign::PLACE, sign::add), encrypt::PLACE;
    /// C_DecryptVerifyUpdate.
    decrypt_verify => (verify::PLACE, sign::add), decrypt::PLACE;
}

/// An operation that takes text in, and how.
type Taker<O> = (Place<O>, fn(Asker<'_>, &mut O, &[u8]) -> Result<Outcome, Rv>);

/// One part for both. Where one of the two is missing the other stays; else both go on or both end.
fn update<O: Running>(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    ((place, take), cipher): (Taker<O>, Place),
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let mut operations = lock(&session.operations);
    let asker = Asker::session(instance, &session);
    let mut taker = place(&mut operations).take();
    let mut crypting = cipher(&mut operations).take();
    let there = taker.as_ref().is_some_and(|running| running.alive(&session.slot))
        && crypting.as_ref().is_some_and(|running| running.alive(&session.slot));
    let result = if there {
        (data, out).read().and_then(|(data, out)| {
            both(asker.slot, &mut taker, &mut crypting, |taker, crypting| {
                let encrypts = crypting.direction() == Direction::Encrypt;
                part_and(asker, crypting, (data, out), |result| {
                    take(asker, taker, if encrypts { data } else { result }).map(|_| ())
                })
            })
        })
    } else {
        Err(Rv::OPERATION_NOT_INITIALIZED)
    };
    if !there || matches!(result, Ok(()) | Err(Rv::BUFFER_TOO_SMALL)) {
        *place(&mut operations) = taker;
        *cipher(&mut operations) = crypting;
    }
    result
}

/// Runs one call of two operations.
fn both<O: Running>(
    slot: &Slot,
    first: &mut Option<O>,
    second: &mut Option<KeyOperation>,
    work: impl FnOnce(&mut O, &mut KeyOperation) -> Result<Outcome, Rv>,
) -> Result<(), Rv> {
    run(second, slot, Step::Update, |second| {
        let mut outcome = Outcome::Open;
        let inner = run(first, slot, Step::Update, |first| {
            outcome = work(first, second)?;
            Ok(outcome)
        });
        match inner {
            Ok(()) | Err(Rv::BUFFER_TOO_SMALL) => Ok(outcome),
            Err(rv) => Err(rv),
        }
    })
}
