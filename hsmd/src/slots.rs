//! Slots: what an application sees of partitions. A slot's id is allotted once, in the partition's record
//! ([`crate::control`]), and never used again; this is only the view of it that requests read without a lock.

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
    /// The partition's serial: six digits of the HSM and three of its own.
    pub serial: String,
    /// The HSM's id.
    pub hsm: String,
    /// The policy, as the record says.
    pub policy: Policy,
    /// The uninitialised partition that `free_slot` offers.
    pub free: bool,
    /// Where the keys live; `None` while the HSM is suspended or the key set cannot be trusted: no token.
    pub key_set: Option<Arc<KeySet>>,
}

impl Slot {
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
