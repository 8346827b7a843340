//! How the PIN counters of a key set are written (INV-8): under its gate, so that whoever replaces the incarnation takes all of
//! them along. What is counted, and when, is `tries.rs`.

use hsmd_crypto::random;
use hsmd_store::{Batch, Write};

use super::{KeySet, Root};
use crate::audit::Act;
use crate::core::Committed;
use crate::error::Error;
use crate::login::Role;
use crate::tries::Lockout;

/// The counters of a role, and what else happens when it locks.
pub(super) struct RoleLockout<'a> {
    pub(super) key_set: &'a KeySet,
    /// Whose counters they are.
    pub(super) incarnation: u32,
    pub(super) role: Role,
}

impl RoleLockout<'_> {
    /// Counters may use the spare segment: a full disk must not stop PINs from being counted.
    fn batch(write: Write) -> Batch {
        Batch {
            operation: random::array(),
            writes: vec![write],
            reserve: true,
            ..Batch::default()
        }
    }

    /// INV-8: whoever replaces the incarnation takes its counters along as they are while it holds the gate. What came later would
    /// be counted nowhere. The caller holds the gate.
    fn still_counts(&self) -> Result<(), Error> {
        if self.key_set.root().incarnation == self.incarnation {
            Ok(())
        } else {
            Err(Error::Contended)
        }
    }
}

impl Lockout for RoleLockout<'_> {
    fn count(&self, write: Write) -> Result<Committed, Error> {
        let _gate = self.key_set.gate.read();
        self.still_counts()?;
        self.key_set.core.commit(Self::batch(write))
    }

    fn commit(&self, write: Write) -> Result<Committed, Error> {
        let key_set = self.key_set;
        let event = key_set.role_event(Act::PinLock, self.role);
        let mut batch = Self::batch(write);
        if self.role == Role::So {
            // It closes the role to one client; the logins of others are none of its business.
            let _gate = key_set.gate.read();
            self.still_counts()?;
            return key_set.core.commit_act(batch, vec![event]);
        }
        let _gate = key_set.gate.write();
        self.still_counts()?;
        let mut root = Root::clone(&key_set.root());
        root.epoch += 1;
        batch.writes.push(key_set.put_root(&mut root));
        let committed = key_set.core.commit_act(batch, vec![event])?;
        if let Committed::Done(_) = committed {
            key_set.switch(root, None);
        }
        Ok(committed)
    }
}
