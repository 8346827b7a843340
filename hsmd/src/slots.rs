//! Slots: what an application sees of partitions, and of groups as virtual slots. A slot's id is allotted once, in the
//! record of the partition or group ([`crate::control`]), and never used again; this is only the view of it that requests
//! read without a lock. Who sees which is computed with it, from the assignments of clients.

use crate::data::{Access, Peer};
use arc_swap::ArcSwap;
use hsmd_keystore::{Identity, KeySet, TokenState};
use hsmd_proto::ids::{KeySetId, SlotId};
use hsmd_proto::policy::Policy;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// One slot.
pub struct Slot {
    /// Small, ascending with creation.
    pub id: SlotId,
    /// The partition's serial: six digits of the HSM and three of its own. Of a virtual slot the group's ten digits.
    pub serial: String,
    /// The HSM's id; empty for a virtual slot.
    pub hsm: String,
    /// The group's id if this is its virtual slot.
    pub group: Option<String>,
    /// The policy, as the record says.
    pub policy: Policy,
    /// The uninitialised partition that `free_slot` offers.
    pub free: bool,
    /// Where the keys live; `None` while the HSM is suspended (for a virtual slot: those of all members) or the key set
    /// cannot be trusted: no token.
    pub key_set: Option<Arc<KeySet>>,
}

impl Slot {
    /// Whether this is the slot of a group.
    #[must_use]
    pub const fn is_virtual(&self) -> bool {
        self.group.is_some()
    }

    /// The token, if one is present.
    #[must_use]
    pub fn token(&self) -> Option<TokenState> {
        self.key_set.as_ref().map(|key_set| key_set.token())
    }
}

/// Which slots an identity sees; one that is not here sees none. By identity and not by client, so that the connections of a
/// replaced certificate see nothing from the moment on in which it is replaced.
pub(crate) type Assigned = HashMap<Identity, BTreeSet<SlotId>>;

/// The slots, and who sees them, at one moment.
#[derive(Default)]
struct View {
    slots: BTreeMap<SlotId, Arc<Slot>>,
    assigned: Assigned,
}

impl View {
    fn sees(&self, peer: &Peer, id: SlotId) -> bool {
        match peer.access {
            Access::Local => true,
            Access::Client(_) => {
                let assigned = self.assigned.get(&peer.identity);
                assigned.is_some_and(|assigned| assigned.contains(&id))
            }
        }
    }
}

/// All slots, in ascending order.
#[derive(Default)]
pub struct Slots {
    current: ArcSwap<View>,
    /// Serial numbers of the partitions of which each use of a key is recorded.
    audit_uses: ArcSwap<BTreeSet<String>>,
}

impl Slots {
    /// Sets of which partitions each use of a key is recorded, from now on.
    pub(crate) fn audit_uses(&self, partitions: BTreeSet<String>) {
        self.audit_uses.store(Arc::new(partitions));
        self.tell_key_sets();
    }

    /// A key set that several partitions share is recorded if one of them asks for it.
    fn tell_key_sets(&self) {
        let uses = self.audit_uses.load();
        let mut tell: HashMap<KeySetId, (Arc<KeySet>, bool)> = HashMap::new();
        for slot in self.all() {
            if let Some(key_set) = &slot.key_set {
                let entry = tell.entry(key_set.id()).or_insert_with(|| (Arc::clone(key_set), false));
                entry.1 |= uses.contains(&slot.serial);
            }
        }
        for (key_set, record) in tell.into_values() {
            key_set.set_audit_use(record);
        }
    }

    /// The slot of this id if the peer sees it. One that is not assigned to it and one that does not exist are the same to it,
    /// and as much work.
    #[must_use]
    pub(crate) fn seen(&self, peer: &Peer, id: SlotId) -> Option<Arc<Slot>> {
        let view = self.current.load();
        let seen = view.sees(peer, id);
        view.slots.get(&id).filter(|_| seen).cloned()
    }

    /// The slots that the peer sees.
    #[must_use]
    pub(crate) fn list(&self, peer: &Peer) -> Vec<Arc<Slot>> {
        let view = self.current.load();
        let slots = view.slots.values();
        slots.filter(|slot| view.sees(peer, slot.id)).cloned().collect()
    }

    /// The slot of this id, whoever sees it: not for requests of applications, which ask `seen`.
    #[must_use]
    pub fn get(&self, id: SlotId) -> Option<Arc<Slot>> {
        self.current.load().slots.get(&id).cloned()
    }

    /// All slots as they are now, whoever sees them: not for requests of applications.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.current.load().slots.values().cloned().collect()
    }

    pub(crate) fn replace(&self, slots: impl IntoIterator<Item = Slot>, assigned: Assigned) {
        let slots = slots.into_iter().map(|slot| (slot.id, Arc::new(slot))).collect();
        self.current.store(Arc::new(View { slots, assigned }));
        self.tell_key_sets();
    }
}
