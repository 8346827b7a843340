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
mod dynamic;
mod fault;
mod kms;
mod listen;
mod model;
mod module;
mod protocol;
mod records;
mod route;
mod secret;
mod server;
mod signature;
mod tls;
mod uuid;
mod xks;

pub use cli::main;
