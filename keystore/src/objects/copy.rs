//! C_CopyObject (PKCS#11 3.2, 5.7.2): a second object of the same material, at most as permissive as the first.

use std::sync::Arc;

use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, Rv};
use hsmd_proto::ids::{OperationId, UniqueId};

use super::object::{Object, Parts};
use super::rules::{Way, amend};
use super::{ObjectRef, ObjectView, access, birth, policy};
use crate::audit::Act;
use crate::caller::Context;
use crate::key_set::KeySet;
use crate::login::Role;

impl KeySet {
    /// Copies an object. The same `id` and template again find what the first try made (INV-10).
    ///
    /// # Errors
    /// As C_CopyObject.
    pub fn copy_object(
        &self,
        context: &Context,
        source: &ObjectRef<'_>,
        id: UniqueId,
        template: &Template,
    ) -> Result<ObjectView, Rv> {
        let request = birth::fingerprint("copy", None, &[&source.id.0], &[template]);
        if let Some(view) = self.made_before(context, id, &request)? {
            return Ok(view);
        }
        let source = self.object(context, source)?;
        let so = access::role(self, context) == Some(Role::So);
        let mut amended = amend(Way::Copy, source.shape(), so, &source.attributes, template)?.attributes;
        let unique = Attribute::bytes(A::UNIQUE_ID, id.to_string().as_bytes());
        for entry in &mut amended.0 {
            if entry.attribute == A::UNIQUE_ID {
                *entry = unique.clone();
            }
            // The SO trusted that very key, not this one.
            if entry.attribute == A::TRUSTED && !so {
                *entry = Attribute::boolean(A::TRUSTED, false);
            }
        }
        let held = source.held.with(policy::usage(&amended));
        policy::roles_agree(self.policy(), held)?;
        let parts = Parts {
            id,
            version: 1,
            sequence: self.objects().next_sequence(),
            operation: OperationId(id.0),
            held,
            request,
            attributes: Arc::new(amended),
            ..source.successor(OperationId(id.0))
        };
        let object = Object::new(parts, &self.core().latches).ok_or(Rv::ATTRIBUTE_VALUE_INVALID)?;
        self.settle_one(context, Act::ObjectCopy, object)
    }
}
