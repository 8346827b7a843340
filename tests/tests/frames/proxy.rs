//! Between module and daemon: passes frames on, and spoils replies when it is told to.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use hsmd_tests::soak::Random;
use hsmd_tests::wait;

use super::spoil::spoil;
use super::talk::read_frame;

const REPLY: u8 = 2;
const MORE: u8 = 1;

/// What tests turn and read.
pub(crate) struct Proxy {
    pub(crate) socket: PathBuf,
    /// Whether replies are spoiled, one in two.
    pub(crate) spoils: AtomicBool,
    /// How many were.
    pub(crate) spoiled: AtomicUsize,
    daemon: PathBuf,
    seed: AtomicU64,
}

impl Proxy {
    /// Listens in `folder`, for as long as this process runs.
    pub(crate) fn start(daemon: PathBuf, folder: &Path, seed: u64) -> Arc<Self> {
        let socket = folder.join(format!("proxy-{seed}.sock"));
        let listener = UnixListener::bind(&socket).expect("a socket");
        let proxy = Arc::new(Self {
            socket,
            spoils: AtomicBool::new(false),
            spoiled: AtomicUsize::new(0),
            daemon,
            seed: AtomicU64::new(seed),
        });
        let shared = Arc::clone(&proxy);
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let proxy = Arc::clone(&shared);
                std::thread::spawn(move || proxy.serve(client));
            }
        });
        proxy
    }

    /// One connection, to its end: `None` is how every one ends.
    fn serve(&self, mut client: UnixStream) -> Option<()> {
        let mut daemon = UnixStream::connect(&self.daemon).ok()?;
        daemon.set_read_timeout(Some(wait::PATIENCE)).ok()?;
        let mut random = Random::new(self.seed.fetch_add(1, Ordering::Relaxed));
        loop {
            loop {
                let part = read_frame(&mut client)?;
                daemon.write_all(&part).ok()?;
                if part[3] & MORE == 0 {
                    break;
                }
            }
            loop {
                let part = read_frame(&mut daemon)?;
                let last = part[2] == REPLY && part[3] & MORE == 0;
                self.pass_on(&mut client, &part, &mut random)?;
                if last {
                    break;
                }
            }
        }
    }

    fn pass_on(&self, client: &mut UnixStream, frame: &[u8], random: &mut Random) -> Option<()> {
        if !self.spoils.load(Ordering::Relaxed) || random.below(2) != 0 {
            return client.write_all(frame).ok();
        }
        let bad = spoil(random, frame);
        self.spoiled.fetch_add(1, Ordering::Relaxed);
        client.write_all(&bad.bytes).ok()?;
        // A frame that promises more than it has keeps the module waiting: mostly it is told the end, sometimes it is not.
        (bad.fits || random.below(16) == 0).then_some(())
    }
}
