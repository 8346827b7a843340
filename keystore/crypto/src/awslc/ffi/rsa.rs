//! RSA keys: their numbers, signatures, raw operations, OAEP. Padding of PKCS #1 v1.5 decryption is not aws-lc's here: see
//! `key/pkcs1.rs`.

use super::{Owned, check, message_digest, number, sys, target, view};
use crate::engine::{RsaHalf, RsaHashes, RsaNumbers, Way};
use crate::secret::Secret;
use std::ffi::c_int;
use std::ptr::{self, NonNull};

/// An RSA key, public or private.
pub(crate) struct Rsa(Owned<sys::EVP_PKEY>);

impl Rsa {
    /// Makes a key of its numbers; aws-lc checks that they belong together (with primes), that n is odd, and that e is
    /// odd, at least 3 and at most 33 bits long.
    pub(crate) fn new(numbers: &RsaNumbers<'_>) -> Option<Self> {
        let (n, e) = (number(numbers.n)?, number(numbers.e)?);
        let d = numbers.d.map_or(Some(None), |d| number(d).map(Some))?;
        // SAFETY: the numbers live through the calls, which copy them; the result is ours or null.
        let rsa = unsafe {
            match (d, numbers.crt) {
                (None, _) => Owned::take(sys::RSA_new_public_key(n.get(), e.get())),
                (Some(d), None) => Owned::take(sys::RSA_new_private_key_no_crt(n.get(), e.get(), d.get())),
                (Some(d), Some([p, q, dp, dq, qi])) => {
                    let (p, q, dp, dq, qi) = (number(p)?, number(q)?, number(dp)?, number(dq)?, number(qi)?);
                    let (n, e, d, p, q) = (n.get(), e.get(), d.get(), p.get(), q.get());
                    Owned::take(sys::RSA_new_private_key(n, e, d, p, q, dp.get(), dq.get(), qi.get()))
                }
            }
        };
        Self::from_rsa(&rsa?)
    }

    /// Generates a key (FIPS 186-5, A.1.3). `bits` is a multiple of 128.
    pub(crate) fn generate(bits: u32, e: &[u8]) -> Option<Self> {
        let (e, bits) = (number(e)?, c_int::try_from(bits).ok()?);
        // SAFETY: a new, empty key; `e` lives through the call; no progress callback.
        unsafe {
            let rsa = Owned::take(sys::RSA_new())?;
            check(sys::RSA_generate_key_ex(rsa.get(), bits, e.get(), ptr::null_mut()))?;
            Self::from_rsa(&rsa)
        }
    }

    fn from_rsa(rsa: &Owned<sys::RSA>) -> Option<Self> {
        // SAFETY: both live; `set1` takes its own reference.
        unsafe {
            let key = Owned::take(sys::EVP_PKEY_new())?;
            check(sys::EVP_PKEY_set1_RSA(key.get(), rsa.get()))?;
            Some(Self(key))
        }
    }

    fn rsa(&self) -> *mut sys::RSA {
        // SAFETY: the constructor put an RSA key in; it lives as long as `self`.
        unsafe { sys::EVP_PKEY_get0_RSA(self.0.get()) }
    }

    /// The modulus' length in bits.
    pub(crate) fn bits(&self) -> u32 {
        // SAFETY: the key is live.
        unsafe { sys::RSA_bits(self.rsa()) }
    }

    /// The modulus' length in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bits().div_ceil(8) as usize
    }

    /// `RSAPrivateKey` or `RSAPublicKey` (RFC 8017, A.1).
    pub(crate) fn der(&self, half: RsaHalf) -> Option<Secret> {
        let (mut data, mut length, key) = (ptr::null_mut(), 0, self.rsa());
        // SAFETY: on success the buffer is ours, `length` bytes long, and `OPENSSL_free` wipes it.
        unsafe {
            check(match half {
                RsaHalf::Private => sys::RSA_private_key_to_bytes(&raw mut data, &raw mut length, key),
                RsaHalf::Public => sys::RSA_public_key_to_bytes(&raw mut data, &raw mut length, key),
            })?;
            let out = Secret::from_slice(std::slice::from_raw_parts(data, length));
            sys::OPENSSL_free(data.cast());
            Some(out)
        }
    }

    /// Pads `data` (PKCS #1 v1.5, type 1) and applies the private key; `out` is as long as the modulus.
    pub(crate) fn sign(&self, data: &[u8], out: &mut [u8]) -> Option<()> {
        let written = self.apply(RsaHalf::Private, sys::RSA_PKCS1_PADDING, data, out)?;
        (written == out.len()).then_some(())
    }

    /// Applies the public key and takes the padding off; gives the length of what was signed. `out` is as long as the
    /// modulus.
    pub(crate) fn recover(&self, signature: &[u8], out: &mut [u8]) -> Option<usize> {
        self.apply(RsaHalf::Public, sys::RSA_PKCS1_PADDING, signature, out)
    }

    /// The bare operation of one half, without padding; `input` and `out` are as long as the modulus, `input` is less
    /// than it.
    pub(crate) fn raw(&self, half: RsaHalf, input: &[u8], out: &mut [u8]) -> Option<()> {
        if input.len() == out.len() && self.is_fixed(input)? {
            // aws-lc refuses 0, 1 and n - 1, whose odd powers are themselves. An implicit rejection must not tell them
            // from other numbers.
            out.copy_from_slice(input);
            return Some(());
        }
        (self.apply(half, sys::RSA_NO_PADDING, input, out)? == out.len()).then_some(())
    }

    /// Whether a number as long as the modulus is 0, 1 or n - 1.
    fn is_fixed(&self, number: &[u8]) -> Option<bool> {
        let Some((last, front)) = number.split_last() else {
            return Some(false);
        };
        // SAFETY: the number is the key's own and lives as long as it.
        let modulus = unsafe { self.padded(sys::RSA_get0_n(self.rsa()))? };
        // The modulus is odd: one less differs in its last bit only.
        let below = modulus.expose().split_last().map(|(last, front)| (last ^ 1, front));
        let small = *last < 2 && front.iter().all(|byte| *byte == 0);
        Some(small || below == Some((*last, front)))
    }

    /// The private exponent, as long as the modulus.
    pub(crate) fn private_exponent(&self) -> Option<Secret> {
        // SAFETY: the number is the key's own and lives as long as it.
        unsafe { self.padded(sys::RSA_get0_d(self.rsa())) }
    }

    /// One of the key's numbers, as long as the modulus.
    ///
    /// # Safety
    /// `number` is null or live.
    unsafe fn padded(&self, number: *const sys::BIGNUM) -> Option<Secret> {
        let number = NonNull::new(number.cast_mut())?;
        let mut out = Secret::zeroed(self.bytes());
        let (o, room) = target(out.expose_mut());
        // SAFETY: live, by the contract; writes exactly `room` bytes.
        check(unsafe { sys::BN_bn2bin_padded(o, room, number.as_ptr()) })?;
        Some(out)
    }

    fn apply(&self, half: RsaHalf, padding: c_int, input: &[u8], out: &mut [u8]) -> Option<usize> {
        let ((i, length), (o, room), mut written) = (view(input), target(out), 0);
        let (key, w) = (self.rsa(), &raw mut written);
        // SAFETY: both write at most `room` bytes and read `length`; the key is live.
        check(unsafe {
            match half {
                RsaHalf::Private => sys::RSA_sign_raw(key, w, o, room, i, length, padding),
                RsaHalf::Public => sys::RSA_verify_raw(key, w, o, room, i, length, padding),
            }
        })?;
        Some(written)
    }

    /// RSASSA-PSS over a digest; `out` is as long as the modulus.
    pub(crate) fn sign_pss(&self, with: RsaHashes, salt: usize, digest: &[u8], out: &mut [u8]) -> Option<()> {
        let (hash, mgf) = (message_digest(with.hash)?, message_digest(with.mgf)?);
        let ((i, length), (o, room), mut written) = (view(digest), target(out), 0);
        let (key, w, salt) = (self.rsa(), &raw mut written, c_int::try_from(salt).ok()?);
        // SAFETY: writes at most `room` bytes, reads `length` (which it holds against the hash); the key is live.
        check(unsafe { sys::RSA_sign_pss_mgf1(key, w, o, room, i, length, hash, mgf, salt) })?;
        (written == room).then_some(())
    }

    /// Whether `signature` is RSASSA-PSS over a digest.
    pub(crate) fn verify_pss(&self, with: RsaHashes, salt: usize, digest: &[u8], signature: &[u8]) -> Option<()> {
        let (hash, mgf) = (message_digest(with.hash)?, message_digest(with.mgf)?);
        let ((i, length), (s, size)) = (view(digest), view(signature));
        let (key, salt) = (self.rsa(), c_int::try_from(salt).ok()?);
        // SAFETY: reads `length` and `size` bytes; the key is live.
        check(unsafe { sys::RSA_verify_pss_mgf1(key, i, length, hash, mgf, salt, s, size) })
    }

    /// RSAES-OAEP; `out` is as long as the modulus. Gives the length written.
    pub(crate) fn oaep(&self, way: Way, with: RsaHashes, label: &[u8], input: &[u8], out: &mut [u8]) -> Option<usize> {
        let (hash, mgf) = (message_digest(with.hash)?, message_digest(with.mgf)?);
        let ((i, length), (o, room)) = (view(input), target(out));
        let mut written = room;
        if room < self.bytes() {
            return None;
        }
        // SAFETY: the context holds its own reference of the key; buffers are passed with their lengths.
        unsafe {
            let context = Owned::take(sys::EVP_PKEY_CTX_new(self.0.get(), ptr::null_mut()))?;
            let ctx = context.get();
            check(match way {
                Way::Encrypt => sys::EVP_PKEY_encrypt_init(ctx),
                Way::Decrypt => sys::EVP_PKEY_decrypt_init(ctx),
            })?;
            check(sys::EVP_PKEY_CTX_set_rsa_padding(ctx, sys::RSA_PKCS1_OAEP_PADDING))?;
            check(sys::EVP_PKEY_CTX_set_rsa_oaep_md(ctx, hash))?;
            check(sys::EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, mgf))?;
            set_label(&context, label)?;
            check(match way {
                Way::Encrypt => sys::EVP_PKEY_encrypt(ctx, o, &raw mut written, i, length),
                Way::Decrypt => sys::EVP_PKEY_decrypt(ctx, o, &raw mut written, i, length),
            })?;
        }
        Some(written)
    }
}

fn set_label(context: &Owned<sys::EVP_PKEY_CTX>, label: &[u8]) -> Option<()> {
    if label.is_empty() {
        return Some(());
    }
    // SAFETY: the copy is made by aws-lc's allocator and belongs to the context once `set0` succeeded.
    unsafe {
        let copy = NonNull::new(sys::OPENSSL_memdup(label.as_ptr().cast(), label.len()))?;
        let copy = copy.as_ptr().cast::<u8>();
        let taken = check(sys::EVP_PKEY_CTX_set0_rsa_oaep_label(context.get(), copy, label.len()));
        if taken.is_none() {
            sys::OPENSSL_free(copy.cast());
        }
        taken
    }
}
