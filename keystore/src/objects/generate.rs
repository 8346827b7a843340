//! C_GenerateKey and C_GenerateKeyPair (PKCS#11 3.2, 5.18.1 and 5.18.2).

use hsmd_crypto::{Generate, Key, Material, OpError, PairCheck, generate_open};
use hsmd_proto::attribute::Template;
use hsmd_proto::ck::{AttributeType as A, KeyType, ObjectClass, Rv};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::mechanism::{Family, Operations, Row};
use hsmd_proto::params::{Mechanism, Params, Pbkdf2Params};
use hsmd_proto::policy::Policy;

use super::birth::{self, Birth, Substance};
use super::object::{Object, Origin};
use super::rules::{Draft, Plan, Shape, Way, complete};
use super::{ObjectView, access, material, policy};
use crate::audit::Act;
use crate::caller::Context;
use crate::key_set::KeySet;
use crate::login::Role;

/// F4, the public exponent unless the template names one.
const DEFAULT_EXPONENT: [u8; 3] = [1, 0, 1];

impl KeySet {
    /// Generates a secret key. The same `id` and template again find what the first try made (INV-10).
    ///
    /// # Errors
    /// As C_GenerateKey.
    pub fn generate_key(
        &self,
        context: &Context,
        mechanism: &Mechanism,
        id: UniqueId,
        template: &Template,
    ) -> Result<ObjectView, Rv> {
        self.generate_key_of(context, (mechanism, None), id, template)
    }

    /// [`Self::generate_key`] with a password, for CKM_PKCS5_PBKD2.
    ///
    /// # Errors
    /// As C_GenerateKey.
    pub fn generate_key_of(
        &self,
        context: &Context,
        (mechanism, password): (&Mechanism, Option<&[u8]>),
        id: UniqueId,
        template: &Template,
    ) -> Result<ObjectView, Rv> {
        let request = birth::fingerprint("generate", Some(mechanism), &[], &[template]);
        if let Some(view) = self.made_before(context, id, &request)? {
            return Ok(view);
        }
        let policy = self.policy();
        let row = generator(mechanism, policy, Operations::GENERATE)?;
        let (key_type, draft) = self.generated(context, row, ObjectClass::SECRET_KEY, template)?;
        access::may_write(self, context, draft.flag(A::TOKEN), draft.flag(A::PRIVATE))?;
        let fixed = match draft.shape {
            Shape::ChaCha => Some(32),
            Shape::Des3 => Some(24),
            _ => None,
        };
        let length = draft.attributes.ulong(A::VALUE_LEN)?.or(fixed);
        let length = length.ok_or(Rv::TEMPLATE_INCOMPLETE)?;
        let bytes = policy::secret_length(draft.shape, length)?;
        if length < row.min_under(policy) {
            return Err(Rv::ATTRIBUTE_VALUE_INVALID);
        }
        let born = self.born(id, request, mechanism, Origin::default());
        let (made, birth) = match (&mechanism.params, password) {
            (Params::Pbkdf2(params), Some(password)) => {
                let made = of_password(policy, params, password, bytes)?;
                // Whoever knows the password knows the key: as if it had been created with its value (decision 0012).
                let outside = Birth {
                    mechanism: born.mechanism,
                    ..Birth::outside(id, born.sequence, request)
                };
                (made, outside)
            }
            (Params::Pbkdf2(_), None) => return Err(Rv::MECHANISM_PARAM_INVALID),
            _ => {
                let what = match draft.shape {
                    Shape::Des3 => Generate::Des3,
                    _ => Generate::Secret { bytes },
                };
                (hsmd_crypto::generate(&what).map_err(OpError::rv)?, born)
            }
        };
        let substance = Substance::check(draft.shape, made, policy)?;
        let object = birth::key(&self.core().latches, policy, draft, key_type, substance, birth)?;
        self.settle_one(context, Act::KeyGenerate, object)
    }

    /// Generates a key pair; both halves are made, or neither. The same ids and templates again find what the first try made.
    ///
    /// # Errors
    /// As C_GenerateKeyPair.
    pub fn generate_key_pair(
        &self,
        context: &Context,
        mechanism: &Mechanism,
        (public_id, public): (UniqueId, &Template),
        (private_id, private): (UniqueId, &Template),
    ) -> Result<(ObjectView, ObjectView), Rv> {
        let ids: [&[u8]; 2] = [&public_id.0, &private_id.0];
        let request = birth::fingerprint("generate pair", Some(mechanism), &ids, &[public, private]);
        let before = |id| self.made_before(context, id, &request);
        if let (Some(public), Some(private)) = (before(public_id)?, before(private_id)?) {
            return Ok((public, private));
        }
        let policy = self.policy();
        let row = generator(mechanism, policy, Operations::GENERATE_KEY_PAIR)?;
        let (key_type, public) = self.generated(context, row, ObjectClass::PUBLIC_KEY, public)?;
        let (_, mut private) = self.generated(context, row, ObjectClass::PRIVATE_KEY, private)?;
        // Both halves name their curve in the same way: clients compare.
        if let Some(curve) = public.attributes.get(A::EC_PARAMS) {
            private.put(curve.clone());
        }
        for draft in [&public, &private] {
            access::may_write(self, context, draft.flag(A::TOKEN), draft.flag(A::PRIVATE))?;
        }
        let held = policy::usage(&public.attributes).with(policy::usage(&private.attributes));
        policy::roles_agree(policy, held)?;
        let (made, key) = generate_open(&pair(row, &public, &private, policy)?, check(policy)).map_err(OpError::rv)?;
        let half = key.public().ok_or(Rv::FUNCTION_FAILED)?;
        // A public half wraps for whoever has its private half: readable there is readable here (DESIGN 8).
        let readable = !private.flag(A::SENSITIVE) && private.flag(A::EXTRACTABLE);
        let origin = Origin {
            outside: false,
            readable,
        };
        let make = |id, draft: Draft, material: Material, key: Key| -> Result<Object, Rv> {
            let birth = self.born(id, request, mechanism, origin);
            birth::key(
                &self.core().latches,
                policy,
                draft,
                key_type,
                Substance { material, key },
                birth,
            )
        };
        let opened = Key::open(&half).map_err(|_| Rv::FUNCTION_FAILED)?;
        let halves = vec![
            make(public_id, public, half, opened)?,
            make(private_id, private, made, key)?,
        ];
        let mut views = self.settle(context, Act::KeyGenerate, halves)?.into_iter();
        views.next().zip(views.next()).ok_or(Rv::FUNCTION_FAILED)
    }

    /// The draft of a key that a mechanism makes.
    fn generated(
        &self,
        context: &Context,
        row: &Row,
        class: ObjectClass,
        template: &Template,
    ) -> Result<(KeyType, Draft), Rv> {
        template.check_form()?;
        if birth::class_of(template)?.is_some_and(|named| named != class) {
            return Err(Rv::TEMPLATE_INCONSISTENT);
        }
        let key_type = policy::generated_type(row.mechanism, birth::key_type_of(template)?)?;
        let shape = Shape::of_key(class, key_type)?;
        let so = access::role(self, context) == Some(Role::So);
        let plan = Plan {
            way: Way::Generate,
            shape,
            policy: self.policy(),
            so,
        };
        Ok((key_type, complete(plan, template)?))
    }

    fn born(&self, id: UniqueId, request: [u8; 32], mechanism: &Mechanism, origin: Origin) -> Birth {
        Birth {
            id,
            sequence: self.objects().next_sequence(),
            request,
            mechanism: Some(mechanism.kind),
            origin,
            always_sensitive: true,
            never_extractable: true,
        }
    }
}

/// The key of a password. What a password is worth nobody here can tell, but `fips` has none of less than eight bytes (FIPS 140-3
/// IG D.N asks for a least length).
fn of_password(policy: Policy, params: &Pbkdf2Params, password: &[u8], bytes: usize) -> Result<Material, Rv> {
    if policy == Policy::Fips && password.len() < 8 {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    hsmd_crypto::pbkdf2(params, password, bytes)
        .map(Material::Secret)
        .map_err(|_| Rv::MECHANISM_PARAM_INVALID)
}

/// The row of a mechanism that generates.
fn generator(mechanism: &Mechanism, policy: Policy, operation: Operations) -> Result<&'static Row, Rv> {
    let row = hsmd_proto::mechanism::row(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?;
    if !row.operations_under(policy).contains(operation) {
        return Err(Rv::MECHANISM_INVALID);
    }
    mechanism.check(policy)
}

/// How a new pair on a curve is checked: a signature for each is what FIPS 140-3 asks where it may sign later (IG 10.3.A).
const fn check(policy: Policy) -> PairCheck {
    match policy {
        Policy::Strict | Policy::Fips => PairCheck::Sign,
        Policy::Standard | Policy::Legacy => PairCheck::Recompute,
    }
}

/// What kind of pair the templates ask for.
fn pair(row: &Row, public: &Draft, private: &Draft, policy: Policy) -> Result<Generate, Rv> {
    match row.family {
        Family::RsaKeyPairGen => {
            let bits = public
                .attributes
                .ulong(A::MODULUS_BITS)?
                .ok_or(Rv::TEMPLATE_INCOMPLETE)?;
            let exponent = public
                .attributes
                .value(A::PUBLIC_EXPONENT)
                .unwrap_or(&DEFAULT_EXPONENT)
                .to_vec();
            let good_size = (row.min_under(policy)..=row.max).contains(&bits) && bits.is_multiple_of(128);
            if !good_size || !material::good_exponent(&exponent, policy) {
                return Err(Rv::ATTRIBUTE_VALUE_INVALID);
            }
            let bits = u32::try_from(bits).map_err(|_| Rv::ATTRIBUTE_VALUE_INVALID)?;
            Ok(Generate::Rsa { bits, exponent })
        }
        Family::EcKeyPairGen => {
            let curve = material::curve(public.shape, &public.attributes)?;
            if policy == Policy::Fips && !curve.approved() {
                return Err(Rv::CURVE_NOT_SUPPORTED);
            }
            Ok(Generate::Ec(curve))
        }
        Family::EdwardsKeyPairGen => {
            material::curve(public.shape, &public.attributes)?;
            Ok(Generate::Ed25519)
        }
        Family::MontgomeryKeyPairGen => {
            material::curve(public.shape, &public.attributes)?;
            Ok(Generate::X25519)
        }
        Family::DhKeyPairGen => dh(public, private),
        Family::MlDsaKeyPairGen | Family::MlKemKeyPairGen | Family::SlhDsaKeyPairGen => {
            Ok(Generate::Pq(material::parameter_set(public.shape, &public.attributes)?))
        }
        _ => Err(Rv::MECHANISM_INVALID),
    }
}

/// A pair of Diffie-Hellman: the group that the public half names, and a private value as long as CKA_VALUE_BITS of the private half
/// says (PKCS#11 3.2, 6.4.8), at least twice the group's strength.
fn dh(public: &Draft, private: &Draft) -> Result<Generate, Rv> {
    let group = material::group(&public.attributes)?;
    let bits = match private.attributes.ulong(A::VALUE_BITS)? {
        Some(bits) => usize::try_from(bits).map_err(|_| Rv::ATTRIBUTE_VALUE_INVALID)?,
        None => group.exponent_bits(),
    };
    if !group.exponent_range().contains(&bits) {
        return Err(Rv::ATTRIBUTE_VALUE_INVALID);
    }
    Ok(Generate::Dh { group, bits })
}
