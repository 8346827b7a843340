//! SLH-DSA: every set made, used, carried through a blob and a restart; what is refused.

use super::{application, context};
use cryptoki_sys::*;
use hsmd_tests::daemon::Daemon;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, flag, number};

/// The sets in the order of their numbers, from `CKP_SLH_DSA_SHA2_128S` = 1 on.
pub(super) const SETS: [&str; 12] = [
    "SHA2-128s",
    "SHAKE-128s",
    "SHA2-128f",
    "SHAKE-128f",
    "SHA2-192s",
    "SHAKE-192s",
    "SHA2-192f",
    "SHAKE-192f",
    "SHA2-256s",
    "SHAKE-256s",
    "SHA2-256f",
    "SHAKE-256f",
];

/// The length of a signature (FIPS 205, table 2).
fn signature_length(name: &str) -> usize {
    match name.rsplit('-').next() {
        Some("128s") => 7856,
        Some("128f") => 17088,
        Some("192s") => 16224,
        Some("192f") => 35664,
        Some("256s") => 29792,
        _ => 49856,
    }
}

fn pair(module: &Module, session: Session, set: CK_ULONG, private: &[Attribute]) -> (Object, Object) {
    let public = [number(CKA_PARAMETER_SET, set), flag(CKA_TOKEN, true)];
    let mechanism = Mechanism::Plain(CKM_SLH_DSA_KEY_PAIR_GEN);
    let made = module.generate_key_pair(session, &mechanism, &public, private);
    made.expect("C_GenerateKeyPair")
}

#[test]
fn slh_dsa_keys_of_every_set_live_through_a_restart() {
    let mut daemon = Daemon::start();
    let (module, session) = application(&daemon);
    let keys: Vec<_> = (1..=12)
        .map(|set| pair(&module, session, set, &[flag(CKA_TOKEN, true)]))
        .collect();
    daemon.kill9();
    daemon.restart();
    for ((name, (public, private)), index) in SETS.into_iter().zip(keys).zip(0..) {
        let length = signature_length(name);
        let size = module.get(session, public, CKA_VALUE).expect("the value").len();
        assert_eq!(
            size,
            2 * name[name.len() - 4..name.len() - 1].parse::<usize>().expect("bits") / 8
        );
        assert_eq!(
            module.get(session, private, CKA_VALUE),
            Err(Rv(CKR_ATTRIBUTE_SENSITIVE))
        );
        assert_eq!(
            module.get(session, private, CKA_SEED),
            Err(Rv(CKR_ATTRIBUTE_TYPE_INVALID))
        );
        // Of the small sets, which take long, one mechanism each.
        let hashed = context(CKM_HASH_SLH_DSA_SHA512, CKH_HEDGE_REQUIRED, name.as_bytes());
        let mechanism = if index % 4 < 2 {
            hashed
        } else {
            Mechanism::Plain(CKM_SLH_DSA)
        };
        let signature = module.sign(session, &mechanism, private, b"message").expect("C_Sign");
        assert_eq!(signature.len(), length, "{name}");
        let verify = |data: &[u8], signature: &[u8]| module.verify(session, &mechanism, public, data, signature);
        assert_eq!(verify(b"message", &signature), Ok(()), "{name}");
        assert_eq!(verify(b"massage", &signature), Err(Rv(CKR_SIGNATURE_INVALID)), "{name}");
        assert_eq!(
            verify(b"message", &signature[1..]),
            Err(Rv(CKR_SIGNATURE_LEN_RANGE)),
            "{name}"
        );
    }
}

#[test]
fn a_private_key_of_slh_dsa_goes_through_a_blob() {
    let daemon = Daemon::start();
    let (module, session) = application(&daemon);
    let (public, private) = pair(&module, session, 3, &[flag(CKA_EXTRACTABLE, true)]);
    let kek = [number(CKA_VALUE_LEN, 32), flag(CKA_WRAP, true), flag(CKA_UNWRAP, true)];
    let kek = module
        .generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &kek)
        .expect("C_GenerateKey");
    let kwp = Mechanism::Plain(CKM_AES_KEY_WRAP_KWP);
    let blob = module.wrap(session, &kwp, kek, private).expect("C_WrapKey");
    let template = [number(CKA_CLASS, CKO_PRIVATE_KEY), number(CKA_KEY_TYPE, CKK_SLH_DSA)];
    let back = module
        .unwrap(session, &kwp, kek, &blob, &template)
        .expect("C_UnwrapKey");
    assert_eq!(
        module.get(session, back, CKA_PARAMETER_SET),
        module.get(session, public, CKA_PARAMETER_SET)
    );
    let mechanism = Mechanism::Plain(CKM_SLH_DSA);
    let signature = module.sign(session, &mechanism, back, b"message").expect("C_Sign");
    assert_eq!(
        module.verify(session, &mechanism, public, b"message", &signature),
        Ok(())
    );
}

#[test]
fn what_slh_dsa_refuses() {
    let daemon = Daemon::start();
    let (module, session) = application(&daemon);
    let (_, private) = pair(&module, session, 3, &[]);
    let sign = |mechanism: &Mechanism, data: &[u8]| module.sign(session, mechanism, private, data);
    let invalid = Err(Rv(CKR_MECHANISM_PARAM_INVALID));
    assert_eq!(
        sign(&context(CKM_SLH_DSA, CKH_HEDGE_REQUIRED, &[0; 256]), b"x"),
        invalid
    );
    assert_eq!(sign(&context(CKM_SLH_DSA, 3, b""), b"x"), invalid);
    assert_eq!(sign(&Mechanism::Plain(CKM_HASH_SLH_DSA), &[0; 32]), invalid);
    assert_eq!(
        sign(&Mechanism::Plain(CKM_ML_DSA), b"x"),
        Err(Rv(CKR_KEY_TYPE_INCONSISTENT))
    );
    // Without randomness a signature is always the same.
    let fixed = context(CKM_SLH_DSA, CKH_DETERMINISTIC_REQUIRED, b"");
    let first = sign(&fixed, b"x").expect("C_Sign");
    assert_eq!(sign(&fixed, b"x"), Ok(first.clone()));
    assert_ne!(sign(&context(CKM_SLH_DSA, CKH_HEDGE_REQUIRED, b""), b"x"), Ok(first));
    let generate = Mechanism::Plain(CKM_SLH_DSA_KEY_PAIR_GEN);
    let refused = |public: &[Attribute]| module.generate_key_pair(session, &generate, public, &[]).map(|_| ());
    assert_eq!(refused(&[]), Err(Rv(CKR_TEMPLATE_INCOMPLETE)));
    assert_eq!(
        refused(&[number(CKA_PARAMETER_SET, 13)]),
        Err(Rv(CKR_PARAMETER_SET_NOT_SUPPORTED))
    );
}
