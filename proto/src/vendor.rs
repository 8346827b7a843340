//! Numbers of our own, in the room that PKCS#11 leaves to vendors: `CKA_VENDOR_DEFINED` and `CKH_VENDOR_DEFINED` with `HSM` and a
//! number in the low bits. They are listed in `docs/policies.md`, and never used for anything else.

use crate::ck::AttributeType;

/// The upper bits of all of them: `CKA_VENDOR_DEFINED | 0x48534d00`.
const BASE: u64 = 0xc853_4d00;

impl AttributeType {
    /// `CKA_HSMD_ORIGIN`, CK_ULONG, of keys: where the material may be known from (DESIGN 8). 0: made here and never readable.
    /// Bits: 1, created, unwrapped or agreed; 2, readable at some moment.
    pub const HSMD_ORIGIN: Self = Self(BASE | 1);
    /// `CKA_HSMD_WRAPPING`, CK_BBOOL, of keys: the latch. The material has wrapped a sensitive key (DESIGN 8).
    pub const HSMD_WRAPPING: Self = Self(BASE | 2);
    /// `CKA_HSMD_POLICY`, text, of the token's hardware feature [`POLICY_FEATURE`]: the policy's name.
    pub const HSMD_POLICY: Self = Self(BASE | 3);
}

/// `CKH_HSMD_POLICY`: the hardware feature object that says which policy the token has.
pub const POLICY_FEATURE: u64 = BASE | 1;
