//! The PKCS#11 module, as an application uses it: for each token a fixed pool of threads, each with its own session, so that no
//! call of the module holds up the runtime. A daemon that comes back is logged in to again.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Calls that wait for a thread; more are refused.
const QUEUE: usize = 4_096;
/// A PIN that was refused is not tried again before: each try counts, and ten lock the role.
const PIN_PAUSE: Duration = Duration::from_secs(60);

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
    /// Brought material is not of its key's specification.
    #[error("the key is not of its specification")]
    Unfit,
    /// What should be wrapped material is too short for it.
    #[error("the wrapped key is too short")]
    NotWrapped,
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

/// The library, loaded once for all tokens.
#[derive(Clone)]
pub(crate) struct Library(Pkcs11);

impl Library {
    /// Loads and initialises the library. Nothing is asked of a daemon yet.
    ///
    /// # Errors
    /// A file that is no such library, or does not initialise.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let pkcs11 = Pkcs11::new(path)?;
        match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another service here uses the same file, and so the same library.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(Self(pkcs11)),
            Err(error) => Err(error),
        }
    }

    /// Starts the threads for a token. Nothing is asked of the token yet: it may come later.
    pub(crate) fn open(&self, token: Token, threads: usize) -> Module {
        let (jobs, waiting) = bounded::<Job>(QUEUE);
        let (alive, ended) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            pkcs11: self.0.clone(),
            name: token.name,
            slot: Mutex::default(),
            door: Mutex::new(Door {
                pin: token.pin,
                refused: None,
            }),
            handles: Mutex::default(),
        });
        for number in 0..threads.max(1) {
            let (waiting, shared, alive) = (waiting.clone(), shared.clone(), alive.clone());
            let thread = std::thread::Builder::new().name(format!("pkcs11-{number}"));
            let run = move || {
                work(&waiting, shared);
                drop(alive);
            };
            // A thread fewer serves as well; without any, calls say that it is busy.
            if let Err(error) = thread.spawn(run) {
                tracing::error!(%error, "a thread for the module could not be started");
            }
        }
        Module {
            jobs,
            shared,
            ended: Mutex::new(Some(ended)),
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

/// The pool of a token.
pub(crate) struct Module {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
    /// Closed when the last thread has ended.
    ended: Mutex<Option<mpsc::Receiver<Infallible>>>,
}

impl Module {
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
            // Nobody waits any more, and nothing has been done yet.
            if answer.is_closed() {
                return;
            }
            let result = worker.attempt(&call);
            // Whoever asked may have gone.
            let _ = answer.send(result);
        });
        match self.jobs.try_send(job) {
            Ok(()) => answered.await.unwrap_or(Err(ModuleError::Busy)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(ModuleError::Busy),
        }
    }

    /// From now on logs in with another PIN.
    pub(crate) fn use_pin(&self, pin: AuthPin) {
        *self.shared.door() = Door { pin, refused: None };
    }

    /// Waits until the threads have ended and their sessions are closed, and so logged out; they end when the last owner has let
    /// go, as here.
    pub(crate) async fn close(self: Arc<Self>) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(self);
        if let Some(mut ended) = ended {
            // Nothing is ever sent: it ends when the last sender has gone.
            let _ = ended.recv().await;
        }
    }
}

/// The PIN, and when it was refused: many threads that try a wrong one would lock the role.
struct Door {
    pin: AuthPin,
    refused: Option<(RvError, Instant)>,
}

struct Shared {
    pkcs11: Pkcs11,
    name: String,
    /// Where the token was found.
    slot: Mutex<Option<Slot>>,
    door: Mutex<Door>,
    /// Handles by class and id: they are the same in all sessions of the process.
    handles: Mutex<HashMap<(u64, Vec<u8>), ObjectHandle>>,
}

impl Shared {
    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    /// Forgets handles, since objects may be gone.
    pub(crate) fn forget(&self) {
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
        let session = self.open_unlogged()?;
        // One at a time: the first that is refused speaks for all.
        let mut door = self.shared.door();
        if let Some((rv, when)) = door.refused
            && when.elapsed() < PIN_PAUSE
        {
            return Err(Error::Pkcs11(rv, Function::Login).into());
        }
        match session.login(UserType::User, Some(&door.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                door.refused = None;
                Ok(session)
            }
            Err(error) => {
                if let Error::Pkcs11(rv, _) = &error
                    && is_refusal(*rv)
                {
                    door.refused = Some((*rv, Instant::now()));
                }
                Err(error.into())
            }
        }
    }

    /// Gives the user of the token another PIN. The pool goes on with the old one until [`Module::use_pin`].
    ///
    /// # Errors
    /// [`ModuleError`].
    pub(crate) fn set_pin(&mut self, old: &AuthPin, new: &AuthPin) -> Result<(), ModuleError> {
        Ok(self.session()?.set_pin(old, new)?)
    }

    /// A slot keeps its number. It is looked for again when it has no token: each question to a daemon that is away takes as long as
    /// the module waits.
    fn open_unlogged(&self) -> Result<Session, ModuleError> {
        let known = *self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = known {
            match self.shared.pkcs11.open_rw_session(slot) {
                Err(Error::Pkcs11(
                    RvError::SlotIdInvalid | RvError::TokenNotPresent | RvError::TokenNotRecognized,
                    _,
                )) => {}
                opened => return Ok(opened?),
            }
        }
        let slot = self.slot()?;
        let session = self.shared.pkcs11.open_rw_session(slot)?;
        *self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot);
        Ok(session)
    }

    /// What the token says of itself.
    ///
    /// # Errors
    /// [`ModuleError`].
    pub(crate) fn info(&self) -> Result<TokenInfo, ModuleError> {
        Ok(self.shared.pkcs11.get_token_info(self.slot()?)?)
    }

    fn slot(&self) -> Result<Slot, ModuleError> {
        let wanted = self.shared.name.as_str();
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

/// Whether a login failed because of the PIN, so that another try would only count.
pub(crate) const fn is_refusal(rv: RvError) -> bool {
    matches!(
        rv,
        RvError::PinIncorrect
            | RvError::PinLocked
            | RvError::PinExpired
            | RvError::PinLenRange
            | RvError::UserPinNotInitialized
    )
}
