//! The root record: the keys of a keystore, sealed by the master key, in two files `root.0` and `root.1` (DESIGN 7). It is read at
//! the start and written when keys rotate; a wrong master key is told from damage by a key check, and changes nothing.
//!
//! File value: magic (8 bytes), format (4, little endian), source of the master key (1), salt (16), Argon2id memory, passes, lanes
//! (3 x 4), key check (32), sealed record. Everything before the sealed record is its AAD.

mod record;

use hsmd_crypto::pin::PinCost;
use hsmd_crypto::random;
use hsmd_crypto::seal::{SealKey, equal, hkdf};
use hsmd_crypto::secret::SecretArray;
use hsmd_store::RootFiles;
use parking_lot::Mutex;

pub(crate) use self::record::RootRecord;
use crate::error::Error;
use crate::master_key::MasterKey;

const MAGIC: &[u8; 8] = b"HSMDROOT";
const FORMAT: u32 = 1;
const SALT: usize = 13;
const COST: usize = SALT + 16;
const CHECK: usize = COST + 12;
const HEADER: usize = CHECK + 32;

/// The root files, with the key that seals them.
pub(crate) struct RootFile {
    files: Mutex<RootFiles>,
    header: Vec<u8>,
    key: SealKey,
}

impl RootFile {
    /// Prepares new root files; nothing is written yet.
    pub(crate) fn create(files: RootFiles, master: &MasterKey, cost: &PinCost) -> Result<Self, Error> {
        let salt = random::array::<16>();
        let key = master.sealing_key(&salt, cost)?;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&FORMAT.to_le_bytes());
        header.push(u8::from(master.is_passphrase()));
        header.extend_from_slice(&salt);
        for number in [cost.memory_kib, cost.passes, cost.lanes] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(check(&key).expose());
        Ok(Self {
            files: Mutex::new(files),
            header,
            key: SealKey::new(&key),
        })
    }

    /// Reads and opens the root files.
    ///
    /// # Errors
    /// [`Error::NotInitialized`], [`Error::RootDamaged`], [`Error::UnknownFormat`], [`Error::WrongMasterKey`], [`Error::Io`].
    pub(crate) fn open(files: RootFiles, master: &MasterKey) -> Result<(Self, RootRecord), Error> {
        let (_, value) = files.read()?.ok_or(Error::NotInitialized)?;
        let (header, key, record) = unseal(&value, master)?;
        let files = Mutex::new(files);
        Ok((Self { files, header, key }, record))
    }

    /// Opens a value that [`RootFile::value`] made, wherever it was kept.
    ///
    /// # Errors
    /// As [`RootFile::open`].
    pub(crate) fn read(value: &[u8], master: &MasterKey) -> Result<RootRecord, Error> {
        Ok(unseal(value, master)?.2)
    }

    /// Writes both files; they are durable when this returns.
    pub(crate) fn write(&self, record: &RootRecord) -> Result<(), Error> {
        self.files.lock().write(&self.value(record))?;
        Ok(())
    }

    /// The record, sealed by the master key.
    pub(crate) fn value(&self, record: &RootRecord) -> Vec<u8> {
        let mut value = self.header.clone();
        value.extend_from_slice(&self.key.seal(&[&self.header], &record.encode()));
        value
    }
}

fn unseal(value: &[u8], master: &MasterKey) -> Result<(Vec<u8>, SealKey, RootRecord), Error> {
    let (header, sealed) = value.split_at_checked(HEADER).ok_or(Error::RootDamaged)?;
    if !header.starts_with(MAGIC) {
        return Err(Error::RootDamaged);
    }
    let number = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if number(MAGIC.len()) != FORMAT {
        return Err(Error::UnknownFormat(number(MAGIC.len())));
    }
    if header[SALT - 1] != u8::from(master.is_passphrase()) {
        return Err(Error::WrongMasterKey);
    }
    let salt = header[SALT..].first_chunk().ok_or(Error::RootDamaged)?;
    let cost = PinCost {
        memory_kib: number(COST),
        passes: number(COST + 4),
        lanes: number(COST + 8),
    };
    let key = master.sealing_key(salt, &cost)?;
    // INV-7: the wrong key is named as such; what the right key does not open is damaged.
    if !equal(check(&key).expose(), &header[CHECK..]) {
        return Err(Error::WrongMasterKey);
    }
    let key = SealKey::new(&key);
    let plain = key.open(&[header], sealed).map_err(|_| Error::RootDamaged)?;
    let record = RootRecord::decode(&plain).ok_or(Error::RootDamaged)?;
    Ok((header.to_vec(), key, record))
}

fn check(key: &SecretArray<32>) -> SecretArray<32> {
    hkdf(key.expose(), b"hsmd root", &[b"check"])
}
