//! What CreateCustomKeyStore and UpdateCustomKeyStore ask of a proxy: its members, that it is no other store's, and that it answers.

use super::super::Kms;
use super::super::input::Input;
use super::create::{OF_CLUSTERS, OF_PROXIES, needed, none_of, validation};
use super::record::{Connectivity, ExternalSettings, Place, Settings, State};
use super::{Store, external, rests};
use crate::fault::Fault;
use crate::secret::Secret;
use crate::xks::client::Proxy;
use crate::xks::mapping;
use serde_json::Value;
use std::sync::Arc;

const CONNECTIVITY: &str = "XksProxyConnectivity";
const ENDPOINT: &str = "XksProxyUriEndpoint";
const PATH: &str = "XksProxyUriPath";
const SERVICE: &str = "XksProxyVpcEndpointServiceName";
const OWNER: &str = "XksProxyVpcEndpointServiceOwner";
const CREDENTIAL: &str = "XksProxyAuthenticationCredential";

/// The settings of a new store.
pub(super) async fn settings(kms: &Kms, stores: &[Arc<Store>], input: &Input) -> Result<ExternalSettings, Fault> {
    let place = Place {
        connectivity: connectivity(needed(input, CONNECTIVITY)?),
        endpoint: needed(input, ENDPOINT)?.to_owned(),
        path: needed(input, PATH)?.to_owned(),
        service: input.text(SERVICE).map(str::to_owned),
        owner: input.text(OWNER).map(str::to_owned),
    };
    let missing = || validation(format!("{CREDENTIAL} is required for a custom key store of this type"));
    let (access_key_id, secret) = credential(input).ok_or_else(missing)?;
    let settings = ExternalSettings {
        place,
        access_key_id,
        secret,
    };
    check(kms, stores, &settings, "", "CreateCustomKeyStore").await?;
    Ok(settings)
}

/// Changes a store. What does not tell the proxy apart, and how to sign for it, may change while it is connected.
pub(super) async fn update(
    kms: &Kms,
    store: &Store,
    mut settings: ExternalSettings,
    name: Option<&str>,
    input: &Input,
) -> Result<(), Fault> {
    none_of(input, &OF_CLUSTERS, "an external key store")?;
    let given = |name: &&str| input.0.get(*name).is_some_and(|value| !value.is_null());
    let changes_proxy = OF_PROXIES.iter().any(given);
    if name.is_none() && !changes_proxy {
        return Err(validation("the request changes nothing"));
    }
    let must_rest = [CONNECTIVITY, ENDPOINT, SERVICE, OWNER].iter().any(given);
    if must_rest {
        rests(store.record().record.state)?;
    }
    take(&mut settings, input);
    let mut proxy = None;
    if changes_proxy {
        let stores = kms.stores.all().await?;
        proxy = Some(check(kms, &stores, &settings, &store.id(), "UpdateCustomKeyStore").await?);
    }
    let change = store.change(&kms.stores.shared.records, |record| {
        if must_rest {
            rests(record.state)?;
        }
        if let Some(name) = name {
            name.clone_into(&mut record.name);
        }
        record.settings = Settings::External(settings.clone());
        Ok(())
    });
    change.await?;
    if let Some(proxy) = proxy.filter(|_| store.record().record.state == State::Connected) {
        store.replace_proxy(proxy);
    }
    Ok(())
}

fn take(settings: &mut ExternalSettings, input: &Input) {
    let place = &mut settings.place;
    if let Some(text) = input.text(CONNECTIVITY) {
        place.connectivity = connectivity(text);
        // What belongs to a service does not outlive it.
        if place.connectivity == Connectivity::Public {
            (place.service, place.owner) = (None, None);
        }
    }
    if let Some(text) = input.text(ENDPOINT) {
        text.clone_into(&mut place.endpoint);
    }
    if let Some(text) = input.text(PATH) {
        text.clone_into(&mut place.path);
    }
    if let Some(text) = input.text(SERVICE) {
        place.service = Some(text.to_owned());
    }
    if let Some(text) = input.text(OWNER) {
        place.owner = Some(text.to_owned());
    }
    if let Some((access_key_id, secret)) = credential(input) {
        (settings.access_key_id, settings.secret) = (access_key_id, secret);
    }
}

/// The model lets these two through only.
fn connectivity(text: &str) -> Connectivity {
    if text == Connectivity::Service.name() {
        Connectivity::Service
    } else {
        Connectivity::Public
    }
}

fn credential(input: &Input) -> Option<(String, Secret)> {
    let given = input.0.get(CREDENTIAL).and_then(Value::as_object)?;
    let text = |name: &str| given.get(name).and_then(Value::as_str);
    Some((
        text("AccessKeyId")?.to_owned(),
        Secret::new(text("RawSecretAccessKey")?),
    ))
}

/// Holds a proxy against the rules, and asks it how it is.
async fn check(
    kms: &Kms,
    stores: &[Arc<Store>],
    settings: &ExternalSettings,
    own: &str,
    operation: &str,
) -> Result<Arc<Proxy>, Fault> {
    let place = &settings.place;
    match (place.connectivity, &place.service) {
        (Connectivity::Service, None) => {
            return Err(validation(format!(
                "{SERVICE} is required with {CONNECTIVITY} VPC_ENDPOINT_SERVICE"
            )));
        }
        (Connectivity::Public, Some(_)) => {
            return Err(validation(format!(
                "{SERVICE} does not go with {CONNECTIVITY} PUBLIC_ENDPOINT"
            )));
        }
        _ => {}
    }
    let records: Vec<_> = stores.iter().map(|store| store.record()).collect();
    let others = records.iter().filter(|found| found.record.id != own);
    let places = others.filter_map(|found| match &found.record.settings {
        Settings::External(settings) => Some(&settings.place),
        Settings::Cluster(_) => None,
    });
    is_free(place, places)?;
    let host = place.endpoint.strip_prefix("https://").unwrap_or_default();
    if place.connectivity == Connectivity::Service && !kms.stores.shared.outbound.knows(host) {
        let message = format!(
            "there are no VPCs here: name the address of {host} in the configuration, [xks_client.connect], to stand for the service"
        );
        return Err(Fault::new(400, "XksProxyVpcEndpointServiceNotFoundException", message));
    }
    let proxy = external::proxy(&kms.stores.shared, settings)?;
    external::ask(&proxy, operation).await.map_err(mapping::store_fault)?;
    Ok(proxy)
}

/// The uniqueness rules of the API.
fn is_free<'a>(place: &Place, others: impl Iterator<Item = &'a Place>) -> Result<(), Fault> {
    let taken = |code: &'static str, what: &str| {
        Err(Fault::new(
            400,
            code,
            format!("another external key store has this {what}"),
        ))
    };
    for other in others {
        if place.service.is_some() && place.service == other.service {
            return taken("XksProxyVpcEndpointServiceInUseException", SERVICE);
        }
        if place.endpoint != other.endpoint {
            continue;
        }
        if place.connectivity == Connectivity::Service || other.connectivity == Connectivity::Service {
            return taken("XksProxyUriEndpointInUseException", ENDPOINT);
        }
        if place.path == other.path {
            return taken(
                "XksProxyUriInUseException",
                "combination of XksProxyUriEndpoint and XksProxyUriPath",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(connectivity: Connectivity, host: &str, path: &str, service: Option<&str>) -> Place {
        Place {
            connectivity,
            endpoint: format!("https://{host}"),
            path: format!("{path}/kms/xks/v1"),
            service: service.map(str::to_owned),
            owner: None,
        }
    }

    #[test]
    fn a_proxy_is_that_of_one_store() {
        use Connectivity::{Public, Service};
        let others = [
            place(Public, "one", "/a", None),
            place(Service, "two", "/a", Some("com.svc-1")),
        ];
        let code = |place: &Place| is_free(place, others.iter()).err().map(|fault| fault.code.into_owned());
        assert_eq!(code(&place(Public, "one", "/b", None)), None);
        assert_eq!(code(&place(Public, "three", "/a", None)), None);
        let uri = Some("XksProxyUriInUseException".to_owned());
        assert_eq!(code(&place(Public, "one", "/a", None)), uri);
        let endpoint = Some("XksProxyUriEndpointInUseException".to_owned());
        assert_eq!(code(&place(Service, "one", "/b", Some("com.svc-2"))), endpoint);
        assert_eq!(code(&place(Public, "two", "/b", None)), endpoint);
        assert_eq!(code(&place(Service, "two", "/b", Some("com.svc-2"))), endpoint);
        let service = Some("XksProxyVpcEndpointServiceInUseException".to_owned());
        assert_eq!(code(&place(Service, "three", "/b", Some("com.svc-1"))), service);
    }
}
