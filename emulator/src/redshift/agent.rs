//! A process for one job with an HSM. A cluster connects with its own client certificate, and a module has one identity in a
//! process: so each job is a process of the same program, `hsmd-aws redshift-agent`, that loads the module with the cluster's
//! identity, logs in to the partition, does the job and ends. What it needs comes on standard input, what came of it goes to
//! standard output, both as JSON. The private key is in an anonymous file in memory: nothing secret touches a disk.

use super::probe;
use super::record::{Secret, Trouble};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// The subcommand of the program that is an agent.
pub(crate) const COMMAND: &str = "redshift-agent";
/// The database key's length in bytes: AES-256.
const DATABASE_KEY: usize = 32;
/// Of AES-GCM (NIST SP 800-38D, 8.2.2), in bytes.
const IV: usize = 12;
/// The most that is read from standard input, in bytes.
const LONGEST: u64 = 1 << 20;

/// A job, and everything that it needs.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) module: PathBuf,
    /// A private folder, removed by the parent.
    pub(super) folder: PathBuf,
    pub(super) server: SocketAddr,
    pub(super) deadline_ms: u64,
    /// Whom to believe, PEM.
    pub(super) authority: String,
    pub(super) certificate: String,
    pub(super) key: Secret,
    pub(super) partition: String,
    pub(super) password: Secret,
    /// Names the cluster for ever: what is encrypted for one does not open for another.
    pub(super) namespace: String,
    /// The label of cluster keys.
    pub(super) label: String,
    pub(super) job: Job,
}

/// What to do. Keys are named by their `CKA_ID` in hexadecimal digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Makes a cluster key, unless it is there, and a database key under it.
    Make { cek: String },
    /// Opens a database key.
    Open { cek: String, wrapped: String },
    /// Opens a database key, then makes a new cluster key with a new database key under it.
    Rotate { cek: String, wrapped: String, next: String },
    /// Destroys cluster keys; none that are not there.
    Destroy { ceks: Vec<String> },
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Done; with the new database key under its cluster key, if one was made.
    Done { wrapped: Option<String> },
    /// Not done, and why.
    Failed(Failure),
}

/// Why a job was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) trouble: Trouble,
    /// For the log; never holds a secret.
    pub(super) why: String,
}

impl Failure {
    pub(super) fn new(trouble: Trouble, why: impl Into<String>) -> Self {
        Self {
            trouble,
            why: why.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let trouble = match &error {
            Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => Trouble::Password,
            Error::Pkcs11(RvError::PinLocked, _) => Trouble::Locked,
            Error::Pkcs11(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange, _) => Trouble::WrongKey,
            Error::Pkcs11(RvError::UserPinNotInitialized, _) => Trouble::Partition,
            _ => Trouble::Failed,
        };
        Self::new(trouble, error.to_string())
    }
}

/// Runs as the agent: reads a job, does it, writes what came of it.
pub(crate) fn main() -> ExitCode {
    let mut text = Zeroizing::new(Vec::new());
    let read = std::io::stdin().lock().take(LONGEST).read_to_end(&mut text);
    let request = read.ok().and_then(|_| serde_json::from_slice::<Request>(&text).ok());
    let reply = match request {
        None => Reply::Failed(Failure::new(Trouble::Failed, "the agent got no job")),
        Some(request) => {
            let done = perform(&request);
            // The parent does so too, unless it was killed.
            let _ = std::fs::remove_dir_all(&request.folder);
            match done {
                Ok(wrapped) => Reply::Done { wrapped },
                Err(failure) => Reply::Failed(failure),
            }
        }
    };
    let written = serde_json::to_vec(&reply).map_err(std::io::Error::from);
    match written.and_then(|reply| std::io::stdout().write_all(&reply)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn perform(request: &Request) -> Result<Option<String>, Failure> {
    let setup = |error: std::io::Error| Failure::new(Trouble::Failed, format!("the module's files: {error}"));
    // Open until the end: the module reads the key from it.
    let (_key, library) = files(request).map_err(setup)?;
    let pkcs11 = Pkcs11::new(&library)?;
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slot = partition(&pkcs11, request)?;
    let session = pkcs11.open_rw_session(slot)?;
    session.login(UserType::User, Some(&AuthPin::from(request.password.expose())))?;
    let hsm = Hsm {
        session: &session,
        namespace: &request.namespace,
        label: &request.label,
    };
    let done = match &request.job {
        Job::Make { cek } => hsm.make(cek).map(Some),
        Job::Open { cek, wrapped } => hsm.open(cek, wrapped).map(|()| None),
        Job::Rotate { cek, wrapped, next } => hsm.open(cek, wrapped).and_then(|()| hsm.make(next).map(Some)),
        Job::Destroy { ceks } => ceks.iter().try_for_each(|cek| hsm.destroy(cek)).map(|()| None),
    };
    // The login's record need not wait for its idle end.
    let _ = session.logout();
    done
}

/// A name of its own for the module, and beside it the client file, which comes before every other that it might find.
fn files(request: &Request) -> std::io::Result<(File, PathBuf)> {
    let key = File::from(memfd_create("key", MemfdFlags::CLOEXEC)?);
    fchmod(&key, Mode::RUSR | Mode::WUSR)?;
    (&key).write_all(request.key.expose().as_bytes())?;
    let write = |name: &str, text: &str| std::fs::write(request.folder.join(name), text);
    write("server.pem", &request.authority)?;
    write("client.pem", &request.certificate)?;
    let library = request.folder.join("module.so");
    let target = request.module.canonicalize()?;
    std::os::unix::fs::symlink(target, &library)?;
    let client = format!(
        "servers = [{:?}]\nca = \"server.pem\"\ncertificate = \"client.pem\"\nkey = \"/proc/self/fd/{}\"\ndeadline_ms = {}\n",
        request.server.to_string(),
        key.as_raw_fd(),
        request.deadline_ms
    );
    std::fs::write(library.with_extension("toml"), client)?;
    Ok((key, library))
}

/// The slot of the partition. The module shows none for many reasons; a look at the connection says which.
fn partition(pkcs11: &Pkcs11, request: &Request) -> Result<Slot, Failure> {
    let slots = pkcs11.get_slots_with_token()?;
    if slots.is_empty() {
        return Err(probe::why(request));
    }
    let mut labelled = None;
    for slot in slots {
        let info = pkcs11.get_token_info(slot)?;
        if info.serial_number() == request.partition {
            return Ok(slot);
        }
        if info.label() == request.partition && labelled.is_none() {
            labelled = Some(slot);
        }
    }
    let missing = || {
        Failure::new(
            Trouble::Partition,
            "no partition of this name is assigned to the client",
        )
    };
    labelled.ok_or_else(missing)
}

/// A partition, logged in to.
struct Hsm<'a> {
    session: &'a Session,
    namespace: &'a str,
    label: &'a str,
}

impl Hsm<'_> {
    /// One, if it is there. Two, if a front was killed while its agent made one, and the next front's agent was as fast.
    fn find(&self, cek: &str) -> Result<Vec<ObjectHandle>, Failure> {
        let template = [
            Attribute::Token(true),
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Id(bytes(cek)?),
        ];
        Ok(self.session.find_objects(&template)?)
    }

    /// A job that is done again finds the key that the first made.
    fn make(&self, cek: &str) -> Result<String, Failure> {
        let key = match self.find(cek)?.first() {
            Some(key) => *key,
            None => self.generate(cek)?,
        };
        // The HSM never keeps the database key: it is the cluster's, made there and encrypted here.
        let mut database = Zeroizing::new([0; DATABASE_KEY]);
        let random = |error: getrandom::Error| Failure::new(Trouble::Failed, error.to_string());
        getrandom::fill(database.as_mut_slice()).map_err(random)?;
        let mut iv = [0; IV];
        self.session.generate_random_slice(&mut iv)?;
        let params = GcmParams::new(&mut iv, self.namespace.as_bytes(), 128_u64.into())?;
        let sealed = self
            .session
            .encrypt(&Mechanism::AesGcm(params), key, database.as_slice())?;
        Ok(STANDARD.encode([iv.as_slice(), &sealed].concat()))
    }

    fn generate(&self, cek: &str) -> Result<ObjectHandle, Failure> {
        let template = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Id(bytes(cek)?),
            Attribute::Label(self.label.as_bytes().to_vec()),
            Attribute::ValueLen(32_u64.into()),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Sign(false),
            Attribute::Verify(false),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ];
        Ok(self.session.generate_key(&Mechanism::AesKeyGen, &template)?)
    }

    /// Opens a database key; it is wiped at once: what counts is that it opens.
    fn open(&self, cek: &str, wrapped: &str) -> Result<(), Failure> {
        let wrong = || Failure::new(Trouble::WrongKey, "the database key does not open");
        let wrapped = STANDARD.decode(wrapped).map_err(|_| wrong())?;
        let (iv, sealed) = wrapped.split_at_checked(IV).ok_or_else(wrong)?;
        let mut last = Failure::new(Trouble::NoKey, "the cluster key is not in the partition");
        for key in self.find(cek)? {
            let mut iv: [u8; IV] = iv.try_into().map_err(|_| wrong())?;
            let params = GcmParams::new(&mut iv, self.namespace.as_bytes(), 128_u64.into())?;
            let opened = self
                .session
                .decrypt(&Mechanism::AesGcm(params), key, sealed)
                .map(Zeroizing::new);
            match opened {
                Ok(opened) if opened.len() == DATABASE_KEY => return Ok(()),
                Ok(_) => last = wrong(),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    fn destroy(&self, cek: &str) -> Result<(), Failure> {
        let found = self.find(cek)?;
        found
            .into_iter()
            .try_for_each(|key| Ok(self.session.destroy_object(key)?))
    }
}

fn bytes(cek: &str) -> Result<Vec<u8>, Failure> {
    let id = crate::uuid::parse(cek).map(|id| id.to_vec());
    id.ok_or_else(|| Failure::new(Trouble::Failed, "a cluster key's id is not one"))
}

/// A private folder for one job, on a file system in memory where there is one.
pub(super) fn folder() -> std::io::Result<tempfile::TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("hsmd-aws");
        builder
    };
    // tempfile makes folders with mode 0700.
    builder()
        .tempdir_in(Path::new("/dev/shm"))
        .or_else(|_| builder().tempdir())
}
