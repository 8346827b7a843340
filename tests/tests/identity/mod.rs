//! The control plane over mutual TLS, against a daemon process: every method with every kind of caller, what a revocation does
//! to open connections, and what `hsmctl` says when it is not let in.

mod appliance;
mod caller;
mod matrix;
mod tool;
