//! Attacks on the API itself, through the C functions, under the policy `standard`: no sequence of allowed calls gives a
//! sensitive key in a form that the caller can open. INV-1. The rules' own tests are in `keystore`.

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN};
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};

struct Token {
    _daemon: Daemon,
    module: Module,
    session: Session,
}

impl Token {
    fn new() -> Self {
        let daemon = Daemon::start();
        let module = daemon.module();
        module.initialize().expect("C_Initialize");
        let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
        module.login(session, CKU_USER, PIN).expect("C_Login");
        Self {
            _daemon: daemon,
            module,
            session,
        }
    }

    fn aes(&self, template: &[Attribute]) -> Result<Object, Rv> {
        let length = [number(CKA_VALUE_LEN, 32)];
        let template: Vec<Attribute> = length.iter().chain(template).cloned().collect();
        self.module
            .generate_key(self.session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)
    }

    /// A sensitive key that may be wrapped: the attackers' prize.
    fn prize(&self) -> Object {
        self.aes(&[flag(CKA_SENSITIVE, true), flag(CKA_EXTRACTABLE, true)])
            .expect("a sensitive key")
    }

    fn wrap(&self, wrapping: Object, key: Object) -> Result<Vec<u8>, Rv> {
        self.module
            .wrap(self.session, &Mechanism::Plain(CKM_AES_KEY_WRAP), wrapping, key)
    }
}

#[test]
fn a_key_that_came_from_outside_wraps_no_sensitive_key() {
    let token = Token::new();
    let template = [
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_AES),
        bytes(CKA_VALUE, [7; 32]),
        flag(CKA_WRAP, true),
    ];
    match token.module.create(token.session, &template) {
        Ok(known) => assert_eq!(token.wrap(known, token.prize()), Err(Rv(CKR_KEY_NOT_WRAPPABLE))),
        Err(rv) => assert_eq!(rv, Rv(CKR_TEMPLATE_INCONSISTENT)),
    }
}

#[test]
fn a_key_that_was_readable_once_wraps_no_sensitive_key() {
    let token = Token::new();
    let template = [
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
        flag(CKA_WRAP, true),
    ];
    let readable = token.aes(&template).expect("a readable key");
    assert_eq!(
        token
            .module
            .get(token.session, readable, CKA_VALUE)
            .expect("its value")
            .len(),
        32
    );
    token
        .module
        .set(token.session, readable, &[flag(CKA_SENSITIVE, true)])
        .expect("C_SetAttributeValue");
    assert_eq!(token.wrap(readable, token.prize()), Err(Rv(CKR_KEY_NOT_WRAPPABLE)));
}

#[test]
fn a_key_that_has_wrapped_does_not_decrypt_what_it_wrapped() {
    let token = Token::new();
    let template = [flag(CKA_WRAP, true), flag(CKA_DECRYPT, true), flag(CKA_ENCRYPT, true)];
    let Ok(wrapping) = token.aes(&template) else {
        // Refusing both roles at once closes the attack as well.
        return;
    };
    let blob = token.wrap(wrapping, token.prize()).expect("C_WrapKey");
    let ecb = token
        .module
        .decrypt(token.session, &Mechanism::Plain(CKM_AES_ECB), wrapping, &blob[..32]);
    assert!(ecb.is_err(), "decrypted a wrapped key");
    let cbc = Mechanism::Bytes(CKM_AES_CBC, vec![0; 16]);
    let refused = token.module.decrypt(token.session, &cbc, wrapping, &blob[..32]);
    // At Init where the module knows of the wrapping, else by the daemon.
    let codes = [Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)), Err(Rv(CKR_FUNCTION_FAILED))];
    assert!(codes.contains(&refused), "{refused:?}");
}

#[test]
fn what_is_sensitive_or_unextractable_stays_so() {
    let token = Token::new();
    let key = token.aes(&[]).expect("a key with the defaults");
    assert_eq!(
        token.module.get(token.session, key, CKA_VALUE),
        Err(Rv(CKR_ATTRIBUTE_SENSITIVE))
    );
    for (kind, value) in [(CKA_SENSITIVE, false), (CKA_EXTRACTABLE, true)] {
        let set = token.module.set(token.session, key, &[flag(kind, value)]);
        assert_eq!(set, Err(Rv(CKR_ATTRIBUTE_READ_ONLY)), "attribute {kind:#x}");
    }
    let wrapping = token.aes(&[flag(CKA_WRAP, true)]).expect("a wrapping key");
    assert_eq!(token.wrap(wrapping, key), Err(Rv(CKR_KEY_UNEXTRACTABLE)));
}
