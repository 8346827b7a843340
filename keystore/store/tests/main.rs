//! The store's tests against its public interface: one binary, modules by subject. `HSMD_SOAK=<factor>` multiplies the counts.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

mod crash;
mod damage;
mod disk;
mod engines;
mod etcd;
mod faults;
mod memory;
mod model;
mod root;
mod shared;
mod snapshot;
