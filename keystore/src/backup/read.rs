//! Reading a backup: what comes before the key sets is kept, the key sets are handed on record by record.

use std::io::Read;

use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ids::KeySetId;
use hsmd_proto::policy::Policy;
use hsmd_store::Path;
use hsmd_store::container::Reader;
use prost::Message;
use zeroize::Zeroizing;

use super::item::{Entry, Item, decode};
use super::{BackupKey, Contents, KeySetContents, Manifest, RestoreError};
use crate::records::{DocumentRecord, KeySetRecord};
use crate::seal::Kind;

/// A backup that is being read. Its header was read before.
pub struct Incoming<'r> {
    reader: Reader<Box<dyn Read + 'r>>,
    manifest: Manifest,
    pub(super) secrets: Vec<(String, SecretArray<32>)>,
    pub(super) fleet: Vec<FleetRecord>,
    /// The first key set, met while the fleet's records were read.
    ahead: Option<(KeySetId, KeySetRecord)>,
    counts: [u64; 3],
    ended: bool,
}

/// A record under `/fleet/`.
pub(super) struct FleetRecord {
    pub(super) kind: Kind,
    pub(super) version: u64,
    pub(super) path: Path,
    pub(super) plain: Zeroizing<Vec<u8>>,
}

/// What a backup's key sets consist of, one after the other.
pub(super) enum Part<'a> {
    KeySet(KeySetId, Box<KeySetRecord>),
    Record(Entry<'a>),
}

impl<'r> Incoming<'r> {
    /// Reads up to the first key set. What was read is authentic; that nothing is missing is known at the end.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn open(from: impl Read + 'r, key: &BackupKey) -> Result<Self, RestoreError> {
        let from: Box<dyn Read + 'r> = Box::new(from);
        let mut reader = Reader::new(from, key.header(), key.expose())?;
        let first = reader.item()?.ok_or(RestoreError::Contents("it is empty"))?;
        let Item::Manifest(manifest) = decode(first)? else {
            return Err(RestoreError::Contents("it does not begin with a manifest"));
        };
        let mut incoming = Self {
            manifest: Manifest::decode(manifest)?,
            reader,
            secrets: Vec::new(),
            fleet: Vec::new(),
            ahead: None,
            counts: [0; 3],
            ended: false,
        };
        incoming.read_fleet()?;
        Ok(incoming)
    }

    fn read_fleet(&mut self) -> Result<(), RestoreError> {
        loop {
            let item = self.reader.item()?.ok_or(RestoreError::Contents("it has no end"))?;
            match decode(item)? {
                Item::Secret(label, key) => self.secrets.push((label.to_owned(), key)),
                Item::Fleet(entry) => {
                    self.counts[0] += 1;
                    self.fleet.push(fleet_record(&entry)?);
                }
                Item::KeySet(id, record) => {
                    self.counts[1] += 1;
                    self.ahead = Some((id, record));
                    return Ok(());
                }
                Item::End(counts) => {
                    check_end(counts, self.counts)?;
                    self.ended = true;
                    return end(&mut self.reader);
                }
                Item::Manifest(_) | Item::Record(_) => {
                    return Err(RestoreError::Contents("its items are out of order"));
                }
            }
        }
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The control plane's records in it, by name.
    #[must_use]
    pub fn documents(&self) -> Vec<(String, Vec<u8>)> {
        let documents = self.fleet.iter().filter(|record| record.kind == Kind::Document);
        let read = documents.filter_map(|record| DocumentRecord::decode(record.plain.as_slice()).ok());
        read.filter(|record| !record.deleted)
            .map(|record| (record.name, record.value))
            .collect()
    }

    /// Reads to the end and changes nothing.
    ///
    /// # Errors
    /// [`RestoreError`]: it is not whole.
    pub fn verify(mut self, progress: &mut dyn FnMut(u64)) -> Result<Contents, RestoreError> {
        let mut key_sets: Vec<KeySetContents> = Vec::new();
        let mut records = 0;
        while let Some(part) = self.part()? {
            match part {
                Part::KeySet(id, record) => {
                    let found = contents(id, &record);
                    key_sets.push(found.ok_or(RestoreError::Contents("a key set does not read"))?);
                }
                Part::Record(entry) => {
                    check_record(&entry)?;
                    if let Some(key_set) = key_sets.last_mut() {
                        count(key_set, entry.kind);
                    }
                }
            }
            records += 1;
            progress(records);
        }
        let latches = self.fleet.iter().filter(|record| record.kind == Kind::Latch).count() as u64;
        Ok(Contents {
            key_sets,
            documents: self.counts[0] - latches,
            latches,
            bytes: 0,
            manifest: self.manifest,
        })
    }

    /// The next part of the key sets; `None`: the backup ended here, and nothing is missing.
    pub(super) fn part(&mut self) -> Result<Option<Part<'_>>, RestoreError> {
        if let Some((id, record)) = self.ahead.take() {
            return Ok(Some(Part::KeySet(id, Box::new(record))));
        }
        if self.ended {
            return Ok(None);
        }
        let item = self.reader.item()?.ok_or(RestoreError::Contents("it has no end"))?;
        match decode(item)? {
            Item::KeySet(id, record) => {
                self.counts[1] += 1;
                Ok(Some(Part::KeySet(id, Box::new(record))))
            }
            Item::End(counts) => {
                check_end(counts, self.counts)?;
                self.ended = true;
                end(&mut self.reader)?;
                Ok(None)
            }
            Item::Record(_) => {
                self.counts[2] += 1;
                // Read again: what borrows the reader cannot be both looked at and handed on.
                match decode(self.reader.last())? {
                    Item::Record(entry) => Ok(Some(Part::Record(entry))),
                    _ => Err(RestoreError::Contents("an item does not read")),
                }
            }
            _ => Err(RestoreError::Contents("its items are out of order")),
        }
    }
}

/// Nothing may follow the last item.
fn end<R: Read>(reader: &mut Reader<R>) -> Result<(), RestoreError> {
    match reader.item()? {
        None => Ok(()),
        Some(_) => Err(RestoreError::Contents("something follows its end")),
    }
}

fn check_end(said: [u64; 3], counted: [u64; 3]) -> Result<(), RestoreError> {
    if said == counted {
        Ok(())
    } else {
        Err(RestoreError::Contents("its counts are wrong"))
    }
}

pub(super) fn fleet_record(entry: &Entry<'_>) -> Result<FleetRecord, RestoreError> {
    let folder = match entry.kind {
        Kind::Document => "doc/",
        Kind::Secret => "secret/",
        Kind::Latch => "latch/",
        Kind::LatchKey => "latchkey/",
        _ => return Err(RestoreError::Contents("a record of the wrong kind")),
    };
    let path = Path::new(&format!("{}{}", super::export::FLEET, entry.rest));
    let path = path.ok().filter(|_| {
        let name = entry.rest.strip_prefix(folder);
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    Ok(FleetRecord {
        kind: entry.kind,
        version: entry.version,
        path: path.ok_or(RestoreError::Contents("a record of a wrong name"))?,
        plain: Zeroizing::new(entry.plain.to_vec()),
    })
}

/// A record of a key set must have a name that fits its kind, and hold what it says.
pub(super) fn check_record(entry: &Entry<'_>) -> Result<(), RestoreError> {
    use crate::login::Role;
    use crate::objects::record::{Envelope, Tombstone};
    use crate::records::{PinRecord, TriesRecord};
    use hsmd_proto::ids::UniqueId;
    let (folder, name) = entry.rest.split_once('/').unwrap_or_default();
    let role = |word: &str| {
        let mut roles = [Role::So, Role::User, Role::CryptoUser].into_iter();
        roles.any(|role| role.word() == word)
    };
    let good = match (entry.kind, folder) {
        (Kind::Object, "o") => {
            Envelope::decode(entry.plain).is_some_and(|envelope| UniqueId::from_hex(name) == Some(envelope.id))
        }
        (Kind::Tombstone, "o") => {
            Tombstone::decode(entry.plain).is_some_and(|tombstone| UniqueId::from_hex(name) == Some(tombstone.id))
        }
        (Kind::Pin, "pin") => PinRecord::decode(entry.plain).is_ok() && role(name),
        (Kind::Tries, "tries") => {
            let (word, identity) = name.split_once('/').unwrap_or((name, ""));
            TriesRecord::decode(entry.plain).is_ok()
                && role(word)
                && identity.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !name.ends_with('/')
        }
        _ => false,
    };
    if good {
        Ok(())
    } else {
        Err(RestoreError::Contents("a record is not what its name says"))
    }
}

/// What a root says.
pub(super) fn contents(id: KeySetId, root: &KeySetRecord) -> Option<KeySetContents> {
    let label: [u8; 32] = root.label.as_slice().try_into().ok()?;
    Some(KeySetContents {
        id,
        policy: Policy::from_name(&root.policy)?,
        label: (root.incarnation > 0).then_some(label),
        objects: 0,
        tombstones: 0,
        pins: 0,
    })
}

pub(super) fn count(contents: &mut KeySetContents, kind: Kind) {
    match kind {
        Kind::Object => contents.objects += 1,
        Kind::Tombstone => contents.tombstones += 1,
        Kind::Pin => contents.pins += 1,
        _ => {}
    }
}
