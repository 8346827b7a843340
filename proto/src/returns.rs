//! One table per function: which return values PKCS#11 lets a function give.
//!
//! What only the daemon finds out late (a key destroyed, a flag cleared, a latch set meanwhile) is mapped here to a code
//! that the function may return (DESIGN 5, "Thick client").

use crate::ck::Rv;

/// The functions whose late findings are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// C_Sign, C_SignUpdate, C_SignFinal, C_Verify*, C_Encrypt*, C_Decrypt*: the key was checked at Init.
    Use,
    /// C_DigestUpdate, C_DigestFinal, after C_DigestKey: a key that the digest absorbed was checked there.
    Digest,
    /// Functions that name the object themselves.
    Object,
    /// C_WrapKey.
    Wrap,
    /// C_UnwrapKey.
    Unwrap,
}

/// Maps a code that the daemon answered to one that the function may return.
#[must_use]
pub fn late(function: Function, rv: Rv) -> Rv {
    match (function, rv) {
        (
            Function::Use,
            Rv::KEY_HANDLE_INVALID
            | Rv::OBJECT_HANDLE_INVALID
            | Rv::KEY_FUNCTION_NOT_PERMITTED
            | Rv::KEY_TYPE_INCONSISTENT
            | Rv::KEY_SIZE_RANGE
            | Rv::MECHANISM_INVALID
            | Rv::MECHANISM_PARAM_INVALID,
        ) => Rv::FUNCTION_FAILED,
        (
            Function::Digest,
            Rv::SAVED_STATE_INVALID
            | Rv::KEY_HANDLE_INVALID
            | Rv::KEY_INDIGESTIBLE
            | Rv::MECHANISM_INVALID
            | Rv::USER_NOT_LOGGED_IN,
        ) => Rv::FUNCTION_FAILED,
        (Function::Wrap, Rv::KEY_FUNCTION_NOT_PERMITTED) => Rv::KEY_FUNCTION_NOT_PERMITTED,
        _ => rv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_destroyed_between_init_and_sign_is_a_failed_function() {
        assert_eq!(late(Function::Use, Rv::KEY_HANDLE_INVALID), Rv::FUNCTION_FAILED);
        assert_eq!(late(Function::Use, Rv::USER_NOT_LOGGED_IN), Rv::USER_NOT_LOGGED_IN);
        assert_eq!(
            late(Function::Object, Rv::OBJECT_HANDLE_INVALID),
            Rv::OBJECT_HANDLE_INVALID
        );
    }
}
