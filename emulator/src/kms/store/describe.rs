//! DescribeCustomKeyStores. No secret is in an answer.

use super::super::input::{Input, truncated};
use super::super::{Answer, Kms, describe as keys};
use super::Store;
use super::create::validation;
use super::record::Settings;
use serde_json::{Map, Value, json};

/// How many stores an answer has when the request does not say.
const PAGE: usize = 100;

/// DescribeCustomKeyStores.
pub(in crate::kms) async fn describe(kms: &Kms, input: Input) -> Answer {
    let (id, name) = (input.text("CustomKeyStoreId"), input.text("CustomKeyStoreName"));
    let found = match (id, name) {
        (Some(_), Some(_)) => {
            return Err(validation(
                "name the store by CustomKeyStoreId or by CustomKeyStoreName",
            ));
        }
        (Some(id), None) => vec![kms.stores.find(id).await?],
        (None, Some(name)) => {
            let mut all = kms.stores.all().await?;
            all.retain(|store| store.record().record.name == name);
            if all.is_empty() {
                // The same refusal, with the name that was asked for.
                return Err(super::not_found(name));
            }
            all
        }
        (None, None) => kms.stores.all().await?,
    };
    let (page, more) = input.page(found, PAGE)?;
    let rows: Value = page.iter().map(|store| row(store)).collect();
    let mut answer = Map::from_iter([("CustomKeyStores".to_owned(), rows)]);
    truncated(&mut answer, more);
    Ok(answer)
}

fn row(store: &Store) -> Value {
    let found = store.record();
    let record = &found.record;
    let (state, code) = store.shown();
    let mut out = json!({
        "CustomKeyStoreId": record.id,
        "CustomKeyStoreName": record.name,
        "ConnectionState": state.name(),
        "CreationDate": keys::seconds(record.created_ms),
        "CustomKeyStoreType": record.settings.kind(),
    });
    if let Some(code) = code {
        out["ConnectionErrorCode"] = code.name().into();
    }
    match &record.settings {
        Settings::Cluster(settings) => {
            out["CloudHsmClusterId"] = settings.cluster.as_str().into();
            out["TrustAnchorCertificate"] = settings.anchor.as_str().into();
        }
        Settings::External(settings) => {
            let place = &settings.place;
            let mut proxy = json!({
                "Connectivity": place.connectivity.name(),
                "AccessKeyId": settings.access_key_id,
                "UriEndpoint": place.endpoint,
                "UriPath": place.path,
            });
            if let Some(service) = &place.service {
                proxy["VpcEndpointServiceName"] = service.as_str().into();
            }
            if let Some(owner) = &place.owner {
                proxy["VpcEndpointServiceOwner"] = owner.as_str().into();
            }
            out["XksProxyConfiguration"] = proxy;
        }
    }
    out
}
