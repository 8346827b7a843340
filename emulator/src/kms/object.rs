//! What a key is in the token: the templates of its objects, and how they are made and destroyed.

use super::key::{Kind, Spec, Usage};
use crate::module::{ModuleError, Worker};
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};

/// The class of the object that does the work.
pub(super) const fn class(kind: Kind) -> ObjectClass {
    match kind {
        Kind::Aes | Kind::Hmac(_) => ObjectClass::SECRET_KEY,
        Kind::Rsa(_) | Kind::Ec(..) => ObjectClass::PRIVATE_KEY,
    }
}

/// Makes a key in the token. A retry after a lost session finds what the first try made.
pub(super) fn make(worker: &mut Worker, spec: &Spec, usage: Usage, id: &[u8], label: &str) -> Result<(), ModuleError> {
    let kind = spec.row().ok_or(ModuleError::NoKey)?.kind;
    if worker.find(class(kind), id).is_ok() {
        return Ok(());
    }
    let session = worker.session()?;
    match kind {
        Kind::Aes => session
            .generate_key(&Mechanism::AesKeyGen, &sized(32, usage, id, label))
            .map(drop)?,
        Kind::Hmac(bytes) => session
            .generate_key(&Mechanism::GenericSecretKeyGen, &sized(bytes, usage, id, label))
            .map(drop)?,
        Kind::Rsa(bits) => {
            let mut public = public(usage, id, label);
            public.extend([
                Attribute::ModulusBits(u64::from(bits).into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
            ]);
            session
                .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private(usage, id, label))
                .map(drop)?;
        }
        Kind::Ec(curve, _) => {
            let mut public = public(usage, id, label);
            public.push(Attribute::EcParams(curve.to_vec()));
            session
                .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private(usage, id, label))
                .map(drop)?;
        }
    }
    Ok(())
}

/// A secret key of the token for one usage.
pub(super) fn secret(usage: Usage, id: &[u8], label: &str) -> Vec<Attribute> {
    let used = usage == Usage::EncryptDecrypt;
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Encrypt(used),
        Attribute::Decrypt(used),
        Attribute::Sign(!used),
        Attribute::Verify(!used),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]
}

fn sized(length: u32, usage: Usage, id: &[u8], label: &str) -> Vec<Attribute> {
    let mut template = secret(usage, id, label);
    template.push(Attribute::ValueLen(u64::from(length).into()));
    template
}

pub(super) fn private(usage: Usage, id: &[u8], label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Decrypt(usage == Usage::EncryptDecrypt),
        Attribute::Sign(usage == Usage::SignVerify),
        Attribute::Derive(usage == Usage::KeyAgreement),
        Attribute::Unwrap(false),
    ]
}

pub(super) fn public(usage: Usage, id: &[u8], label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Encrypt(usage == Usage::EncryptDecrypt),
        Attribute::Verify(usage == Usage::SignVerify),
        Attribute::Wrap(false),
    ]
}

/// Destroys all objects with these ids. What is not there is as good as destroyed.
pub(super) fn destroy(worker: &mut Worker, ids: &[Vec<u8>]) -> Result<(), ModuleError> {
    let classes = [
        ObjectClass::SECRET_KEY,
        ObjectClass::PRIVATE_KEY,
        ObjectClass::PUBLIC_KEY,
    ];
    for id in ids {
        for class in classes {
            match worker.find(class, id) {
                Ok(handle) => gone(worker, handle)?,
                Err(ModuleError::NoKey) => {}
                Err(error) => return Err(error),
            }
        }
    }
    // The same id may come back with another object.
    worker.forget();
    Ok(())
}

/// Destroys an object that may be destroyed already.
pub(super) fn gone(worker: &mut Worker, handle: ObjectHandle) -> Result<(), ModuleError> {
    match worker.session()?.destroy_object(handle).map_err(ModuleError::from) {
        Err(error) if error.rv() == Some(RvError::ObjectHandleInvalid) => Ok(()),
        done => done,
    }
}
