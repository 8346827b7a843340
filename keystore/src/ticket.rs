//! Tickets: what the module presents to be taken for a login. Sealed bytes, opaque outside; bound to the identity of the
//! connection and to the key set. A ticket by itself is nothing: its login's record must live.
//!
//! Layout: format (1 byte, 1), version of the ticket key (4, little endian), nonce (12), sealed login id (16) and secret (32), tag (16).

use hsmd_crypto::seal::{SealKey, hkdf};
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ids::{KeySetId, LoginId};
use parking_lot::RwLock;
use zeroize::{Zeroize, Zeroizing};

use crate::caller::Identity;
use crate::seal::Psk;

const FORMAT: u8 = 1;
const HEADER: usize = 5;
pub(crate) const NONCE: usize = 12;
const LENGTH: usize = HEADER + NONCE + 16 + 32 + 16;

/// A ticket: a secret of the application that holds it.
pub struct Ticket(Zeroizing<Vec<u8>>);

impl Ticket {
    /// The bytes that the module keeps and presents.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// The part by which a ticket is looked up: random, and authenticated only by the comparison of the whole.
    pub(crate) fn nonce(ticket: &[u8]) -> Option<&[u8; NONCE]> {
        if ticket.len() != LENGTH {
            return None;
        }
        ticket[HEADER..].first_chunk()
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket(..)")
    }
}

/// One version of the ticket key.
pub(crate) struct TicketKey {
    pub(crate) version: u32,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) secret: SecretArray<32>,
}

impl TicketKey {
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            version: self.version,
            created: self.created,
            secret: self.secret.duplicate(),
        }
    }
}

/// The ticket keys, oldest first; the last one seals.
pub(crate) struct TicketKeys(RwLock<Vec<TicketKey>>);

/// What a ticket says.
pub(crate) struct Opened {
    pub(crate) id: LoginId,
    pub(crate) secret: SecretArray<32>,
    pub(crate) key: u32,
}

impl TicketKeys {
    pub(crate) fn new(keys: Vec<TicketKey>) -> Self {
        Self(RwLock::new(keys))
    }

    /// Exchanges the keys for others.
    pub(crate) fn replace(&self, keys: Vec<TicketKey>) {
        *self.0.write() = keys;
    }

    /// Calls `with` with the key of this version.
    fn with<T>(&self, version: Option<u32>, with: impl FnOnce(&TicketKey) -> T) -> Option<T> {
        let keys = self.0.read();
        let mut newest_first = keys.iter().rev();
        newest_first
            .find(|key| version.is_none_or(|version| key.version == version))
            .map(with)
    }

    /// Makes the ticket of a login, under the newest key; also that key's version.
    pub(crate) fn seal(
        &self,
        key_set: KeySetId,
        identity: &Identity,
        id: LoginId,
        secret: &SecretArray<32>,
    ) -> Option<(Ticket, u32)> {
        let mut plain = Zeroizing::new([0_u8; 48]);
        plain[..16].copy_from_slice(&id.0);
        plain[16..].copy_from_slice(secret.expose());
        self.with(None, |key| {
            let mut bytes = Vec::with_capacity(LENGTH);
            bytes.push(FORMAT);
            bytes.extend_from_slice(&key.version.to_le_bytes());
            let sealed = Zeroizing::new(ticket_key(key).seal(&[&bytes, &identity.0, &key_set.0], plain.as_slice()));
            bytes.extend_from_slice(&sealed);
            (Ticket(Zeroizing::new(bytes)), key.version)
        })
    }

    /// Opens a ticket for this key set and identity; `None` if it is not one of ours for both.
    pub(crate) fn open(&self, key_set: KeySetId, identity: &Identity, ticket: &[u8]) -> Option<Opened> {
        if ticket.len() != LENGTH || ticket[0] != FORMAT {
            return None;
        }
        let (header, sealed) = ticket.split_at(HEADER);
        let version = u32::from_le_bytes(*header[1..].first_chunk()?);
        let open = |key: &TicketKey| ticket_key(key).open(&[header, &identity.0, &key_set.0], sealed).ok();
        let plain = self.with(Some(version), open)??;
        let id = LoginId::from_slice(plain.get(..16)?)?;
        let secret = SecretArray::from_slice(plain.get(16..)?)?;
        Some(Opened {
            id,
            secret,
            key: version,
        })
    }

    /// Seals the PSK for a login record: it opens only with the ticket key and the login's secret together.
    pub(crate) fn seal_psk(&self, version: u32, id: LoginId, secret: &SecretArray<32>, psk: &Psk) -> Option<Vec<u8>> {
        self.with(Some(version), |key| {
            psk_key(key, id, secret).seal(&[&id.0], psk.expose())
        })
    }

    /// Opens what [`Self::seal_psk`] made.
    pub(crate) fn open_psk(&self, version: u32, id: LoginId, secret: &SecretArray<32>, sealed: &[u8]) -> Option<Psk> {
        let mut plain = self.with(Some(version), |key| {
            psk_key(key, id, secret).open(&[&id.0], sealed).ok()
        })??;
        let psk = SecretArray::from_slice(&plain).map(Psk::new);
        plain.zeroize();
        psk
    }
}

fn ticket_key(key: &TicketKey) -> SealKey {
    SealKey::new(&hkdf(key.secret.expose(), b"hsmd ticket", &[b"ticket"]))
}

fn psk_key(key: &TicketKey, id: LoginId, secret: &SecretArray<32>) -> SealKey {
    SealKey::new(&hkdf(secret.expose(), key.secret.expose(), &[b"hsmd login psk", &id.0]))
}
