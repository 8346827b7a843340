//! Of which partitions each use of a key is recorded: a document of the control plane, applied to key sets whenever slots change.

use crate::slots::Slots;
use hsmd_keystore::{DocumentOutcome, DocumentWrite, Error, Keystore};
use hsmd_proto::ids::OperationId;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// The document's name.
const NAME: &str = "audit/use";

/// The setting.
pub(crate) struct Uses(Mutex<State>);

struct State {
    version: u64,
    partitions: BTreeSet<String>,
}

impl Uses {
    /// Reads the setting and applies it.
    pub(crate) fn open(keystore: &Keystore, slots: &Slots) -> Result<Self, Error> {
        let (version, partitions) = match keystore.document(NAME)? {
            Some(found) => {
                let read = serde_json::from_slice(&found.value);
                (found.version, read.map_err(|_| Error::Damaged(NAME.to_owned()))?)
            }
            None => (0, BTreeSet::new()),
        };
        slots.audit_uses(partitions.clone());
        Ok(Self(Mutex::new(State { version, partitions })))
    }

    /// Changes it for one partition; durable and in force when this returns.
    pub(crate) fn set(&self, keystore: &Keystore, slots: &Slots, serial: &str, record: bool) -> Result<(), Error> {
        let mut state = self.0.lock();
        let mut partitions = state.partitions.clone();
        let changed = if record {
            partitions.insert(serial.to_owned())
        } else {
            partitions.remove(serial)
        };
        if !changed {
            return Ok(());
        }
        let write = DocumentWrite {
            name: NAME.to_owned(),
            expected: state.version,
            // A list of strings always serialises.
            value: Some(serde_json::to_vec(&partitions).unwrap_or_default()),
        };
        let operation = OperationId(hsmd_crypto::random::array());
        match keystore.commit_documents(operation, vec![write])? {
            DocumentOutcome::Committed { .. } => {
                state.version += 1;
                slots.audit_uses(partitions.clone());
                state.partitions = partitions;
                Ok(())
            }
            DocumentOutcome::Conflict { .. } => Err(Error::Contended),
        }
    }

    /// Serial numbers of the partitions.
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().partitions.iter().cloned().collect()
    }
}
