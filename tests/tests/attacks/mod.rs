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
    let cbc = Mechanism::Bytes(CKM_AES_CBC, vec![0; 16]);
    for on_token in [true, false] {
        let wrapping = token
            .aes(&[flag(CKA_WRAP, true), flag(CKA_TOKEN, on_token)])
            .expect("one key for several roles, as SoftHSM has it");
        let text = token.module.decrypt(token.session, &cbc, wrapping, &[0; 32]);
        assert_eq!(text.map(|text| text.len()), Ok(32), "before it wrapped");
        let blob = token.wrap(wrapping, token.prize()).expect("C_WrapKey");
        for mechanism in [&Mechanism::Plain(CKM_AES_ECB), &cbc] {
            let refused = token.module.decrypt(token.session, mechanism, wrapping, &blob[..32]);
            // At Init: what Decrypt itself may return is another code.
            assert_eq!(refused, Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)));
        }
        token.wrap(wrapping, token.prize()).expect("it goes on wrapping");
    }
}

#[test]
fn the_private_half_of_a_pair_that_has_wrapped_does_not_decrypt() {
    let token = Token::new();
    let pair = Mechanism::Plain(CKM_RSA_PKCS_KEY_PAIR_GEN);
    let public = [number(CKA_MODULUS_BITS, 2048), flag(CKA_WRAP, true)];
    let (public, private) = token
        .module
        .generate_key_pair(token.session, &pair, &public, &[flag(CKA_UNWRAP, true)])
        .expect("C_GenerateKeyPair");
    let oaep = Mechanism::Oaep {
        hash: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
    };
    let secret = token
        .module
        .encrypt(token.session, &oaep, public, b"text")
        .expect("C_Encrypt");
    let text = token.module.decrypt(token.session, &oaep, private, &secret);
    assert_eq!(text, Ok(b"text".to_vec()));
    token
        .module
        .wrap(token.session, &oaep, public, token.prize())
        .expect("C_WrapKey");
    let refused = token.module.decrypt(token.session, &oaep, private, &secret);
    assert_eq!(refused, Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)));
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
