//! `hsmd init` and `hsmd serve` as a system service: readiness as systemd sees it, and what must not be served.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cryptoki_sys::{CKU_SO, CKU_USER};
use hsmd_tests::daemon::{Daemon, binaries};
use hsmd_tests::module::Module;
use hsmd_tests::peers::{Run, program, run, succeed};
use hsmd_tests::{ffi, wait};
use tempfile::TempDir;

/// A store made by `hsmd init`, and the folder that holds it all.
struct Service {
    folder: TempDir,
}

impl Service {
    fn init() -> Self {
        let service = Self {
            folder: tempfile::Builder::new().prefix("hsmd").tempdir().expect("a folder"),
        };
        assert!(service.run_init().good);
        service
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("hsmd.toml")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run_init(&self) -> Run {
        let mut command = Command::new(binaries().join("hsmd"));
        run(command
            .arg("init")
            .arg("--config")
            .arg(self.config())
            .arg("--data-dir")
            .arg(self.data()))
    }

    fn serve(&self) -> Command {
        let mut command = Command::new(binaries().join("hsmd"));
        command
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }
}

/// Serves what must be refused; one that serves it after all is ended after a minute.
fn refused(service: &Service) -> Run {
    let mut command = Command::new(program("timeout"));
    command
        .arg("60")
        .arg(binaries().join("hsmd"))
        .arg("serve")
        .arg("--config")
        .arg(service.config());
    let run = run(&mut command);
    assert!(!run.good, "{}", run.text);
    run
}

/// What systemd would do with `Type=notify`.
struct Supervisor {
    socket: UnixDatagram,
    child: Child,
}

impl Supervisor {
    fn start(service: &Service) -> Self {
        let path = service.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(wait::PATIENCE)).expect("a deadline");
        let child = service
            .serve()
            .env("NOTIFY_SOCKET", &path)
            .stderr(Stdio::null())
            .spawn()
            .expect("hsmd starts");
        Self { socket, child }
    }

    /// Reads messages until one says that.
    fn hears(&self, word: &str) {
        let mut message = [0; 512];
        loop {
            let length = self
                .socket
                .recv(&mut message)
                .unwrap_or_else(|e| panic!("no {word}: {e}"));
            if String::from_utf8_lossy(&message[..length])
                .lines()
                .any(|line| line == word)
            {
                return;
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hsmctl(service: &Service, arguments: &str) -> Run {
    let endpoint = format!("unix://{}", service.data().join("control.sock").display());
    let mut command = Command::new(binaries().join("hsmctl"));
    succeed(
        command
            .args(["--endpoint", &endpoint])
            .args(arguments.split_whitespace()),
    )
}

#[test]
fn a_service_is_made_served_used_and_stopped() {
    let service = Service::init();
    let mut supervisor = Supervisor::start(&service);
    supervisor.hears("READY=1");
    hsmctl(&service, "partition create web");
    let client_file = service.folder.path().join("client.toml");
    fs::write(
        &client_file,
        format!("socket = {:?}\n", service.data().join("hsmd.sock")),
    )
    .expect("a client file");
    let module = Module::load_copy(
        &binaries().join("libhsmd_pkcs11.so"),
        &client_file,
        service.folder.path(),
    );
    module.initialize().expect("C_Initialize");
    let slot = module.slots(false).expect("C_GetSlotList")[0];
    module.init_token(slot, "11223344", "web").expect("C_InitToken");
    let session = module.open_session(slot).expect("C_OpenSession");
    module.login(session, CKU_SO, "11223344").expect("the officer's login");
    module.init_pin(session, "445566").expect("C_InitPIN");
    module.logout(session).expect("C_Logout");
    module.login(session, CKU_USER, "445566").expect("the user's login");

    ffi::signal(supervisor.child.id(), libc::SIGTERM).expect("the daemon runs");
    supervisor.hears("STOPPING=1");
    let status = supervisor.child.wait().expect("the daemon ends");
    assert!(status.success(), "{status}");
}

#[test]
fn init_overwrites_nothing() {
    let service = Service::init();
    let before = fs::read(service.folder.path().join("master.key")).expect("the master key");
    let again = service.run_init();
    assert!(!again.good && again.text.contains("exists already"), "{}", again.text);
    assert!(before == fs::read(service.folder.path().join("master.key")).expect("the master key"));
}

#[test]
fn a_wrong_master_key_is_named_and_harms_nothing() {
    // INV-7: without the master key there is nothing to serve.
    let (service, other) = (Service::init(), Service::init());
    let key = service.folder.path().join("master.key");
    let right = fs::read(&key).expect("the master key");
    replace(
        &key,
        &fs::read(other.folder.path().join("master.key")).expect("another key"),
    );
    let refused = refused(&service);
    assert!(refused.text.contains("master key"), "{}", refused.text);
    replace(&key, &right);
    Supervisor::start(&service).hears("READY=1");
}

/// The file is read-only: it is removed and made again with the same mode.
fn replace(file: &Path, content: &[u8]) {
    let mode = fs::metadata(file).expect("a file").permissions();
    fs::remove_file(file).expect("the old file goes");
    fs::write(file, content).expect("the new file");
    fs::set_permissions(file, mode).expect("the same mode");
}

#[test]
fn a_master_key_that_others_can_read_is_refused() {
    let service = Service::init();
    let key = service.folder.path().join("master.key");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("another mode");
    let refused = refused(&service);
    assert!(refused.text.contains("chmod"), "{}", refused.text);
}

#[test]
fn serve_refuses_the_store_of_a_development_server() {
    let service = Service::init();
    let mut daemon = Daemon::start();
    daemon.stop();
    let text = fs::read_to_string(service.config()).expect("the configuration");
    let (data, key) = (daemon.data_dir().join("store"), daemon.data_dir().join("master.key"));
    let text: String = text
        .lines()
        .map(|line| match line.split('=').next().map(str::trim) {
            Some("data_dir") => format!("data_dir = {data:?}\n"),
            Some("master_key") => format!("master_key = {key:?}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(service.config(), text).expect("the configuration");
    let refused = refused(&service);
    assert!(refused.text.contains("hsmd dev"), "{}", refused.text);
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused() {
    let mut daemon = Daemon::start();
    let mut second = daemon.command(&binaries().join("hsmd"));
    let refused = run(second.arg("dev").arg("--data-dir").arg(daemon.data_dir()));
    assert!(!refused.good, "{}", refused.text);
    assert!(daemon.is_alive());
    assert!(daemon.module().initialize().is_ok());
}
