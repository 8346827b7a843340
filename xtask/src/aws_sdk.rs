//! `cargo xtask soak aws-sdk`: builds the program with the official AWS SDKs for Rust (`tests/aws-sdk`, outside the workspace:
//! it compiles for minutes), starts `hsmd dev` in a folder of its own, and runs the program in its environment. What is called
//! and checked is the program's matter.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::ci;
use crate::setup;
use crate::steps::{self, Steps};
use crate::workspace::Workspace;

/// What the list of programs says.
pub(crate) const WHAT: &str =
    "the official Rust SDKs call every operation of CloudHSM, Redshift and KMS (compiles for minutes)";

/// How long the daemon may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs all of it; whether everything is good.
pub(crate) fn run(workspace: &Workspace) -> bool {
    let mut steps = Steps::default();
    steps.step("setup", |_| setup::everything(workspace));
    steps.step("build", |_| build(workspace));
    steps.step("sdk build", |_| build_sdk(workspace));
    steps.step("soak", |tally| {
        let result = against_a_daemon(workspace);
        let good = result.is_ok();
        tally.passed += u64::from(good);
        tally.failed += u64::from(!good);
        result
    });
    steps.finish()
}

/// The daemon, the AWS front end and the module; no tests.
fn build(workspace: &Workspace) -> Result<(), String> {
    let mut command = workspace.cargo();
    command.arg("build").args(ci::PROFILE).args(["--bins", "--lib"]);
    steps::run(command.args(["--package", "hsmd", "--package", "hsmd-aws", "--package", "hsmd-pkcs11"]))
}

fn target(workspace: &Workspace) -> PathBuf {
    workspace.binaries("ci").with_file_name("aws-sdk")
}

fn build_sdk(workspace: &Workspace) -> Result<(), String> {
    let mut command = workspace.cargo();
    command.args(["build", "--locked", "--manifest-path", "tests/aws-sdk/Cargo.toml"]);
    steps::run(command.arg("--target-dir").arg(target(workspace)))
}

/// A running `hsmd dev` and its folder; both end with it.
struct Daemon {
    folder: PathBuf,
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing to do about a process or a folder that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Daemon {
    /// Starts it and waits until its env file is there.
    fn start(binaries: &Path) -> Result<Self, String> {
        // In the temporary folder, since paths of sockets are short.
        let folder = std::env::temp_dir().join(format!("hsmd-aws-sdk-{}", std::process::id()));
        let log = private_folder(&folder)
            .and_then(|()| private_folder(&folder.join("run")))
            .and_then(|()| File::create(folder.join("log")))
            .map_err(|e| format!("{}: {e}", folder.display()))?;
        let errors = log.try_clone().map_err(|e| format!("a second handle: {e}"))?;
        let program = binaries.join("hsmd");
        let mut command = Command::new(&program);
        command.arg("dev").arg("--data-dir").arg(folder.join("data"));
        command
            .arg("--env-file")
            .arg(folder.join("env"))
            .args(["--aws-listen", "127.0.0.1:0"]);
        environment(&mut command, &folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let child = command
            .spawn()
            .map_err(|e| format!("{} does not start: {e}", program.display()))?;
        let mut daemon = Self { folder, child };
        daemon
            .await_readiness()
            .map_err(|sentence| format!("{sentence}\n{}", daemon.log()))?;
        Ok(daemon)
    }

    fn await_readiness(&mut self) -> Result<(), String> {
        let (file, deadline) = (self.folder.join("env"), Instant::now() + PATIENCE);
        while !file.exists() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("hsmd dev ended with {status} before it was ready"));
            }
            if Instant::now() > deadline {
                return Err(format!("hsmd dev wrote no env file in {PATIENCE:?}"));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The end of its log.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

fn private_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Nothing of a developer's own daemon.
fn environment<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    for foreign in [
        "HSMD_CONFIG",
        "HSMD_ENDPOINT",
        "XDG_STATE_HOME",
        "ChrystokiConfigurationPath",
    ] {
        command.env_remove(foreign);
    }
    command.env("HOME", folder).env("XDG_RUNTIME_DIR", folder.join("run"))
}

fn against_a_daemon(workspace: &Workspace) -> Result<(), String> {
    let (binaries, program) = (workspace.binaries("ci"), target(workspace).join("debug/hsmd-aws-sdk"));
    let daemon = Daemon::start(&binaries)?;
    // As a user would: the env file is all that the program is told.
    let mut command = Command::new("sh");
    command.args(["-c", ". ./env && exec \"$0\""]).arg(&program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", binaries.display()));
    environment(&mut command, &daemon.folder)
        .current_dir(&daemon.folder)
        .stdin(Stdio::null());
    steps::run(&mut command).inspect_err(|_| println!("--- the daemon's log, its end ---\n{}", daemon.log()))
}
