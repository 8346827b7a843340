//! What the calls of a sweep happen on: an application with one session, a login and keys, put right after each call. What
//! a good call of each function looks like is in `words.rs`.

use std::collections::BTreeMap;
use std::mem::size_of;

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN, SO_PIN};
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::signatures_3;
use hsmd_tests::template::{self, Attribute, Mechanism, Template, Word, bytes, flag, number};

/// Every operation that C_SessionCancel ends.
pub(crate) const ALL: CK_FLAGS = CKF_ENCRYPT
    | CKF_DECRYPT
    | CKF_DIGEST
    | CKF_SIGN
    | CKF_SIGN_RECOVER
    | CKF_VERIFY
    | CKF_VERIFY_RECOVER
    | CKF_MESSAGE_ENCRYPT
    | CKF_MESSAGE_DECRYPT
    | CKF_MESSAGE_SIGN
    | CKF_MESSAGE_VERIFY
    | CKF_FIND_OBJECTS;

/// Where in the output the handle stands that C_EncapsulateKey gives beside its ciphertext, in words.
pub(crate) const MADE: usize = 512;

/// What is signed and encrypted.
pub(crate) const TEXT: &[u8] = b"thirty-two bytes of text to sign";

/// The keys, by what they are for. Handles change at a login.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keys {
    pub(crate) aes: Object,
    pub(crate) hmac: Object,
    pub(crate) wrapping: Object,
    pub(crate) target: Object,
    pub(crate) recover_public: Object,
    pub(crate) recover: Object,
    pub(crate) curve: Object,
    pub(crate) kem_public: Object,
    pub(crate) kem: Object,
}

/// The application.
pub(crate) struct Stage {
    pub(crate) module: Module,
    pub(crate) slot: CK_SLOT_ID,
    pub(crate) session: Session,
    pub(crate) keys: Keys,
    /// The session object that calls copy, change and destroy.
    pub(crate) victim: Object,
    /// The text under HMAC, under CBC with padding, as a message with its IV, signed with recovery; the target wrapped, and once more
    /// by AES-GCM with its IV; the point of the curve.
    pub(crate) made: BTreeMap<&'static str, Vec<u8>>,
    pub(crate) newer: BTreeMap<&'static str, usize>,
    pub(crate) output: Box<[usize; 1024]>,
    pub(crate) length: Box<CK_ULONG>,
}

/// AES-CBC with padding.
pub(crate) fn cbc() -> Mechanism {
    Mechanism::Bytes(CKM_AES_CBC_PAD, vec![7; 16])
}

/// AES-GCM under an IV of zeros; where the policy has the daemon make it, under the one that it writes there.
fn gcm_into(iv: &mut [u8; 12]) -> Mechanism {
    let place = iv.as_mut_ptr() as usize;
    template::words(CKM_AES_GCM, &[place, 12, 96, 0, 0, 128].map(Word::Number))
}

const HMAC: Mechanism = Mechanism::Plain(CKM_SHA256_HMAC);

impl Stage {
    /// On the token of a daemon.
    pub(crate) fn new(daemon: &Daemon) -> Self {
        let module = daemon.module();
        module.initialize().expect("C_Initialize");
        let slot = module.slot_of(LABEL);
        let pointers = signatures_3::pointers(&module);
        let names = signatures_3::SIGNATURES_3.iter().map(|(name, ..)| *name);
        let mut stage = Self {
            slot,
            session: 0,
            keys: Keys::default(),
            victim: 0,
            made: BTreeMap::new(),
            newer: names.zip(pointers).collect(),
            output: Box::new([0; 1024]),
            length: Box::new(0),
            module,
        };
        stage.put_right();
        stage
    }

    /// Calls a function of any version.
    pub(crate) fn raw(&self, name: &str, words: &[usize]) -> Rv {
        Rv(match self.newer.get(name) {
            Some(pointer) => self.module.library.call_pointer(name, *pointer, words),
            None => self.module.library.call(name, words),
        })
    }

    /// Ends every operation of the session.
    pub(crate) fn cancel(&self) {
        let rv = self.raw("C_SessionCancel", &[self.session as usize, ALL as usize]);
        assert_eq!(rv, Rv(CKR_OK), "C_SessionCancel");
    }

    /// An initialised library, one session, the login, the keys, the victim: whatever is gone is made again.
    pub(crate) fn put_right(&mut self) {
        let place = self.output.as_mut_ptr() as usize;
        if self.raw("C_GetInfo", &[place]) == Rv(CKR_CRYPTOKI_NOT_INITIALIZED) {
            self.module.initialize().expect("C_Initialize");
        }
        let info = self.raw("C_GetSessionInfo", &[self.session as usize, place]);
        let state = if info.0 == CKR_OK {
            self.output[1] as CK_STATE
        } else {
            CK_STATE::MAX
        };
        match state {
            CKS_RW_USER_FUNCTIONS => {}
            CKS_RW_PUBLIC_SESSION => self.log_in(),
            _ => {
                self.raw("C_CloseAllSessions", &[self.slot as usize]);
                self.session = self.module.open_session(self.slot).expect("C_OpenSession");
                self.victim = 0;
                self.log_in();
            }
        }
        let size = |object: Object| self.raw("C_GetObjectSize", &[self.session as usize, object as usize, place]);
        // Somebody logged out and in again.
        if size(self.keys.hmac).0 != CKR_OK {
            self.cancel();
            self.find_keys();
        }
        let size = self.raw("C_GetObjectSize", &[self.session as usize, self.victim as usize, place]);
        if size.0 != CKR_OK {
            let template = [
                number(CKA_CLASS, CKO_DATA),
                flag(CKA_PRIVATE, true),
                bytes(CKA_VALUE, TEXT),
            ];
            self.victim = self.module.create(self.session, &template).expect("C_CreateObject");
        }
    }

    fn log_in(&mut self) {
        self.cancel();
        let login = self.module.login(self.session, CKU_USER, PIN);
        if login == Err(Rv(CKR_USER_PIN_NOT_INITIALIZED)) {
            // C_InitToken was called between two sessions, and did its work.
            self.module
                .login(self.session, CKU_SO, SO_PIN)
                .expect("the officer's login");
            self.module.init_pin(self.session, PIN).expect("C_InitPIN");
            self.module.logout(self.session).expect("C_Logout");
            self.module.login(self.session, CKU_USER, PIN).expect("C_Login");
        } else {
            login.expect("C_Login");
        }
        let found = self.named("aes");
        if found.is_none() {
            self.make_keys();
        }
        self.find_keys();
    }

    fn named(&self, label: &str) -> Option<Object> {
        let found = self.module.find(self.session, &[bytes(CKA_LABEL, label)]);
        found.expect("C_FindObjects").first().copied()
    }

    fn find_keys(&mut self) {
        let named = |label| self.named(label).expect("a key of the stage");
        self.keys = Keys {
            aes: named("aes"),
            hmac: named("hmac"),
            wrapping: named("wrapping"),
            target: named("target"),
            recover_public: named("recover public"),
            recover: named("recover"),
            curve: named("curve"),
            kem_public: named("kem public"),
            kem: named("kem"),
        };
    }

    fn make_keys(&mut self) {
        let (module, session) = (&self.module, self.session);
        let token = |label: &str, more: &[Attribute]| -> Vec<Attribute> {
            let own = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, label)];
            own.iter().chain(more).cloned().collect()
        };
        let generate = |kind, template: Vec<Attribute>| {
            let made = module.generate_key(session, &Mechanism::Plain(kind), &template);
            made.expect("C_GenerateKey");
        };
        let size = number(CKA_VALUE_LEN, 32);
        // Every use is named, as `strict` wants it.
        let uses = |size: &Attribute, uses: &[CK_ATTRIBUTE_TYPE]| -> Vec<Attribute> {
            let flags = uses.iter().map(|usage| flag(*usage, true));
            std::iter::once(size.clone()).chain(flags).collect()
        };
        let own = uses(&size, &[CKA_ENCRYPT, CKA_DECRYPT]);
        generate(CKM_AES_KEY_GEN, token("aes", &own));
        let own = uses(&size, &[CKA_SIGN, CKA_VERIFY, CKA_DERIVE]);
        generate(CKM_GENERIC_SECRET_KEY_GEN, token("hmac", &own));
        let wraps = uses(&size, &[CKA_WRAP, CKA_UNWRAP]);
        generate(CKM_AES_KEY_GEN, token("wrapping", &wraps));
        // Not sensitive: wrapping it leaves the wrapping key as it is (DESIGN 8).
        let open = [size, flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)];
        generate(CKM_AES_KEY_GEN, token("target", &open));
        let pair = |kind, public: Vec<Attribute>, private: Vec<Attribute>| {
            let made = module.generate_key_pair(session, &Mechanism::Plain(kind), &public, &private);
            made.expect("C_GenerateKeyPair");
        };
        let recover = [number(CKA_MODULUS_BITS, 2048), flag(CKA_VERIFY_RECOVER, true)];
        pair(
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            token("recover public", &recover),
            token("recover", &[flag(CKA_SIGN_RECOVER, true), flag(CKA_SIGN, true)]),
        );
        pair(
            CKM_EC_KEY_PAIR_GEN,
            token("curve public", &[bytes(CKA_EC_PARAMS, template::P256)]),
            token("curve", &[flag(CKA_DERIVE, true)]),
        );
        let set = [number(CKA_PARAMETER_SET, CKP_ML_KEM_512), flag(CKA_ENCAPSULATE, true)];
        pair(
            CKM_ML_KEM_KEY_PAIR_GEN,
            token("kem public", &set),
            token("kem", &[flag(CKA_DECAPSULATE, true)]),
        );
        self.find_keys();
        self.make_texts();
    }

    fn make_texts(&mut self) {
        let (module, session, keys) = (&self.module, self.session, self.keys);
        let code = module.sign(session, &HMAC, keys.hmac, TEXT).expect("C_Sign");
        let sealed = module.encrypt(session, &cbc(), keys.aes, TEXT).expect("C_Encrypt");
        let (mut iv, mut iv_of_key) = ([0; 12], [0; 12]);
        let message = module.encrypt(session, &gcm_into(&mut iv), keys.aes, TEXT);
        let sealed_key = module.wrap(session, &gcm_into(&mut iv_of_key), keys.wrapping, keys.target);
        let padded = Mechanism::Plain(CKM_RSA_PKCS);
        let recoverable = module.sign(session, &padded, keys.recover, TEXT).expect("C_Sign");
        let wrap = Mechanism::Plain(CKM_AES_KEY_WRAP);
        let wrapped = module
            .wrap(session, &wrap, keys.wrapping, keys.target)
            .expect("C_WrapKey");
        let kem = Mechanism::Plain(CKM_ML_KEM);
        let secret = [
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, CKK_AES),
            number(CKA_VALUE_LEN, 32),
        ];
        let encapsulated = module.encapsulate(session, &kem, keys.kem_public, &secret);
        let (ciphertext, shared) = encapsulated.expect("C_EncapsulateKey");
        module.destroy(session, shared).expect("C_DestroyObject");
        let public = self.named("curve public").expect("the public half");
        let point = module.get(session, public, CKA_EC_POINT).expect("CKA_EC_POINT");
        self.made = BTreeMap::from([
            ("code", code),
            ("sealed", sealed),
            ("message", message.expect("C_Encrypt")),
            ("iv", std::hint::black_box(iv).to_vec()),
            ("sealed key", sealed_key.expect("C_WrapKey")),
            ("iv of key", std::hint::black_box(iv_of_key).to_vec()),
            ("recoverable", recoverable),
            ("wrapped", wrapped),
            ("point", point),
            ("ciphertext", ciphertext),
        ]);
    }

    /// Nothing is left of what was called before: no operation goes on, every one can begin, and one gives the right result.
    pub(crate) fn is_as_new(&mut self) -> Result<(), String> {
        self.put_right();
        self.cancel();
        let place = self.output.as_mut_ptr() as usize;
        *self.length = 4096;
        let h = self.session as usize;
        let length = &raw mut *self.length as usize;
        for name in [
            "C_EncryptFinal",
            "C_DecryptFinal",
            "C_DigestFinal",
            "C_SignFinal",
            "C_GetOperationState",
        ] {
            is(name, self.raw(name, &[h, place, length]), CKR_OPERATION_NOT_INITIALIZED)?;
        }
        is(
            "C_VerifyFinal",
            self.raw("C_VerifyFinal", &[h, place, 32]),
            CKR_OPERATION_NOT_INITIALIZED,
        )?;
        for name in [
            "C_FindObjectsFinal",
            "C_VerifySignatureFinal",
            "C_MessageEncryptFinal",
            "C_MessageDecryptFinal",
            "C_MessageSignFinal",
            "C_MessageVerifyFinal",
        ] {
            is(name, self.raw(name, &[h]), CKR_OPERATION_NOT_INITIALIZED)?;
        }
        for name in INITS {
            is(name, self.good(name), CKR_OK)?;
        }
        self.cancel();
        let code = self.module.sign(self.session, &HMAC, self.keys.hmac, TEXT);
        if code.as_ref() != Ok(&self.made["code"]) {
            return Err(format!("C_Sign with HMAC gives {code:?}"));
        }
        Ok(())
    }

    /// Room for a structure that C_GetAttributeValue fills.
    pub(crate) fn label_room() -> Template {
        Template::room(&[CKA_LABEL], &[64])
    }
}

fn is(name: &str, rv: Rv, expected: CK_RV) -> Result<(), String> {
    if rv.0 == expected {
        Ok(())
    } else {
        Err(format!("{name}: {rv}, not {}", Rv(expected)))
    }
}

/// Every function that begins an operation; all of them can be open side by side.
pub(crate) const INITS: [&str; 13] = [
    "C_FindObjectsInit",
    "C_EncryptInit",
    "C_DecryptInit",
    "C_DigestInit",
    "C_SignInit",
    "C_VerifyInit",
    "C_SignRecoverInit",
    "C_VerifyRecoverInit",
    "C_VerifySignatureInit",
    "C_MessageEncryptInit",
    "C_MessageDecryptInit",
    "C_MessageSignInit",
    "C_MessageVerifyInit",
];

const _: () = assert!(
    size_of::<CK_SESSION_INFO>() <= 32,
    "slot, state, flags, error: four words"
);
