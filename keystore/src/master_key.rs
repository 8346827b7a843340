//! Where the master key comes from: a key file or a passphrase. It seals the root record and nothing else; a systemd credential
//! is a key file, too. Another HSM as the source comes with a later issue.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use hsmd_crypto::pin::{PinCost, stretch};
use hsmd_crypto::seal::hkdf;
use hsmd_crypto::secret::{Secret, SecretArray};
use zeroize::Zeroizing;

use crate::error::Error;

/// Digits of a key file.
const DIGITS: usize = 64;

/// The master key, or the passphrase from which it is stretched.
pub enum MasterKey {
    /// 256 random bits.
    Key(SecretArray<32>),
    /// A passphrase; Argon2id makes the key.
    Passphrase(Secret),
}

impl MasterKey {
    /// A new random key that is kept nowhere: for keystores in memory.
    #[must_use]
    pub fn random() -> Self {
        Self::Key(SecretArray::random())
    }

    /// Of these 32 bytes.
    #[must_use]
    pub fn from_bytes(key: SecretArray<32>) -> Self {
        Self::Key(key)
    }

    /// Of a passphrase.
    #[must_use]
    pub fn from_passphrase(passphrase: Secret) -> Self {
        Self::Passphrase(passphrase)
    }

    /// Reads a key file: 64 hexadecimal digits, a line end or not. Its mode must be 0400 or 0600 (or stricter), and it must be a plain file.
    ///
    /// # Errors
    /// [`Error::MasterKeyExposed`], [`Error::MasterKeyMalformed`], [`Error::Io`].
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let metadata = fs::metadata(path)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & !0o600 != 0 {
            return Err(Error::MasterKeyExposed { mode });
        }
        if !metadata.is_file() || metadata.len() > 1024 {
            return Err(Error::MasterKeyMalformed);
        }
        let text = Zeroizing::new(fs::read(path)?);
        let digits = text.strip_suffix(b"\n").unwrap_or(&text);
        let mut key = Zeroizing::new([0_u8; 32]);
        if digits.len() != DIGITS {
            return Err(Error::MasterKeyMalformed);
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self::Key(SecretArray::filled(|out| {
            out.copy_from_slice(key.as_slice())
        })))
    }

    /// Makes a key file of a new random key, mode 0400, synced. An existing file is left alone.
    ///
    /// # Errors
    /// [`Error::Io`], of kind `AlreadyExists` if there is one.
    pub fn create_file(path: &Path) -> Result<Self, Error> {
        let key = SecretArray::<32>::random();
        let mut text = Zeroizing::new(Vec::with_capacity(DIGITS + 1));
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
        Ok(Self::Key(key))
    }

    /// Whether it is a passphrase, which has another place in the root record's header.
    pub(crate) fn is_passphrase(&self) -> bool {
        matches!(self, Self::Passphrase(_))
    }

    /// The key that seals a root record with this salt.
    pub(crate) fn sealing_key(&self, salt: &[u8; 16], cost: &PinCost) -> Result<SecretArray<32>, Error> {
        match self {
            Self::Key(key) => Ok(hkdf(key.expose(), salt, &[b"hsmd root"])),
            Self::Passphrase(passphrase) => stretch(passphrase.expose(), salt, cost).map_err(|_| Error::Stretch),
        }
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

fn digit(digit: u8) -> Result<u8, Error> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
        .ok_or(Error::MasterKeyMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(key: &MasterKey) -> [u8; 32] {
        match key {
            MasterKey::Key(key) => *key.expose(),
            MasterKey::Passphrase(_) => unreachable!("a file holds no passphrase"),
        }
    }

    #[test]
    fn a_key_file_is_made_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let made = MasterKey::create_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o400);
        assert_eq!(bytes(&MasterKey::from_file(&path).unwrap()), bytes(&made));
        assert!(
            matches!(MasterKey::create_file(&path), Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::AlreadyExists)
        );
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        MasterKey::create_file(&path).unwrap();
        for mode in [0o440, 0o404, 0o620, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(MasterKey::from_file(&path), Err(Error::MasterKeyExposed { mode: found }) if found == mode)
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "abc", &"g".repeat(64), &"a".repeat(66)] {
            fs::write(&path, text).unwrap();
            assert!(matches!(MasterKey::from_file(&path), Err(Error::MasterKeyMalformed)));
        }
    }
}
