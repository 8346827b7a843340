//! C_DigestKey (PKCS#11 3.2, 5.12.4) with keys whose value may not be read: the digest goes on at the daemon, and its state is in
//! the application sealed. INV-1.

use super::*;

const VALUE: [u8; 32] = *b"a key whose value nobody reads!!";

impl Application {
    fn secret(&self, value: &[u8], more: &[Attribute]) -> Object {
        let mut template = vec![
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
            bytes(CKA_VALUE, value),
        ];
        template.extend_from_slice(more);
        self.module.create(self.session, &template).expect("C_CreateObject")
    }

    fn digest_key(&self, key: Object) -> Result<(), Rv> {
        let words = [self.session as usize, key as usize];
        Rv::check(self.module.library.call("C_DigestKey", &words))
    }

    fn begin_digest(&self, mechanism: CK_MECHANISM_TYPE) {
        self.begin("C_DigestInit", &Mechanism::Plain(mechanism), 0);
    }

    fn whole(&self, mechanism: CK_MECHANISM_TYPE, parts: &[&[u8]]) -> Vec<u8> {
        self.begin_digest(mechanism);
        self.part("C_Digest", &parts.concat()).expect("C_Digest")
    }
}

#[test]
fn the_digest_is_that_of_data_and_keys_in_their_order() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let sensitive = application.secret(&VALUE, &[]);
    let readable = application.secret(&VALUE, &[flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)]);
    let long = vec![0x77; 200_000];
    for mechanism in [CKM_SHA_1, CKM_SHA256, CKM_SHA512, CKM_SHA3_256, CKM_BLAKE2B_160] {
        let expected = application.whole(mechanism, &[TEXT, &VALUE, &long, &VALUE, TEXT]);
        for keys in [[sensitive, sensitive], [readable, sensitive], [sensitive, readable]] {
            application.begin_digest(mechanism);
            application.give("C_DigestUpdate", TEXT).expect("C_DigestUpdate");
            assert_eq!(application.digest_key(keys[0]), Ok(()));
            let (some, rest) = long.split_at(70_000);
            application.give("C_DigestUpdate", some).expect("C_DigestUpdate");
            for piece in rest.chunks(9_999) {
                application.give("C_DigestUpdate", piece).expect("C_DigestUpdate");
            }
            assert_eq!(application.digest_key(keys[1]), Ok(()));
            application.give("C_DigestUpdate", TEXT).expect("C_DigestUpdate");
            assert_eq!(application.last("C_DigestFinal"), Ok(expected.clone()));
        }
    }
    // One of a dual function's two operations.
    let cipher = application.aes(&[]);
    application.digest();
    assert_eq!(application.digest_key(sensitive), Ok(()));
    application.begin("C_EncryptInit", &cbc(), cipher);
    application.part("C_DigestEncryptUpdate", TEXT).expect("a part");
    application.last("C_EncryptFinal").expect("C_EncryptFinal");
    let digest = application.last("C_DigestFinal");
    assert_eq!(digest, Ok(application.whole(CKM_SHA256, &[&VALUE, TEXT])));
}

/// A key that is short, has wrapped a sensitive key or is none that is secret is not digested; and an error ends the digest.
#[test]
fn what_a_digest_would_give_away_is_refused() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let (module, session) = (&application.module, application.session);
    let (public, private) = module
        .generate_key_pair(
            session,
            &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN),
            &[bytes(CKA_EC_PARAMS, template::P256)],
            &[],
        )
        .expect("C_GenerateKeyPair");
    let wrapping = application.aes(&[flag(CKA_WRAP, true)]);
    let prize = application.aes(&[flag(CKA_EXTRACTABLE, true)]);
    let wrapped = module.wrap(session, &Mechanism::Plain(CKM_AES_KEY_WRAP), wrapping, prize);
    wrapped.expect("C_WrapKey");
    let data = [number(CKA_CLASS, CKO_DATA), bytes(CKA_VALUE, "data")];
    let data = module.create(session, &data).expect("C_CreateObject");
    for (key, refused) in [
        (application.secret(&VALUE[..13], &[]), CKR_KEY_SIZE_RANGE),
        (wrapping, CKR_KEY_INDIGESTIBLE),
        (public, CKR_KEY_INDIGESTIBLE),
        (private, CKR_KEY_INDIGESTIBLE),
        (data, CKR_KEY_HANDLE_INVALID),
        (data + 1000, CKR_KEY_HANDLE_INVALID),
    ] {
        assert_eq!(application.digest_key(key), Err(Rv(CKR_OPERATION_NOT_INITIALIZED)));
        application.digest();
        assert_eq!(application.digest_key(key), Err(Rv(refused)));
        assert_eq!(
            application.last("C_DigestFinal"),
            Err(Rv(CKR_OPERATION_NOT_INITIALIZED))
        );
    }
}

/// INV-6: the digest ends with its keys, whoever destroys or latches them, and with the login.
#[test]
fn a_digest_ends_with_its_keys_and_its_login() {
    let daemon = Daemon::start();
    let (application, other) = (Application::new(&daemon), Application::new(&daemon));
    let named = |label: &str| application.aes(&[flag(CKA_TOKEN, true), flag(CKA_WRAP, true), bytes(CKA_LABEL, label)]);
    let begin = |key| {
        application.digest();
        assert_eq!(application.digest_key(key), Ok(()));
    };
    let here = named("here");
    begin(here);
    application
        .module
        .destroy(application.session, here)
        .expect("C_DestroyObject");
    let ended = application.last("C_DigestFinal");
    assert_eq!(ended, Err(Rv(CKR_OPERATION_NOT_INITIALIZED)));

    begin(named("there"));
    let there = other.named("there");
    other.module.destroy(other.session, there).expect("C_DestroyObject");
    assert_eq!(application.last("C_DigestFinal"), Err(Rv(CKR_FUNCTION_FAILED)));

    begin(named("wraps"));
    let prize = other.aes(&[flag(CKA_EXTRACTABLE, true)]);
    let wraps = other.named("wraps");
    let wrapped = other
        .module
        .wrap(other.session, &Mechanism::Plain(CKM_AES_KEY_WRAP), wraps, prize);
    wrapped.expect("C_WrapKey");
    assert_eq!(application.last("C_DigestFinal"), Err(Rv(CKR_FUNCTION_FAILED)));

    begin(named("private"));
    application.module.logout(application.session).expect("C_Logout");
    let ended = application.last("C_DigestFinal");
    assert_eq!(ended, Err(Rv(CKR_OPERATION_NOT_INITIALIZED)));
}

/// PKCS#11 3.2, 5.6.6: the saved state holds no key; it goes on in another application, while the daemon is killed in between.
#[test]
fn a_sealed_digest_is_saved_and_goes_on_after_a_restart() {
    let mut daemon = Daemon::start();
    let first = Application::new(&daemon);
    let mut saved = Vec::new();
    for mechanism in [CKM_SHA256, CKM_SHA3_512, CKM_BLAKE2B_512] {
        let key = first.secret(&VALUE, &[flag(CKA_TOKEN, true)]);
        first.begin_digest(mechanism);
        first.give("C_DigestUpdate", TEXT).expect("C_DigestUpdate");
        assert_eq!(first.digest_key(key), Ok(()));
        first.give("C_DigestUpdate", b"more").expect("C_DigestUpdate");
        let state = first.last("C_GetOperationState").expect("C_GetOperationState");
        assert!(!state.windows(8).any(|part| part == &VALUE[..8]), "the key is in it");
        let digest = first.last("C_DigestFinal").expect("C_DigestFinal");
        assert_eq!(digest, first.whole(mechanism, &[TEXT, &VALUE, b"more"]));
        saved.push((mechanism, state));
    }
    daemon.kill9();
    daemon.restart();
    let second = Application::new(&daemon);
    for (mechanism, state) in &saved {
        assert_eq!(second.restore(state, 0, 0), Ok(()));
        second.give("C_DigestUpdate", b"the end").expect("C_DigestUpdate");
        let digest = second.last("C_DigestFinal");
        let expected = second.whole(*mechanism, &[TEXT, &VALUE, b"more", b"the end"]);
        assert_eq!(digest, Ok(expected));
    }
    // Nobody but a user of the token goes on with it.
    second.module.logout(second.session).expect("C_Logout");
    assert_eq!(second.restore(&saved[0].1, 0, 0), Err(Rv(CKR_SAVED_STATE_INVALID)));
}
