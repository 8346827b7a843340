//! The rows of the comparison: which keys are made once, and what one call is.

use cryptoki_sys::*;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, Template, bytes, flag, number};

/// What a thread of a worker has.
pub(crate) struct Bed<'a> {
    pub(crate) module: &'a Module,
    pub(crate) session: Session,
    pub(crate) pin: &'a str,
}

/// One call, timed as a whole.
pub(crate) type Call<'a> = Box<dyn FnMut() -> Result<(), Rv> + 'a>;

type Prepare = for<'a> fn(&'a Bed<'a>) -> Result<Call<'a>, Rv>;

/// The table.
const ROWS: &[(&str, Prepare)] = &[
    ("sign-rsa2048", |bed| sign(bed, "rsa2048", CKM_RSA_PKCS, 32)),
    ("sign-rsa4096", |bed| sign(bed, "rsa4096", CKM_RSA_PKCS, 32)),
    ("sign-p256", |bed| sign(bed, "p256", CKM_ECDSA, 32)),
    ("sign-p384", |bed| sign(bed, "p384", CKM_ECDSA, 48)),
    ("sign-ed25519", |bed| sign(bed, "ed25519", CKM_EDDSA, 32)),
    ("decrypt-oaep2048", oaep),
    ("ecdh-p256", ecdh),
    ("aes-gcm-1k", |bed| gcm(bed, 1 << 10)),
    ("aes-gcm-64k", |bed| gcm(bed, 64 << 10)),
    ("aes-cbc-16k", |bed| cbc(bed, 16 << 10)),
    ("hmac-sha256-1k", |bed| sign(bed, "hmac", CKM_SHA256_HMAC, 1 << 10)),
    ("sha256-1k", digest),
    ("random-32", random),
    ("session", session),
    ("login", login),
    ("get-attribute", attribute),
    ("find-by-label", find),
    ("keygen-aes-session", |bed| keygen(bed, false)),
    ("keygen-aes-token", |bed| keygen(bed, true)),
    ("keygen-p256-session", pair),
];

const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";
const ED25519: &[u8] = b"\x13\x0cedwards25519";

/// All names.
pub(crate) fn names() -> Vec<String> {
    ROWS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// The call of a row.
pub(crate) fn prepare<'a>(row: &str, bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let (_, prepare) = ROWS
        .iter()
        .find(|(name, _)| *name == row)
        .ok_or(Rv(CKR_FUNCTION_NOT_SUPPORTED))?;
    prepare(bed)
}

fn labelled(name: &str) -> Vec<Attribute> {
    vec![bytes(CKA_LABEL, name), bytes(CKA_ID, name), flag(CKA_TOKEN, true)]
}

/// Makes the token keys of all rows. A kind that the module does not have is left out; its row says so.
pub(crate) fn make_keys(bed: &Bed<'_>) {
    let pairs: [(&str, u64, Attribute); 5] = [
        ("rsa2048", CKM_RSA_PKCS_KEY_PAIR_GEN, number(CKA_MODULUS_BITS, 2048)),
        ("rsa4096", CKM_RSA_PKCS_KEY_PAIR_GEN, number(CKA_MODULUS_BITS, 4096)),
        ("p256", CKM_EC_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, P256)),
        ("p384", CKM_EC_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, P384)),
        ("ed25519", CKM_EC_EDWARDS_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, ED25519)),
    ];
    for (name, mechanism, what) in pairs {
        let public = [labelled(name), vec![what, flag(CKA_VERIFY, true)]].concat();
        let private = [
            labelled(name),
            vec![flag(CKA_PRIVATE, true), flag(CKA_SENSITIVE, true), flag(CKA_SIGN, true)],
        ];
        let private = [
            private.concat(),
            vec![
                flag(CKA_DERIVE, name.starts_with('p')),
                flag(CKA_DECRYPT, name.starts_with('r')),
            ],
        ];
        let private = private.concat();
        let _ = bed
            .module
            .generate_key_pair(bed.session, &Mechanism::Plain(mechanism), &public, &private);
    }
    let uses = vec![
        flag(CKA_ENCRYPT, true),
        flag(CKA_DECRYPT, true),
        number(CKA_VALUE_LEN, 32),
    ];
    let aes = [labelled("aes"), uses, vec![flag(CKA_SENSITIVE, true)]].concat();
    let _ = bed
        .module
        .generate_key(bed.session, &Mechanism::Plain(CKM_AES_KEY_GEN), &aes);
    let mac = [
        labelled("hmac"),
        vec![flag(CKA_SIGN, true), flag(CKA_VERIFY, true), number(CKA_VALUE_LEN, 32)],
    ]
    .concat();
    let _ = bed
        .module
        .generate_key(bed.session, &Mechanism::Plain(CKM_GENERIC_SECRET_KEY_GEN), &mac);
}

fn key(bed: &Bed<'_>, name: &str, class: u64) -> Result<Object, Rv> {
    let hits = bed
        .module
        .find(bed.session, &[number(CKA_CLASS, class), bytes(CKA_LABEL, name)])?;
    hits.first().copied().ok_or(Rv(CKR_KEY_HANDLE_INVALID))
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
        key(bed, name, class)?,
        vec![0x5a; length],
    ))
}

fn oaep<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let mechanism = Mechanism::Oaep {
        hash: CKM_SHA_1,
        mgf: CKG_MGF1_SHA1,
    };
    let public = key(bed, "rsa2048", CKO_PUBLIC_KEY)?;
    let ciphertext = bed.module.encrypt(bed.session, &mechanism, public, &[7; 32])?;
    Ok(one_shot(
        bed,
        "Decrypt",
        mechanism,
        key(bed, "rsa2048", CKO_PRIVATE_KEY)?,
        ciphertext,
    ))
}

fn ecdh<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let point = bed
        .module
        .get(bed.session, key(bed, "p256", CKO_PUBLIC_KEY)?, CKA_EC_POINT)?;
    // Both peers take the bare point.
    let mechanism = Mechanism::Ecdh {
        public: point[2..].to_vec(),
    };
    let base = key(bed, "p256", CKO_PRIVATE_KEY)?;
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

fn gcm<'a>(bed: &'a Bed<'a>, length: usize) -> Result<Call<'a>, Rv> {
    let aes = key(bed, "aes", CKO_SECRET_KEY)?;
    let library = &bed.module.library;
    let (init, work) = (library.function("C_EncryptInit"), library.function("C_Encrypt"));
    let data = vec![1_u8; length];
    let mut output = vec![0_u8; length + 64];
    let session = bed.session as usize;
    let mut count = 0_u64;
    let salt = std::process::id().to_le_bytes();
    Ok(Box::new(move || {
        count += 1;
        let unique = count ^ (bed.session << 44);
        let iv = [&unique.to_le_bytes()[..], &salt].concat();
        let mechanism = Mechanism::Gcm {
            iv,
            aad: Vec::new(),
            tag_bits: 128,
        };
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

fn cbc<'a>(bed: &'a Bed<'a>, length: usize) -> Result<Call<'a>, Rv> {
    let aes = key(bed, "aes", CKO_SECRET_KEY)?;
    Ok(one_shot(
        bed,
        "Encrypt",
        Mechanism::Bytes(CKM_AES_CBC, vec![3; 16]),
        aes,
        vec![1; length],
    ))
}

fn digest<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    Ok(one_shot(bed, "Digest", Mechanism::Plain(CKM_SHA256), 0, vec![1; 1024]))
}

fn random<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let library = &bed.module.library;
    let random = library.function("C_GenerateRandom");
    let mut output = [0_u8; 32];
    Ok(Box::new(move || {
        Rv::check(library.call_function(random, &[bed.session as usize, output.as_mut_ptr() as usize, 32]))
    }))
}

fn session<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let slot = slot_of(bed)?;
    Ok(Box::new(move || {
        bed.module
            .open_session(slot)
            .and_then(|session| bed.module.close_session(session))
    }))
}

fn slot_of(bed: &Bed<'_>) -> Result<u64, Rv> {
    let mut info = CK_SESSION_INFO {
        slotID: 0,
        state: 0,
        flags: 0,
        ulDeviceError: 0,
    };
    Rv::check(
        bed.module
            .library
            .call("C_GetSessionInfo", &[bed.session as usize, &raw mut info as usize]),
    )?;
    Ok(info.slotID)
}

/// One thread only: the login state is the application's.
fn login<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    Ok(Box::new(move || {
        bed.module.logout(bed.session)?;
        bed.module.login(bed.session, CKU_USER, bed.pin)
    }))
}

fn attribute<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let key = key(bed, "p256", CKO_PRIVATE_KEY)?;
    let mut template = Template::room(&[CKA_LABEL, CKA_ID, CKA_KEY_TYPE], &[64, 64, 8]);
    let library = &bed.module.library;
    let get = library.function("C_GetAttributeValue");
    Ok(Box::new(move || {
        // Room that an earlier call has shrunk to the value's length is large enough for the same value again.
        let words = [bed.session as usize, key as usize, template.address(), template.count()];
        Rv::check(library.call_function(get, &words))
    }))
}

fn find<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let wanted = [number(CKA_CLASS, CKO_PRIVATE_KEY), bytes(CKA_LABEL, "p256")];
    Ok(Box::new(move || match bed.module.find(bed.session, &wanted)?.len() {
        1 => Ok(()),
        _ => Err(Rv(CKR_OBJECT_HANDLE_INVALID)),
    }))
}

fn keygen<'a>(bed: &'a Bed<'a>, token: bool) -> Result<Call<'a>, Rv> {
    let template = [
        number(CKA_VALUE_LEN, 32),
        flag(CKA_TOKEN, token),
        bytes(CKA_LABEL, "made and destroyed"),
    ];
    Ok(Box::new(move || {
        let key = bed
            .module
            .generate_key(bed.session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)?;
        bed.module.destroy(bed.session, key)
    }))
}

fn pair<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let public = [bytes(CKA_EC_PARAMS, P256), flag(CKA_TOKEN, false)];
    let private = [flag(CKA_TOKEN, false)];
    Ok(Box::new(move || {
        let pair =
            bed.module
                .generate_key_pair(bed.session, &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN), &public, &private)?;
        bed.module.destroy(bed.session, pair.0)?;
        bed.module.destroy(bed.session, pair.1)
    }))
}
