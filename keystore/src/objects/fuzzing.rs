//! The part of the fuzz targets' doors that reads objects; see `crate::fuzzing`.

use hsmd_crypto::secret::Secret;
use hsmd_proto::attribute::Template;
use hsmd_proto::ck::{AttributeType, ObjectClass};
use hsmd_proto::ids::{OperationId, UniqueId};
use hsmd_proto::meta::Usage;
use hsmd_proto::wipe::WipingVec;

use super::object::{Object, Origin, Values};
use super::record::{Body, Content, Envelope, Tombstone, encode_body};
use super::session;
use crate::caller::Context;
use crate::core::Core;
use crate::key_set::KeySet;

/// Reads an envelope, and what it reads once more.
pub(crate) fn envelope(data: &[u8]) {
    if let Some(envelope) = Envelope::decode(data) {
        assert!(Envelope::decode(&envelope.encode()).is_some(), "an envelope reads back");
    }
}

/// Reads a tombstone, and what it reads once more.
pub(crate) fn tombstone(data: &[u8]) {
    if let Some(tombstone) = Tombstone::decode(data) {
        assert_eq!(Tombstone::decode(&tombstone.encode()), Some(tombstone));
    }
}

/// Reads a body, makes the object of it and opens its key.
pub(crate) fn body(data: &[u8], core: &Core) {
    let Some(mut body) = Body::decode(data) else { return };
    // Latches are looked up in the store's cache, which grows with each hash that it has not met.
    body.material = None;
    let place = (1, 1, OperationId([1; 16]));
    let Some(object) = Object::from_body(UniqueId([1; 16]), place, body, &core.latches) else {
        return;
    };
    // Numbers that make no key are an answer like any other.
    let _ = object.key().map(|key| key.size());
    for latches in [false, true] {
        let view = object.view(Vec::new(), latches);
        // INV-1: whatever the record says, a view has no key value.
        let class = object.class();
        let leaks = view
            .attributes
            .0
            .iter()
            .any(|entry| hsmd_proto::attribute::is_key_value(class, entry.attribute));
        assert!(!leaks, "a view holds a key value");
    }
}

/// Whether a blob opens that nobody has sealed.
pub(crate) fn session_blob(key_set: &KeySet, context: &Context, id: &UniqueId, blob: &[u8]) -> bool {
    session::open(key_set, context, id, blob).is_ok()
}

/// Reads what may stand in the sealed state of a digest.
pub(crate) fn digest_state(data: &[u8]) {
    super::digest::fuzzing(data);
}

/// The state of a digest that absorbed one key.
pub(crate) fn digest_states() -> Vec<Vec<u8>> {
    let kinds = [
        (1, hsmd_proto::ck::MechanismType::SHA256),
        (3, hsmd_proto::ck::MechanismType::SHA3_256),
    ];
    let state = |(kind, mechanism): (u8, _)| {
        let state = hsmd_crypto::digest::Digest::new(mechanism)?.state()?;
        Some([&[kind, 1][..], &[7; 16], &[3], &[8; 32], &state].concat())
    };
    kinds.into_iter().filter_map(state).collect()
}

/// A body of these attributes and one value.
pub(crate) fn encoded_body(attributes: &Template, kind: AttributeType, value: Secret, held: Usage) -> WipingVec {
    let values = Values(vec![(kind, value)]);
    encode_body(Origin::default(), held, None, &[9; 32], attributes, &values)
}

/// An envelope around a body.
pub(crate) fn encoded_envelope(body: &[u8]) -> WipingVec {
    let envelope = Envelope {
        id: UniqueId([1; 16]),
        operation: OperationId([2; 16]),
        sequence: 3,
        class: ObjectClass::SECRET_KEY,
        content: Content::Public(WipingVec::from(body)),
        join: None,
        sealed_at: Some(5),
    };
    envelope.encode()
}

/// A tombstone.
pub(crate) fn encoded_tombstone() -> WipingVec {
    let tombstone = Tombstone {
        id: UniqueId([1; 16]),
        operation: OperationId([2; 16]),
        destroyed: 4,
    };
    tombstone.encode()
}
