//! pkcs11-tool as a user types it. The scenarios of `scenarios.rs` run on our token and on one of SoftHSM2, so that what
//! they expect is what users of the most common token are used to; what only ours can do stands here.

mod own;
mod scenarios;

use cryptoki_sys::*;
use hsmd_tests::daemon::LABEL;
use hsmd_tests::peers::{Token, run, succeed};
use hsmd_tests::template::{Mechanism, bytes, flag, number};

/// One test for each scenario and token.
macro_rules! on_both {
    ($($scenario:ident),* $(,)?) => {
        mod on_hsmd {
            $(#[test] fn $scenario() { super::scenarios::$scenario(&hsmd_tests::peers::Token::hsmd()); })*
        }
        mod on_softhsm {
            $(#[test] fn $scenario() { super::scenarios::$scenario(&hsmd_tests::peers::Token::softhsm()); })*
        }
    };
}

on_both! {
    slots_objects_and_mechanisms_are_listed,
    openssl_verifies_what_an_rsa_key_signed,
    openssl_verifies_what_p256_and_p384_keys_signed,
    openssl_verifies_what_an_ed25519_key_signed,
    an_aes_key_encrypts_and_decrypts,
    an_rsa_key_decrypts_what_openssl_encrypted,
    ecdh_gives_the_secret_that_openssl_gets,
    a_certificate_and_data_are_written_read_and_deleted,
}

#[test]
fn a_free_slot_is_initialised_with_officer_and_user_pin() {
    let token = Token::hsmd_with_free_slot();
    let listed = succeed(&mut token.pkcs11_tool("--list-slots"));
    let (demo, free) = (listed.text.find("demo"), listed.text.find("uninitialized"));
    assert!(
        demo.is_some() && demo < free,
        "the free slot comes after the token:\n{}",
        listed.text
    );
    succeed(&mut token.pkcs11_tool("--init-token --slot-index 1 --label second --so-pin 11223344"));
    let officer = "--init-pin --token-label second --login --login-type so --so-pin 11223344 --new-pin 445566";
    succeed(&mut token.pkcs11_tool(officer));
    let user = "--token-label second --login --pin 445566";
    succeed(&mut token.pkcs11_tool(&format!(
        "{user} --keypairgen --key-type EC:prime256v1 --id 01 --label k"
    )));
    let objects = succeed(&mut token.pkcs11_tool(&format!("{user} --list-objects")));
    assert_eq!(objects.text.matches("label:      k").count(), 2, "{}", objects.text);
    assert!(!run(&mut token.pkcs11_tool("--token-label second --login --pin 445567 --list-objects")).good);
    // The other token and its PINs are as they were, and a further free slot appears for the next user.
    succeed(&mut token.as_user("--list-objects"));
}

/// pkcs11-tool 0.23 miscounts the curve's name, and reads only P-curves of the other side: so it makes the pair, and another
/// application derives with it.
#[test]
fn an_x25519_pair_agrees_with_openssl() {
    let token = Token::hsmd();
    succeed(&mut token.as_user("--keypairgen --key-type EC:curve25519 --id 01 --label x --usage-derive"));
    let listed = succeed(&mut token.as_user("--list-objects --type pubkey"));
    assert!(listed.text.contains("EC_MONTGOMERY"), "{}", listed.text);
    // RFC 8410, 3.
    assert!(listed.text.contains("EC_PARAMS:  06032b656e"), "{}", listed.text);
    let public = scenarios::public_key(&token, "01");
    let [other, their_public, secret] = ["other.pem", "their.der", "secret"].map(|name| token.file(name));
    let files = [("-out", other.as_path())];
    scenarios::openssl(&token, "genpkey -algorithm X25519", &files);
    let files = [("-in", other.as_path()), ("-out", &their_public)];
    scenarios::openssl(&token, "pkey -pubout -outform DER", &files);
    let files = [("-inkey", other.as_path()), ("-peerkey", &public), ("-out", &secret)];
    scenarios::openssl(&token, "pkeyutl -derive -peerform DER", &files);

    let module = token.daemon.as_ref().expect("ours").module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, token.pin()).expect("C_Login");
    let private = [number(CKA_CLASS, CKO_PRIVATE_KEY), bytes(CKA_ID, [1])];
    let private = module.find(session, &private).expect("C_FindObjects")[0];
    let theirs = std::fs::read(&their_public).expect("their key");
    let mechanism = Mechanism::Ecdh {
        public: theirs[theirs.len() - 32..].to_vec(),
    };
    let readable = [
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ];
    let derived = module
        .derive(session, &mechanism, private, &readable)
        .expect("C_DeriveKey");
    let ours = module.get(session, derived, CKA_VALUE).expect("its value");
    assert!(ours == std::fs::read(&secret).expect("their secret"));
}

/// pkcs11-tool encrypts with secret keys only, so OpenSSL does: hash and mask alike, as both do by default.
#[test]
fn oaep_works_with_every_hash() {
    let token = Token::hsmd();
    succeed(&mut token.as_user("--keypairgen --key-type rsa:2048 --id 01 --label r"));
    let public = scenarios::public_key(&token, "01");
    let [message, secret, plain] = ["message", "secret", "plain"].map(|name| token.file(name));
    std::fs::write(&message, "a message").expect("a file");
    for (hash, md) in [
        ("SHA-1", "sha1"),
        ("SHA224", "sha224"),
        ("SHA256", "sha256"),
        ("SHA384", "sha384"),
        ("SHA512", "sha512"),
        ("SHA3-224", "sha3-224"),
        ("SHA3-256", "sha3-256"),
        ("SHA3-384", "sha3-384"),
        ("SHA3-512", "sha3-512"),
    ] {
        let encrypt = format!(
            "pkeyutl -encrypt -pubin -keyform DER -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{md} -pkeyopt \
             rsa_mgf1_md:{md}"
        );
        let files = [("-inkey", public.as_path()), ("-in", &message), ("-out", &secret)];
        scenarios::openssl(&token, &encrypt, &files);
        let decrypt = format!("--decrypt --mechanism RSA-PKCS-OAEP --hash-algorithm {hash} --id 01");
        succeed(token.as_user(&decrypt).arg("-i").arg(&secret).arg("-o").arg(&plain));
        assert_eq!(std::fs::read(&plain).expect("the text"), b"a message", "{hash}");
    }
}

#[test]
fn hash_and_sign_mechanisms_work_on_a_file_of_any_length() {
    let token = Token::hsmd();
    let file = token.file("large");
    std::fs::write(&file, vec![0x5a; 3 << 20]).expect("a file");
    succeed(&mut token.as_user("--keypairgen --key-type EC:prime256v1 --id 01 --label e"));
    let public = scenarios::public_key(&token, "01");
    let signature = token.file("signature");
    let mut sign = token.as_user("--sign --mechanism ECDSA-SHA256 --signature-format openssl --id 01");
    succeed(sign.arg("-i").arg(&file).arg("-o").arg(&signature));
    let mut verify = token.command("openssl");
    verify
        .args(["dgst", "-sha256", "-keyform", "DER", "-verify"])
        .arg(public);
    succeed(verify.arg("-signature").arg(signature).arg(file));
}

#[test]
fn the_mechanisms_of_this_version_are_offered() {
    let listed = succeed(&mut Token::hsmd().pkcs11_tool("--list-mechanisms --token-label demo"));
    for name in [
        "RSA-PKCS-KEY-PAIR-GEN",
        "SHA256-RSA-PKCS,",
        "SHA256-RSA-PKCS-PSS",
        "RSA-PKCS-OAEP",
        "ECDSA-KEY-PAIR-GEN",
        "ECDSA-SHA384",
        "ECDH1-DERIVE",
        "EDDSA",
        "AES-KEY-GEN",
        "AES-CBC-PAD",
        "AES-CTR",
        "AES-GCM",
        "SHA256-HMAC",
        "SHA512,",
    ] {
        assert!(listed.text.contains(name), "{name} is missing:\n{}", listed.text);
    }
}

#[test]
fn a_wrong_pin_is_named_and_nothing_is_shown() {
    let token = Token::hsmd();
    succeed(&mut token.as_user("--keygen --key-type AES:32 --id 01 --label hidden --private"));
    let refused = run(&mut token.pkcs11_tool("--token-label demo --login --pin 000000 --list-objects"));
    assert!(
        !refused.good && refused.text.contains("CKR_PIN_INCORRECT"),
        "{}",
        refused.text
    );
    let public = succeed(&mut token.pkcs11_tool("--token-label demo --list-objects"));
    assert!(!public.text.contains("hidden"), "{}", public.text);
}
