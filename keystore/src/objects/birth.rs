//! How an object is made: a draft (template and defaults) and, for keys, its material become an [`Object`] with the attributes
//! that the token computes. The same for create, generate, unwrap and derive; what differs is a [`Birth`].

use std::sync::{Arc, OnceLock};

use hsmd_crypto::digest;
use hsmd_crypto::seal::sha256;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Key, Material};
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, KeyType, MechanismType, ObjectClass, Rv};
use hsmd_proto::convert::mechanism_to_wire;
use hsmd_proto::ids::{OperationId, UniqueId};
use hsmd_proto::params::Mechanism;
use hsmd_proto::policy::Policy;
use hsmd_proto::wipe::WipingVec;
use prost::Message;

use super::commit::ANSWER;
use super::latch::Latches;
use super::object::{Object, Origin, Parts, Values};
use super::rules::{Draft, Shape, Shapes};
use super::{material, policy};

/// CK_UNAVAILABLE_INFORMATION: the generation mechanism of a key that was not generated here.
const UNAVAILABLE: u64 = u64::MAX;

/// Where an object comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    pub(crate) id: UniqueId,
    pub(crate) sequence: u64,
    /// Hash of the request, to know a retry by (INV-10).
    pub(crate) request: [u8; 32],
    /// The generation mechanism: the key is local.
    pub(crate) mechanism: Option<MechanismType>,
    pub(crate) origin: Origin,
    /// The value was sensitive so far: CKA_ALWAYS_SENSITIVE may be true.
    pub(crate) always_sensitive: bool,
    /// The value was unextractable so far.
    pub(crate) never_extractable: bool,
}

impl Birth {
    /// Of what was created, unwrapped, agreed or encapsulated: neither made here nor always sensitive, whatever the template says
    /// (A21).
    pub(crate) const fn outside(id: UniqueId, sequence: u64, request: [u8; 32]) -> Self {
        Self {
            id,
            sequence,
            request,
            mechanism: None,
            origin: Origin {
                outside: true,
                readable: false,
            },
            always_sensitive: false,
            never_extractable: false,
        }
    }
}

/// A key's material with the key that was opened of it.
pub(crate) struct Substance {
    pub(crate) material: Material,
    pub(crate) key: Key,
}

impl Substance {
    /// Opens material that came from outside.
    ///
    /// # Errors
    /// As [`material::open`].
    pub(crate) fn check(shape: Shape, material: Material, policy: Policy) -> Result<Self, Rv> {
        let key = material::open(shape, &material, policy)?;
        Ok(Self { material, key })
    }
}

/// Makes a key.
///
/// # Errors
/// `CKR_TEMPLATE_INCONSISTENT` and the like when the template names what the token computes, with another value.
pub(crate) fn key(
    latches: &Latches,
    policy: Policy,
    draft: Draft,
    key_type: KeyType,
    substance: Substance,
    birth: Birth,
) -> Result<Object, Rv> {
    key_with(latches, policy, draft, (key_type, substance), birth, None)
}

/// As [`key`], with an answer to be kept for a retry.
///
/// # Errors
/// As [`key`].
pub(crate) fn key_with(
    latches: &Latches,
    policy: Policy,
    mut draft: Draft,
    (key_type, substance): (KeyType, Substance),
    birth: Birth,
    answer: Option<Secret>,
) -> Result<Object, Rv> {
    let Substance { material, key } = substance;
    draft.agree(Attribute::ulong(A::CLASS, draft.shape.class().0))?;
    draft.agree(Attribute::ulong(A::KEY_TYPE, key_type.0))?;
    material::describe(&mut draft, key_type, &material, &key)?;
    draft.put(Attribute::boolean(A::LOCAL, birth.mechanism.is_some()));
    draft.put(Attribute::ulong(
        A::KEY_GEN_MECHANISM,
        birth.mechanism.map_or(UNAVAILABLE, |kind| kind.0),
    ));
    let mut origin = birth.origin;
    if draft.shape.class() != ObjectClass::PUBLIC_KEY {
        let (sensitive, extractable) = (draft.flag(A::SENSITIVE), draft.flag(A::EXTRACTABLE));
        draft.put(Attribute::boolean(
            A::ALWAYS_SENSITIVE,
            sensitive && birth.always_sensitive,
        ));
        draft.put(Attribute::boolean(
            A::NEVER_EXTRACTABLE,
            !extractable && birth.never_extractable,
        ));
        origin.readable |= !sensitive && extractable;
    }
    // `legacy` has no latch: what was made under it may be known outside, should the policy be tightened later.
    origin.readable |= !policy.latches();
    let held = policy::usage(&draft.attributes);
    policy::roles_agree(policy, held)?;
    let public = key.public();
    let hash = latches.hash(
        public
            .as_ref()
            .filter(|_| !matches!(material, Material::Secret(_)))
            .unwrap_or(&material),
    );
    let opened = Arc::new(OnceLock::new());
    let _ = opened.set(Ok(key));
    let mut values = material::values(&material);
    values.0.extend(answer.map(|answer| (ANSWER, answer)));
    let parts = Parts {
        origin,
        held,
        material: hash,
        values: Arc::new(values),
        key: opened,
        ..unfinished(draft, birth)
    };
    Object::new(parts, latches).ok_or(Rv::ATTRIBUTE_VALUE_INVALID)
}

/// Makes an object that is no key.
///
/// # Errors
/// `CKR_TEMPLATE_INCOMPLETE` for a certificate without value, `CKR_ATTRIBUTE_VALUE_INVALID` for one that is not X.509.
pub(crate) fn data(latches: &Latches, mut draft: Draft, birth: Birth) -> Result<Object, Rv> {
    if Shapes::CERTIFICATES.has(draft.shape) {
        complete_certificate(&mut draft)?;
    }
    Object::new(unfinished(draft, birth), latches).ok_or(Rv::ATTRIBUTE_VALUE_INVALID)
}

/// The value, or where it is found (an attribute certificate has its value); the check value is the start of the value's SHA-1,
/// one that the template names is right or empty (PKCS#11 3.2, 4.6).
fn complete_certificate(draft: &mut Draft) -> Result<(), Rv> {
    let value = draft.attributes.value(A::VALUE).unwrap_or_default();
    if value.is_empty() && draft.attributes.value(A::URL).is_none_or(<[u8]>::is_empty) {
        return Err(Rv::TEMPLATE_INCOMPLETE);
    }
    let hash = digest::hash(MechanismType::SHA_1, value).unwrap_or_default();
    let check = hash.get(..3).filter(|_| !value.is_empty());
    match (draft.attributes.value(A::CHECK_VALUE), check) {
        (None, Some(check)) => draft.put(Attribute::bytes(A::CHECK_VALUE, check)),
        (Some(named), Some(check)) if !named.is_empty() && named != check => return Err(Rv::ATTRIBUTE_VALUE_INVALID),
        _ => {}
    }
    Ok(())
}

fn unfinished(mut draft: Draft, birth: Birth) -> Parts {
    draft.put(Attribute::bytes(A::UNIQUE_ID, birth.id.to_string().as_bytes()));
    Parts {
        id: birth.id,
        version: 1,
        sequence: birth.sequence,
        operation: OperationId(birth.id.0),
        origin: birth.origin,
        held: Default::default(),
        request: birth.request,
        material: None,
        attributes: Arc::new(draft.attributes),
        values: Arc::new(Values::default()),
        key: Arc::default(),
    }
}

/// The class that a template names.
///
/// # Errors
/// `CKR_ATTRIBUTE_VALUE_INVALID` for one of the wrong form.
pub(crate) fn class_of(template: &Template) -> Result<Option<ObjectClass>, Rv> {
    Ok(template.ulong(A::CLASS)?.map(ObjectClass))
}

/// The key type that a template names.
///
/// # Errors
/// `CKR_ATTRIBUTE_VALUE_INVALID` for one of the wrong form.
pub(crate) fn key_type_of(template: &Template) -> Result<Option<KeyType>, Rv> {
    Ok(template.ulong(A::KEY_TYPE)?.map(KeyType))
}

/// The hash of a request that makes an object: a retry has the same one (INV-10). Kept where the object's own values are kept.
pub(crate) fn fingerprint(
    kind: &str,
    mechanism: Option<&Mechanism>,
    others: &[&[u8]],
    templates: &[&Template],
) -> [u8; 32] {
    let mechanism = mechanism
        .map(|mechanism| mechanism_to_wire(mechanism).encode_to_vec())
        .unwrap_or_default();
    let entries = || templates.iter().flat_map(|template| &template.0);
    let words = 2 * (2 + others.len()) + 2 * templates.len() + entries().count() * 3;
    let bytes =
        entries().map(|entry| entry.value.len()).sum::<usize>() + others.iter().map(|other| other.len()).sum::<usize>();
    // A template of C_CreateObject holds key values: what they are gathered in is wiped, and does not grow.
    let mut parts = WipingVec::with_capacity(words * 8 + kind.len() + mechanism.len() + bytes);
    let mut part = |bytes: &[u8]| {
        parts.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        parts.extend_from_slice(bytes);
    };
    part(kind.as_bytes());
    part(&mechanism);
    others.iter().for_each(|other| part(other));
    for template in templates {
        part(&(template.0.len() as u64).to_le_bytes());
    }
    for entry in entries() {
        part(&entry.attribute.0.to_le_bytes());
        part(&entry.value);
    }
    sha256(&[&parts])
}
