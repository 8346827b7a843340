//! Figures for Prometheus, and whether the daemon lives and is ready, over HTTP. What is measured is a row of `table`; `requests` and
//! `calls` count as it happens, `figures` reads the rest when it is asked, `server` answers. No label of a figure is a secret or
//! a name that an application gave to a key (INV-1). The figures: `docs/metrics.md`.

mod calls;
mod figures;
mod ready;
mod requests;
mod server;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use calls::{CallCount, Calls};
pub(crate) use requests::Requests;
pub(crate) use server::Listener;
