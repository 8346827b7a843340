//! Safe functions and owning types over aws-lc-sys. No policy and no PKCS#11 here: lengths that aws-lc relies on are
//! checked, everything else is the caller's.
//!
//! `None` stands for any failure; aws-lc's per-thread error queue is emptied, because a host application may share it.
//! Thread safety: aws-lc's keys may be used by many threads at once as long as none changes them (openssl/evp.h,
//! "concurrently"), and nothing here changes a key after it is made.
#![allow(
    unsafe_code,
    reason = "the one place of the crate that calls C; each block says what makes it sound"
)]

use crate::secret::{Secret, SecretArray};
use aws_lc_sys as sys;
use hsmd_proto::ck::MechanismType;
use hsmd_proto::meta::Curve;
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
    EC_KEY => EC_KEY_free,
    EC_POINT => EC_POINT_free,
    ECDSA_SIG => ECDSA_SIG_free,
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
        let owned = NonNull::new(raw).map(Self);
        if owned.is_none() {
            clear_errors();
        }
        owned
    }

    const fn get(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// Hands the object to aws-lc, which then owns it.
    fn give(self) {
        std::mem::forget(self);
    }
}

impl<T: Native> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `take` made this the only holder, and `self` ends here.
        unsafe { T::release(self.get()) }
    }
}

// SAFETY: these objects have no thread affinity; references are counted atomically (openssl/evp.h, openssl/ec_key.h).
unsafe impl Send for Owned<sys::EVP_PKEY> {}
// SAFETY: see the module's text: used through shared references only for what aws-lc allows concurrently.
unsafe impl Sync for Owned<sys::EVP_PKEY> {}
// SAFETY: as for EVP_PKEY.
unsafe impl Send for Owned<sys::EC_KEY> {}
// SAFETY: as for EVP_PKEY.
unsafe impl Sync for Owned<sys::EC_KEY> {}

fn clear_errors() {
    // SAFETY: touches the calling thread's queue only.
    unsafe { sys::ERR_clear_error() }
}

/// aws-lc's 1 for success.
fn check(result: c_int) -> Option<()> {
    if result == 1 {
        return Some(());
    }
    clear_errors();
    None
}

/// Fills `out` from the DRBG.
pub(crate) fn random(out: &mut [u8]) {
    // SAFETY: writes exactly `out.len()` bytes. It always returns 1: without entropy it blocks or aborts (rand.h).
    let _ = unsafe { sys::RAND_bytes(out.as_mut_ptr(), out.len()) };
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
            _ => return None,
        })
    }
}

fn number(bytes: &[u8]) -> Option<Owned<sys::BIGNUM>> {
    // SAFETY: reads `bytes.len()` bytes; a null third argument asks for a new number, which is ours.
    unsafe { Owned::take(sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut())) }
}

/// The number, big-endian, padded to `width` or, without one, of its own length.
///
/// # Safety
/// `number` is null or points to a live number.
unsafe fn bytes_of(number: *const sys::BIGNUM, width: Option<usize>) -> Option<Secret> {
    if number.is_null() {
        return None;
    }
    // SAFETY: the number is live, says the caller.
    let mut out = Secret::zeroed(width.unwrap_or(unsafe { sys::BN_num_bytes(number) } as usize));
    let target = out.expose_mut();
    // SAFETY: writes exactly `target.len()` bytes.
    check(unsafe { sys::BN_bn2bin_padded(target.as_mut_ptr(), target.len(), number) })?;
    Some(out)
}

/// RSA's numbers, big-endian.
pub(crate) struct RsaNumbers<'a> {
    pub(crate) n: &'a [u8],
    pub(crate) e: &'a [u8],
    pub(crate) d: Option<&'a [u8]>,
    /// p, q, dp, dq, qi.
    pub(crate) crt: Option<[&'a [u8]; 5]>,
}

/// Padding of a raw RSA operation.
#[derive(Clone, Copy)]
pub(crate) enum RsaPadding {
    /// Type 1 of PKCS #1 v1.5.
    Pkcs1,
    #[cfg(test)]
    None,
}

impl RsaPadding {
    const fn code(self) -> c_int {
        match self {
            Self::Pkcs1 => sys::RSA_PKCS1_PADDING,
            #[cfg(test)]
            Self::None => sys::RSA_NO_PADDING,
        }
    }
}

/// The hashes of PSS and OAEP.
#[derive(Clone, Copy)]
pub(crate) struct RsaHashes {
    pub(crate) hash: MechanismType,
    pub(crate) mgf: MechanismType,
}

/// An RSA key, public or private.
pub(crate) struct Rsa {
    key: Owned<sys::EVP_PKEY>,
}

impl Rsa {
    /// Makes a key of its numbers; aws-lc checks that they belong together, that n is odd and e odd, >= 3 and at most
    /// 33 bits long.
    pub(crate) fn new(numbers: &RsaNumbers<'_>) -> Option<Self> {
        let (n, e) = (number(numbers.n)?, number(numbers.e)?);
        // SAFETY (all three): the numbers live through the call, which copies them; the result is ours or null.
        let rsa = match (numbers.d, numbers.crt) {
            (None, _) => unsafe { Owned::take(sys::RSA_new_public_key(n.get(), e.get())) },
            (Some(d), None) => {
                let d = number(d)?;
                // SAFETY: see above.
                unsafe { Owned::take(sys::RSA_new_private_key_no_crt(n.get(), e.get(), d.get())) }
            }
            (Some(d), Some([p, q, dp, dq, qi])) => {
                let (d, p, q) = (number(d)?, number(p)?, number(q)?);
                let (dp, dq, qi) = (number(dp)?, number(dq)?, number(qi)?);
                // SAFETY: see above.
                unsafe {
                    Owned::take(sys::RSA_new_private_key(
                        n.get(),
                        e.get(),
                        d.get(),
                        p.get(),
                        q.get(),
                        dp.get(),
                        dq.get(),
                        qi.get(),
                    ))
                }
            }
        };
        Self::from_rsa(&rsa?)
    }

    /// Generates a key (FIPS 186-5, A.1.3). `bits` is a multiple of 128.
    pub(crate) fn generate(bits: u32, e: &[u8]) -> Option<Self> {
        let e = number(e)?;
        // SAFETY: a new, empty key; `e` lives through the call; no progress callback.
        unsafe {
            let rsa = Owned::take(sys::RSA_new())?;
            let bits = c_int::try_from(bits).ok()?;
            check(sys::RSA_generate_key_ex(rsa.get(), bits, e.get(), ptr::null_mut()))?;
            Self::from_rsa(&rsa)
        }
    }

    fn from_rsa(rsa: &Owned<sys::RSA>) -> Option<Self> {
        // SAFETY: both live; `set1` takes its own reference.
        unsafe {
            let key = Owned::take(sys::EVP_PKEY_new())?;
            check(sys::EVP_PKEY_set1_RSA(key.get(), rsa.get()))?;
            Some(Self { key })
        }
    }

    fn rsa(&self) -> *mut sys::RSA {
        // SAFETY: the constructor put an RSA key in; it lives as long as `self`.
        unsafe { sys::EVP_PKEY_get0_RSA(self.key.get()) }
    }

    /// The modulus' length in bytes.
    pub(crate) fn bytes(&self) -> usize {
        // SAFETY: the key is live.
        unsafe { sys::RSA_size(self.rsa()) as usize }
    }

    /// The modulus' length in bits.
    pub(crate) fn bits(&self) -> u32 {
        // SAFETY: the key is live.
        unsafe { sys::RSA_bits(self.rsa()) }
    }

    /// n and e.
    pub(crate) fn public_numbers(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut n, mut e) = (ptr::null(), ptr::null());
        // SAFETY: writes two pointers to numbers that live as long as the key.
        unsafe {
            sys::RSA_get0_key(self.rsa(), &raw mut n, &raw mut e, ptr::null_mut());
            Some((
                bytes_of(n, None)?.expose().to_vec(),
                bytes_of(e, None)?.expose().to_vec(),
            ))
        }
    }

    /// d, p, q, dp, dq, qi.
    pub(crate) fn private_numbers(&self) -> Option<[Secret; 6]> {
        let [mut d, mut p, mut q, mut dp, mut dq, mut qi] = [ptr::null(); 6];
        // SAFETY: writes pointers to numbers that live as long as the key, or null.
        unsafe {
            let rsa = self.rsa();
            sys::RSA_get0_key(rsa, ptr::null_mut(), ptr::null_mut(), &raw mut d);
            sys::RSA_get0_factors(rsa, &raw mut p, &raw mut q);
            sys::RSA_get0_crt_params(rsa, &raw mut dp, &raw mut dq, &raw mut qi);
            Some([
                bytes_of(d, None)?,
                bytes_of(p, None)?,
                bytes_of(q, None)?,
                bytes_of(dp, None)?,
                bytes_of(dq, None)?,
                bytes_of(qi, None)?,
            ])
        }
    }

    /// Pads `data` and applies the private key; `out` is as long as the modulus.
    pub(crate) fn sign(&self, padding: RsaPadding, data: &[u8], out: &mut [u8]) -> Option<()> {
        let mut length = 0;
        // SAFETY: writes at most `out.len()` bytes, reads `data.len()`; the key is live.
        check(unsafe {
            sys::RSA_sign_raw(
                self.rsa(),
                &raw mut length,
                out.as_mut_ptr(),
                out.len(),
                data.as_ptr(),
                data.len(),
                padding.code(),
            )
        })?;
        (length == out.len()).then_some(())
    }

    /// Applies the public key and takes the padding off; gives the length of what was signed. `out` is as long as the
    /// modulus.
    pub(crate) fn recover(&self, padding: RsaPadding, signature: &[u8], out: &mut [u8]) -> Option<usize> {
        let mut length = 0;
        // SAFETY: writes at most `out.len()` bytes, reads `signature.len()`; the key is live.
        check(unsafe {
            sys::RSA_verify_raw(
                self.rsa(),
                &raw mut length,
                out.as_mut_ptr(),
                out.len(),
                signature.as_ptr(),
                signature.len(),
                padding.code(),
            )
        })?;
        Some(length)
    }

    /// RSASSA-PSS over a digest; `out` is as long as the modulus.
    pub(crate) fn sign_pss(&self, hashes: RsaHashes, salt: usize, digest: &[u8], out: &mut [u8]) -> Option<()> {
        let (hash, mgf) = (message_digest(hashes.hash)?, message_digest(hashes.mgf)?);
        let salt = c_int::try_from(salt).ok()?;
        let mut length = 0;
        // SAFETY: writes at most `out.len()` bytes, reads `digest.len()` (checked against the hash); the key is live.
        check(unsafe {
            sys::RSA_sign_pss_mgf1(
                self.rsa(),
                &raw mut length,
                out.as_mut_ptr(),
                out.len(),
                digest.as_ptr(),
                digest.len(),
                hash,
                mgf,
                salt,
            )
        })?;
        (length == out.len()).then_some(())
    }

    /// Whether `signature` is RSASSA-PSS over a digest.
    pub(crate) fn verify_pss(&self, hashes: RsaHashes, salt: usize, digest: &[u8], signature: &[u8]) -> Option<()> {
        let (hash, mgf) = (message_digest(hashes.hash)?, message_digest(hashes.mgf)?);
        let salt = c_int::try_from(salt).ok()?;
        // SAFETY: reads `digest.len()` and `signature.len()` bytes; the key is live.
        check(unsafe {
            sys::RSA_verify_pss_mgf1(
                self.rsa(),
                digest.as_ptr(),
                digest.len(),
                hash,
                mgf,
                salt,
                signature.as_ptr(),
                signature.len(),
            )
        })
    }

    /// RSAES-OAEP; `out` is as long as the modulus. Gives the length written.
    pub(crate) fn oaep(&self, way: Way, with: RsaHashes, label: &[u8], input: &[u8], out: &mut [u8]) -> Option<usize> {
        let (hash, mgf) = (message_digest(with.hash)?, message_digest(with.mgf)?);
        if out.len() < self.bytes() {
            return None;
        }
        let mut length = out.len();
        // SAFETY: the context holds its own reference of the key; buffers are passed with their lengths; the label's
        // copy is made by aws-lc's allocator and belongs to the context once `set0` succeeded.
        unsafe {
            let context = Owned::take(sys::EVP_PKEY_CTX_new(self.key.get(), ptr::null_mut()))?;
            let ctx = context.get();
            check(match way {
                Way::Encrypt => sys::EVP_PKEY_encrypt_init(ctx),
                Way::Decrypt => sys::EVP_PKEY_decrypt_init(ctx),
            })?;
            check(sys::EVP_PKEY_CTX_set_rsa_padding(ctx, sys::RSA_PKCS1_OAEP_PADDING))?;
            check(sys::EVP_PKEY_CTX_set_rsa_oaep_md(ctx, hash))?;
            check(sys::EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, mgf))?;
            if !label.is_empty() {
                let copy = sys::OPENSSL_memdup(label.as_ptr().cast(), label.len()).cast::<u8>();
                if copy.is_null() {
                    return None;
                }
                let taken = check(sys::EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, copy, label.len()));
                if taken.is_none() {
                    sys::OPENSSL_free(copy.cast());
                    return None;
                }
            }
            let run = match way {
                Way::Encrypt => sys::EVP_PKEY_encrypt,
                Way::Decrypt => sys::EVP_PKEY_decrypt,
            };
            check(run(ctx, out.as_mut_ptr(), &raw mut length, input.as_ptr(), input.len()))?;
        }
        Some(length)
    }

    pub(crate) fn private_der(&self) -> Option<Secret> {
        marshal(&self.key, sys::EVP_marshal_private_key)
    }

    pub(crate) fn public_der(&self) -> Option<Secret> {
        marshal(&self.key, sys::EVP_marshal_public_key)
    }
}

/// Encrypt or decrypt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Encrypt,
    Decrypt,
}

type Marshal = unsafe extern "C" fn(*mut sys::CBB, *const sys::EVP_PKEY) -> c_int;

fn marshal(key: &Owned<sys::EVP_PKEY>, write: Marshal) -> Option<Secret> {
    let mut builder = MaybeUninit::<sys::CBB>::zeroed();
    let (mut data, mut length) = (ptr::null_mut(), 0);
    // SAFETY: `init` makes the zeroed builder valid and `cleanup` may follow any outcome; after `finish` the buffer is
    // ours, `length` bytes long, and `OPENSSL_free` wipes it.
    unsafe {
        check(sys::CBB_init(builder.as_mut_ptr(), 256))?;
        let done = check(write(builder.as_mut_ptr(), key.get()))
            .and_then(|()| check(sys::CBB_finish(builder.as_mut_ptr(), &raw mut data, &raw mut length)));
        sys::CBB_cleanup(builder.as_mut_ptr());
        done?;
        let out = Secret::from_slice(std::slice::from_raw_parts(data, length));
        sys::OPENSSL_free(data.cast());
        Some(out)
    }
}

/// A private key that was read from PKCS #8.
pub(crate) enum Parsed {
    Rsa(Rsa),
    Ec(Ec),
    Ed25519(Secret),
}

/// Reads a PKCS #8 private key (RFC 5208, RFC 5958); trailing bytes are refused.
pub(crate) fn parse_private(der: &[u8]) -> Option<Parsed> {
    let mut reader = sys::CBS {
        data: der.as_ptr(),
        len: der.len(),
    };
    // SAFETY: the reader stays within `der`; the result is ours or null.
    let key = unsafe { Owned::take(sys::EVP_parse_private_key(&raw mut reader)) }?;
    if reader.len != 0 {
        return None;
    }
    // SAFETY: the key is live.
    match unsafe { sys::EVP_PKEY_id(key.get()) } {
        sys::EVP_PKEY_RSA => Some(Parsed::Rsa(Rsa { key })),
        sys::EVP_PKEY_EC => {
            // SAFETY: `get1` gives a reference of its own; group and name are read while the key lives.
            let (ec, name) = unsafe {
                let ec = Owned::take(sys::EVP_PKEY_get1_EC_KEY(key.get()))?;
                let name = sys::EC_GROUP_get_curve_name(sys::EC_KEY_get0_group(ec.get()));
                (ec, name)
            };
            let curve = [Curve::P256, Curve::P384]
                .into_iter()
                .find(|curve| curve_name(*curve) == Some(name))?;
            Some(Parsed::Ec(Ec { key: ec, curve }))
        }
        sys::EVP_PKEY_ED25519 => {
            let mut seed = Secret::zeroed(32);
            let mut length = 32;
            // SAFETY: writes at most `length` bytes.
            check(unsafe {
                sys::EVP_PKEY_get_raw_private_key(key.get(), seed.expose_mut().as_mut_ptr(), &raw mut length)
            })?;
            (length == 32).then_some(Parsed::Ed25519(seed))
        }
        _ => None,
    }
}

const fn curve_name(curve: Curve) -> Option<c_int> {
    match curve {
        Curve::P256 => Some(sys::NID_X9_62_prime256v1),
        Curve::P384 => Some(sys::NID_secp384r1),
        Curve::Ed25519 => None,
    }
}

/// A key on a Weierstrass curve, public or private.
pub(crate) struct Ec {
    key: Owned<sys::EC_KEY>,
    curve: Curve,
}

impl Ec {
    fn empty(curve: Curve) -> Option<Self> {
        // SAFETY: the result is ours or null.
        let key = unsafe { Owned::take(sys::EC_KEY_new_by_curve_name(curve_name(curve)?)) }?;
        Some(Self { key, curve })
    }

    fn group(&self) -> *const sys::EC_GROUP {
        // SAFETY: every constructor sets a group; it lives as long as the key.
        unsafe { sys::EC_KEY_get0_group(self.key.get()) }
    }

    /// Reads a point: uncompressed or compressed, on the curve, not infinity.
    fn read_point(&self, octets: &[u8]) -> Option<Owned<sys::EC_POINT>> {
        if !matches!(octets.first(), Some(2..=4)) {
            return None;
        }
        // SAFETY: a new point of this group; reads `octets.len()` bytes and checks that the point is on the curve.
        unsafe {
            let point = Owned::take(sys::EC_POINT_new(self.group()))?;
            check(sys::EC_POINT_oct2point(
                self.group(),
                point.get(),
                octets.as_ptr(),
                octets.len(),
                ptr::null_mut(),
            ))?;
            (sys::EC_POINT_is_at_infinity(self.group(), point.get()) == 0).then_some(point)
        }
    }

    /// A public key from its point.
    pub(crate) fn from_point(curve: Curve, octets: &[u8]) -> Option<Self> {
        let key = Self::empty(curve)?;
        let point = key.read_point(octets)?;
        // SAFETY: both live; the point is copied.
        check(unsafe { sys::EC_KEY_set_public_key(key.key.get(), point.get()) })?;
        Some(key)
    }

    /// A private key from its scalar, 1 to the group's order - 1; the public half is computed.
    pub(crate) fn from_scalar(curve: Curve, scalar: &[u8]) -> Option<Self> {
        let key = Self::empty(curve)?;
        let scalar = number(scalar)?;
        // SAFETY: all live; `mul` with a null `q` computes scalar * generator in constant time.
        unsafe {
            check(sys::EC_KEY_set_private_key(key.key.get(), scalar.get()))?;
            let point = Owned::take(sys::EC_POINT_new(key.group()))?;
            let (group, none) = (key.group(), ptr::null());
            check(sys::EC_POINT_mul(
                group,
                point.get(),
                scalar.get(),
                none,
                ptr::null(),
                ptr::null_mut(),
            ))?;
            check(sys::EC_KEY_set_public_key(key.key.get(), point.get()))?;
            check(sys::EC_KEY_check_key(key.key.get()))?;
        }
        Some(key)
    }

    /// A new private key.
    pub(crate) fn generate(curve: Curve) -> Option<Self> {
        let key = Self::empty(curve)?;
        // SAFETY: the key has a group and is ours alone.
        check(unsafe { sys::EC_KEY_generate_key(key.key.get()) })?;
        Some(key)
    }

    pub(crate) const fn curve(&self) -> Curve {
        self.curve
    }

    /// The public point, uncompressed.
    pub(crate) fn point(&self) -> Option<Vec<u8>> {
        let mut out = vec![0; 1 + 2 * self.curve.field_bytes()];
        // SAFETY: writes at most `out.len()` bytes; the point lives as long as the key.
        let written = unsafe {
            sys::EC_POINT_point2oct(
                self.group(),
                sys::EC_KEY_get0_public_key(self.key.get()),
                sys::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED,
                out.as_mut_ptr(),
                out.len(),
                ptr::null_mut(),
            )
        };
        (written == out.len()).then_some(out)
    }

    /// The private scalar, as long as a field element.
    pub(crate) fn scalar(&self) -> Option<Secret> {
        // SAFETY: the number lives as long as the key, or is null.
        unsafe {
            bytes_of(
                sys::EC_KEY_get0_private_key(self.key.get()),
                Some(self.curve.field_bytes()),
            )
        }
    }

    /// ECDSA over a digest of any length (left-truncated: FIPS 186-5, 6.4.1); `out` is r || s.
    pub(crate) fn sign(&self, digest: &[u8], out: &mut [u8]) -> Option<()> {
        let half = self.curve.field_bytes();
        let (left, right) = out.split_at_mut_checked(half)?;
        if right.len() != half {
            return None;
        }
        let (mut r, mut s) = (ptr::null(), ptr::null());
        // SAFETY: reads `digest.len()` bytes; r and s live as long as the signature; both halves have `half` bytes.
        unsafe {
            let signature = Owned::take(sys::ECDSA_do_sign(digest.as_ptr(), digest.len(), self.key.get()))?;
            sys::ECDSA_SIG_get0(signature.get(), &raw mut r, &raw mut s);
            check(sys::BN_bn2bin_padded(left.as_mut_ptr(), half, r))?;
            check(sys::BN_bn2bin_padded(right.as_mut_ptr(), half, s))
        }
    }

    /// Whether r || s is a signature of the digest.
    pub(crate) fn verify(&self, digest: &[u8], signature: &[u8]) -> Option<()> {
        let (r, s) = signature.split_at_checked(self.curve.field_bytes())?;
        let (r, s) = (number(r)?, number(s)?);
        // SAFETY: `set0` takes both numbers over when it succeeds; reads `digest.len()` bytes; everything is live.
        unsafe {
            let parsed = Owned::take(sys::ECDSA_SIG_new())?;
            check(sys::ECDSA_SIG_set0(parsed.get(), r.get(), s.get()))?;
            r.give();
            s.give();
            check(sys::ECDSA_do_verify(
                digest.as_ptr(),
                digest.len(),
                parsed.get(),
                self.key.get(),
            ))
        }
    }

    /// ECDH with a checked point; the result is the shared point's x coordinate.
    pub(crate) fn agree(&self, octets: &[u8]) -> Option<Secret> {
        let point = self.read_point(octets)?;
        let mut out = Secret::zeroed(self.curve.field_bytes());
        let target = out.expose_mut();
        // SAFETY: writes at most `target.len()` bytes; all live; no derivation function.
        let written = unsafe {
            sys::ECDH_compute_key(
                target.as_mut_ptr().cast(),
                target.len(),
                point.get(),
                self.key.get(),
                None,
            )
        };
        if usize::try_from(written).ok() == Some(target.len()) {
            return Some(out);
        }
        clear_errors();
        None
    }

    fn pkey(&self) -> Option<Owned<sys::EVP_PKEY>> {
        // SAFETY: both live; `set1` takes its own reference.
        unsafe {
            let key = Owned::take(sys::EVP_PKEY_new())?;
            check(sys::EVP_PKEY_set1_EC_KEY(key.get(), self.key.get()))?;
            Some(key)
        }
    }

    pub(crate) fn private_der(&self) -> Option<Secret> {
        marshal(&self.pkey()?, sys::EVP_marshal_private_key)
    }

    pub(crate) fn public_der(&self) -> Option<Secret> {
        marshal(&self.pkey()?, sys::EVP_marshal_public_key)
    }
}

/// An Ed25519 private key: seed and public point (RFC 8032, 5.1.5).
pub(crate) struct Ed25519(SecretArray<64>);

impl Ed25519 {
    /// Computes the public half.
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let mut point = [0; 32];
        // SAFETY: reads 32 bytes, writes 32 and 64.
        Self(SecretArray::filled(|out| unsafe {
            sys::ED25519_keypair_from_seed(point.as_mut_ptr(), out.as_mut_ptr(), seed.as_ptr());
        }))
    }

    /// The public point.
    pub(crate) fn point(&self) -> [u8; 32] {
        let mut point = [0; 32];
        point.copy_from_slice(&self.0.expose()[32..]);
        point
    }

    /// Pure Ed25519.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let mut out = [0; 64];
        let key = self.0.expose().as_ptr();
        // SAFETY: writes 64 bytes, reads `message.len()` and 64.
        check(unsafe { sys::ED25519_sign(out.as_mut_ptr(), message.as_ptr(), message.len(), key) })?;
        Some(out)
    }

    pub(crate) fn private_der(&self) -> Option<Secret> {
        let key = self.0.expose().as_ptr();
        // SAFETY: reads the 32 bytes of the seed, copies them; the result is ours or null.
        let key = unsafe {
            Owned::take(sys::EVP_PKEY_new_raw_private_key(
                sys::EVP_PKEY_ED25519,
                ptr::null_mut(),
                key,
                32,
            ))
        };
        marshal(&key?, sys::EVP_marshal_private_key)
    }
}

/// Whether `signature` is pure Ed25519 over `message`.
pub(crate) fn ed25519_verify(point: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Option<()> {
    // SAFETY: reads `message.len()`, 64 and 32 bytes.
    check(unsafe { sys::ED25519_verify(message.as_ptr(), message.len(), signature.as_ptr(), point.as_ptr()) })
}

/// Both key schedules of an AES key.
pub(crate) struct Aes(Box<[sys::AES_KEY; 2]>);

/// An AES block.
pub(crate) type Block = [u8; 16];

impl Aes {
    /// Expands a key of 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        if !matches!(key.len(), 16 | 24 | 32) {
            return None;
        }
        let empty = sys::AES_KEY {
            rd_key: [0; 60],
            rounds: 0,
        };
        let mut schedules = Self(Box::new([empty; 2]));
        let bits = key.len() as u32 * 8;
        let [encrypt, decrypt] = &mut *schedules.0;
        // SAFETY: reads `bits / 8` bytes, writes one schedule each. They return 0 for success, and the length is right.
        let failed = unsafe {
            sys::AES_set_encrypt_key(key.as_ptr(), bits, encrypt)
                | sys::AES_set_decrypt_key(key.as_ptr(), bits, decrypt)
        };
        (failed == 0).then_some(schedules)
    }

    /// One block, in place.
    pub(crate) fn block(&self, way: Way, block: &mut Block) {
        let data = block.as_mut_ptr();
        // SAFETY: reads and writes 16 bytes, in place as aes.h allows.
        unsafe {
            match way {
                Way::Encrypt => sys::AES_encrypt(data, data, &raw const self.0[0]),
                Way::Decrypt => sys::AES_decrypt(data, data, &raw const self.0[1]),
            }
        }
    }

    /// CBC over whole blocks, in place; `iv` becomes the next chaining value.
    pub(crate) fn cbc(&self, way: Way, iv: &mut Block, data: &mut [u8]) -> Option<()> {
        if !data.len().is_multiple_of(16) {
            return None;
        }
        let (schedule, direction) = match way {
            Way::Encrypt => (&self.0[0], sys::AES_ENCRYPT),
            Way::Decrypt => (&self.0[1], sys::AES_DECRYPT),
        };
        // SAFETY: reads and writes `data.len()` bytes, whole blocks, in place as aes.h allows; `iv` has 16.
        unsafe {
            let (pointer, length) = (data.as_mut_ptr(), data.len());
            sys::AES_cbc_encrypt(pointer, pointer, length, schedule, iv.as_mut_ptr(), direction);
        }
        Some(())
    }

    /// CTR with a 128-bit counter, in place.
    pub(crate) fn ctr(&self, counter: &mut Block, data: &mut [u8]) {
        let (mut spare, mut used) = ([0; 16], 0);
        // SAFETY: reads and writes `data.len()` bytes, in place as aes.h allows; `counter` and `spare` have 16.
        unsafe {
            sys::AES_ctr128_encrypt(
                data.as_ptr(),
                data.as_mut_ptr(),
                data.len(),
                &raw const self.0[0],
                counter.as_mut_ptr(),
                spare.as_mut_ptr(),
                &raw mut used,
            );
        }
        cleanse(&mut spare);
    }
}

impl Drop for Aes {
    fn drop(&mut self) {
        cleanse(&mut *self.0);
    }
}

/// Kinds of authenticated encryption.
#[derive(Clone, Copy)]
pub(crate) enum AeadKind {
    Gcm,
    GcmSiv,
}

/// A key for authenticated encryption; boxed, because aws-lc aligns the state inside by its address.
pub(crate) struct Aead {
    context: Box<MaybeUninit<sys::EVP_AEAD_CTX>>,
    tag: usize,
}

// SAFETY: no thread affinity, and `seal` and `open` take the context as const (openssl/aead.h: "may be used concurrently").
unsafe impl Send for Aead {}
// SAFETY: see above.
unsafe impl Sync for Aead {}

impl Aead {
    /// GCM: keys of 16, 24 or 32 bytes, tags of 1 to 16. GCM-SIV: 32 and 16.
    pub(crate) fn new(kind: AeadKind, key: &[u8], tag: usize) -> Option<Self> {
        // SAFETY: these return pointers to constants.
        let aead = unsafe {
            match (kind, key.len()) {
                (AeadKind::Gcm, 16) => sys::EVP_aead_aes_128_gcm(),
                (AeadKind::Gcm, 24) => sys::EVP_aead_aes_192_gcm(),
                (AeadKind::Gcm, 32) => sys::EVP_aead_aes_256_gcm(),
                (AeadKind::GcmSiv, 32) if tag == 16 => sys::EVP_aead_aes_256_gcm_siv(),
                _ => return None,
            }
        };
        if !(1..=16).contains(&tag) {
            return None;
        }
        let mut context = Box::new(MaybeUninit::zeroed());
        // SAFETY: the context is zeroed, at its final address; reads `key.len()` bytes.
        check(unsafe {
            sys::EVP_AEAD_CTX_init(
                context.as_mut_ptr(),
                aead,
                key.as_ptr(),
                key.len(),
                tag,
                ptr::null_mut(),
            )
        })?;
        Some(Self { context, tag })
    }

    /// Encrypts; `out` is as long as `plain` and the tag.
    pub(crate) fn seal(&self, nonce: &[u8], aad: &[u8], plain: &[u8], out: &mut [u8]) -> Option<()> {
        let mut length = 0;
        // SAFETY: writes at most `out.len()` bytes, reads the others' lengths; `out` is a borrow of its own.
        check(unsafe {
            sys::EVP_AEAD_CTX_seal(
                self.context.as_ptr(),
                out.as_mut_ptr(),
                &raw mut length,
                out.len(),
                nonce.as_ptr(),
                nonce.len(),
                plain.as_ptr(),
                plain.len(),
                aad.as_ptr(),
                aad.len(),
            )
        })?;
        (length == out.len() && length == plain.len() + self.tag).then_some(())
    }

    /// Decrypts; `out` is as long as `sealed` without the tag, and zero if the tag is wrong.
    pub(crate) fn open(&self, nonce: &[u8], aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Option<()> {
        let mut length = 0;
        // SAFETY: writes at most `out.len()` bytes, reads the others' lengths; `out` is a borrow of its own.
        check(unsafe {
            sys::EVP_AEAD_CTX_open(
                self.context.as_ptr(),
                out.as_mut_ptr(),
                &raw mut length,
                out.len(),
                nonce.as_ptr(),
                nonce.len(),
                sealed.as_ptr(),
                sealed.len(),
                aad.as_ptr(),
                aad.len(),
            )
        })?;
        (length == out.len()).then_some(())
    }
}

impl Drop for Aead {
    fn drop(&mut self) {
        // SAFETY: `new` initialised it, and `self` ends here.
        unsafe { sys::EVP_AEAD_CTX_cleanup(self.context.as_mut_ptr()) }
        cleanse(&mut *self.context);
    }
}

/// An HMAC key with the hash states after both pads.
pub(crate) struct Hmac(Box<MaybeUninit<sys::HMAC_CTX>>);

// SAFETY: a flat value without thread affinity, read only after `new`.
unsafe impl Send for Hmac {}
// SAFETY: see above.
unsafe impl Sync for Hmac {}

impl Hmac {
    /// A key of any length.
    pub(crate) fn new(hash: MechanismType, key: &[u8]) -> Option<Self> {
        let hash = message_digest(hash)?;
        let mut hmac = Self(Box::new(MaybeUninit::zeroed()));
        let context = hmac.0.as_mut_ptr();
        // SAFETY: `init` makes the context valid; reads `key.len()` bytes; a Rust slice is never null.
        unsafe {
            sys::HMAC_CTX_init(context);
            check(sys::HMAC_Init_ex(
                context,
                key.as_ptr().cast(),
                key.len(),
                hash,
                ptr::null_mut(),
            ))?;
        }
        Some(hmac)
    }

    /// The MAC of the parts, one after the other, into the front of `out`; gives its length.
    pub(crate) fn compute(&self, parts: &[&[u8]], out: &mut [u8; 64]) -> Option<usize> {
        let mut context = MaybeUninit::<sys::HMAC_CTX>::zeroed();
        let running = context.as_mut_ptr();
        let mut length = 0;
        // SAFETY: the copy of an initialised context is one; it is flat, and cleanup wipes it. No hash here writes more
        // than 64 bytes.
        let done = unsafe {
            let done = check(sys::HMAC_CTX_copy(running, self.0.as_ptr()))
                .and_then(|()| {
                    parts
                        .iter()
                        .try_for_each(|part| check(sys::HMAC_Update(running, part.as_ptr(), part.len())))
                })
                .and_then(|()| check(sys::HMAC_Final(running, out.as_mut_ptr(), &raw mut length)));
            sys::HMAC_CTX_cleanup(running);
            done
        };
        done.map(|()| length as usize)
    }
}

impl Drop for Hmac {
    fn drop(&mut self) {
        cleanse(&mut *self.0);
    }
}
