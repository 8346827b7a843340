//! The secret of a backup, as `hsmctl` and `hsmd restore` are given it: a key file, or a passphrase from a file or a descriptor.
//! Never from the command line or the environment.

use clap::Args;
use hsmd_keystore::{BackupSecret, Error, Secret};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The longest passphrase in bytes.
const LONGEST: usize = 1024;

/// Where the secret of a backup is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SecretOptions {
    /// A backup key file, as `hsmctl backup key-create` makes it.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    pub(crate) key_file: Option<PathBuf>,
    /// A file whose first line is the passphrase.
    #[arg(long, value_name = "PATH", conflicts_with = "passphrase_fd")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// An open file descriptor from which the passphrase is read.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) passphrase_fd: Option<u32>,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// None of the options.
    #[error("a backup needs a key\n  remedy: give --key-file, --passphrase-file or --passphrase-fd")]
    None,
    /// The key file.
    #[error("{0}: {1}")]
    KeyFile(PathBuf, Error),
    /// The passphrase cannot be read.
    #[error("{0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// It is empty or too long.
    #[error("{0}: a passphrase has 8 to {LONGEST} bytes on one line")]
    Length(PathBuf),
}

impl SecretOptions {
    /// Whether one of them is given.
    pub(crate) fn given(&self) -> bool {
        self.key_file.is_some() || self.passphrase_file.is_some() || self.passphrase_fd.is_some()
    }

    /// Reads it.
    pub(crate) fn read(&self) -> Result<BackupSecret, SecretError> {
        if let Some(path) = &self.key_file {
            return BackupSecret::from_file(path).map_err(|error| SecretError::KeyFile(path.clone(), error));
        }
        if let Some(path) = &self.passphrase_file {
            return passphrase(path);
        }
        match self.passphrase_fd {
            Some(number) => passphrase(Path::new(&format!("/dev/fd/{number}"))),
            None => Err(SecretError::None),
        }
    }
}

/// A passphrase that was typed.
pub(crate) fn typed(line: &[u8]) -> Result<BackupSecret, SecretError> {
    if (8..=LONGEST).contains(&line.len()) {
        Ok(BackupSecret::Passphrase(Secret::from_slice(line)))
    } else {
        Err(SecretError::Length(PathBuf::from("the terminal")))
    }
}

fn passphrase(path: &Path) -> Result<BackupSecret, SecretError> {
    let explain = |error| SecretError::Read(path.to_owned(), error);
    let file = File::open(path).map_err(explain)?;
    // As long as the longest at once: a buffer that grows would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST + 3));
    file.take(LONGEST as u64 + 2).read_to_end(&mut text).map_err(explain)?;
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !(8..=LONGEST).contains(&line.len()) || line.contains(&b'\n') {
        return Err(SecretError::Length(path.to_owned()));
    }
    Ok(BackupSecret::Passphrase(Secret::from_slice(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_one_line_of_some_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        let cases = [
            ("correct horse\n", true),
            ("correct horse\r\n", true),
            ("short", false),
            ("two lines\nof text\n", false),
        ];
        for (text, good) in cases {
            std::fs::write(&path, text).unwrap();
            let options = SecretOptions {
                passphrase_file: Some(path.clone()),
                ..SecretOptions::default()
            };
            assert_eq!(options.read().is_ok(), good, "{text:?}");
        }
        assert!(matches!(SecretOptions::default().read(), Err(SecretError::None)));
    }
}
