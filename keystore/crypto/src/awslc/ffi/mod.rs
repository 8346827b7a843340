//! Safe functions and owning types over aws-lc-sys. No policy and no PKCS#11 here: lengths that aws-lc relies on are
//! checked, everything else is the caller's.
//! One file per family of algorithms; here is what they share: ownership, errors, buffers.
//! `None` stands for any failure; aws-lc's per-thread error queue is emptied, because a host application may share it.
//! aws-lc's keys may be used by many threads at once if none changes them (openssl/evp.h), and nothing here does.
#![allow(
    unsafe_code,
    reason = "the one place of the crate that calls C; each block says what makes it sound"
)]

mod aead;
mod aes;
mod curve25519;
mod des;
mod dh;
mod ec;
mod hash;
mod quantum;
mod rsa;
mod sha;

pub(crate) use aead::{Aead, ccm_open, ccm_seal};
pub(crate) use aes::{Aes, ecb};
pub(crate) use curve25519::{EdPrivate, EdPublic, x25519, x25519_public};
pub(crate) use des::Des3;
pub(crate) use dh::power;
pub(crate) use ec::Ec;
pub(crate) use hash::{Hasher, Hmac, digest, pbkdf2};
pub(crate) use quantum::{Lattice, Shake, shake256};
pub(crate) use rsa::Rsa;
pub(crate) use sha::Sha;

use crate::engine::ScrubbedStack;
use aws_lc_sys as sys;
use hsmd_proto::ck::MechanismType;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

/// A C type that aws-lc allocates.
trait Native {
    /// Gives it back, wiped.
    ///
    /// # Safety
    /// `this` came from aws-lc's constructor and is not used afterwards.
    unsafe fn release(this: *mut Self);
}

macro_rules! native {
    ($($kind:ident => $free:ident),* $(,)?) => {
        $(impl Native for sys::$kind {
            unsafe fn release(this: *mut Self) {
                // SAFETY: the function is the destructor of the type, and the trait's contract is its own.
                unsafe { sys::$free(this) }
            }
        })*
    };
}

native! {
    BIGNUM => BN_clear_free,
    BN_CTX => BN_CTX_free,
    EC_KEY => EC_KEY_free,
    EC_POINT => EC_POINT_free,
    ECDSA_SIG => ECDSA_SIG_free,
    EVP_CIPHER_CTX => EVP_CIPHER_CTX_free,
    EVP_MD_CTX => EVP_MD_CTX_free,
    EVP_PKEY => EVP_PKEY_free,
    EVP_PKEY_CTX => EVP_PKEY_CTX_free,
    RSA => RSA_free,
}

/// Owns one object of aws-lc.
struct Owned<T: Native>(NonNull<T>);

impl<T: Native> Owned<T> {
    /// # Safety
    /// `raw` is null or an object of which nobody else holds this reference.
    unsafe fn take(raw: *mut T) -> Option<Self> {
        check(c_int::from(!raw.is_null()))?;
        NonNull::new(raw).map(Self)
    }

    const fn get(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T: Native> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `take` made this the only holder, and `self` ends here.
        unsafe { T::release(self.get()) }
    }
}

// SAFETY: these objects have no thread affinity; references are counted atomically (openssl/evp.h, openssl/ec_key.h).
unsafe impl<T: Native> Send for Owned<T> {}
// SAFETY: see the text above: used through shared references only for what aws-lc allows concurrently.
unsafe impl<T: Native> Sync for Owned<T> {}

/// Owns a flat C value: boxed, because it must not move, and wiped when dropped.
struct Flat<T>(Box<MaybeUninit<T>>);

impl<T> Flat<T> {
    fn zeroed() -> Self {
        Self(Box::new(MaybeUninit::zeroed()))
    }
}

impl<T> Drop for Flat<T> {
    fn drop(&mut self) {
        cleanse(&mut *self.0);
    }
}

// SAFETY: the values used here have no thread affinity and do not own what they point to (constants).
unsafe impl<T> Send for Flat<T> {}
// SAFETY: after they are made they are passed as const only.
unsafe impl<T> Sync for Flat<T> {}

/// aws-lc's 1 for success.
fn check(result: c_int) -> Option<()> {
    if result != 1 {
        // SAFETY: touches the calling thread's queue only.
        unsafe { sys::ERR_clear_error() }
    }
    (result == 1).then_some(())
}

/// A slice as C takes it; never null, also when it is empty.
const fn view(bytes: &[u8]) -> (*const u8, usize) {
    (bytes.as_ptr(), bytes.len())
}

/// A slice to be written, as C takes it.
const fn target(bytes: &mut [u8]) -> (*mut u8, usize) {
    (bytes.as_mut_ptr(), bytes.len())
}

/// Overwrites a value that C code kept secrets in.
fn cleanse<T>(value: &mut T) {
    // SAFETY: all bytes of the value are written; callers never read it again.
    unsafe { sys::OPENSSL_cleanse(ptr::from_mut(value).cast(), size_of::<T>()) }
}

fn message_digest(hash: MechanismType) -> Option<*const sys::EVP_MD> {
    // SAFETY: these return pointers to constants.
    unsafe {
        Some(match hash {
            MechanismType::SHA_1 => sys::EVP_sha1(),
            MechanismType::SHA224 => sys::EVP_sha224(),
            MechanismType::SHA256 => sys::EVP_sha256(),
            MechanismType::SHA384 => sys::EVP_sha384(),
            MechanismType::SHA512 => sys::EVP_sha512(),
            MechanismType::SHA512_224 => sys::EVP_sha512_224(),
            MechanismType::SHA512_256 => sys::EVP_sha512_256(),
            MechanismType::SHA3_224 => sys::EVP_sha3_224(),
            MechanismType::SHA3_256 => sys::EVP_sha3_256(),
            MechanismType::SHA3_384 => sys::EVP_sha3_384(),
            MechanismType::SHA3_512 => sys::EVP_sha3_512(),
            _ => return None,
        })
    }
}

/// Fills `out` from aws-lc's CTR_DRBG (SP 800-90A): one state per thread, aware of `fork` and of virtual-machine snapshots;
/// seeded from the processor's jitter and the operating system.
pub(crate) fn draw(out: &mut [u8]) {
    #[expect(
        clippy::expect_used,
        reason = "RAND_bytes of aws-lc has no failing return (openssl/rand.h)"
    )]
    aws_lc_rs::rand::fill(out).expect("aws-lc gives random bytes");
}

fn number(bytes: &[u8]) -> Option<Owned<sys::BIGNUM>> {
    // SAFETY: reads `bytes.len()` bytes; a null third argument asks for a new number, which is ours.
    unsafe { Owned::take(sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut())) }
}
