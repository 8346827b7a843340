//! Keys of ML-DSA (FIPS 204) and ML-KEM (FIPS 203) in the form that EVP has for them, and SHAKE256, of which ML-DSA makes its message
//! representative.

use super::{Owned, check, sys, target, view};
use crate::pkcs8;
use crate::secret::Secret;
use hsmd_proto::parameter_set::ParameterSet;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

/// A key of a parameter set, public or private.
pub(crate) struct Lattice {
    key: Owned<sys::EVP_PKEY>,
    set: ParameterSet,
}

/// The number by which aws-lc knows a set of ML-DSA.
const fn signing(set: ParameterSet) -> Option<c_int> {
    match set {
        ParameterSet::MlDsa44 => Some(sys::NID_MLDSA44),
        ParameterSet::MlDsa65 => Some(sys::NID_MLDSA65),
        ParameterSet::MlDsa87 => Some(sys::NID_MLDSA87),
        _ => None,
    }
}

/// The number by which aws-lc knows a set of ML-KEM.
const fn encapsulating(set: ParameterSet) -> Option<c_int> {
    match set {
        ParameterSet::MlKem512 => Some(sys::NID_MLKEM512),
        ParameterSet::MlKem768 => Some(sys::NID_MLKEM768),
        ParameterSet::MlKem1024 => Some(sys::NID_MLKEM1024),
        _ => None,
    }
}

/// The length of a shared secret in bytes (FIPS 203, 8, table 3).
const SHARED: usize = 32;

impl Lattice {
    /// A private key from its seed or from its expanded form, which is told by the length. Of an expanded one the public half is
    /// computed; it must fit the hash of it that the private one holds.
    pub(crate) fn from_private(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        let (number, (i, length)) = (signing(set)?, view(bytes));
        // SAFETY: reads `length` bytes, and none if that is neither length of the set; the result is ours or null.
        let key = unsafe { Owned::take(sys::EVP_PKEY_pqdsa_new_raw_private_key(number, i, length)) }?;
        Some(Self { key, set })
    }

    /// A public key.
    pub(crate) fn from_public(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        let (number, (i, length)) = (signing(set)?, view(bytes));
        // SAFETY: reads `length` bytes, and none if that is not the length of the set; the result is ours or null.
        let key = unsafe { Owned::take(sys::EVP_PKEY_pqdsa_new_raw_public_key(number, i, length)) }?;
        Some(Self { key, set })
    }

    pub(crate) const fn set(&self) -> ParameterSet {
        self.set
    }

    /// The public key, which a private one has as well.
    pub(crate) fn public(&self) -> Option<Vec<u8>> {
        let mut out = vec![0; self.set.public_bytes()];
        let (o, mut length) = target(&mut out);
        // SAFETY: writes at most `length` bytes, and tells how many.
        check(unsafe { sys::EVP_PKEY_get_raw_public_key(self.key.get(), o, &raw mut length) })?;
        (length == out.len()).then_some(out)
    }

    /// The expanded private key.
    pub(crate) fn private(&self) -> Option<Secret> {
        let mut out = Secret::zeroed(self.set.private_bytes());
        let (o, mut length) = target(out.expose_mut());
        // SAFETY: writes at most `length` bytes, and tells how many; a public key is refused.
        check(unsafe { sys::EVP_PKEY_get_raw_private_key(self.key.get(), o, &raw mut length) })?;
        (length == out.len()).then_some(out)
    }

    fn context(&self) -> Option<Owned<sys::EVP_PKEY_CTX>> {
        // SAFETY: a new context, which takes a reference of its own to the key; ours or null.
        unsafe { Owned::take(sys::EVP_PKEY_CTX_new(self.key.get(), ptr::null_mut())) }
    }

    /// A hedged signature of a message representative (FIPS 204, 6.2, from step 7 on).
    pub(crate) fn sign(&self, mu: &[u8; 64], out: &mut [u8]) -> Option<()> {
        let context = self.context()?;
        let ((i, read), (o, room)) = (view(mu), target(out));
        let mut length = room;
        // SAFETY: reads `read` bytes and writes at most `length`; a public key is refused.
        unsafe {
            check(sys::EVP_PKEY_sign_init(context.get()))?;
            check(sys::EVP_PKEY_sign(context.get(), o, &raw mut length, i, read))?;
        }
        (length == room).then_some(())
    }

    /// Whether it is a signature of the message representative.
    pub(crate) fn verify(&self, mu: &[u8; 64], signature: &[u8]) -> Option<()> {
        let context = self.context()?;
        let ((i, read), (s, length)) = (view(mu), view(signature));
        // SAFETY: reads `read` and `length` bytes.
        unsafe {
            check(sys::EVP_PKEY_verify_init(context.get()))?;
            check(sys::EVP_PKEY_verify(context.get(), s, length, i, read))
        }
    }
}

/// Keys of ML-KEM.
impl Lattice {
    /// A private key of this set from its seed, d || z (FIPS 203, 7.1), which EVP takes in PKCS #8 (RFC 9935, 6).
    pub(crate) fn from_kem_seed(set: ParameterSet, seed: &Secret) -> Option<Self> {
        let der = pkcs8::encode_seed(set, seed)?;
        let (i, length) = view(der.expose());
        let mut reader = MaybeUninit::<sys::CBS>::zeroed();
        // SAFETY: `init` makes the reader valid; it reads at most `length` bytes; the result is ours or null.
        let key = unsafe {
            sys::CBS_init(reader.as_mut_ptr(), i, length);
            Owned::take(sys::EVP_parse_private_key(reader.as_mut_ptr()))?
        };
        // SAFETY: the key lives; another type than a KEM gives 0.
        let number = unsafe { sys::EVP_PKEY_kem_get_type(key.get()) };
        (Some(number) == encapsulating(set)).then_some(Self { key, set })
    }

    /// A private key from its expanded form and its public half; both are checked, and that they fit each other.
    pub(crate) fn from_kem_pair(set: ParameterSet, public: &[u8], private: &[u8]) -> Option<Self> {
        let (number, (p, public), (s, private)) = (encapsulating(set)?, view(public), view(private));
        // SAFETY: reads `public` and `private` bytes, and none if those are not the lengths of the set; ours or null.
        let key = unsafe { Owned::take(sys::EVP_PKEY_kem_new_raw_key(number, p, public, s, private)) }?;
        // SAFETY: the key lives and is ours alone.
        check(unsafe { sys::EVP_PKEY_kem_check_key(key.get()) })?;
        Some(Self { key, set })
    }

    /// A public key. Its first encapsulation, here, checks that its numbers are in range (FIPS 203, 7.2).
    pub(crate) fn from_kem_public(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        let (number, (i, length)) = (encapsulating(set)?, view(bytes));
        // SAFETY: reads `length` bytes, and none if that is not the length of the set; the result is ours or null.
        let key = unsafe { Owned::take(sys::EVP_PKEY_kem_new_raw_public_key(number, i, length)) }?;
        let key = Self { key, set };
        key.encapsulate().map(|_| key)
    }

    /// A ciphertext and the secret that it carries.
    pub(crate) fn encapsulate(&self) -> Option<(Vec<u8>, Secret)> {
        let context = self.context()?;
        let (mut ciphertext, mut secret) = (vec![0; self.set.output_bytes()], Secret::zeroed(SHARED));
        let ((c, mut length), (s, mut shared)) = (target(&mut ciphertext), target(secret.expose_mut()));
        // SAFETY: writes at most `length` and `shared` bytes and tells how many; a key of another kind is refused.
        check(unsafe { sys::EVP_PKEY_encapsulate(context.get(), c, &raw mut length, s, &raw mut shared) })?;
        (length == ciphertext.len() && shared == SHARED).then_some((ciphertext, secret))
    }

    /// The secret of a ciphertext of the set's length.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Option<Secret> {
        let context = self.context()?;
        let mut secret = Secret::zeroed(SHARED);
        let ((c, length), (s, mut shared)) = (view(ciphertext), target(secret.expose_mut()));
        // SAFETY: reads `length` bytes, writes at most `shared` and tells how many; a public key is refused.
        check(unsafe { sys::EVP_PKEY_decapsulate(context.get(), s, &raw mut shared, c, length) })?;
        (shared == SHARED).then_some(secret)
    }
}

/// SHAKE for many short inputs: one context serves them all.
pub(crate) struct Shake(Owned<sys::EVP_MD_CTX>, unsafe extern "C" fn() -> *const sys::EVP_MD);

impl Shake {
    /// SHAKE256.
    pub(crate) fn new() -> Option<Self> {
        Self::of(sys::EVP_shake256)
    }

    /// SHAKE128.
    pub(crate) fn new_128() -> Option<Self> {
        Self::of(sys::EVP_shake128)
    }

    fn of(function: unsafe extern "C" fn() -> *const sys::EVP_MD) -> Option<Self> {
        // SAFETY: a new context, which is ours or null.
        let context = unsafe { Owned::take(sys::EVP_MD_CTX_new()) };
        context.map(|context| Self(context, function))
    }

    /// The first bytes of the output for the parts, one after the other.
    pub(crate) fn hash(&mut self, parts: &[&[u8]], out: &mut [u8]) -> Option<()> {
        let context = self.0.get();
        // SAFETY: the context is borrowed alone, and Init begins it anew; the function is a constant; reads each part's length,
        // writes as many bytes as `out` has.
        unsafe {
            check(sys::EVP_DigestInit_ex(context, (self.1)(), ptr::null_mut()))?;
            for part in parts {
                let (data, length) = view(part);
                check(sys::EVP_DigestUpdate(context, data.cast(), length))?;
            }
            let (o, length) = target(out);
            check(sys::EVP_DigestFinalXOF(context, o, length))
        }
    }
}

/// SHAKE256 (FIPS 202, 6.2) of the parts, one after the other.
pub(crate) fn shake256(parts: &[&[u8]]) -> Option<[u8; 64]> {
    let mut out = [0; 64];
    Shake::new()?.hash(parts, &mut out)?;
    Some(out)
}
