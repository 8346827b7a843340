//! C_CreateObject (PKCS#11 3.2, 5.7.1).

use hsmd_proto::attribute::Template;
use hsmd_proto::ck::{AttributeType as A, CertificateType, ObjectClass, Rv};
use hsmd_proto::ids::UniqueId;

use super::birth::{self, Birth, Substance};
use super::object::Values;
use super::rules::{Plan, Shape, Shapes, Way, complete};
use super::{ObjectView, access, material};
use crate::audit::Act;
use crate::caller::Context;
use crate::key_set::KeySet;
use crate::login::Role;

impl KeySet {
    /// Creates an object from a template. The same `id` and template again find what the first try made (INV-10).
    ///
    /// # Errors
    /// As C_CreateObject.
    pub fn create_object(&self, context: &Context, id: UniqueId, template: &Template) -> Result<ObjectView, Rv> {
        let request = birth::fingerprint("create", None, &[], &[template]);
        if let Some(view) = self.made_before(context, id, &request)? {
            return Ok(view);
        }
        template.check_form()?;
        let class = birth::class_of(template)?.ok_or(Rv::TEMPLATE_INCOMPLETE)?;
        let key_type = birth::key_type_of(template)?;
        let certificate = template.ulong(A::CERTIFICATE_TYPE)?.map(CertificateType);
        let shape = match class {
            ObjectClass::PUBLIC_KEY | ObjectClass::PRIVATE_KEY | ObjectClass::SECRET_KEY => {
                Shape::of_key(class, key_type.ok_or(Rv::TEMPLATE_INCOMPLETE)?)?
            }
            ObjectClass::CERTIFICATE if certificate.is_none() => return Err(Rv::TEMPLATE_INCOMPLETE),
            // The token's own are nobody's to make.
            _ => Shape::of_other(class, certificate)
                .filter(|shape| !Shapes::BUILT_IN.has(*shape))
                .ok_or(Rv::ATTRIBUTE_VALUE_INVALID)?,
        };
        let policy = self.policy();
        let so = access::role(self, context) == Some(Role::So);
        let draft = complete(
            Plan {
                way: Way::Create,
                shape,
                policy,
                so,
            },
            template,
        )?;
        let birth = Birth::outside(id, self.objects().next_sequence(), request);
        let object = match key_type.filter(|_| shape.is_key()) {
            Some(key_type) => {
                let values = draft.values.0.iter();
                let values =
                    values.map(|entry| (entry.attribute, hsmd_crypto::secret::Secret::from_slice(&entry.value)));
                let material = material::of(shape, &draft.attributes, &Values(values.collect()))?;
                let substance = Substance::check(shape, material, policy)?;
                birth::key(&self.core().latches, policy, draft, key_type, substance, birth)?
            }
            None => birth::data(&self.core().latches, draft, birth)?,
        };
        self.settle_one(context, Act::ObjectCreate, object)
    }

    /// [`KeySet::settle`] for one object.
    pub(crate) fn settle_one(
        &self,
        context: &Context,
        act: Act,
        object: super::object::Object,
    ) -> Result<ObjectView, Rv> {
        self.settle(context, act, vec![object])?
            .pop()
            .ok_or(Rv::FUNCTION_FAILED)
    }
}
