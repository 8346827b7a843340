//! C_GetAttributeValue and C_SetAttributeValue (PKCS#11 3.2, 5.7.5 and 5.7.6).

use std::sync::Arc;

use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType, AttributeType as A, Rv};
use hsmd_proto::ids::OperationId;

use super::commit::TRIES;
use super::object::{Object, Parts};
use super::rules::{Way, amend};
use super::{ObjectRef, ObjectView, access, policy, session};
use crate::audit::Act;
use crate::caller::Context;
use crate::key_set::KeySet;
use crate::login::Role;

impl KeySet {
    /// The values of attributes, in the order asked; each by itself may be missing or sensitive. INV-5: no store, no lock held.
    ///
    /// # Errors
    /// `CKR_OBJECT_HANDLE_INVALID`.
    pub fn attributes(
        &self,
        context: &Context,
        name: &ObjectRef<'_>,
        types: &[AttributeType],
    ) -> Result<Vec<Result<Attribute, Rv>>, Rv> {
        let object = self.object(context, name)?;
        Ok(types.iter().map(|attribute| object.attribute(*attribute)).collect())
    }

    /// Changes attributes. The same operation again finds it done (INV-10).
    ///
    /// # Errors
    /// As C_SetAttributeValue.
    pub fn set_attributes(
        &self,
        context: &Context,
        name: &ObjectRef<'_>,
        template: &Template,
        operation: OperationId,
    ) -> Result<ObjectView, Rv> {
        let latches = self.policy().latches();
        for _ in 0..TRIES {
            let object = self.object(context, name)?;
            access::may_write(self, context, object.flag(A::TOKEN), object.private())?;
            let token = name.blob.is_none();
            if token && object.operation == operation {
                return Ok(object.view(Vec::new(), latches));
            }
            let Some(next) = self.changed(context, &object, template, operation)? else {
                let blob = name.blob.map(<[u8]>::to_vec).unwrap_or_default();
                return Ok(object.view(blob, latches));
            };
            if !token {
                return Ok(next.view(session::seal(self, context, &next)?, latches));
            }
            let names: Vec<_> = template.0.iter().map(|entry| entry.attribute.to_string()).collect();
            let event = self.event(Act::ObjectChange, &next).detail(names.join(" "));
            if self.commit_next(&next, event)?.is_some() {
                return Ok(next.view(Vec::new(), latches));
            }
        }
        Err(self.core().sharing.contended())
    }

    /// The next version of an object; `None`: the template changes nothing.
    fn changed(
        &self,
        context: &Context,
        object: &Object,
        template: &Template,
        operation: OperationId,
    ) -> Result<Option<Arc<Object>>, Rv> {
        let so = access::role(self, context) == Some(Role::So);
        let amended = amend(Way::Set, object.shape(), so, &object.attributes, template)?;
        if !amended.changed {
            return Ok(None);
        }
        let held = object.held.with(policy::usage(&amended.attributes));
        policy::roles_agree(self.policy(), held)?;
        let parts = Parts {
            held,
            attributes: Arc::new(amended.attributes),
            ..object.successor(operation)
        };
        let next = Object::new(parts, &self.core().latches).ok_or(Rv::ATTRIBUTE_VALUE_INVALID)?;
        Ok(Some(Arc::new(next)))
    }
}
