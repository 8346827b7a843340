//! The structures of TLS 1.2's mechanisms. What they would write back (the version of an agreed secret) is refused: it is part of a key.

use cryptoki_sys::{
    CK_SSL3_RANDOM_DATA, CK_TLS_KDF_PARAMS, CK_TLS_MAC_PARAMS, CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS,
    CK_TLS12_MASTER_KEY_DERIVE_PARAMS, CK_ULONG,
};
use hsmd_proto::ck::{MechanismType, Rv};
use hsmd_proto::tls::{TlsMacParams, TlsParams, TlsSecret};
use std::ffi::c_void;

use super::mechanism::{bytes, structure};

/// The longest random of a side.
const LONGEST_RANDOM: CK_ULONG = 256;

/// # Safety
/// `at` is valid for `length` bytes; if it is the mechanism's structure, its pointers are valid.
pub(super) unsafe fn copy(secret: TlsSecret, at: *const c_void, length: CK_ULONG) -> Result<TlsParams, Rv> {
    let label = || secret.label().unwrap_or_default().to_vec();
    // SAFETY: `structure` compares the length with the structure's before it reads, `bytes` checks for NULL and absurd lengths; the
    // memory is valid by the promise.
    unsafe {
        Ok(match secret {
            TlsSecret::Master => {
                let raw: CK_TLS12_MASTER_KEY_DERIVE_PARAMS = structure(at, length)?;
                if !raw.pVersion.is_null() {
                    return Err(Rv::MECHANISM_PARAM_INVALID);
                }
                TlsParams {
                    hash: MechanismType(raw.prfHashMechanism),
                    label: label(),
                    seed: randoms(&raw.RandomInfo)?,
                }
            }
            TlsSecret::ExtendedMaster => {
                let raw: CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS = structure(at, length)?;
                if !raw.pVersion.is_null() {
                    return Err(Rv::MECHANISM_PARAM_INVALID);
                }
                TlsParams {
                    hash: MechanismType(raw.prfHashMechanism),
                    label: label(),
                    seed: bytes(raw.pSessionHash, raw.ulSessionHashLen)?,
                }
            }
            TlsSecret::Exported => {
                let raw: CK_TLS_KDF_PARAMS = structure(at, length)?;
                let mut seed = randoms(&raw.RandomInfo)?;
                // RFC 5705, 4: an empty context is not none.
                if !raw.pContextData.is_null() {
                    let context = bytes(raw.pContextData, raw.ulContextDataLength)?;
                    let length = u16::try_from(context.len()).map_err(|_| Rv::MECHANISM_PARAM_INVALID)?;
                    seed.extend(length.to_be_bytes());
                    seed.extend(context);
                } else if raw.ulContextDataLength != 0 {
                    return Err(Rv::MECHANISM_PARAM_INVALID);
                }
                TlsParams {
                    hash: MechanismType(raw.prfMechanism),
                    label: bytes(raw.pLabel, raw.ulLabelLength)?,
                    seed,
                }
            }
        })
    }
}

/// # Safety
/// The pointers are NULL or valid for their lengths.
unsafe fn randoms(raw: &CK_SSL3_RANDOM_DATA) -> Result<Vec<u8>, Rv> {
    if raw.ulClientRandomLen.max(raw.ulServerRandomLen) > LONGEST_RANDOM {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    // SAFETY: the promise.
    unsafe {
        let client = bytes(raw.pClientRandom, raw.ulClientRandomLen)?;
        Ok([client, bytes(raw.pServerRandom, raw.ulServerRandomLen)?].concat())
    }
}

/// # Safety
/// `at` is valid for `length` bytes.
pub(super) unsafe fn mac(at: *const c_void, length: CK_ULONG) -> Result<TlsMacParams, Rv> {
    // SAFETY: as in `copy`.
    let raw: CK_TLS_MAC_PARAMS = unsafe { structure(at, length)? };
    Ok(TlsMacParams {
        hash: MechanismType(raw.prfHashMechanism),
        length: raw.ulMacLength,
        server: match raw.ulServerOrClient {
            1 => true,
            2 => false,
            _ => return Err(Rv::MECHANISM_PARAM_INVALID),
        },
    })
}
