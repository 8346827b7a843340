//! Sessions: one lock over the operations, held over the round trip, so that two threads on one session take turns;
//! and what lets another thread end a call that waits.

use super::lock;
use super::object::SessionHandle;
use super::operation::Operations;
use super::slot::Slot;
use crate::transport::stream::Socket;
use hsmd_proto::ck::Rv;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// One session.
pub(crate) struct Session {
    /// The handle.
    pub(crate) handle: SessionHandle,
    /// The slot that it is on.
    pub(crate) slot: Arc<Slot>,
    /// CKF_RW_SESSION.
    pub(crate) read_write: bool,
    /// Operations in progress.
    pub(crate) operations: Mutex<Operations>,
    waiting: Mutex<Option<Arc<Socket>>>,
    /// 0, or the CKR_ code that ends the calls under way.
    ended: AtomicU64,
    /// Of several servers the one that has made something for this session which the others do not know, or [`FREE`].
    bound: AtomicUsize,
}

/// Any server will do.
const FREE: usize = usize::MAX;

impl Session {
    /// An open session without operations.
    pub(crate) fn new(handle: SessionHandle, slot: Arc<Slot>, read_write: bool) -> Self {
        Self {
            handle,
            slot,
            read_write,
            operations: Mutex::default(),
            waiting: Mutex::default(),
            ended: AtomicU64::new(0),
            bound: AtomicUsize::new(FREE),
        }
    }

    /// The server that this session stays with, as long as it is there.
    pub(crate) fn bound(&self) -> Option<usize> {
        Some(self.bound.load(Ordering::Relaxed)).filter(|server| *server != FREE)
    }

    /// A server has made something that it alone knows.
    pub(crate) fn bind(&self, server: usize) {
        self.bound.store(server, Ordering::Relaxed);
    }

    /// The code that a call under way ends with, if another thread ended it.
    pub(crate) fn ended(&self) -> Option<Rv> {
        Some(Rv(self.ended.load(Ordering::SeqCst))).filter(|rv| *rv != Rv::OK)
    }

    /// A call starts to wait on this socket.
    pub(crate) fn enter(&self, socket: &Arc<Socket>) {
        *lock(&self.waiting) = Some(Arc::clone(socket));
    }

    /// The call has its answer.
    pub(crate) fn leave(&self) {
        *lock(&self.waiting) = None;
    }

    /// C_CloseSession: calls under way return `CKR_SESSION_CLOSED`.
    pub(crate) fn close(&self) {
        self.interrupt(Rv::SESSION_CLOSED);
    }

    /// C_SessionCancel: a call under way returns `CKR_FUNCTION_CANCELED`; the session goes on.
    pub(crate) fn cancel(&self) {
        let waits = lock(&self.waiting).is_some();
        if waits
            && self
                .ended
                .compare_exchange(0, Rv::FUNCTION_CANCELED.0, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        {
            self.shut_down();
        }
        // The operations' lock is free when the call has returned.
        let operations = lock(&self.operations);
        let _ = self
            .ended
            .compare_exchange(Rv::FUNCTION_CANCELED.0, 0, Ordering::SeqCst, Ordering::SeqCst);
        drop(operations);
    }

    fn interrupt(&self, rv: Rv) {
        self.ended.store(rv.0, Ordering::SeqCst);
        self.shut_down();
    }

    fn shut_down(&self) {
        if let Some(socket) = lock(&self.waiting).as_ref() {
            socket.shut_down();
        }
    }
}
