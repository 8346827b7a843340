//! C_DeriveKey (PKCS#11 3.2, 5.18.5). ECDH, DH, HKDF and SP 800-108 are one-way, so readability follows the template (DESIGN 8); the
//! others are in [`super::invertible`]. What they give is from outside: who sent the other point knows it, and who derives again may
//! ask for the same value to read.

use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Material, OpError};
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, KeyType, MechanismType, ObjectClass, Rv};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::init::Operation;
use hsmd_proto::mechanism::{Family, ParamKind, Row, digest_length, kdf_hash};
use hsmd_proto::meta::KeyMeta;
use hsmd_proto::params::{EcdhParams, Mechanism, Params};
use hsmd_proto::policy::Policy;
use hsmd_proto::tls::{MASTER, TlsSecret};

use super::birth::{self, Birth, Substance};
use super::object::Object;
use super::rules::{Plan, Shape, Way, complete};
use super::{ObjectRef, ObjectView, access, invertible, policy};
use crate::audit::Act;
use crate::caller::Context;
use crate::key_set::KeySet;
use crate::login::Role;

impl KeySet {
    /// Derives a secret key. The same `id`, parameters and template again find what the first try made (INV-10).
    ///
    /// # Errors
    /// As C_DeriveKey.
    pub fn derive_key(
        &self,
        context: &Context,
        base: &ObjectRef<'_>,
        mechanism: &Mechanism,
        id: UniqueId,
        template: &Template,
    ) -> Result<ObjectView, Rv> {
        self.derive_key_of(context, (base, None), mechanism, id, template)
    }

    /// [`Self::derive_key`] with a second key, for CKM_CONCATENATE_BASE_AND_KEY.
    ///
    /// # Errors
    /// As C_DeriveKey.
    pub fn derive_key_of(
        &self,
        context: &Context,
        (base, other): (&ObjectRef<'_>, Option<&ObjectRef<'_>>),
        mechanism: &Mechanism,
        id: UniqueId,
        template: &Template,
    ) -> Result<ObjectView, Rv> {
        let parts: [&[u8]; 2] = [&base.id.0, other.map_or(&[][..], |other| &other.id.0[..])];
        let named = if other.is_some() { &parts[..] } else { &parts[..1] };
        let request = birth::fingerprint("derive", Some(mechanism), named, &[template]);
        if let Some(view) = self.made_before(context, id, &request)? {
            return Ok(view);
        }
        let policy = self.policy();
        let usable = |name| self.usable(context, Operation::Derive, mechanism, name, Rv::KEY_HANDLE_INVALID);
        let (base, other) = (usable(base)?, other.map(usable).transpose()?);
        let other: Option<&Object> = other.as_deref();
        let row = hsmd_proto::mechanism::row(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?;
        template.check_form()?;
        let mut template = policy::imposed(policy, &base, A::DERIVE_TEMPLATE, template)?;
        if let Some(other) = other {
            template = policy::imposed(policy, other, A::DERIVE_TEMPLATE, &template)?;
        }
        let bases: Vec<&Object> = std::iter::once(&*base).chain(other).collect();
        if row.invertible() {
            template = invertible::narrowed(&bases, template)?;
        }
        // Never CKO_DATA: a key's bytes would be an object that anybody reads.
        if birth::class_of(&template)?.is_some_and(|class| class != ObjectClass::SECRET_KEY) {
            return Err(Rv::TEMPLATE_INCONSISTENT);
        }
        let key_type = match birth::key_type_of(&template)? {
            Some(named) => named,
            // 6.43: a generic secret, unless the template says otherwise.
            None if row.invertible() => {
                template
                    .0
                    .push(Attribute::ulong(A::KEY_TYPE, KeyType::GENERIC_SECRET.0));
                KeyType::GENERIC_SECRET
            }
            None => return Err(Rv::TEMPLATE_INCOMPLETE),
        };
        let shape = Shape::of_key(ObjectClass::SECRET_KEY, key_type)?;
        let so = access::role(self, context) == Some(Role::So);
        let draft = complete(
            Plan {
                way: Way::Derive,
                shape,
                policy,
                so,
            },
            &template,
        )?;
        access::may_write(self, context, draft.flag(A::TOKEN), draft.flag(A::PRIVATE))?;
        let named = draft.attributes.ulong(A::VALUE_LEN)?;
        let value = derived(policy, (row, mechanism), &bases, (shape, named))?;
        let mut value = value;
        if shape == Shape::Des3 {
            hsmd_crypto::set_des3_parity(&mut value);
        }
        let substance = Substance::check(shape, Material::Secret(value), policy)?;
        let birth = Birth {
            always_sensitive: bases.iter().all(|base| base.flag(A::ALWAYS_SENSITIVE)),
            never_extractable: bases.iter().all(|base| base.flag(A::NEVER_EXTRACTABLE)),
            ..Birth::outside(id, self.objects().next_sequence(), request)
        };
        let object = birth::key(&self.core().latches, policy, draft, key_type, substance, birth)?;
        self.settle_one(context, Act::KeyDerive, object)
    }
}

/// The new key's value.
fn derived(
    policy: Policy,
    (row, mechanism): (&Row, &Mechanism),
    bases: &[&Object],
    (shape, named): (Shape, Option<u64>),
) -> Result<Secret, Rv> {
    let base = bases.first().ok_or(Rv::KEY_HANDLE_INVALID)?;
    let whole = if row.invertible() {
        invertible::permitted(policy, row, bases)?;
        Some(invertible::whole(row, mechanism, base, bases.get(1).copied())?)
    } else {
        None
    };
    let agreed = match &whole {
        // Extraction has no length of its own.
        Some(_) if row.family == Family::Extract && named.is_none() => return Err(Rv::TEMPLATE_INCOMPLETE),
        Some(whole) => Agreed {
            bytes: whole.len(),
            limited: true,
        },
        None => offered(base, row, &mechanism.params)?,
    };
    let length = derived_length(shape, named, agreed)?;
    let master = matches!(
        row.params,
        ParamKind::Tls(TlsSecret::Master | TlsSecret::ExtendedMaster)
    );
    if master && (shape != Shape::Generic || length != MASTER) {
        return Err(Rv::TEMPLATE_INCONSISTENT);
    }
    if policy.latches() && bases.iter().any(|base| base.sensitive()) && length < policy::MIN_DERIVED {
        return Err(Rv::TEMPLATE_INCONSISTENT);
    }
    if let Some(whole) = whole {
        invertible::complete(policy, row, bases, (shape, length, whole.len()))?;
        return Ok(Secret::from_slice(&whole.expose()[..length]));
    }
    let key = base.key()?;
    let value = match (&mechanism.params, row.params) {
        (Params::Ecdh(ecdh), _) => key.agree(ecdh, Some(length)),
        (Params::Hkdf(hkdf), _) => key.hkdf(hkdf, length),
        (Params::Tls(tls), _) => key.tls(tls, length),
        (Params::None, _) if row.family == Family::Shake => key.shake(row.mechanism, length),
        (Params::Data(other), ParamKind::PeerValue) => key.agree_with_value(other, Some(length)),
        (Params::Kbkdf(kbkdf), ParamKind::Kbkdf(mode)) => key.kbkdf(mode, kbkdf, length),
        _ => return Err(Rv::MECHANISM_PARAM_INVALID),
    };
    value.map_err(|error| match error {
        OpError::DataLength => Rv::TEMPLATE_INCONSISTENT,
        error => error.rv(),
    })
}

/// How many bytes an agreement gives by itself, and whether that is the limit: CKD_NULL gives a field element and no more;
/// a derivation function gives any number, one hash unless the template says how many.
struct Agreed {
    bytes: usize,
    limited: bool,
}

fn offered(base: &Object, row: &Row, params: &Params) -> Result<Agreed, Rv> {
    match params {
        Params::Ecdh(ecdh) => agreed(base, ecdh),
        // A master secret has one length, and is a generic secret (6.40).
        Params::Tls(_) if row.params != ParamKind::Tls(TlsSecret::Exported) => Ok(Agreed {
            bytes: MASTER,
            limited: true,
        }),
        Params::Tls(tls) => Ok(Agreed {
            bytes: digest_length(tls.hash).ok_or(Rv::MECHANISM_PARAM_INVALID)?,
            limited: false,
        }),
        // 6.32: 16 and 32 bytes, unless the template says otherwise.
        Params::None if row.family == Family::Shake => Ok(Agreed {
            bytes: if row.mechanism == MechanismType::SHAKE_128_KEY_DERIVATION {
                16
            } else {
                32
            },
            limited: false,
        }),
        // Of Diffie-Hellman: the shared number. What puts keys together does not come here.
        Params::Data(_) => Ok(Agreed {
            bytes: base.meta(false).map_or(0, KeyMeta::modulus_bytes),
            limited: true,
        }),
        Params::Kbkdf(kbkdf) => Ok(Agreed {
            bytes: kbkdf.block().ok_or(Rv::MECHANISM_PARAM_INVALID)?,
            limited: false,
        }),
        Params::Hkdf(hkdf) => Ok(Agreed {
            bytes: digest_length(hkdf.hash).ok_or(Rv::MECHANISM_PARAM_INVALID)?,
            limited: !hkdf.expand,
        }),
        _ => Err(Rv::MECHANISM_PARAM_INVALID),
    }
}

fn agreed(base: &Object, params: &EcdhParams) -> Result<Agreed, Rv> {
    if let Some((_, hash)) = kdf_hash(params.kdf) {
        let bytes = digest_length(hash).ok_or(Rv::MECHANISM_PARAM_INVALID)?;
        return Ok(Agreed { bytes, limited: false });
    }
    let curve = base
        .meta(false)
        .and_then(|meta| meta.curve)
        .ok_or(Rv::KEY_TYPE_INCONSISTENT)?;
    Ok(Agreed {
        bytes: curve.field_bytes(),
        limited: true,
    })
}

/// How many bytes of an agreed secret become the key: what the template names, else all of it, or the longest AES key in it.
fn derived_length(shape: Shape, named: Option<u64>, agreed: Agreed) -> Result<usize, Rv> {
    let length = match (named, shape) {
        (Some(named), _) => policy::secret_length(shape, named)?,
        (None, Shape::Aes) => [32, 24, 16]
            .into_iter()
            .find(|length| *length <= agreed.bytes)
            .ok_or(Rv::TEMPLATE_INCONSISTENT)?,
        (None, Shape::AesXts) => [64, 32]
            .into_iter()
            .find(|length| *length <= agreed.bytes)
            .ok_or(Rv::TEMPLATE_INCONSISTENT)?,
        (None, Shape::ChaCha) => 32,
        (None, Shape::Des3) => 24,
        (None, _) => agreed.bytes,
    };
    if length <= agreed.bytes || !agreed.limited {
        Ok(length)
    } else {
        Err(Rv::TEMPLATE_INCONSISTENT)
    }
}
