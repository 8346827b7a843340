//! One request on its way through a handler: who asks, on which slot, with which login, and where the answer goes.

use super::clients::Peer;
use crate::node::Node;
use crate::slots::Slot;
use hsmd_keystore::{Context, KeySet};
use hsmd_keystore::{ObjectRef, ObjectView};
use hsmd_proto::attribute::Template;
use hsmd_proto::ck::Rv;
use hsmd_proto::convert;
use hsmd_proto::frame::{FrameWriter, Sections};
use hsmd_proto::ids::{OperationId, SlotId, UniqueId};
use hsmd_proto::wire::{self, Section, reply};
use std::sync::Arc;

/// What a handler answers.
pub(super) type Answer = Result<Option<reply::Result>, Rv>;

/// A request in work.
pub(super) struct Call<'a> {
    pub(super) node: &'a Node,
    /// Who asks; what it sees is asked of [`crate::slots::Slots::seen`] and `list` only.
    pub(super) peer: &'a Peer,
    pub(super) context: Context,
    pub(super) slot: SlotId,
    pub(super) sections: Sections<'a>,
    pub(super) writer: &'a mut FrameWriter,
}

impl<'a> Call<'a> {
    /// The slot, if the peer sees it.
    pub(super) fn slot(&self) -> Result<Arc<Slot>, Rv> {
        self.node.slots.seen(self.peer, self.slot).ok_or(Rv::SLOT_ID_INVALID)
    }

    /// The key set behind the slot.
    pub(super) fn key_set(&self) -> Result<Arc<KeySet>, Rv> {
        self.slot()?.key_set.clone().ok_or(Rv::TOKEN_NOT_PRESENT)
    }

    /// Bytes that must be there.
    pub(super) fn section(&self, range: Option<&Section>) -> Result<&'a [u8], Rv> {
        self.sections
            .get_opt(range)
            .map_err(|_| Rv::ARGUMENTS_BAD)?
            .ok_or(Rv::ARGUMENTS_BAD)
    }

    /// Bytes that may be absent: no data is data of no length.
    pub(super) fn data(&self, range: Option<&Section>) -> Result<&'a [u8], Rv> {
        let data = self.sections.get_opt(range).map_err(|_| Rv::ARGUMENTS_BAD)?;
        Ok(data.unwrap_or_default())
    }

    /// Attributes of the request.
    pub(super) fn template(&self, attributes: &[wire::Attribute]) -> Result<Template, Rv> {
        convert::template_from_wire(attributes, &self.sections)
    }

    /// Puts the output of an operation into the reply.
    pub(super) fn output(&mut self, bytes: &[u8]) -> Answer {
        Ok(Some(reply::Result::Output(self.writer.hide(bytes))))
    }

    /// Puts an object into the reply: everything but key values (INV-1, kept by `keystore`).
    pub(super) fn object(&mut self, view: &ObjectView) -> wire::Object {
        wire::Object {
            unique_id: view.id.0.to_vec(),
            blob: view.blob.clone(),
            version: view.version,
            wrapping: view.wrapping,
            attributes: convert::template_to_wire(&view.attributes, self.writer),
        }
    }
}

/// The object that a request names.
pub(super) fn object_ref(reference: Option<&wire::ObjectRef>) -> Result<ObjectRef<'_>, Rv> {
    let reference = reference.ok_or(Rv::ARGUMENTS_BAD)?;
    Ok(ObjectRef {
        id: unique_id(&reference.unique_id)?,
        blob: (!reference.blob.is_empty()).then_some(reference.blob.as_slice()),
    })
}

/// An id that the client chose or names.
pub(super) fn unique_id(bytes: &[u8]) -> Result<UniqueId, Rv> {
    UniqueId::from_slice(bytes).ok_or(Rv::ARGUMENTS_BAD)
}

/// The id of a write (INV-10).
pub(super) fn operation_id(bytes: &[u8]) -> Result<OperationId, Rv> {
    OperationId::from_slice(bytes).ok_or(Rv::ARGUMENTS_BAD)
}

/// Many ids, 16 bytes each.
pub(super) fn unique_ids(bytes: &[u8]) -> Result<Vec<UniqueId>, Rv> {
    let (ids, rest) = bytes.as_chunks::<16>();
    if rest.is_empty() {
        Ok(ids.iter().map(|id| UniqueId(*id)).collect())
    } else {
        Err(Rv::ARGUMENTS_BAD)
    }
}
