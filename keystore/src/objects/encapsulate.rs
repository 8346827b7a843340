//! C_EncapsulateKey and C_DecapsulateKey (PKCS#11 3.2, 5.18.8 and 5.18.9): ML-KEM. The shared secret, or the front of it, becomes
//! a secret key. One-way, so readability follows the template (DESIGN 8); but whoever has the other half knows it as well, so it
//! is from outside.

use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Material, OpError};
use hsmd_proto::attribute::Template;
use hsmd_proto::ck::{AttributeType as A, KeyType, ObjectClass, Rv};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::init::Operation;
use hsmd_proto::params::Mechanism;
use hsmd_proto::policy::Policy;

use super::birth::{self, Birth, Substance};
use super::commit::ANSWER;
use super::object::Object;
use super::rules::{Draft, Plan, Shape, Way, complete};
use super::{ObjectRef, ObjectView, access, policy};
use crate::audit::Act;
use crate::caller::Context;
use crate::key_set::KeySet;
use crate::login::Role;

/// The length of a shared secret in bytes (FIPS 203, 8, table 3), of every set.
const SHARED: usize = 32;

/// A secret key that is about to be made.
struct Planned {
    key_type: KeyType,
    draft: Draft,
    length: usize,
}

impl KeySet {
    /// Makes a secret key and the ciphertext that the private half opens. The same `id`, key and template again find what the
    /// first try made, with the same ciphertext (INV-10).
    ///
    /// # Errors
    /// As C_EncapsulateKey.
    pub fn encapsulate_key(
        &self,
        context: &Context,
        public: &ObjectRef<'_>,
        mechanism: &Mechanism,
        id: UniqueId,
        template: &Template,
    ) -> Result<(ObjectView, Vec<u8>), Rv> {
        let request = birth::fingerprint("encapsulate", Some(mechanism), &[&public.id.0], &[template]);
        if let Some(view) = self.made_before(context, id, &request)? {
            let made = self.objects().get(&id).ok_or(Rv::FUNCTION_FAILED)?;
            let ciphertext = made.values.get(ANSWER).ok_or(Rv::FUNCTION_FAILED)?;
            return Ok((view, ciphertext.expose().to_vec()));
        }
        let public = self.usable(
            context,
            Operation::Encapsulate,
            mechanism,
            public,
            Rv::KEY_HANDLE_INVALID,
        )?;
        let planned = self.planned(context, &public, A::ENCAPSULATE_TEMPLATE, template)?;
        let (ciphertext, secret) = public.key()?.encapsulate().map_err(OpError::rv)?;
        // What a retry answers is kept with the key, if that is kept here: a session object's is the module's to make again.
        let kept = planned.draft.flag(A::TOKEN).then(|| Secret::from_slice(&ciphertext));
        let object = self.born_of((id, request), planned, &secret, kept)?;
        let view = self.settle_one(context, Act::KeyEncapsulate, object)?;
        Ok((view, ciphertext))
    }

    /// Makes a secret key of a ciphertext. One that was not made for this key gives a pseudo-random key, as FIPS 203 has it.
    /// The same `id`, key, ciphertext and template again find what the first try made (INV-10).
    ///
    /// # Errors
    /// As C_DecapsulateKey.
    pub fn decapsulate_key(
        &self,
        context: &Context,
        private: &ObjectRef<'_>,
        mechanism: &Mechanism,
        ciphertext: &[u8],
        id: UniqueId,
        template: &Template,
    ) -> Result<ObjectView, Rv> {
        let parts: [&[u8]; 2] = [&private.id.0, ciphertext];
        let request = birth::fingerprint("decapsulate", Some(mechanism), &parts, &[template]);
        if let Some(view) = self.made_before(context, id, &request)? {
            return Ok(view);
        }
        let private = self.usable(
            context,
            Operation::Decapsulate,
            mechanism,
            private,
            Rv::UNWRAPPING_KEY_HANDLE_INVALID,
        )?;
        let planned = self.planned(context, &private, A::DECAPSULATE_TEMPLATE, template)?;
        let secret = private.key()?.decapsulate(ciphertext).map_err(|error| match error {
            OpError::EncryptedLength => Rv::WRAPPED_KEY_LEN_RANGE,
            error => error.rv(),
        })?;
        let object = self.born_of((id, request), planned, &secret, None)?;
        self.settle_one(context, Act::KeyDecapsulate, object)
    }

    /// What the template, and the other key's template for such keys, ask for.
    fn planned(&self, context: &Context, by: &Object, nested: A, template: &Template) -> Result<Planned, Rv> {
        let policy = self.policy();
        template.check_form()?;
        let template = policy::imposed(policy, by, nested, template)?;
        if birth::class_of(&template)?.is_some_and(|class| class != ObjectClass::SECRET_KEY) {
            return Err(Rv::TEMPLATE_INCONSISTENT);
        }
        let key_type = birth::key_type_of(&template)?.ok_or(Rv::TEMPLATE_INCOMPLETE)?;
        let shape = Shape::of_key(ObjectClass::SECRET_KEY, key_type)?;
        let so = access::role(self, context) == Some(Role::So);
        let way = Way::Derive;
        let draft = complete(Plan { way, shape, policy, so }, &template)?;
        access::may_write(self, context, draft.flag(A::TOKEN), draft.flag(A::PRIVATE))?;
        let length = match draft.attributes.ulong(A::VALUE_LEN)? {
            Some(named) => policy::secret_length(shape, named)?,
            None => SHARED,
        };
        let short = policy.latches() && length < policy::MIN_DERIVED;
        if length > SHARED || short {
            return Err(Rv::TEMPLATE_INCONSISTENT);
        }
        Ok(Planned {
            key_type,
            draft,
            length,
        })
    }

    fn born_of(
        &self,
        (id, request): (UniqueId, [u8; 32]),
        planned: Planned,
        secret: &Secret,
        answer: Option<Secret>,
    ) -> Result<Object, Rv> {
        let policy: Policy = self.policy();
        let Planned {
            key_type,
            draft,
            length,
        } = planned;
        let value = secret.expose().get(..length).ok_or(Rv::FUNCTION_FAILED)?;
        let material = Material::Secret(Secret::from_slice(value));
        let substance = Substance::check(draft.shape, material, policy)?;
        let birth = Birth::outside(id, self.objects().next_sequence(), request);
        birth::key_with(
            &self.core().latches,
            policy,
            draft,
            (key_type, substance),
            birth,
            answer,
        )
    }
}
