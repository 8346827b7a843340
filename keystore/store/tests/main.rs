//! The store's tests against its public interface: one binary, modules by subject.

mod memory;
mod model;
