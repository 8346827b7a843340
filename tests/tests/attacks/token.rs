//! A partition under attack: who has which PIN, the prize, and the wrapping keys that a policy lets an attacker have. What is
//! tried with them is in the other files.

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, Options, PIN, SO_PIN};
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};

/// A daemon with a token of one policy.
pub(super) struct Partition {
    pub(super) daemon: Daemon,
    pub(super) policy: &'static str,
}

impl Partition {
    pub(super) fn new(policy: &'static str) -> Self {
        let options = Options {
            arguments: vec!["--policy".to_owned(), policy.to_owned()],
            ..Options::default()
        };
        Self {
            daemon: Daemon::start_with(options),
            policy,
        }
    }
}

/// An application of the attacker's, logged in as the user.
pub(super) struct Token<'a> {
    pub(super) partition: &'a Partition,
    pub(super) module: Module,
    pub(super) session: Session,
}

/// Several templates as one.
pub(super) fn all(parts: &[&[Attribute]]) -> Vec<Attribute> {
    parts.concat()
}

pub(super) fn kw() -> Mechanism {
    Mechanism::Plain(CKM_AES_KEY_WRAP)
}

pub(super) fn kwp() -> Mechanism {
    Mechanism::Plain(CKM_AES_KEY_WRAP_KWP)
}

pub(super) fn cbc(kind: CK_MECHANISM_TYPE) -> Mechanism {
    Mechanism::Bytes(kind, vec![0; 16])
}

pub(super) fn oaep() -> Mechanism {
    Mechanism::Oaep {
        hash: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
    }
}

/// Class and type of a secret key.
pub(super) fn secret(kind: CK_KEY_TYPE) -> [Attribute; 2] {
    [number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, kind)]
}

/// Readable, if a template can make it so.
pub(super) fn readable() -> [Attribute; 2] {
    [flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)]
}

/// The call was refused with this code.
#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, Rv>, code: CK_RV) {
    match result {
        Err(rv) => assert_eq!(rv, Rv(code)),
        Ok(given) => panic!("{given:?} instead of {}", Rv(code)),
    }
}

impl<'a> Token<'a> {
    pub(super) fn on(partition: &'a Partition) -> Self {
        Self::by(partition, CKU_USER, PIN)
    }

    fn by(partition: &'a Partition, user: CK_USER_TYPE, pin: &str) -> Self {
        let module = partition.daemon.module();
        module.initialize().expect("C_Initialize");
        let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
        module.login(session, user, pin).expect("C_Login");
        Self {
            partition,
            module,
            session,
        }
    }

    /// Whether conflicting roles are refused at once and nothing is allowed that is not named.
    pub(super) fn strict(&self) -> bool {
        self.partition.policy != "standard"
    }

    pub(super) fn slot(&self) -> CK_SLOT_ID {
        self.module.slot_of(LABEL)
    }

    pub(super) fn fips(&self) -> bool {
        self.partition.policy == "fips"
    }

    pub(super) fn aes_of(&self, length: CK_ULONG, template: &[Attribute]) -> Result<Object, Rv> {
        let template = all(&[&[number(CKA_VALUE_LEN, length)], template]);
        self.module
            .generate_key(self.session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)
    }

    pub(super) fn aes(&self, template: &[Attribute]) -> Result<Object, Rv> {
        self.aes_of(32, template)
    }

    /// A sensitive key that may be wrapped: the attackers' prize.
    pub(super) fn prize(&self) -> Object {
        self.aes(&[flag(CKA_SENSITIVE, true), flag(CKA_EXTRACTABLE, true)])
            .expect("a sensitive key")
    }

    /// A key made by the officer and marked TRUSTED: the one that a careful site has, and the attacker may use.
    pub(super) fn trusted(&self, template: &[Attribute]) -> Result<Object, Rv> {
        let officer = Token::by(self.partition, CKU_SO, SO_PIN);
        let label = format!("trusted {:?}", std::thread::current().id()) + &self.random_text();
        let own = [
            flag(CKA_TOKEN, true),
            flag(CKA_PRIVATE, false),
            flag(CKA_TRUSTED, true),
            bytes(CKA_LABEL, &label),
        ];
        officer.aes(&all(&[&own, template]))?;
        officer.module.finalize().expect("C_Finalize");
        let found = self.module.find(self.session, &[bytes(CKA_LABEL, &label)]);
        Ok(found.expect("C_FindObjects").remove(0))
    }

    fn random_text(&self) -> String {
        let random = self.module.random(self.session, 8).expect("C_GenerateRandom");
        random.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A key that may wrap the prize under this policy, with further flags.
    pub(super) fn wrapping_key(&self, template: &[Attribute]) -> Result<Object, Rv> {
        let template = all(&[&[flag(CKA_WRAP, true)], template]);
        if self.strict() {
            self.trusted(&template)
        } else {
            self.aes(&template)
        }
    }

    pub(super) fn wrap(&self, mechanism: &Mechanism, wrapping: Object, key: Object) -> Result<Vec<u8>, Rv> {
        self.module.wrap(self.session, mechanism, wrapping, key)
    }

    pub(super) fn unwrap(
        &self,
        mechanism: &Mechanism,
        unwrapping: Object,
        blob: &[u8],
        template: &[Attribute],
    ) -> Result<Object, Rv> {
        self.module.unwrap(self.session, mechanism, unwrapping, blob, template)
    }

    pub(super) fn encrypt(&self, mechanism: &Mechanism, key: Object, data: &[u8]) -> Result<Vec<u8>, Rv> {
        self.module.encrypt(self.session, mechanism, key, data)
    }

    pub(super) fn decrypt(&self, mechanism: &Mechanism, key: Object, data: &[u8]) -> Result<Vec<u8>, Rv> {
        self.module.decrypt(self.session, mechanism, key, data)
    }

    pub(super) fn import(&self, value: &[u8], template: &[Attribute]) -> Result<Object, Rv> {
        let template = all(&[&secret(CKK_AES), &[bytes(CKA_VALUE, value)], template]);
        self.module.create(self.session, &template)
    }

    pub(super) fn copy(&self, key: Object, template: &[Attribute]) -> Result<Object, Rv> {
        self.module.copy_object(self.session, key, template)
    }

    pub(super) fn set(&self, key: Object, template: &[Attribute]) -> Result<(), Rv> {
        self.module.set(self.session, key, template)
    }

    pub(super) fn get(&self, key: Object, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>, Rv> {
        self.module.get(self.session, key, kind)
    }

    pub(super) fn is(&self, key: Object, kind: CK_ATTRIBUTE_TYPE) -> bool {
        self.get(key, kind) == Ok(vec![1])
    }

    /// A pair of RSA-2048 keys.
    pub(super) fn rsa(&self, public: &[Attribute], private: &[Attribute]) -> Result<(Object, Object), Rv> {
        let public = all(&[&[number(CKA_MODULUS_BITS, 2048)], public]);
        let pair = Mechanism::Plain(CKM_RSA_PKCS_KEY_PAIR_GEN);
        self.module.generate_key_pair(self.session, &pair, &public, private)
    }

    /// A pair on a curve.
    pub(super) fn pair(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        curve: &[u8],
        public: &[Attribute],
        private: &[Attribute],
    ) -> Result<(Object, Object), Rv> {
        let public = all(&[&[bytes(CKA_EC_PARAMS, curve)], public]);
        self.module
            .generate_key_pair(self.session, &Mechanism::Plain(mechanism), &public, private)
    }

    pub(super) fn derive(&self, mechanism: &Mechanism, base: Object, template: &[Attribute]) -> Result<Object, Rv> {
        self.module.derive(self.session, mechanism, base, template)
    }

    /// Calls a function with words.
    pub(super) fn call(&self, function: &str, words: &[usize]) -> Result<(), Rv> {
        let words = [&[self.session as usize], words].concat();
        Rv::check(self.module.library.call(function, &words))
    }

    /// A part of an operation that goes on: `C_DecryptUpdate` and the like.
    pub(super) fn update(&self, function: &str, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let mut out = vec![0_u8; data.len() + 64];
        let mut length = out.len() as CK_ULONG;
        self.call(
            function,
            &[
                data.as_ptr() as usize,
                data.len(),
                out.as_mut_ptr() as usize,
                &raw mut length as usize,
            ],
        )?;
        out.truncate(length as usize);
        Ok(out)
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        // A module stays loaded: its sessions end here.
        let _ = self.module.finalize();
    }
}
