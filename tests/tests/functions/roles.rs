//! Who logs in: C_LoginUser with the names of roles, and the crypto user, whose PIN the user sets with hsmctl. The crypto user uses
//! keys and leaves the token as it is.

use std::path::Path;

use hsmd_tests::peers::{Run, run};

use super::*;

/// `CKU_CRYPTO_USER` of Luna's headers.
const CKU_CRYPTO_USER: CK_USER_TYPE = 0x8000_0001;
const CU_PIN: &str = "cu-112233";

fn hsmctl(daemon: &Daemon, arguments: &str) -> Run {
    let mut command = daemon.command(Path::new(daemon.variable("HSMCTL")));
    let run = run(command
        .args(["--endpoint", daemon.variable("HSMD_ENDPOINT")])
        .args(arguments.split_whitespace()));
    assert!(run.good, "{}", run.text);
    run
}

/// Gives the crypto user of the one partition a PIN.
fn set_pin(daemon: &Daemon, pin: &str) {
    let files = [("pin", PIN), ("cu", pin)].map(|(name, value)| {
        let file = daemon.folder().join(name);
        std::fs::write(&file, value).expect("a file");
        file
    });
    let [user, cu] = files.each_ref().map(|file| file.display());
    let shown = hsmctl(
        daemon,
        &format!("partition crypto-user {LABEL} --pin-file {user} --cu-pin-file {cu} -o json"),
    );
    assert!(shown.text.contains("\"cu\""), "{}", shown.text);
}

fn logged_out(daemon: &Daemon) -> Application {
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    Application { module, session }
}

impl Application {
    fn login_user(&self, user: CK_USER_TYPE, pin: &str, name: &str) -> Result<(), Rv> {
        let words = [
            self.session as usize,
            user as usize,
            pin.as_ptr() as usize,
            pin.len(),
            name.as_ptr() as usize,
            name.len(),
        ];
        newer!(self, C_LoginUser, &words)
    }
}

/// PKCS#11 3.2, 5.6.9.
#[test]
fn names_are_those_of_the_roles() {
    let daemon = Daemon::start();
    set_pin(&daemon, CU_PIN);
    let application = logged_out(&daemon);
    let so_pin = daemon.variable("HSMD_SO_PIN");
    for (user, pin, name) in [
        (CKU_SO, so_pin, ""),
        (CKU_SO, so_pin, "so"),
        (CKU_USER, PIN, ""),
        (CKU_USER, PIN, "co"),
        (CKU_USER, PIN, "crypto-officer"),
        (CKU_USER, PIN, "user"),
        (CKU_USER, CU_PIN, "cu"),
        (CKU_USER, CU_PIN, "crypto-user"),
        (CKU_CRYPTO_USER, CU_PIN, ""),
        (CKU_CRYPTO_USER, CU_PIN, "cu"),
    ] {
        assert_eq!(application.login_user(user, pin, name), Ok(()), "{name}");
        application.module.logout(application.session).expect("C_Logout");
    }
    for (user, name) in [
        (CKU_USER, "so"),
        (CKU_SO, "cu"),
        (CKU_USER, "nobody"),
        (CKU_USER, "CO"),
        (7, "co"),
    ] {
        let refused = application.login_user(user, PIN, name);
        assert_eq!(refused, Err(Rv(CKR_USER_TYPE_INVALID)), "{name}");
    }
    // The two users' PINs are two.
    let other = application.login_user(CKU_USER, PIN, "cu");
    assert_eq!(other, Err(Rv(CKR_PIN_INCORRECT)));
    let none = application.login_user(CKU_CONTEXT_SPECIFIC, PIN, "co");
    assert_eq!(none, Err(Rv(CKR_OPERATION_NOT_INITIALIZED)));
}

#[test]
fn the_crypto_user_uses_keys_and_leaves_the_token_as_it_is() {
    let daemon = Daemon::start();
    let officer = Application::new(&daemon);
    let token_key = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, "k")];
    officer.aes(&token_key);
    let moving = [
        flag(CKA_TOKEN, true),
        flag(CKA_WRAP, true),
        flag(CKA_EXTRACTABLE, true),
        bytes(CKA_LABEL, "w"),
    ];
    officer.aes(&moving);
    set_pin(&daemon, CU_PIN);

    let user = logged_out(&daemon);
    let (module, session) = (&user.module, user.session);
    assert_eq!(module.find(session, &[bytes(CKA_LABEL, "k")]), Ok(Vec::new()));
    module.login(session, CKU_CRYPTO_USER, CU_PIN).expect("C_Login");
    assert_eq!(
        module.login(session, CKU_CRYPTO_USER, CU_PIN),
        Err(Rv(CKR_USER_ALREADY_LOGGED_IN))
    );
    assert_eq!(
        module.login(session, CKU_USER, PIN),
        Err(Rv(CKR_USER_ANOTHER_ALREADY_LOGGED_IN))
    );
    let (key, wrapping) = (user.named("k"), user.named("w"));
    // What the officer's key encrypts, the user's decrypts.
    let sealed = officer
        .module
        .encrypt(officer.session, &cbc(), officer.named("k"), TEXT);
    let opened = module.decrypt(session, &cbc(), key, &sealed.expect("C_Encrypt"));
    assert_eq!(opened.as_deref(), Ok(TEXT));
    assert!(module.sign(session, &Mechanism::Plain(CKM_AES_CMAC), key, TEXT).is_ok());
    // Objects of the session are its own.
    let own = user.aes(&[]);
    assert!(module.encrypt(session, &cbc(), own, TEXT).is_ok());
    assert_eq!(module.destroy(session, own), Ok(()));

    let protected = Rv(CKR_TOKEN_WRITE_PROTECTED);
    let length = [number(CKA_VALUE_LEN, 32), flag(CKA_TOKEN, true)];
    let made = module.generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &length);
    assert_eq!(made, Err(protected));
    let data = [number(CKA_CLASS, CKO_DATA), flag(CKA_TOKEN, true)];
    assert_eq!(module.create(session, &data), Err(protected));
    assert_eq!(module.set(session, key, &[bytes(CKA_LABEL, "mine")]), Err(protected));
    assert_eq!(module.destroy(session, key), Err(protected));
    let kw = Mechanism::Plain(CKM_AES_KEY_WRAP);
    let wrapped = module.wrap(session, &kw, wrapping, wrapping);
    assert_eq!(wrapped, Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)));
    // It is no officer: neither PIN but its own.
    assert_eq!(module.init_pin(session, "445566"), Err(Rv(CKR_USER_NOT_LOGGED_IN)));
    assert_eq!(module.set_pin(session, PIN, "445566"), Err(Rv(CKR_PIN_INCORRECT)));
    assert_eq!(module.set_pin(session, CU_PIN, "cu-445566"), Ok(()));
    assert!(module.encrypt(session, &cbc(), key, TEXT).is_ok(), "the login goes on");
    module.logout(session).expect("C_Logout");
    assert_eq!(
        module.login(session, CKU_CRYPTO_USER, CU_PIN),
        Err(Rv(CKR_PIN_INCORRECT))
    );
    assert_eq!(module.login(session, CKU_CRYPTO_USER, "cu-445566"), Ok(()));
}

/// INV-8: ten tries, whatever the application and the daemon do in between; the officer's role stays open, and opens the user's.
#[test]
fn the_crypto_user_is_locked_by_itself_and_opened_by_a_new_pin() {
    let mut daemon = Daemon::start();
    let user = logged_out(&daemon);
    let none = user.module.login(user.session, CKU_CRYPTO_USER, CU_PIN);
    assert_eq!(none, Err(Rv(CKR_USER_PIN_NOT_INITIALIZED)));
    set_pin(&daemon, CU_PIN);
    for round in 0..10 {
        if round == 5 {
            daemon.kill9();
            daemon.restart();
        }
        let wrong = user.module.login(user.session, CKU_CRYPTO_USER, "000000");
        assert_eq!(wrong, Err(Rv(CKR_PIN_INCORRECT)), "try {round}");
    }
    let locked = user.module.login(user.session, CKU_CRYPTO_USER, CU_PIN);
    assert_eq!(locked, Err(Rv(CKR_PIN_LOCKED)));
    let shown = hsmctl(&daemon, &format!("partition roles {LABEL} -o json"));
    assert!(shown.text.contains("\"locked\""), "{}", shown.text);
    let officer = Application::new(&daemon);
    officer.aes(&[]);
    set_pin(&daemon, "cu-778899");
    assert_eq!(user.module.login(user.session, CKU_CRYPTO_USER, "cu-778899"), Ok(()));
    hsmctl(&daemon, &format!("partition unlock {LABEL} --role cu"));
}
