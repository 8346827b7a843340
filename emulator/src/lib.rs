//! `hsmd-aws`: AWS wire protocols in front of hsmd, so that unmodified SDKs and the AWS CLI work on real keys.
//!
//! A request passes `server` (HTTP, limits), `signature` (who signed it), `route` (which service and operation), the service's
//! own folder, and goes back through `fault` or the protocol's writer. The crate keeps nothing: records and keys are hsmd's,
//! reached by gRPC like any other client does. It never links the daemon.
#![forbid(unsafe_code)]

mod cli;
mod cloudhsm;
mod cloudhsmv2;
mod clusters;
mod config;
mod control;
mod dynamic;
mod fault;
mod kms;
mod listen;
mod model;
mod module;
mod operations;
mod presigned;
mod protocol;
mod query;
mod records;
mod redshift;
mod route;
mod secret;
mod server;
mod signature;
mod tls;
mod uuid;
mod xks;
mod xml;

/// For fuzz targets.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::xks::fuzzing as xks;

    /// Reads the body of a query request as each operation that is served.
    ///
    /// # Panics
    /// When the model that is built in does not read: a test reads it.
    #[expect(
        clippy::expect_used,
        reason = "the model is built in and reads: a test of redshift::table parses it"
    )]
    pub fn query(data: &[u8]) {
        static MODEL: std::sync::OnceLock<crate::model::Model> = std::sync::OnceLock::new();
        let model = MODEL.get_or_init(|| crate::model::Model::parse(crate::redshift::MODEL).expect("the model"));
        crate::query::fuzz(model, data);
    }
}

pub use cli::main;
