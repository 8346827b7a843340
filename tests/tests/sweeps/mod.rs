//! Sweeps: what no client does, all of it. Every function after every other (`orders.rs`), every mechanism with every kind of
//! key for every operation (`matrix.rs`). After each call: a code that PKCS#11 lists for the function (the harness fails on
//! others), and a session that is as good as new.

mod matrix;
mod orders;
mod parameters;
mod stage;
mod words;

pub(crate) use orders::NEVER;
