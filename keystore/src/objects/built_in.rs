//! Objects that the token makes itself, for every policy the same (PKCS#11 3.2, 4.3, 4.13, 4.14): the profiles that it implements,
//! one object for each mechanism that the policy has, and a hardware feature of our own that names the policy. Nobody makes,
//! changes, copies or destroys one. They are found only by who names their class, so that applications which list everything see
//! what applications have made. There are no CKO_VALIDATION objects: no authority has validated this token.

use std::sync::{Arc, OnceLock};

use hsmd_crypto::seal::sha256;
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, ObjectClass, Profile};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::mechanism::TABLE;
use hsmd_proto::policy::Policy;
use hsmd_proto::vendor::POLICY_FEATURE;

use super::latch::Latches;
use super::object::{Object, Parts};

/// The built-in objects of one key set; made at the first search for one.
#[derive(Default)]
pub(crate) struct BuiltIn {
    of: [OnceLock<Vec<Arc<Object>>>; Policy::ALL.len()],
}

/// Whether objects of a class are made by the token.
pub(crate) const fn is_built_in(class: ObjectClass) -> bool {
    matches!(
        class,
        ObjectClass::PROFILE | ObjectClass::MECHANISM | ObjectClass::HW_FEATURE
    )
}

impl BuiltIn {
    /// All of a policy.
    pub(crate) fn all(&self, policy: Policy, latches: &Latches) -> &[Arc<Object>] {
        let index = Policy::ALL
            .iter()
            .position(|known| *known == policy)
            .unwrap_or_default();
        self.of[index].get_or_init(|| make(policy, latches))
    }

    /// The one of an id.
    pub(crate) fn get(&self, policy: Policy, latches: &Latches, id: &UniqueId) -> Option<Arc<Object>> {
        if id.0[..4] != MARK {
            return None;
        }
        self.all(policy, latches)
            .iter()
            .find(|object| object.id == *id)
            .cloned()
    }
}

/// How the ids of built-in objects begin: a look-up that misses costs nothing. Ids of others are random.
const MARK: [u8; 4] = *b"hsmd";

fn make(policy: Policy, latches: &Latches) -> Vec<Arc<Object>> {
    let mut described = vec![(
        ObjectClass::HW_FEATURE,
        vec![
            Attribute::ulong(A::HW_FEATURE_TYPE, POLICY_FEATURE),
            Attribute::bytes(A::HSMD_POLICY, policy.name().as_bytes()),
        ],
    )];
    for profile in [
        Profile::BASELINE_PROVIDER,
        Profile::EXTENDED_PROVIDER,
        Profile::AUTHENTICATION_TOKEN,
    ] {
        described.push((ObjectClass::PROFILE, vec![Attribute::ulong(A::PROFILE_ID, profile.0)]));
    }
    for row in TABLE.iter().filter(|row| row.allowed(policy)) {
        described.push((
            ObjectClass::MECHANISM,
            vec![Attribute::ulong(A::MECHANISM_TYPE, row.mechanism.0)],
        ));
    }
    let objects = described
        .into_iter()
        .filter_map(|(class, own)| object(class, own, latches));
    objects.map(Arc::new).collect()
}

fn object(class: ObjectClass, own: Vec<Attribute>, latches: &Latches) -> Option<Object> {
    let values: Vec<&[u8]> = own.iter().map(|entry| entry.value.as_slice()).collect();
    let number = class.0.to_le_bytes();
    let hash = sha256(&[&[b"built in", number.as_slice()][..], &values].concat());
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id[..4].copy_from_slice(&MARK);
    let id = UniqueId(id);
    let mut attributes = vec![
        Attribute::ulong(A::CLASS, class.0),
        Attribute::boolean(A::TOKEN, true),
        Attribute::boolean(A::PRIVATE, false),
        Attribute::boolean(A::MODIFIABLE, false),
        Attribute::boolean(A::COPYABLE, false),
        Attribute::boolean(A::DESTROYABLE, false),
        Attribute::bytes(A::UNIQUE_ID, id.to_string().as_bytes()),
    ];
    attributes.extend(own);
    Object::new(Parts::bare(id, Template(attributes)), latches)
}
