//! One C_Initialize: configuration, connections, slots, sessions.

use super::object::{Handles, SessionHandle};
use super::session::Session;
use super::slot::Slot;
use super::{lock, read, write};
use crate::config::Config;
use crate::local;
use crate::transport::Failure;
use crate::transport::pool::{Pool, Tries};
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::ApplicationId;
use hsmd_proto::wire::{self, reply, request};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, RwLock};

/// The most slots that a daemon may list.
const MOST_SLOTS: usize = 4096;

/// Everything between C_Initialize and C_Finalize.
pub(crate) struct Instance {
    /// Connections.
    pub(crate) pool: Pool,
    /// Handles of sessions and objects.
    pub(crate) handles: Handles,
    sessions: RwLock<HashMap<SessionHandle, Arc<Session>>>,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    /// Whether the daemon was ever asked with success.
    known: bool,
    /// What C_GetSlotList shows, in ascending order.
    listed: BTreeMap<u32, Arc<Slot>>,
    /// Slots that were taken from this client while it had them: sessions on them go on to be refused by the daemon.
    retired: BTreeMap<u32, Arc<Slot>>,
}

impl Instance {
    /// Reads the configuration. No I/O to the daemon: initialising works without one (DESIGN 5, "Daemon absent").
    ///
    /// # Errors
    /// `CKR_GENERAL_ERROR` for a client file that cannot be used.
    pub(crate) fn new() -> Result<Self, Rv> {
        Self::with(Config::find().map_err(|_| Rv::GENERAL_ERROR)?)
    }

    /// With this configuration.
    ///
    /// # Errors
    /// `CKR_HOST_MEMORY` without descriptors.
    pub(crate) fn with(config: Config) -> Result<Self, Rv> {
        Ok(Self {
            pool: Pool::new(config, ApplicationId(local::random()))?,
            handles: Handles::new(),
            sessions: RwLock::default(),
            slots: Mutex::default(),
        })
    }

    /// Asks the daemon for the slots. `list` also takes new ones and drops old ones (C_GetSlotList with NULL); without
    /// it only what is known of the slots that are listed changes.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) fn refresh_slots(&self, list: bool) -> Result<(), Failure> {
        self.refresh(list, Tries::UntilDeadline)
    }

    /// The same for the slots that are listed, without waiting for a daemon that is away.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) fn look_at_slots(&self) -> Result<(), Failure> {
        let first = !lock(&self.slots).known;
        self.refresh(first, Tries::NoWaiting)
    }

    fn refresh(&self, list: bool, tries: Tries) -> Result<(), Failure> {
        let request = |_: &mut _| wire::Request {
            op: Some(request::Op::ListSlots(wire::ListSlots {})),
            ..wire::Request::default()
        };
        let found = self.pool.call(None, tries, request, &[], |result, _| match result {
            Some(reply::Result::Slots(list)) if list.slots.len() <= MOST_SLOTS => Ok(list.slots),
            // An empty message field is as good as an empty list.
            None => Ok(Vec::new()),
            _ => Err(Failure::Lost),
        })?;
        lock(&self.slots).take(found, list);
        Ok(())
    }

    /// The slots that are listed, fetched at the first use.
    ///
    /// # Errors
    /// [`Failure`] when they were never fetched.
    pub(crate) fn slots(&self) -> Result<Vec<Arc<Slot>>, Failure> {
        if !lock(&self.slots).known {
            self.refresh_slots(true)?;
        }
        Ok(self.listed())
    }

    /// The slots that were listed last, without asking.
    pub(crate) fn listed(&self) -> Vec<Arc<Slot>> {
        lock(&self.slots).listed.values().cloned().collect()
    }

    /// The slot of an id.
    ///
    /// # Errors
    /// `CKR_SLOT_ID_INVALID`; `CKR_TOKEN_NOT_PRESENT` when no daemon was ever there to tell.
    pub(crate) fn slot(&self, id: u64) -> Result<Arc<Slot>, Rv> {
        if !lock(&self.slots).known {
            self.refresh_slots(true)?;
        }
        let id = u32::try_from(id).map_err(|_| Rv::SLOT_ID_INVALID)?;
        lock(&self.slots).listed.get(&id).cloned().ok_or(Rv::SLOT_ID_INVALID)
    }

    /// Adds a session.
    pub(crate) fn add_session(&self, slot: Arc<Slot>, read_write: bool) -> Arc<Session> {
        let session = Arc::new(Session::new(SessionHandle(self.handles.next()), slot, read_write));
        write(&self.sessions).insert(session.handle, Arc::clone(&session));
        session
    }

    /// The session of a handle.
    ///
    /// # Errors
    /// `CKR_SESSION_HANDLE_INVALID`.
    pub(crate) fn session(&self, handle: u64) -> Result<Arc<Session>, Rv> {
        read(&self.sessions)
            .get(&SessionHandle(handle))
            .cloned()
            .ok_or(Rv::SESSION_HANDLE_INVALID)
    }

    /// Takes a session out; only one of several callers gets it.
    pub(crate) fn remove_session(&self, handle: SessionHandle) -> Option<Arc<Session>> {
        write(&self.sessions).remove(&handle)
    }

    /// The sessions on a slot.
    pub(crate) fn sessions_of(&self, slot: &Arc<Slot>) -> Vec<Arc<Session>> {
        read(&self.sessions)
            .values()
            .filter(|session| Arc::ptr_eq(&session.slot, slot))
            .cloned()
            .collect()
    }

    /// C_Finalize: waiting calls return, connections close, logins end (PKCS#11 3.2, 5.4.2).
    pub(crate) fn finalize(&self) {
        let slots = lock(&self.slots);
        let all = slots.listed.values().chain(slots.retired.values());
        let logins: Vec<_> = all.filter_map(|slot| Some((slot.id, slot.logged_out()?))).collect();
        drop(slots);
        self.pool.finalize(&logins);
        write(&self.sessions).clear();
    }

    /// In a forked child, on the parent's instance: see [`Pool::close_inherited`].
    pub(crate) fn close_inherited(&self) {
        self.pool.close_inherited();
    }
}

impl Slots {
    fn take(&mut self, found: Vec<wire::Slot>, list: bool) {
        let mut gone: Vec<u32> = self.listed.keys().copied().collect();
        for info in found {
            let id = info.id;
            gone.retain(|other| *other != id);
            if let Some(slot) = self.listed.get(&id) {
                slot.update(info);
            } else if list {
                // The same id is the same partition: sessions on it find their slot again.
                let slot = self
                    .retired
                    .remove(&id)
                    .unwrap_or_else(|| Arc::new(Slot::new(info.clone())));
                slot.update(info);
                self.listed.insert(id, slot);
            }
        }
        for id in gone {
            let Some(slot) = self.listed.get(&id).cloned() else {
                continue;
            };
            slot.token_leaves();
            if list {
                self.listed.remove(&id);
                self.retired.insert(id, slot);
            }
        }
        self.known |= list;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_list_call_brings_new_slots_and_a_slot_that_returns_is_the_same() {
        let info = |id| wire::Slot {
            id,
            token_present: true,
            ..wire::Slot::default()
        };
        let mut slots = Slots::default();
        slots.take(vec![info(0), info(3)], true);
        let third = Arc::clone(&slots.listed[&3]);
        slots.take(vec![info(0), info(1)], false);
        assert_eq!(slots.listed.keys().copied().collect::<Vec<_>>(), [0, 3]);
        assert!(!third.info().token_present);
        slots.take(vec![info(0), info(1)], true);
        assert_eq!(slots.listed.keys().copied().collect::<Vec<_>>(), [0, 1]);
        slots.take(vec![info(3)], true);
        assert!(Arc::ptr_eq(&third, &slots.listed[&3]) && third.info().token_present);
    }
}
