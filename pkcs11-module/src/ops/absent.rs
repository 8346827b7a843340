//! Functions for which no mechanism of this build serves: authenticated wrapping; and asynchronous calls, for
//! which no session can be opened. They check their session and arguments as the others do and say which of the two it is.

use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{RawInput, RawOut, RawSlot};
use crate::state::instance::Instance;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;

/// C_UnwrapKeyAuthenticated (PKCS#11 3.2, 5.18.7).
///
/// # Errors
/// Always one: `CKR_MECHANISM_INVALID` if nothing else is wrong.
pub(crate) fn unwrap_authenticated(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    blob: RawInput<'_>,
    made: &RawSlot<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    instance.session(session)?;
    blob.get()?;
    made.check()?;
    none(mechanism)
}

/// C_WrapKeyAuthenticated (PKCS#11 3.2, 5.18.6).
///
/// # Errors
/// As [`unwrap_authenticated`].
pub(crate) fn wrap_authenticated(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    instance.session(session)?;
    out.get()?;
    none(mechanism)
}

fn none(mechanism: &RawMechanism<'_>) -> Result<(), Rv> {
    mechanism.kind()?;
    Err(Rv::MECHANISM_INVALID)
}

/// C_AsyncComplete, C_AsyncGetID, C_AsyncJoin (PKCS#11 3.2, 5.20): C_OpenSession refuses CKF_ASYNC_SESSION.
///
/// # Errors
/// Always one: `CKR_FUNCTION_NOT_SUPPORTED` on a session that is there.
pub(crate) fn asynchronous(instance: &Instance, session: CK_SESSION_HANDLE) -> Result<(), Rv> {
    instance.session(session)?;
    Err(Rv::FUNCTION_NOT_SUPPORTED)
}
