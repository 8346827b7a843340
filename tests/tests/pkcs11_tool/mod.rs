//! pkcs11-tool as a user types it. The scenarios of `scenarios.rs` run on our token and on one of SoftHSM2, so that what
//! they expect is what users of the most common token are used to; what only ours can do stands here.

mod scenarios;

use hsmd_tests::peers::{Token, run, succeed};

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

#[test]
fn its_own_tests_pass() {
    let token = Token::hsmd();
    succeed(&mut token.as_user("--keypairgen --key-type rsa:2048 --id 01 --label r"));
    succeed(&mut token.as_user("--keypairgen --key-type EC:prime256v1 --id 02 --label e"));
    let tested = succeed(&mut token.as_user("--test"));
    assert!(tested.text.contains("No errors"), "{}", tested.text);
    // INV-9
    succeed(&mut token.as_user("--test-fork"));
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
