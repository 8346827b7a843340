//! Slots: what an application sees of partitions, and of groups as virtual slots. A slot's id is allotted once, in the
//! record of the partition or group ([`crate::control`]), and never used again; this is only the view of it that requests
//! read without a lock.

use arc_swap::ArcSwap;
use hsmd_keystore::{KeySet, TokenState};
use hsmd_proto::ids::SlotId;
use hsmd_proto::policy::Policy;
use std::collections::BTreeMap;
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

/// All slots, in ascending order.
#[derive(Default)]
pub struct Slots {
    current: ArcSwap<BTreeMap<SlotId, Arc<Slot>>>,
}

impl Slots {
    /// The slot of this id.
    #[must_use]
    pub fn get(&self, id: SlotId) -> Option<Arc<Slot>> {
        self.current.load().get(&id).cloned()
    }

    /// All slots as they are now.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.current.load().values().cloned().collect()
    }

    pub(crate) fn replace(&self, slots: impl IntoIterator<Item = Slot>) {
        let slots = slots.into_iter().map(|slot| (slot.id, Arc::new(slot))).collect();
        self.current.store(Arc::new(slots));
    }
}
