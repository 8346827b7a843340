//! The rows of the comparison: what one call is, for every module the same. Keys are found here, made in `keys.rs`; rows
//! of further families of mechanisms in `families.rs`, about objects in `objects.rs`. What the rows mean is in `hsmd_benches::catalogue`.

mod families;
pub(crate) mod keys;
mod objects;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::*;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Mechanism, flag, number};

/// What a thread of a worker has.
pub(crate) struct Bed<'a> {
    pub(crate) module: &'a Module,
    pub(crate) slot: CK_SLOT_ID,
    pub(crate) session: Session,
    pub(crate) pin: &'a str,
    /// Which of the worker's threads this is.
    pub(crate) number: usize,
    /// What the row leaves behind; destroyed after the clock has stopped.
    pub(crate) made: &'a Mutex<Vec<Object>>,
}

/// One call, timed as a whole.
pub(crate) type Call<'a> = Box<dyn FnMut() -> Result<(), Rv> + 'a>;

/// The call of a row.
pub(crate) fn prepare<'a>(row: &str, bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    match row {
        "sign-rsa2048" => sign(bed, "rsa2048", CKM_RSA_PKCS, 32),
        "sign-rsa4096" => sign(bed, "rsa4096", CKM_RSA_PKCS, 32),
        "sign-p256" => sign(bed, "p256", CKM_ECDSA, 32),
        "sign-p384" => sign(bed, "p384", CKM_ECDSA, 48),
        "sign-ed25519" => sign(bed, "ed25519", CKM_EDDSA, 32),
        "decrypt-oaep2048" => rsa_decrypt(
            bed,
            Mechanism::Oaep {
                hash: CKM_SHA_1,
                mgf: CKG_MGF1_SHA1,
            },
        ),
        "decrypt-pkcs1-2048" => rsa_decrypt(bed, Mechanism::Plain(CKM_RSA_PKCS)),
        "ecdh-p256" => ecdh(bed),
        "aes-gcm-1k" => gcm(bed, 1 << 10),
        "aes-gcm-64k" => gcm(bed, 64 << 10),
        "aes-gcm-decrypt-1k" => gcm_decrypt(bed, 1 << 10),
        "aes-cbc-16k" => cbc(bed, 16 << 10),
        "hmac-sha256-1k" => sign(bed, "hmac", CKM_SHA256_HMAC, 1 << 10),
        "sha256-1k" => Ok(one_shot(bed, "Digest", Mechanism::Plain(CKM_SHA256), 0, vec![1; 1024])),
        "random-32" => Ok(random(bed)),
        "session" => Ok(session(bed)),
        "login" => Ok(login(bed)),
        other => families::prepare(other, bed).unwrap_or_else(|| objects::prepare(other, bed)),
    }
}

/// Init and one call with a buffer that is large enough.
fn one_shot<'a>(bed: &'a Bed<'a>, name: &str, mechanism: Mechanism, key: Object, data: Vec<u8>) -> Call<'a> {
    let library = &bed.module.library;
    let (init, work) = (
        library.function(&format!("C_{name}Init")),
        library.function(&format!("C_{name}")),
    );
    let session = bed.session as usize;
    let mut output = vec![0_u8; data.len() + 1024];
    Box::new(move || {
        mechanism.with(|mechanism| Rv::check(library.call_function(init, &[session, mechanism, key as usize])))?;
        let mut length = output.len() as CK_ULONG;
        let words = [
            session,
            data.as_ptr() as usize,
            data.len(),
            output.as_mut_ptr() as usize,
            &raw mut length as usize,
        ];
        Rv::check(library.call_function(work, &words))
    })
}

fn sign<'a>(bed: &'a Bed<'a>, name: &str, mechanism: u64, length: usize) -> Result<Call<'a>, Rv> {
    let class = if name == "hmac" {
        CKO_SECRET_KEY
    } else {
        CKO_PRIVATE_KEY
    };
    Ok(one_shot(
        bed,
        "Sign",
        Mechanism::Plain(mechanism),
        keys::of(bed, name, class)?,
        vec![0x5a; length],
    ))
}

fn rsa_decrypt<'a>(bed: &'a Bed<'a>, mechanism: Mechanism) -> Result<Call<'a>, Rv> {
    let public = keys::of(bed, "rsa2048", CKO_PUBLIC_KEY)?;
    let ciphertext = bed.module.encrypt(bed.session, &mechanism, public, &[7; 32])?;
    let private = keys::of(bed, "rsa2048", CKO_PRIVATE_KEY)?;
    Ok(one_shot(bed, "Decrypt", mechanism, private, ciphertext))
}

fn ecdh<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let point = bed
        .module
        .get(bed.session, keys::of(bed, "p256", CKO_PUBLIC_KEY)?, CKA_EC_POINT)?;
    // Both peers take the bare point.
    let mechanism = Mechanism::Ecdh {
        public: point.get(2..).unwrap_or_default().to_vec(),
    };
    let base = keys::of(bed, "p256", CKO_PRIVATE_KEY)?;
    let template = [
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        number(CKA_VALUE_LEN, 32),
        flag(CKA_TOKEN, false),
    ];
    Ok(Box::new(move || {
        let derived = bed.module.derive(bed.session, &mechanism, base, &template)?;
        bed.module.destroy(bed.session, derived)
    }))
}

/// An IV that no thread of no process has used with this key: process, thread of the run, count.
fn ivs() -> impl FnMut() -> Vec<u8> {
    static PREFIX: AtomicU64 = AtomicU64::new(1);
    let prefix = PREFIX.fetch_add(1, Ordering::Relaxed) << 40;
    let process = std::process::id().to_le_bytes();
    let mut count = 0;
    move || {
        count += 1;
        [&(prefix | count).to_le_bytes()[..], &process].concat()
    }
}

fn gcm_mechanism(iv: Vec<u8>) -> Mechanism {
    Mechanism::Gcm {
        iv,
        aad: Vec::new(),
        tag_bits: 128,
    }
}

fn gcm<'a>(bed: &'a Bed<'a>, length: usize) -> Result<Call<'a>, Rv> {
    let aes = keys::of(bed, "aes", CKO_SECRET_KEY)?;
    let library = &bed.module.library;
    let (init, work) = (library.function("C_EncryptInit"), library.function("C_Encrypt"));
    let data = vec![1_u8; length];
    let mut output = vec![0_u8; length + 64];
    let session = bed.session as usize;
    let mut iv = ivs();
    Ok(Box::new(move || {
        let mechanism = gcm_mechanism(iv());
        mechanism.with(|mechanism| Rv::check(library.call_function(init, &[session, mechanism, aes as usize])))?;
        let mut room = output.len() as CK_ULONG;
        let words = [
            session,
            data.as_ptr() as usize,
            data.len(),
            output.as_mut_ptr() as usize,
            &raw mut room as usize,
        ];
        Rv::check(library.call_function(work, &words))
    }))
}

fn gcm_decrypt<'a>(bed: &'a Bed<'a>, length: usize) -> Result<Call<'a>, Rv> {
    let aes = keys::of(bed, "aes", CKO_SECRET_KEY)?;
    let mechanism = gcm_mechanism(ivs()());
    let ciphertext = bed.module.encrypt(bed.session, &mechanism, aes, &vec![1; length])?;
    Ok(one_shot(bed, "Decrypt", mechanism, aes, ciphertext))
}

fn cbc<'a>(bed: &'a Bed<'a>, length: usize) -> Result<Call<'a>, Rv> {
    let aes = keys::of(bed, "aes", CKO_SECRET_KEY)?;
    Ok(one_shot(
        bed,
        "Encrypt",
        Mechanism::Bytes(CKM_AES_CBC, vec![3; 16]),
        aes,
        vec![1; length],
    ))
}

fn random<'a>(bed: &'a Bed<'a>) -> Call<'a> {
    let library = &bed.module.library;
    let random = library.function("C_GenerateRandom");
    let mut output = [0_u8; 32];
    Box::new(move || {
        Rv::check(library.call_function(random, &[bed.session as usize, output.as_mut_ptr() as usize, 32]))
    })
}

fn session<'a>(bed: &'a Bed<'a>) -> Call<'a> {
    Box::new(move || {
        bed.module
            .open_session(bed.slot)
            .and_then(|session| bed.module.close_session(session))
    })
}

/// One thread only: the login state is the application's.
fn login<'a>(bed: &'a Bed<'a>) -> Call<'a> {
    Box::new(move || {
        let out = bed.module.logout(bed.session);
        // Also after a failed C_Logout, so that one failure is counted once.
        bed.module.login(bed.session, CKU_USER, bed.pin).and(out)
    })
}
