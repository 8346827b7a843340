//! Named secrets of the daemon itself, such as the private keys of its authorities: sealed in the store as everything is, and
//! unlike documents never kept in memory here. A key of an application is no such secret: that is an object of a key set.

use hsmd_crypto::random;
use hsmd_crypto::seal::hmac;
use hsmd_crypto::secret::Secret;
use hsmd_store::{Batch, Path, Write};
use zeroize::Zeroizing;

use crate::core::{Committed, Core, path};
use crate::error::Error;
use crate::records::FORMAT;
use crate::seal::Kind;

/// Where secrets live.
pub(crate) const PREFIX: &str = "/fleet/secret/";
/// Most bytes of a secret.
const MAX_BYTES: usize = 32 << 10;
/// Bytes of the format's number in front of the value.
const HEADER: usize = 4;

/// Reads a secret; `None` if there is none of this name.
pub(crate) fn get(core: &Core, name: &str) -> Result<Option<Secret>, Error> {
    check_served(core)?;
    let path = name_path(core, name);
    let Some(record) = core.store.get(&path) else {
        return Ok(None);
    };
    let damaged = || Error::Damaged(path.to_string());
    // INV-7: bound to its path, and so to its name.
    let plain = core
        .barrier
        .open(&path, record.version, Kind::Secret, &record.value)
        .map_err(|_| damaged())?;
    let (format, value) = plain.split_first_chunk::<HEADER>().ok_or_else(damaged)?;
    match u32::from_le_bytes(*format) {
        FORMAT => Ok(Some(Secret::from_slice(value))),
        newer => Err(Error::UnknownFormat(newer)),
    }
}

/// Writes a secret, or replaces it; durable when it returns (INV-2).
pub(crate) fn put(core: &Core, name: &str, value: &Secret) -> Result<(), Error> {
    check_served(core)?;
    if name.is_empty() || value.len() > MAX_BYTES {
        return Err(Error::TooLarge);
    }
    let path = name_path(core, name);
    let version = core.store.get(&path).map_or(1, |record| record.version + 1);
    let mut plain = Zeroizing::new(Vec::with_capacity(HEADER + value.len()));
    plain.extend_from_slice(&FORMAT.to_le_bytes());
    plain.extend_from_slice(value.expose());
    let sealed = core.barrier.seal(&path, version, Kind::Secret, &plain);
    let write = Write {
        path,
        version,
        value: Some(sealed),
    };
    let batch = Batch {
        operation: random::array(),
        writes: vec![write],
        ..Batch::default()
    };
    match core.commit(batch)? {
        Committed::Done(_) => Ok(()),
        Committed::Conflict(_) => Err(Error::Contended),
    }
}

fn check_served(core: &Core) -> Result<(), Error> {
    let quarantined = core.store.quarantined();
    match quarantined.iter().any(|(group, _)| group == "/fleet") {
        true => Err(Error::Quarantined("/fleet".to_owned())),
        false => Ok(()),
    }
}

/// INV-7: names are hashed under a key, as those of documents.
fn name_path(core: &Core, name: &str) -> Path {
    let hash = hmac(core.fleet.key("secret").expose(), &[name.as_bytes()]);
    let hash: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    path(&format!("{PREFIX}{hash}"))
}

#[cfg(test)]
mod tests {
    use crate::{Error, Keystore, MasterKey, Options, Secret};

    fn options() -> Options {
        Options {
            segment_bytes: 8 << 20,
            ..Options::default()
        }
    }

    #[test]
    fn a_secret_is_there_after_a_restart_and_nowhere_in_clear() {
        let folder = tempfile::tempdir().unwrap();
        let master = MasterKey::random();
        let keystore = Keystore::init(folder.path(), &master, &options()).unwrap();
        assert_eq!(keystore.secret("pki/servers").unwrap(), None);
        let value = Secret::random(150);
        keystore.put_secret("pki/servers", &Secret::random(150)).unwrap();
        keystore.put_secret("pki/servers", &value).unwrap();
        keystore.close().unwrap();
        drop(keystore);
        // INV-1: no byte string of the files holds the value.
        for entry in walk(folder.path()) {
            let bytes = std::fs::read(&entry).unwrap();
            assert!(
                !bytes.windows(16).any(|window| window == &value.expose()[..16]),
                "{entry:?}"
            );
        }
        let keystore = Keystore::open(folder.path(), &master, &options()).unwrap();
        assert_eq!(keystore.secret("pki/servers").unwrap(), Some(value));
        assert_eq!(keystore.secret("pki/nodes").unwrap(), None);
        assert!(matches!(
            keystore.put_secret("x", &Secret::zeroed(super::MAX_BYTES + 1)),
            Err(Error::TooLarge)
        ));
        assert!(matches!(
            keystore.put_secret("", &Secret::zeroed(1)),
            Err(Error::TooLarge)
        ));
    }

    fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.extend(walk(&path));
            } else {
                files.push(path);
            }
        }
        files
    }
}
