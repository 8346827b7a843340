//! CK_SP800_108_KDF_PARAMS and CK_SP800_108_FEEDBACK_KDF_PARAMS, whose fields are an array of structures that point to others. One
//! key comes of a derivation: further ones (`pAdditionalDerivedKeys`) and fields that are keys are refused.

use cryptoki_sys::{
    CK_PRF_DATA_PARAM, CK_SP800_108_BYTE_ARRAY, CK_SP800_108_COUNTER, CK_SP800_108_COUNTER_FORMAT,
    CK_SP800_108_DKM_LENGTH, CK_SP800_108_DKM_LENGTH_FORMAT, CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS,
    CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS, CK_SP800_108_FEEDBACK_KDF_PARAMS, CK_SP800_108_ITERATION_VARIABLE,
    CK_SP800_108_KDF_PARAMS, CK_ULONG,
};
use hsmd_proto::ck::{MechanismType, Rv};
use hsmd_proto::kbkdf::{KbkdfField, KbkdfMode, KbkdfParams, NumberFormat};
use std::ffi::c_void;

use super::mechanism::{bytes, small, structure};

/// The most fields.
const MOST: CK_ULONG = 64;

/// # Safety
/// `at` is valid for `length` bytes; if it is the mechanism's structure, its pointers are valid.
pub(super) unsafe fn copy(mode: KbkdfMode, at: *const c_void, length: CK_ULONG) -> Result<KbkdfParams, Rv> {
    // SAFETY: `structure` compares the length with the structure's before it reads, `bytes` checks for NULL and absurd lengths; the
    // memory is valid by the promise.
    unsafe {
        if mode == KbkdfMode::Feedback {
            let raw: CK_SP800_108_FEEDBACK_KDF_PARAMS = structure(at, length)?;
            return Ok(KbkdfParams {
                prf: MechanismType(raw.prfType),
                fields: fields(raw.pDataParams, raw.ulNumberOfDataParams, raw.ulAdditionalDerivedKeys)?,
                iv: bytes(raw.pIV, raw.ulIVLen)?,
            });
        }
        let raw: CK_SP800_108_KDF_PARAMS = structure(at, length)?;
        Ok(KbkdfParams {
            prf: MechanismType(raw.prfType),
            fields: fields(raw.pDataParams, raw.ulNumberOfDataParams, raw.ulAdditionalDerivedKeys)?,
            iv: Vec::new(),
        })
    }
}

/// # Safety
/// `at` is NULL or valid for `count` structures, whose pointers are valid for their lengths.
unsafe fn fields(at: *const CK_PRF_DATA_PARAM, count: CK_ULONG, further: CK_ULONG) -> Result<Vec<KbkdfField>, Rv> {
    if at.is_null() || count > MOST || further != 0 {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    (0..count as usize)
        // SAFETY: not NULL, and within `count`; the promise.
        .map(|index| unsafe { field(at.add(index).read_unaligned()) })
        .collect()
}

/// # Safety
/// `pValue` is NULL or valid for `ulValueLen` bytes.
unsafe fn field(raw: CK_PRF_DATA_PARAM) -> Result<KbkdfField, Rv> {
    let (at, length) = (raw.pValue, raw.ulValueLen);
    if raw.type_ == CK_SP800_108_ITERATION_VARIABLE && at.is_null() && length == 0 {
        return Ok(KbkdfField::Iteration(None));
    }
    if at.is_null() {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    // SAFETY: not NULL; as in `copy`.
    unsafe {
        Ok(match raw.type_ {
            CK_SP800_108_ITERATION_VARIABLE => KbkdfField::Iteration(Some(counter(at, length)?)),
            CK_SP800_108_COUNTER => KbkdfField::Counter(counter(at, length)?),
            CK_SP800_108_DKM_LENGTH => {
                let raw: CK_SP800_108_DKM_LENGTH_FORMAT = structure(at, length)?;
                let segments = match raw.dkmLengthMethod {
                    CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS => false,
                    CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS => true,
                    _ => return Err(Rv::MECHANISM_PARAM_INVALID),
                };
                let format = NumberFormat {
                    little_endian: raw.bLittleEndian != 0,
                    bits: small(raw.ulWidthInBits)?,
                };
                KbkdfField::Length { segments, format }
            }
            CK_SP800_108_BYTE_ARRAY => KbkdfField::Bytes(bytes(at.cast(), length)?),
            _ => return Err(Rv::MECHANISM_PARAM_INVALID),
        })
    }
}

/// # Safety
/// `at` is valid for `length` bytes.
unsafe fn counter(at: *const c_void, length: CK_ULONG) -> Result<NumberFormat, Rv> {
    // SAFETY: `structure` compares the length with the structure's before it reads; the promise.
    let raw: CK_SP800_108_COUNTER_FORMAT = unsafe { structure(at, length)? };
    Ok(NumberFormat {
        little_endian: raw.bLittleEndian != 0,
        bits: small(raw.ulWidthInBits)?,
    })
}
