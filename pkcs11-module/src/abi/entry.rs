//! How a C call enters and leaves: fork check, initialised check, one `catch_unwind`, one error map (INV-9), and the table of
//! the codes that each function may return.

use super::process::Process;
use crate::state::instance::Instance;
use cryptoki_sys::CK_RV;
use hsmd_proto::ck::Rv;
use hsmd_proto::returns::Row;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// Whether this thread is inside a C call of ours.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Makes panics inside our calls silent (INV-9: nothing on the host's standard error). The library carries its own copy of
/// Rust's standard library, so that no hook of a host written in Rust is touched.
fn silence() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.swap(true, Ordering::Relaxed) {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !INSIDE.get() {
                earlier(info);
            }
        }));
    }
}

/// What leaves: a code that the specification does not list for the function becomes one that it does. A build with
/// assertions lets it out as it is, so that the tests' harness fails on it; our own tests fail here.
fn listed(row: &'static Row, rv: Rv) -> CK_RV {
    if rv == Rv::OK || row.allows(rv) {
        return rv.0;
    }
    #[cfg(test)]
    panic!(
        "{} returns {rv}, which PKCS#11 3.2, {}, does not list",
        row.name, row.section
    );
    #[cfg(not(test))]
    if cfg!(debug_assertions) { rv.0 } else { row.answer(rv).0 }
}

/// Runs what needs no initialised library: C_Initialize, C_Finalize, the function lists.
pub(super) fn bare(row: &'static Row, call: impl FnOnce() -> Result<(), Rv>) -> CK_RV {
    silence();
    let outer = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    INSIDE.set(outer);
    match result {
        Ok(Ok(())) => Rv::OK.0,
        Ok(Err(rv)) => listed(row, rv),
        Err(payload) => {
            // A payload's destructor may panic again.
            std::mem::forget(payload);
            Rv::GENERAL_ERROR.0
        }
    }
}

/// Runs a call on the initialised library. The fork check comes before any lock.
pub(super) fn guarded(row: &'static Row, call: impl FnOnce(&Instance) -> Result<(), Rv>) -> CK_RV {
    let Some(process) = Process::current() else {
        return Rv::CRYPTOKI_NOT_INITIALIZED.0;
    };
    bare(row, || {
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
            const ROW: &hsmd_proto::returns::Row = hsmd_proto::returns::row(stringify!($name));
            crate::abi::entry::guarded(ROW, |$instance| {
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
            const ROW: &hsmd_proto::returns::Row = hsmd_proto::returns::row(stringify!($name));
            crate::abi::entry::guarded(ROW, |$instance| {
                // SAFETY: as for exported functions.
                unsafe { $body }
            })
        }
    };
}

pub(super) use entries;

#[cfg(test)]
mod tests {
    use super::bare;
    use hsmd_proto::ck::Rv;
    use hsmd_proto::returns::row;

    const CHILD: &str = "HSMD_TEST_PLANTED_PANIC";

    /// INV-9, broken on purpose: a defect inside a call is a code for the host, and not a word on its standard error. The
    /// panic happens in a process of its own, whose standard error is read.
    #[test]
    fn a_panic_in_a_call_is_a_silent_general_error() {
        if std::env::var_os(CHILD).is_some() {
            assert_eq!(bare(row("C_Sign"), || panic!("planted")), Rv::GENERAL_ERROR.0);
            assert_eq!(bare(row("C_Sign"), || Ok(())), Rv::OK.0);
            return;
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "abi::entry::tests::a_panic_in_a_call_is_a_silent_general_error";
        let output = child
            .args([name, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("1 passed"),
            "the child ran nothing"
        );
        assert!(
            !String::from_utf8_lossy(&output.stderr).contains("planted"),
            "the panic was printed"
        );
    }
}
