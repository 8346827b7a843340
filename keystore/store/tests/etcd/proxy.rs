//! A TCP proxy that loses answers: what the store sends reaches etcd, what etcd answers does not come back, and the connection is
//! cut. So an outcome is unknown though the transaction has happened.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[derive(Default)]
struct Switches {
    /// Answers are dropped; after a while the connection is cut.
    deaf: AtomicBool,
    /// What is sent is dropped, and the connection is cut.
    dumb: AtomicBool,
    cuts: AtomicU64,
    ended: AtomicBool,
}

/// Listens until it is dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    switches: Arc<Switches>,
}

impl Proxy {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let switches = Arc::<Switches>::default();
        let shared = Arc::clone(&switches);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect((Ipv4Addr::LOCALHOST, to))) else {
                    continue;
                };
                let (back, forth) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (one, other) = (Arc::clone(&shared), Arc::clone(&shared));
                std::thread::spawn(move || pass(client, forth, &one, false));
                std::thread::spawn(move || pass(server, back, &other, true));
            }
        });
        Self { port, switches }
    }

    /// From now on answers are lost (and the connections cut), or they come again.
    pub(crate) fn deaf(&self, on: bool) {
        self.switches.deaf.store(on, Ordering::SeqCst);
    }

    /// From now on requests are lost (and the connections cut), or they go through again.
    pub(crate) fn dumb(&self, on: bool) {
        self.switches.dumb.store(on, Ordering::SeqCst);
    }

    /// How many connections were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.switches.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.switches.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, switches: &Switches, answers: bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let lost = if answers { &switches.deaf } else { &switches.dumb };
        if lost.load(Ordering::SeqCst) {
            switches.cuts.fetch_add(1, Ordering::SeqCst);
            if answers {
                // etcd has done it by now; a little later even a write that had only begun.
                std::thread::park_timeout(Duration::from_millis(20));
            }
            break;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
