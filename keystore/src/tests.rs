//! Tests of sealing, key sets, PINs, logins and documents through the public calls, over memory and over files, with planned faults.
//! Objects have tests of their own.

mod audit;
mod crypto_user;
mod documents;
mod files;
mod logins;
mod merging;
mod pins;
mod quotas;
mod rekeying;
mod sealing;

use std::path::Path;
use std::sync::Arc;

use hsmd_crypto::pin::PinCost;
use hsmd_crypto::random;
use hsmd_proto::ck::UserType;
use hsmd_proto::ids::{ApplicationId, OperationId};
use hsmd_proto::policy::Policy;

use crate::{Caller, Identity, KeySet, Keystore, Login, MasterKey, Options};

const SO_PIN: &[u8] = b"so-pin-39dcee71";
const PIN: &[u8] = b"user-pin-b1c9f0";
const LABEL: [u8; 32] = *b"a label that nobody may see     ";

fn options() -> Options {
    Options {
        pin_cost: PinCost::SMALL,
        segment_bytes: 8 << 20,
        // The log is chained behind everybody's back: not while a test counts commits or plans their faults.
        audit: crate::audit::AuditOptions {
            interval: std::time::Duration::from_secs(3600),
            ..Default::default()
        },
        ..Options::default()
    }
}

fn operation() -> OperationId {
    OperationId(random::array())
}

fn caller(number: u8) -> Caller {
    Caller {
        identity: Identity([number; 32]),
        application: ApplicationId([number; 16]),
    }
}

fn memory() -> Keystore {
    Keystore::in_memory(&options()).unwrap()
}

/// A keystore on disk with its master key beside it.
struct Folder {
    dir: tempfile::TempDir,
    master: MasterKey,
}

impl Folder {
    fn new() -> (Self, Keystore) {
        let folder = Self {
            dir: tempfile::tempdir().unwrap(),
            master: MasterKey::random(),
        };
        let keystore = Keystore::init(&folder.path(), &folder.master, &options()).unwrap();
        (folder, keystore)
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("keystore")
    }

    fn open(&self) -> Keystore {
        Keystore::open(&self.path(), &self.master, &options()).unwrap()
    }
}

/// An initialised key set with a user PIN.
fn ready(keystore: &Keystore) -> Arc<KeySet> {
    let key_set = keystore.create_key_set(Policy::Standard).unwrap();
    key_set.init_token(&caller(1), SO_PIN, &LABEL, operation()).unwrap();
    let so = so(&key_set);
    key_set.init_pin(&so, PIN, operation()).unwrap();
    key_set.logout(&so);
    key_set
}

fn login(key_set: &KeySet, user: UserType, pin: &[u8]) -> Arc<Login> {
    let ticket = key_set.login(&caller(1), user, pin, operation()).unwrap();
    key_set.resolve(&caller(1), ticket.expose()).unwrap()
}

fn so(key_set: &KeySet) -> Arc<Login> {
    login(key_set, UserType::SO, SO_PIN)
}

/// Every file under `dir` with its bytes.
fn files(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found
}
