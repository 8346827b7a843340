//! Parameters of single messages (PKCS#11 3.0, 5.9): CK_GCM_MESSAGE_PARAMS, which also says where the module writes IV and tag.

use cryptoki_sys::{CK_GCM_MESSAGE_PARAMS, CK_GENERATOR_FUNCTION, CK_ULONG};
use hsmd_proto::ck::Rv;
use std::ffi::c_void;
use std::marker::PhantomData;

/// The longest IV, in bytes.
const LONGEST_IV: CK_ULONG = 256;

/// The parameter of one message, as the caller gives it.
pub(crate) struct RawMessage<'a> {
    place: *const c_void,
    length: CK_ULONG,
    call: PhantomData<&'a mut [u8]>,
}

impl<'a> RawMessage<'a> {
    /// # Safety
    /// `place` is NULL or valid for `length` bytes; if it is a CK_GCM_MESSAGE_PARAMS, `pIv` is NULL or valid for `ulIvLen` bytes
    /// and `pTag` for `ulTagBits` bits, and nobody else uses them, during `'a`.
    pub(in crate::abi) const unsafe fn new(place: *const c_void, length: CK_ULONG) -> Self {
        Self {
            place,
            length,
            call: PhantomData,
        }
    }

    /// The parameter of AES-GCM.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for anything that is none: message functions have no code for parameters.
    pub(crate) fn gcm(&self) -> Result<GcmMessage<'a>, Rv> {
        if self.place.is_null() || self.length != size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG {
            return Err(Rv::ARGUMENTS_BAD);
        }
        // SAFETY: not NULL and of the structure's length; the promise of `new`. Unaligned: callers cast.
        let raw = unsafe { self.place.cast::<CK_GCM_MESSAGE_PARAMS>().read_unaligned() };
        let good = !raw.pIv.is_null()
            && (1..=LONGEST_IV).contains(&raw.ulIvLen)
            && raw.ulIvFixedBits <= raw.ulIvLen * 8
            && !raw.pTag.is_null()
            && matches!(raw.ulTagBits, 96 | 104 | 112 | 120 | 128);
        good.then_some(GcmMessage { raw, call: PhantomData })
            .ok_or(Rv::ARGUMENTS_BAD)
    }
}

/// A CK_GCM_MESSAGE_PARAMS whose pointers are not NULL and whose lengths are those of IVs and tags.
pub(crate) struct GcmMessage<'a> {
    raw: CK_GCM_MESSAGE_PARAMS,
    call: PhantomData<&'a mut [u8]>,
}

impl GcmMessage<'_> {
    /// Who makes the IV.
    pub(crate) const fn generator(&self) -> CK_GENERATOR_FUNCTION {
        self.raw.ivGenerator
    }

    /// How many of the IV's first bits are the caller's.
    pub(crate) const fn fixed_bits(&self) -> usize {
        self.raw.ulIvFixedBits as usize
    }

    /// The tag's length in bits.
    pub(crate) const fn tag_bits(&self) -> u32 {
        self.raw.ulTagBits as u32
    }

    /// The tag's length in bytes.
    pub(crate) const fn tag_length(&self) -> usize {
        self.raw.ulTagBits as usize / 8
    }

    /// The IV as it stands there.
    pub(crate) fn iv(&self) -> Vec<u8> {
        // SAFETY: not NULL (`gcm`), at most 256 bytes; the promise of `new`.
        unsafe { std::slice::from_raw_parts(self.raw.pIv, self.raw.ulIvLen as usize) }.to_vec()
    }

    /// Writes an IV of the same length; what does not fit is not written.
    pub(crate) fn put_iv(&self, iv: &[u8]) {
        if iv.len() as CK_ULONG == self.raw.ulIvLen {
            // SAFETY: as for `iv`; the source is the module's own memory.
            unsafe { std::ptr::copy_nonoverlapping(iv.as_ptr(), self.raw.pIv, iv.len()) };
        }
    }

    /// The tag as it stands there.
    pub(crate) fn tag(&self) -> Vec<u8> {
        // SAFETY: not NULL (`gcm`), at most 16 bytes; the promise of `new`.
        unsafe { std::slice::from_raw_parts(self.raw.pTag, self.tag_length()) }.to_vec()
    }

    /// Writes a tag of that length; what does not fit is not written.
    pub(crate) fn put_tag(&self, tag: &[u8]) {
        if tag.len() == self.tag_length() {
            // SAFETY: as for `tag`; the source is the module's own memory.
            unsafe { std::ptr::copy_nonoverlapping(tag.as_ptr(), self.raw.pTag, tag.len()) };
        }
    }
}
