//! A socket between the module and the daemon that passes everything on and keeps the secret sections of replies: how a test
//! learns a ticket, which no PKCS#11 function shows. The layout of a frame is in docs/protocol.md.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

const HEADER: usize = 16;

/// A listening tap. Its threads end with the process.
pub struct Tap {
    /// Where it listens.
    pub socket: PathBuf,
    sections: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    /// Listens at `socket` for clients of the daemon at `daemon`.
    #[must_use]
    pub fn open(socket: &Path, daemon: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let sections = Arc::new(Mutex::new(Vec::new()));
        let (daemon, kept) = (daemon.to_path_buf(), Arc::clone(&sections));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&daemon) else {
                    continue;
                };
                let (mut requests, mut to_server) = (copy(&client), copy(&server));
                thread::spawn(move || {
                    let _ = std::io::copy(&mut requests, &mut to_server);
                    let _ = to_server.shutdown(std::net::Shutdown::Write);
                });
                let kept = Arc::clone(&kept);
                thread::spawn(move || pass_replies(server, client, &kept));
            }
        });
        Self {
            socket: socket.to_path_buf(),
            sections,
        }
    }

    /// The secret sections of all replies since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.sections.lock().expect("sections"))
    }
}

fn copy(stream: &UnixStream) -> UnixStream {
    stream.try_clone().expect("a second handle")
}

fn pass_replies(mut server: UnixStream, mut client: UnixStream, kept: &Mutex<Vec<Vec<u8>>>) {
    let mut header = [0; HEADER];
    while server.read_exact(&mut header).is_ok() {
        let length =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
        let (section, body) = (length(4), length(8));
        let mut rest = vec![0; section + body];
        if server.read_exact(&mut rest).is_err() {
            return;
        }
        if section > 0 {
            kept.lock().expect("sections").push(rest[..section].to_vec());
        }
        if client.write_all(&[&header[..], &rest[..]].concat()).is_err() {
            return;
        }
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}
