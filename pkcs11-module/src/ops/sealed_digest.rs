//! Digests that have absorbed a key whose value may not be read: each step is a request that takes a sealed state there and
//! brings the next one back. Any of them can be sent again, and to another node (INV-4).

use super::crypt::{Length, check_length};
use super::request::{Asker, output};
use crate::state::object::Object;
use crate::state::operation::{DigestOperation, DigestState, SealedDigest};
use hsmd_proto::ck::{MechanismType, Rv};
use hsmd_proto::returns::{Function, late};
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::{self, request};
use std::sync::Arc;

/// Data up to this length, in bytes, is kept until there is more or the digest ends.
const KEPT: usize = 64 << 10;
/// The most data of one request, in bytes.
const CHUNK: usize = 1 << 20;
/// No sealed state is longer, in bytes.
const LONGEST: usize = 4096;

/// What a request takes along.
#[derive(Clone, Copy)]
enum From<'a> {
    Clear(&'a [u8]),
    Sealed(&'a [u8]),
}

/// C_DigestKey: the digest so far goes to the key, and comes back sealed.
///
/// # Errors
/// As C_DigestKey.
pub(crate) fn absorb(
    asker: Asker<'_>,
    operation: &mut DigestOperation,
    key: Arc<Object>,
    private: bool,
) -> Result<(), Rv> {
    let epoch = private.then(|| asker.slot.epoch());
    let mechanism = operation.mechanism;
    let next = |from, data: &[u8]| {
        let state = ask(asker, mechanism, from, (data, Some(&key), false));
        state.map_err(|rv| match rv {
            // C_DigestKey knows no login: a private key without one is not there.
            Rv::OBJECT_HANDLE_INVALID | Rv::USER_NOT_LOGGED_IN => Rv::KEY_HANDLE_INVALID,
            Rv::KEY_HANDLE_INVALID | Rv::KEY_INDIGESTIBLE | Rv::KEY_SIZE_RANGE => rv,
            other => late(Function::Digest, other),
        })
    };
    match &mut operation.state {
        DigestState::Open(digest) => {
            let clear = digest.state().ok_or(Rv::FUNCTION_FAILED)?;
            let state = next(From::Clear(&clear), &[])?;
            operation.state = DigestState::Sealed(SealedDigest {
                state,
                pending: WipingVec::new(),
                keys: vec![key],
                epoch,
            });
        }
        DigestState::Sealed(sealed) => {
            sealed.state = next(From::Sealed(&sealed.state), &sealed.pending)?;
            sealed.pending = WipingVec::new();
            sealed.epoch = sealed.epoch.or(epoch);
            sealed.keys.push(key);
        }
    }
    Ok(())
}

/// C_SetOperationState: whether the daemon goes on with a saved state, for this application and its login.
///
/// # Errors
/// `CKR_SAVED_STATE_INVALID`, and codes for a daemon that cannot be reached.
pub(crate) fn restore(asker: Asker<'_>, mechanism: MechanismType, saved: &[u8]) -> Result<SealedDigest, Rv> {
    if saved.len() > LONGEST {
        return Err(Rv::SAVED_STATE_INVALID);
    }
    let epoch = asker.slot.epoch();
    Ok(SealedDigest {
        state: ask(asker, mechanism, From::Sealed(saved), (&[], None, false))?,
        pending: WipingVec::new(),
        keys: Vec::new(),
        // Whether one of its keys is private is the daemon's knowledge: it ends with the login in any case.
        epoch: Some(epoch),
    })
}

impl SealedDigest {
    /// Takes data in.
    ///
    /// # Errors
    /// As C_DigestUpdate.
    pub(crate) fn add(&mut self, asker: Asker<'_>, mechanism: MechanismType, data: &[u8]) -> Result<(), Rv> {
        if self.pending.len() + data.len() > KEPT {
            self.flush(asker, mechanism)?;
        }
        if data.len() > KEPT {
            for chunk in data.chunks(CHUNK) {
                self.go_on(asker, mechanism, chunk)?;
            }
        } else {
            self.pending.reserve_wiping(data.len());
            self.pending.extend_from_slice(data);
        }
        Ok(())
    }

    /// The digest.
    ///
    /// # Errors
    /// As C_DigestFinal.
    pub(crate) fn finish(&self, asker: Asker<'_>, mechanism: MechanismType) -> Result<Vec<u8>, Rv> {
        let digest = ask(asker, mechanism, From::Sealed(&self.state), (&self.pending, None, true));
        digest
            .map(|digest| digest.to_vec())
            .map_err(|rv| late(Function::Digest, rv))
    }

    /// The state with everything in it, to be saved.
    ///
    /// # Errors
    /// Codes for a daemon that cannot be reached; `CKR_FUNCTION_FAILED` for a state that no longer holds.
    pub(crate) fn settled(&self, asker: Asker<'_>, mechanism: MechanismType) -> Result<WipingVec, Rv> {
        let state = ask(
            asker,
            mechanism,
            From::Sealed(&self.state),
            (&self.pending, None, false),
        );
        state.map_err(|rv| late(Function::Digest, rv))
    }

    fn flush(&mut self, asker: Asker<'_>, mechanism: MechanismType) -> Result<(), Rv> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        self.go_on(asker, mechanism, &pending)
    }

    fn go_on(&mut self, asker: Asker<'_>, mechanism: MechanismType, data: &[u8]) -> Result<(), Rv> {
        let state = ask(asker, mechanism, From::Sealed(&self.state), (data, None, false));
        self.state = state.map_err(|rv| late(Function::Digest, rv))?;
        Ok(())
    }
}

/// One step on the daemon: the next state, or the digest.
fn ask(
    asker: Asker<'_>,
    mechanism: MechanismType,
    from: From<'_>,
    (data, key, last): (&[u8], Option<&Arc<Object>>, bool),
) -> Result<WipingVec, Rv> {
    let output = asker.call(
        |writer| {
            let (state, sealed) = match from {
                From::Clear(state) => (Some(writer.hide(state)), None),
                From::Sealed(sealed) => (None, Some(writer.hide(sealed))),
            };
            request::Op::Digest(wire::Digest {
                mechanism: mechanism.0,
                state,
                sealed,
                data: Some(writer.hide(data)),
                key: key.map(|key| key.reference()),
                last,
            })
        },
        output,
    )?;
    check_length(&output, Length::AtMost(LONGEST))?;
    Ok(output)
}
