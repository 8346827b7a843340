//! CK_MECHANISM and its parameter structures, copied once into [`Mechanism`]. Whether a parameter fits is for
//! `hsmd_proto::params`; here only the memory is made safe.

use super::message::{GcmMessage, RawMessage};
use super::{kbkdf, password, tls};
use cryptoki_sys::{
    CK_AES_CTR_PARAMS, CK_BYTE, CK_CCM_PARAMS, CK_ECDH_AES_KEY_WRAP_PARAMS, CK_ECDH1_DERIVE_PARAMS, CK_EDDSA_PARAMS,
    CK_GCM_PARAMS, CK_HASH_SIGN_ADDITIONAL_CONTEXT, CK_HKDF_PARAMS, CK_KEY_DERIVATION_STRING_DATA, CK_MECHANISM,
    CK_RSA_AES_KEY_WRAP_PARAMS, CK_RSA_PKCS_OAEP_PARAMS, CK_RSA_PKCS_PSS_PARAMS, CK_SALSA20_CHACHA20_POLY1305_PARAMS,
    CK_SIGN_ADDITIONAL_CONTEXT, CK_ULONG, CKF_HKDF_SALT_DATA, CKF_HKDF_SALT_NULL, CKZ_DATA_SPECIFIED,
};
use hsmd_proto::ck::{Kdf, MechanismType, Mgf, Rv};
use hsmd_proto::mechanism::{self, ParamKind};
use hsmd_proto::params::{
    CcmParams, ChaChaParams, CtrParams, EcdhAesParams, EcdhParams, EddsaParams, GcmParams, Hedge, HkdfParams,
    Mechanism, OaepParams, Params, PssParams, RsaAesParams, SignContext,
};
use std::ffi::c_void;
use std::marker::PhantomData;

/// The longest byte string inside a parameter: IVs, labels, points, additional data.
const LONGEST: CK_ULONG = 1 << 19;

/// A mechanism that the caller gives.
pub(crate) struct RawMechanism<'a> {
    place: *const CK_MECHANISM,
    call: PhantomData<&'a CK_MECHANISM>,
}

impl<'a> RawMechanism<'a> {
    /// # Safety
    /// `place` is NULL or a valid CK_MECHANISM whose parameter is valid for its length and, if it is the structure that
    /// the specification gives to the mechanism, has valid inner pointers, during `'a`; where it is the
    /// CK_GCM_PARAMS of an encryption, `pIv` may be written.
    pub(in crate::abi) const unsafe fn new(place: *const CK_MECHANISM) -> Self {
        Self {
            place,
            call: PhantomData,
        }
    }

    /// Whether there is none: C_XxxInit then cancels (PKCS#11 3.0, 5.8 and others).
    pub(crate) const fn is_null(&self) -> bool {
        self.place.is_null()
    }

    /// The type alone: message functions take the parameter with each message.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for NULL.
    pub(crate) fn kind(&self) -> Result<MechanismType, Rv> {
        if self.place.is_null() {
            return Err(Rv::ARGUMENTS_BAD);
        }
        // SAFETY: not NULL; the promise of `new`.
        Ok(MechanismType(unsafe { self.place.read_unaligned() }.mechanism))
    }

    /// The parameter of a single message, which C_WrapKeyAuthenticated takes with the mechanism: of AES-GCM.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for NULL, `CKR_MECHANISM_INVALID` for another mechanism, `CKR_MECHANISM_PARAM_INVALID`.
    pub(crate) fn gcm_message(&self) -> Result<GcmMessage<'a>, Rv> {
        if self.kind()? != MechanismType::AES_GCM {
            return Err(Rv::MECHANISM_INVALID);
        }
        // SAFETY: not NULL (`kind`); the promise of `new`, which covers the parameter and what its pointers show.
        let message = unsafe {
            let raw = self.place.read_unaligned();
            RawMessage::new(raw.pParameter, raw.ulParameterLen)
        };
        message.gcm().map_err(|_| Rv::MECHANISM_PARAM_INVALID)
    }

    /// Copies mechanism and parameter.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for NULL, `CKR_MECHANISM_INVALID` for a mechanism without a row, and
    /// `CKR_MECHANISM_PARAM_INVALID` for a parameter of the wrong length or with a NULL inside.
    pub(crate) fn parse(&self) -> Result<Mechanism, Rv> {
        if self.place.is_null() {
            return Err(Rv::ARGUMENTS_BAD);
        }
        // SAFETY: not NULL; the promise of `new`.
        let raw = unsafe { self.place.read_unaligned() };
        let kind = MechanismType(raw.mechanism);
        let row = mechanism::row(kind).ok_or(Rv::MECHANISM_INVALID)?;
        if raw.pParameter.is_null() && raw.ulParameterLen != 0 {
            return Err(Rv::MECHANISM_PARAM_INVALID);
        }
        let params = if raw.pParameter.is_null() || raw.ulParameterLen == 0 {
            Params::None
        } else {
            // SAFETY: not NULL; the promise of `new` covers the parameter.
            unsafe { copy(row.params, &raw)? }
        };
        Ok(Mechanism { kind, params })
    }

    /// The password of CKM_PKCS5_PBKD2, where the caller keeps it: it goes to the daemon and is kept nowhere.
    ///
    /// # Errors
    /// `CKR_MECHANISM_PARAM_INVALID` for another mechanism, and for one without password.
    pub(crate) fn password(&self) -> Result<&'a [u8], Rv> {
        if self.place.is_null() {
            return Err(Rv::ARGUMENTS_BAD);
        }
        // SAFETY: not NULL; the promise of `new`, which covers the parameter and what its pointers show.
        unsafe { password::given(&self.place.read_unaligned()) }
    }

    /// Writes an IV where CK_GCM_PARAMS points, or a nonce where CK_CCM_PARAMS or CK_SALSA20_CHACHA20_POLY1305_PARAMS does, in
    /// place of one of the same length; anything else is left alone.
    pub(crate) fn put_iv(&self, iv: &[u8]) {
        if let Some(place) = self.place_of_iv(iv.len()) {
            // SAFETY: not NULL and as long as the source, which is the module's own; the promise of `new`.
            unsafe { std::ptr::copy_nonoverlapping(iv.as_ptr(), place, iv.len()) };
        }
    }

    /// Whether an IV of so many bytes, zeros now, can be written where CK_GCM_PARAMS points: other mechanisms read there only, so
    /// an application may show it a constant, and writing to one would end the process (INV-9).
    pub(crate) fn has_room_for_iv(&self, length: usize) -> bool {
        let Some(place) = self.place_of_iv(length) else {
            return false;
        };
        // By the kernel, which refuses where a write of our own would be a fault; not by glibc's function, which may write itself.
        // SAFETY: the system call checks the memory itself.
        let written = unsafe { libc::syscall(libc::SYS_getrandom, place, length, 0) };
        if usize::try_from(written) != Ok(length) {
            return false;
        }
        // SAFETY: it was written just now.
        unsafe { std::ptr::write_bytes(place, 0, length) };
        true
    }

    fn place_of_iv(&self, length: usize) -> Option<*mut u8> {
        if self.place.is_null() {
            return None;
        }
        // SAFETY: not NULL; the promise of `new`.
        let raw = unsafe { self.place.read_unaligned() };
        // SAFETY: the promise of `new`; `structure` looks at pointer and length before it reads.
        let (place, stated) = unsafe { nonce_place(&raw) }.ok()?;
        (!place.is_null() && stated == length as CK_ULONG).then_some(place)
    }
}

/// Where a mechanism's nonce stands, and its length.
///
/// # Safety
/// As [`RawMechanism::new`].
unsafe fn nonce_place(raw: &CK_MECHANISM) -> Result<(*mut CK_BYTE, CK_ULONG), Rv> {
    let (at, length) = (raw.pParameter, raw.ulParameterLen);
    // SAFETY: `structure` compares the length with the structure's before it reads; the memory is valid by the promise.
    unsafe {
        Ok(match MechanismType(raw.mechanism) {
            _ if at.is_null() => return Err(Rv::MECHANISM_PARAM_INVALID),
            MechanismType::AES_GCM | MechanismType::AES_GMAC => {
                let gcm: CK_GCM_PARAMS = structure(at, length)?;
                (gcm.pIv, gcm.ulIvLen)
            }
            MechanismType::AES_CCM => {
                let ccm: CK_CCM_PARAMS = structure(at, length)?;
                (ccm.pNonce, ccm.ulNonceLen)
            }
            MechanismType::CHACHA20_POLY1305 => {
                let chacha: CK_SALSA20_CHACHA20_POLY1305_PARAMS = structure(at, length)?;
                (chacha.pNonce, chacha.ulNonceLen)
            }
            _ => return Err(Rv::MECHANISM_INVALID),
        })
    }
}

/// # Safety
/// As [`RawMechanism::new`]; `pParameter` is not NULL.
unsafe fn copy(kind: ParamKind, raw: &CK_MECHANISM) -> Result<Params, Rv> {
    let at = raw.pParameter;
    let length = raw.ulParameterLen;
    // SAFETY: in all arms `structure` compares the length with the structure's before it reads, and `bytes` checks for
    // NULL and absurd lengths; the memory is valid by the promise.
    unsafe {
        Ok(match kind {
            ParamKind::None => return Err(Rv::MECHANISM_PARAM_INVALID),
            ParamKind::Iv(_) | ParamKind::OptionalIv(_) => Params::Iv(bytes(at.cast(), length)?),
            ParamKind::MacLength => Params::Number(structure::<CK_ULONG>(at, length)?),
            ParamKind::Ctr => {
                let raw: CK_AES_CTR_PARAMS = structure(at, length)?;
                Params::Ctr(CtrParams {
                    counter_bits: small(raw.ulCounterBits)?,
                    block: raw.cb,
                })
            }
            ParamKind::Gcm => {
                let raw: CK_GCM_PARAMS = structure(at, length)?;
                Params::Gcm(GcmParams {
                    iv: bytes(raw.pIv, raw.ulIvLen)?,
                    aad: bytes(raw.pAAD, raw.ulAADLen)?,
                    tag_bits: small(raw.ulTagBits)?,
                })
            }
            ParamKind::Pss => {
                let raw: CK_RSA_PKCS_PSS_PARAMS = structure(at, length)?;
                Params::Pss(PssParams {
                    hash: MechanismType(raw.hashAlg),
                    mgf: Mgf(raw.mgf),
                    salt_length: raw.sLen,
                })
            }
            ParamKind::Oaep => Params::Oaep(oaep(at, length)?),
            ParamKind::Ecdh => {
                let raw: CK_ECDH1_DERIVE_PARAMS = structure(at, length)?;
                Params::Ecdh(EcdhParams {
                    kdf: Kdf(raw.kdf),
                    shared_data: bytes(raw.pSharedData, raw.ulSharedDataLen)?,
                    public_point: bytes(raw.pPublicData, raw.ulPublicDataLen)?,
                })
            }
            _ => copy_newer(kind, raw)?,
        })
    }
}

/// CK_RSA_PKCS_OAEP_PARAMS.
///
/// # Safety
/// As [`copy`]; `at` may be NULL.
unsafe fn oaep(at: *mut c_void, length: CK_ULONG) -> Result<OaepParams, Rv> {
    if at.is_null() {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    // SAFETY: as in `copy`; not NULL.
    unsafe {
        let raw: CK_RSA_PKCS_OAEP_PARAMS = structure(at, length)?;
        // Some callers leave `source` at 0 when there is no label.
        let specified = raw.source == CKZ_DATA_SPECIFIED || (raw.source == 0 && raw.ulSourceDataLen == 0);
        if !specified {
            return Err(Rv::MECHANISM_PARAM_INVALID);
        }
        Ok(OaepParams {
            hash: MechanismType(raw.hashAlg),
            mgf: Mgf(raw.mgf),
            label: bytes(raw.pSourceData.cast(), raw.ulSourceDataLen)?,
        })
    }
}

/// CK_HKDF_PARAMS.
///
/// # Safety
/// As [`copy`].
unsafe fn hkdf(at: *const c_void, length: CK_ULONG) -> Result<HkdfParams, Rv> {
    // SAFETY: as in `copy`.
    unsafe {
        let raw: CK_HKDF_PARAMS = structure(at, length)?;
        let (extract, expand) = (raw.bExtract != 0, raw.bExpand != 0);
        let salt = match raw.ulSaltType {
            CKF_HKDF_SALT_DATA if extract => bytes(raw.pSalt, raw.ulSaltLen)?,
            CKF_HKDF_SALT_NULL => Vec::new(),
            // Without HKDF-Extract there is no salt, whatever its fields hold.
            _ if !extract => Vec::new(),
            // A salt that is a key (CKF_HKDF_SALT_KEY) is not taken.
            _ => return Err(Rv::MECHANISM_PARAM_INVALID),
        };
        Ok(HkdfParams {
            extract,
            expand,
            hash: MechanismType(raw.prfHashMechanism),
            salt,
            info: if expand {
                bytes(raw.pInfo, raw.ulInfoLen)?
            } else {
                Vec::new()
            },
        })
    }
}

/// The structures that PKCS#11 3.0 and 3.2 added.
///
/// # Safety
/// As [`copy`].
unsafe fn copy_newer(kind: ParamKind, raw: &CK_MECHANISM) -> Result<Params, Rv> {
    let at = raw.pParameter;
    let length = raw.ulParameterLen;
    // SAFETY: as in `copy`.
    unsafe {
        Ok(match kind {
            ParamKind::Hkdf => Params::Hkdf(hkdf(at, length)?),
            ParamKind::Key | ParamKind::Bit => Params::Number(structure::<CK_ULONG>(at, length)?),
            ParamKind::PeerValue => Params::Data(bytes(at.cast(), length)?),
            ParamKind::Data => {
                let raw: CK_KEY_DERIVATION_STRING_DATA = structure(at, length)?;
                Params::Data(bytes(raw.pData, raw.ulLen)?)
            }
            ParamKind::Kbkdf(mode) => Params::Kbkdf(kbkdf::copy(mode, at, length)?),
            ParamKind::Tls(secret) => Params::Tls(tls::copy(secret, at, length)?),
            ParamKind::TlsMac => Params::TlsMac(tls::mac(at, length)?),
            ParamKind::Pbkdf2 => Params::Pbkdf2(password::copy(at, length)?),
            ParamKind::RsaAes => {
                let raw: CK_RSA_AES_KEY_WRAP_PARAMS = structure(at, length)?;
                Params::RsaAes(RsaAesParams {
                    aes_bits: raw.ulAESKeyBits,
                    oaep: oaep(raw.pOAEPParams.cast(), size_of::<CK_RSA_PKCS_OAEP_PARAMS>() as CK_ULONG)?,
                })
            }
            ParamKind::EcdhAes => {
                let raw: CK_ECDH_AES_KEY_WRAP_PARAMS = structure(at, length)?;
                Params::EcdhAes(EcdhAesParams {
                    aes_bits: raw.ulAESKeyBits,
                    kdf: Kdf(raw.kdf),
                    shared_data: bytes(raw.pSharedData, raw.ulSharedDataLen)?,
                })
            }
            ParamKind::Ccm => {
                let raw: CK_CCM_PARAMS = structure(at, length)?;
                Params::Ccm(CcmParams {
                    data_length: raw.ulDataLen,
                    nonce: bytes(raw.pNonce, raw.ulNonceLen)?,
                    aad: bytes(raw.pAAD, raw.ulAADLen)?,
                    mac_length: raw.ulMACLen,
                })
            }
            ParamKind::ChaCha => {
                let raw: CK_SALSA20_CHACHA20_POLY1305_PARAMS = structure(at, length)?;
                Params::ChaCha(ChaChaParams {
                    nonce: bytes(raw.pNonce, raw.ulNonceLen)?,
                    aad: bytes(raw.pAAD, raw.ulAADLen)?,
                })
            }
            ParamKind::Eddsa => {
                let raw: CK_EDDSA_PARAMS = structure(at, length)?;
                Params::Eddsa(EddsaParams {
                    prehash: raw.phFlag != 0,
                    context: bytes(raw.pContextData, raw.ulContextDataLen)?,
                })
            }
            ParamKind::SignContext => {
                let raw: CK_SIGN_ADDITIONAL_CONTEXT = structure(at, length)?;
                let context = bytes(raw.pContext, raw.ulContextLen)?;
                sign_context(raw.hedgeVariant, context, None)?
            }
            ParamKind::HashSignContext => {
                let raw: CK_HASH_SIGN_ADDITIONAL_CONTEXT = structure(at, length)?;
                let context = bytes(raw.pContext, raw.ulContextLen)?;
                sign_context(raw.hedgeVariant, context, Some(MechanismType(raw.hash)))?
            }
            _ => return Err(Rv::MECHANISM_PARAM_INVALID),
        })
    }
}

fn sign_context(hedge: CK_ULONG, context: Vec<u8>, hash: Option<MechanismType>) -> Result<Params, Rv> {
    let hedge = Hedge::new(hedge).ok_or(Rv::MECHANISM_PARAM_INVALID)?;
    Ok(Params::SignContext(SignContext { hedge, context, hash }))
}

/// # Safety
/// `at` is valid for `length` bytes; `T` is a C structure of integers and pointers.
pub(super) unsafe fn structure<T: Copy>(at: *const c_void, length: CK_ULONG) -> Result<T, Rv> {
    if length != size_of::<T>() as CK_ULONG {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    // SAFETY: the length is the structure's; every bit pattern is a value of such a T.
    Ok(unsafe { at.cast::<T>().read_unaligned() })
}

/// # Safety
/// `at` is NULL or valid for `length` bytes.
pub(super) unsafe fn bytes(at: *const u8, length: CK_ULONG) -> Result<Vec<u8>, Rv> {
    if length == 0 {
        return Ok(Vec::new());
    }
    if at.is_null() || length > LONGEST {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    // SAFETY: not NULL, at most 512 KiB, valid by the promise.
    Ok(unsafe { std::slice::from_raw_parts(at, length as usize) }.to_vec())
}

pub(super) fn small(number: CK_ULONG) -> Result<u32, Rv> {
    u32::try_from(number).map_err(|_| Rv::MECHANISM_PARAM_INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: MechanismType, parameter: *mut c_void, length: usize) -> Result<Mechanism, Rv> {
        let raw = CK_MECHANISM {
            mechanism: kind.0,
            pParameter: parameter,
            ulParameterLen: length as CK_ULONG,
        };
        // SAFETY: each test passes a parameter that is valid for its length, or NULL.
        unsafe { RawMechanism::new(&raw const raw) }.parse()
    }

    #[test]
    fn structures_of_the_wrong_length_are_refused() {
        let mut pss = CK_RSA_PKCS_PSS_PARAMS {
            hashAlg: MechanismType::SHA256.0,
            mgf: Mgf::MGF1_SHA256.0,
            sLen: 32,
        };
        let at = (&raw mut pss).cast();
        assert!(parse(MechanismType::RSA_PKCS_PSS, at, size_of_val(&pss)).is_ok());
        for length in [1, 23, 25, usize::MAX] {
            let refused = parse(MechanismType::RSA_PKCS_PSS, at, length);
            assert_eq!(refused, Err(Rv::MECHANISM_PARAM_INVALID));
        }
        let null = std::ptr::null_mut();
        assert_eq!(
            parse(MechanismType::AES_CBC, null, 16),
            Err(Rv::MECHANISM_PARAM_INVALID)
        );
        assert_eq!(parse(MechanismType(0x7fff_0001), null, 0), Err(Rv::MECHANISM_INVALID));
    }

    #[test]
    fn inner_pointers_may_be_null_only_with_length_zero() {
        let mut gcm = CK_GCM_PARAMS {
            pIv: std::ptr::null_mut(),
            ulIvLen: 12,
            ulIvBits: 0,
            pAAD: std::ptr::null_mut(),
            ulAADLen: 0,
            ulTagBits: 128,
        };
        let length = size_of_val(&gcm);
        let refused = parse(MechanismType::AES_GCM, (&raw mut gcm).cast(), length);
        assert_eq!(refused, Err(Rv::MECHANISM_PARAM_INVALID));
        let mut iv = [0_u8; 12];
        gcm.pIv = iv.as_mut_ptr();
        assert!(parse(MechanismType::AES_GCM, (&raw mut gcm).cast(), length).is_ok());
    }
}
