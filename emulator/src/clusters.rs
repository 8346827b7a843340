//! Groups as the services know them that speak of CloudHSM clusters: members, their HSMs and zones, whether there is a token. Asked
//! from the control plane each time; nothing is kept.

use crate::control::Control;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{
    DescribeAccessRequest, ListLoginsRequest, ListPartitionsRequest, Partition, RevokeLoginRequest,
};
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::cloudhsm::{
    DescribeHapgRequest, DescribeHapgResponse, DescribeHsmRequest, DescribeHsmResponse, ListAvailableZonesRequest,
    ListHapgsRequest,
};
use hsmd_control::{cluster_of_group, group_of_cluster};
use std::collections::BTreeSet;
use tonic::{Code, Status};

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// `cluster-...`
    pub(crate) id: String,
    /// The serial number of its token.
    pub(crate) serial: String,
    /// READY, UPDATING, DEGRADED.
    pub(crate) state: String,
    /// Milliseconds since 1970.
    pub(crate) modified_ms: u64,
    /// Those that have joined, in their order.
    pub(crate) members: Vec<Member>,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The partition's.
    pub(crate) serial: String,
    /// The token has been initialised.
    pub(crate) initialized: bool,
    pub(crate) hsm: DescribeHsmResponse,
}

impl Member {
    /// Whether its HSM serves.
    pub(crate) fn is_active(&self) -> bool {
        self.hsm.status == "RUNNING"
    }
}

impl Cluster {
    /// Whether there is a token to log in to.
    pub(crate) fn is_initialized(&self) -> bool {
        self.members.iter().any(|member| member.initialized)
    }

    /// HSMs that serve.
    pub(crate) fn active(&self) -> usize {
        self.members.iter().filter(|member| member.is_active()).count()
    }

    /// Whether the loss of an HSM, and where there are zones of a zone, leaves one that serves.
    pub(crate) fn is_redundant(&self, zones: usize) -> bool {
        let active = || self.members.iter().filter(|member| member.is_active());
        let stand: BTreeSet<_> = active().map(|member| &member.hsm.availability_zone).collect();
        active().count() >= 2 && stand.len() >= zones.min(2)
    }

    /// The serial numbers of its partitions.
    pub(crate) fn serials(&self) -> Vec<String> {
        self.members.iter().map(|member| member.serial.clone()).collect()
    }
}

/// Asks the control plane.
#[derive(Clone)]
pub(crate) struct Clusters {
    groups: CloudHsmClient<Control>,
    admin: HsmAdminClient<Control>,
}

impl Clusters {
    pub(crate) fn new(control: Control) -> Self {
        Self {
            groups: CloudHsmClient::new(control.clone()),
            admin: HsmAdminClient::new(control),
        }
    }

    /// All groups.
    ///
    /// # Errors
    /// The control plane's.
    pub(crate) async fn all(&self) -> Result<Vec<Cluster>, Status> {
        let mut clusters = Vec::new();
        for arn in self.arns().await? {
            clusters.extend(self.describe(arn).await?);
        }
        Ok(clusters)
    }

    /// The group of this cluster id.
    ///
    /// # Errors
    /// The control plane's.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Cluster>, Status> {
        let Some(group) = group_of_cluster(id) else {
            return Ok(None);
        };
        let found = self.arns().await?.into_iter().find(|arn| short(arn) == group);
        match found {
            Some(arn) => self.describe(arn).await,
            None => Ok(None),
        }
    }

    /// How many zones HSMs can stand in.
    ///
    /// # Errors
    /// The control plane's.
    pub(crate) async fn zones(&self) -> Result<usize, Status> {
        let mut groups = self.groups.clone();
        let asked = groups.list_available_zones(ListAvailableZonesRequest {}).await;
        Ok(asked?.into_inner().az_list.len())
    }

    /// The certificates, in PEM, of the authority by which the daemon is known.
    ///
    /// # Errors
    /// The control plane's.
    pub(crate) async fn authorities(&self) -> Result<String, Status> {
        let asked = self
            .admin
            .clone()
            .describe_access(DescribeAccessRequest::default())
            .await;
        Ok(asked?.into_inner().authorities)
    }

    /// Who is logged in as the user of this partition: ids of logins.
    ///
    /// # Errors
    /// The control plane's.
    pub(crate) async fn users(&self, partition: &str) -> Result<Vec<String>, Status> {
        let request = ListLoginsRequest {
            partition: partition.to_owned(),
        };
        let logins = self.admin.clone().list_logins(request).await?.into_inner().logins;
        Ok(logins
            .into_iter()
            .filter(|login| login.role == "user")
            .map(|login| login.id)
            .collect())
    }

    /// Ends a login.
    ///
    /// # Errors
    /// The control plane's.
    pub(crate) async fn end_login(&self, partition: &str, login: &str) -> Result<(), Status> {
        let request = RevokeLoginRequest {
            partition: partition.to_owned(),
            login: login.to_owned(),
        };
        self.admin.clone().revoke_login(request).await.map(drop)
    }

    async fn arns(&self) -> Result<Vec<String>, Status> {
        let (mut arns, mut next_token) = (Vec::new(), None);
        loop {
            let page = self.groups.clone().list_hapgs(ListHapgsRequest { next_token }).await?;
            let page = page.into_inner();
            arns.extend(page.hapg_list);
            if page.next_token.is_empty() {
                return Ok(arns);
            }
            next_token = Some(page.next_token);
        }
    }

    /// `None` for a group that went meanwhile.
    async fn describe(&self, arn: String) -> Result<Option<Cluster>, Status> {
        let request = DescribeHapgRequest {
            hapg_arn: Some(arn.clone()),
        };
        let group = match self.groups.clone().describe_hapg(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(status),
        };
        let Some(id) = cluster_of_group(short(&arn)) else {
            return Ok(None);
        };
        let mut admin = self.admin.clone();
        let listed = admin.list_partitions(ListPartitionsRequest::default()).await;
        let partitions = listed?.into_inner().partitions;
        let mut members = Vec::new();
        for serial in &group.partition_serial_list {
            let Some(partition) = partitions.iter().find(|known| known.serial == *serial) else {
                continue;
            };
            // It has no part in the group's keys yet.
            if !group.hsms_pending_registration.contains(&partition.hsm_arn) {
                members.push(self.member(partition).await?);
            }
        }
        Ok(Some(cluster(id, group, members)))
    }

    async fn member(&self, partition: &Partition) -> Result<Member, Status> {
        let request = DescribeHsmRequest {
            hsm_arn: Some(partition.hsm_arn.clone()),
            ..DescribeHsmRequest::default()
        };
        Ok(Member {
            serial: partition.serial.clone(),
            initialized: partition.initialized,
            hsm: self.groups.clone().describe_hsm(request).await?.into_inner(),
        })
    }
}

fn cluster(id: String, group: DescribeHapgResponse, members: Vec<Member>) -> Cluster {
    Cluster {
        id,
        serial: group.hapg_serial,
        state: group.state,
        modified_ms: group.last_modified_timestamp.parse().unwrap_or_default(),
        members,
    }
}

/// The last part of an ARN.
pub(crate) fn short(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

/// Whether the same call may succeed later.
pub(crate) fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown | Code::Aborted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(places: &[(&str, &str)]) -> Cluster {
        let member = |(zone, status): &(&str, &str)| Member {
            serial: "100000001".into(),
            initialized: true,
            hsm: DescribeHsmResponse {
                availability_zone: (*zone).into(),
                status: (*status).into(),
                ..DescribeHsmResponse::default()
            },
        };
        let members = places.iter().map(member).collect();
        cluster("cluster-x".into(), DescribeHapgResponse::default(), members)
    }

    #[test]
    fn two_that_serve_in_different_zones_are_redundant() {
        assert!(group(&[("a", "RUNNING"), ("b", "RUNNING")]).is_redundant(2));
        assert!(group(&[("a", "RUNNING"), ("a", "RUNNING"), ("b", "RUNNING")]).is_redundant(3));
        assert!(
            !group(&[("a", "RUNNING"), ("a", "RUNNING")]).is_redundant(2),
            "one zone of two"
        );
        assert!(
            group(&[("a", "RUNNING"), ("a", "RUNNING")]).is_redundant(1),
            "there is one zone only"
        );
        assert!(!group(&[("a", "RUNNING"), ("b", "SUSPENDED")]).is_redundant(2));
        assert!(!group(&[("a", "RUNNING")]).is_redundant(1));
        assert!(!group(&[]).is_redundant(1));
    }
}
