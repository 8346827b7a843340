//! The simulator: virtual time, nodes that run the real core, a store model, a network that loses and delays, clients, faults, and a
//! checker that watches every commit and every reply. Everything follows from the seed.
//!
//! `world` moves time and messages, `machine` is a driver of the core as the daemon's will be, `app` and `moving` the keystore in
//! small, `releases` mixes programs of two releases.

pub(crate) mod app;
pub(crate) mod checker;
pub(crate) mod clients;
pub(crate) mod faults;
pub(crate) mod machine;
mod moving;
pub(crate) mod random;
mod releases;
pub(crate) mod store;
pub(crate) mod world;
