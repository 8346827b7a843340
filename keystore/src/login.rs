//! Logins: who is logged in, for how long, and the map that the hot path reads. The sealed form that the module carries is
//! `ticket`; records are written by `background`; how a PIN becomes a login is `key_set`.

mod table;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hsmd_crypto::seal::{SealKey, hkdf};
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ck::{Rv, UserType};
use hsmd_proto::ids::{KeySetId, LoginId};

pub(crate) use self::table::{Entry, LoginTable};
use crate::caller::Identity;
use crate::core::Core;

/// A role of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The security officer (`CKU_SO`).
    So,
    /// The crypto officer (`CKU_USER`).
    User,
    /// The crypto user (`CKU_CRYPTO_USER`): uses keys, and makes, changes, takes out and destroys none of the token.
    CryptoUser,
}

impl Role {
    /// The role of a `CKU_` value.
    ///
    /// # Errors
    /// `CKR_USER_TYPE_INVALID` for values that name no role.
    pub fn of(user: UserType) -> Result<Self, Rv> {
        match user {
            UserType::SO => Ok(Self::So),
            UserType::USER => Ok(Self::User),
            UserType::CRYPTO_USER => Ok(Self::CryptoUser),
            _ => Err(Rv::USER_TYPE_INVALID),
        }
    }

    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::So => 0,
            Self::User => 1,
            Self::CryptoUser => 2,
        }
    }

    pub(crate) const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::So),
            1 => Some(Self::User),
            2 => Some(Self::CryptoUser),
            _ => None,
        }
    }

    /// Its word in record paths.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::So => "so",
            Self::User => "user",
            Self::CryptoUser => "cu",
        }
    }
}

/// A login. It is found by its ticket ([`crate::KeySet::resolve`]) and ends with logout, epoch, revocation or long idleness.
pub struct Login {
    pub(crate) id: LoginId,
    pub(crate) role: Role,
    pub(crate) identity: Identity,
    pub(crate) key_set: KeySetId,
    /// Moves on for the one login that survives a bump: the SO's who gave the user a new PIN.
    pub(crate) epoch: AtomicU64,
    pub(crate) secret: SecretArray<32>,
    /// Version of the key that seals its ticket.
    pub(crate) ticket_key: u32,
    session_key: SealKey,
    alive: AtomicBool,
    /// [`crate::core::Clock::now`] of the last use.
    pub(crate) used: AtomicU64,
}

impl Login {
    pub(crate) fn new(
        core: &Core,
        key_set: KeySetId,
        id: LoginId,
        (role, identity, epoch): (Role, Identity, u64),
        (secret, ticket_key): (SecretArray<32>, u32),
    ) -> Self {
        let session_key = SealKey::new(&hkdf(
            secret.expose(),
            core.fleet.key("session object").expose(),
            &[&id.0],
        ));
        Self {
            id,
            role,
            identity,
            key_set,
            epoch: AtomicU64::new(epoch),
            secret,
            ticket_key,
            session_key,
            alive: AtomicBool::new(true),
            used: AtomicU64::new(core.clock.now()),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> LoginId {
        self.id
    }

    /// In which role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) {
        self.alive.store(false, Ordering::Release);
    }

    /// Seals the private session objects of this login: they die with it.
    pub(crate) fn session_key(&self) -> &SealKey {
        &self.session_key
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({}, {:?}, {:?})", self.id, self.role, self.identity)
    }
}
