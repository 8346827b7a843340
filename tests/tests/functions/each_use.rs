//! CKA_ALWAYS_AUTHENTICATE (PKCS#11 3.2, 4.10): the PIN once more for each use of a private key, through C. That the daemon
//! redeems a grant once, for one operation on one text, is tested in `keystore`.

use super::*;

impl Application {
    fn pin(&self, pin: &str) -> Result<(), Rv> {
        self.module.login(self.session, CKU_CONTEXT_SPECIFIC, pin)
    }

    fn rsa(&self) -> (Object, Object) {
        self.module
            .generate_key_pair(
                self.session,
                &Mechanism::Plain(CKM_RSA_PKCS_KEY_PAIR_GEN),
                &[number(CKA_MODULUS_BITS, 2048), flag(CKA_WRAP, true)],
                &[
                    flag(CKA_ALWAYS_AUTHENTICATE, true),
                    flag(CKA_SIGN_RECOVER, true),
                    flag(CKA_UNWRAP, true),
                ],
            )
            .expect("C_GenerateKeyPair")
    }
}

const LATE: Result<Vec<u8>, Rv> = Err(Rv(CKR_USER_NOT_LOGGED_IN));

#[test]
fn every_use_of_the_key_asks_for_the_pin_once() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let (module, session) = (&application.module, application.session);
    let (public, private) = application.rsa();
    let pkcs = Mechanism::Plain(CKM_RSA_PKCS);
    let sealed = module.encrypt(session, &pkcs, public, b"text").expect("C_Encrypt");
    assert_eq!(application.pin(PIN), Err(Rv(CKR_OPERATION_NOT_INITIALIZED)));
    let uses = [
        ("C_SignInit", "C_Sign", &b"text"[..]),
        ("C_DecryptInit", "C_Decrypt", &sealed),
        ("C_SignRecoverInit", "C_SignRecover", b"text"),
    ];
    for (init, run, input) in uses {
        application.begin(init, &pkcs, private);
        assert_eq!(application.part(run, input), LATE, "{run}");
        // The refusal has ended it: the PIN comes after the next Init, and is good for one.
        assert_eq!(application.pin(PIN), Err(Rv(CKR_OPERATION_NOT_INITIALIZED)));
        application.begin(init, &pkcs, private);
        assert_eq!(application.pin("000000"), Err(Rv(CKR_PIN_INCORRECT)));
        assert_eq!(application.pin(PIN), Ok(()));
        assert_eq!(
            application.pin(PIN),
            Err(Rv(CKR_OPERATION_NOT_INITIALIZED)),
            "it is given"
        );
        // A question for the length uses nothing up.
        let mut length: CK_ULONG = 0;
        let words = [
            session as usize,
            input.as_ptr() as usize,
            input.len(),
            0,
            &raw mut length as usize,
        ];
        assert_eq!(module.library.call(run, &words), CKR_OK);
        assert!(application.part(run, input).is_ok(), "{run}");
        application.begin(init, &pkcs, private);
        assert_eq!(application.part(run, input), LATE, "{run}");
    }
    // In parts, with a hash.
    let hashing = Mechanism::Plain(CKM_SHA256_RSA_PKCS);
    application.begin("C_SignInit", &hashing, private);
    assert_eq!(
        application.give("C_SignUpdate", TEXT),
        Err(Rv(CKR_USER_NOT_LOGGED_IN)),
        "nothing is taken in before"
    );
    application.begin("C_SignInit", &hashing, private);
    application.pin(PIN).expect("C_Login");
    application.give("C_SignUpdate", TEXT).expect("C_SignUpdate");
    let signature = application.last("C_SignFinal").expect("C_SignFinal");
    assert_eq!(module.verify(session, &hashing, public, TEXT, &signature), Ok(()));
    // A wrong PIN leaves the operation where it was; the public half asks for none.
    let unwrapped = {
        let prize = application.aes(&[flag(CKA_EXTRACTABLE, true)]);
        let oaep = Mechanism::Oaep {
            hash: CKM_SHA256,
            mgf: CKG_MGF1_SHA256,
        };
        let blob = module.wrap(session, &oaep, public, prize).expect("C_WrapKey");
        oaep.with(|mechanism| {
            let mut template =
                template::Template::new(&[number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES)]);
            let mut made: CK_OBJECT_HANDLE = 0;
            let words = [
                session as usize,
                mechanism,
                private as usize,
                blob.as_ptr() as usize,
                blob.len(),
                template.address(),
                template.count(),
                &raw mut made as usize,
            ];
            Rv::check(module.library.call("C_UnwrapKey", &words))
        })
    };
    assert_eq!(
        unwrapped,
        Err(Rv(CKR_USER_NOT_LOGGED_IN)),
        "there is no operation to log in to"
    );
}

#[test]
fn each_of_many_messages_asks_for_the_pin() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let (_, private) = application.rsa();
    let h = application.session as usize;
    let hashing = Mechanism::Plain(CKM_SHA256_RSA_PKCS);
    let begun = hashing.with(|mechanism| newer!(application, C_MessageSignInit, &[h, mechanism, private as usize]));
    assert_eq!(begun, Ok(()));
    let mut out = [0_u8; 256];
    let mut sign = || {
        let mut length: CK_ULONG = 256;
        let words = [
            h,
            0,
            0,
            TEXT.as_ptr() as usize,
            TEXT.len(),
            out.as_mut_ptr() as usize,
            &raw mut length as usize,
        ];
        newer!(application, C_SignMessage, &words)
    };
    for _ in 0..2 {
        assert_eq!(sign(), Err(Rv(CKR_USER_NOT_LOGGED_IN)));
        assert_eq!(application.pin(PIN), Ok(()));
        assert_eq!(sign(), Ok(()));
    }
    assert_eq!(sign(), Err(Rv(CKR_USER_NOT_LOGGED_IN)));
}

/// INV-8: tries at a single key count as others do, and the one that locks the role also logs out (PKCS#11 3.2, 4.10).
#[test]
fn wrong_pins_for_a_use_lock_the_role() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let (_, private) = application.rsa();
    application.begin("C_SignInit", &Mechanism::Plain(CKM_RSA_PKCS), private);
    for _ in 0..10 {
        assert_eq!(application.pin("000000"), Err(Rv(CKR_PIN_INCORRECT)));
    }
    // The daemon has ended the login; the module learns it from the next answer.
    let length = [number(CKA_VALUE_LEN, 32)];
    let made = application
        .module
        .generate_key(application.session, &Mechanism::Plain(CKM_AES_KEY_GEN), &length);
    assert_eq!(made, Err(Rv(CKR_USER_NOT_LOGGED_IN)));
    let locked = application.module.login(application.session, CKU_USER, PIN);
    assert_eq!(locked, Err(Rv(CKR_PIN_LOCKED)));
}
