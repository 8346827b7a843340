//! Where objects go: a token of any PKCS#11 module, its user logged in.

use crate::Error;
use crate::key_types::{key_id, public_attributes};
use crate::object::{Class, Material, Object, wipe};
use crate::token::{Token, words};
use aes_kw::KeyInit as _;
use aes_kw::KwpAes256;
use cryptoki::error::{Error as Failure, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use zeroize::Zeroizing;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the token now.
    Imported,
    /// One of its class with its id (without an id: its label) was there, and was left alone.
    Present,
}

/// A token that takes objects.
pub struct Destination {
    token: Token,
    /// The session key under which PKCS #8 goes in: made at the first, gone with the session.
    transport: Option<Transport>,
}

struct Transport {
    key: Zeroizing<[u8; 32]>,
    handle: ObjectHandle,
}

impl Destination {
    /// Objects go to this token.
    #[must_use]
    pub const fn new(token: Token) -> Self {
        Self { token, transport: None }
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// Puts an object there, unless one of its class with its id is. A private key that comes as PKCS #8 brings its public key, and
    /// gets the id of the pair if it has none.
    ///
    /// # Errors
    /// What the token says, with function and code.
    pub fn put(&mut self, object: &mut Object) -> Result<Outcome, Error> {
        if self.has(object).map_err(|error| Error::Token(words(&error)))? {
            return Ok(Outcome::Present);
        }
        let put = match &object.material {
            Material::Attributes => self.create(object),
            Material::Pkcs8(der) => self.unwrap(object, der),
        };
        let id = put.map_err(|error| self.refusal(object, &error))?;
        if let Some(id) = id {
            object.set_id(&id);
        }
        Ok(Outcome::Imported)
    }

    /// Why the token does not take an object, as far as more is known than the code.
    fn refusal(&self, object: &Object, error: &Failure) -> Error {
        let said = words(error);
        let code = match error {
            Failure::Pkcs11(code, _) => Some(code),
            _ => None,
        };
        match object.find(AttributeType::KeyType) {
            Some(Attribute::KeyType(KeyType::DES3)) if !self.token.computes(MechanismType::DES3_ECB) => {
                let kind = object.kind.clone();
                Error::Kind { said, kind }
            }
            Some(Attribute::KeyType(KeyType::DH))
                if matches!(code, Some(RvError::DomainParamsInvalid | RvError::WrappedKeyInvalid)) =>
            {
                Error::Group { said }
            }
            _ => Error::Token(said),
        }
    }

    fn has(&self, object: &Object) -> Result<bool, Failure> {
        let wanted = [AttributeType::Id, AttributeType::Label]
            .into_iter()
            .find_map(|kind| match object.find(kind) {
                Some(Attribute::Id(bytes)) if bytes.is_empty() => None,
                Some(Attribute::Label(bytes)) if bytes.is_empty() => None,
                found => found.cloned(),
            });
        let Some(wanted) = wanted else { return Ok(false) };
        let template = [Attribute::Class(class(object.class)), Attribute::Token(true), wanted];
        Ok(!self.token.session.find_objects(&template)?.is_empty())
    }

    fn create(&self, object: &Object) -> Result<Option<Vec<u8>>, Failure> {
        let mut template = vec![Attribute::Class(class(object.class)), Attribute::Token(true)];
        template.extend(object.attributes.iter().cloned());
        let created = self.token.session.create_object(&template);
        wipe(&mut template);
        created.map(|_| None)
    }

    /// The key itself is in no template: it goes in wrapped, so that the token reads its encoding and no other program has to.
    fn unwrap(&mut self, object: &Object, der: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let transport = self.transport()?;
        let mut wrapped = vec![0; der.len().next_multiple_of(8) + 8];
        let kwp = KwpAes256::new((&*transport.key).into());
        let wrapped = kwp.wrap_key(der, &mut wrapped).map_err(|_| Failure::InvalidValue)?;
        let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)];
        template.extend(object.attributes.iter().cloned());
        let handle = transport.handle;
        let session = &self.token.session;
        let private = session.unwrap_key(&Mechanism::AesKeyWrapPad, handle, wrapped, &template)?;
        match self.complete(object, private) {
            Ok(id) => Ok(id),
            Err(error) => {
                // Half a pair would be taken for the whole one when this is called again.
                let _ = session.destroy_object(private);
                Err(error)
            }
        }
    }

    /// The public key of a private one, and the id of both where the source had none.
    fn complete(&self, object: &Object, private: ObjectHandle) -> Result<Option<Vec<u8>>, Failure> {
        let session = &self.token.session;
        let read = session.get_attributes(private, &[AttributeType::PublicKeyInfo])?;
        let Some(Attribute::PublicKeyInfo(info)) = read.first() else {
            return Ok(None);
        };
        let Some((_, mut template)) = public_attributes(info) else {
            return Ok(None);
        };
        template.extend([Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Token(true)]);
        template.extend(object.find(AttributeType::Label).cloned());
        let id = match object.id() {
            [] => {
                let id = key_id(info).unwrap_or_default();
                session.update_attributes(private, &[Attribute::Id(id.clone())])?;
                id
            }
            id => id.to_vec(),
        };
        let named = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::Token(true),
            Attribute::Id(id.clone()),
        ];
        if session.find_objects(&named)?.is_empty() {
            template.push(Attribute::Id(id.clone()));
            session.create_object(&template)?;
        }
        Ok(Some(id))
    }

    fn transport(&mut self) -> Result<&Transport, Failure> {
        if self.transport.is_none() {
            let mut key = Zeroizing::new([0; 32]);
            self.token.session.generate_random_slice(&mut *key)?;
            let mut template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Token(false),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Unwrap(true),
                Attribute::Wrap(false),
                Attribute::Encrypt(false),
                Attribute::Decrypt(false),
                Attribute::Value(key.to_vec()),
            ];
            let handle = self.token.session.create_object(&template);
            wipe(&mut template);
            self.transport = Some(Transport { key, handle: handle? });
        }
        self.transport.as_ref().ok_or(Failure::InvalidValue)
    }
}

const fn class(class: Class) -> ObjectClass {
    match class {
        Class::SecretKey => ObjectClass::SECRET_KEY,
        Class::PrivateKey => ObjectClass::PRIVATE_KEY,
        Class::PublicKey => ObjectClass::PUBLIC_KEY,
        Class::Certificate => ObjectClass::CERTIFICATE,
        Class::Data => ObjectClass::DATA,
    }
}
