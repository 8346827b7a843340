//! C_FindObjects (PKCS#11 3.2, 5.7.7) over token objects: a snapshot of ids, in the order of creation. Session objects are the
//! module's to match, with the same function of `proto`. INV-5: memory only.

use std::sync::Arc;

use hsmd_proto::attribute::Template;
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::{Hit, UniqueId};

use super::built_in::is_built_in;
use super::object::Object;
use super::{ObjectView, access, birth};
use crate::caller::Context;
use crate::key_set::KeySet;

impl KeySet {
    /// All token objects that match and that the caller may see.
    ///
    /// # Errors
    /// None so far.
    pub fn find(&self, context: &Context, template: &Template) -> Result<Vec<Hit>, Rv> {
        if let Some(class) = birth::class_of(template).ok().flatten()
            && is_built_in(class)
        {
            let own = self.objects().built_in.all(self.policy(), &self.core().latches).iter();
            let fits = |object: &&Arc<Object>| template.matches(class, |attribute| object.shown(attribute));
            return Ok(own
                .filter(|object| object.class() == class)
                .filter(fits)
                .map(|object| object.hit())
                .collect());
        }
        let private = access::sees_private(self, context);
        Ok(self.objects().find(template, |object| private || !object.private()))
    }

    /// The views of token objects; those that are gone or not to be seen are left out.
    #[must_use]
    pub fn views(&self, context: &Context, ids: &[UniqueId]) -> Vec<ObjectView> {
        let private = access::sees_private(self, context);
        let latches = self.policy().latches();
        let found = ids.iter().filter_map(|id| self.token_object(id));
        let seen = found.filter(|object| private || !object.private());
        seen.map(|object| object.view(Vec::new(), latches)).collect()
    }

    /// How many token objects the key set has in memory: all of them once a user has logged in.
    #[must_use]
    pub fn object_count(&self) -> usize {
        self.objects().len()
    }
}
