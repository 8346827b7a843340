//! The store's tests against its public interface: one binary, modules by subject.

mod disk;
mod memory;
mod model;
