//! Post-quantum keys through the module's C functions, with a real daemon.

pub(crate) mod acvp;
pub(crate) mod ml_dsa;
pub(crate) mod ml_kem;
mod slh_dsa;

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN};
use hsmd_tests::module::{Module, Session};
use hsmd_tests::template::{Attribute, Mechanism, bytes, flag, number};

/// A module of one's own with a session and the user logged in.
fn application(daemon: &Daemon) -> (Module, Session) {
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    (module, session)
}

/// `CK_SIGN_ADDITIONAL_CONTEXT`.
fn context(kind: CK_MECHANISM_TYPE, hedge: CK_ULONG, context: &[u8]) -> Mechanism {
    let (context, hash) = (context.to_vec(), None);
    Mechanism::SignContext {
        kind,
        hedge,
        context,
        hash,
    }
}

/// The template of a key of a parameter set.
fn key(class: CK_OBJECT_CLASS, kind: CK_KEY_TYPE, set: CK_ULONG, more: &[Attribute]) -> Vec<Attribute> {
    let all = [
        number(CKA_CLASS, class),
        number(CKA_KEY_TYPE, kind),
        number(CKA_PARAMETER_SET, set),
    ];
    [&all, more].concat()
}

/// A secret that may be read.
fn readable(more: &[Attribute]) -> Vec<Attribute> {
    let all = [
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ];
    [&all, more].concat()
}

/// A private key with its value.
fn with_value(value: &[u8]) -> [Attribute; 3] {
    [
        bytes(CKA_VALUE, value),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ]
}
