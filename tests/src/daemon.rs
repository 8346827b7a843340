//! A daemon of one's own: `hsmd dev` in a temporary folder, killed and started again at will. It talks to the daemon's
//! process only, never to its sockets.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::ffi;
use crate::module::Module;
use crate::wait;

/// The security officer's PIN of every test token.
pub const SO_PIN: &str = "87654321";
/// The user's PIN of every test token.
pub const PIN: &str = "123456";
/// The label of every test token.
pub const LABEL: &str = "demo";

/// The folder of `hsmd`, `hsmctl` and the module, as xtask has built them.
#[must_use]
pub fn binaries() -> PathBuf {
    let folder = std::env::var_os("HSMD_BIN_DIR").map(PathBuf::from).expect(
        "HSMD_BIN_DIR is not set: cargo does not build another package's binaries for a test. Run `cargo xtask ci` or \
         `cargo xtask soak NAME`, or build the workspace with `--profile ci` and set HSMD_BIN_DIR=target/ci",
    );
    assert!(
        folder.join("hsmd").exists(),
        "HSMD_BIN_DIR={}: there is no hsmd in it",
        folder.display()
    );
    folder
}

/// How to start a daemon.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Arguments of `hsmd dev` beyond folder, env file, label and PINs.
    pub arguments: Vec<String>,
    /// With the AWS endpoints, and the HSMs that `hsmd dev` sets up for them.
    pub aws: bool,
    /// A program that runs the daemon, with its arguments: `strace -f ...`.
    pub under: Vec<String>,
    /// Where the store lies; none: in the folder of the daemon's own.
    pub data_dir: Option<PathBuf>,
}

/// A running `hsmd dev`, its folder, and what its env file says.
pub struct Daemon {
    folder: TempDir,
    options: Options,
    child: Option<Child>,
    variables: BTreeMap<String, String>,
}

impl Daemon {
    /// Starts a daemon with the token [`LABEL`] and waits until it is ready.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts a daemon with further arguments.
    #[must_use]
    pub fn start_with(options: Options) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hsmd")
            .tempdir()
            .expect("a temporary folder");
        let mut daemon = Self {
            folder,
            options,
            child: None,
            variables: BTreeMap::new(),
        };
        daemon.launch();
        daemon
    }

    fn launch(&mut self) {
        let folder = self.folder.path();
        let env_file = folder.join("env");
        // hsmd writes the file by rename when everything listens: an old one would look like readiness.
        if let Err(error) = fs::remove_file(&env_file) {
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::NotFound,
                "{}: {error}",
                env_file.display()
            );
        }
        let run = folder.join("run");
        if !run.exists() {
            std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700)
                .create(&run)
                .expect("a folder for sockets");
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log file");
        let mut words: Vec<String> = self.options.under.clone();
        words.push(binaries().join("hsmd").display().to_string());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("dev")
            .arg("--data-dir")
            .arg(self.data_dir())
            .arg("--env-file")
            .arg(&env_file);
        command
            .args(["--token-label", LABEL, "--so-pin", SO_PIN, "--pin", PIN])
            .args((!self.options.aws).then_some("--no-aws"))
            .args(&self.options.arguments);
        command
            .env("XDG_RUNTIME_DIR", &run)
            .env("HOME", folder)
            .env_remove("HSMD_CONFIG");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", words[0]));
        let ready = wait::until(wait::PATIENCE, || {
            if env_file.exists() {
                return Some(Ok(()));
            }
            child.try_wait().expect("the state of a child").map(Err)
        });
        match ready {
            Some(Ok(())) => {}
            Some(Err(status)) => panic!("hsmd dev ended with {status} before it was ready:\n{}", self.log()),
            None => {
                let _ = child.kill();
                panic!("hsmd dev wrote no env file in {:?}:\n{}", wait::PATIENCE, self.log());
            }
        }
        self.child = Some(child);
        self.variables = parse_exports(&fs::read_to_string(&env_file).expect("the env file"));
    }

    /// Ends the daemon with SIGKILL and waits until it is gone.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Under strace the child is strace; the daemon's own number is in the env file.
            let daemon = self
                .variables
                .get("HSMD_PID")
                .and_then(|pid| pid.parse().ok())
                .unwrap_or(child.id());
            let _ = ffi::signal(daemon, libc::SIGKILL);
            child.wait().expect("waiting for the daemon");
        }
    }

    /// Asks the daemon to end (SIGTERM), waits, and gives its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        ffi::signal(child.id(), libc::SIGTERM).expect("the daemon runs");
        child.wait().expect("waiting for the daemon").code()
    }

    /// Starts the daemon again on the same folder and waits until it is ready.
    pub fn restart(&mut self) {
        self.kill9();
        self.launch();
    }

    /// Starts the daemon again on the same folder, under another program with its arguments, or under none.
    pub fn restart_under(&mut self, under: Vec<String>) {
        self.options.under = under;
        self.restart();
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// A variable of the env file.
    #[must_use]
    pub fn variable(&self, name: &str) -> &str {
        self.variables
            .get(name)
            .unwrap_or_else(|| panic!("the env file has no {name}: {:?}", self.variables.keys()))
    }

    /// All variables of the env file.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The module that the env file names.
    #[must_use]
    pub fn module_path(&self) -> PathBuf {
        PathBuf::from(self.variable("HSMD_PKCS11_MODULE"))
    }

    /// The client file that the env file names.
    #[must_use]
    pub fn client_file(&self) -> PathBuf {
        PathBuf::from(self.variable("HSMD_CONFIG"))
    }

    /// The data socket, from the client file.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let text = fs::read_to_string(self.client_file()).expect("the client file");
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("socket"))
            .expect("a line `socket = ...`");
        PathBuf::from(line.trim_matches(|c: char| c == '=' || c == '"' || c.is_whitespace()))
    }

    /// The daemon's store.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        let own = || self.folder.path().join("data");
        self.options.data_dir.clone().unwrap_or_else(own)
    }

    /// A folder that lives as long as the daemon, for files of the test.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the daemon has written to its standard output and error.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// An instance of the module of its own, connected to this daemon, not initialised.
    #[must_use]
    pub fn module(&self) -> Module {
        Module::load_copy(&self.module_path(), &self.client_file(), self.folder())
    }

    /// A process that finds this daemon: `HSMD_CONFIG` is set.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("HSMD_CONFIG", self.client_file())
            .env("HOME", self.folder())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let start = log.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
            eprintln!("--- the daemon's log, its end ---\n{}", &log[start..]);
        }
    }
}

/// `export NAME='value'` lines with the quoting of a POSIX shell.
fn parse_exports(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("export "))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), unquote(value)))
        .collect()
}

fn unquote(value: &str) -> String {
    let (mut plain, mut quote, mut escaped) = (String::new(), None, false);
    for c in value.chars() {
        match (quote, c) {
            _ if escaped => {
                plain.push(c);
                escaped = false;
            }
            (Some('"') | None, '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (_, c) => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::parse_exports;

    #[test]
    fn quoted_exports_are_read_as_a_shell_does() {
        let text = "# hsmd dev\nexport A='x y'\nexport B='it'\\''s'\nexport C=plain\nexport D=\"a\\\"b\"\n";
        let read = parse_exports(text);
        assert_eq!(read["A"], "x y");
        assert_eq!(read["B"], "it's");
        assert_eq!(read["C"], "plain");
        assert_eq!(read["D"], "a\"b");
    }
}
