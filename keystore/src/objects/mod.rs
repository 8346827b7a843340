//! Objects and what is done with them: attribute rules, records, the table in memory, session objects, policy and latch, and
//! one file per PKCS#11 function family with the protocol's names. Sealing, PINs and logins are the rest of the crate.
//!
//! Reading order: [`rules`] (what attributes may be), [`object`], [`record`] (the sealed form), [`table`], [`access`] (who),
//! [`policy`] (what may wrap what), [`birth`] (how objects are made), then the families.

mod access;
mod attributes;
mod birth;
mod built_in;
mod commit;
mod copy;
mod create;
mod crypt;
mod derive;
mod destroy;
mod digest;
mod encapsulate;
mod find;
pub(crate) mod fuzzing;
mod generate;
mod invertible;
mod iv_guard;
mod iv_issue;
pub(crate) mod latch;
mod material;
mod object;
mod policy;
pub(crate) mod record;
mod rules;
mod session;
mod sign;
mod table;
#[cfg(test)]
mod tests;
mod unwrap;
mod wrap;

pub(crate) use access::mechanism_hash;

use std::sync::Arc;

use hsmd_proto::attribute::Template;
use hsmd_proto::ids::UniqueId;

pub use digest::{DigestFrom, DigestStep};
pub(crate) use latch::{KEYS as LATCH_KEYS, Latches, PREFIX as LATCHES};
pub(crate) use table::ObjectTable;
pub(crate) use table::{Stored, read};

/// What copying objects from one key set to another needs of them.
pub(crate) mod merging {
    pub(crate) use super::commit::{put_for, record_path};
    pub(crate) use super::object::{Object, Parts};
    pub(crate) use super::record::{Content, Envelope, encode_body};
    pub(crate) use super::table::{Stored, read_for};
}

/// An object as a request names it.
#[derive(Clone, Copy, Debug)]
pub struct ObjectRef<'a> {
    /// Its unique id.
    pub id: UniqueId,
    /// A session object: the sealed blob that the module carries. `None`: a token object.
    pub blob: Option<&'a [u8]>,
}

impl ObjectRef<'_> {
    /// A token object.
    #[must_use]
    pub const fn token(id: UniqueId) -> Self {
        Self { id, blob: None }
    }
}

/// An object as the module may know it.
#[derive(Clone, Debug)]
pub struct ObjectView {
    /// Its unique id.
    pub id: UniqueId,
    /// A session object: the sealed blob. Empty for token objects.
    pub blob: Vec<u8>,
    /// Increases with each change.
    pub version: u64,
    /// The material has wrapped a sensitive key (DESIGN 8): only wrapping is left to it.
    pub wrapping: bool,
    /// Every attribute but key values, and but what origin and latch say.
    pub attributes: Arc<Template>,
}

impl ObjectView {
    /// How a later request names the object.
    #[must_use]
    pub fn name(&self) -> ObjectRef<'_> {
        ObjectRef {
            id: self.id,
            blob: (!self.blob.is_empty()).then_some(&self.blob),
        }
    }
}
