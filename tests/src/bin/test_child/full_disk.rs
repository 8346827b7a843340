//! The program of the full disk: a daemon whose store lies on a file system of a few MiB, filled by its own objects and by a
//! foreign file, and emptied again while the daemon runs. It is started in a namespace in which it may mount.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, Options, PIN};
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::peers::{program, succeed};
use hsmd_tests::rv::Rv;
use hsmd_tests::soak::Random;
use hsmd_tests::template::{self, Mechanism, bytes, flag, number};
use hsmd_tests::wait;

use super::Findings;

/// The file system, in MiB, to begin with: a few segments of 8 MiB, sled and backups.
const SIZE: usize = 64;
/// Room in MiB at the beginning of each round.
const ROOM: u64 = 32;
/// Bytes of the smallest object.
const SHORTEST: usize = 1000;

struct Full {
    daemon: Daemon,
    module: Module,
    session: Session,
    disk: PathBuf,
    random: Random,
    /// Acknowledged data objects by label.
    kept: BTreeMap<String, Object>,
    made: usize,
    refused: BTreeMap<String, usize>,
    signed: usize,
    key: (Object, Object),
    size: usize,
}

/// Fills and empties so many times.
pub(crate) fn run(folder: &Path, rounds: usize, seed: u64, findings: &mut Findings) {
    let size = format!("size={SIZE}m,mode=0700");
    let mut mount = Command::new(program("mount"));
    succeed(mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(folder));
    let daemon = Daemon::start_with(Options {
        data_dir: Some(folder.join("data")),
        ..Options::default()
    });
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    let (public, private) = (
        [bytes(CKA_EC_PARAMS, template::P256), flag(CKA_TOKEN, true)],
        [flag(CKA_TOKEN, true), bytes(CKA_LABEL, "signs")],
    );
    let key = module
        .generate_key_pair(session, &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN), &public, &private)
        .expect("a pair");
    let mut full = Full {
        daemon,
        module,
        session,
        disk: folder.to_path_buf(),
        random: Random::new(seed),
        kept: BTreeMap::new(),
        made: 0,
        refused: BTreeMap::new(),
        signed: 0,
        key,
        size: SIZE,
    };
    for round in 0..rounds {
        full.round(round, findings);
        if !findings.list.is_empty() {
            println!("round {round}: {}", full.daemon.log());
            break;
        }
    }
    println!(
        "figures: {} creations acknowledged, refused {:?}, {} signatures on the full disk, a file system of {} MiB at the end, \
         findings: {:?}",
        full.made, full.refused, full.signed, full.size, findings.list
    );
}

impl Full {
    fn round(&mut self, round: usize, findings: &mut Findings) {
        // A foreign file leaves more or less room: the store meets the end of the disk at another step each time.
        self.make_room();
        let ballast = self.disk.join("ballast");
        let leave = self.random.below(20 << 20);
        fill(&ballast, leave as u64);
        let refusal = self.create_until_refused();
        findings.expect(refusal == Some(Rv(CKR_DEVICE_MEMORY)), || {
            format!("round {round}: the disk is full and C_CreateObject answers {refusal:?}")
        });
        // INV-5: what only reads goes on.
        self.sign(round, findings);
        self.holds_all(round, findings);
        // A set label needs room as well; refused or done, never half.
        self.relabel(round, findings);
        // Destroys have a reserve.
        if let Some((label, object)) = self.kept.pop_first() {
            let gone = self.module.destroy(self.session, object);
            findings.expect(gone.is_ok(), || {
                format!("round {round}: C_DestroyObject on the full disk: {gone:?}")
            });
            let found = self.find(&label);
            findings.expect(found == Ok(0), || {
                format!("round {round}: destroyed and found: {found:?}")
            });
        }
        if round % 3 == 1 {
            // Killed and started on the full disk.
            self.daemon.restart();
            self.sign(round, findings);
            self.holds_all(round, findings);
        }
        let alive = self.daemon.is_alive();
        findings.expect(alive, || format!("round {round}: the daemon has ended"));
        // Room again, and no restart.
        fs::remove_file(&ballast).expect("the foreign file goes");
        // The store looks for room once in a while, not at each refusal.
        let made = wait::until(wait::PATIENCE, || self.create().ok());
        findings.expect(made.is_some(), || {
            format!(
                "round {round}: room again, and C_CreateObject is still refused, {} free",
                free(&self.disk)
            )
        });
        self.daemon.restart();
        self.holds_all(round, findings);
        self.empty();
    }

    fn create(&mut self) -> Result<(), Rv> {
        let label = format!("data-{}", self.made);
        let length = SHORTEST + self.random.below(40_000);
        let template = [
            number(CKA_CLASS, CKO_DATA),
            flag(CKA_TOKEN, true),
            bytes(CKA_LABEL, &label),
            bytes(CKA_VALUE, vec![9; length]),
        ];
        match self.module.create(self.session, &template) {
            Ok(object) => {
                self.made += 1;
                self.kept.insert(label, object);
                Ok(())
            }
            Err(rv) => {
                *self.refused.entry(rv.to_string()).or_default() += 1;
                Err(rv)
            }
        }
    }

    /// Objects until one is refused; `None`: more than the file system can hold. The store takes the room of destroyed objects
    /// first, which may be most of its file.
    fn create_until_refused(&mut self) -> Option<Rv> {
        let most = (self.size << 20) / SHORTEST;
        (0..most).find_map(|_| self.create().err())
    }

    fn sign(&mut self, round: usize, findings: &mut Findings) {
        let mechanism = Mechanism::Plain(CKM_ECDSA_SHA256);
        let (public, private) = self.key;
        for _ in 0..10 {
            let signed = self.module.sign(self.session, &mechanism, private, b"data");
            let good = signed.and_then(|signature| {
                self.module
                    .verify(self.session, &mechanism, public, b"data", &signature)
            });
            self.signed += usize::from(good.is_ok());
            findings.expect(good.is_ok(), || {
                format!("round {round}: a signature on the full disk: {good:?}")
            });
        }
    }

    fn find(&self, label: &str) -> Result<usize, Rv> {
        let found = self.module.find(self.session, &[bytes(CKA_LABEL, label)]);
        found.map(|objects| objects.len())
    }

    /// INV-2: what was acknowledged is there, once, and nothing else.
    fn holds_all(&self, round: usize, findings: &mut Findings) {
        for label in self.kept.keys() {
            let found = self.find(label);
            findings.expect(found == Ok(1), || {
                format!("round {round}: {label} is there {found:?} times")
            });
        }
        let all = self
            .module
            .find(self.session, &[number(CKA_CLASS, CKO_DATA)])
            .map(|objects| objects.len());
        let kept = self.kept.len();
        findings.expect(all == Ok(kept), || {
            format!("round {round}: {all:?} objects, {kept} were acknowledged")
        });
    }

    fn relabel(&mut self, round: usize, findings: &mut Findings) {
        let Some((label, object)) = self.kept.pop_last() else {
            return;
        };
        let new = format!("{label}-x");
        let set = self.module.set(self.session, object, &[bytes(CKA_LABEL, &new)]);
        let (there, gone) = if set.is_ok() { (&new, &label) } else { (&label, &new) };
        let found = (self.find(there), self.find(gone));
        findings.expect(found == (Ok(1), Ok(0)), || {
            format!("round {round}: label set {set:?}: {found:?}")
        });
        let full = set.is_ok() || set == Err(Rv(CKR_DEVICE_MEMORY));
        findings.expect(full, || format!("round {round}: C_SetAttributeValue: {set:?}"));
        self.kept.insert(there.clone(), object);
    }

    /// As an administrator does when the store has grown.
    fn make_room(&mut self) {
        while free(&self.disk) < ROOM << 20 {
            self.size += ROOM as usize;
            let size = format!("remount,size={}m", self.size);
            succeed(Command::new(program("mount")).args(["-o", &size]).arg(&self.disk));
        }
    }

    /// Few objects again, so that the next round begins as this one did.
    fn empty(&mut self) {
        while self.kept.len() > 5 {
            let Some((_, object)) = self.kept.pop_first() else {
                break;
            };
            self.module.destroy(self.session, object).expect("C_DestroyObject");
        }
    }
}

/// A file that leaves so many bytes free.
fn fill(file: &Path, leave: u64) {
    let mut ballast = File::create(file).expect("the foreign file");
    let block = vec![0_u8; 64 << 10];
    while free(file.parent().expect("its folder")) > leave.max(block.len() as u64) {
        if ballast.write_all(&block).is_err() {
            break;
        }
    }
}

/// Free bytes of a file system.
fn free(folder: &Path) -> u64 {
    let output = succeed(Command::new(program("stat")).args(["-f", "-c", "%f %S"]).arg(folder)).output;
    let text = String::from_utf8_lossy(&output).into_owned();
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.iter().product()
}
