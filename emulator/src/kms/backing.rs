//! Where a key is kept, and so who does its work: the token of `[kms]`, the group of a custom key store, or both the token and an
//! external key manager.

use super::key::State;
use super::keys::Found;
use super::store::Store;
use super::{Kms, module_fault};
use crate::fault::Fault;
use crate::module::{Module, ModuleError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where a key is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Backing {
    /// In the token of `[kms]`.
    #[default]
    Partition,
    /// In the group of a custom key store.
    Cluster {
        /// The store's id.
        store: String,
    },
    /// In the token of `[kms]`, and what it sealed is sealed again with an external key.
    External {
        /// The store's id.
        store: String,
        /// The external key's.
        key: String,
    },
}

impl Backing {
    /// The custom key store, if it is one.
    pub(super) fn store(&self) -> Option<&str> {
        match self {
            Self::Partition => None,
            Self::Cluster { store } | Self::External { store, .. } => Some(store),
        }
    }

    /// The external key, if it is one.
    pub(super) fn external(&self) -> Option<&str> {
        match self {
            Self::External { key, .. } => Some(key),
            Self::Partition | Self::Cluster { .. } => None,
        }
    }
}

impl Found {
    /// Whether the custom key store of the key, if it is in one, is connected.
    pub(super) fn is_available(&self) -> bool {
        match (&self.store, self.record().backing.store()) {
            (_, None) => true,
            (Some(store), Some(_)) => store.is_available(),
            (None, Some(_)) => false,
        }
    }

    /// The API's word for its state.
    pub(super) fn state(&self) -> &'static str {
        match self.record().state {
            State::Enabled | State::Disabled if !self.is_available() => "Unavailable",
            state => state.name(),
        }
    }

    /// What `KeyMetadata` says of where it is kept.
    pub(super) fn describe_backing(&self, out: &mut Value) {
        match &self.record().backing {
            Backing::Partition => {}
            Backing::Cluster { store } => {
                out["Origin"] = "AWS_CLOUDHSM".into();
                out["CustomKeyStoreId"] = store.as_str().into();
                if let Some(cluster) = self.store.as_ref().and_then(|store| store.cluster()) {
                    out["CloudHsmClusterId"] = cluster.into();
                }
            }
            Backing::External { store, key } => {
                out["Origin"] = "EXTERNAL_KEY_STORE".into();
                out["CustomKeyStoreId"] = store.as_str().into();
                out["XksKeyConfiguration"] = json!({"Id": key});
            }
        }
    }

    /// Refuses what is not done with keys in custom key stores.
    ///
    /// # Errors
    /// UnsupportedOperationException.
    pub(super) fn is_outside_of_stores(&self) -> Result<(), Fault> {
        if self.record().backing.store().is_none() {
            return Ok(());
        }
        let message = format!(
            "{} is in a custom key store: this operation is not for such keys",
            self.arn
        );
        Err(Fault::new(400, "UnsupportedOperationException", message))
    }

    /// The key cannot be used now.
    pub(super) fn unavailable(&self) -> Fault {
        Fault::new(400, "KMSInvalidStateException", format!("{} is unavailable.", self.arn))
    }

    /// What a client hears when the key cannot be used for a reason of ours. Whatever fails in a custom key store is an invalid state
    /// of the key, and a reason to look at the connection.
    pub(super) fn fault(&self, error: &ModuleError) -> Fault {
        match (&self.store, error) {
            (Some(store), error) if !matches!(error, ModuleError::Busy) => {
                tracing::warn!(%error, key = self.arn, "the custom key store");
                store.suspect();
                self.unavailable()
            }
            _ => module_fault(error, &self.arn),
        }
    }
}

impl Kms {
    /// Who asks, as far as a proxy is concerned: everybody who has an access key speaks for the account.
    pub(super) fn principal(&self) -> String {
        format!("arn:aws:iam::{}:root", self.account)
    }

    /// The custom key store of a key, if it is in one; `None` also for a store that is gone.
    pub(super) async fn store_of(&self, backing: &Backing) -> Result<Option<Arc<Store>>, Fault> {
        match backing.store() {
            None => Ok(None),
            Some(id) => Ok(self.stores.find(id).await.ok()),
        }
    }

    /// The pool of the token in which the key's object is.
    ///
    /// # Errors
    /// KMSInvalidStateException when it is in a store that is not connected.
    pub(super) fn holder(&self, found: &Found) -> Result<Arc<Module>, Fault> {
        match found.record().backing {
            Backing::Partition | Backing::External { .. } => Ok(self.module.clone()),
            Backing::Cluster { .. } => {
                let store = found.store.as_ref().filter(|store| store.is_available());
                store
                    .and_then(|store| store.module())
                    .ok_or_else(|| found.unavailable())
            }
        }
    }
}
