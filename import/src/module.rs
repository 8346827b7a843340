//! A token of another PKCS#11 module: public objects as they are read, keys wrapped under a key that this program made, where the
//! token lets them out (CKA_EXTRACTABLE). What it does not let out stays there, and is named.

use crate::Error;
use crate::object::{Class, Material, Object, wipe};
use crate::token::{Token, words};
use aes_kw::{KeyInit as _, KwpAes256};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use der::{Decode as _, Header, Reader as _, SliceReader};
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
            Class::PrivateKey => object.material = Material::Pkcs8(without_padding(key)),
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

/// SoftHSM2 (2.6.1) fills the encoding of a private key up to eight bytes with zeros before it wraps it, and the wrapping keeps them:
/// what is behind the outer SEQUENCE is cut off.
fn without_padding(mut key: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let whole = SliceReader::new(&key).and_then(|mut reader| {
        let header = Header::decode(&mut reader)?;
        reader.position() + header.length()
    });
    let whole = whole.ok().and_then(|length| usize::try_from(length).ok());
    if let Some(length) = whole.filter(|length| {
        key.get(*length..)
            .is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
    }) {
        key.truncate(length);
    }
    key
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
            A::Prime,
            A::Base,
            A::Value,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_behind_an_encoding_are_cut_off_and_nothing_else_is() {
        let cut = |bytes: &[u8]| without_padding(Zeroizing::new(bytes.to_vec())).to_vec();
        assert_eq!(cut(&[0x30, 2, 5, 0, 0, 0, 0]), [0x30, 2, 5, 0]);
        for kept in [
            [0x30, 2, 5, 0].as_slice(),
            &[0x30, 2, 5, 0, 0, 1],
            &[0x30, 9, 5, 0],
            &[0x30],
            &[],
        ] {
            assert_eq!(cut(kept), kept);
        }
    }
}
