//! Keys in custom key stores: where CreateKey puts one, and GenerateRandom from a store's token.

use super::super::backing::Backing;
use super::super::crypt::fill;
use super::super::input::Input;
use super::super::key::KeyRecord;
use super::super::keys::{Found, Keys};
use super::super::{Kms, module_fault, record_fault};
use super::create::{active, sound, validation};
use super::record::{Settings, State};
use super::{Store, external, invalid_state};
use crate::fault::Fault;
use crate::module::ModuleError;
use crate::records::Versioned;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Where a new key is to be.
pub(in crate::kms) struct Place {
    pub(in crate::kms) backing: Backing,
    pub(in crate::kms) store: Option<Arc<Store>>,
}

fn unsupported(message: impl Into<String>) -> Fault {
    Fault::new(400, "UnsupportedOperationException", message)
}

/// Where CreateKey is to put a key.
///
/// # Errors
/// ValidationException, UnsupportedOperationException, CustomKeyStoreNotFoundException, CustomKeyStoreInvalidStateException,
/// CloudHsmClusterInvalidConfigurationException.
pub(in crate::kms) async fn place(kms: &Kms, input: &Input) -> Result<Place, Fault> {
    let (store, external) = (input.text("CustomKeyStoreId"), input.text("XksKeyId"));
    let origin = input.text("Origin").unwrap_or("AWS_KMS");
    if external.is_some() && origin != "EXTERNAL_KEY_STORE" {
        return Err(validation("XksKeyId is for keys of Origin EXTERNAL_KEY_STORE"));
    }
    let id = match (origin, store) {
        ("AWS_CLOUDHSM" | "EXTERNAL_KEY_STORE", Some(id)) => id,
        ("AWS_CLOUDHSM" | "EXTERNAL_KEY_STORE", None) => {
            return Err(validation(format!("Origin {origin} needs a CustomKeyStoreId")));
        }
        (_, Some(_)) => {
            return Err(validation(format!(
                "a key of Origin {origin} is in no custom key store"
            )));
        }
        ("AWS_KMS" | "EXTERNAL", None) => {
            let (backing, store) = (Backing::Partition, None);
            return Ok(Place { backing, store });
        }
        _ => return Err(unsupported(format!("Origin {origin} is not served yet"))),
    };
    symmetric(input)?;
    let store = kms.stores.find(id).await?;
    let settings = store.record().record.settings.clone();
    match (&settings, origin) {
        (Settings::Cluster(_), "AWS_CLOUDHSM") | (Settings::External(_), "EXTERNAL_KEY_STORE") => {}
        (settings, _) => {
            let message = format!(
                "{id} is a store of type {}: Origin {origin} does not fit",
                settings.kind()
            );
            return Err(validation(message));
        }
    }
    connected(&store)?;
    let backing = match &settings {
        Settings::Cluster(settings) => {
            sound(
                kms,
                &active(kms, &settings.cluster)
                    .await
                    .map_err(|_| invalid_state("its cluster is not active"))?,
            )
            .await?;
            Backing::Cluster { store: id.to_owned() }
        }
        Settings::External(_) => {
            let key = external.ok_or_else(|| validation("XksKeyId is required for Origin EXTERNAL_KEY_STORE"))?;
            external::usable(kms, &store, key).await?;
            let (store, key) = (id.to_owned(), key.to_owned());
            Backing::External { store, key }
        }
    };
    let store = Some(store);
    Ok(Place { backing, store })
}

/// Custom key stores have symmetric encryption keys only.
fn symmetric(input: &Input) -> Result<(), Fault> {
    let spec = input.text("KeySpec").or(input.text("CustomerMasterKeySpec"));
    if spec.is_some_and(|spec| spec != "SYMMETRIC_DEFAULT") {
        return Err(unsupported("in custom key stores KeySpec is SYMMETRIC_DEFAULT"));
    }
    if input.text("KeyUsage").is_some_and(|usage| usage != "ENCRYPT_DECRYPT") {
        return Err(unsupported("in custom key stores KeyUsage is ENCRYPT_DECRYPT"));
    }
    if input.flag("MultiRegion") {
        return Err(unsupported("keys in custom key stores are of one Region"));
    }
    Ok(())
}

fn connected(store: &Store) -> Result<(), Fault> {
    match store.shown().0 {
        State::Connected => Ok(()),
        state => Err(invalid_state(format!("the custom key store is {}", state.name()))),
    }
}

impl Place {
    /// An external key is that of one KMS key of its store.
    fn external_key_is_free(&self, keys: &Keys) -> Result<(), Fault> {
        let is_external = self.backing.external().is_some();
        if is_external && keys.all().iter().any(|key| key.record.backing == self.backing) {
            let message = "another KMS key of this custom key store has this XksKeyId";
            return Err(Fault::new(400, "XksKeyAlreadyInUseException", message));
        }
        Ok(())
    }

    /// Records a key, unless its store has gone meanwhile.
    ///
    /// # Errors
    /// CustomKeyStoreInvalidStateException.
    pub(in crate::kms) async fn insert(
        &self,
        kms: &Kms,
        keys: &Keys,
        record: KeyRecord,
    ) -> Result<Arc<Versioned<KeyRecord>>, Fault> {
        let _writing = match &self.store {
            None => None,
            Some(store) => {
                let writing = store.writing.lock().await;
                connected(store)?;
                self.external_key_is_free(keys)?;
                Some(writing)
            }
        };
        keys.insert(kms, record).await.map_err(|error| record_fault(&error))
    }
}

impl Found {
    /// What a client hears when the key could not be made.
    pub(in crate::kms) fn creation_fault(&self, error: &ModuleError) -> Fault {
        match &self.store {
            Some(store) if !matches!(error, ModuleError::Busy) => {
                tracing::warn!(%error, key = self.arn, "the key was not made");
                store.suspect();
                invalid_state("the custom key store does not answer")
            }
            _ => module_fault(error, &self.arn),
        }
    }
}

/// Random bytes of a store's token.
///
/// # Errors
/// CustomKeyStoreNotFoundException, CustomKeyStoreInvalidStateException, UnsupportedOperationException for an external store.
pub(in crate::kms) async fn random(kms: &Kms, id: &str, length: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let store = kms.stores.find(id).await?;
    if store.cluster().is_none() {
        return Err(unsupported("an external key store makes no random bytes"));
    }
    connected(&store)?;
    let module = store
        .module()
        .ok_or_else(|| invalid_state("the custom key store is not connected"))?;
    let filled = module.run(move |worker| fill(worker, length)).await;
    filled.map_err(|error| match error {
        ModuleError::Busy => module_fault(&error, id),
        error => {
            tracing::warn!(%error, store = id, "the custom key store");
            store.suspect();
            invalid_state("the custom key store does not answer")
        }
    })
}
