//! CreateHsmConfiguration, DescribeHsmConfigurations, DeleteHsmConfiguration: where a partition is and how to log in to it. The
//! password and the server's certificate are in no answer.

use super::certificates::user;
use super::input::Input;
use super::record::{Configuration, Kind, Resource as _, Secret};
use super::{Answer, Redshift, fault, invalid, store, tag_list};
use crate::fault::Fault;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Bundles of authorities are a few certificates. In characters.
const LONGEST_CERTIFICATE: usize = 20_000;
/// Longer ones are not PKCS#11's. In bytes.
const LONGEST_PASSWORD: usize = 255;
const LONGEST_DESCRIPTION: usize = 1_024;
const LONGEST_PARTITION: usize = 64;

/// CreateHsmConfiguration.
pub(super) async fn create(redshift: &Redshift, mut input: Input) -> Answer {
    let password = input.take("HsmPartitionPassword");
    let id = input.identifier(Kind::Configuration.words().identifier)?;
    let tags = input.tags()?;
    length("HsmPartitionPassword", &password, LONGEST_PASSWORD)?;
    let partition = input.must("HsmPartitionName");
    length("HsmPartitionName", partition, LONGEST_PARTITION)?;
    let description = input.must("Description");
    length("Description", description, LONGEST_DESCRIPTION)?;
    let address = input.must("HsmIpAddress");
    let parsed = address.parse::<IpAddr>();
    parsed.map_err(|_| invalid("HsmIpAddress", "must be an IP address"))?;
    let authority = input.must("HsmServerPublicCertificate");
    length("HsmServerPublicCertificate", authority, LONGEST_CERTIFICATE)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(authority.as_bytes()).collect();
    if !certificates.is_ok_and(|found| !found.is_empty()) {
        return Err(invalid(
            "HsmServerPublicCertificate",
            "must be a certificate in PEM form",
        ));
    }
    let configuration = Configuration {
        id,
        description: description.to_owned(),
        address: address.to_owned(),
        partition: partition.to_owned(),
        password: Secret::new(password.as_str()),
        authority: authority.to_owned(),
        tags,
    };
    let _alone = redshift.changes.lock().await;
    let quota = redshift.settings.configurations;
    redshift.room::<Configuration>(&configuration.id, quota).await?;
    redshift.commit(vec![store::put(&configuration, 0)]).await?;
    Ok(Map::from_iter([("HsmConfiguration".to_owned(), shown(&configuration))]))
}

fn length(name: &str, text: &str, most: usize) -> Result<(), Fault> {
    if (1..=most).contains(&text.len()) {
        return Ok(());
    }
    Err(invalid(name, &format!("must have 1 to {most} characters")))
}

/// DescribeHsmConfigurations.
pub(super) async fn describe(redshift: &Redshift, input: Input) -> Answer {
    let found = redshift.selected::<Configuration>(&input).await?;
    let (page, marker) = input.page(found)?;
    let list: Value = page.iter().map(shown).collect();
    let mut answer = Map::from_iter([("HsmConfigurations".to_owned(), list)]);
    if let Some(marker) = marker {
        answer.insert("Marker".into(), marker.into());
    }
    Ok(answer)
}

/// DeleteHsmConfiguration. One that a cluster needs stays.
pub(super) async fn delete(redshift: &Redshift, input: Input) -> Answer {
    let _alone = redshift.changes.lock().await;
    let name = input.must(Kind::Configuration.words().identifier);
    let found = redshift.find::<Configuration>(name).await?;
    let id = found.record.id();
    if let Some(cluster) = user(redshift, |cluster| cluster.uses(|hsm| hsm.configuration == id)).await? {
        let message = format!("The HSM configuration {id} is used by the cluster {cluster}.");
        return Err(fault("InvalidHsmConfigurationStateFault", &message));
    }
    redshift
        .commit(vec![store::delete(&found.record, found.version)])
        .await?;
    Ok(Map::new())
}

fn shown(configuration: &Configuration) -> Value {
    json!({
        "HsmConfigurationIdentifier": configuration.id,
        "Description": configuration.description,
        "HsmIpAddress": configuration.address,
        "HsmPartitionName": configuration.partition,
        "Tags": tag_list(&configuration.tags),
    })
}
