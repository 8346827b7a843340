//! The key of a backup. An operator keeps a passphrase or a key file; each backup has a key of its own that is made of it and of the
//! backup's salt, so whoever seals or opens one backup (the daemon) learns nothing that opens another.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use hsmd_crypto::pin::{PinCost, stretch};
use hsmd_crypto::seal::hkdf;
use hsmd_crypto::secret::{Secret, SecretArray};
use hsmd_store::container::{ContainerError, HEADER_BYTES, Header, KeySource};
use zeroize::Zeroizing;

use super::RestoreError;
use crate::error::Error;

/// What a backup key file begins with, so that it is not taken for a master key.
const WORD: &[u8] = b"hsmd-backup-key-1 ";
/// Digits of the key in a key file.
const DIGITS: usize = 64;

/// What an operator keeps.
pub enum BackupSecret {
    /// The key of a key file.
    KeyFile(SecretArray<32>),
    /// A passphrase.
    Passphrase(Secret),
}

/// The key of one backup, with that backup's header.
pub struct BackupKey {
    header: Header,
    key: SecretArray<32>,
}

impl BackupSecret {
    /// Makes a key file of a new random key, mode 0400, synced. An existing file is left alone.
    ///
    /// # Errors
    /// [`Error::Io`], of kind `AlreadyExists` if there is one.
    pub fn create_file(path: &Path) -> Result<(), Error> {
        let key = SecretArray::<32>::random();
        let mut text = Zeroizing::new(Vec::with_capacity(WORD.len() + DIGITS + 1));
        text.extend_from_slice(WORD);
        for byte in key.expose() {
            text.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        text.push(b'\n');
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
        file.write_all(&text)?;
        file.sync_all()?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Reads a key file. Nobody but its owner may read or write it.
    ///
    /// # Errors
    /// [`Error::BackupKeyExposed`], [`Error::BackupKeyMalformed`], [`Error::Io`].
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let mut file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & !0o600 != 0 {
            return Err(Error::BackupKeyExposed { mode });
        }
        if !metadata.is_file() || metadata.len() > 256 {
            return Err(Error::BackupKeyMalformed);
        }
        let mut text = Zeroizing::new(Vec::with_capacity(257));
        Read::by_ref(&mut file).take(257).read_to_end(&mut text)?;
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        let digits = text.strip_prefix(WORD).filter(|digits| digits.len() == DIGITS);
        let digits = digits.ok_or(Error::BackupKeyMalformed)?;
        let mut key = Zeroizing::new([0_u8; 32]);
        for (byte, pair) in key.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self::KeyFile(SecretArray::filled(|out| {
            out.copy_from_slice(key.as_slice());
        })))
    }

    /// The key of a new backup; `cost` is that of a passphrase.
    ///
    /// # Errors
    /// [`Error::Stretch`], [`Error::Io`].
    pub fn seal(&self, cost: PinCost) -> Result<BackupKey, Error> {
        let salt = Header::random_salt()?;
        let source = match self {
            Self::KeyFile(_) => KeySource::KeyFile,
            Self::Passphrase(_) => KeySource::Passphrase {
                memory_kib: cost.memory_kib,
                passes: cost.passes,
                lanes: cost.lanes,
            },
        };
        let key = self.key(source, &salt)?;
        let header = Header::new(source, salt, key.expose());
        Ok(BackupKey { header, key })
    }

    /// The key of the backup with this header.
    ///
    /// # Errors
    /// [`ContainerError::WrongKey`] also for a passphrase where a key file is needed; [`Error::Stretch`].
    pub fn open(&self, header: Header) -> Result<BackupKey, Error> {
        let key = self.key(header.source, &header.salt)?;
        BackupKey::new(header, key)
    }

    fn key(&self, source: KeySource, salt: &[u8; 32]) -> Result<SecretArray<32>, Error> {
        match (self, source) {
            (Self::KeyFile(key), KeySource::KeyFile) => Ok(hkdf(key.expose(), salt, &[b"hsmd backup key file"])),
            (
                Self::Passphrase(passphrase),
                KeySource::Passphrase {
                    memory_kib,
                    passes,
                    lanes,
                },
            ) => {
                let cost = PinCost {
                    memory_kib,
                    passes,
                    lanes,
                };
                let (short, _) = salt.split_first_chunk::<16>().ok_or(Error::Stretch)?;
                let stretched = stretch(passphrase.expose(), short, &cost).map_err(|_| Error::Stretch)?;
                Ok(hkdf(stretched.expose(), salt, &[b"hsmd backup passphrase"]))
            }
            _ => Err(wrong_key()),
        }
    }
}

impl BackupKey {
    /// Of a header and its key.
    ///
    /// # Errors
    /// [`ContainerError::WrongKey`] if they do not belong together.
    pub fn new(header: Header, key: SecretArray<32>) -> Result<Self, Error> {
        if header.fits(key.expose()) {
            Ok(Self { header, key })
        } else {
            Err(wrong_key())
        }
    }

    /// As [`BackupKey::new`], from the header's bytes.
    ///
    /// # Errors
    /// As [`BackupKey::new`], and what reading a header says.
    pub fn from_bytes(header: &[u8], key: SecretArray<32>) -> Result<Self, Error> {
        let header: &[u8; HEADER_BYTES] = header
            .try_into()
            .map_err(|_| RestoreError::Container(ContainerError::NotABackup))?;
        Self::new(Header::from_bytes(header).map_err(RestoreError::Container)?, key)
    }

    /// The backup's header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The key; it opens this backup and no other.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.key.expose()
    }
}

impl std::fmt::Debug for BackupSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BackupSecret(..)")
    }
}

impl std::fmt::Debug for BackupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BackupKey(..)")
    }
}

fn wrong_key() -> Error {
    RestoreError::Container(ContainerError::WrongKey).into()
}

fn digit(digit: u8) -> Result<u8, Error> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
        .ok_or(Error::BackupKeyMalformed)
}
