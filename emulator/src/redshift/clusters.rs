//! CreateCluster, DescribeClusters, ModifyCluster, DeleteCluster, RotateEncryptionKey: they answer at once and record what shall
//! be; `work` makes it so.

use super::input::Input;
use super::record::{Certificate, Cluster, Configuration, Hsm, Kind, Next, Place, Resource as _, Status, Tags};
use super::{Answer, Redshift, combination, fault, internal, invalid, now_ms, record_fault, settings, store, tag_list};
use crate::fault::Fault;
use crate::records::{Versioned, Write};
use crate::uuid;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const CERTIFICATE: &str = "HsmClientCertificateIdentifier";
const CONFIGURATION: &str = "HsmConfigurationIdentifier";
/// Of all clusters together (the service's own limit).
const MOST_NODES: u32 = 200;

/// CreateCluster.
pub(super) async fn create(redshift: &Arc<Redshift>, mut input: Input) -> Answer {
    let id = settings::identifier(&input, "ClusterIdentifier")?;
    let settings = settings::new(&input, &format!("{}a", redshift.region))?;
    drop(input.take("MasterUserPassword"));
    let tags: Tags = input.tags()?;
    let _alone = redshift.changes.lock().await;
    redshift.room::<Cluster>(&id, redshift.settings.clusters).await?;
    let others = redshift.all::<Cluster>().await.map_err(|error| record_fault(&error))?;
    let nodes: u32 = others.iter().map(|other| other.record.settings.nodes).sum();
    if nodes + settings.nodes > MOST_NODES {
        let message = format!("All clusters together have at most {MOST_NODES} nodes.");
        return Err(fault("NumberOfNodesQuotaExceededFault", &message));
    }
    let mut writes = Vec::new();
    let hsm = hsm(redshift, &input, None, &mut writes).await?;
    encryption(&input, hsm.is_some())?;
    let next = hsm.clone().map(next).transpose()?;
    let cluster = Cluster {
        id,
        namespace: new_id()?,
        created_ms: now_ms(),
        status: Status::Creating,
        settings,
        tags,
        hsm,
        key: None,
        next,
        old: Vec::new(),
        trouble: None,
    };
    writes.push(store::put(&cluster, 0));
    redshift.commit(writes).await?;
    redshift.wake(&cluster.id);
    Ok(answer(redshift, &cluster))
}

fn new_id() -> Result<String, Fault> {
    uuid::random().map(|id| uuid::text(&id)).ok_or_else(internal)
}

/// A cluster key to be made: its name is known before it exists.
fn next(hsm: Hsm) -> Result<Next, Fault> {
    let place = Place { cek: new_id()?, hsm };
    Ok(Next { place, doubt: false })
}

/// The certificate and the configuration that a request names, or the cluster has. Their records are written again with the
/// cluster's, so that neither is deleted meanwhile.
async fn hsm(
    redshift: &Redshift,
    input: &Input,
    now: Option<&Hsm>,
    writes: &mut Vec<Write>,
) -> Result<Option<Hsm>, Fault> {
    let certificate = input.text(CERTIFICATE).or(now.map(|hsm| hsm.certificate.as_str()));
    let configuration = input.text(CONFIGURATION).or(now.map(|hsm| hsm.configuration.as_str()));
    let (certificate, configuration) = match (certificate, configuration) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(configuration)) => (certificate, configuration),
        _ => {
            return Err(combination(&format!(
                "{CERTIFICATE} and {CONFIGURATION} must be given together."
            )));
        }
    };
    let certificate = redshift.find::<Certificate>(certificate).await?;
    let configuration = redshift.find::<Configuration>(configuration).await?;
    writes.push(store::put(&certificate.record, certificate.version));
    writes.push(store::put(&configuration.record, configuration.version));
    Ok(Some(Hsm {
        certificate: certificate.record.id().to_owned(),
        configuration: configuration.record.id().to_owned(),
    }))
}

fn encryption(input: &Input, hsm: bool) -> Result<(), Fault> {
    match (input.flag("Encrypted"), hsm) {
        (Some(true), false) => Err(fault(
            "UnsupportedOperationFault",
            "Clusters are encrypted with keys in HSMs only: name a client certificate and a configuration.",
        )),
        (Some(false), true) => Err(combination(
            "A cluster with an HSM is encrypted: Encrypted must not be false.",
        )),
        _ => Ok(()),
    }
}

/// DescribeClusters.
pub(super) async fn describe(redshift: &Redshift, input: Input) -> Answer {
    let found = redshift.selected::<Cluster>(&input).await?;
    let (page, marker) = input.page(found)?;
    let list: Value = page.iter().map(|cluster| shown(redshift, cluster)).collect();
    let mut answer = Map::from_iter([("Clusters".to_owned(), list)]);
    if let Some(marker) = marker {
        answer.insert("Marker".into(), marker.into());
    }
    Ok(answer)
}

/// A cluster that is not just being changed.
async fn steady(redshift: &Redshift, input: &Input, allowed: &[Status]) -> Result<Versioned<Cluster>, Fault> {
    let found = redshift.find::<Cluster>(input.must("ClusterIdentifier")).await?;
    let status = found.record.status;
    if allowed.contains(&status) {
        return Ok(found);
    }
    let message = format!(
        "The cluster {} is {}: this cannot be done now.",
        found.record.id,
        status.name()
    );
    Err(fault("InvalidClusterStateFault", &message))
}

/// ModifyCluster. For a cluster with an HSM it is also the way to try again.
pub(super) async fn modify(redshift: &Arc<Redshift>, mut input: Input) -> Answer {
    let _alone = redshift.changes.lock().await;
    let found = steady(redshift, &input, &[Status::Available, Status::IncompatibleHsm]).await?;
    let mut cluster = found.record.clone();
    settings::change(&input, &mut cluster.settings)?;
    drop(input.take("MasterUserPassword"));
    let mut writes = Vec::new();
    let hsm = hsm(redshift, &input, cluster.hsm.as_ref(), &mut writes).await?;
    encryption(&input, hsm.is_some())?;
    if let Some(hsm) = hsm {
        if cluster.key.is_none() && cluster.next.as_ref().is_none_or(|next| next.place.hsm != hsm) {
            let fresh = next(hsm.clone())?;
            // Where the password was wrong none was made, and trying it again would lock the partition.
            let locked_out = cluster.trouble.is_some_and(|trouble| !trouble.may_pass());
            let given_up = cluster.next.replace(fresh).filter(|next| next.doubt && !locked_out);
            cluster.old.extend(given_up.map(|next| next.place));
        }
        cluster.hsm = Some(hsm);
    }
    cluster.status = Status::Modifying;
    if input.text("NewClusterIdentifier").is_some() {
        cluster.id = settings::identifier(&input, "NewClusterIdentifier")?;
    }
    if cluster.id == found.record.id {
        writes.push(store::put(&cluster, found.version));
    } else {
        redshift.room::<Cluster>(&cluster.id, usize::MAX).await?;
        writes.push(store::delete(&found.record, found.version));
        writes.push(store::put(&cluster, 0));
    }
    redshift.commit(writes).await?;
    redshift.wake(&cluster.id);
    Ok(answer(redshift, &cluster))
}

/// RotateEncryptionKey.
pub(super) async fn rotate(redshift: &Arc<Redshift>, input: Input) -> Answer {
    let _alone = redshift.changes.lock().await;
    let found = steady(redshift, &input, &[Status::Available]).await?;
    let mut cluster = found.record;
    let Some(hsm) = cluster.hsm.clone().filter(|_| cluster.key.is_some()) else {
        return Err(fault(
            "InvalidClusterStateFault",
            "The cluster is not encrypted: it has no keys to rotate.",
        ));
    };
    cluster.next = Some(next(hsm)?);
    cluster.status = Status::RotatingKeys;
    redshift.commit(vec![store::put(&cluster, found.version)]).await?;
    redshift.wake(&cluster.id);
    Ok(answer(redshift, &cluster))
}

/// DeleteCluster. Its keys are destroyed first, then its record goes.
pub(super) async fn delete(redshift: &Arc<Redshift>, input: Input) -> Answer {
    let skip = input.flag("SkipFinalClusterSnapshot").unwrap_or_default();
    match (skip, input.text("FinalClusterSnapshotIdentifier")) {
        (true, None) => {}
        (true, Some(_)) => {
            return Err(combination(
                "FinalClusterSnapshotIdentifier must not be given with SkipFinalClusterSnapshot.",
            ));
        }
        (false, None) => {
            return Err(combination(
                "FinalClusterSnapshotIdentifier is required unless SkipFinalClusterSnapshot is true.",
            ));
        }
        (false, Some(_)) => {
            let message = "There are no snapshots here: delete with SkipFinalClusterSnapshot.";
            return Err(fault("ClusterSnapshotQuotaExceededFault", message));
        }
    }
    if input.number("FinalClusterSnapshotRetentionPeriod").is_some() {
        return Err(invalid("FinalClusterSnapshotRetentionPeriod", "needs a final snapshot"));
    }
    let _alone = redshift.changes.lock().await;
    let found = steady(redshift, &input, &[Status::Available, Status::IncompatibleHsm]).await?;
    let mut cluster = found.record;
    cluster.status = Status::Deleting;
    redshift.commit(vec![store::put(&cluster, found.version)]).await?;
    redshift.wake(&cluster.id);
    Ok(answer(redshift, &cluster))
}

fn answer(redshift: &Redshift, cluster: &Cluster) -> Map<String, Value> {
    Map::from_iter([("Cluster".to_owned(), shown(redshift, cluster))])
}

/// A cluster as the API shows it. Its address is of a domain that never exists (RFC 2606): nothing listens there.
fn shown(redshift: &Redshift, cluster: &Cluster) -> Value {
    let Cluster { settings, status, .. } = cluster;
    let vpc: Value = settings
        .vpc_security_groups
        .iter()
        .map(|id| json!({"VpcSecurityGroupId": id, "Status": "active"}))
        .collect();
    let groups: Value = settings
        .security_groups
        .iter()
        .map(|name| json!({"ClusterSecurityGroupName": name, "Status": "active"}))
        .collect();
    let roles: Value = settings
        .roles
        .iter()
        .map(|arn| json!({"IamRoleArn": arn, "ApplyStatus": "in-sync"}))
        .collect();
    let created = i64::try_from(cluster.created_ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    let mut shown = json!({
        "ClusterIdentifier": cluster.id,
        "NodeType": settings.node_type,
        "ClusterStatus": status.name(),
        "ClusterAvailabilityStatus": availability(*status),
        "MasterUsername": settings.master_username,
        "DBName": settings.database,
        "Endpoint": {"Address": format!("{}.redshift.invalid", cluster.id), "Port": settings.port},
        "ClusterCreateTime": created.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true),
        "AutomatedSnapshotRetentionPeriod": settings.automated_retention,
        "ManualSnapshotRetentionPeriod": settings.manual_retention,
        "ClusterSecurityGroups": groups,
        "VpcSecurityGroups": vpc,
        "ClusterParameterGroups": [{"ParameterGroupName": "default.redshift-1.0", "ParameterApplyStatus": "in-sync"}],
        "AvailabilityZone": settings.zone,
        "PreferredMaintenanceWindow": settings.maintenance_window,
        "PendingModifiedValues": {},
        "ClusterVersion": "1.0",
        "AllowVersionUpgrade": settings.allow_version_upgrade,
        "NumberOfNodes": settings.nodes,
        "PubliclyAccessible": settings.publicly_accessible,
        "Encrypted": cluster.hsm.is_some(),
        "Tags": tag_list(&cluster.tags),
        "EnhancedVpcRouting": settings.enhanced_vpc_routing,
        "IamRoles": roles,
        "MaintenanceTrackName": settings.track,
        "ClusterNamespaceArn": format!(
            "arn:aws:redshift:{}:{}:namespace:{}", redshift.region, redshift.account, cluster.namespace
        ),
    });
    if *status == Status::Creating {
        // Clients take its presence for readiness.
        shown["Endpoint"].take();
    }
    if let Some(hsm) = &cluster.hsm {
        let applied = cluster.key.as_ref().is_some_and(|key| key.place.hsm == *hsm)
            && !matches!(status, Status::Modifying | Status::IncompatibleHsm);
        shown["HsmStatus"] = json!({
            CERTIFICATE: hsm.certificate,
            CONFIGURATION: hsm.configuration,
            "Status": if applied { "active" } else { "applying" },
        });
    }
    shown
}

const fn availability(status: Status) -> &'static str {
    match status {
        Status::Available | Status::RotatingKeys => "Available",
        Status::Modifying => "Modifying",
        Status::Creating | Status::Deleting => "Unavailable",
        Status::IncompatibleHsm => "Failed",
    }
}

/// The ARN of a cluster.
pub(super) fn arn(redshift: &Redshift, cluster: &Cluster) -> String {
    redshift.arn(Kind::Cluster, &cluster.id)
}
