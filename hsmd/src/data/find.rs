//! C_FindObjects: all ids of the hits in one reply, the first ones with their attributes.

use super::call::{Answer, Call, unique_ids};
use hsmd_proto::ck::Rv;
use hsmd_proto::frame::MAX_BODY;
use hsmd_proto::wire::{self, reply};

/// So many objects come with their attributes: libraries read several attributes of each key that they find.
const WITH_ATTRIBUTES: usize = 64;
/// The most objects that one request may fetch.
const MAX_FETCH: usize = 256;
/// The most ids that fit a body beside the first objects.
const MAX_IDS: usize = (MAX_BODY - ROOM) / 16;
/// What is kept free in a body for objects.
const ROOM: usize = 256 << 10;

pub(super) fn find(call: &mut Call<'_>, request: &wire::Find) -> Answer {
    let template = call.template(&request.template)?;
    let key_set = call.key_set()?;
    let mut ids = key_set.find(&call.context, &template)?;
    // 49,152 hits; more do not fit one reply.
    ids.truncate(MAX_IDS);
    let first = &ids[..ids.len().min(WITH_ATTRIBUTES)];
    let views = key_set.views(&call.context, first);
    let objects = fitting(call, &views);
    Ok(Some(reply::Result::Find(wire::FindReply {
        unique_ids: ids.iter().flat_map(|id| id.0).collect(),
        objects,
    })))
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
