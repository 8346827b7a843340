//! Brought material in the token: the pair that wraps it, and how it is opened with C_UnwrapKey. RSA_AES_KEY_WRAP is done in its
//! two steps (PKCS#11 3.2, 6.1.19): an AES key under OAEP, the material under that AES key.

use super::crypt::{oaep, oaep_hash};
use super::key::{Kind, Usage};
use super::object::{self, gone};
use crate::module::{ModuleError, Worker};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use serde::{Deserialize, Serialize};

/// How brought material is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Algorithm {
    OaepSha1,
    OaepSha256,
    AesSha1,
    AesSha256,
}

impl Algorithm {
    /// Of the API's word; `None` for what is not served.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "RSAES_OAEP_SHA_1" => Some(Self::OaepSha1),
            "RSAES_OAEP_SHA_256" => Some(Self::OaepSha256),
            "RSA_AES_KEY_WRAP_SHA_1" => Some(Self::AesSha1),
            "RSA_AES_KEY_WRAP_SHA_256" => Some(Self::AesSha256),
            _ => None,
        }
    }

    /// The padding of what is under the RSA key.
    fn padding(self) -> Result<Mechanism<'static>, ModuleError> {
        let name = match self {
            Self::OaepSha1 | Self::AesSha1 => "RSAES_OAEP_SHA_1",
            Self::OaepSha256 | Self::AesSha256 => "RSAES_OAEP_SHA_256",
        };
        let hash = oaep_hash(name).ok_or(ModuleError::NoKey)?;
        Ok(Mechanism::RsaPkcsOaep(oaep(hash)))
    }
}

/// Material as it was sent, and what it is to become.
#[derive(Clone)]
pub(super) struct Wrapped {
    /// `CKA_ID` of the wrapping pair.
    pub(super) pair: Vec<u8>,
    pub(super) algorithm: Algorithm,
    pub(super) bytes: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) usage: Usage,
}

/// Makes a wrapping pair; its public half as SubjectPublicKeyInfo. A retry after a lost session finds what the first try made.
pub(super) fn make_pair(worker: &mut Worker, bits: u32, id: &[u8], label: &str) -> Result<Vec<u8>, ModuleError> {
    let named = |more: Vec<Attribute>| {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Id(id.to_vec()),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        template.extend(more);
        template
    };
    let public = match worker.find(ObjectClass::PUBLIC_KEY, id) {
        Ok(made) => made,
        Err(_) => {
            let public = named(vec![
                Attribute::ModulusBits(u64::from(bits).into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
                Attribute::Encrypt(false),
                Attribute::Verify(false),
            ]);
            let private = named(vec![
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Unwrap(true),
                Attribute::Decrypt(false),
                Attribute::Sign(false),
            ]);
            let session = worker.session()?;
            session
                .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)?
                .0
        }
    };
    let read = worker
        .session()?
        .get_attributes(public, &[AttributeType::PublicKeyInfo])?;
    match read.into_iter().next() {
        Some(Attribute::PublicKeyInfo(info)) => Ok(info),
        _ => Err(ModuleError::NoKey),
    }
}

/// The name of wrapped material: opened as a session object, it is computed with the key, in the token.
pub(super) fn name(worker: &mut Worker, wrapped: &Wrapped) -> Result<Vec<u8>, ModuleError> {
    let handle = open(worker, wrapped, &session_template(wrapped))?;
    let named = measure(worker, wrapped.kind, handle);
    gone(worker, handle)?;
    named
}

/// Two blocks that nothing else encrypts: a material's name is what it makes of them.
const NAMED: &[u8; 32] = b"hsmd-kms: name 0hsmd-kms: name 1";

fn measure(worker: &mut Worker, kind: Kind, handle: ObjectHandle) -> Result<Vec<u8>, ModuleError> {
    let session = worker.session()?;
    let mut read = session.get_attributes(handle, telling(kind))?.into_iter();
    let fits = match (kind, read.next()) {
        (Kind::Aes, Some(Attribute::ValueLen(length))) => u64::from(length) == 32,
        (Kind::Hmac(bytes), Some(Attribute::ValueLen(length))) => u64::from(length) == u64::from(bytes),
        (Kind::Rsa(bits), Some(Attribute::Modulus(modulus))) => modulus.len() * 8 == bits as usize,
        (Kind::Ec(curve, _), Some(Attribute::EcParams(named))) => named == curve,
        _ => false,
    };
    match (kind, read.next()) {
        _ if !fits => Err(ModuleError::Unfit),
        (Kind::Aes, _) => Ok(session.encrypt(&Mechanism::AesEcb, handle, NAMED)?),
        (Kind::Hmac(_), _) => Ok(session.sign(&Mechanism::Sha256Hmac, handle, NAMED)?),
        (_, Some(Attribute::PublicKeyInfo(info))) => Ok(session.digest(&Mechanism::Sha256, &info)?),
        _ => Err(ModuleError::Unfit),
    }
}

/// The attributes that say whether material fits, and what an asymmetric key is named by.
const fn telling(kind: Kind) -> &'static [AttributeType] {
    match kind {
        Kind::Aes | Kind::Hmac(_) => &[AttributeType::ValueLen],
        Kind::Rsa(_) => &[AttributeType::Modulus, AttributeType::PublicKeyInfo],
        Kind::Ec(..) => &[AttributeType::EcParams, AttributeType::PublicKeyInfo],
    }
}

/// Puts wrapped material into the token, a private key with its public half. A retry after a lost session finds what the first
/// try made.
pub(super) fn put(worker: &mut Worker, wrapped: &Wrapped, id: &[u8], label: &str) -> Result<(), ModuleError> {
    let (kind, usage) = (wrapped.kind, wrapped.usage);
    let key = match worker.find(object::class(kind), id) {
        Ok(made) => made,
        Err(_) => {
            let mut template = match kind {
                Kind::Aes | Kind::Hmac(_) => object::secret(usage, id, label),
                Kind::Rsa(_) | Kind::Ec(..) => object::private(usage, id, label),
            };
            template.extend(typed(kind));
            open(worker, wrapped, &template)?
        }
    };
    let half = match kind {
        Kind::Aes | Kind::Hmac(_) => return Ok(()),
        Kind::Rsa(_) => [AttributeType::Modulus, AttributeType::PublicExponent],
        Kind::Ec(..) => [AttributeType::EcParams, AttributeType::EcPoint],
    };
    if worker.find(ObjectClass::PUBLIC_KEY, id).is_ok() {
        return Ok(());
    }
    let session = worker.session()?;
    let mut template = object::public(usage, id, label);
    template.extend(session.get_attributes(key, &half)?);
    template.extend([
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(key_type(kind)),
    ]);
    session.create_object(&template)?;
    Ok(())
}

const fn key_type(kind: Kind) -> KeyType {
    match kind {
        Kind::Aes => KeyType::AES,
        Kind::Hmac(_) => KeyType::GENERIC_SECRET,
        Kind::Rsa(_) => KeyType::RSA,
        Kind::Ec(..) => KeyType::EC,
    }
}

const fn typed(kind: Kind) -> [Attribute; 2] {
    [
        Attribute::Class(object::class(kind)),
        Attribute::KeyType(key_type(kind)),
    ]
}

fn session_template(wrapped: &Wrapped) -> Vec<Attribute> {
    let mut template = match wrapped.kind {
        Kind::Aes | Kind::Hmac(_) => object::secret(wrapped.usage, &[], ""),
        Kind::Rsa(_) | Kind::Ec(..) => object::private(wrapped.usage, &[], ""),
    };
    template.retain(|attribute| !matches!(attribute, Attribute::Token(_) | Attribute::Id(_) | Attribute::Label(_)));
    template.push(Attribute::Token(false));
    template.extend(typed(wrapped.kind));
    template
}

/// Opens wrapped material as a key of this template.
fn open(worker: &mut Worker, wrapped: &Wrapped, template: &[Attribute]) -> Result<ObjectHandle, ModuleError> {
    let pair = worker.find(ObjectClass::PRIVATE_KEY, &wrapped.pair)?;
    let padding = wrapped.algorithm.padding()?;
    let session = worker.session()?;
    if matches!(wrapped.algorithm, Algorithm::OaepSha1 | Algorithm::OaepSha256) {
        return Ok(session.unwrap_key(&padding, pair, &wrapped.bytes, template)?);
    }
    let read = session.get_attributes(pair, &[AttributeType::Modulus])?;
    let Some(Attribute::Modulus(modulus)) = read.first() else {
        return Err(ModuleError::NoKey);
    };
    let parts = wrapped.bytes.split_at_checked(modulus.len());
    let (head, rest) = parts.ok_or(ModuleError::NotWrapped)?;
    let between = [
        Attribute::Token(false),
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Unwrap(true),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
    ];
    let between = session.unwrap_key(&padding, pair, head, &between)?;
    let opened = session.unwrap_key(&Mechanism::AesKeyWrapPad, between, rest, template);
    gone(worker, between)?;
    Ok(opened?)
}
