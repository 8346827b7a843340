//! The PKCS#11 module, as an application uses it: a fixed pool of threads, each with its own session, so that no call of the
//! module holds up the runtime. A daemon that comes back is logged in to again.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Calls that wait for a thread; more are refused.
const QUEUE: usize = 4_096;

/// Why a call of the module has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    /// The module's or the token's word.
    #[error(transparent)]
    Cryptoki(#[from] Error),
    /// There is no key with this id.
    #[error("the key is not in the token")]
    NoKey,
    /// No token fits.
    #[error("no token of this label or serial number")]
    NoToken,
    /// Too many calls wait.
    #[error("too many calls wait for the module")]
    Busy,
}

impl ModuleError {
    /// The code of PKCS#11, if it is one.
    pub(crate) const fn rv(&self) -> Option<RvError> {
        match self {
            Self::Cryptoki(Error::Pkcs11(rv, _)) => Some(*rv),
            _ => None,
        }
    }
}

/// Which token, and how to log in.
pub(crate) struct Token {
    /// The label or the serial number.
    pub(crate) name: String,
    pub(crate) pin: AuthPin,
}

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// The pool.
pub(crate) struct Module {
    jobs: Sender<Job>,
}

impl Module {
    /// Loads the module and starts the threads. Nothing is asked of the token yet: it may come later.
    ///
    /// # Errors
    /// A library that cannot be loaded or does not initialise.
    pub(crate) fn load(library: &Path, token: Token, threads: usize) -> Result<Self, Error> {
        let pkcs11 = Pkcs11::new(library)?;
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        let (jobs, waiting) = bounded::<Job>(QUEUE);
        let shared = Arc::new(Shared {
            pkcs11,
            token,
            handles: Mutex::default(),
        });
        for number in 0..threads.max(1) {
            let (waiting, shared) = (waiting.clone(), shared.clone());
            let thread = std::thread::Builder::new().name(format!("pkcs11-{number}"));
            // A thread fewer serves as well; without any, calls say that it is busy.
            if let Err(error) = thread.spawn(move || work(&waiting, shared)) {
                tracing::error!(%error, "a thread for the module could not be started");
            }
        }
        Ok(Self { jobs })
    }

    /// Runs a call on one of the threads. It runs again when the session had ended meanwhile, so it must be harmless twice.
    ///
    /// # Errors
    /// [`ModuleError`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl Fn(&mut Worker) -> Result<T, ModuleError> + Send + 'static,
    ) -> Result<T, ModuleError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            let result = worker.attempt(&call);
            // Whoever asked may have gone.
            let _ = answer.send(result);
        });
        match self.jobs.try_send(job) {
            Ok(()) => answered.await.unwrap_or(Err(ModuleError::Busy)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(ModuleError::Busy),
        }
    }
}

struct Shared {
    pkcs11: Pkcs11,
    token: Token,
    /// Handles by class and id: they are the same in all sessions of the process.
    handles: Mutex<HashMap<(u64, Vec<u8>), ObjectHandle>>,
}

/// A thread with its session.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    session: Option<Session>,
}

fn work(waiting: &Receiver<Job>, shared: Arc<Shared>) {
    let mut worker = Worker { shared, session: None };
    for job in waiting {
        job(&mut worker);
    }
}

impl Worker {
    fn attempt<T>(&mut self, call: &impl Fn(&mut Self) -> Result<T, ModuleError>) -> Result<T, ModuleError> {
        let result = call(self);
        let Err(error) = &result else { return result };
        match error.rv() {
            Some(RvError::SessionHandleInvalid | RvError::SessionClosed | RvError::UserNotLoggedIn) => {
                self.session = None;
                self.forget();
                call(self)
            }
            Some(RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid) => {
                self.forget();
                call(self)
            }
            Some(RvError::DeviceError | RvError::TokenNotPresent | RvError::DeviceRemoved) => {
                self.session = None;
                result
            }
            _ => result,
        }
    }

    fn forget(&self) {
        self.shared
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// The session, logged in.
    ///
    /// # Errors
    /// [`ModuleError`].
    pub(crate) fn session(&mut self) -> Result<&Session, ModuleError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.open()?,
        };
        Ok(self.session.insert(session))
    }

    fn open(&self) -> Result<Session, ModuleError> {
        let session = self.shared.pkcs11.open_rw_session(self.slot()?)?;
        match session.login(UserType::User, Some(&self.shared.token.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(error.into()),
        }
    }

    fn slot(&self) -> Result<Slot, ModuleError> {
        let wanted = self.shared.token.name.as_str();
        for slot in self.shared.pkcs11.get_slots_with_initialized_token()? {
            let info = self.shared.pkcs11.get_token_info(slot)?;
            if info.label() == wanted || info.serial_number() == wanted {
                return Ok(slot);
            }
        }
        Err(ModuleError::NoToken)
    }

    /// The handle of the key with this class and `CKA_ID`.
    ///
    /// # Errors
    /// [`ModuleError::NoKey`].
    pub(crate) fn find(&mut self, class: ObjectClass, id: &[u8]) -> Result<ObjectHandle, ModuleError> {
        let name = (*class, id.to_vec());
        let known = self
            .shared
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&name)
            .copied();
        if let Some(handle) = known {
            return Ok(handle);
        }
        let template = [
            Attribute::Token(true),
            Attribute::Class(class),
            Attribute::Id(id.to_vec()),
        ];
        let found = self.session()?.find_objects(&template)?;
        let handle = found.first().copied().ok_or(ModuleError::NoKey)?;
        self.shared
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, handle);
        Ok(handle)
    }
}
