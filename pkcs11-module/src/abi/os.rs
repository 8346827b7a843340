//! What the operating system tells only through C: who is at the other end of a socket, whether the process runs with
//! raised rights, which file this library is, sockets with a deadline for connecting, an event to wait for.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether the process runs with raised rights (set-user-id and the like): environment and home are then not believed.
pub(crate) fn raised_rights() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The effective user of this process.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// The file that this code was loaded from.
pub(crate) fn own_file() -> Option<PathBuf> {
    // SAFETY: an all-zero Dl_info is valid: its fields are pointers.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the address is of a function of this library, and `info` has room for the answer.
    let found = unsafe { libc::dladdr(raised_rights as fn() -> bool as *const libc::c_void, &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: dladdr gave a NUL-terminated name that lives as long as the library is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

/// The user id of a user name.
pub(crate) fn uid_of(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut buffer = vec![0_u8; 16 * 1024];
    // SAFETY: an all-zero passwd is valid: integers and pointers.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found: *mut libc::passwd = std::ptr::null_mut();
    // SAFETY: all pointers are valid, the buffer's length is told, and the result is used only while the buffer lives.
    let failed = unsafe {
        libc::getpwnam_r(
            name.as_ptr(),
            &raw mut entry,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            &raw mut found,
        )
    };
    (failed == 0 && !found.is_null()).then_some(entry.pw_uid)
}

/// The user id of the process that listens at the other end (SO_PEERCRED).
pub(crate) fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and `credentials` has room for `length` bytes.
    let failed = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if failed == 0 {
        Ok(credentials.uid)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Connects to a Unix socket within a time. The standard library waits for ever when the listener's queue is full.
pub(crate) fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    // SAFETY: socket has no preconditions.
    let raw = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and nobody else owns it.
    let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(raw) });
    // SO_SNDTIMEO bounds connect (unix(7), socket(7)).
    stream.set_write_timeout(Some(patience.max(Duration::from_millis(1))))?;
    // SAFETY: an all-zero sockaddr_un is valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    // No abstract sockets: a leading NUL is refused, and one byte is left for the terminator.
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in address.sun_path.iter_mut().zip(bytes) {
        *place = byte.cast_signed();
    }
    // SAFETY: the descriptor is open, the address is initialised and its size is told.
    let failed = unsafe {
        libc::connect(
            stream.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_un>() as libc::socklen_t,
        )
    };
    if failed == 0 {
        Ok(stream)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Reads what is there, without waiting.
///
/// # Errors
/// `WouldBlock` when nothing is there.
pub(crate) fn read_now(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are of one live buffer that only this call writes to.
    let read = unsafe {
        libc::recv(
            stream.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// The inode of an open descriptor: tells whether a number still names what it named.
pub(crate) fn inode(descriptor: i32) -> Option<u64> {
    // SAFETY: an all-zero stat is valid: integers.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: fstat refuses a closed descriptor; `status` has room.
    let failed = unsafe { libc::fstat(descriptor, &raw mut status) };
    (failed == 0).then_some(status.st_ino)
}

/// Closes a descriptor that a forked child inherited and whose Rust owner is leaked.
pub(crate) fn close_inherited(descriptor: i32) {
    // SAFETY: close has no memory preconditions; the caller saw by the inode that the number is still the socket, and
    // the owner is leaked and closes nothing.
    let _ = unsafe { libc::close(descriptor) };
}

/// An event that one thread sets once and others wait for without a thread of the module.
pub(crate) struct Event(OwnedFd);

impl Event {
    /// # Errors
    /// The operating system's, when there is no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd has no preconditions.
        let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is open and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Sets the event, for good.
    pub(crate) fn set(&self) {
        let one = 1_u64;
        // SAFETY: the descriptor is open and eight bytes are readable.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Waits until the event is set or the time is over; `None` waits for ever. A signal may end it early.
    pub(crate) fn wait(&self, patience: Option<Duration>) {
        let milliseconds = patience.map_or(-1, |patience| {
            i32::try_from(patience.as_millis()).unwrap_or(i32::MAX).max(1)
        });
        let mut wanted = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        let _ = unsafe { libc::poll(&raw mut wanted, 1, milliseconds) };
    }
}
