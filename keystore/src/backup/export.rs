//! Making a backup: one snapshot of the store, read page by page while the daemon goes on, each record taken out of its outer seal
//! and into the container.

use std::io::Write;

use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ids::KeySetId;
use hsmd_store::container::Writer;
use hsmd_store::{Path, Record, Snapshot};
use prost::Message;
use zeroize::Zeroizing;

use super::item::{Entry, Item};
use super::{BackupKey, BackupScope, KeySetContents, Manifest};
use crate::core::Core;
use crate::document;
use crate::error::Error;
use crate::keystore::Keystore;
use crate::login::Role;
use crate::objects::latch;
use crate::pin::{self, Place};
use crate::records::{KeySetRecord, PinRecord};
use crate::seal::{Kind, Opened};
use crate::secrets;

/// Records that are read under one lock.
const PAGE: usize = 256;
/// Where the records are that are no key set's.
pub(super) const FLEET: &str = "/fleet/";
/// Keys of the fleet secret by which records are named or hashed: they go along with a backup of everything.
const LABELS: &[&str] = &["latch", "identity", "document", "secret"];

/// Which documents go along.
#[derive(Clone, Debug)]
pub enum BackupDocuments {
    /// All, with the daemon's own secrets.
    All,
    /// Those of these names.
    Names(Vec<String>),
}

/// What is to be backed up.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// What it is.
    pub scope: BackupScope,
    /// Of what: serial number or id; empty for a daemon.
    pub name: String,
    /// The version of hsmd.
    pub version: String,
    /// Records of the control plane.
    pub documents: BackupDocuments,
    /// Key sets; `None`: all.
    pub key_sets: Option<Vec<KeySetId>>,
}

impl Keystore {
    /// Writes a backup of one revision to `out`, while everything goes on. `progress` is told how many records were written, and of
    /// how many at most; what it answers false to is not gone on with.
    ///
    /// # Errors
    /// [`Error::Quarantined`], [`Error::Damaged`]: what cannot be trusted is not backed up as if it were whole;
    /// [`Error::Io`] from `out`.
    pub fn write_backup<W: Write>(
        &self,
        request: &BackupRequest,
        key: &BackupKey,
        out: W,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<super::Contents, Error> {
        let core = self.core();
        // What applications were told of is in the snapshot; logins are in none.
        let snapshot = core.store.snapshot();
        let writer = Writer::new(out, key.header(), key.expose())?;
        let mut export = Export {
            core,
            snapshot: &snapshot,
            writer,
            progress,
            counts: [0; 3],
            latches: 0,
        };
        let roots = export.roots(request.key_sets.as_deref())?;
        let manifest = Manifest {
            scope: request.scope,
            name: request.name.clone(),
            created_ms: core.clock.unix().saturating_mul(1000),
            node: core.node,
            store: self.store_id(),
            version: request.version.clone(),
            revision: snapshot.revision().0,
            dev: self.dev(),
            key_sets: u32::try_from(roots.len()).unwrap_or(u32::MAX),
        };
        export.put(&Item::Manifest(&manifest.encode()))?;
        for label in LABELS {
            // A partition needs only what its latches are hashed with.
            if request.scope == BackupScope::Daemon || *label == "latch" {
                export.put(&Item::Secret(label, core.fleet.key(label)))?;
            }
        }
        export.fleet(&request.documents)?;
        let mut key_sets = Vec::with_capacity(roots.len());
        for (id, record) in roots {
            key_sets.push(export.key_set(id, record)?);
        }
        let counts = export.counts;
        export.put(&Item::End(counts))?;
        let latches = export.latches;
        let bytes = export.writer.finish()?;
        Ok(super::Contents {
            manifest,
            key_sets,
            documents: counts[0] - latches,
            latches,
            bytes,
        })
    }
}

struct Export<'a, W: Write> {
    core: &'a Core,
    snapshot: &'a Snapshot,
    writer: Writer<W>,
    progress: &'a mut dyn FnMut(u64, u64),
    /// Records of the fleet, key sets, their records.
    counts: [u64; 3],
    latches: u64,
}

impl<W: Write> Export<'_, W> {
    fn put(&mut self, item: &Item<'_>) -> Result<(), Error> {
        match item {
            Item::Fleet(_) => self.counts[0] += 1,
            Item::KeySet(..) => self.counts[1] += 1,
            Item::Record(_) => self.counts[2] += 1,
            _ => {}
        }
        item.with_parts(|parts| self.writer.item(parts))?;
        let done = self.counts.iter().sum();
        (self.progress)(done, self.snapshot.records() as u64);
        Ok(())
    }

    /// The roots of the wanted key sets, or of all that are not deleted.
    fn roots(&self, wanted: Option<&[KeySetId]>) -> Result<Vec<(KeySetId, KeySetRecord)>, Error> {
        let wanted = match wanted {
            Some(wanted) => wanted.to_vec(),
            None => self.all_key_sets(),
        };
        let mut roots = Vec::with_capacity(wanted.len());
        for id in wanted {
            let path = crate::key_set::root_path(id);
            let troubled = self.snapshot.quarantined().iter().any(|group| group == path.group());
            if troubled {
                return Err(Error::Quarantined(path.group().to_owned()));
            }
            let record = self.snapshot.get(&path);
            let record = record.ok_or_else(|| Error::Damaged(path.to_string()))?;
            let root: KeySetRecord = self.core.decode(&path, Kind::KeySet, &record)?;
            if !root.deleted {
                roots.push((id, root));
            }
        }
        Ok(roots)
    }

    /// Every key set: the paths of one come one after the other, so whole prefixes are passed over.
    fn all_key_sets(&self) -> Vec<KeySetId> {
        let (mut found, mut last) = (Vec::new(), None::<Path>);
        while let Some((path, _)) = self.snapshot.page("/ks/", last.as_ref(), 1).into_iter().next() {
            let group = path.group().to_owned();
            found.extend(group.strip_prefix("/ks/").and_then(KeySetId::from_hex));
            // `0` comes after `/`: the next path is of another group.
            last = Path::new(&format!("{group}0")).ok();
        }
        found
    }

    fn pages(
        &mut self,
        prefix: &str,
        mut each: impl FnMut(&mut Self, &Path, &Record) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut last = None::<Path>;
        loop {
            let page = self.snapshot.page(prefix, last.as_ref(), PAGE);
            for (path, record) in &page {
                each(self, path, record)?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
            last = page.last().map(|(path, _)| path.clone());
        }
    }

    /// What belongs to no key set: documents, latches, the daemon's secrets.
    fn fleet(&mut self, documents: &BackupDocuments) -> Result<(), Error> {
        if self.snapshot.quarantined().iter().any(|group| group == "/fleet") {
            return Err(Error::Quarantined("/fleet".to_owned()));
        }
        // Latches are few, and which of them are of which key set is under the PSK: all go along.
        self.pages(latch::KEYS, |export, path, record| {
            export.fleet_record(path, record, Kind::LatchKey)
        })?;
        self.pages(latch::PREFIX, |export, path, record| {
            export.latches += 1;
            export.fleet_record(path, record, Kind::Latch)
        })?;
        match documents {
            BackupDocuments::All => {
                self.pages(document::PREFIX, |export, path, record| {
                    export.fleet_record(path, record, Kind::Document)
                })?;
                self.pages(secrets::PREFIX, |export, path, record| {
                    export.fleet_record(path, record, Kind::Secret)
                })?;
            }
            BackupDocuments::Names(names) => {
                for name in names {
                    let path = document::name_path(self.core, name);
                    let record = self.snapshot.get(&path);
                    let record = record.ok_or_else(|| Error::Damaged(path.to_string()))?;
                    self.fleet_record(&path, &record, Kind::Document)?;
                }
            }
        }
        Ok(())
    }

    fn fleet_record(&mut self, path: &Path, record: &Record, kind: Kind) -> Result<(), Error> {
        let opened = self.core.barrier.open(path, record.version, kind, &record.value);
        let plain = match opened {
            Ok(plain) => plain,
            // The name alone says what is latched.
            Err(_) if kind == Kind::Latch => Zeroizing::new(vec![1]),
            Err(_) => return Err(Error::Damaged(path.to_string())),
        };
        self.put(&Item::Fleet(Entry {
            kind,
            version: record.version,
            rest: path.as_str().strip_prefix(FLEET).unwrap_or_default(),
            plain: &plain,
        }))
    }

    fn key_set(&mut self, id: KeySetId, root: KeySetRecord) -> Result<KeySetContents, Error> {
        let incarnation = root.incarnation;
        let mut contents = super::read::contents(id, &root).ok_or_else(|| Error::Damaged(format!("/ks/{id}/root")))?;
        self.put(&Item::KeySet(id, root))?;
        if incarnation == 0 {
            return Ok(contents);
        }
        let prefix = format!("/ks/{id}/{incarnation:08x}/");
        self.pages(&prefix, |export, path, record| {
            let rest = path.as_str().strip_prefix(&prefix).unwrap_or_default();
            let Some((kind, plain)) = export.open(path, rest, record, (id, incarnation))? else {
                return Ok(());
            };
            super::read::count(&mut contents, kind);
            export.put(&Item::Record(Entry {
                kind,
                version: record.version,
                rest,
                plain: &plain,
            }))
        })?;
        Ok(contents)
    }

    /// A record of a key set without its outer seal; `None` for one that stays at home.
    fn open(
        &self,
        path: &Path,
        rest: &str,
        record: &Record,
        (id, incarnation): (KeySetId, u32),
    ) -> Result<Option<Opened>, Error> {
        let damaged = || Error::Damaged(path.to_string());
        let open = |kind| self.core.barrier.open(path, record.version, kind, &record.value);
        let (folder, name) = rest.split_once('/').ok_or_else(damaged)?;
        match folder {
            "login" => Ok(None),
            "o" => {
                let object = open(Kind::Object).map(|plain| (Kind::Object, plain));
                let found = object.or_else(|_| open(Kind::Tombstone).map(|plain| (Kind::Tombstone, plain)));
                found.map(Some).map_err(|_| damaged())
            }
            "tries" => open(Kind::Tries)
                .map(|plain| Some((Kind::Tries, plain)))
                .map_err(|_| damaged()),
            "pin" => {
                let plain = open(Kind::Pin).map_err(|_| damaged())?;
                let mut pin = PinRecord::decode(plain.as_slice()).map_err(|_| damaged())?;
                let role = [Role::So, Role::User, Role::CryptoUser];
                let role = role.into_iter().find(|role| role.word() == name).ok_or_else(damaged)?;
                // The wrap opens for one place only; elsewhere the record must say which.
                pin::mark_place(
                    &mut pin,
                    Place {
                        key_set: id,
                        incarnation,
                        role,
                    },
                );
                Ok(Some((Kind::Pin, Zeroizing::new(pin.encode_to_vec()))))
            }
            // Nothing is left out of a backup in silence.
            _ => Err(damaged()),
        }
    }
}

/// The labels that a restored store takes over.
pub(super) fn adopted(secrets: &[(String, SecretArray<32>)]) -> Vec<(String, SecretArray<32>)> {
    let known = secrets.iter().filter(|(label, _)| LABELS.contains(&label.as_str()));
    known.map(|(label, key)| (label.clone(), key.duplicate())).collect()
}
