//! The keys and aliases that are recorded, in memory: read at the first request, written through. What was begun and not
//! finished when the process ended is finished then: a key and its record cannot be one transaction.

use super::Kms;
use super::backing::Backing;
use super::input::Input;
use super::key::{KeyRecord, PREFIX, State};
use super::states::{self, Seen};
use super::store::{Holder, Store};
use super::{grant, import, material, object};
use crate::fault::Fault;
use crate::module::{ModuleError, Worker};
use crate::records::{RecordError, Versioned, Write};
use cryptoki::object::ObjectClass;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// What the records of aliases begin with; the name follows.
pub(super) const ALIAS_PREFIX: &str = "kms/";

/// The record of an alias: `alias/...`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AliasRecord {
    pub(super) target: String,
    pub(super) created_ms: u64,
    pub(super) updated_ms: u64,
}

type Table<T> = RwLock<BTreeMap<String, Arc<Versioned<T>>>>;

/// All keys by id, all aliases by name.
pub(super) struct Keys {
    keys: Table<KeyRecord>,
    aliases: Table<AliasRecord>,
}

/// A key that a request names, as it is now.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) key: Arc<Versioned<KeyRecord>>,
    pub(super) arn: String,
    /// The custom key store, if the key is in one.
    pub(super) store: Option<Arc<Store>>,
}

impl Found {
    pub(super) fn record(&self) -> &KeyRecord {
        &self.key.record
    }

    /// Whether the key's state, or its custom key store, allows an operation.
    ///
    /// # Errors
    /// Those of [`states`].
    pub(super) fn allows(&self, input: &Input) -> Result<(), Fault> {
        let seen = match self.record().state {
            // A key that is to be deleted, or has none of its material, says so first.
            State::Enabled | State::Disabled if !self.is_available() => Seen::Unavailable,
            _ => Seen::of(self.record()),
        };
        states::check(input.operation(), seen, &self.arn)
    }
}

impl Keys {
    /// Reads all records and finishes what was begun.
    pub(super) async fn load(kms: &Kms) -> Result<Self, RecordError> {
        let keys = kms.records.list::<KeyRecord>(PREFIX).await?;
        let aliases = kms.records.list::<AliasRecord>("kms/alias/").await?;
        let named = |(path, alias): (String, Versioned<AliasRecord>)| {
            Some((path.strip_prefix(ALIAS_PREFIX)?.to_owned(), Arc::new(alias)))
        };
        let loaded = Self {
            keys: RwLock::new(
                keys.into_iter()
                    .map(|(_, key)| (key.record.id.clone(), Arc::new(key)))
                    .collect(),
            ),
            aliases: RwLock::new(aliases.into_iter().filter_map(named).collect()),
        };
        loaded.finish(kms).await?;
        Ok(loaded)
    }

    async fn finish(&self, kms: &Kms) -> Result<(), RecordError> {
        for key in self.all() {
            match key.record.state {
                // The store is not connected yet; nobody was told of the key.
                State::Creating if matches!(key.record.backing, Backing::Cluster { .. }) => self
                    .change(kms, &key, |record| record.state = State::Deleting)
                    .await
                    .map(drop)?,
                // Without its object the key was never acknowledged.
                State::Creating => match kms.object_exists(&key.record).await {
                    Ok(true) => self
                        .change(kms, &key, |record| record.state = State::Enabled)
                        .await
                        .map(drop)?,
                    Ok(false) => self.remove(kms, &key).await?,
                    Err(error) => {
                        tracing::warn!(%error, key = key.record.id, "whether the key was made is not known yet")
                    }
                },
                State::Deleting => kms.destroy(self, &key).await?,
                State::Enabled | State::Disabled | State::PendingImport | State::PendingDeletion => {
                    material::finish(kms, self, &key).await?;
                }
            }
        }
        Ok(())
    }

    /// All keys in the order of their ids.
    pub(super) fn all(&self) -> Vec<Arc<Versioned<KeyRecord>>> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// All aliases in the order of their names.
    pub(super) fn aliases(&self) -> Vec<(String, Arc<Versioned<AliasRecord>>)> {
        let aliases = self.aliases.read().unwrap_or_else(PoisonError::into_inner);
        aliases
            .iter()
            .map(|(name, alias)| (name.clone(), alias.clone()))
            .collect()
    }

    /// The alias of this name.
    pub(super) fn alias(&self, name: &str) -> Option<Arc<Versioned<AliasRecord>>> {
        self.aliases
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// The key of this id.
    pub(super) fn get(&self, id: &str) -> Option<Arc<Versioned<KeyRecord>>> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Records a new key.
    pub(super) async fn insert(&self, kms: &Kms, record: KeyRecord) -> Result<Arc<Versioned<KeyRecord>>, RecordError> {
        let versions = kms.records.commit(vec![Write::put(record.path(), 0, &record)]).await?;
        Ok(self.take_over(versions.first().copied().unwrap_or_default(), record))
    }

    /// Changes a key if it is still what was read.
    pub(super) async fn change(
        &self,
        kms: &Kms,
        key: &Versioned<KeyRecord>,
        change: impl FnOnce(&mut KeyRecord),
    ) -> Result<Arc<Versioned<KeyRecord>>, RecordError> {
        let mut record = key.record.clone();
        change(&mut record);
        let written = kms
            .records
            .commit(vec![Write::put(record.path(), key.version, &record)])
            .await;
        if matches!(written, Err(RecordError::Conflict)) {
            self.reread(kms, &record.id).await?;
        }
        Ok(self.take_over(written?.first().copied().unwrap_or_default(), record))
    }

    /// Removes a key with its aliases.
    pub(super) async fn remove(&self, kms: &Kms, key: &Versioned<KeyRecord>) -> Result<(), RecordError> {
        let mut writes = vec![Write::delete(key.record.path(), key.version)];
        let gone: Vec<_> = self
            .aliases()
            .into_iter()
            .filter(|(_, alias)| alias.record.target == key.record.id)
            .collect();
        writes.extend(
            gone.iter()
                .map(|(name, alias)| Write::delete(format!("{ALIAS_PREFIX}{name}"), alias.version)),
        );
        kms.records.commit(writes).await?;
        let mut aliases = self.aliases.write().unwrap_or_else(PoisonError::into_inner);
        gone.iter().for_each(|(name, _)| drop(aliases.remove(name)));
        drop(aliases);
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key.record.id);
        Ok(())
    }

    /// Writes an alias, or deletes it.
    pub(super) async fn put_alias(
        &self,
        kms: &Kms,
        name: &str,
        expected: u64,
        alias: Option<AliasRecord>,
    ) -> Result<(), RecordError> {
        let path = format!("{ALIAS_PREFIX}{name}");
        let write = match &alias {
            Some(alias) => Write::put(path, expected, alias),
            None => Write::delete(path, expected),
        };
        let versions = kms.records.commit(vec![write]).await?;
        let mut aliases = self.aliases.write().unwrap_or_else(PoisonError::into_inner);
        match alias {
            Some(record) => {
                let version = versions.first().copied().unwrap_or_default();
                aliases.insert(name.to_owned(), Arc::new(Versioned { version, record }));
            }
            None => drop(aliases.remove(name)),
        }
        Ok(())
    }

    async fn reread(&self, kms: &Kms, id: &str) -> Result<(), RecordError> {
        let found = kms.records.get::<KeyRecord>(&super::key::path(id)).await?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        match found {
            Some(key) => drop(keys.insert(id.to_owned(), Arc::new(key))),
            None => drop(keys.remove(id)),
        }
        Ok(())
    }

    fn take_over(&self, version: u64, record: KeyRecord) -> Arc<Versioned<KeyRecord>> {
        let key = Arc::new(Versioned { version, record });
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.record.id.clone(), key.clone());
        key
    }
}

impl Kms {
    /// The key that a request names: by id, ARN, alias or alias ARN.
    ///
    /// # Errors
    /// NotFoundException, InvalidArnException.
    pub(super) async fn find(&self, name: &str) -> Result<Found, Fault> {
        let keys = self.keys().await?;
        let short = self.short(name)?;
        let id = match short.strip_prefix("alias/") {
            Some(_) => match keys.alias(short) {
                Some(alias) => alias.record.target.clone(),
                None => {
                    let message = format!("Alias {} is not found.", self.arn(short));
                    return Err(Fault::new(400, "NotFoundException", message));
                }
            },
            None => short.strip_prefix("key/").unwrap_or(short).to_owned(),
        };
        let arn = self.arn(&format!("key/{id}"));
        let found = keys.get(&id).filter(|key| key.record.state.is_shown());
        let missing = || {
            Fault::new(
                400,
                "NotFoundException",
                format!("Key '{}' does not exist", arn.get(..300).unwrap_or(&arn)),
            )
        };
        let key = found.ok_or_else(missing)?;
        let store = self.store_of(&key.record.backing).await?;
        Ok(Found { key, arn, store })
    }

    /// The key that a member of a request names, if its state allows the operation.
    ///
    /// # Errors
    /// As [`Self::find`], and those of [`states`].
    pub(super) async fn allowed(&self, input: &Input, member: &str) -> Result<Found, Fault> {
        let found = self.find(input.must(member)).await?;
        found.allows(input)?;
        Ok(found)
    }

    /// What follows account and region in an ARN, or the name itself.
    fn short<'a>(&self, name: &'a str) -> Result<&'a str, Fault> {
        if !name.starts_with("arn:") {
            return Ok(name);
        }
        let prefix = self.arn("");
        name.strip_prefix(&prefix).ok_or_else(|| {
            Fault::new(
                400,
                "NotFoundException",
                format!("Invalid arn {}", name.get(..300).unwrap_or(name)),
            )
        })
    }

    /// Whether a new key's object is in the token.
    async fn object_exists(&self, record: &KeyRecord) -> Result<bool, ModuleError> {
        let (class, id) = (class(record), record.object_id());
        let looked = self.module.run(move |worker| worker.find(class, &id)).await;
        match looked {
            Ok(_) => Ok(true),
            Err(ModuleError::NoKey) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Destroys the key's objects, then removes its record. Done again it is done again.
    pub(super) async fn destroy(&self, keys: &Keys, key: &Versioned<KeyRecord>) -> Result<(), RecordError> {
        let ids = key.record.objects();
        grant::forget(self, &key.record.id).await?;
        for parameters in import::of_key(self, &key.record.id).await? {
            import::end(self, &parameters).await?;
        }
        let destroy = move |worker: &mut Worker| object::destroy(worker, &ids);
        let module = match &key.record.backing {
            Backing::Partition | Backing::External { .. } => self.module.clone(),
            Backing::Cluster { store } => match self.stores.token(store).await {
                Holder::Open(module) => module,
                Holder::Away => return Ok(()),
                // AWS does not wait for a store that nobody connects; the object is left where it is.
                Holder::Closed => {
                    tracing::warn!(
                        key = key.record.id,
                        store,
                        "the key is deleted, its object stays in the group"
                    );
                    return keys.remove(self, key).await;
                }
            },
        };
        match module.run(destroy).await {
            Ok(()) => keys.remove(self, key).await,
            Err(error) => {
                tracing::warn!(%error, key = key.record.id, "the key is not destroyed yet; it is tried again");
                Ok(())
            }
        }
    }
}

/// The class of the object that does the work.
pub(super) fn class(record: &KeyRecord) -> ObjectClass {
    record
        .spec
        .row()
        .map_or(ObjectClass::SECRET_KEY, |row| object::class(row.kind))
}
