//! What the operating system tells only through C: who is at the other end of a socket, whether the process runs with
//! raised rights, which file this library is, sockets with a deadline for connecting, an event to wait for.

use std::ffi::{CStr, CString, OsStr};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// How long a TCP connection may be idle before the system looks for the other side, then how often and how many times.
const KEEPALIVE: [(libc::c_int, libc::c_int); 3] = [
    (libc::TCP_KEEPIDLE, 60),
    (libc::TCP_KEEPINTVL, 10),
    (libc::TCP_KEEPCNT, 6),
];

/// Connects by TCP within a time, or until the event is set. `own` takes the socket before anything waits for it, so that a
/// forked child knows of it.
pub(crate) fn connect_tcp<S: AsRawFd>(
    address: &SocketAddr,
    patience: Duration,
    ended: &Event,
    own: &dyn Fn(TcpStream) -> S,
) -> io::Result<S> {
    let socket = begin_connecting(address, own)?;
    wait_connected(socket.as_raw_fd(), patience, ended)?;
    set_blocking(&socket)?;
    Ok(socket)
}

/// Begins to connect, without waiting: the socket does not block until [`set_blocking`].
///
/// # Errors
/// The system's.
pub(crate) fn begin_connecting<S: AsRawFd>(address: &SocketAddr, own: &dyn Fn(TcpStream) -> S) -> io::Result<S> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: socket has no preconditions.
    let raw = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and nobody else owns it.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(raw) });
    // Requests are small and wait for their replies: nothing is gained by holding bytes back.
    stream.set_nodelay(true)?;
    set_option(raw, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    for (option, value) in KEEPALIVE {
        set_option(raw, libc::IPPROTO_TCP, option, value)?;
    }
    let socket = own(stream);
    if start_connecting(raw, address) != 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(error);
        }
    }
    Ok(socket)
}

/// Lets reads and writes of a socket wait.
///
/// # Errors
/// The system's.
pub(crate) fn set_blocking(socket: &impl AsRawFd) -> io::Result<()> {
    let raw = socket.as_raw_fd();
    // SAFETY: the descriptor is open: `socket` owns it.
    let flags = unsafe { libc::fcntl(raw, libc::F_GETFL) };
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::fcntl(raw, libc::F_SETFL, flags & !libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether a connection that was begun is there.
///
/// # Errors
/// Why it cannot be.
pub(crate) fn is_connected(socket: &impl AsRawFd) -> io::Result<bool> {
    let mut wanted = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one valid pollfd; no waiting.
    let count = unsafe { libc::poll(&raw mut wanted, 1, 0) };
    if count <= 0 {
        return Ok(false);
    }
    what_became(socket.as_raw_fd()).map(|()| true)
}

fn set_option(descriptor: i32, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: setsockopt refuses a closed descriptor; `value` has `length` bytes.
    let failed = unsafe { libc::setsockopt(descriptor, level, option, (&raw const value).cast(), length) };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn start_connecting(descriptor: i32, address: &SocketAddr) -> libc::c_int {
    match address {
        SocketAddr::V4(v4) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            // SAFETY: the address is initialised and its size is told; connect refuses a closed descriptor.
            unsafe { libc::connect(descriptor, (&raw const address).cast(), length) }
        }
        SocketAddr::V6(v6) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            let length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            // SAFETY: as for version 4.
            unsafe { libc::connect(descriptor, (&raw const address).cast(), length) }
        }
    }
}

/// Waits until a connection is there, for so long, or until the event is set.
fn wait_connected(descriptor: i32, patience: Duration, ended: &Event) -> io::Result<()> {
    let give_up = Instant::now() + patience;
    let mut wanted = [(descriptor, libc::POLLOUT), (ended.0.as_raw_fd(), libc::POLLIN)]
        .map(|(fd, events)| libc::pollfd { fd, events, revents: 0 });
    while wanted.iter().all(|one| one.revents == 0) {
        let left = give_up.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
        // SAFETY: two valid pollfds.
        let count = unsafe { libc::poll(wanted.as_mut_ptr(), 2, milliseconds) };
        let error = io::Error::last_os_error();
        if count < 0 && error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    if wanted[1].revents != 0 {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    what_became(descriptor)
}

/// Whether connecting has succeeded, once the system says that it is over.
fn what_became(descriptor: i32) -> io::Result<()> {
    let mut status: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `status` has room for `length` bytes; getsockopt refuses a closed descriptor.
    let failed = unsafe {
        libc::getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut status).cast(),
            &raw mut length,
        )
    };
    match (failed, status) {
        (0, 0) => Ok(()),
        (0, code) => Err(io::Error::from_raw_os_error(code)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends pieces one after the other, as far as the socket takes them; no signal comes of a peer that has gone (INV-9).
///
/// # Errors
/// The system's.
pub(crate) fn send_pieces(stream: &impl AsRawFd, pieces: &[&[u8]]) -> io::Result<usize> {
    let mut list = [IoSlice::new(&[]); 3];
    for (slot, piece) in list.iter_mut().zip(pieces) {
        *slot = IoSlice::new(piece);
    }
    // SAFETY: an all-zero msghdr is valid: no name, no list, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // IoSlice has the layout of iovec (std::io::IoSlice).
    message.msg_iov = list.as_mut_ptr().cast();
    message.msg_iovlen = pieces.len().min(list.len()) as _;
    // SAFETY: `message` names `list`, which names the caller's live slices; sendmsg only reads them.
    let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Reads what is there, without waiting.
///
/// # Errors
/// `WouldBlock` when nothing is there.
pub(crate) fn read_now(stream: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
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
