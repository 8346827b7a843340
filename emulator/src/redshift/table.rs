//! Which operations are answered, and how. Every operation of the API (version 2012-12-01) has a row.

use super::input::Input;
use super::{Answer, Redshift, certificates, clusters, configurations, internal, tags};
use crate::fault::Fault;
use std::sync::Arc;

/// How an operation is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// As AWS does.
    Yes,
    /// Not at all: it is about data in clusters, and there are none.
    Never,
}

/// An operation.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) served: Served,
}

macro_rules! rows {
    ($($served:ident: $($name:literal)*;)*) => {
        &[$($(Row { name: $name, served: Served::$served },)*)*]
    };
}

/// All operations of the API.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = rows! {
    Yes: "CreateCluster" "CreateHsmClientCertificate" "CreateHsmConfiguration" "CreateTags" "DeleteCluster"
        "DeleteHsmClientCertificate" "DeleteHsmConfiguration" "DeleteTags" "DescribeClusters"
        "DescribeHsmClientCertificates" "DescribeHsmConfigurations" "DescribeTags" "ModifyCluster" "RotateEncryptionKey";
    Never:
        "AcceptReservedNodeExchange" "AddPartner" "AssociateDataShareConsumer" "AuthorizeClusterSecurityGroupIngress"
        "AuthorizeDataShare" "AuthorizeEndpointAccess" "AuthorizeSnapshotAccess" "BatchDeleteClusterSnapshots"
        "BatchModifyClusterSnapshots" "CancelResize" "CopyClusterSnapshot" "CreateAuthenticationProfile"
        "CreateClusterParameterGroup" "CreateClusterSecurityGroup" "CreateClusterSnapshot" "CreateClusterSubnetGroup"
        "CreateCustomDomainAssociation" "CreateEndpointAccess" "CreateEventSubscription" "CreateIntegration"
        "CreateQev2IdcApplication" "CreateRedshiftIdcApplication" "CreateScheduledAction" "CreateSnapshotCopyGrant"
        "CreateSnapshotSchedule" "CreateUsageLimit" "DeauthorizeDataShare" "DeleteAuthenticationProfile"
        "DeleteClusterParameterGroup" "DeleteClusterSecurityGroup" "DeleteClusterSnapshot" "DeleteClusterSubnetGroup"
        "DeleteCustomDomainAssociation" "DeleteEndpointAccess" "DeleteEventSubscription" "DeleteIntegration" "DeletePartner"
        "DeleteQev2IdcApplication" "DeleteRedshiftIdcApplication" "DeleteResourcePolicy" "DeleteScheduledAction"
        "DeleteSnapshotCopyGrant" "DeleteSnapshotSchedule" "DeleteUsageLimit" "DeregisterNamespace"
        "DescribeAccountAttributes" "DescribeAuthenticationProfiles" "DescribeClusterDbRevisions"
        "DescribeClusterParameterGroups" "DescribeClusterParameters" "DescribeClusterSecurityGroups"
        "DescribeClusterSnapshots" "DescribeClusterSubnetGroups" "DescribeClusterTracks" "DescribeClusterVersions"
        "DescribeCustomDomainAssociations" "DescribeDataShares" "DescribeDataSharesForConsumer"
        "DescribeDataSharesForProducer" "DescribeDefaultClusterParameters" "DescribeEndpointAccess"
        "DescribeEndpointAuthorization" "DescribeEventCategories" "DescribeEventSubscriptions" "DescribeEvents"
        "DescribeInboundIntegrations" "DescribeIntegrations" "DescribeLoggingStatus" "DescribeNodeConfigurationOptions"
        "DescribeOrderableClusterOptions" "DescribePartners" "DescribeQev2IdcApplications" "DescribeRedshiftIdcApplications"
        "DescribeReservedNodeExchangeStatus" "DescribeReservedNodeOfferings" "DescribeReservedNodes" "DescribeResize"
        "DescribeScheduledActions" "DescribeSnapshotCopyGrants" "DescribeSnapshotSchedules" "DescribeStorage"
        "DescribeTableRestoreStatus" "DescribeUsageLimits" "DisableLogging" "DisableSnapshotCopy"
        "DisassociateDataShareConsumer" "EnableLogging" "EnableSnapshotCopy" "FailoverPrimaryCompute"
        "GetClusterCredentials" "GetClusterCredentialsWithIAM" "GetIdentityCenterAuthToken"
        "GetReservedNodeExchangeConfigurationOptions" "GetReservedNodeExchangeOfferings" "GetResourcePolicy"
        "ListRecommendations" "ModifyAquaConfiguration" "ModifyAuthenticationProfile" "ModifyClusterDbRevision"
        "ModifyClusterIamRoles" "ModifyClusterMaintenance" "ModifyClusterParameterGroup" "ModifyClusterSnapshot"
        "ModifyClusterSnapshotSchedule" "ModifyClusterSubnetGroup" "ModifyCustomDomainAssociation" "ModifyEndpointAccess"
        "ModifyEventSubscription" "ModifyIntegration" "ModifyLakehouseConfiguration" "ModifyQev2IdcApplication"
        "ModifyRedshiftIdcApplication" "ModifyScheduledAction" "ModifySnapshotCopyRetentionPeriod" "ModifySnapshotSchedule"
        "ModifyUsageLimit" "PauseCluster" "PurchaseReservedNodeOffering" "PutResourcePolicy" "RebootCluster"
        "RegisterNamespace" "RejectDataShare" "ResetClusterParameterGroup" "ResizeCluster" "RestoreFromClusterSnapshot"
        "RestoreTableFromClusterSnapshot" "ResumeCluster" "RevokeClusterSecurityGroupIngress" "RevokeEndpointAccess"
        "RevokeSnapshotAccess" "UpdatePartnerStatus";
};

/// The row of an operation.
pub(super) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// Performs an operation.
///
/// # Errors
/// UnsupportedOperation for what is not served; the operation's own, named by their shapes.
pub(super) async fn run(redshift: &Arc<Redshift>, row: &'static Row, input: Input) -> Answer {
    if row.served == Served::Never {
        let message = format!(
            "{} is not served: clusters have no data here, only what their HSMs need.",
            row.name
        );
        return Err(Fault::new(400, "UnsupportedOperation", message));
    }
    match row.name {
        "CreateCluster" => clusters::create(redshift, input).await,
        "CreateHsmClientCertificate" => certificates::create(redshift, input).await,
        "CreateHsmConfiguration" => configurations::create(redshift, input).await,
        "CreateTags" => tags::add(redshift, input).await,
        "DeleteCluster" => clusters::delete(redshift, input).await,
        "DeleteHsmClientCertificate" => certificates::delete(redshift, input).await,
        "DeleteHsmConfiguration" => configurations::delete(redshift, input).await,
        "DeleteTags" => tags::remove(redshift, input).await,
        "DescribeClusters" => clusters::describe(redshift, input).await,
        "DescribeHsmClientCertificates" => certificates::describe(redshift, input).await,
        "DescribeHsmConfigurations" => configurations::describe(redshift, input).await,
        "DescribeTags" => tags::describe(redshift, input).await,
        "ModifyCluster" => clusters::modify(redshift, input).await,
        "RotateEncryptionKey" => clusters::rotate(redshift, input).await,
        _ => Err(internal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    #[test]
    fn every_operation_has_one_row_and_those_that_are_served_have_a_model() {
        let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), ROWS.len()), (145, 145));
        let model = Model::parse(super::super::MODEL).unwrap();
        let served: Vec<_> = ROWS
            .iter()
            .filter(|row| row.served == Served::Yes)
            .map(|row| row.name)
            .collect();
        assert_eq!(served, model.operations().collect::<Vec<_>>());
    }
}
