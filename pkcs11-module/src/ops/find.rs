//! C_FindObjectsInit, C_FindObjects, C_FindObjectsFinal: a snapshot taken in one request, paged here (DESIGN 5, "Find").

use super::request::Asker;
use crate::abi::pointers::RawPage;
use crate::abi::template::RawTemplate;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::object::{Object, View};
use crate::state::operation::Search;
use crate::state::session::Session;
use crate::state::slot::Slot;
use crate::transport::Failure;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::attribute::Template;
use hsmd_proto::ck::{AttributeType, Rv};
use hsmd_proto::convert::template_to_wire;
use hsmd_proto::frame::Sections;
use hsmd_proto::ids::{Hit, UniqueId};
use hsmd_proto::wire::{self, reply, request};
use std::sync::Arc;

/// C_FindObjectsInit (PKCS#11 3.2, 5.7.7).
pub(crate) fn init(instance: &Instance, session: CK_SESSION_HANDLE, template: &RawTemplate<'_>) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let template = template.parse()?;
    let mut operations = lock(&session.operations);
    if operations.search.is_some() {
        return Err(Rv::OPERATION_ACTIVE);
    }
    let slot = &session.slot;
    let epoch = slot.login().map(|_| slot.epoch());
    let mut search = Search::new(Arc::clone(slot), epoch);
    let token = template.boolean(AttributeType::TOKEN).ok().flatten();
    if token != Some(true) {
        search.session_objects.extend(matching(slot, &template));
    }
    if token != Some(false) {
        search.token_objects.extend(ask(instance, &session, &template)?);
    }
    operations.search = Some(search);
    Ok(())
}

/// Session objects that match, by the function that the daemon uses too. Private ones need the user's login.
fn matching(slot: &Slot, template: &Template) -> Vec<Arc<Object>> {
    let user = slot.user_logged_in();
    let fits = |object: &Arc<Object>| {
        object.view().is_some_and(|view| {
            let visible = user || !view.flag(AttributeType::PRIVATE);
            visible && template.matches(view.class(), |attribute| view.attributes.value(attribute))
        })
    };
    slot.objects.of_sessions().into_iter().filter(fits).collect()
}

/// Asks for token objects; what the reply tells of the first ones is kept.
fn ask(instance: &Instance, session: &Session, template: &Template) -> Result<Vec<Hit>, Rv> {
    let (hits, views) = Asker::session(instance, session).call(
        |writer| {
            request::Op::Find(wire::Find {
                template: template_to_wire(template, writer),
            })
        },
        |result, sections| match result {
            Some(reply::Result::Find(found)) => read(found, sections),
            None => Ok((Vec::new(), Vec::new())),
            _ => Err(Failure::Lost),
        },
    )?;
    for (id, view) in views {
        session.slot.objects.intern_view(&instance.handles, id, view, None);
    }
    Ok(hits)
}

/// All hits, and what came along of some of them.
type Found = (Vec<Hit>, Vec<(UniqueId, View)>);

fn read(found: wire::FindReply, sections: &Sections<'_>) -> Result<Found, Failure> {
    let more = sections.get_opt(found.more_hits.as_ref()).map_err(|_| Failure::Lost)?;
    let (hits, rest) = found.hits.as_chunks::<{ Hit::BYTES }>();
    let (more, rest_of_more) = more.unwrap_or_default().as_chunks::<{ Hit::BYTES }>();
    if !rest.is_empty() || !rest_of_more.is_empty() || found.objects.len() > hits.len() {
        return Err(Failure::Lost);
    }
    let views: Vec<_> = found
        .objects
        .into_iter()
        .map(|object| View::from_wire(object, sections))
        .collect::<Result<_, _>>()?;
    // Token objects only: a blob would make one immortal here.
    if views.iter().any(|(_, view)| !view.blob.is_empty()) {
        return Err(Failure::Lost);
    }
    Ok((hits.iter().chain(more).map(Hit::from_bytes).collect(), views))
}

/// C_FindObjects: never a request. What was destroyed since, and what a logout hid, is skipped.
pub(crate) fn next(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    out: &RawPage<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let place = &mut lock(&session.operations).search;
    let room = out.room()?;
    let search = place.as_mut().ok_or(Rv::OPERATION_NOT_INITIALIZED)?;
    let slot = &session.slot;
    if search.epoch.is_some_and(|epoch| epoch != slot.epoch()) {
        // The snapshot was taken under a login that is over: its private objects must not get handles again.
        search.token_objects.retain(|hit| !hit.private);
    }
    let mut page = Vec::new();
    while page.len() < room {
        if let Some(object) = search.session_objects.pop_front() {
            if !object.is_destroyed() {
                page.push(object.handle.0);
            }
        } else if let Some(hit) = search.token_objects.pop_front() {
            if !slot.objects.is_buried(hit.id) {
                page.push(slot.objects.intern(&instance.handles, hit).handle.0);
            }
        } else {
            break;
        }
    }
    out.put(&page)
}

/// C_FindObjectsFinal.
pub(crate) fn finish(instance: &Instance, session: CK_SESSION_HANDLE) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let search = lock(&session.operations).search.take();
    search.map(drop).ok_or(Rv::OPERATION_NOT_INITIALIZED)
}
