//! Errors of the control plane: one table from the model's error to the gRPC code and to the error of the AWS model, which
//! travels in the metadata.

use super::model::ModelError;
use crate::node::Node;
use hsmd_control::{ERROR_KEY, RETRYABLE_KEY};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// The errors of CloudHSM Classic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Parameters.
    InvalidRequest,
    /// What the service will not or cannot do now.
    Service,
    /// Our fault.
    Internal,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "InvalidRequestException",
            Self::Service => "CloudHsmServiceException",
            Self::Internal => "CloudHsmInternalException",
        }
    }
}

/// The table.
const fn kind(error: &ModelError) -> (Code, Fault) {
    use hsmd_keystore::Error as Store;
    match error {
        ModelError::NotFound(_) | ModelError::NoLogin | ModelError::Unknown(..) => {
            (Code::NotFound, Fault::InvalidRequest)
        }
        ModelError::Ambiguous
        | ModelError::Label
        | ModelError::Policy
        | ModelError::Missing(..)
        | ModelError::Invalid(..)
        | ModelError::Log(_)
        | ModelError::Certificate(_)
        | ModelError::Request(_) => (Code::InvalidArgument, Fault::InvalidRequest),
        ModelError::LabelTaken
        | ModelError::TokenReused
        | ModelError::CertificateTaken(_)
        | ModelError::CertificateRevoked(_)
        | ModelError::RoleDiffers(_)
        | ModelError::UserTaken(_)
        | ModelError::AddressTaken => (Code::AlreadyExists, Fault::Service),
        ModelError::PinWrong(_) | ModelError::PinNeeded => (Code::PermissionDenied, Fault::Service),
        ModelError::State(_)
        | ModelError::RoleLocked(_)
        | ModelError::NoPin(_)
        | ModelError::Initialised
        | ModelError::NotInitialised
        | ModelError::Keystore(Store::PolicyLoosened | Store::SelfTests(_))
        | ModelError::HoldsTokens(_)
        | ModelError::InGroup(_)
        | ModelError::Merging
        | ModelError::GroupUpdating(_)
        | ModelError::NotCopied(_)
        | ModelError::NoOtherNode
        | ModelError::TooManyCounters
        | ModelError::PolicyDiffers(_)
        | ModelError::KeysMissing(_)
        | ModelError::NoMembers(_) => (Code::FailedPrecondition, Fault::Service),
        ModelError::NoRoom | ModelError::SubnetFull | ModelError::TooManyTags => {
            (Code::ResourceExhausted, Fault::Service)
        }
        ModelError::Conflict | ModelError::Changed | ModelError::Keystore(Store::Contended) => {
            (Code::Aborted, Fault::Service)
        }
        ModelError::Damaged(_) => (Code::DataLoss, Fault::Internal),
        ModelError::Keystore(Store::Restore(error)) => restore_kind(error),
        ModelError::Keystore(Store::Full | Store::TooLarge) => (Code::ResourceExhausted, Fault::Service),
        ModelError::Keystore(Store::Stopped | Store::Fenced) => (Code::Unavailable, Fault::Service),
        ModelError::Keystore(_) | ModelError::Token(_) | ModelError::Authority(_) => (Code::Internal, Fault::Internal),
    }
}

/// The part of the table for backups that are not restored.
const fn restore_kind(error: &hsmd_keystore::RestoreError) -> (Code, Fault) {
    use hsmd_keystore::{ContainerError, RestoreError};
    match error {
        RestoreError::Container(ContainerError::WrongKey) => (Code::PermissionDenied, Fault::InvalidRequest),
        RestoreError::Container(_) | RestoreError::Contents(_) => (Code::DataLoss, Fault::InvalidRequest),
        RestoreError::Scope(_) | RestoreError::Dev { .. } | RestoreError::TooMany(_) => {
            (Code::FailedPrecondition, Fault::Service)
        }
        RestoreError::Changed => (Code::Aborted, Fault::Service),
    }
}

/// The gRPC status of an error. What the keystore says is for the log; a client learns the kind of trouble.
pub(super) fn status(error: &ModelError) -> Status {
    let (code, fault) = kind(error);
    if matches!(code, Code::Internal | Code::DataLoss | Code::Unavailable) {
        tracing::error!(%error, "control request failed");
    }
    let mut status = Status::new(code, error.to_string());
    let retryable = matches!(code, Code::Unavailable | Code::Aborted);
    let metadata = status.metadata_mut();
    metadata.insert(ERROR_KEY, MetadataValue::from_static(fault.name()));
    let retryable = if retryable { "true" } else { "false" };
    metadata.insert(RETRYABLE_KEY, MetadataValue::from_static(retryable));
    status
}

/// The same refusal as CloudHsmServiceException, the only error that the model gives ModifyLunaClient.
pub(super) fn service_exception(mut status: Status) -> Status {
    let name = MetadataValue::from_static(Fault::Service.name());
    status.metadata_mut().insert(ERROR_KEY, name);
    status
}

/// Runs a change, which waits for the store, beside the runtime's workers.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(crate::audit::in_scene(work)).await {
        Ok(done) => done.map_err(|error| status(&error)),
        Err(_) => {
            let mut status = Status::internal("the request failed; see the daemon's log");
            let name = MetadataValue::from_static(Fault::Internal.name());
            status.metadata_mut().insert(ERROR_KEY, name);
            Err(status)
        }
    }
}

/// How often a change is tried that met another node's.
const TRIES: usize = 5;

/// Changes, and changes again on what another node has recorded meanwhile. Nothing has happened when records were not as read.
pub(super) fn again<A>(node: &Node, act: impl Fn() -> Result<A, ModelError>) -> Result<A, ModelError> {
    for _ in 1..TRIES {
        match act() {
            Err(ModelError::Conflict) if node.fleet.is_some() => node.freshen(),
            other => return other,
        }
    }
    act()
}
