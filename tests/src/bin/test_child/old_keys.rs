//! Keys of old software in the token of any module: a key of Triple DES and a pair of Diffie-Hellman. One process makes them, others
//! use them and print what comes of it: the same bytes mean the same keys.

use cryptoki_sys::*;
use hsmd_proto::dh::DhGroup;
use hsmd_tests::module::{Module, Session};
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};

use crate::logged_in;

const GROUP: DhGroup = DhGroup::Ffdhe2048;

/// Makes them as keys that may leave the token wrapped.
pub(crate) fn make(module: &Module, pin: &str) {
    let session = logged_in(module, pin);
    let named = |label: &str, id: u8| vec![flag(CKA_TOKEN, true), bytes(CKA_LABEL, label), bytes(CKA_ID, [id])];
    let leaves = [flag(CKA_SENSITIVE, true), flag(CKA_EXTRACTABLE, true)];
    let cipher = [flag(CKA_ENCRYPT, true), flag(CKA_DECRYPT, true)];
    let template = [&named("triple", 3)[..], &leaves, &cipher].concat();
    module
        .generate_key(session, &Mechanism::Plain(CKM_DES3_KEY_GEN), &template)
        .expect("C_GenerateKey");
    let group = [bytes(CKA_PRIME, GROUP.prime()), bytes(CKA_BASE, DhGroup::BASE)];
    let public = [&named("agreement", 4)[..], &group].concat();
    let private = [&named("agreement", 4)[..], &leaves, &[flag(CKA_DERIVE, true)]].concat();
    module
        .generate_key_pair(session, &Mechanism::Plain(CKM_DH_PKCS_KEY_PAIR_GEN), &public, &private)
        .expect("C_GenerateKeyPair");
}

/// Prints an encrypted block, the public value and an agreed secret.
pub(crate) fn show(module: &Module, pin: &str) {
    let session = logged_in(module, pin);
    let triple = only(module, session, CKO_SECRET_KEY, "triple");
    let sealed = module.encrypt(session, &Mechanism::Plain(CKM_DES3_ECB), triple, &[7; 8]);
    print("block", &sealed.expect("C_Encrypt"));
    let public = only(module, session, CKO_PUBLIC_KEY, "agreement");
    print("public", &module.get(session, public, CKA_VALUE).expect("CKA_VALUE"));
    // The other side's value: the smallest square that is not 1.
    let mechanism = Mechanism::Bytes(CKM_DH_PKCS_DERIVE, vec![4]);
    let secret: [Attribute; 5] = [
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        number(CKA_VALUE_LEN, 32),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ];
    let private = only(module, session, CKO_PRIVATE_KEY, "agreement");
    let made = module
        .derive(session, &mechanism, private, &secret)
        .expect("C_DeriveKey");
    print("agreed", &module.get(session, made, CKA_VALUE).expect("CKA_VALUE"));
}

fn only(module: &Module, session: Session, class: CK_OBJECT_CLASS, label: &str) -> CK_OBJECT_HANDLE {
    let template = [number(CKA_CLASS, class), bytes(CKA_LABEL, label)];
    let found = module.find(session, &template).expect("C_FindObjects");
    let [object] = found[..] else {
        panic!("{} objects `{label}` of the class {class}", found.len());
    };
    object
}

fn print(name: &str, value: &[u8]) {
    let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{name} {digits}");
}
