//! The gRPC services of the control plane, made from the `.proto` files in `proto/control/proto`.
//!
//! Messages and service traits only; what they do is `hsmd/src/control/`. The data plane does not speak gRPC
//! (`docs/protocol.md`).
#![forbid(unsafe_code)]

use prost::Message as _;

mod backup_debug;
mod cluster;
mod pin;
mod records_debug;

pub use cluster::{cluster_of_group, group_of_cluster, long_hsm};

/// The modules of generated code, each a package.
macro_rules! packages {
    ($($(#[$doc:meta])* $name:ident: $package:literal,)*) => {
        $(
            $(#[$doc])*
            #[expect(missing_docs, reason = "the documentation stands in the .proto file")]
            #[allow(
                clippy::all,
                clippy::too_many_lines,
                unused_qualifications,
                reason = "generated code"
            )]
            pub mod $name {
                tonic::include_proto!($package);
            }
        )*
    };
}

packages! {
    /// The CloudHSM Classic operations.
    cloudhsm: "cloudhsm.v1",
    /// What CloudHSM Classic left to the appliance's shell.
    admin: "hsmd.admin.v1",
    /// Sealed records for trusted front ends.
    records: "hsmd.records.v1",
    /// Backup and restore.
    backup: "hsmd.backup.v1",
    /// Who may use the control plane.
    identity: "hsmd.identity.v1",
    /// The audit log, for auditors.
    audit: "hsmd.audit.v1",
    /// The daemons that share a store.
    fleet: "hsmd.fleet.v1",
}

/// The metadata key of a call of [`records`] that is refused with ABORTED: the version that the record has, 0 for none.
pub const RECORD_VERSION_KEY: &str = "record-version";
/// The metadata key of a watch of [`records`] that is refused or ended with OUT_OF_RANGE: the revision now.
pub const REVISION_KEY: &str = "current-revision";

/// The compiled `FileDescriptorSet` of all services, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hsmd_control.bin"));

/// All methods of our services, as `package.Service/Method`.
#[must_use]
pub fn methods() -> Vec<String> {
    // It is our own, checked when it was built: an empty list would mean that it is not.
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                methods.push(format!("{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    methods
}

/// The metadata key of a refused call of [`cloudhsm`]: the name of the error in the AWS model.
pub const ERROR_KEY: &str = "aws-error";
/// Beside [`ERROR_KEY`]: `true` when the same call may succeed later.
pub const RETRYABLE_KEY: &str = "aws-retryable";
/// The request's metadata key of ModifyHapg that makes it a compare-and-set: the LastModifiedTimestamp that was read.
pub const IF_LAST_MODIFIED_KEY: &str = "if-last-modified";

/// The metadata key of a denied call: the id by which an auditor finds out why it was denied.
pub const DENIAL_KEY: &str = "hsmd-denial";

/// Operations, shapes, patterns and errors of CloudHSM Classic (API version 2014-05-30) as JSON, for tests.
#[doc(hidden)]
pub const MODEL: &str = include_str!("../model/cloudhsm.json");
