//! ConnectCustomKeyStore, DisconnectCustomKeyStore, DeleteCustomKeyStore, UpdateCustomKeyStore. The first two only record what is
//! asked for: the keeper does it.

use super::super::input::Input;
use super::super::{Answer, Kms};
use super::create::{OF_PROXIES, active, name_is_free, none_of, related, sound, validation};
use super::record::{ClusterSettings, Settings, State};
use super::{Store, control_fault, invalid_state, proxies, rests};
use crate::clusters::Cluster;
use crate::fault::Fault;
use crate::secret::Secret;
use serde_json::Map;
use std::sync::Arc;

/// ConnectCustomKeyStore.
pub(in crate::kms) async fn connect(kms: &Kms, input: Input) -> Answer {
    let store = kms.stores.find(input.must("CustomKeyStoreId")).await?;
    match store.shown().0 {
        State::Connecting | State::Connected => return Ok(Map::new()),
        State::Disconnected => {}
        State::Failed => return Err(invalid_state("the custom key store has failed: disconnect it first")),
        State::Disconnecting => return Err(invalid_state("the custom key store is being disconnected")),
    }
    if let Some(id) = store.cluster() {
        // A group that is gone, or without an HSM that serves, is what the connection finds.
        let found = kms.stores.shared.clusters.find(&id).await;
        let found = found.map_err(|status| control_fault(&status))?;
        if found.is_some_and(|cluster| cluster.active() > 0 || cluster.members.is_empty()) {
            active(kms, &id).await?;
        }
    }
    let change = store.change(&kms.stores.shared.records, |record| {
        if record.state == State::Disconnected {
            (record.state, record.error) = (State::Connecting, None);
        }
        Ok(())
    });
    change.await?;
    store.suspect();
    Ok(Map::new())
}

/// DisconnectCustomKeyStore.
pub(in crate::kms) async fn disconnect(kms: &Kms, input: Input) -> Answer {
    let store = kms.stores.find(input.must("CustomKeyStoreId")).await?;
    let change = store.change(&kms.stores.shared.records, |record| match record.state {
        State::Disconnected | State::Disconnecting => Err(invalid_state(format!(
            "the custom key store is {} already",
            record.state.name()
        ))),
        State::Connecting | State::Connected | State::Failed => {
            record.state = State::Disconnecting;
            Ok(())
        }
    });
    change.await?;
    store.suspect();
    Ok(Map::new())
}

/// DeleteCustomKeyStore. Nothing of the group changes.
pub(in crate::kms) async fn delete(kms: &Kms, input: Input) -> Answer {
    let _turn = kms.stores.turn.lock().await;
    let store = kms.stores.find(input.must("CustomKeyStoreId")).await?;
    let keys = kms.keys().await?;
    // Nobody adds a key from here on.
    let _writing = store.writing.lock().await;
    if store.record().record.state != State::Disconnected {
        return Err(invalid_state("the custom key store must be DISCONNECTED"));
    }
    let id = store.id();
    if keys.all().iter().any(|key| key.record.backing.store() == Some(&id)) {
        let message = "the custom key store has KMS keys: schedule their deletion, and wait until they are gone";
        return Err(Fault::new(400, "CustomKeyStoreHasCMKsException", message));
    }
    kms.stores.remove(&store).await?;
    Ok(Map::new())
}

/// UpdateCustomKeyStore.
pub(in crate::kms) async fn update(kms: &Kms, input: Input) -> Answer {
    let _turn = kms.stores.turn.lock().await;
    let store = kms.stores.find(input.must("CustomKeyStoreId")).await?;
    let name = input.text("NewCustomKeyStoreName");
    if let Some(name) = name {
        name_is_free(&kms.stores.all().await?, name, &store.id())?;
    }
    let settings = store.record().record.settings.clone();
    match settings {
        Settings::Cluster(settings) => update_cluster(kms, &store, &settings, name, &input).await?,
        Settings::External(settings) => proxies::update(kms, &store, settings, name, &input).await?,
    }
    store.suspect();
    Ok(Map::new())
}

async fn update_cluster(
    kms: &Kms,
    store: &Arc<Store>,
    settings: &ClusterSettings,
    name: Option<&str>,
    input: &Input,
) -> Result<(), Fault> {
    none_of(input, &OF_PROXIES, "a CloudHSM key store")?;
    let password = input.text("KeyStorePassword");
    let id = input.text("CloudHsmClusterId");
    if name.is_none() && password.is_none() && id.is_none() {
        return Err(validation("the request changes nothing"));
    }
    let must_rest = password.is_some() || id.is_some();
    if must_rest {
        rests(store.record().record.state)?;
    }
    let cluster = match id {
        Some(id) => Some(successor(kms, settings, id).await?),
        None => None,
    };
    let change = store.change(&kms.stores.shared.records, |record| {
        if must_rest {
            rests(record.state)?;
        }
        if let Some(name) = name {
            name.clone_into(&mut record.name);
        }
        if let Settings::Cluster(settings) = &mut record.settings {
            if let Some(password) = password {
                // `next` stays: a rotation that was cut off may have been done.
                settings.pin = Secret::new(password);
                settings.rotated = false;
            }
            if let Some(cluster) = &cluster {
                settings.cluster.clone_from(&cluster.id);
            }
        }
        Ok(())
    });
    change.await
}

/// A group that may take the place of the store's: it has, or had, one of its partitions, and so its keys.
async fn successor(kms: &Kms, settings: &ClusterSettings, id: &str) -> Result<Cluster, Fault> {
    let cluster = active(kms, id).await?;
    let mut members = settings.members.clone();
    let now = kms.stores.shared.clusters.find(&settings.cluster).await;
    if let Some(now) = now.map_err(|status| control_fault(&status))? {
        members.extend(now.serials());
    }
    if cluster.id != settings.cluster && !related(&members, &cluster.serials()) {
        let message = format!("{id} has no partition of {}: its keys are others", settings.cluster);
        return Err(Fault::new(400, "CloudHsmClusterNotRelatedException", message));
    }
    sound(kms, &cluster).await?;
    Ok(cluster)
}
