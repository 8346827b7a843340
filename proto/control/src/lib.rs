//! The gRPC services of the control plane, made from the `.proto` files in `proto/control/proto`.
//!
//! Messages and service traits only; what they do is `hsmd/src/control/`. The data plane does not speak gRPC
//! (`docs/protocol.md`).
#![forbid(unsafe_code)]

/// The CloudHSM Classic operations.
#[expect(missing_docs, reason = "the documentation stands in the .proto file")]
#[allow(
    clippy::all,
    clippy::too_many_lines,
    unused_qualifications,
    reason = "generated code"
)]
pub mod cloudhsm {
    tonic::include_proto!("cloudhsm.v1");
}

/// What CloudHSM Classic left to the appliance's shell.
#[expect(missing_docs, reason = "the documentation stands in the .proto file")]
#[allow(
    clippy::all,
    clippy::too_many_lines,
    unused_qualifications,
    reason = "generated code"
)]
pub mod admin {
    tonic::include_proto!("hsmd.admin.v1");
}

/// The compiled `FileDescriptorSet` of both services, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hsmd_control.bin"));
