//! A daemon in which every example of every help text succeeds: HSMs, partitions, groups, clients and files under the names
//! that the examples use. It is prepared once; each command gets a copy of the store and a daemon of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cryptoki_sys::{CKU_SO, CKU_USER};
use hsmd_tests::daemon::{Daemon, Options, PIN, SO_PIN, binaries};
use hsmd_tests::peers::{Run, program, run, softhsm_module, succeed};
use serde_json::Value;
use tempfile::TempDir;

/// What the examples say, and what it is in the prepared store.
type Names = BTreeMap<&'static str, String>;

struct Prepared {
    folder: TempDir,
    names: Names,
}

/// A daemon, and a folder in which commands run.
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    names: Names,
}

impl World {
    /// A copy of the prepared store, served.
    pub(crate) fn new() -> Self {
        static PREPARED: OnceLock<Prepared> = OnceLock::new();
        let prepared = PREPARED.get_or_init(prepare);
        let data = tempfile::Builder::new()
            .prefix("hsmd")
            .tempdir()
            .expect("a folder")
            .keep();
        succeed(
            Command::new("cp")
                .arg("-a")
                .arg(prepared.folder.path().join("data/."))
                .arg(&data),
        );
        let options = Options {
            data_dir: Some(data),
            arguments: vec!["--listen".to_owned(), free_port()],
            ..Options::default()
        };
        let world = Self {
            daemon: Daemon::start_with(options),
            names: prepared.names.clone(),
        };
        fs::create_dir(world.folder()).expect("a folder");
        let files = prepared.folder.path().join("files/.");
        succeed(Command::new("cp").arg("-a").arg(files).arg(world.folder()));
        symlink(world.daemon.module_path(), world.folder().join("libhsmd_pkcs11.so")).expect("a link");
        world
    }

    /// Where commands run.
    pub(crate) fn folder(&self) -> PathBuf {
        self.daemon.folder().join("here")
    }

    /// A line for the shell, with the names of the examples replaced by those of this store.
    pub(crate) fn shell(&self, line: &str) -> Run {
        let line = self
            .names
            .iter()
            .fold(line.to_owned(), |line, (example, name)| line.replace(example, name));
        let mut command = shell(&self.daemon, &line);
        run(command.current_dir(self.folder()))
    }

    /// The real name behind one of the examples'.
    pub(crate) fn name(&self, example: &str) -> &str {
        &self.names[example]
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.daemon.kill9();
        let _ = fs::remove_dir_all(self.daemon.data_dir());
    }
}

/// An address of the loopback with a port that was free a moment ago.
pub(crate) fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}

/// A shell as a user has it: `hsmctl` in the path, no variable that names the daemon.
pub(crate) fn shell(daemon: &Daemon, line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", binaries().display()));
    command
        .env("XDG_RUNTIME_DIR", daemon.folder().join("run"))
        .env("HOME", daemon.folder());
    for name in [
        "HSMD_ENDPOINT",
        "HSMD_CONFIG",
        "XDG_STATE_HOME",
        "CREDENTIALS_DIRECTORY",
    ] {
        command.env_remove(name);
    }
    command
}

/// hsmctl, from the folder of a world.
fn json(daemon: &Daemon, line: &str) -> Value {
    let answer = succeed(&mut shell(daemon, &format!("hsmctl -o json {line}")));
    serde_json::from_slice(&answer.output).unwrap_or_else(|error| panic!("{error}: {}", answer.text))
}

fn text(value: &Value, key: &str) -> String {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
        .to_owned()
}

/// A self-signed certificate that a client may have.
pub(crate) fn certificate(file: &Path, name: &str) {
    let key = file.with_extension("key");
    let mut make = Command::new(program("openssl"));
    make.args([
        "req", "-new", "-x509", "-days", "365", "-newkey", "rsa:2048", "-nodes", "-subj",
    ]);
    succeed(
        make.arg(format!("/CN={name}"))
            .arg("-keyout")
            .arg(key)
            .arg("-out")
            .arg(file),
    );
}

/// A token of SoftHSM2 with a pair of keys in it.
fn softhsm(folder: &Path) {
    fs::create_dir(folder).expect("a folder");
    let configuration = folder.with_extension("conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\n",
        folder.display()
    );
    fs::write(&configuration, text).expect("a file");
    let mut initialise = Command::new(program("softhsm2-util"));
    initialise.args([
        "--init-token",
        "--free",
        "--label",
        "old",
        "--so-pin",
        SO_PIN,
        "--pin",
        PIN,
    ]);
    succeed(initialise.env("SOFTHSM2_CONF", &configuration));
    let mut generate = Command::new(program("pkcs11-tool"));
    generate.arg("--module").arg(softhsm_module());
    generate.args(["--token-label", "old", "--login", "--pin", PIN]);
    generate.args([
        "--keypairgen",
        "--key-type",
        "EC:prime256v1",
        "--label",
        "signer",
        "--id",
        "07",
    ]);
    succeed(generate.env("SOFTHSM2_CONF", &configuration));
}

fn prepare() -> Prepared {
    let folder = tempfile::Builder::new().prefix("hsmd").tempdir().expect("a folder");
    let files = folder.path().join("files");
    fs::create_dir(&files).expect("a folder");
    for (name, content) in [
        ("so.txt", SO_PIN),
        ("pin.txt", PIN),
        ("cu.txt", "cu-pin-1"),
        ("domain.txt", "demo"),
        (
            "id.pub",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvcnRoZXRlc3RzZm9ydGhldGVzdHNmb3J0aGV0ZXN0 admin\n",
        ),
    ] {
        fs::write(files.join(name), content).expect("a file");
    }
    fs::write(files.join("web.json"), "{}").expect("a file");
    certificate(&files.join("app.pem"), "app");
    certificate(&files.join("new.pem"), "new");
    softhsm(&files.join("softhsm-tokens"));
    let options = Options {
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let mut daemon = Daemon::start_with(options);
    let names = fill(&daemon, &files);
    assert_eq!(daemon.stop(), Some(0), "{}", daemon.log());
    Prepared { folder, names }
}

fn fill(daemon: &Daemon, files: &Path) -> Names {
    let first = json(daemon, "hsm list")[0].clone();
    let second = json(daemon, "hsm create --wait");
    let third = json(daemon, "hsm create --wait");
    let create = |label: &str, hsm: &Value| {
        text(
            &json(daemon, &format!("partition create {label} --hsm {}", text(hsm, "id")))[0],
            "serial",
        )
    };
    let (web, old, member) = (create("web", &first), create("old", &first), create("other", &second));
    let bank = create("bank", &first);
    initialise(daemon);
    json(daemon, "group create web");
    json(daemon, "group create shop");
    json(daemon, "group create bank");
    json(daemon, &format!("group add bank {bank}"));
    json(daemon, &format!("group add web {web} {member}"));
    json(
        daemon,
        &format!(
            "client create --certificate-file {}/app.pem --label app",
            files.display()
        ),
    );
    json(daemon, &format!("tag add {} stage=test owner=web", text(&first, "arn")));
    json(daemon, &format!("client assign app {web}"));
    json(
        daemon,
        &format!("record put config/web --file {}/web.json", files.display()),
    );
    let issue = format!("certificate issue carol --role operator --out-dir {}", files.display());
    let carol = json(daemon, &issue);
    Names::from([
        ("cert-1a2b3c4d", text(&carol, "id")),
        ("hsm-1a2b3c4d", text(&first, "id")),
        ("hsm-2b3c4d5e", text(&second, "id")),
        ("hsm-3c4d5e6f", text(&third, "id")),
        ("157826001", web),
        ("157826003", old),
        ("157714001", member),
    ])
}

/// The partition `web` gets its token, the user's PIN and a key `web`.
fn initialise(daemon: &Daemon) {
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let slots = module.slots(false).expect("C_GetSlotList");
    for (slot, label) in [(slots[1], "web"), (slots[2], "payments")] {
        module.init_token(slot, SO_PIN, label).expect("C_InitToken");
        let session = module.open_session(slot).expect("C_OpenSession");
        module.login(session, CKU_SO, SO_PIN).expect("the officer's login");
        module.init_pin(session, PIN).expect("C_InitPIN");
        module.logout(session).expect("C_Logout");
        module.login(session, CKU_USER, PIN).expect("the user's login");
        module.close_session(session).expect("C_CloseSession");
    }
    module.finalize().expect("C_Finalize");
}
