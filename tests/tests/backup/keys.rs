//! A token with a key of every type, and what each of them answers: compared before and after.

use cryptoki_sys::*;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::template::{self, Attribute, Mechanism, bytes, flag, number};

const DATA: &[u8] = b"what is signed and sealed here..";

/// Label, generation mechanism, more attributes of the public and the private half.
fn pairs() -> Vec<(&'static str, CK_MECHANISM_TYPE, Vec<Attribute>)> {
    let rsa = vec![
        number(CKA_MODULUS_BITS, 2048),
        bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1]),
        flag(CKA_ENCRYPT, true),
    ];
    vec![
        ("rsa", CKM_RSA_PKCS_KEY_PAIR_GEN, rsa),
        ("p256", CKM_EC_KEY_PAIR_GEN, vec![bytes(CKA_EC_PARAMS, template::P256)]),
        ("p384", CKM_EC_KEY_PAIR_GEN, vec![bytes(CKA_EC_PARAMS, template::P384)]),
        (
            "ed25519",
            CKM_EC_EDWARDS_KEY_PAIR_GEN,
            vec![bytes(CKA_EC_PARAMS, template::ED25519)],
        ),
    ]
}

/// Makes the keys, a certificate's stand-in, and a public data object.
pub(super) fn make(module: &Module, session: Session) {
    for (label, mechanism, mut public) in pairs() {
        public.extend([flag(CKA_TOKEN, true), bytes(CKA_LABEL, label), bytes(CKA_ID, label)]);
        let private = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, label), bytes(CKA_ID, label)];
        module
            .generate_key_pair(session, &Mechanism::Plain(mechanism), &public, &private)
            .unwrap_or_else(|rv| panic!("{label}: {rv}"));
    }
    for (label, mechanism) in [("aes", CKM_AES_KEY_GEN), ("hmac", CKM_GENERIC_SECRET_KEY_GEN)] {
        let template = [
            flag(CKA_TOKEN, true),
            bytes(CKA_LABEL, label),
            number(CKA_VALUE_LEN, 32),
            flag(CKA_SIGN, true),
        ];
        module
            .generate_key(session, &Mechanism::Plain(mechanism), &template)
            .unwrap_or_else(|rv| panic!("{label}: {rv}"));
    }
    let data = [
        number(CKA_CLASS, CKO_DATA),
        flag(CKA_TOKEN, true),
        flag(CKA_PRIVATE, false),
        bytes(CKA_LABEL, "notes"),
        bytes(CKA_VALUE, b"anybody may read this"),
    ];
    module.create(session, &data).expect("C_CreateObject");
}

/// What keys show and answer.
pub(super) struct Keys {
    publics: Vec<(&'static str, Vec<u8>)>,
    /// Signatures of the private halves, which verify under the same public keys.
    signatures: Vec<(&'static str, Vec<u8>)>,
    sealed: Vec<u8>,
    rsa_sealed: Vec<u8>,
    mac: Vec<u8>,
    objects: usize,
}

fn find(module: &Module, session: Session, class: CK_ULONG, label: &str) -> Object {
    let template = [number(CKA_CLASS, class), bytes(CKA_LABEL, label)];
    let found = module.find(session, &template).expect("C_FindObjects");
    assert_eq!(found.len(), 1, "{label}");
    found[0]
}

fn signing(label: &str) -> Mechanism {
    Mechanism::Plain(match label {
        "rsa" => CKM_SHA256_RSA_PKCS,
        "ed25519" => CKM_EDDSA,
        _ => CKM_ECDSA_SHA256,
    })
}

fn shown(module: &Module, session: Session, label: &str) -> Vec<u8> {
    let attribute = if label == "rsa" { CKA_MODULUS } else { CKA_EC_POINT };
    let public = find(module, session, CKO_PUBLIC_KEY, label);
    module.get(session, public, attribute).expect("C_GetAttributeValue")
}

const OAEP: Mechanism = Mechanism::Oaep {
    hash: CKM_SHA256,
    mgf: CKG_MGF1_SHA256,
};

fn cbc() -> Mechanism {
    Mechanism::Bytes(CKM_AES_CBC, vec![7; 16])
}

impl Keys {
    pub(super) fn of(module: &Module, session: Session) -> Self {
        let labels: Vec<_> = pairs().into_iter().map(|(label, ..)| label).collect();
        let sign = |label: &&'static str| {
            let key = find(module, session, CKO_PRIVATE_KEY, label);
            let signature = module.sign(session, &signing(label), key, DATA);
            (*label, signature.unwrap_or_else(|rv| panic!("{label}: {rv}")))
        };
        let aes = find(module, session, CKO_SECRET_KEY, "aes");
        let hmac = find(module, session, CKO_SECRET_KEY, "hmac");
        let rsa = find(module, session, CKO_PUBLIC_KEY, "rsa");
        Self {
            publics: labels
                .iter()
                .map(|label| (*label, shown(module, session, label)))
                .collect(),
            signatures: labels.iter().map(sign).collect(),
            sealed: module.encrypt(session, &cbc(), aes, DATA).expect("C_Encrypt"),
            rsa_sealed: module.encrypt(session, &OAEP, rsa, DATA).expect("C_Encrypt"),
            mac: module
                .sign(session, &Mechanism::Plain(CKM_SHA256_HMAC), hmac, DATA)
                .expect("C_Sign"),
            objects: module.find(session, &[]).expect("C_FindObjects").len(),
        }
    }

    /// Every key is there, is the same, and works.
    pub(super) fn check(&self, module: &Module, session: Session) {
        assert_eq!(module.find(session, &[]).expect("C_FindObjects").len(), self.objects);
        for (label, public) in &self.publics {
            assert_eq!(&shown(module, session, label), public, "{label}");
        }
        for (label, old) in &self.signatures {
            let (public, private) = (
                find(module, session, CKO_PUBLIC_KEY, label),
                find(module, session, CKO_PRIVATE_KEY, label),
            );
            let new = module.sign(session, &signing(label), private, DATA);
            for signature in [old, &new.unwrap_or_else(|rv| panic!("{label}: {rv}"))] {
                let verified = module.verify(session, &signing(label), public, DATA, signature);
                assert_eq!(verified, Ok(()), "{label}");
            }
        }
        let aes = find(module, session, CKO_SECRET_KEY, "aes");
        assert_eq!(
            module.decrypt(session, &cbc(), aes, &self.sealed).expect("C_Decrypt"),
            DATA
        );
        let rsa = find(module, session, CKO_PRIVATE_KEY, "rsa");
        assert_eq!(
            module
                .decrypt(session, &OAEP, rsa, &self.rsa_sealed)
                .expect("C_Decrypt"),
            DATA
        );
        let hmac = find(module, session, CKO_SECRET_KEY, "hmac");
        let mac = module.sign(session, &Mechanism::Plain(CKM_SHA256_HMAC), hmac, DATA);
        assert_eq!(mac.expect("C_Sign"), self.mac);
        let notes = find(module, session, CKO_DATA, "notes");
        let value = module.get(session, notes, CKA_VALUE).expect("C_GetAttributeValue");
        assert_eq!(value, b"anybody may read this");
    }
}
