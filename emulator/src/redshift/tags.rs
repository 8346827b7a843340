//! CreateTags, DeleteTags, DescribeTags: of certificates, configurations and clusters, by ARN.

use super::input::{Input, limited};
use super::record::{Certificate, Cluster, Configuration, Kind, Resource, Status, Tags};
use super::{Answer, Redshift, combination, fault, invalid, record_fault, store};
use crate::fault::Fault;
use serde_json::{Map, Value, json};

/// The resource types of the API that cannot have resources here.
const EMPTY_TYPES: [&str; 9] = [
    "CIDR/IP",
    "EC2 security group",
    "Snapshot",
    "Cluster security group",
    "Subnet group",
    "Parameter group",
    "Snapshot copy grant",
    "Integration",
    "Event subscription",
];

/// CreateTags. What is there under a key is replaced.
pub(super) async fn add(redshift: &Redshift, input: Input) -> Answer {
    let tags = input.tags()?;
    if tags.is_empty() {
        return Err(fault("InvalidTagFault", "There is no tag in the request."));
    }
    change(redshift, &input, |all| {
        all.extend(tags.clone());
        limited(all)
    })
    .await
}

/// DeleteTags. A key that is not there is no error.
pub(super) async fn remove(redshift: &Redshift, input: Input) -> Answer {
    input.wanted()?;
    let keys = input.texts("TagKeys");
    if keys.is_empty() {
        return Err(fault("InvalidTagFault", "There is no tag key in the request."));
    }
    change(redshift, &input, |all| {
        all.retain(|key, _| !keys.contains(key));
        Ok(())
    })
    .await
}

async fn change(redshift: &Redshift, input: &Input, change: impl Fn(&mut Tags) -> Result<(), Fault>) -> Answer {
    let name = input.must("ResourceName");
    let (kind, id) = resource(redshift, name)?;
    let _alone = redshift.changes.lock().await;
    match kind {
        Kind::Certificate => change_of::<Certificate>(redshift, name, &id, change).await,
        Kind::Configuration => change_of::<Configuration>(redshift, name, &id, change).await,
        Kind::Cluster => {
            let found = redshift
                .find::<Cluster>(&id)
                .await
                .map_err(|fault| not_found(fault, name))?;
            if found.record.status == Status::Deleting {
                return Err(fault("InvalidClusterStateFault", "The cluster is being deleted."));
            }
            change_of::<Cluster>(redshift, name, &id, change).await
        }
    }
}

async fn change_of<T: Resource>(
    redshift: &Redshift,
    name: &str,
    id: &str,
    change: impl Fn(&mut Tags) -> Result<(), Fault>,
) -> Answer {
    let mut found = redshift.find::<T>(id).await.map_err(|fault| not_found(fault, name))?;
    change(found.record.tags_mut())?;
    redshift.commit(vec![store::put(&found.record, found.version)]).await?;
    Ok(Map::new())
}

/// What a kind says of a missing resource, as the operations on tags say it.
fn not_found(found: Fault, name: &str) -> Fault {
    if Kind::ALL.iter().any(|kind| kind.words().not_found == found.code) {
        return no_resource(name);
    }
    found
}

fn no_resource(name: &str) -> Fault {
    let name = name.get(..256).unwrap_or(name);
    fault("ResourceNotFoundFault", &format!("There is no resource {name}."))
}

/// Kind and identifier of an ARN of this region and account.
fn resource(redshift: &Redshift, name: &str) -> Result<(Kind, String), Fault> {
    let words: Vec<_> = name.splitn(7, ':').collect();
    let [arn, partition, service, region, account, kind, id] = words.as_slice() else {
        return Err(invalid(
            "ResourceName",
            "must be an ARN: arn:aws:redshift:region:account:type:name",
        ));
    };
    if *arn != "arn" || *service != "redshift" || !partition.starts_with("aws") {
        return Err(invalid(
            "ResourceName",
            "must be an ARN: arn:aws:redshift:region:account:type:name",
        ));
    }
    let kind = Kind::ALL.into_iter().find(|one| one.words().arn == *kind);
    let ours = *region == redshift.region && *account == redshift.account;
    kind.filter(|_| ours)
        .map(|kind| (kind, (*id).to_owned()))
        .ok_or_else(|| no_resource(name))
}

/// DescribeTags: one row for each tag.
pub(super) async fn describe(redshift: &Redshift, input: Input) -> Answer {
    let wanted = input.wanted()?;
    if input.text("ResourceName").is_some() && input.text("ResourceType").is_some() {
        return Err(combination(
            "You cannot filter a list of resources using an Amazon Resource Name (ARN) and a resource type together in the \
             same request. Retry the request using either an ARN or a resource type, but not both.",
        ));
    }
    let mut rows = Vec::new();
    if let Some(name) = input.text("ResourceName") {
        let (kind, id) = resource(redshift, name)?;
        let tags = match kind {
            Kind::Certificate => redshift.find::<Certificate>(&id).await.map(|found| found.record.tags),
            Kind::Configuration => redshift.find::<Configuration>(&id).await.map(|found| found.record.tags),
            Kind::Cluster => redshift.find::<Cluster>(&id).await.map(|found| found.record.tags),
        };
        rows.push((kind, id, tags.map_err(|fault| not_found(fault, name))?));
    } else {
        for kind in kinds(input.text("ResourceType"))? {
            match kind {
                Kind::Certificate => gather::<Certificate>(redshift, &mut rows).await?,
                Kind::Configuration => gather::<Configuration>(redshift, &mut rows).await?,
                Kind::Cluster => gather::<Cluster>(redshift, &mut rows).await?,
            }
        }
    }
    let mut list = Vec::new();
    for (kind, id, tags) in rows {
        let arn = redshift.arn(kind, &id);
        for (key, value) in tags.iter().filter(|(key, value)| wanted.has(key, value)) {
            let row = json!({
                "Tag": {"Key": key, "Value": value}, "ResourceName": arn, "ResourceType": kind.words().resource_type,
            });
            list.push((format!("{arn}\n{key}"), row));
        }
    }
    list.sort_by(|one, other| one.0.cmp(&other.0));
    let (page, marker) = input.page(list)?;
    let mut answer = Map::from_iter([("TaggedResources".to_owned(), Value::Array(page))]);
    if let Some(marker) = marker {
        answer.insert("Marker".into(), marker.into());
    }
    Ok(answer)
}

async fn gather<T: Resource>(redshift: &Redshift, rows: &mut Vec<(Kind, String, Tags)>) -> Result<(), Fault> {
    let all = redshift.all::<T>().await.map_err(|error| record_fault(&error))?;
    rows.extend(
        all.into_iter()
            .map(|found| (T::KIND, found.record.id().to_owned(), found.record.tags().clone())),
    );
    Ok(())
}

/// The kinds of a resource type; all without one.
fn kinds(name: Option<&str>) -> Result<Vec<Kind>, Fault> {
    let Some(name) = name else {
        return Ok(Kind::ALL.to_vec());
    };
    let fits = |kind: &Kind| kind.words().resource_type.eq_ignore_ascii_case(name) || kind.words().arn == name;
    let found: Vec<_> = Kind::ALL.into_iter().filter(fits).collect();
    if found.is_empty() && !EMPTY_TYPES.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        let mut known: Vec<_> = Kind::ALL.iter().map(|kind| kind.words().resource_type).collect();
        known.extend(EMPTY_TYPES);
        return Err(invalid(
            "ResourceType",
            &format!("must be one of: {}", known.join(", ")),
        ));
    }
    Ok(found)
}
