//! Entries as they are chained, for whoever follows: tails and syslog. Who does not take them in time is told how many were
//! missed; the chainer never waits.

use hsmd_keystore::Keystore;
use hsmd_keystore::audit::Chained;
use tokio::sync::broadcast;

/// So many entries a follower may be behind.
const BEHIND: usize = 4096;

/// Where to follow.
pub(crate) struct Feed(broadcast::Sender<Chained>);

impl Feed {
    /// Of a keystore's log, from now on.
    pub(crate) fn of(keystore: &Keystore) -> Self {
        let (sender, _) = broadcast::channel(BEHIND);
        let feed = sender.clone();
        keystore.audit().follow(move |entries| {
            for entry in entries {
                // Without followers there is nobody to tell.
                let _ = feed.send(entry.clone());
            }
        });
        Self(sender)
    }

    /// What is chained from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Chained> {
        self.0.subscribe()
    }
}
