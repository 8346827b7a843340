//! What the module remembers between calls. Nothing here survives C_Finalize, and no key value is ever kept (INV-1).
//!
//! Locks are the standard library's (futexes without any global table), because parking tables shared by all locks
//! could be held by another thread when the process forks. Order: a session's operations, then a slot's gate, then the
//! short ones (login, objects, views); round trips happen under the first two only.

pub(crate) mod instance;
pub(crate) mod object;
pub(crate) mod operation;
pub(crate) mod phase;
pub(crate) mod saved;
pub(crate) mod session;
pub(crate) mod slot;

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Locks. A panic under a lock was caught at the C edge and answered `CKR_GENERAL_ERROR`; the state stays usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`lock`].
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// See [`lock`].
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
