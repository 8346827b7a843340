//! C_Initialize's arguments, C_GetInfo, C_WaitForSlotEvent.

use crate::abi::pointers::RawSlot;
use crate::state::instance::Instance;
use crate::transport::Failure;
use cryptoki_sys::{CK_FLAGS, CK_INFO, CK_SLOT_ID, CK_VERSION, CKF_DONT_BLOCK};
use hsmd_proto::ck::Rv;
use std::time::Duration;

/// What this library calls itself.
const MANUFACTURER: &str = "hsmd";
const DESCRIPTION: &str = "hsmd PKCS#11 module";

/// CK_C_INITIALIZE_ARGS without its pointers.
pub(crate) struct InitArgs {
    /// Which mutex callbacks are given. All or none; they are never called: the operating system's locks serve.
    pub(crate) callbacks: [bool; 4],
    /// pReserved is not NULL.
    pub(crate) reserved: bool,
}

impl InitArgs {
    /// The rules of PKCS#11 3.2, 5.4.1. Every combination of flags is accepted: the module makes no threads.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD`.
    pub(crate) fn check(&self) -> Result<(), Rv> {
        let given = self.callbacks.iter().filter(|given| **given).count();
        if self.reserved || !matches!(given, 0 | 4) {
            Err(Rv::ARGUMENTS_BAD)
        } else {
            Ok(())
        }
    }
}

/// Space padded, cut at a character's boundary.
pub(crate) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [b' '; N];
    let mut at = 0;
    for character in text.chars().filter(|character| !character.is_control()) {
        let mut buffer = [0; 4];
        let bytes = character.encode_utf8(&mut buffer).as_bytes();
        if at + bytes.len() > N {
            break;
        }
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    }
    out
}

/// This library's version.
pub(crate) fn version() -> CK_VERSION {
    let number = |text: &str| text.parse().unwrap_or(0);
    CK_VERSION {
        major: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: number(env!("CARGO_PKG_VERSION_MINOR")),
    }
}

/// C_GetInfo.
pub(crate) fn info(_: &Instance, info: &RawSlot<'_, CK_INFO>) -> Result<(), Rv> {
    info.set(CK_INFO {
        cryptokiVersion: CK_VERSION { major: 3, minor: 2 },
        manufacturerID: padded(MANUFACTURER),
        flags: 0,
        libraryDescription: padded(DESCRIPTION),
        libraryVersion: version(),
    })
}

/// How often a blocking C_WaitForSlotEvent asks the daemon.
const WATCH: Duration = Duration::from_secs(1);

/// C_WaitForSlotEvent (PKCS#11 3.2, 5.5.4): a token of a listed slot came or went. Slots themselves come and go by C_GetSlotList
/// only. A blocking call returns when another thread finalises; a daemon that is away takes no token away.
pub(crate) fn wait_for_slot_event(
    instance: &Instance,
    flags: CK_FLAGS,
    slot: &RawSlot<'_, CK_SLOT_ID>,
    reserved: bool,
) -> Result<(), Rv> {
    if reserved {
        return Err(Rv::ARGUMENTS_BAD);
    }
    slot.check()?;
    loop {
        // What is there at the first look is no event.
        if let Err(Failure::Ended(rv)) = instance.look_at_slots() {
            return Err(rv);
        }
        if instance.pool.is_finalized() {
            return Err(Rv::CRYPTOKI_NOT_INITIALIZED);
        }
        if let Some(changed) = instance.listed().iter().find(|listed| listed.take_event()) {
            return slot.set(CK_SLOT_ID::from(changed.id.0));
        }
        if flags & CKF_DONT_BLOCK != 0 {
            return Err(Rv::NO_EVENT);
        }
        instance.pool.event.wait(Some(WATCH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutex_callbacks_are_all_or_none() {
        for bits in 0_u8..16 {
            let callbacks = [0, 1, 2, 3].map(|bit| bits & (1 << bit) != 0);
            let good = InitArgs {
                callbacks,
                reserved: false,
            }
            .check()
            .is_ok();
            assert_eq!(good, bits == 0 || bits == 15);
        }
        assert!(
            InitArgs {
                callbacks: [false; 4],
                reserved: true
            }
            .check()
            .is_err()
        );
    }

    #[test]
    fn fields_are_space_padded_and_cut_between_characters() {
        assert_eq!(&padded::<8>("abc"), b"abc     ");
        assert_eq!(&padded::<4>("aaa\u{e9}"), b"aaa ");
        assert_eq!(&padded::<4>("a\0b"), b"ab  ");
    }
}
