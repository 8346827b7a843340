//! A token of another PKCS#11 module: public objects as they are read, keys wrapped under a key that this program made, where the
//! token lets them out (CKA_EXTRACTABLE). What it does not let out stays there, and is named.

use crate::Error;
use crate::object::{Class, Material, Object, wipe};
use crate::token::{Token, words};
use aes_kw::{KeyInit as _, KwpAes256};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use zeroize::Zeroizing;

/// What is copied of every object; beside that, [`of_class`].
const COMMON: [AttributeType; 3] = [AttributeType::Label, AttributeType::Private, AttributeType::Modifiable];

/// Every object of a token that can leave it. What cannot is in the second list, with the reason.
///
/// # Errors
/// A token that does not even list its objects, or takes no wrapping key.
pub fn read(token: &Token) -> Result<(Vec<Object>, Vec<Error>), Error> {
    let failed = |error| Error::Token(words(&error));
    let session = &token.session;
    let (mut objects, mut unread) = (Vec::new(), Vec::new());
    let mut transport = None;
    for handle in session.find_objects(&[Attribute::Token(true)]).map_err(failed)? {
        match one(token, handle, &mut transport) {
            Ok(Some(object)) => objects.push(object),
            Ok(None) => {}
            Err(error) => unread.push(error),
        }
    }
    if let Some(Transport { handle, .. }) = transport {
        let _ = session.destroy_object(handle);
    }
    Ok((objects, unread))
}

struct Transport {
    key: Zeroizing<[u8; 32]>,
    handle: ObjectHandle,
}

fn one(token: &Token, handle: ObjectHandle, transport: &mut Option<Transport>) -> Result<Option<Object>, Error> {
    let session = &token.session;
    let failed = |error| Error::Token(words(&error));
    let class = session
        .get_attributes(handle, &[AttributeType::Class])
        .map_err(failed)?;
    let class = match class.first() {
        Some(Attribute::Class(ObjectClass::SECRET_KEY)) => Class::SecretKey,
        Some(Attribute::Class(ObjectClass::PRIVATE_KEY)) => Class::PrivateKey,
        Some(Attribute::Class(ObjectClass::PUBLIC_KEY)) => Class::PublicKey,
        Some(Attribute::Class(ObjectClass::CERTIFICATE)) => Class::Certificate,
        Some(Attribute::Class(ObjectClass::DATA)) => Class::Data,
        _ => return Ok(None),
    };
    let mut wanted = COMMON.to_vec();
    wanted.extend(of_class(class));
    let attributes = session.get_attributes(handle, &wanted).map_err(failed)?;
    let mut object = Object::new(class, "", format!("token {:?}, {}", token.label(), class.name()));
    object.attributes = attributes
        .into_iter()
        .filter(|attribute| !is_empty(attribute))
        .collect();
    let key_type = match object.find(AttributeType::KeyType) {
        Some(Attribute::KeyType(key_type)) => Some(*key_type),
        _ => None,
    };
    object.kind = match (class, key_type) {
        (Class::Certificate, _) => "X.509".to_owned(),
        (Class::Data, _) => "data".to_owned(),
        (_, Some(key_type)) => key_type.to_string().trim_start_matches("CKK_").to_owned(),
        (_, None) => "unknown".to_owned(),
    };
    object.origin = format!("{} {:?}", object.origin, object.label());
    if matches!(class, Class::PrivateKey | Class::SecretKey) {
        let key = wrapped(token, handle, transport)
            .map_err(|why| Error::Token(format!("{}: it does not leave its token: {why}", object.origin)))?;
        match class {
            // With the zeros that SoftHSM2 (2.6) fills in behind the encoding: C_UnwrapKey of hsmd cuts them off.
            Class::PrivateKey => object.material = Material::Pkcs8(key),
            _ => object.set(Attribute::Value(key.to_vec())),
        }
    }
    Ok(Some(object))
}

fn is_empty(attribute: &Attribute) -> bool {
    matches!(attribute, Attribute::Label(bytes) | Attribute::Id(bytes) | Attribute::Subject(bytes) | Attribute::Application(bytes)
        | Attribute::ObjectId(bytes) | Attribute::Issuer(bytes) | Attribute::SerialNumber(bytes) if bytes.is_empty())
}

/// The key in the clear: wrapped by the token with AES-KWP (RFC 5649), opened here.
fn wrapped(
    token: &Token,
    handle: ObjectHandle,
    transport: &mut Option<Transport>,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let session = &token.session;
    let said = |error: cryptoki::error::Error| words(&error);
    if transport.is_none() {
        *transport = Some(wrapping_key(token).map_err(said)?);
    }
    let Some(Transport { key, handle: wrapping }) = transport else {
        return Err("no wrapping key".to_owned());
    };
    let wrapped = session
        .wrap_key(&Mechanism::AesKeyWrapPad, *wrapping, handle)
        .map_err(said)?;
    let mut opened = Zeroizing::new(vec![0; wrapped.len()]);
    let kwp = KwpAes256::new((&**key).into());
    let length = kwp
        .unwrap_key(&wrapped, &mut opened)
        .map_err(|_| "CKM_AES_KEY_WRAP_PAD of this module is not the one of RFC 5649".to_owned())?
        .len();
    opened.truncate(length);
    Ok(opened)
}

fn wrapping_key(token: &Token) -> Result<Transport, cryptoki::error::Error> {
    let session = &token.session;
    let mut key = Zeroizing::new([0; 32]);
    session.generate_random_slice(&mut *key)?;
    let mut template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Wrap(true),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Value(key.to_vec()),
    ];
    let handle = session.create_object(&template);
    wipe(&mut template);
    Ok(Transport { key, handle: handle? })
}

const fn of_class(class: Class) -> &'static [AttributeType] {
    use AttributeType as A;
    match class {
        Class::Data => &[A::Application, A::ObjectId, A::Value],
        Class::Certificate => &[
            A::CertificateType,
            A::Id,
            A::Subject,
            A::Issuer,
            A::SerialNumber,
            A::Value,
        ],
        Class::PublicKey => &[
            A::KeyType,
            A::Id,
            A::Subject,
            A::Encrypt,
            A::Verify,
            A::Wrap,
            A::Derive,
            A::Modulus,
            A::PublicExponent,
            A::EcParams,
            A::EcPoint,
            A::Prime,
            A::Base,
            A::Value,
        ],
        Class::PrivateKey => &[
            A::KeyType,
            A::Id,
            A::Subject,
            A::Sensitive,
            A::Extractable,
            A::Decrypt,
            A::Sign,
            A::Unwrap,
            A::Derive,
            A::AlwaysAuthenticate,
        ],
        Class::SecretKey => &[
            A::KeyType,
            A::Id,
            A::Sensitive,
            A::Extractable,
            A::Encrypt,
            A::Decrypt,
            A::Sign,
            A::Verify,
            A::Wrap,
            A::Unwrap,
            A::Derive,
        ],
    }
}
