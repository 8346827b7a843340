//! An object in memory: attributes, key values, what Init needs, and the key itself, opened at its first use. Immutable: a
//! change makes a new one of the next version.

use std::sync::{Arc, OnceLock};

use hsmd_crypto::Key;
use hsmd_crypto::secret::Secret;
use hsmd_proto::attribute::{Attribute, Template, is_key_value};
use hsmd_proto::ck::{AttributeType as A, CertificateType, KeyType, ObjectClass, Rv};
use hsmd_proto::ids::{Hit, OperationId, UniqueId};
use hsmd_proto::meta::{KeyMeta, Usage};

use super::ObjectView;
use super::latch::{Latch, Latches, MaterialHash};
use super::material;
use super::record::Body;
use super::rules::{Shape, rule};

/// Where a key's material may be known from (DESIGN 8, "outside").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Created, unwrapped or agreed with somebody: others may know it.
    pub(crate) outside: bool,
    /// At some moment neither sensitive nor unextractable (for a pair: its private half), or made under `legacy`.
    pub(crate) readable: bool,
}

impl Origin {
    pub(crate) const fn bits(self) -> u8 {
        self.outside as u8 | (self.readable as u8) << 1
    }

    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self {
            outside: bits & 1 != 0,
            readable: bits & 2 != 0,
        }
    }

    /// Whether the material may wrap sensitive keys without the SO's word.
    pub(crate) const fn inside(self) -> bool {
        !self.outside && !self.readable
    }
}

/// The key values of an object, each wiped when dropped.
#[derive(Debug, Default)]
pub(crate) struct Values(pub(crate) Vec<(A, Secret)>);

impl Values {
    pub(crate) fn get(&self, attribute: A) -> Option<&Secret> {
        self.0
            .iter()
            .find(|(known, _)| *known == attribute)
            .map(|(_, value)| value)
    }
}

/// What an object is made of.
pub(crate) struct Parts {
    pub(crate) id: UniqueId,
    pub(crate) version: u64,
    pub(crate) sequence: u64,
    pub(crate) operation: OperationId,
    pub(crate) origin: Origin,
    pub(crate) held: Usage,
    pub(crate) request: [u8; 32],
    pub(crate) material: Option<MaterialHash>,
    pub(crate) attributes: Arc<Template>,
    pub(crate) values: Arc<Values>,
    pub(crate) key: Arc<OnceLock<Result<Key, Rv>>>,
}

impl Parts {
    /// Those of an object that is no key and was made by nobody.
    pub(crate) fn bare(id: UniqueId, attributes: Template) -> Self {
        Self {
            id,
            version: 1,
            sequence: 0,
            operation: OperationId(id.0),
            origin: Origin::default(),
            held: Usage::default(),
            request: [0; 32],
            material: None,
            attributes: Arc::new(attributes),
            values: Arc::default(),
            key: Arc::default(),
        }
    }
}

/// A token or session object.
pub(crate) struct Object {
    parts: Parts,
    shape: Shape,
    private: bool,
    meta: Option<KeyMeta>,
    /// `meta` with the latch, made when the latch is first met.
    latched: OnceLock<KeyMeta>,
    latch: Option<Arc<Latch>>,
}

impl std::ops::Deref for Object {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Object {
    /// Puts an object together; `None` if the attributes are no object that this build has.
    pub(crate) fn new(parts: Parts, latches: &Latches) -> Option<Self> {
        let attributes = &parts.attributes;
        let number = |attribute| attributes.get(attribute).and_then(Attribute::as_ulong);
        let class = ObjectClass(number(A::CLASS)?);
        let certificate = number(A::CERTIFICATE_TYPE).map(CertificateType);
        let shape = match Shape::of_other(class, certificate) {
            Some(shape) => shape,
            None => Shape::of_key(class, KeyType(number(A::KEY_TYPE)?)).ok()?,
        };
        // INV-1: views show all attributes; a record that has a key value among them is none of ours.
        if attributes.0.iter().any(|entry| is_key_value(class, entry.attribute)) {
            return None;
        }
        let meta = if shape.is_key() {
            Some(KeyMeta::from_template(attributes, false)?)
        } else {
            None
        };
        let private = flag(attributes, A::PRIVATE);
        let latch = parts.material.map(|material| latches.cell(material));
        Some(Self {
            parts,
            shape,
            private,
            meta,
            latched: OnceLock::new(),
            latch,
        })
    }

    /// From a record or a blob.
    pub(crate) fn from_body(
        id: UniqueId,
        (version, sequence, operation): (u64, u64, OperationId),
        body: Body,
        latches: &Latches,
    ) -> Option<Self> {
        let hash = latches.translate(body.material, || own_material(&body));
        let parts = Parts {
            id,
            version,
            sequence,
            operation,
            origin: body.origin,
            held: body.held,
            request: body.request,
            material: hash,
            attributes: Arc::new(body.attributes),
            values: Arc::new(body.values),
            key: Arc::default(),
        };
        Self::new(parts, latches)
    }

    /// The parts of the next version, to be changed and put together again. The opened key goes along.
    pub(crate) fn successor(&self, operation: OperationId) -> Parts {
        Parts {
            id: self.id,
            version: self.version + 1,
            sequence: self.sequence,
            operation,
            origin: self.origin,
            held: self.held,
            request: self.request,
            material: self.material,
            attributes: Arc::clone(&self.attributes),
            values: Arc::clone(&self.values),
            key: Arc::clone(&self.key),
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn class(&self) -> ObjectClass {
        self.shape.class()
    }

    pub(crate) fn private(&self) -> bool {
        self.private
    }

    /// What a search tells of it.
    pub(crate) fn hit(&self) -> Hit {
        Hit {
            id: self.id,
            private: self.private,
        }
    }

    pub(crate) fn flag(&self, attribute: A) -> bool {
        flag(&self.attributes, attribute)
    }

    /// A private or secret key whose value does not leave in clear.
    pub(crate) fn sensitive(&self) -> bool {
        self.flag(A::SENSITIVE)
    }

    /// Whether the material has wrapped a sensitive key.
    pub(crate) fn wrapping(&self) -> bool {
        self.latch.as_ref().is_some_and(|latch| latch.wrapping())
    }

    /// What Init needs; `None`: it is no key. `latches`: whether the policy knows the latch.
    pub(crate) fn meta(&self, latches: bool) -> Option<&KeyMeta> {
        let meta = self.meta.as_ref()?;
        if latches && self.wrapping() {
            return Some(self.latched.get_or_init(|| KeyMeta {
                wrapping: true,
                ..meta.clone()
            }));
        }
        Some(meta)
    }

    /// The key, ready to use; opened once for all versions of the object.
    ///
    /// # Errors
    /// `CKR_DEVICE_ERROR` for a record whose key does not open, which its creation had checked.
    pub(crate) fn key(&self) -> Result<&Key, Rv> {
        let open = || {
            let material = material::of(self.shape, &self.attributes, &self.values).map_err(|_| Rv::DEVICE_ERROR)?;
            Key::open(&material).map_err(|_| Rv::DEVICE_ERROR)
        };
        self.parts.key.get_or_init(open).as_ref().map_err(|rv| *rv)
    }

    /// An attribute that is no key value: one that is stored, or what origin and latch say now.
    pub(crate) fn shown(&self, attribute: A) -> Option<&[u8]> {
        const ORIGINS: [[u8; 8]; 4] = [
            0_u64.to_le_bytes(),
            1_u64.to_le_bytes(),
            2_u64.to_le_bytes(),
            3_u64.to_le_bytes(),
        ];
        match attribute {
            A::HSMD_ORIGIN if self.shape.is_key() => {
                ORIGINS.get(usize::from(self.origin.bits())).map(<[u8; 8]>::as_slice)
            }
            A::HSMD_WRAPPING if self.shape.is_key() => Some(if self.wrapping() { &[1] } else { &[0] }),
            _ => self.attributes.value(attribute),
        }
    }

    /// One attribute as C_GetAttributeValue answers it.
    ///
    /// # Errors
    /// `CKR_ATTRIBUTE_TYPE_INVALID` for an attribute that the object does not have, `CKR_ATTRIBUTE_SENSITIVE` for a key
    /// value that does not leave.
    pub(crate) fn attribute(&self, attribute: A) -> Result<Attribute, Rv> {
        if rule(self.shape, attribute).is_none() {
            return Err(Rv::ATTRIBUTE_TYPE_INVALID);
        }
        if !is_key_value(self.class(), attribute) {
            let shown = self.shown(attribute).ok_or(Rv::ATTRIBUTE_TYPE_INVALID)?;
            return Ok(Attribute::bytes(attribute, shown));
        }
        // INV-1: the one door by which a key value leaves in clear.
        if self.sensitive() || !self.flag(A::EXTRACTABLE) {
            return Err(Rv::ATTRIBUTE_SENSITIVE);
        }
        let value = self.values.get(attribute).ok_or(Rv::ATTRIBUTE_TYPE_INVALID)?;
        Ok(Attribute::bytes(attribute, value.expose()))
    }

    /// What the module may know of it.
    pub(crate) fn view(&self, blob: Vec<u8>, latches: bool) -> ObjectView {
        ObjectView {
            id: self.id,
            blob,
            version: self.version,
            wrapping: latches && self.wrapping(),
            attributes: Arc::clone(&self.attributes),
        }
    }
}

/// The material of a stored key, in the form in which it is hashed: the public half of a private key on a curve.
fn own_material(body: &Body) -> Option<hsmd_crypto::Material> {
    let number = |attribute| body.attributes.get(attribute).and_then(Attribute::as_ulong);
    let shape = Shape::of_key(ObjectClass(number(A::CLASS)?), KeyType(number(A::KEY_TYPE)?)).ok()?;
    let shape = match shape {
        Shape::RsaPrivate => Shape::RsaPublic,
        Shape::EcPrivate => Shape::EcPublic,
        Shape::EdPrivate => Shape::EdPublic,
        Shape::MontgomeryPrivate => Shape::MontgomeryPublic,
        other => other,
    };
    material::of(shape, &body.attributes, &body.values).ok()
}

fn flag(attributes: &Template, attribute: A) -> bool {
    attributes.value(attribute) == Some(&[1])
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Object({}, {:?}, version {})", self.id, self.shape, self.version)
    }
}
