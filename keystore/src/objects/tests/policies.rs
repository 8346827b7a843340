//! `strict` and `fips` through [`crate::KeySet`]: IVs that the daemon makes, approved mechanisms and sizes, self-tests that fail,
//! and what tightening does. The attacks under these policies are tests of the C interface.

use hsmd_crypto::selftest::{Outcome, Report};
use hsmd_proto::params::CcmParams;

use super::*;

fn ccm(nonce: &[u8]) -> Mechanism {
    Mechanism {
        kind: M::AES_CCM,
        params: Params::Ccm(CcmParams {
            data_length: 1,
            nonce: nonce.to_vec(),
            aad: Vec::new(),
            mac_length: 16,
        }),
    }
}

fn refused<T>(result: Result<T, Rv>) -> Rv {
    result.err().unwrap_or(Rv::OK)
}

// A17: what a client claims to be an IV of the daemon's is looked up, not believed.
#[test]
fn strict_encrypts_under_its_own_ivs_only() {
    for policy in [Policy::Strict, Policy::Fips] {
        let bench = bench(policy);
        let key = bench.aes(&[yes(A::ENCRYPT), yes(A::DECRYPT)]).unwrap();
        let other = bench.aes(&[yes(A::ENCRYPT)]).unwrap();
        let iv = |key: &ObjectView| {
            bench
                .keys
                .make_iv(&bench.user, &key.name(), &gcm(&[0; 12]), false)
                .unwrap()
        };
        assert_eq!(
            refused(bench.encrypt(&key, &gcm(&[7; 12]), b"x")),
            Rv::MECHANISM_PARAM_INVALID
        );
        assert_eq!(
            refused(bench.encrypt(&key, &gcm(&[7; 16]), b"x")),
            Rv::MECHANISM_PARAM_INVALID
        );
        let made = iv(&key);
        assert_eq!(
            refused(bench.encrypt(&other, &gcm(&made), b"x")),
            Rv::MECHANISM_PARAM_INVALID
        );
        let sealed = bench.encrypt(&key, &gcm(&made), b"text").unwrap();
        assert_eq!(
            bench.encrypt(&key, &gcm(&made), b"text").as_ref(),
            Ok(&sealed),
            "a retry"
        );
        assert_eq!(
            refused(bench.encrypt(&key, &gcm(&made), b"more")),
            Rv::MECHANISM_PARAM_INVALID
        );
        assert_eq!(bench.decrypt(&key, &gcm(&made), &sealed), Ok(b"text".to_vec()));
        assert_ne!(iv(&key), iv(&key));
        // Who may not encrypt gets no IV, and no other mechanism has one.
        let dumb = bench.aes(&[]).unwrap();
        let asked =
            |key: &ObjectView, mechanism| refused(bench.keys.make_iv(&bench.user, &key.name(), &mechanism, false));
        assert_eq!(asked(&dumb, gcm(&[0; 12])), Rv::KEY_FUNCTION_NOT_PERMITTED);
        assert_eq!(asked(&key, ctr()), Rv::MECHANISM_INVALID);
        // A nonce of CCM is as good as an IV of GCM, and neither serves twice.
        let made = bench
            .keys
            .make_iv(&bench.user, &key.name(), &ccm(&[0; 12]), false)
            .unwrap();
        assert_eq!(
            refused(bench.encrypt(&key, &ccm(&[7; 12]), b"x")),
            Rv::MECHANISM_PARAM_INVALID
        );
        let sealed = bench.encrypt(&key, &ccm(&made), b"x").unwrap();
        assert_eq!(
            refused(bench.encrypt(&key, &ccm(&made), b"y")),
            Rv::MECHANISM_PARAM_INVALID
        );
        assert_eq!(bench.decrypt(&key, &ccm(&made), &sealed), Ok(b"x".to_vec()));
    }
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[]).unwrap();
    let asked = bench.keys.make_iv(&bench.user, &key.name(), &gcm(&[0; 12]), false);
    assert_eq!(refused(asked), Rv::MECHANISM_INVALID);
}

// A17, A22: a wrap is an encryption like another, and for keys that may be read.
#[test]
fn strict_wraps_by_gcm_under_its_own_ivs_and_nothing_sensitive() {
    for policy in [Policy::Strict, Policy::Fips] {
        let bench = bench(policy);
        let key = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP)]).unwrap();
        let open = [no(A::SENSITIVE), yes(A::EXTRACTABLE)];
        let (first, second) = (bench.aes(&open).unwrap(), bench.aes(&open).unwrap());
        let prize = bench.aes(&[yes(A::EXTRACTABLE)]).unwrap();
        let wrong = Err(Rv::MECHANISM_PARAM_INVALID);
        assert_eq!(bench.wrap(&key, &gcm(&[7; 12]), &first), wrong);
        let asked = |wrapping| bench.keys.make_iv(&bench.user, &key.name(), &gcm(&[0; 12]), wrapping);
        assert_eq!(asked(false), Err(Rv::KEY_FUNCTION_NOT_PERMITTED));
        let iv = asked(true).unwrap();
        assert_eq!(bench.wrap(&key, &gcm(&iv), &prize), Err(Rv::KEY_NOT_WRAPPABLE));
        let blob = bench.wrap(&key, &gcm(&iv), &first).unwrap();
        assert_eq!(bench.wrap(&key, &gcm(&iv), &first).as_ref(), Ok(&blob), "a retry");
        assert_eq!(bench.wrap(&key, &gcm(&iv), &second), wrong);
        let back = bench.unwrap(&key, &gcm(&iv), &blob, &aes_template(&open)).unwrap();
        assert_eq!(bench.read(&back, A::VALUE), bench.read(&first, A::VALUE));
    }
}

#[test]
fn fips_makes_and_takes_approved_keys_only() {
    let bench = bench(Policy::Fips);
    let curve = |curve: Curve| Attribute::bytes(A::EC_PARAMS, curve.oid_der());
    let made = bench
        .pair(M::EC_KEY_PAIR_GEN, &[curve(Curve::Secp256k1)], &[])
        .map(drop);
    assert_eq!(made, Err(Rv::CURVE_NOT_SUPPORTED));
    let made = bench
        .pair(M::EC_MONTGOMERY_KEY_PAIR_GEN, &[curve(Curve::X25519)], &[])
        .map(drop);
    assert_eq!(made, Err(Rv::MECHANISM_INVALID));
    for approved in [Curve::P256, Curve::P384, Curve::P521] {
        bench.pair(M::EC_KEY_PAIR_GEN, &[curve(approved)], &[]).unwrap();
    }
    let generic = |length| {
        let all = template(&[Attribute::ulong(A::VALUE_LEN, length)]);
        let plain = plain(M::GENERIC_SECRET_KEY_GEN);
        bench.keys.generate_key(&bench.user, &plain, id(), &all).map(drop)
    };
    assert_eq!(generic(13), Err(Rv::ATTRIBUTE_VALUE_INVALID));
    assert_eq!(generic(14), Ok(()));
}

fn failed() -> Options {
    Options {
        self_tests: Some(Report::new(vec![Outcome {
            name: "AES-GCM",
            passed: false,
        }])),
        ..options()
    }
}

/// A daemon whose self-tests fail after a restart serves everybody but partitions of `fips`, and says so.
#[test]
fn a_failed_self_test_closes_fips_and_nothing_else() {
    let (folder, master) = (tempfile::tempdir().unwrap(), crate::MasterKey::random());
    let path = folder.path().join("keystore");
    let (key_set, key) = {
        let bench = bench_in(Keystore::init(&path, &master, &options()).unwrap(), Policy::Fips);
        let key = bench.aes(&[yes(A::ENCRYPT), no(A::PRIVATE)]).unwrap();
        assert!(!bench.keys.in_error_state());
        bench.keystore.close().unwrap();
        (bench.keys.id(), key)
    };
    let keystore = Keystore::open(&path, &master, &failed()).unwrap();
    assert_eq!(keystore.self_tests().failed(), ["AES-GCM"]);
    let keys = keystore.key_set(key_set).unwrap();
    assert!(keys.in_error_state());
    assert_eq!(keys.token().flags & 0x100_0000, 0x100_0000, "CKF_ERROR_STATE");
    let nobody = Context {
        caller: caller(1),
        login: None,
        grant: None,
    };
    let mut out = Vec::new();
    let used = keys.encrypt(&nobody, &key.name(), &cbc_pad(), b"text", &mut out);
    assert_eq!(used, Err(Rv::GENERAL_ERROR));
    let data = template(&[class(ObjectClass::DATA), no(A::PRIVATE)]);
    let made = keys.create_object(&nobody, id(), &data).map(drop);
    assert_eq!(made, Err(Rv::GENERAL_ERROR));
    let login = keys.login(&caller(1), UserType::USER, PIN, operation()).map(drop);
    assert_eq!(login, Err(Rv::GENERAL_ERROR));
    let strict = bench_in(keystore, Policy::Strict);
    strict.aes(&[]).unwrap();
}

#[test]
fn nothing_becomes_fips_after_a_failed_self_test() {
    let keystore = Keystore::in_memory(&failed()).unwrap();
    let refused = |result: Result<(), crate::Error>| {
        let said = result.unwrap_err().to_string();
        assert!(said.contains("AES-GCM") && said.contains("fips"), "{said}");
    };
    refused(keystore.create_key_set(Policy::Fips).map(drop));
    let strict = keystore.create_key_set(Policy::Strict).unwrap();
    refused(strict.tighten(Policy::Fips));
    assert_eq!(strict.policy(), Policy::Strict);
}

// DESIGN 8: tightened, never loosened.
#[test]
fn a_policy_is_tightened_and_never_loosened() {
    for (index, from) in Policy::ALL.into_iter().enumerate() {
        for (other, to) in Policy::ALL.into_iter().enumerate() {
            let bench = bench(from);
            assert_eq!(bench.keys.tighten(to).is_ok(), other >= index, "{from} to {to}");
            let now = if other >= index { to } else { from };
            assert_eq!(bench.keys.policy(), now);
        }
    }
}

/// Keys of a time in which roles could stand together go on, but neither role wraps what is sensitive.
#[test]
fn keys_of_a_looser_time_wrap_nothing_sensitive_under_strict() {
    let bench = bench(Policy::Standard);
    let both = bench.aes(&[yes(A::WRAP), yes(A::DECRYPT)]).unwrap();
    let prize = bench.aes(&[yes(A::EXTRACTABLE)]).unwrap();
    bench.keys.tighten(Policy::Strict).unwrap();
    let user = context(&bench.keys, caller(1), UserType::USER, PIN);
    let wrapped = bench
        .keys
        .wrap_key(&user, &both.name(), &plain(M::AES_KEY_WRAP), &prize.name());
    assert_eq!(wrapped, Err(Rv::KEY_NOT_WRAPPABLE));
}
