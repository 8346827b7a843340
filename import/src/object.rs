//! An object on its way: what a source found, in terms of PKCS#11, wiped when it goes.

use cryptoki::object::{Attribute, AttributeType};
use zeroize::{Zeroize as _, Zeroizing};

/// The class of an object (PKCS#11 3.2, 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// CKO_SECRET_KEY.
    SecretKey,
    /// CKO_PRIVATE_KEY.
    PrivateKey,
    /// CKO_PUBLIC_KEY.
    PublicKey,
    /// CKO_CERTIFICATE.
    Certificate,
    /// CKO_DATA.
    Data,
}

impl Class {
    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SecretKey => "secret key",
            Self::PrivateKey => "private key",
            Self::PublicKey => "public key",
            Self::Certificate => "certificate",
            Self::Data => "data",
        }
    }
}

/// What the object is made of.
pub enum Material {
    /// The attributes are all there is.
    Attributes,
    /// A private key as PKCS #8 (RFC 5958), DER; the attributes come on top.
    Pkcs8(Zeroizing<Vec<u8>>),
}

/// An object.
pub struct Object {
    /// Its class.
    pub class: Class,
    /// The kind of key, `RSA`, `EC` and so on; of a certificate `X.509`.
    pub kind: String,
    /// Where it comes from, for messages: a file, a line, a handle.
    pub origin: String,
    /// What it is made of.
    pub material: Material,
    /// Attributes beside CKA_CLASS and CKA_TOKEN.
    pub(crate) attributes: Vec<Attribute>,
}

impl Object {
    pub(crate) fn new(class: Class, kind: impl Into<String>, origin: impl Into<String>) -> Self {
        Self {
            class,
            kind: kind.into(),
            origin: origin.into(),
            material: Material::Attributes,
            attributes: Vec::new(),
        }
    }

    /// CKA_LABEL, for people: bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn label(&self) -> String {
        match self.find(AttributeType::Label) {
            Some(Attribute::Label(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    /// CKA_ID.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        match self.find(AttributeType::Id) {
            Some(Attribute::Id(bytes)) => bytes,
            _ => &[],
        }
    }

    /// Gives it this label.
    pub fn set_label(&mut self, label: &str) {
        self.set(Attribute::Label(label.as_bytes().to_vec()));
    }

    /// Gives it this id.
    pub fn set_id(&mut self, id: &[u8]) {
        self.set(Attribute::Id(id.to_vec()));
    }

    /// Whether the key may leave its new token wrapped (CKA_EXTRACTABLE); of keys only.
    pub fn set_extractable(&mut self, extractable: bool) {
        if matches!(self.class, Class::PrivateKey | Class::SecretKey) {
            self.set(Attribute::Extractable(extractable));
        }
    }

    pub(crate) fn find(&self, wanted: AttributeType) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.attribute_type() == wanted)
    }

    /// Puts an attribute in the place of the one of its type.
    pub(crate) fn set(&mut self, attribute: Attribute) {
        let wanted = attribute.attribute_type();
        self.attributes.retain(|attribute| attribute.attribute_type() != wanted);
        self.attributes.push(attribute);
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        wipe(&mut self.attributes);
    }
}

/// Wipes the secret components of keys, and the value of whatever it is.
pub(crate) fn wipe(attributes: &mut [Attribute]) {
    for attribute in attributes {
        match attribute {
            Attribute::Value(bytes)
            | Attribute::PrivateExponent(bytes)
            | Attribute::Prime1(bytes)
            | Attribute::Prime2(bytes)
            | Attribute::Exponent1(bytes)
            | Attribute::Exponent2(bytes)
            | Attribute::Coefficient(bytes)
            | Attribute::Seed(bytes) => bytes.zeroize(),
            _ => {}
        }
    }
}
