//! CreateCustomKeyStore: what must be true of a group or a proxy before a store is made of it.

use super::super::input::Input;
use super::super::{Answer, Kms, internal, now_ms};
use super::record::{ClusterSettings, Settings, State, StoreRecord};
use super::{MOST, Store, control_fault, proxies};
use crate::clusters::Cluster;
use crate::fault::Fault;
use crate::module::ModuleError;
use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;
use std::sync::Arc;

/// Members that belong to a store of the other kind.
pub(super) const OF_CLUSTERS: [&str; 3] = ["CloudHsmClusterId", "TrustAnchorCertificate", "KeyStorePassword"];
/// See [`OF_CLUSTERS`].
pub(super) const OF_PROXIES: [&str; 6] = [
    "XksProxyUriEndpoint",
    "XksProxyUriPath",
    "XksProxyVpcEndpointServiceName",
    "XksProxyVpcEndpointServiceOwner",
    "XksProxyAuthenticationCredential",
    "XksProxyConnectivity",
];

/// CreateCustomKeyStore.
pub(in crate::kms) async fn create(kms: &Kms, input: Input) -> Answer {
    let is_cluster = input.text("CustomKeyStoreType").unwrap_or("AWS_CLOUDHSM") == "AWS_CLOUDHSM";
    let foreign: &[&str] = if is_cluster { &OF_PROXIES } else { &OF_CLUSTERS };
    none_of(&input, foreign, "a custom key store of this type")?;
    // What is found out about other stores and the group holds until the record is there.
    let _turn = kms.stores.turn.lock().await;
    let stores = kms.stores.all().await?;
    let settings = if !is_cluster {
        vacant(&stores, input.must("CustomKeyStoreName"))?;
        Settings::External(proxies::settings(kms, &stores, &input).await?)
    } else {
        if let Some(same) = same_cluster(&stores, &input)? {
            return Ok(id_of(same));
        }
        vacant(&stores, input.must("CustomKeyStoreName"))?;
        Settings::Cluster(cluster_settings(kms, &stores, &input).await?)
    };
    let record = StoreRecord {
        id: new_id().ok_or_else(internal)?,
        name: input.must("CustomKeyStoreName").to_owned(),
        created_ms: now_ms(),
        state: State::Disconnected,
        error: None,
        settings,
    };
    let answer = id_of(record.id.clone());
    kms.stores.insert(record).await?;
    Ok(answer)
}

fn id_of(id: String) -> Map<String, serde_json::Value> {
    Map::from_iter([("CustomKeyStoreId".to_owned(), id.into())])
}

/// Refuses members that this kind of store does not have.
pub(super) fn none_of(input: &Input, members: &[&str], of: &str) -> Result<(), Fault> {
    let given = members
        .iter()
        .find(|name| input.0.get(**name).is_some_and(|value| !value.is_null()));
    match given {
        Some(name) => Err(validation(format!("{name} does not belong to {of}"))),
        None => Ok(()),
    }
}

pub(super) fn validation(message: impl Into<String>) -> Fault {
    Fault::new(400, "ValidationException", message)
}

/// A text that this kind of store needs.
pub(super) fn needed<'a>(input: &'a Input, name: &str) -> Result<&'a str, Fault> {
    let missing = || validation(format!("{name} is required for a custom key store of this type"));
    input.text(name).ok_or_else(missing)
}

/// The id of a disconnected store that has all that is asked for: creating it again is no error. The password is compared while the
/// record still has the one that was given.
fn same_cluster(stores: &[Arc<Store>], input: &Input) -> Result<Option<String>, Fault> {
    let [cluster, anchor, password] = OF_CLUSTERS.map(|name| needed(input, name));
    let (cluster, anchor, password) = (cluster?, anchor?, password?);
    let name = input.must("CustomKeyStoreName");
    let found = stores.iter().map(|store| store.record()).find(|found| {
        let record = &found.record;
        let Settings::Cluster(settings) = &record.settings else {
            return false;
        };
        record.state == State::Disconnected
            && record.name == name
            && settings.cluster == cluster
            && settings.anchor == anchor
            && (settings.rotated || settings.pin.is(password))
    });
    Ok(found.map(|found| found.record.id.clone()))
}

/// Name and quota.
fn vacant(stores: &[Arc<Store>], name: &str) -> Result<(), Fault> {
    name_is_free(stores, name, "")?;
    if stores.len() >= MOST {
        let message = format!("an account has at most {MOST} custom key stores");
        return Err(Fault::new(400, "LimitExceededException", message));
    }
    Ok(())
}

/// Whether no other store has this name.
pub(super) fn name_is_free(stores: &[Arc<Store>], name: &str, own: &str) -> Result<(), Fault> {
    let mut records = stores.iter().map(|store| store.record());
    if records.any(|found| found.record.name == name && found.record.id != own) {
        let message = "another custom key store has this CustomKeyStoreName";
        return Err(Fault::new(400, "CustomKeyStoreNameInUseException", message));
    }
    Ok(())
}

async fn cluster_settings(kms: &Kms, stores: &[Arc<Store>], input: &Input) -> Result<ClusterSettings, Fault> {
    let [id, anchor, password] = OF_CLUSTERS.map(|name| needed(input, name));
    let (id, anchor, password) = (id?, anchor?, password?);
    let cluster = active(kms, id).await?;
    cluster_is_free(stores, &cluster)?;
    trusted(kms, anchor).await?;
    sound(kms, &cluster).await?;
    not_our_own(kms, &cluster).await?;
    Ok(ClusterSettings {
        cluster: cluster.id.clone(),
        anchor: anchor.to_owned(),
        pin: Secret::new(password),
        next: None,
        rotated: false,
        entered: false,
        members: cluster.serials(),
    })
}

/// The group of a cluster id, which has a token.
///
/// # Errors
/// CloudHsmClusterNotFoundException, CloudHsmClusterNotActiveException.
pub(super) async fn active(kms: &Kms, id: &str) -> Result<Cluster, Fault> {
    let found = kms.stores.shared.clusters.find(id).await;
    let cluster = found.map_err(|status| control_fault(&status))?;
    let missing = || {
        Fault::new(
            400,
            "CloudHsmClusterNotFoundException",
            format!("there is no cluster {id}"),
        )
    };
    let cluster = cluster.ok_or_else(missing)?;
    if cluster.is_initialized() {
        return Ok(cluster);
    }
    let message = format!("{id} has no initialised token: give its group a member with PINs");
    Err(Fault::new(400, "CloudHsmClusterNotActiveException", message))
}

/// Whether the group outlives the loss of an HSM.
///
/// # Errors
/// CloudHsmClusterInvalidConfigurationException.
pub(in crate::kms) async fn sound(kms: &Kms, cluster: &Cluster) -> Result<(), Fault> {
    let zones = kms.stores.shared.clusters.zones().await;
    if cluster.is_redundant(zones.map_err(|status| control_fault(&status))?) {
        return Ok(());
    }
    let id = &cluster.id;
    Err(unsound(format!(
        "{id} must have at least two HSMs that serve, in different availability zones where there is more than one"
    )))
}

fn unsound(message: impl Into<String>) -> Fault {
    Fault::new(400, "CloudHsmClusterInvalidConfigurationException", message)
}

/// One store a group, and a group that has or had a partition of another store's has its keys.
fn cluster_is_free(stores: &[Arc<Store>], cluster: &Cluster) -> Result<(), Fault> {
    let members = cluster.serials();
    for store in stores {
        let found = store.record();
        if let Settings::Cluster(settings) = &found.record.settings
            && (settings.cluster == cluster.id || related(&settings.members, &members))
        {
            let message = format!("{} is associated with another custom key store already", cluster.id);
            return Err(Fault::new(400, "CloudHsmClusterInUseException", message));
        }
    }
    Ok(())
}

/// Whether two lists of partitions have one in common.
pub(super) fn related(some: &[String], others: &[String]) -> bool {
    some.iter().any(|serial| others.contains(serial))
}

/// Whether the certificate is that of hsmd's authority.
async fn trusted(kms: &Kms, anchor: &str) -> Result<(), Fault> {
    let known = kms.stores.shared.clusters.authorities().await;
    let known = known.map_err(|status| control_fault(&status))?;
    if is_among(anchor, &known) {
        return Ok(());
    }
    let message = "TrustAnchorCertificate must be the certificate, in PEM, of the authority that hsmd is known by \
                   (ConfigCred of GetConfig, ClusterCertificate of DescribeClusters)";
    Err(Fault::new(400, "IncorrectTrustAnchorException", message))
}

/// A store in the token of `[kms]` itself would change the PIN of the other keys.
async fn not_our_own(kms: &Kms, cluster: &Cluster) -> Result<(), Fault> {
    let own = kms
        .module
        .run(|worker| Ok(worker.info()?.serial_number().to_owned()))
        .await;
    let own = match own {
        Ok(serial) => serial,
        Err(ModuleError::NoToken) => return Ok(()),
        Err(error) => return Err(super::super::module_fault(&error, "the HSM")),
    };
    let groups = kms.stores.shared.clusters.all().await;
    let groups = groups.map_err(|status| control_fault(&status))?;
    let mut serials = groups
        .iter()
        .filter(|group| group.serial == own)
        .flat_map(Cluster::serials)
        .collect::<Vec<_>>();
    serials.push(own.clone());
    if cluster.serial == own || related(&serials, &cluster.serials()) {
        let message = format!(
            "{} has the partition in which the service keeps its other keys",
            cluster.id
        );
        return Err(unsound(message));
    }
    Ok(())
}

/// Whether all certificates of a PEM text are among those of another, and there is one at all.
fn is_among(some: &str, known: &str) -> bool {
    let known = certificates(known);
    let some = certificates(some);
    !some.is_empty() && some.iter().all(|certificate| known.contains(certificate))
}

/// The certificates of a PEM text as DER; none when one does not read.
fn certificates(pem: &str) -> Vec<Vec<u8>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let read = |block: &str| {
        let (text, _) = block.split_once(END)?;
        let text: String = text.split_ascii_whitespace().collect();
        STANDARD.decode(text).ok()
    };
    let blocks: Option<Vec<_>> = pem.split(BEGIN).skip(1).map(read).collect();
    blocks.unwrap_or_default()
}

/// `cks-` and 17 hexadecimal digits; `None` when the system gives no random bytes.
fn new_id() -> Option<String> {
    let mut bytes = [0; 9];
    getrandom::fill(&mut bytes).ok()?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("cks-{}", &digits[..17]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Versioned;

    #[test]
    fn an_id_has_17_digits() {
        let id = new_id().unwrap();
        assert!(id.len() == 21 && id.starts_with("cks-"), "{id}");
    }

    fn store(number: usize, members: &[&str]) -> Arc<Store> {
        let record = StoreRecord {
            id: format!("cks-{number:017x}"),
            name: format!("store {number}"),
            created_ms: 0,
            state: State::Disconnected,
            error: None,
            settings: Settings::Cluster(ClusterSettings {
                cluster: format!("cluster-{number}"),
                anchor: String::new(),
                pin: Secret::new("password"),
                next: None,
                rotated: false,
                entered: false,
                members: members.iter().map(|serial| (*serial).to_owned()).collect(),
            }),
        };
        Arc::new(Store::new(Versioned { version: 1, record }))
    }

    #[test]
    fn an_account_has_ten_stores_of_different_names() {
        let stores: Vec<_> = (0..MOST).map(|number| store(number, &[])).collect();
        let code = |stores: &[Arc<Store>], name| vacant(stores, name).err().map(|fault| fault.code.into_owned());
        assert_eq!(code(&stores[1..], "new"), None);
        assert_eq!(code(&stores, "new").as_deref(), Some("LimitExceededException"));
        let taken = Some("CustomKeyStoreNameInUseException".to_owned());
        assert_eq!(code(&stores[..2], "store 1"), taken);
    }

    #[test]
    fn a_group_with_a_partition_of_anothers_store_is_in_use() {
        let stores = [store(1, &["100000001", "200000001"])];
        let cluster = |members: &[&str]| Cluster {
            id: "cluster-2".into(),
            serial: String::new(),
            state: "READY".into(),
            modified_ms: 0,
            members: members
                .iter()
                .map(|serial| crate::clusters::Member {
                    serial: (*serial).to_owned(),
                    initialized: true,
                    hsm: Default::default(),
                })
                .collect(),
        };
        assert!(cluster_is_free(&stores, &cluster(&["300000001"])).is_ok());
        let fault = cluster_is_free(&stores, &cluster(&["300000001", "200000001"])).unwrap_err();
        assert_eq!(fault.code, "CloudHsmClusterInUseException");
    }

    #[test]
    fn a_certificate_is_the_same_however_its_lines_are_broken() {
        let one = "-----BEGIN CERTIFICATE-----\nAAEC\nAwQF\n-----END CERTIFICATE-----\n";
        let same = "subject: x\r\n-----BEGIN CERTIFICATE-----\r\nAAECAwQF\r\n-----END CERTIFICATE-----";
        let other = one.replace("AAEC", "AAED");
        assert!(is_among(same, &format!("{other}{one}")));
        assert!(!is_among(&other, one));
        assert!(!is_among(&format!("{one}{other}"), one), "all of them");
        for nothing in ["", "AAECAwQF", "-----BEGIN CERTIFICATE-----\nAAEC"] {
            assert!(!is_among(nothing, one), "{nothing}");
        }
    }
}
