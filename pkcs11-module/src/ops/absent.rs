//! Asynchronous calls, for which no session can be opened. They check their session as the others do.

use crate::state::instance::Instance;
use cryptoki_sys::CK_SESSION_HANDLE;
use hsmd_proto::ck::Rv;

/// C_AsyncComplete, C_AsyncGetID, C_AsyncJoin (PKCS#11 3.2, 5.20): C_OpenSession refuses CKF_ASYNC_SESSION.
///
/// # Errors
/// Always one: `CKR_FUNCTION_NOT_SUPPORTED` on a session that is there.
pub(crate) fn asynchronous(instance: &Instance, session: CK_SESSION_HANDLE) -> Result<(), Rv> {
    instance.session(session)?;
    Err(Rv::FUNCTION_NOT_SUPPORTED)
}
