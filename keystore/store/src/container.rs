//! The container of every backup: the store's automatic ones and the operator's (docs/backup-format.md). It streams in both
//! directions in constant memory, and knows nothing of what its items say.
//!
//! Clear header, then chunks, each sealed with AES-256-GCM under a key of this backup alone; the nonce is the chunk's number and
//! whether it is the last (the STREAM construction), so that none can be cut off, added, moved or taken from another backup. The
//! last chunk ends with the number and the hash of all items. The header commits to its key: a wrong key is told from damage.

use std::io::{self, Read, Write};

use zeroize::{Zeroize, Zeroizing};

use crate::primitive::{MacKey, Sha256, equal};
use crate::sealing::{FileKey, NONCE_BYTES, TAG_BYTES, random};

const MAGIC: &[u8; 8] = b"HSMDBACK";
/// The version that this build writes. Version 1 is the store's older form, which begins with `HSMDBK01`.
const VERSION: u32 = 2;
/// Bytes of the clear header.
pub const HEADER_BYTES: usize = COMMITTED + 32;
/// What the commitment covers: magic, version, source, cost, salt.
const COMMITTED: usize = 8 + 4 + 1 + 12 + SALT_BYTES;
/// Bytes of the salt.
pub const SALT_BYTES: usize = 32;
/// Most plain bytes of a chunk.
const CHUNK: usize = 256 << 10;
/// Most bytes of one item.
pub const MAX_ITEM: usize = 128 << 10;
/// Length that stands for the trailer: number of items (8 bytes) and SHA-256 of all items with their lengths.
const TRAILER: u32 = u32::MAX;
const TRAILER_BYTES: usize = 4 + 8 + 32;

/// Where the key of a backup comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The store's own journal key: automatic backups.
    Store,
    /// A backup key file.
    KeyFile,
    /// A passphrase, stretched with Argon2id.
    Passphrase {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// The clear header of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where its key comes from.
    pub source: KeySource,
    /// Goes into the key, so that each backup has its own.
    pub salt: [u8; SALT_BYTES],
    commitment: [u8; 32],
}

/// Why a backup is not read.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// It does not begin as a backup does.
    #[error("this is not a backup")]
    NotABackup,
    /// A later version of hsmd made it.
    #[error("the backup has format {0}, which this version does not know")]
    Newer(u32),
    /// The key is another one, or the header was changed.
    #[error("this is not the key or passphrase of the backup")]
    WrongKey,
    /// Cut short, changed, put together of several, or extended.
    #[error("the backup is damaged")]
    Damaged,
    /// Reading failed.
    #[error("reading the backup failed: {0}")]
    Io(#[from] io::Error),
}

impl Header {
    /// The header of a new backup with this key, under a salt that goes into that key as well.
    #[must_use]
    pub fn new(source: KeySource, salt: [u8; SALT_BYTES], key: &[u8; 32]) -> Self {
        let mut header = Self {
            source,
            salt,
            commitment: [0; 32],
        };
        header.commitment = header.commit(key);
        header
    }

    /// A random salt.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random_salt() -> io::Result<[u8; SALT_BYTES]> {
        Ok(random()?)
    }

    /// Reads the header at the front of a backup.
    ///
    /// # Errors
    /// [`ContainerError::NotABackup`], [`ContainerError::Newer`], [`ContainerError::Io`].
    pub fn read(from: &mut impl Read) -> Result<Self, ContainerError> {
        let mut bytes = [0; HEADER_BYTES];
        from.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ContainerError::NotABackup,
            _ => ContainerError::Io(error),
        })?;
        Self::from_bytes(&bytes)
    }

    /// As [`Header::read`], from bytes.
    ///
    /// # Errors
    /// [`ContainerError::NotABackup`], [`ContainerError::Newer`].
    pub fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, ContainerError> {
        let number = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if !bytes.starts_with(MAGIC) {
            return Err(ContainerError::NotABackup);
        }
        if number(8) != VERSION {
            return Err(ContainerError::Newer(number(8)));
        }
        let cost = [number(13), number(17), number(21)];
        let source = match (bytes[12], cost) {
            (0, [0, 0, 0]) => KeySource::Store,
            (1, [0, 0, 0]) => KeySource::KeyFile,
            (2, [memory_kib, passes, lanes]) => KeySource::Passphrase {
                memory_kib,
                passes,
                lanes,
            },
            _ => return Err(ContainerError::Damaged),
        };
        let (mut salt, mut commitment) = ([0; SALT_BYTES], [0; 32]);
        salt.copy_from_slice(&bytes[COMMITTED - SALT_BYTES..COMMITTED]);
        commitment.copy_from_slice(&bytes[COMMITTED..]);
        Ok(Self {
            source,
            salt,
            commitment,
        })
    }

    /// The header as it is written.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (source, cost) = match self.source {
            KeySource::Store => (0, [0; 3]),
            KeySource::KeyFile => (1, [0; 3]),
            KeySource::Passphrase {
                memory_kib,
                passes,
                lanes,
            } => (2, [memory_kib, passes, lanes]),
        };
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12] = source;
        for (place, number) in bytes[13..25].chunks_exact_mut(4).zip(cost) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[25..COMMITTED].copy_from_slice(&self.salt);
        bytes[COMMITTED..].copy_from_slice(&self.commitment);
        bytes
    }

    /// Whether this is the key of the backup.
    #[must_use]
    pub fn fits(&self, key: &[u8; 32]) -> bool {
        equal(&self.commit(key), &self.commitment)
    }

    fn commit(&self, key: &[u8; 32]) -> [u8; 32] {
        prf(key, b"hsmd backup commitment", &self.to_bytes()[..COMMITTED])
    }

    fn chunk_key(&self, key: &[u8; 32]) -> io::Result<FileKey> {
        let derived = Zeroizing::new(prf(key, b"hsmd backup chunks", &self.to_bytes()));
        Ok(FileKey::new(&derived)?)
    }
}

fn prf(key: &[u8; 32], label: &[u8], bytes: &[u8]) -> [u8; 32] {
    MacKey::new(key).mac(&[label, &[0], bytes])
}

/// Chunk number and last flag: no two chunks of a backup have the same, and its key is its own.
fn nonce(number: u64, last: bool) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce[NONCE_BYTES - 1] = u8::from(last);
    nonce
}

/// Number and hash of items.
struct Totals {
    items: u64,
    sum: Sha256,
}

impl Totals {
    fn new() -> Self {
        Self {
            items: 0,
            sum: Sha256::new(),
        }
    }

    fn add(&mut self, length: [u8; 4], parts: &[&[u8]]) {
        self.items += 1;
        self.sum.update(&length);
        parts.iter().for_each(|part| self.sum.update(part));
    }

    fn trailer(&self) -> [u8; TRAILER_BYTES] {
        let mut trailer = [0; TRAILER_BYTES];
        trailer[..4].copy_from_slice(&TRAILER.to_le_bytes());
        trailer[4..12].copy_from_slice(&self.items.to_le_bytes());
        trailer[12..].copy_from_slice(&self.sum.clone().finish());
        trailer
    }
}

/// Writes a backup, item by item.
pub struct Writer<W: Write> {
    out: W,
    key: FileKey,
    /// Never grows, so that no copy of what is in it is left behind.
    chunk: Zeroizing<Vec<u8>>,
    number: u64,
    totals: Totals,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a backup: writes the header.
    ///
    /// # Errors
    /// From `out`.
    pub fn new(mut out: W, header: &Header, key: &[u8; 32]) -> io::Result<Self> {
        let chunk_key = header.chunk_key(key)?;
        out.write_all(&header.to_bytes())?;
        Ok(Self {
            out,
            key: chunk_key,
            chunk: Zeroizing::new(Vec::with_capacity(CHUNK + TRAILER_BYTES)),
            number: 0,
            totals: Totals::new(),
            bytes: HEADER_BYTES as u64,
        })
    }

    /// Appends one item, given in parts.
    ///
    /// # Errors
    /// From `out`; `InvalidInput` for an item of more than [`MAX_ITEM`] bytes.
    pub fn item(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MAX_ITEM {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.chunk.len() + 4 + length > CHUNK {
            self.flush(false)?;
        }
        let prefix = (length as u32).to_le_bytes();
        self.totals.add(prefix, parts);
        self.chunk.extend_from_slice(&prefix);
        parts.iter().for_each(|part| self.chunk.extend_from_slice(part));
        Ok(())
    }

    /// Ends the backup; the number of bytes written.
    ///
    /// # Errors
    /// From `out`.
    pub fn finish(mut self) -> io::Result<u64> {
        let trailer = self.totals.trailer();
        self.chunk.extend_from_slice(&trailer);
        self.flush(true)?;
        self.out.flush()?;
        Ok(self.bytes)
    }

    fn flush(&mut self, last: bool) -> io::Result<()> {
        let tag = self.key.seal(nonce(self.number, last), &[], &mut self.chunk)?;
        let length = self.chunk.len() + tag.len();
        self.out.write_all(&(length as u32).to_le_bytes())?;
        self.out.write_all(&self.chunk)?;
        self.out.write_all(&tag)?;
        self.number += 1;
        self.bytes += 4 + length as u64;
        self.chunk.clear();
        Ok(())
    }
}

/// Reads a backup, item by item. What it has given is authentic; that nothing is missing is known when it has given `None`.
pub struct Reader<R: Read> {
    from: R,
    key: FileKey,
    chunk: Zeroizing<Vec<u8>>,
    /// Where the next item begins.
    at: usize,
    /// Length of the item before.
    last: usize,
    /// Length of the next chunk; `None`: the one in hand is the last.
    next: Option<usize>,
    number: u64,
    totals: Totals,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Begins to read after the header.
    ///
    /// # Errors
    /// [`ContainerError::WrongKey`]; what reading says.
    pub fn new(mut from: R, header: &Header, key: &[u8; 32]) -> Result<Self, ContainerError> {
        if !header.fits(key) {
            return Err(ContainerError::WrongKey);
        }
        let next = read_length(&mut from)?;
        if next.is_none() {
            return Err(ContainerError::Damaged);
        }
        Ok(Self {
            from,
            key: header.chunk_key(key)?,
            chunk: Zeroizing::new(Vec::with_capacity(CHUNK + TRAILER_BYTES + TAG_BYTES)),
            at: 0,
            last: 0,
            next,
            number: 0,
            totals: Totals::new(),
            ended: false,
        })
    }

    /// The next item; `None`: the backup ended here and is whole.
    ///
    /// # Errors
    /// [`ContainerError::Damaged`], [`ContainerError::Io`].
    pub fn item(&mut self) -> Result<Option<&[u8]>, ContainerError> {
        if self.ended {
            return Ok(None);
        }
        while self.at == self.chunk.len() {
            self.fill()?;
        }
        let rest = &self.chunk[self.at..];
        let (prefix, rest) = rest.split_first_chunk::<4>().ok_or(ContainerError::Damaged)?;
        if u32::from_le_bytes(*prefix) == TRAILER {
            let trailer = self.totals.trailer();
            if self.next.is_some() || self.chunk[self.at..] != trailer {
                return Err(ContainerError::Damaged);
            }
            self.ended = true;
            return Ok(None);
        }
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > MAX_ITEM {
            return Err(ContainerError::Damaged);
        }
        let item = rest.get(..length).ok_or(ContainerError::Damaged)?;
        self.totals.add(*prefix, &[item]);
        self.at += 4 + length;
        self.last = length;
        Ok(Some(item))
    }

    /// The item that was given last, once more.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        &self.chunk[self.at - self.last..self.at]
    }

    fn fill(&mut self) -> Result<(), ContainerError> {
        let length = self.next.ok_or(ContainerError::Damaged)?;
        self.chunk.zeroize();
        self.chunk.resize(length, 0);
        self.from.read_exact(&mut self.chunk).map_err(cut_short)?;
        self.next = read_length(&mut self.from)?;
        let nonce = nonce(self.number, self.next.is_none());
        let plain = self.key.open(nonce, &[], &mut self.chunk);
        let plain = plain.map_err(|_| ContainerError::Damaged)?.len();
        self.chunk.truncate(plain);
        self.number += 1;
        self.at = 0;
        self.last = 0;
        if plain == 0 {
            Err(ContainerError::Damaged)
        } else {
            Ok(())
        }
    }
}

/// The length of a chunk; `None` at the end of the file.
fn read_length(from: &mut impl Read) -> Result<Option<usize>, ContainerError> {
    let mut prefix = [0; 4];
    let mut got = 0;
    while got < prefix.len() {
        match from.read(&mut prefix[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(ContainerError::Damaged),
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let length = u32::from_le_bytes(prefix) as usize;
    if (TAG_BYTES + 1..=CHUNK + TRAILER_BYTES + TAG_BYTES).contains(&length) {
        Ok(Some(length))
    } else {
        Err(ContainerError::Damaged)
    }
}

fn cut_short(error: io::Error) -> ContainerError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ContainerError::Damaged,
        _ => ContainerError::Io(error),
    }
}

#[cfg(test)]
mod tests;
