//! The program that plants secrets, has them used by an application of its own, and searches the memory of the application
//! and of the daemon, the log, the standard error and the store for them. It knows the secrets and is itself not searched.
//! It reads keys that it has made readable, so that the replies that carry key values are searched for, too.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN, binaries};
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::scan::{self, Hit, Needles};
use hsmd_tests::served::Served;
use hsmd_tests::soak::Random;
use hsmd_tests::tap::Tap;
use hsmd_tests::template::{Mechanism, P256, bytes, flag, number};
use hsmd_tests::wait;

use super::Findings;
use super::leak_client::{MASK, RSA_PARTS};

/// Idle keys go after a second; everything is logged.
const SETTINGS: &[(&str, &str)] = &[("pin.idle_wipe_s", "1"), ("log.level", "\"debug\"")];
/// The idle wipe comes within this time.
const IDLE: Duration = Duration::from_secs(30);

/// The application and its two pipes.
struct Application {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Application {
    fn start(daemon: &Served, tap: &Tap) -> Self {
        let client_file = daemon.folder().join("tap.toml");
        std::fs::write(&client_file, format!("socket = {:?}\n", tap.socket)).expect("a client file");
        let module = binaries().join("libhsmd_pkcs11.so");
        let (_, copy) = Module::copy(&module, &client_file, daemon.folder());
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("leak-client").arg(copy);
        let error = std::fs::File::create(daemon.folder().join("client-error")).expect("a file");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(error);
        let mut child = command.spawn().expect("the application starts");
        Self {
            orders: child.stdin.take().expect("its input"),
            answers: BufReader::new(child.stdout.take().expect("its output")),
            child,
        }
    }

    fn order(&mut self, order: &str) {
        self.send(order);
        self.wait(order);
    }

    fn send(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the application reads");
    }

    fn wait(&mut self, order: &str) {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("an answer");
        let word = order.split_whitespace().next().unwrap_or_default();
        assert_eq!(answer, "done\n", "the order {word} failed: see client-error");
    }

    fn secret(&mut self, name: &str, secret: &[u8]) {
        let hex: String = secret.iter().map(|byte| format!("{:02x}", byte ^ MASK)).collect();
        self.order(&format!("secret {name} {hex}"));
    }
}

/// Secrets of one round.
struct Planted {
    pins: Needles,
    keys: Needles,
    /// Used before the scan, and not any more.
    old_text: Needles,
    all: Needles,
}

/// What is searched and how often it was.
#[derive(Default)]
struct Figures {
    scans: usize,
    hits: usize,
    /// Pieces of tickets of ended logins while their connection lasts.
    dead_tickets: usize,
}

/// Plants, uses and searches so many times.
pub(crate) fn run(rounds: usize, seed: u64, findings: &mut Findings) {
    let mut random = Random::new(seed);
    let mut figures = Figures::default();
    for round in 0..rounds {
        one_round(round, &mut random, &mut figures, findings);
    }
    println!(
        "figures: {} scans, {} hits: {:?}; {} pieces of tickets of ended logins in connections that last",
        figures.scans, figures.hits, findings.list, figures.dead_tickets
    );
}

fn one_round(round: usize, random: &mut Random, figures: &mut Figures, findings: &mut Findings) {
    let daemon = Served::start(SETTINGS);
    let tap = Tap::open(&daemon.folder().join("tap.sock"), &daemon.socket());
    let mut application = Application::start(&daemon, &tap);
    let planted = plant(&daemon, &mut application, random);
    let pin_is_known = [PIN.to_owned(), random.text(24)];
    let mut pins = planted.pins;
    pins.add("the user's PIN", pin_is_known[1].as_bytes());
    application.secret("default", pin_is_known[0].as_bytes());
    application.secret("pin", pin_is_known[1].as_bytes());
    application.order("login 1 default");
    application.order("set-pin default pin");
    application.order("logout");
    let _ = tap.take();
    application.order("login 1 pin");
    let mut tickets = Needles::default();
    for section in tap.take() {
        tickets.add("the ticket", &section);
    }
    for name in ["aes", "generic", "ec", "ed25519", "rsa"] {
        application.order(&format!("import {name} token"));
    }
    application.order("unwrap aes unwrapped");
    application.order("work old-text 3");

    let mut scanner = Scanner {
        round,
        figures,
        findings,
    };
    let (client, server) = (application.child.id(), daemon.process());
    // Under load: another plaintext is under way, the keys are in use.
    application.send("work new-text 60");
    scanner.look("under load", client, "application", &pins);
    scanner.look("under load", client, "application", &planted.keys);
    scanner.look("under load", client, "application", &planted.old_text);
    scanner.look("under load", server, "daemon", &pins);
    scanner.look("under load", server, "daemon", &planted.old_text);
    application.wait("work");
    let mut known = Needles::default();
    known.add("a label", b"planted-label-unwrapped");
    scanner.findings.expect(!scan::memory(server, &known).is_empty(), || {
        "the scan sees nothing of the daemon".to_owned()
    });
    scanner.findings.expect(!scan::memory(client, &tickets).is_empty(), || {
        "the tap saw no ticket".to_owned()
    });
    scanner.findings.expect(!scan::memory(client, &known).is_empty(), || {
        "the scan sees nothing of the application".to_owned()
    });
    application.order("logout");
    application.order("close");
    scanner.look("after logout", client, "application", &pins);
    scanner.look("after logout", client, "application", &tickets);
    scanner.look("after logout", client, "application", &planted.all);
    scanner.look("after logout", server, "daemon", &pins);
    scanner.look("after logout", server, "daemon", &planted.old_text);
    // The daemon's connection remembers the last ticket that was good on it; it is worth nothing any more.
    scanner.figures.dead_tickets += scan::memory(server, &tickets).len();
    application.order("finalize");
    let gone = || scan::memory(server, &tickets).is_empty().then_some(());
    wait::until(IDLE, gone);
    scanner.look("after C_Finalize", server, "daemon", &tickets);
    // What is left of the keys goes with the idle wipe.
    wait::until(IDLE, || scan::memory(server, &planted.keys).is_empty().then_some(()));
    scanner.look("after the idle wipe", server, "daemon", &planted.keys);
    scanner.look("after the idle wipe", server, "daemon", &planted.all);
    for (who, needles) in [("files", &planted.all), ("files", &pins), ("files", &tickets)] {
        let mut hits = scan::files(daemon.folder(), needles);
        hits.extend(scan::files(daemon.data_dir(), needles));
        scanner.note("at the end", who, &hits);
    }
    drop(application.orders);
    scanner
        .findings
        .expect(application.child.wait().is_ok_and(|status| status.success()), || {
            "the application failed".to_owned()
        });
}

/// One round's searches.
struct Scanner<'a> {
    round: usize,
    figures: &'a mut Figures,
    findings: &'a mut Findings,
}

impl Scanner<'_> {
    fn look(&mut self, when: &str, process: u32, who: &str, needles: &Needles) {
        let hits = scan::memory(process, needles);
        self.note(when, who, &hits);
    }

    fn note(&mut self, when: &str, who: &str, hits: &[Hit]) {
        self.figures.scans += 1;
        self.figures.hits += hits.len();
        let round = self.round;
        // INV-1: none of it is there.
        self.findings.expect(hits.is_empty(), || {
            format!("round {round}, {when}, {who}: {}", scan::text(hits))
        });
    }
}

/// Makes the secrets, tells the application, and gives what is to be searched for.
fn plant(daemon: &Served, application: &mut Application, random: &mut Random) -> Planted {
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    let mut planted = Planted {
        pins: Needles::default(),
        keys: Needles::default(),
        old_text: Needles::default(),
        all: Needles::default(),
    };
    let mut key = |name: &str, value: &[u8], application: &mut Application| {
        application.secret(name, value);
        planted.keys.add_number(name, value);
        planted.all.add_number(name, value);
    };
    let (aes, generic) = (random.bytes(32), random.bytes(48));
    key("ed25519", &random.bytes(32), application);
    key("aes", &aes, application);
    key("generic", &generic, application);
    let readable = [flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)];
    let (_, private) = module
        .generate_key_pair(
            session,
            &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN),
            &[bytes(CKA_EC_PARAMS, P256)],
            &readable,
        )
        .expect("a pair");
    key(
        "ec",
        &module.get(session, private, CKA_VALUE).expect("a scalar"),
        application,
    );
    let size = [number(CKA_MODULUS_BITS, 2048), bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1])];
    let (_, private) = module
        .generate_key_pair(session, &Mechanism::Plain(CKM_RSA_PKCS_KEY_PAIR_GEN), &size, &readable)
        .expect("a pair");
    for (kind, name) in RSA_PARTS {
        let value = module.get(session, private, *kind).expect("a part of a key");
        if matches!(*name, "rsa-n" | "rsa-e") {
            application.secret(name, &value);
        } else {
            key(name, &value, application);
        }
    }
    let unwrapped = random.bytes(32);
    planted.keys.add("unwrapped", &unwrapped);
    planted.all.add("unwrapped", &unwrapped);
    let blob = wrapped(&module, session, &aes, &unwrapped);
    application.secret("unwrapped", &blob);
    for name in ["old-text", "new-text"] {
        let text = random.bytes(96);
        application.secret(name, &text);
        planted.all.add(name, &text);
        if name == "old-text" {
            planted.old_text.add(name, &text);
        }
    }
    module.finalize().expect("C_Finalize");
    planted
}

/// A key wrapped under another, both known here only.
fn wrapped(module: &Module, session: Session, wrapping: &[u8], key: &[u8]) -> Vec<u8> {
    let import = |value: &[u8], use_: CK_ATTRIBUTE_TYPE| -> Object {
        let template = [
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, CKK_AES),
            bytes(CKA_VALUE, value),
            flag(CKA_SENSITIVE, false),
            flag(CKA_EXTRACTABLE, true),
            flag(use_, true),
        ];
        module.create(session, &template).expect("a key")
    };
    let (wrapping, key) = (import(wrapping, CKA_WRAP), import(key, CKA_ENCRYPT));
    module
        .wrap(session, &Mechanism::Plain(CKM_AES_KEY_WRAP_KWP), wrapping, key)
        .expect("C_WrapKey")
}
