//! What the module and the daemon agree on: PKCS#11 newtypes, data-plane messages and frames, *the* mechanism table,
//! parameter rules, Init validation, attribute kinds and template matching.
//!
//! Pure: no I/O, no cryptography, no tonic. What the control plane says is in `proto/control`.
//! The protocol is described in `docs/protocol.md`.
#![forbid(unsafe_code)]

pub mod attribute;
pub mod ck;
pub mod convert;
pub mod dh;
pub mod frame;
pub mod ids;
pub mod init;
pub mod kbkdf;
pub mod mechanism;
pub mod meta;
pub mod pace;
pub mod parameter_set;
pub mod params;
pub mod policy;
pub mod returns;
pub mod tls;
pub mod value;
pub mod vendor;
pub mod wipe;

/// The data-plane messages, made from `proto/hsmd_data.proto`.
#[expect(missing_docs, reason = "the documentation stands in the .proto file")]
#[expect(
    unused_qualifications,
    reason = "generated: the path of the message that is written by hand"
)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/hsmd.data.v1.rs"));

    pub use crate::value::Attribute;

    /// The compiled `FileDescriptorSet` of the data plane: a test walks it to see that no field can hold a secret.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hsmd_data.bin"));
}

/// Version of the data-plane protocol that this build speaks (`Hello.version`).
pub const PROTOCOL_VERSION: u32 = 1;
