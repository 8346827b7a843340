//! Keys with CKA_ALWAYS_AUTHENTICATE (PKCS#11 3.2, 4.10): the PIN, given once more, is a grant for one operation with one key. A
//! grant names login, key, operation and mechanism; the first request that redeems it decides for which data, and only its
//! repetition after a lost reply redeems it again. Grants are in memory: they end with the daemon, as the operations do that wait
//! for them, so that none is redeemed twice whatever happens.

use std::collections::HashMap;
use std::time::Duration;

use hsmd_crypto::random;
use hsmd_crypto::seal::{hmac, sha256};
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::{LoginId, OperationId, UniqueId};
use hsmd_proto::init::Operation;
use hsmd_proto::params::Mechanism;
use parking_lot::Mutex;

use super::KeySet;
use crate::caller::Context;
use crate::objects::{ObjectRef, mechanism_hash};

/// How long a grant waits for its operation, whose data may come in parts.
const LIFE: Duration = Duration::from_secs(900);
/// The most grants that wait; beyond it the oldest goes.
const MOST: usize = 4096;

/// A grant, as the module presents it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrantId([u8; 16]);

impl GrantId {
    /// Reads one from a request; `None` unless it has 16 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for GrantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GrantId(..)")
    }
}

/// What a grant is for.
#[derive(PartialEq, Eq)]
pub(crate) struct Purpose {
    login: LoginId,
    key: UniqueId,
    operation: Operation,
    mechanism: [u8; 32],
}

struct Grant {
    purpose: Purpose,
    /// [`crate::core::Clock::now`] at which it ends.
    until: u64,
    /// A hash of the data that it was redeemed for.
    redeemed: Option<[u8; 32]>,
}

/// The grants of a key set.
pub(super) struct Grants {
    /// Makes ids: those of an earlier run are none of this one.
    key: [u8; 32],
    all: Mutex<HashMap<GrantId, Grant>>,
}

impl Grants {
    pub(super) fn new() -> Self {
        Self {
            key: random::array(),
            all: Mutex::default(),
        }
    }

    fn add(&self, id: GrantId, purpose: Purpose, now: u64) {
        let mut grants = self.all.lock();
        if grants.len() >= MOST {
            grants.retain(|_, grant| grant.until > now);
        }
        if grants.len() >= MOST
            && let Some(oldest) = grants.iter().min_by_key(|(_, grant)| grant.until).map(|(id, _)| *id)
        {
            grants.remove(&oldest);
        }
        let until = now.saturating_add(u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX));
        // The same attempt repeated finds its grant as it stands.
        grants.entry(id).or_insert(Grant {
            purpose,
            until,
            redeemed: None,
        });
    }

    fn redeem(&self, id: GrantId, purpose: &Purpose, data: &[u8], now: u64) -> Result<(), Rv> {
        let mut grants = self.all.lock();
        let grant = grants.get_mut(&id).ok_or(Rv::USER_NOT_LOGGED_IN)?;
        let data = sha256(&[data]);
        let good =
            grant.until > now && grant.purpose == *purpose && grant.redeemed.is_none_or(|redeemed| redeemed == data);
        if !good {
            return Err(Rv::USER_NOT_LOGGED_IN);
        }
        grant.redeemed = Some(data);
        Ok(())
    }
}

impl KeySet {
    /// `C_Login` with `CKU_CONTEXT_SPECIFIC` for an operation that was begun: the PIN of the login's own role once more. The same
    /// attempt again gives the same grant.
    ///
    /// # Errors
    /// `CKR_OPERATION_NOT_INITIALIZED` for a key without CKA_ALWAYS_AUTHENTICATE; as [`KeySet::login`].
    pub fn grant(
        &self,
        context: &Context,
        (operation, mechanism, key): (Operation, &Mechanism, &ObjectRef<'_>),
        pin: &[u8],
        attempt: OperationId,
    ) -> Result<GrantId, Rv> {
        let login = context.login.as_ref().ok_or(Rv::USER_NOT_LOGGED_IN)?;
        if !self.always_authenticates(context, key) {
            return Err(Rv::OPERATION_NOT_INITIALIZED);
        }
        self.reauthenticate(&context.caller, login, pin, attempt)?;
        let purpose = Purpose {
            login: login.id(),
            key: key.id,
            operation,
            mechanism: mechanism_hash(mechanism),
        };
        let id = hmac(&self.grants.key, &[&login.id().0, &key.id.0, &attempt.0]);
        let id = GrantId::from_slice(&id[..16]).ok_or(Rv::GENERAL_ERROR)?;
        self.grants.add(id, purpose, self.core.clock.now());
        Ok(id)
    }

    /// Uses the request's grant up for this operation on this data.
    ///
    /// # Errors
    /// `CKR_USER_NOT_LOGGED_IN`, whatever the reason.
    pub(crate) fn redeem_grant(
        &self,
        context: &Context,
        (operation, mechanism, key): (Operation, &Mechanism, UniqueId),
        data: &[u8],
    ) -> Result<(), Rv> {
        let (Some(login), Some(grant)) = (&context.login, context.grant) else {
            return Err(Rv::USER_NOT_LOGGED_IN);
        };
        let purpose = Purpose {
            login: login.id(),
            key,
            operation,
            mechanism: mechanism_hash(mechanism),
        };
        self.grants.redeem(grant, &purpose, data, self.core.clock.now())
    }
}
