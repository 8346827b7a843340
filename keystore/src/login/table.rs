//! The logins that this node knows: a sharded map from a ticket's nonce to its login. The hot path of every request ends here;
//! it takes one shared lock of one shard and touches neither store nor cipher (INV-5).

use std::collections::HashMap;
use std::sync::Arc;

use hsmd_crypto::seal::equal;
use hsmd_proto::ids::LoginId;
use parking_lot::RwLock;

use super::Login;
use crate::caller::Identity;
use crate::ticket::{NONCE, Ticket};

const SHARDS: usize = 16;

/// A login and the one ticket that stands for it.
pub(crate) struct Entry {
    pub(crate) login: Arc<Login>,
    pub(crate) ticket: Ticket,
}

type Shard = RwLock<HashMap<[u8; NONCE], Arc<Entry>>>;

/// Logins by ticket and by id.
#[derive(Default)]
pub(crate) struct LoginTable {
    shards: [Shard; SHARDS],
    by_id: RwLock<HashMap<LoginId, Arc<Entry>>>,
}

impl LoginTable {
    fn shard(&self, nonce: &[u8; NONCE]) -> &Shard {
        &self.shards[usize::from(nonce[0]) % SHARDS]
    }

    /// The login of exactly this ticket, if it was seen before and belongs to `identity`. The identity is looked at first, so
    /// that another client with a stolen ticket learns nothing, not even by time.
    pub(crate) fn find(&self, identity: &Identity, ticket: &[u8]) -> Option<Arc<Login>> {
        let nonce = Ticket::nonce(ticket)?;
        let shard = self.shard(nonce).read();
        let entry = shard.get(nonce)?;
        if entry.login.identity != *identity || !equal(entry.ticket.expose(), ticket) || !entry.login.alive() {
            return None;
        }
        Some(Arc::clone(&entry.login))
    }

    pub(crate) fn by_id(&self, id: &LoginId) -> Option<Arc<Entry>> {
        self.by_id.read().get(id).cloned()
    }

    /// Adds a login. If another thread was faster with the same ticket, its entry stays and is returned.
    pub(crate) fn insert(&self, entry: Entry) -> Arc<Entry> {
        let Some(nonce) = Ticket::nonce(entry.ticket.expose()).copied() else {
            return Arc::new(entry);
        };
        let mut by_id = self.by_id.write();
        if let Some(there) = by_id.get(&entry.login.id)
            && there.login.alive()
            && equal(there.ticket.expose(), entry.ticket.expose())
        {
            return Arc::clone(there);
        }
        let entry = Arc::new(entry);
        if let Some(old) = by_id.insert(entry.login.id, Arc::clone(&entry))
            && let Some(nonce) = Ticket::nonce(old.ticket.expose())
        {
            old.login.end();
            self.shard(nonce).write().remove(nonce);
        }
        self.shard(&nonce).write().insert(nonce, Arc::clone(&entry));
        entry
    }

    /// Forgets a login without ending it: its ticket is opened anew when it comes again.
    pub(crate) fn remove(&self, id: &LoginId) -> Option<Arc<Entry>> {
        let mut by_id = self.by_id.write();
        let entry = by_id.remove(id)?;
        if let Some(nonce) = Ticket::nonce(entry.ticket.expose()) {
            self.shard(nonce).write().remove(nonce);
        }
        Some(entry)
    }

    /// Forgets all logins and returns them.
    pub(crate) fn take_all(&self) -> Vec<Arc<Entry>> {
        let mut by_id = self.by_id.write();
        for shard in &self.shards {
            shard.write().clear();
        }
        by_id.drain().map(|(_, entry)| entry).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.read().len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.by_id.read().values().cloned().collect()
    }
}
