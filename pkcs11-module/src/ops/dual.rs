//! C_DigestEncryptUpdate, C_DecryptDigestUpdate, C_SignEncryptUpdate, C_DecryptVerifyUpdate (PKCS#11 3.2, 5.17): one part for
//! two operations that are in progress side by side. What does not come out goes into neither: a length query and too small a
//! buffer leave both where they were.

use super::crypt::{self, Direction};
use super::request::Asker;
use super::sign;
use crate::abi::pointers::{OutBuf, RawInput, RawOut};
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::operation::{Operations, Outcome, Running, run};
use crate::state::phase::Step;
use crate::state::slot::Slot;
use cryptoki_sys::CK_SESSION_HANDLE;
use hsmd_proto::ck::Rv;

/// C_DigestEncryptUpdate.
pub(crate) fn digest_encrypt(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    enter(instance, session, data, out, |asker, operations, arguments| {
        let Operations { digest, encrypt, .. } = operations;
        both(
            (digest, encrypt),
            asker.slot,
            arguments,
            |digest, encrypt, (data, out)| {
                crypt::part(asker, encrypt, Direction::Encrypt, data, out, |_| {
                    digest.digest.update(data);
                    Ok(())
                })
            },
        )
    })
}

/// C_DecryptDigestUpdate.
pub(crate) fn decrypt_digest(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    enter(instance, session, data, out, |asker, operations, arguments| {
        let Operations { digest, decrypt, .. } = operations;
        both(
            (digest, decrypt),
            asker.slot,
            arguments,
            |digest, decrypt, (data, out)| {
                crypt::part(asker, decrypt, Direction::Decrypt, data, out, |text| {
                    digest.digest.update(text);
                    Ok(())
                })
            },
        )
    })
}

/// C_SignEncryptUpdate.
pub(crate) fn sign_encrypt(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    enter(instance, session, data, out, |asker, operations, arguments| {
        let Operations { sign, encrypt, .. } = operations;
        both((sign, encrypt), asker.slot, arguments, |sign, encrypt, (data, out)| {
            crypt::part(asker, encrypt, Direction::Encrypt, data, out, |_| {
                sign::add(asker, sign, data).map(|_| ())
            })
        })
    })
}

/// C_DecryptVerifyUpdate.
pub(crate) fn decrypt_verify(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    enter(instance, session, data, out, |asker, operations, arguments| {
        let Operations { verify, decrypt, .. } = operations;
        both(
            (verify, decrypt),
            asker.slot,
            arguments,
            |verify, decrypt, (data, out)| {
                crypt::part(asker, decrypt, Direction::Decrypt, data, out, |text| {
                    sign::add(asker, verify, text).map(|_| ())
                })
            },
        )
    })
}

/// The caller's part and the place for what comes out of it.
type Arguments<'a> = (&'a [u8], OutBuf<'a>);

fn enter(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    data: RawInput<'_>,
    out: RawOut<'_>,
    work: impl FnOnce(Asker<'_>, &mut Operations, Result<Arguments<'_>, Rv>) -> Result<(), Rv>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let mut operations = lock(&session.operations);
    let arguments = data.get().and_then(|data| Ok((data, out.get()?)));
    work(Asker::session(instance, &session), &mut operations, arguments)
}

/// Runs one part of two operations. Where one of them is missing the other stays; else both go on or both end.
fn both<A: Running, B: Running>(
    (first, second): (&mut Option<A>, &mut Option<B>),
    slot: &Slot,
    arguments: Result<Arguments<'_>, Rv>,
    work: impl FnOnce(&mut A, &mut B, (&[u8], &OutBuf<'_>)) -> Result<Outcome, Rv>,
) -> Result<(), Rv> {
    let there = first.as_ref().is_some_and(|running| running.alive(slot))
        && second.as_ref().is_some_and(|running| running.alive(slot));
    if !there {
        return Err(Rv::OPERATION_NOT_INITIALIZED);
    }
    let result = arguments.and_then(|(data, out)| {
        run(second, slot, Step::Update, |second| {
            let mut outcome = Outcome::Open;
            let inner = run(first, slot, Step::Update, |first| {
                outcome = work(first, second, (data, &out))?;
                Ok(outcome)
            });
            match inner {
                Ok(()) | Err(Rv::BUFFER_TOO_SMALL) => Ok(outcome),
                Err(rv) => Err(rv),
            }
        })
    });
    if !matches!(result, Ok(()) | Err(Rv::BUFFER_TOO_SMALL)) {
        (*first, *second) = (None, None);
    }
    result
}
