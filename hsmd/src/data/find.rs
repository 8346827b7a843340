//! C_FindObjects: all ids of the hits in one reply, the first ones with their attributes.

use super::call::{Answer, Call, unique_ids};
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::UniqueId;
use hsmd_proto::wire::{self, reply};

/// So many objects come with their attributes: libraries read several attributes of each key that they find.
const WITH_ATTRIBUTES: usize = 64;
/// The most objects that one request may fetch.
const MAX_FETCH: usize = 256;
/// So many ids lie in the body; further ones go into the section, which has no such bound.
const IDS_IN_BODY: usize = 4096;
/// What is kept free in a body for objects.
const ROOM: usize = 256 << 10;

pub(super) fn find(call: &mut Call<'_>, request: &wire::Find) -> Answer {
    let template = call.template(&request.template)?;
    let key_set = call.key_set()?;
    let ids = key_set.find(&call.context, &template)?;
    let first = &ids[..ids.len().min(WITH_ATTRIBUTES)];
    let views = key_set.views(&call.context, first);
    let objects = fitting(call, &views);
    let (first, more) = ids.split_at(ids.len().min(IDS_IN_BODY));
    let bytes = |ids: &[UniqueId]| ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>();
    let more_ids = (!more.is_empty()).then(|| call.writer.hide(&bytes(more)));
    Ok(Some(reply::Result::Find(wire::FindReply {
        unique_ids: bytes(first),
        objects,
        more_ids,
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
