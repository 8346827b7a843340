//! CK_PKCS5_PBKD2_PARAMS2. The older CK_PKCS5_PBKD2_PARAMS is as long, with a pointer where this has the password's length; a pointer is
//! no length that a password has, so it is refused and not read.

use cryptoki_sys::{CK_MECHANISM, CK_PKCS5_PBKD2_PARAMS2, CK_ULONG, CKZ_SALT_SPECIFIED};
use hsmd_proto::ck::{MechanismType, Rv};
use hsmd_proto::params::Pbkdf2Params;
use std::ffi::c_void;

use super::mechanism::{bytes, structure};

/// The longest password in bytes.
const LONGEST: CK_ULONG = 1 << 16;

/// All but the password.
///
/// # Safety
/// `at` is valid for `length` bytes; if it is the mechanism's structure, its pointers are valid.
pub(super) unsafe fn copy(at: *const c_void, length: CK_ULONG) -> Result<Pbkdf2Params, Rv> {
    // SAFETY: `structure` compares the length with the structure's before it reads, `bytes` checks for NULL and absurd lengths; the
    // memory is valid by the promise.
    unsafe {
        let raw: CK_PKCS5_PBKD2_PARAMS2 = structure(at, length)?;
        let hash = Pbkdf2Params::HASHES.iter().find(|(number, _)| *number == raw.prf);
        // None of these functions has data of its own.
        if raw.saltSource != CKZ_SALT_SPECIFIED || raw.ulPrfDataLen != 0 {
            return Err(Rv::MECHANISM_PARAM_INVALID);
        }
        Ok(Pbkdf2Params {
            hash: hash.map(|(_, hash)| *hash).ok_or(Rv::MECHANISM_PARAM_INVALID)?,
            salt: bytes(raw.pSaltSourceData.cast(), raw.ulSaltSourceDataLen)?,
            iterations: raw.iterations,
        })
    }
}

/// The password.
///
/// # Safety
/// As [`copy`], for the mechanism's parameter, during `'a`.
pub(super) unsafe fn given<'a>(raw: &CK_MECHANISM) -> Result<&'a [u8], Rv> {
    if MechanismType(raw.mechanism) != MechanismType::PKCS5_PBKD2 || raw.pParameter.is_null() {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    // SAFETY: not NULL, and valid for its length by the promise.
    let raw: CK_PKCS5_PBKD2_PARAMS2 = unsafe { structure(raw.pParameter, raw.ulParameterLen)? };
    let (at, length) = (raw.pPassword, raw.ulPasswordLen);
    if length == 0 {
        return Ok(&[]);
    }
    if at.is_null() || length > LONGEST {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    // SAFETY: not NULL, at most 64 KiB, valid by the promise.
    Ok(unsafe { std::slice::from_raw_parts(at.cast(), length as usize) })
}
