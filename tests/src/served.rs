//! A daemon as a service has it: `hsmd init`, settings, `hsmd serve`, one partition with the token of the tests. Made for
//! programs that kill it hundreds of times: cheap PINs, small segments, and a start that may fail.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use cryptoki_sys::{CKU_SO, CKU_USER};
use tempfile::TempDir;

use crate::daemon::{LABEL, PIN, SO_PIN, binaries};
use crate::ffi;
use crate::module::Module;
use crate::peers::succeed;
use crate::wait;

/// What every such daemon is told: key, value in TOML.
const SETTINGS: &[(&str, &str)] = &[
    ("store.segment_bytes", "4194304"),
    ("pin.memory_kib", "1024"),
    ("pin.passes", "1"),
    ("log.level", "\"warn\""),
];

/// A served store.
pub struct Served {
    folder: TempDir,
    data: PathBuf,
    child: Option<Child>,
    /// What runs each of the daemon's programs: the words that put it onto a host of its own.
    host: Vec<String>,
}

impl Served {
    /// Makes a store, serves it and initialises the token [`LABEL`].
    #[must_use]
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(&[], settings)
    }

    /// The same, with further arguments of `hsmd init`.
    #[must_use]
    pub fn start_with(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::start_on(&[], arguments, settings)
    }

    /// The same, under these words: on another host.
    #[must_use]
    pub fn start_on(host: &[String], arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let served = Self::set_up("init", host, folder(), arguments, settings);
        served.prepare_token();
        served
    }

    /// A further node of this daemon's fleet, on a folder of its own.
    #[must_use]
    pub fn join(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        self.join_on(&[], arguments, settings)
    }

    /// The same, under these words: on another host.
    #[must_use]
    pub fn join_on(&self, host: &[String], arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let (folder, key) = (folder(), "master.key");
        fs::copy(self.folder.path().join(key), folder.path().join(key)).expect("the master key is copied");
        let served = Self::set_up("join", host, folder, arguments, settings);
        served.write_client_file();
        served
    }

    /// `hsmd init` or `hsmd join`, then the daemon.
    fn set_up(command: &str, host: &[String], folder: TempDir, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let (data, config) = (folder.path().join("data"), folder.path().join("hsmd.toml"));
        let mut set_up = crate::peers::under(host, &binaries().join("hsmd"));
        set_up.arg(command).arg("--config").arg(&config).args(arguments);
        succeed(set_up.arg("--data-dir").arg(&data));
        let text = fs::read_to_string(&config).expect("the configuration");
        fs::write(&config, set(&text, &[SETTINGS, settings].concat())).expect("the configuration");
        let mut served = Self {
            folder,
            data,
            child: None,
            host: host.to_vec(),
        };
        served.launch(&[]).expect("the daemon starts");
        served
    }

    fn write_client_file(&self) {
        // Three starts one after the other take longer than 10 s on a busy machine.
        let client = format!("socket = {:?}\ndeadline_ms = 30000\n", self.data.join("hsmd.sock"));
        fs::write(self.client_file(), client).expect("a client file");
    }

    /// `hsmctl`, at this daemon.
    #[must_use]
    pub fn hsmctl(&self) -> Command {
        let mut command = Command::new(binaries().join("hsmctl"));
        command.args(["--endpoint", &self.endpoint()]);
        command
    }

    fn prepare_token(&self) {
        succeed(self.hsmctl().args(["partition", "create", LABEL]));
        self.write_client_file();
        let module = self.module();
        module.initialize().expect("C_Initialize");
        let slot = module.slots(false).expect("C_GetSlotList")[0];
        module.init_token(slot, SO_PIN, LABEL).expect("C_InitToken");
        let session = module.open_session(slot).expect("C_OpenSession");
        module.login(session, CKU_SO, SO_PIN).expect("the officer's login");
        module.init_pin(session, PIN).expect("C_InitPIN");
        module.logout(session).expect("C_Logout");
        module.login(session, CKU_USER, PIN).expect("the user's login");
        module.finalize().expect("C_Finalize");
    }

    /// Starts the daemon, under another program or none, and waits until it is ready. Nothing may run.
    ///
    /// # Errors
    /// How it ended before it was ready.
    pub fn launch(&mut self, under: &[String]) -> Result<(), ExitStatus> {
        assert!(self.child.is_none(), "the daemon runs");
        let notify = self.folder.path().join("notify");
        let _ = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).expect("a socket");
        socket.set_nonblocking(true).expect("a socket that does not block");
        let log = File::options().create(true).append(true).open(self.log_path());
        let log = log.expect("a log file");
        let mut words = [&self.host, under].concat();
        words.push(binaries().join("hsmd").display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("serve").arg("--config");
        command.arg(self.folder.path().join("hsmd.toml"));
        command.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", words[0]));
        let mut message = [0; 512];
        let ready = wait::until(wait::PATIENCE, || {
            while let Ok(length) = socket.recv(&mut message) {
                if message[..length].windows(7).any(|word| word == b"READY=1") {
                    return Some(Ok(()));
                }
            }
            child.try_wait().expect("the state of a child").map(Err)
        });
        match ready {
            Some(Ok(())) => {
                self.child = Some(child);
                Ok(())
            }
            Some(Err(status)) => Err(status),
            None => {
                let _ = child.kill();
                panic!("hsmd serve is not ready in {:?}:\n{}", wait::PATIENCE, self.log());
            }
        }
    }

    /// Starts under a plan; if the plan ends the daemon before it is ready, starts it plainly, which must succeed. Gives
    /// whether the plan is still to come.
    pub fn launch_planned(&mut self, under: &[String]) -> bool {
        if self.launch(under).is_ok() {
            return true;
        }
        if let Err(status) = self.launch(&[]) {
            panic!("the token is unusable: hsmd serve ended with {status}:\n{}", self.log());
        }
        false
    }

    /// Ends the daemon with SIGKILL, if it runs, and waits until it is gone. Gives whether it had ended before.
    pub fn kill9(&mut self) -> bool {
        let Some(mut child) = self.child.take() else {
            return true;
        };
        let before = child.try_wait().expect("the state of a child").is_some();
        let _ = child.kill();
        child.wait().expect("waiting for the daemon");
        before
    }

    /// Kills the daemon and starts it again, plainly.
    pub fn restart(&mut self) {
        self.kill9();
        self.launch_planned(&[]);
    }

    /// Asks the daemon to end (SIGTERM), waits, and gives its exit status.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        let _ = ffi::signal(child.id(), libc::SIGTERM);
        Some(child.wait().expect("waiting for the daemon"))
    }

    /// How the daemon ended, if it has: the signal, or the exit code.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().expect("the state of a child")?;
        Some(
            status
                .signal()
                .map_or_else(|| format!("{status}"), |signal| format!("signal {signal}")),
        )
    }

    /// The daemon's process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// The store.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// A folder that lives as long as the daemon, for files of the test.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its control plane, as `hsmctl` and `hsmd-aws` take it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.data.join("control.sock").display())
    }

    /// The data socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.join("hsmd.sock")
    }

    /// The file that tells the module where the daemon is.
    #[must_use]
    pub fn client_file(&self) -> PathBuf {
        self.folder.path().join("client.toml")
    }

    /// Folder and file of a copy of the module that finds this daemon.
    #[must_use]
    pub fn module_copy(&self) -> PathBuf {
        let module = binaries().join("libhsmd_pkcs11.so");
        Module::copy(&module, &self.client_file(), self.folder()).1
    }

    /// An instance of the module of its own, connected to this daemon, not initialised.
    #[must_use]
    pub fn module(&self) -> Module {
        Module::load(&self.module_copy())
    }

    /// The daemon's configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("hsmd.toml")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the daemon has written to its standard output and error.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let start = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            eprintln!("--- the daemon's log, its end ---\n{}", &log[start..]);
        }
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("hsmd").tempdir().expect("a folder")
}

/// Replaces values in a file that has every key.
fn set(text: &str, settings: &[(&str, &str)]) -> String {
    let mut table = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']').to_owned();
        }
        let key = line.split_once('=').map(|(key, _)| format!("{table}.{}", key.trim()));
        let new = settings.iter().rev().find(|(name, _)| Some(*name) == key.as_deref());
        lines.push(new.map_or_else(
            || line.to_owned(),
            |(name, value)| format!("{} = {value}", name.rsplit('.').next().unwrap_or(name)),
        ));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn a_setting_replaces_the_value_of_its_table() {
        let text = "[a]\nx = 1\n[b]\nx = 1\ny = \"z\"\n";
        assert_eq!(set(text, &[("b.x", "2")]), "[a]\nx = 1\n[b]\nx = 2\ny = \"z\"\n");
    }
}
