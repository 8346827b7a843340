//! What the root record holds, and its codec: tag (1 byte), length (4, little endian), value. Not protobuf, because these values
//! are secrets and the buffers must be wiped. Unknown tags are skipped.

use hsmd_crypto::random;
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ids::NodeId;
use zeroize::Zeroizing;

use crate::ticket::TicketKey;

const STORE: u8 = 1;
const NODE: u8 = 2;
const DEV: u8 = 3;
const COMPLETE: u8 = 4;
const JOURNAL: u8 = 5;
const HEAD: u8 = 6;
const FLEET: u8 = 7;
const BARRIER: u8 = 8;
const TICKET: u8 = 9;
const RESTORING: u8 = 20;
const ADOPTED: u8 = 21;

/// Bytes of tag and length.
const FRAME: usize = 5;

/// The keys and marks of a keystore.
pub(crate) struct RootRecord {
    /// Names the store; an anchor record in it must say the same.
    pub(crate) store: [u8; 16],
    pub(crate) node: NodeId,
    /// For development.
    pub(crate) dev: bool,
    /// The store has been made: from now on an empty one is a loss, not a beginning.
    pub(crate) complete: bool,
    pub(crate) journal: SecretArray<32>,
    pub(crate) head: SecretArray<32>,
    pub(crate) fleet: SecretArray<32>,
    /// Versions ascending.
    pub(crate) barrier: Vec<(u32, SecretArray<32>)>,
    /// Versions ascending.
    pub(crate) tickets: Vec<TicketKey>,
    /// A restore of the whole store is under way; without `complete`, it did not finish.
    pub(crate) restoring: bool,
    /// Keys of the fleet secret that a restore brought along, by their labels.
    pub(crate) adopted: Vec<(String, SecretArray<32>)>,
}

impl RootRecord {
    /// New random keys.
    pub(crate) fn random(dev: bool, now: u64) -> Self {
        Self {
            store: random::array(),
            node: NodeId(random::array()),
            dev,
            complete: false,
            journal: SecretArray::random(),
            head: SecretArray::random(),
            fleet: SecretArray::random(),
            barrier: vec![(1, SecretArray::random())],
            tickets: vec![TicketKey {
                version: 1,
                created: now,
                secret: SecretArray::random(),
            }],
            restoring: false,
            adopted: Vec::new(),
        }
    }

    /// A second copy, to be changed and written.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            journal: self.journal.duplicate(),
            head: self.head.duplicate(),
            fleet: self.fleet.duplicate(),
            barrier: self
                .barrier
                .iter()
                .map(|(version, key)| (*version, key.duplicate()))
                .collect(),
            tickets: self.tickets.iter().map(TicketKey::duplicate).collect(),
            adopted: self
                .adopted
                .iter()
                .map(|(label, key)| (label.clone(), key.duplicate()))
                .collect(),
            ..*self
        }
    }

    /// Takes over the rotated keys of another record of the same store; true if one of them is new here.
    pub(crate) fn take_keys(&mut self, other: &Self) -> bool {
        let mut new = false;
        for (version, key) in &other.barrier {
            if !self.barrier.iter().any(|(known, _)| known == version) {
                self.barrier.push((*version, key.duplicate()));
                new = true;
            }
        }
        self.barrier.sort_by_key(|(version, _)| *version);
        let newest = |record: &Self| record.tickets.last().map_or(0, |key| key.version);
        if newest(other) > newest(self) {
            self.tickets = other.tickets.iter().map(TicketKey::duplicate).collect();
            new = true;
        }
        new
    }

    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        // All at once: a vector that grows leaves copies behind.
        let adopted: usize = self.adopted.iter().map(|(label, _)| FRAME + 33 + label.len()).sum();
        let keys = self.barrier.len() * (FRAME + 36) + self.tickets.len() * (FRAME + 44) + adopted;
        let length = 10 * FRAME + 35 + 96 + keys;
        let mut out = Zeroizing::new(Vec::with_capacity(length));
        put(&mut out, STORE, &[&self.store]);
        put(&mut out, NODE, &[&self.node.0]);
        put(&mut out, DEV, &[&[u8::from(self.dev)]]);
        put(&mut out, COMPLETE, &[&[u8::from(self.complete)]]);
        put(&mut out, JOURNAL, &[self.journal.expose()]);
        put(&mut out, HEAD, &[self.head.expose()]);
        put(&mut out, FLEET, &[self.fleet.expose()]);
        for (version, key) in &self.barrier {
            put(&mut out, BARRIER, &[&version.to_le_bytes(), key.expose()]);
        }
        for key in &self.tickets {
            put(
                &mut out,
                TICKET,
                &[
                    &key.version.to_le_bytes(),
                    &key.created.to_le_bytes(),
                    key.secret.expose(),
                ],
            );
        }
        if self.restoring {
            put(&mut out, RESTORING, &[&[1]]);
        }
        for (label, key) in &self.adopted {
            put(&mut out, ADOPTED, &[key.expose(), label.as_bytes()]);
        }
        debug_assert!(out.len() <= length);
        out
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut store: Option<[u8; 16]> = None;
        let mut node = None;
        let [mut dev, mut complete, mut restoring] = [false; 3];
        let mut adopted = Vec::new();
        let [mut journal, mut head, mut fleet] = [None, None, None];
        let (mut barrier, mut tickets) = (Vec::new(), Vec::new());
        while !bytes.is_empty() {
            let (tag, value) = take(&mut bytes)?;
            match tag {
                STORE => store = Some(value.try_into().ok()?),
                NODE => node = NodeId::from_slice(value),
                DEV => dev = value == [1],
                COMPLETE => complete = value == [1],
                JOURNAL => journal = SecretArray::from_slice(value),
                HEAD => head = SecretArray::from_slice(value),
                FLEET => fleet = SecretArray::from_slice(value),
                BARRIER => {
                    let (version, key) = value.split_first_chunk::<4>()?;
                    barrier.push((u32::from_le_bytes(*version), SecretArray::from_slice(key)?));
                }
                TICKET => {
                    let (version, rest) = value.split_first_chunk::<4>()?;
                    let (created, secret) = rest.split_first_chunk::<8>()?;
                    let (version, created) = (u32::from_le_bytes(*version), u64::from_le_bytes(*created));
                    let secret = SecretArray::from_slice(secret)?;
                    tickets.push(TicketKey {
                        version,
                        created,
                        secret,
                    });
                }
                RESTORING => restoring = value == [1],
                ADOPTED => {
                    let (key, label) = value.split_at_checked(32)?;
                    let label = String::from_utf8(label.to_vec()).ok()?;
                    adopted.push((label, SecretArray::from_slice(key)?));
                }
                _ => {}
            }
        }
        if barrier.is_empty() || tickets.is_empty() {
            return None;
        }
        Some(Self {
            store: store?,
            node: node?,
            dev,
            complete,
            journal: journal?,
            head: head?,
            fleet: fleet?,
            barrier,
            tickets,
            restoring,
            adopted,
        })
    }
}

fn put(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(tag);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some((*tag, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_record_reads_back_and_skips_what_it_does_not_know() {
        let mut record = RootRecord::random(true, 77);
        record.complete = true;
        record.barrier.push((2, SecretArray::random()));
        record.adopted.push(("latch".to_owned(), SecretArray::random()));
        record.restoring = true;
        let mut bytes = record.encode().to_vec();
        put(&mut bytes, 200, &[b"from the future"]);
        let read = RootRecord::decode(&bytes).unwrap();
        assert_eq!(
            (read.store, read.node, read.dev, read.complete),
            (record.store, record.node, true, true)
        );
        assert_eq!(read.journal, record.journal);
        assert_eq!(read.head, record.head);
        assert_eq!(read.fleet, record.fleet);
        assert_eq!(read.barrier, record.barrier);
        assert_eq!((read.restoring, &read.adopted), (true, &record.adopted));
        assert_eq!((read.tickets[0].version, read.tickets[0].created), (1, 77));
        assert_eq!(read.tickets[0].secret, record.tickets[0].secret);
        for length in 0..record.encode().len() {
            // Cut anywhere, it is refused or lacks whole fields; it never panics.
            let _ = RootRecord::decode(&bytes[..length]);
        }
    }
}
