//! How a C call enters: fork check, initialised check, one `catch_unwind`, one error map (INV-9).

use super::process::Process;
use crate::state::instance::Instance;
use cryptoki_sys::CK_RV;
use hsmd_proto::ck::Rv;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what needs no initialised library: C_Initialize, C_Finalize, the function lists.
pub(super) fn bare(call: impl FnOnce() -> Result<(), Rv>) -> CK_RV {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => Rv::OK.0,
        Ok(Err(rv)) => rv.0,
        Err(payload) => {
            // A payload's destructor may panic again.
            std::mem::forget(payload);
            Rv::GENERAL_ERROR.0
        }
    }
}

/// Runs a call on the initialised library. The fork check comes before any lock.
pub(super) fn guarded(call: impl FnOnce(&Instance) -> Result<(), Rv>) -> CK_RV {
    let Some(process) = Process::current() else {
        return Rv::CRYPTOKI_NOT_INITIALIZED.0;
    };
    bare(|| {
        let instance = process.instance().ok_or(Rv::CRYPTOKI_NOT_INITIALIZED)?;
        call(&instance)
    })
}

/// Makes entry functions: `export` ones are symbols of the library, `table` ones are reached through the function lists.
macro_rules! entries {
    ($($kind:ident fn $name:ident($($arg:ident: $type:ty),* $(,)?) => |$instance:ident| $body:expr;)*) => {
        $(entries!(@one $kind $name, ($($arg: $type),*), $instance, $body);)*
    };
    (@one export $name:ident, ($($arg:ident: $type:ty),*), $instance:ident, $body:expr) => {
        #[unsafe(no_mangle)]
        #[allow(
            non_snake_case,
            unused_unsafe,
            clippy::too_many_arguments,
            reason = "the specification's names and shapes; some functions only say that they are not there"
        )]
        pub(super) unsafe extern "C" fn $name($($arg: $type),*) -> cryptoki_sys::CK_RV {
            crate::abi::entry::guarded(|$instance| {
                // SAFETY: the caller's promise: each pointer is NULL or valid for the length that comes with it, for
                // the duration of this call (pointers.rs).
                unsafe { $body }
            })
        }
    };
    (@one table $name:ident, ($($arg:ident: $type:ty),*), $instance:ident, $body:expr) => {
        #[allow(
            non_snake_case,
            unused_unsafe,
            clippy::too_many_arguments,
            reason = "the specification's names and shapes; some functions only say that they are not there"
        )]
        pub(super) unsafe extern "C" fn $name($($arg: $type),*) -> cryptoki_sys::CK_RV {
            crate::abi::entry::guarded(|$instance| {
                // SAFETY: as for exported functions.
                unsafe { $body }
            })
        }
    };
}

pub(super) use entries;
