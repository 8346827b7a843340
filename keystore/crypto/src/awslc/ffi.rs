//! Safe functions and owning types over aws-lc-sys. No policy and no PKCS#11 here: lengths that aws-lc relies on are
//! checked, everything else is the caller's.
//! `None` stands for any failure; aws-lc's per-thread error queue is emptied, because a host application may share it.
//! aws-lc's keys may be used by many threads at once if none changes them (openssl/evp.h), and nothing here does.
#![allow(
    unsafe_code,
    reason = "the one place of the crate that calls C; each block says what makes it sound"
)]

use super::{AeadKind, Block, RsaHalf, RsaHashes, RsaNumbers, Way};
use crate::secret::Secret;
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
            _ => return None,
        })
    }
}

fn number(bytes: &[u8]) -> Option<Owned<sys::BIGNUM>> {
    // SAFETY: reads `bytes.len()` bytes; a null third argument asks for a new number, which is ours.
    unsafe { Owned::take(sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut())) }
}

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
        (self.raw(RsaHalf::Private, data, out)? == out.len()).then_some(())
    }

    /// Applies the public key and takes the padding off; gives the length of what was signed. `out` is as long as the
    /// modulus.
    pub(crate) fn recover(&self, signature: &[u8], out: &mut [u8]) -> Option<usize> {
        self.raw(RsaHalf::Public, signature, out)
    }

    fn raw(&self, half: RsaHalf, input: &[u8], out: &mut [u8]) -> Option<usize> {
        let ((i, length), (o, room), mut written) = (view(input), target(out), 0);
        let (key, w, padding) = (self.rsa(), &raw mut written, sys::RSA_PKCS1_PADDING);
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

/// A key on a Weierstrass curve, public or private.
pub(crate) struct Ec {
    key: Owned<sys::EC_KEY>,
    curve: Curve,
}

impl Ec {
    fn empty(curve: Curve) -> Option<Self> {
        let name = match curve {
            Curve::P256 => sys::NID_X9_62_prime256v1,
            Curve::P384 => sys::NID_secp384r1,
            Curve::Ed25519 => return None,
        };
        // SAFETY: the result is ours or null.
        let key = unsafe { Owned::take(sys::EC_KEY_new_by_curve_name(name)) }?;
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
        let (group, (i, length)) = (self.group(), view(octets));
        // SAFETY: a new point of this group; reads `length` bytes and checks that the point is on the curve.
        unsafe {
            let point = Owned::take(sys::EC_POINT_new(group))?;
            check(sys::EC_POINT_oct2point(group, point.get(), i, length, ptr::null_mut()))?;
            (sys::EC_POINT_is_at_infinity(group, point.get()) == 0).then_some(point)
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
        let (key, scalar) = (Self::empty(curve)?, number(scalar)?);
        let (group, none, context) = (key.group(), ptr::null(), ptr::null_mut());
        // SAFETY: all live; `mul` with a null `q` computes scalar * generator in constant time.
        unsafe {
            check(sys::EC_KEY_set_private_key(key.key.get(), scalar.get()))?;
            let point = Owned::take(sys::EC_POINT_new(group))?;
            check(sys::EC_POINT_mul(
                group,
                point.get(),
                scalar.get(),
                none,
                ptr::null(),
                context,
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
        let form = sys::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED;
        let (group, (o, room)) = (self.group(), target(&mut out));
        // SAFETY: writes at most `room` bytes; the point lives as long as the key.
        let written = unsafe {
            let point = sys::EC_KEY_get0_public_key(self.key.get());
            sys::EC_POINT_point2oct(group, point, form, o, room, ptr::null_mut())
        };
        (written == room).then_some(out)
    }

    /// The private scalar, as long as a field element.
    pub(crate) fn scalar(&self) -> Option<Secret> {
        let mut out = Secret::zeroed(self.curve.field_bytes());
        let (o, room) = target(out.expose_mut());
        // SAFETY: the number lives as long as the key; writes exactly `room` bytes.
        unsafe {
            let scalar = NonNull::new(sys::EC_KEY_get0_private_key(self.key.get()).cast_mut())?;
            check(sys::BN_bn2bin_padded(o, room, scalar.as_ptr()))?;
        }
        Some(out)
    }

    /// ECDSA over a digest of any length (left-truncated: FIPS 186-5, 6.4.1); `out` is r || s.
    pub(crate) fn sign(&self, digest: &[u8], out: &mut [u8]) -> Option<()> {
        let half = self.curve.field_bytes();
        let (left, right) = out
            .split_at_mut_checked(half)
            .filter(|(_, right)| right.len() == half)?;
        let ((i, length), mut r, mut s) = (view(digest), ptr::null(), ptr::null());
        // SAFETY: reads `length` bytes; r and s live as long as the signature; both halves have `half` bytes.
        unsafe {
            let signature = Owned::take(sys::ECDSA_do_sign(i, length, self.key.get()))?;
            sys::ECDSA_SIG_get0(signature.get(), &raw mut r, &raw mut s);
            check(sys::BN_bn2bin_padded(left.as_mut_ptr(), half, r))?;
            check(sys::BN_bn2bin_padded(right.as_mut_ptr(), half, s))
        }
    }

    /// Whether r || s is a signature of the digest.
    pub(crate) fn verify(&self, digest: &[u8], signature: &[u8]) -> Option<()> {
        let (r, s) = signature.split_at_checked(self.curve.field_bytes())?;
        let (r, s, (i, length)) = (number(r)?, number(s)?, view(digest));
        // SAFETY: `set0` takes both numbers over when it succeeds; reads `length` bytes; everything is live.
        unsafe {
            let parsed = Owned::take(sys::ECDSA_SIG_new())?;
            check(sys::ECDSA_SIG_set0(parsed.get(), r.get(), s.get()))?;
            std::mem::forget((r, s));
            check(sys::ECDSA_do_verify(i, length, parsed.get(), self.key.get()))
        }
    }

    /// ECDH with a checked point; the result is the shared point's x coordinate.
    pub(crate) fn agree(&self, octets: &[u8]) -> Option<Secret> {
        let point = self.read_point(octets)?;
        let mut out = Secret::zeroed(self.curve.field_bytes());
        let (o, room) = target(out.expose_mut());
        // SAFETY: writes at most `room` bytes; all live; no derivation function.
        let written = unsafe { sys::ECDH_compute_key(o.cast(), room, point.get(), self.key.get(), None) };
        check(c_int::from(usize::try_from(written) == Ok(room)))?;
        Some(out)
    }
}

/// Both key schedules of an AES key: to encrypt, to decrypt.
pub(crate) struct Aes(Flat<[sys::AES_KEY; 2]>);

impl Aes {
    /// Expands a key of 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        if !matches!(key.len(), 16 | 24 | 32) {
            return None;
        }
        let (i, bits) = (key.as_ptr(), key.len() as u32 * 8);
        let mut aes = Self(Flat::zeroed());
        // SAFETY: a schedule is numbers only, so zeros are one; reads `bits / 8` bytes, writes one schedule each.
        let failed = unsafe {
            let [encrypt, decrypt] = aes.0.0.assume_init_mut();
            sys::AES_set_encrypt_key(i, bits, encrypt) | sys::AES_set_decrypt_key(i, bits, decrypt)
        };
        // Unlike everywhere else, 0 is success.
        (failed == 0).then_some(aes)
    }

    fn key(&self, way: Way) -> *const sys::AES_KEY {
        // SAFETY: `new` filled both.
        let [encrypt, decrypt] = unsafe { self.0.0.assume_init_ref() };
        match way {
            Way::Encrypt => encrypt,
            Way::Decrypt => decrypt,
        }
    }

    /// One block, in place.
    pub(crate) fn block(&self, way: Way, block: &mut Block) {
        let (key, data) = (self.key(way), block.as_mut_ptr());
        // SAFETY: reads and writes 16 bytes, in place as aes.h allows.
        unsafe {
            match way {
                Way::Encrypt => sys::AES_encrypt(data, data, key),
                Way::Decrypt => sys::AES_decrypt(data, data, key),
            }
        }
    }

    /// CBC over whole blocks, in place; `iv` becomes the next chaining value.
    pub(crate) fn cbc(&self, way: Way, iv: &mut Block, data: &mut [u8]) -> Option<()> {
        if !data.len().is_multiple_of(16) {
            return None;
        }
        let ((o, length), key) = (target(data), self.key(way));
        let way = if way == Way::Encrypt {
            sys::AES_ENCRYPT
        } else {
            sys::AES_DECRYPT
        };
        // SAFETY: reads and writes `length` bytes, whole blocks, in place as aes.h allows; `iv` has 16.
        unsafe { sys::AES_cbc_encrypt(o, o, length, key, iv.as_mut_ptr(), way) }
        Some(())
    }

    /// CTR with a 128-bit counter, in place.
    pub(crate) fn ctr(&self, counter: &mut Block, data: &mut [u8]) {
        let (mut spare, mut used) = ([0_u8; 16], 0);
        let ((o, length), key) = (target(data), self.key(Way::Encrypt));
        let (counter, rest) = (counter.as_mut_ptr(), spare.as_mut_ptr());
        // SAFETY: reads and writes `length` bytes, in place as aes.h allows; `counter` and `rest` have 16.
        unsafe { sys::AES_ctr128_encrypt(o, o, length, key, counter, rest, &raw mut used) }
        cleanse(&mut spare);
    }
}

/// A key for authenticated encryption.
pub(crate) struct Aead(Flat<sys::EVP_AEAD_CTX>);

impl Aead {
    /// Expands a key; see [`AeadKind`] for the lengths.
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
        let (mut key, (k, length)) = (Self(Flat::zeroed()), view(key));
        // SAFETY: the context is zeroed, at its final address (aws-lc aligns the state inside by it); reads `length`
        // bytes. Should it fail, the zeroed context may be cleaned up.
        check(unsafe { sys::EVP_AEAD_CTX_init(key.0.0.as_mut_ptr(), aead, k, length, tag, ptr::null_mut()) })?;
        Some(key)
    }

    /// To encrypt, `out` is as long as `input` and the tag; to decrypt, as `input` without it, and zero if the tag is
    /// wrong.
    pub(crate) fn run(&self, way: Way, nonce: &[u8], aad: &[u8], input: &[u8], out: &mut [u8]) -> Option<()> {
        let ((o, room), (n, nonce), (a, aad), (i, input)) = (target(out), view(nonce), view(aad), view(input));
        let (key, mut written) = (self.0.0.as_ptr(), 0);
        let w = &raw mut written;
        // SAFETY: both write at most `room` bytes and read as many as each length says; `out` overlaps nothing.
        check(unsafe {
            match way {
                Way::Encrypt => sys::EVP_AEAD_CTX_seal(key, o, w, room, n, nonce, i, input, a, aad),
                Way::Decrypt => sys::EVP_AEAD_CTX_open(key, o, w, room, n, nonce, i, input, a, aad),
            }
        })?;
        (written == room).then_some(())
    }
}

impl Drop for Aead {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, or zero; not used afterwards, but for being wiped.
        unsafe { sys::EVP_AEAD_CTX_cleanup(self.0.0.as_mut_ptr()) }
    }
}

/// An HMAC key with the hash states after both pads.
pub(crate) struct Hmac(Flat<sys::HMAC_CTX>);

impl Hmac {
    /// A key of any length.
    pub(crate) fn new(hash: MechanismType, key: &[u8]) -> Option<Self> {
        let (hash, (k, length)) = (message_digest(hash)?, view(key));
        let mut hmac = Self(Flat::zeroed());
        let context = hmac.0.0.as_mut_ptr();
        // SAFETY: `init` makes the context valid; reads `length` bytes.
        unsafe {
            sys::HMAC_CTX_init(context);
            check(sys::HMAC_Init_ex(context, k.cast(), length, hash, ptr::null_mut()))?;
        }
        Some(hmac)
    }

    /// The MAC of the parts, one after the other, into the front of `out`; gives its length.
    pub(crate) fn compute(&self, parts: &[&[u8]], out: &mut [u8; 64]) -> Option<usize> {
        let mut context = MaybeUninit::<sys::HMAC_CTX>::zeroed();
        let (running, mut written) = (context.as_mut_ptr(), 0);
        // SAFETY: the copy of an initialised context is one; reads each part's length. No hash here writes more than
        // 64 bytes.
        let done = unsafe {
            let update = |part: &&[u8]| check(sys::HMAC_Update(running, part.as_ptr(), part.len()));
            check(sys::HMAC_CTX_copy(running, self.0.0.as_ptr()))
                .and_then(|()| parts.iter().try_for_each(update))
                .and_then(|()| check(sys::HMAC_Final(running, out.as_mut_ptr(), &raw mut written)))
        };
        cleanse(&mut context);
        done.map(|()| written as usize)
    }
}
