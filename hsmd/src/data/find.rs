//! C_FindObjects: all hits in one reply, the first ones with their attributes.

use super::call::{Answer, Call, unique_ids};
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::{Hit, UniqueId};
use hsmd_proto::wire::{self, reply};

/// So many objects come with their attributes: libraries read several attributes of each key that they find.
const WITH_ATTRIBUTES: usize = 64;
/// The most objects that one request may fetch.
const MAX_FETCH: usize = 256;
/// So many hits lie in the body; further ones go into the section, which has no such bound.
const HITS_IN_BODY: usize = 4096;
/// What is kept free in a body for objects.
const ROOM: usize = 256 << 10;

pub(super) fn find(call: &mut Call<'_>, request: &wire::Find) -> Answer {
    let template = call.template(&request.template)?;
    let key_set = call.key_set()?;
    let hits = key_set.find(&call.context, &template)?;
    let first: Vec<UniqueId> = hits.iter().take(WITH_ATTRIBUTES).map(|hit| hit.id).collect();
    let views = key_set.views(&call.context, &first);
    let objects = fitting(call, &views);
    let (first, more) = hits.split_at(hits.len().min(HITS_IN_BODY));
    let more_hits = (!more.is_empty()).then(|| call.writer.hide(&bytes(more)));
    Ok(Some(reply::Result::Find(wire::FindReply {
        hits: bytes(first),
        objects,
        more_hits,
    })))
}

fn bytes(hits: &[Hit]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(hits.len() * Hit::BYTES);
    for hit in hits {
        bytes.extend_from_slice(&hit.to_bytes());
    }
    bytes
}

pub(super) fn fetch(call: &mut Call<'_>, request: &wire::Fetch) -> Answer {
    let ids = unique_ids(&request.unique_ids)?;
    if ids.len() > MAX_FETCH {
        return Err(Rv::ARGUMENTS_BAD);
    }
    let views = call.key_set()?.views(&call.context, &ids);
    let objects = fitting(call, &views);
    Ok(Some(reply::Result::Objects(wire::ObjectList { objects })))
}

/// As many objects as have room in a body; the module fetches the others by and by.
fn fitting(call: &mut Call<'_>, views: &[hsmd_keystore::ObjectView]) -> Vec<wire::Object> {
    use prost::Message as _;
    let mut room = ROOM;
    let mut objects = Vec::with_capacity(views.len());
    for view in views {
        let object = call.object(view);
        let size = object.encoded_len() + 8;
        if size > room && !objects.is_empty() {
            break;
        }
        room = room.saturating_sub(size);
        objects.push(object);
    }
    objects
}
