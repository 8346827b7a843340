//! A row for each further family of mechanisms. Their keys are sensitive and of the token, as those of all rows, and made before the clock
//! starts; a module that lacks the mechanism says so in its column.

use cryptoki_sys::*;
use hsmd_proto::dh::DhGroup;
use hsmd_tests::module::Object;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, Word, bytes, flag, number, words};

use super::{Bed, Call, ivs, keys, one_shot};

/// The call of a row; `None` for one of another file.
pub(super) fn prepare<'a>(row: &str, bed: &'a Bed<'a>) -> Option<Result<Call<'a>, Rv>> {
    let encrypt = |key, mechanism, length| encrypt(bed, key, mechanism, length);
    Some(match row {
        "sign-pss2048" => pss(bed),
        "sign-mldsa65" => sign_pq(bed, (CKM_ML_DSA_KEY_PAIR_GEN, CKP_ML_DSA_65), CKM_ML_DSA),
        "sign-slhdsa-sha2-128f" => sign_pq(bed, (CKM_SLH_DSA_KEY_PAIR_GEN, CKP_SLH_DSA_SHA2_128F), CKM_SLH_DSA),
        "x25519" => x25519(bed),
        "dh-2048" => dh(bed),
        "mlkem768-decapsulate" => decapsulate(bed),
        "aes-ecb-16k" => token_aes(bed, Mechanism::Plain(CKM_AES_ECB)),
        "aes-ctr-16k" => token_aes(bed, Mechanism::Bytes(CKM_AES_CTR, counter())),
        "aes-ctr-16k-session" => session_aes(bed, Mechanism::Bytes(CKM_AES_CTR, counter())),
        "aes-cts-1k" => encrypt(AES, Mechanism::Bytes(CKM_AES_CTS, vec![7; 16]), 1 << 10),
        "aes-xts-4k" => encrypt(XTS, Mechanism::Bytes(CKM_AES_XTS, vec![7; 16]), 4 << 10),
        "aes-ccm-1k" => nonces(bed, AES, |nonce| Mechanism::Ccm {
            length: 1 << 10,
            nonce,
            aad: Vec::new(),
            tag: 16,
        }),
        "chacha20-poly1305-1k" => nonces(bed, CHACHA, |nonce| Mechanism::ChaCha { nonce, aad: Vec::new() }),
        "aes-gmac-1k" => gmac(bed),
        "aes-cmac-1k" => sign(bed, AES, Mechanism::Plain(CKM_AES_CMAC)),
        "hmac-sha3-256-1k" => sign(bed, GENERIC, Mechanism::Plain(CKM_SHA3_256_HMAC)),
        "tls12-mac" => {
            let fields = [CKM_SHA256, 12, 1].map(|word| Word::Number(word as usize));
            sign(bed, GENERIC, words(CKM_TLS12_MAC, &fields))
        }
        "sha3-256-1k" => {
            let mechanism = Mechanism::Plain(CKM_SHA3_256);
            Ok(one_shot(bed, "Digest", mechanism, 0, vec![1; 1024]))
        }
        "blake2b-256-1k" => {
            let mechanism = Mechanism::Plain(CKM_BLAKE2B_256);
            Ok(one_shot(bed, "Digest", mechanism, 0, vec![1; 1024]))
        }
        "verify-hss" => hss(bed),
        "wrap-aes-kw" => wrap(bed, |bed| secret(bed, AES), Mechanism::Plain(CKM_AES_KEY_WRAP)),
        "wrap-rsa-aes" => {
            let oaep = [CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, 0, 0];
            let oaep: Vec<u8> = oaep.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let mechanism = words(CKM_RSA_AES_KEY_WRAP, &[Word::Number(256), Word::Bytes(&oaep)]);
            wrap(bed, |bed| rsa(bed).map(|(public, _)| public), mechanism)
        }
        "hkdf-sha256" => derive(
            bed,
            Mechanism::Hkdf {
                hash: CKM_SHA256,
                salt: vec![7; 32],
                info: b"bench".to_vec(),
            },
        ),
        "sp800-108" => derive(bed, counter_kdf()),
        "tls12-kdf" => derive(bed, tls_kdf()),
        "concatenate" => concatenate(bed),
        "pbkdf2-10000" => pbkdf2(bed),
        _ => return None,
    })
}

/// A kind of secret keys: how they are made, how long they are.
type Kind = (CK_MECHANISM_TYPE, Option<CK_ULONG>);

const AES: Kind = (CKM_AES_KEY_GEN, Some(32));
const XTS: Kind = (CKM_AES_XTS_KEY_GEN, Some(64));
const CHACHA: Kind = (CKM_CHACHA20_KEY_GEN, None);
const GENERIC: Kind = (CKM_GENERIC_SECRET_KEY_GEN, Some(32));

/// Destroyed after the clock has stopped.
fn keep(bed: &Bed<'_>, object: Object) -> Object {
    if let Ok(mut made) = bed.made.lock() {
        made.push(object);
    }
    object
}

/// A key of the token for whatever its type does.
fn secret(bed: &Bed<'_>, kind: Kind) -> Result<Object, Rv> {
    let held = [
        flag(CKA_TOKEN, true),
        flag(CKA_PRIVATE, true),
        flag(CKA_SENSITIVE, true),
    ];
    make(bed, kind, &held)
}

/// A key that everybody may read, and that goes with the session.
fn session_secret(bed: &Bed<'_>, kind: Kind) -> Result<Object, Rv> {
    let held = [flag(CKA_TOKEN, false), flag(CKA_SENSITIVE, false)];
    make(bed, kind, &held)
}

fn make(bed: &Bed<'_>, (kind, length): Kind, held: &[Attribute]) -> Result<Object, Rv> {
    let mut template = held.to_vec();
    // To be wrapped.
    template.push(flag(CKA_EXTRACTABLE, true));
    template.extend(length.map(|length| number(CKA_VALUE_LEN, length)));
    let uses: &[CK_ATTRIBUTE_TYPE] = match kind {
        CKM_AES_KEY_GEN => &[CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_WRAP],
        CKM_GENERIC_SECRET_KEY_GEN => &[CKA_SIGN, CKA_DERIVE],
        _ => &[CKA_ENCRYPT, CKA_DECRYPT],
    };
    template.extend(uses.iter().map(|use_| flag(*use_, true)));
    let key = bed
        .module
        .generate_key(bed.session, &Mechanism::Plain(kind), &template)?;
    Ok(keep(bed, key))
}

fn pair(
    bed: &Bed<'_>,
    kind: CK_MECHANISM_TYPE,
    public: &[Attribute],
    uses: [CK_ATTRIBUTE_TYPE; 2],
) -> Result<(Object, Object), Rv> {
    let public = [public, &[flag(CKA_TOKEN, true), flag(uses[0], true)]].concat();
    let private = [
        flag(CKA_TOKEN, true),
        flag(CKA_PRIVATE, true),
        flag(CKA_SENSITIVE, true),
        flag(uses[1], true),
    ];
    let (public, private) = bed
        .module
        .generate_key_pair(bed.session, &Mechanism::Plain(kind), &public, &private)?;
    Ok((keep(bed, public), keep(bed, private)))
}

fn rsa(bed: &Bed<'_>) -> Result<(Object, Object), Rv> {
    let public = [number(CKA_MODULUS_BITS, 2048), flag(CKA_WRAP, true)];
    pair(bed, CKM_RSA_PKCS_KEY_PAIR_GEN, &public, [CKA_VERIFY, CKA_SIGN])
}

fn pss<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let (_, private) = rsa(bed)?;
    let mechanism = Mechanism::Pss {
        kind: CKM_SHA256_RSA_PKCS_PSS,
        hash: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        salt: 32,
    };
    Ok(one_shot(bed, "Sign", mechanism, private, vec![0x5a; 32]))
}

/// The buffer is as long as the data and 1 KiB: signatures of SLH-DSA want more, so they sign more.
fn sign_pq<'a>(
    bed: &'a Bed<'a>,
    (kind, set): (CK_MECHANISM_TYPE, CK_ULONG),
    with: CK_MECHANISM_TYPE,
) -> Result<Call<'a>, Rv> {
    let (_, private) = pair(bed, kind, &[number(CKA_PARAMETER_SET, set)], [CKA_VERIFY, CKA_SIGN])?;
    Ok(one_shot(
        bed,
        "Sign",
        Mechanism::Plain(with),
        private,
        vec![0x5a; 17 << 10],
    ))
}

/// RFC 8554, appendix F, test case 1: two trees of height 5, digits of 8 bits.
fn hss<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    const VECTORS: &str = include_str!("../../../../../tests/tests/vectors/stateful.json");
    let field = |name: &str| -> Vec<u8> {
        let marked = format!("\"{name}\": \"");
        let text = VECTORS.split_once(&marked).and_then(|(_, rest)| rest.split_once('"'));
        let digits = text.map_or("", |(digits, _)| digits);
        let pairs = (0..digits.len() / 2).filter_map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok());
        pairs.collect()
    };
    let template = [
        number(CKA_CLASS, CKO_PUBLIC_KEY),
        number(CKA_KEY_TYPE, CKK_HSS),
        flag(CKA_TOKEN, false),
        flag(CKA_VERIFY, true),
        bytes(CKA_VALUE, field("key")),
    ];
    let key = keep(bed, bed.module.create(bed.session, &template)?);
    let (message, signature) = (field("message"), field("signature"));
    Ok(Box::new(move || {
        let hss = Mechanism::Plain(CKM_HSS);
        bed.module.verify(bed.session, &hss, key, &message, &signature)
    }))
}

fn encrypt<'a>(bed: &'a Bed<'a>, kind: Kind, mechanism: Mechanism, length: usize) -> Result<Call<'a>, Rv> {
    Ok(one_shot(bed, "Encrypt", mechanism, secret(bed, kind)?, vec![1; length]))
}

/// 16 KiB with a key that the application could as well use by itself.
fn session_aes<'a>(bed: &'a Bed<'a>, mechanism: Mechanism) -> Result<Call<'a>, Rv> {
    let key = session_secret(bed, AES)?;
    Ok(one_shot(bed, "Encrypt", mechanism, key, vec![1; 16 << 10]))
}

/// 16 KiB with the AES key of the token.
fn token_aes<'a>(bed: &'a Bed<'a>, mechanism: Mechanism) -> Result<Call<'a>, Rv> {
    let key = keys::of(bed, "aes", CKO_SECRET_KEY)?;
    Ok(one_shot(bed, "Encrypt", mechanism, key, vec![1; 16 << 10]))
}

/// `CK_AES_CTR_PARAMS` of a counter of 64 bits.
fn counter() -> Vec<u8> {
    [&64_u64.to_ne_bytes()[..], &[7; 16]].concat()
}

fn sign<'a>(bed: &'a Bed<'a>, kind: Kind, mechanism: Mechanism) -> Result<Call<'a>, Rv> {
    Ok(one_shot(
        bed,
        "Sign",
        mechanism,
        secret(bed, kind)?,
        vec![0x5a; 1 << 10],
    ))
}

/// 1 KiB, with a nonce of its own for each call.
fn nonces<'a>(bed: &'a Bed<'a>, kind: Kind, mechanism: impl Fn(Vec<u8>) -> Mechanism + 'a) -> Result<Call<'a>, Rv> {
    let (key, data, mut nonce) = (secret(bed, kind)?, vec![1; 1 << 10], ivs());
    Ok(Box::new(move || {
        bed.module
            .encrypt(bed.session, &mechanism(nonce()), key, &data)
            .map(drop)
    }))
}

fn gmac<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let (key, data, mut iv) = (secret(bed, AES)?, vec![1; 1 << 10], ivs());
    Ok(Box::new(move || {
        bed.module
            .sign(bed.session, &Mechanism::Gmac { iv: iv() }, key, &data)
            .map(drop)
    }))
}

fn template(length: CK_ULONG) -> [Attribute; 4] {
    [
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        number(CKA_VALUE_LEN, length),
        flag(CKA_TOKEN, false),
    ]
}

/// A session key, and its destruction.
fn derived<'a>(bed: &'a Bed<'a>, base: Object, mechanism: Mechanism, length: CK_ULONG) -> Call<'a> {
    let template = template(length);
    Box::new(move || {
        let made = bed.module.derive(bed.session, &mechanism, base, &template)?;
        bed.module.destroy(bed.session, made)
    })
}

fn derive<'a>(bed: &'a Bed<'a>, mechanism: Mechanism) -> Result<Call<'a>, Rv> {
    Ok(derived(bed, secret(bed, GENERIC)?, mechanism, 32))
}

/// All 48 bytes: less would be a part of a sensitive key.
fn concatenate<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let data = [Word::Bytes(&[7; 16]), Word::Number(16)];
    let mechanism = words(CKM_CONCATENATE_BASE_AND_DATA, &data);
    Ok(derived(bed, secret(bed, GENERIC)?, mechanism, 48))
}

fn x25519<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let curve = [bytes(CKA_EC_PARAMS, b"\x13\x0acurve25519")];
    let (public, private) = pair(bed, CKM_EC_MONTGOMERY_KEY_PAIR_GEN, &curve, [CKA_DERIVE, CKA_DERIVE])?;
    let point = bed.module.get(bed.session, public, CKA_EC_POINT)?;
    let public = point.get(2..).unwrap_or_default().to_vec();
    Ok(derived(bed, private, Mechanism::Ecdh { public }, 32))
}

fn dh<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let group = [
        bytes(CKA_PRIME, DhGroup::Modp2048.prime()),
        bytes(CKA_BASE, DhGroup::BASE),
    ];
    let (public, private) = pair(bed, CKM_DH_PKCS_KEY_PAIR_GEN, &group, [CKA_DERIVE, CKA_DERIVE])?;
    let value = bed.module.get(bed.session, public, CKA_VALUE)?;
    Ok(derived(bed, private, Mechanism::Bytes(CKM_DH_PKCS_DERIVE, value), 32))
}

/// A session key out of a ciphertext, and its destruction.
fn decapsulate<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let set = [number(CKA_PARAMETER_SET, CKP_ML_KEM_768)];
    let uses = [CKA_ENCAPSULATE, CKA_DECAPSULATE];
    let (public, private) = pair(bed, CKM_ML_KEM_KEY_PAIR_GEN, &set, uses)?;
    let (mechanism, template) = (Mechanism::Plain(CKM_ML_KEM), template(32));
    let (ciphertext, secret) = bed.module.encapsulate(bed.session, &mechanism, public, &template)?;
    keep(bed, secret);
    Ok(Box::new(move || {
        let made = bed
            .module
            .decapsulate(bed.session, &mechanism, private, &template, &ciphertext)?;
        bed.module.destroy(bed.session, made)
    }))
}

fn wrap<'a>(
    bed: &'a Bed<'a>,
    wrapping: impl FnOnce(&'a Bed<'a>) -> Result<Object, Rv>,
    mechanism: Mechanism,
) -> Result<Call<'a>, Rv> {
    let (wrapping, key) = (wrapping(bed)?, secret(bed, AES)?);
    Ok(Box::new(move || {
        bed.module.wrap(bed.session, &mechanism, wrapping, key).map(drop)
    }))
}

/// A counter of 32 bits before 32 bytes.
fn counter_kdf() -> Mechanism {
    let format: Vec<u8> = [0_usize, 32].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let leak = |bytes: &[u8]| Box::leak(bytes.to_vec().into_boxed_slice()).as_ptr() as usize;
    let fields = [
        CK_SP800_108_ITERATION_VARIABLE as usize,
        leak(&format),
        format.len(),
        CK_SP800_108_BYTE_ARRAY as usize,
        leak(&[7; 32]),
        32,
    ];
    let fields: Vec<u8> = fields.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let prf = Word::Number(CKM_SHA256_HMAC as usize);
    let none = [Word::Number(0); 2];
    words(
        CKM_SP800_108_COUNTER_KDF,
        &[&[prf, Word::Number(2), Word::Bytes(&fields)], &none[..]].concat(),
    )
}

fn tls_kdf() -> Mechanism {
    let random = [Word::Bytes(&[7; 32]), Word::Number(32)];
    let label = [
        Word::Number(CKM_SHA256 as usize),
        Word::Bytes(b"bench label"),
        Word::Number(11),
    ];
    words(
        CKM_TLS12_KDF,
        &[&label[..], &random, &random, &[Word::Number(0); 2]].concat(),
    )
}

/// A session key, and its destruction.
fn pbkdf2<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let fields = [
        Word::Number(CKZ_SALT_SPECIFIED as usize),
        Word::Bytes(&[7; 16]),
        Word::Number(16),
        Word::Number(10_000),
        Word::Number(CKP_PKCS5_PBKD2_HMAC_SHA256 as usize),
        Word::Number(0),
        Word::Number(0),
        Word::Bytes(b"a password"),
        Word::Number(10),
    ];
    let (mechanism, template) = (words(CKM_PKCS5_PBKD2, &fields), template(32));
    Ok(Box::new(move || {
        let made = bed.module.generate_key(bed.session, &mechanism, &template)?;
        bed.module.destroy(bed.session, made)
    }))
}
