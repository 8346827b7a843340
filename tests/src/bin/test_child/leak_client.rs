//! The application whose memory is searched. It uses planted secrets and wipes every copy of its own, so that what is found
//! in it is the module's. It reads orders, a line each, and answers each with `done`; secrets come masked.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use cryptoki_sys::*;
use hsmd_tests::daemon::LABEL;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::template;

/// Secrets travel and rest under this mask.
pub(crate) const MASK: u8 = 0xa5;

/// A buffer that is wiped when it goes.
struct Wiped(Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

/// What one order does.
struct Client {
    module: Module,
    session: Session,
    slot: CK_SLOT_ID,
    masked: BTreeMap<String, Vec<u8>>,
    objects: BTreeMap<String, Object>,
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len() / 2).map(|at| digit(2 * at)).collect()
}

/// Obeys until its input ends.
pub(crate) fn run(module: Module) {
    module.initialize().expect("C_Initialize");
    let slot = module.slot_of(LABEL);
    let session = module.open_session(slot).expect("C_OpenSession");
    let mut client = Client {
        module,
        session,
        slot,
        masked: BTreeMap::new(),
        objects: BTreeMap::new(),
    };
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("an order");
        let words: Vec<&str> = line.split_whitespace().collect();
        client.obey(&words);
        println!("done");
        std::io::stdout().flush().expect("standard output");
    }
}

impl Client {
    fn obey(&mut self, words: &[&str]) {
        match words {
            ["secret", name, hex] => drop(self.masked.insert((*name).to_owned(), unhex(hex))),
            ["login", user, name] => self.login(user.parse().expect("a number"), name),
            ["logout"] => self.module.logout(self.session).expect("C_Logout"),
            ["set-pin", old, new] => self.set_pin(old, new),
            ["open"] => self.session = self.module.open_session(self.slot).expect("C_OpenSession"),
            ["close"] => self.module.close_session(self.session).expect("C_CloseSession"),
            ["finalize"] => self.module.finalize().expect("C_Finalize"),
            ["import", name, token] => self.import(name, *token == "token"),
            ["unwrap", wrapping, name] => self.unwrap(wrapping, name),
            ["work", plaintext, count] => self.work(plaintext, count.parse().expect("a number")),
            _ => panic!("no such order: {words:?}"),
        }
    }

    fn plain(&self, name: &str) -> Wiped {
        let masked = self.masked.get(name).unwrap_or_else(|| panic!("no secret {name}"));
        Wiped(masked.iter().map(|byte| byte ^ MASK).collect())
    }

    fn call(&self, function: &str, words: &[usize]) {
        let rv = self.module.library.call(function, words);
        assert_eq!(rv, CKR_OK, "{function}");
    }

    fn login(&self, user: CK_USER_TYPE, name: &str) {
        let pin = self.plain(name);
        let words = [
            self.session as usize,
            user as usize,
            pin.0.as_ptr() as usize,
            pin.0.len(),
        ];
        self.call("C_Login", &words);
    }

    fn set_pin(&self, old: &str, new: &str) {
        let (old, new) = (self.plain(old), self.plain(new));
        let words = [
            self.session as usize,
            old.0.as_ptr() as usize,
            old.0.len(),
            new.0.as_ptr() as usize,
            new.0.len(),
        ];
        self.call("C_SetPIN", &words);
    }

    /// `aes`, `generic`, `ec`, `ed25519`, or `rsa`, whose parts are secrets of their own.
    fn import(&mut self, name: &str, token: bool) {
        let number = |value: CK_ULONG| Wiped(value.to_ne_bytes().to_vec());
        let (class, kind) = match name {
            "aes" => (CKO_SECRET_KEY, CKK_AES),
            "generic" => (CKO_SECRET_KEY, CKK_GENERIC_SECRET),
            "ec" => (CKO_PRIVATE_KEY, CKK_EC),
            "ed25519" => (CKO_PRIVATE_KEY, CKK_EC_EDWARDS),
            _ => (CKO_PRIVATE_KEY, CKK_RSA),
        };
        let mut values = vec![
            (CKA_CLASS, number(class)),
            (CKA_KEY_TYPE, number(kind)),
            (CKA_TOKEN, Wiped(vec![u8::from(token)])),
            (CKA_LABEL, Wiped(format!("planted-label-{name}").into_bytes())),
        ];
        match name {
            "rsa" => {
                for (kind, part) in RSA_PARTS {
                    values.push((*kind, self.plain(part)));
                }
                values.push((CKA_DECRYPT, Wiped(vec![1])));
            }
            "ec" => {
                values.push((CKA_EC_PARAMS, Wiped(template::P256.to_vec())));
                values.push((CKA_VALUE, self.plain("ec")));
            }
            "ed25519" => {
                values.push((CKA_EC_PARAMS, Wiped(template::ED25519.to_vec())));
                values.push((CKA_VALUE, self.plain("ed25519")));
            }
            _ => values.push((CKA_VALUE, self.plain(name))),
        }
        if name == "aes" {
            values.extend([CKA_ENCRYPT, CKA_DECRYPT, CKA_UNWRAP].map(|kind| (kind, Wiped(vec![1]))));
        }
        let object = self.create("C_CreateObject", &[self.session as usize], values);
        self.objects.insert(name.to_owned(), object);
    }

    /// The words before the template, then template, count and place of the handle.
    fn create(&self, function: &str, before: &[usize], mut values: Vec<(CK_ATTRIBUTE_TYPE, Wiped)>) -> Object {
        let mut raw: Vec<CK_ATTRIBUTE> = values
            .iter_mut()
            .map(|(kind, value)| CK_ATTRIBUTE {
                type_: *kind,
                pValue: value.0.as_mut_ptr().cast(),
                ulValueLen: value.0.len() as CK_ULONG,
            })
            .collect();
        let mut object: Object = 0;
        let mut words = before.to_vec();
        words.extend([raw.as_mut_ptr() as usize, raw.len(), &raw mut object as usize]);
        self.call(function, &words);
        object
    }

    /// A wrapped key, which is no secret, becomes one again inside.
    fn unwrap(&mut self, wrapping: &str, name: &str) {
        let blob = self.plain(name);
        let number = |value: CK_ULONG| Wiped(value.to_ne_bytes().to_vec());
        let values = vec![
            (CKA_CLASS, number(CKO_SECRET_KEY)),
            (CKA_KEY_TYPE, number(CKK_AES)),
            (CKA_TOKEN, Wiped(vec![1])),
            (CKA_LABEL, Wiped(b"planted-label-unwrapped".to_vec())),
            (CKA_ENCRYPT, Wiped(vec![1])),
        ];
        let mut mechanism = CK_MECHANISM {
            mechanism: CKM_AES_KEY_WRAP_KWP,
            pParameter: std::ptr::null_mut(),
            ulParameterLen: 0,
        };
        let before = [
            self.session as usize,
            &raw mut mechanism as usize,
            self.objects[wrapping] as usize,
            blob.0.as_ptr() as usize,
            blob.0.len(),
        ];
        let object = self.create("C_UnwrapKey", &before, values);
        self.objects.insert(name.to_owned(), object);
    }

    /// Every kind of operation with this plaintext.
    fn work(&self, plaintext: &str, count: usize) {
        let plain = self.plain(plaintext);
        for _ in 0..count {
            for key in ["aes", "unwrapped"] {
                let sealed = self.operation("C_EncryptInit", "C_Encrypt", CKM_AES_CBC_PAD, &[7; 16], key, &plain);
                if key == "aes" {
                    let opened = self.operation("C_DecryptInit", "C_Decrypt", CKM_AES_CBC_PAD, &[7; 16], key, &sealed);
                    assert!(opened.0 == plain.0, "C_Decrypt");
                }
            }
            drop(self.operation("C_SignInit", "C_Sign", CKM_SHA256_HMAC, &[], "generic", &plain));
            drop(self.operation("C_SignInit", "C_Sign", CKM_ECDSA_SHA256, &[], "ec", &plain));
            drop(self.operation("C_SignInit", "C_Sign", CKM_EDDSA, &[], "ed25519", &plain));
            drop(self.operation("C_SignInit", "C_Sign", CKM_SHA256_RSA_PKCS, &[], "rsa", &plain));
            // PKCS#1 signs data of any content: the plaintext itself goes to the daemon.
            drop(self.operation("C_SignInit", "C_Sign", CKM_RSA_PKCS, &[], "rsa", &plain));
        }
    }

    fn operation(
        &self,
        start: &str,
        function: &str,
        kind: CK_MECHANISM_TYPE,
        parameter: &[u8],
        key: &str,
        data: &Wiped,
    ) -> Wiped {
        let mut mechanism = CK_MECHANISM {
            mechanism: kind,
            pParameter: if parameter.is_empty() {
                std::ptr::null_mut()
            } else {
                parameter.as_ptr().cast_mut().cast()
            },
            ulParameterLen: parameter.len() as CK_ULONG,
        };
        let key = self.objects[key] as usize;
        self.call(start, &[self.session as usize, &raw mut mechanism as usize, key]);
        let mut output = Wiped(vec![0; 4096]);
        let mut length = output.0.len() as CK_ULONG;
        let words = [
            self.session as usize,
            data.0.as_ptr() as usize,
            data.0.len(),
            output.0.as_mut_ptr() as usize,
            &raw mut length as usize,
        ];
        self.call(function, &words);
        // The rest of the buffer is zero already: nothing is lost when it is cut.
        output.0.truncate(length as usize);
        output
    }
}

/// The parts of an RSA private key: attribute, name of the secret.
pub(crate) const RSA_PARTS: &[(CK_ATTRIBUTE_TYPE, &str)] = &[
    (CKA_MODULUS, "rsa-n"),
    (CKA_PUBLIC_EXPONENT, "rsa-e"),
    (CKA_PRIVATE_EXPONENT, "rsa-d"),
    (CKA_PRIME_1, "rsa-p"),
    (CKA_PRIME_2, "rsa-q"),
    (CKA_EXPONENT_1, "rsa-dp"),
    (CKA_EXPONENT_2, "rsa-dq"),
    (CKA_COEFFICIENT, "rsa-qi"),
];
