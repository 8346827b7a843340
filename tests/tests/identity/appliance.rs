//! A daemon as `hsmd init` and `hsmd serve` make it, with a TLS address of the control plane.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hsmd_tests::daemon::binaries;
use hsmd_tests::peers::{Run, run};
use hsmd_tests::wait;
use tempfile::TempDir;

/// A running daemon.
pub(super) struct Appliance {
    folder: TempDir,
    child: Child,
    /// `127.0.0.1:PORT` of the control plane.
    pub(super) address: String,
}

/// Files of a certificate.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Appliance {
    pub(super) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("hsmd").tempdir().expect("a folder");
        let config = folder.path().join("hsmd.toml");
        let mut init = Command::new(binaries().join("hsmd"));
        init.arg("init")
            .arg("--config")
            .arg(&config)
            .arg("--data-dir")
            .arg(folder.path().join("data"));
        let made = run(init.args(["--control-listen", "127.0.0.1:0"]));
        assert!(made.good, "{}", made.text);
        assert!(
            made.text.contains("hsmctl certificate issue NAME --role admin"),
            "{}",
            made.text
        );
        let log = folder.path().join("log");
        let mut serve = Command::new(binaries().join("hsmd"));
        serve
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = serve
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("hsmd serve");
        // The port is the system's choice; the log names it, and then that all is ready.
        let ready = wait::until(wait::PATIENCE, || {
            let log = fs::read_to_string(&log).expect("the log");
            let line = log.lines().find(|line| line.contains("control plane over TLS"))?;
            let at = line.find("127.0.0.1:")?;
            log.contains("ready")
                .then(|| line[at..].split_whitespace().next().unwrap_or_default().to_owned())
        });
        let address = ready.unwrap_or_else(|| panic!("no daemon:\n{}", fs::read_to_string(&log).unwrap_or_default()));
        Self { folder, child, address }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).expect("the log")
    }

    fn hsmctl(&self) -> Command {
        let mut command = Command::new(binaries().join("hsmctl"));
        command.current_dir(self.folder.path()).env("HOME", self.folder.path());
        for name in [
            "HSMD_ENDPOINT",
            "HSMD_CA",
            "HSMD_CERT",
            "HSMD_KEY",
            "XDG_CONFIG_HOME",
            "XDG_RUNTIME_DIR",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// hsmctl over the Unix socket.
    pub(super) fn local(&self, line: &str) -> Run {
        let socket = format!("unix://{}", self.path("data/control.sock").display());
        run(self
            .hsmctl()
            .args(["--endpoint", &socket])
            .args(line.split_whitespace()))
    }

    /// hsmctl as somebody has it on another host.
    pub(super) fn remote(&self, line: &str) -> Run {
        run(self.hsmctl().args(line.split_whitespace()))
    }

    /// The arguments of a remote connection.
    pub(super) fn with(&self, ca: &Path, files: &Files) -> String {
        let (address, ca) = (&self.address, ca.display());
        let (cert, key) = (files.cert.display(), files.key.display());
        format!("--endpoint https://{address} --ca {ca} --cert {cert} --cert-key {key}")
    }

    /// Issues a certificate; its files and its id.
    pub(super) fn issue(&self, name: &str, role: &str) -> (Files, String) {
        let issued = self.local(&format!(
            "certificate issue {name} --role {role} --out-dir certificates -o json"
        ));
        assert!(issued.good, "{}", issued.text);
        let file = |end: &str| self.path("certificates").join(format!("{name}.{end}"));
        let listed = self.local("certificate list");
        let row = listed
            .text
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(name));
        let id = row
            .and_then(|row| row.split_whitespace().next())
            .expect("it is listed")
            .to_owned();
        let files = Files {
            cert: file("pem"),
            key: file("key"),
        };
        (files, id)
    }

    /// What clients of this daemon trust; there after the first [`Self::issue`].
    pub(super) fn authority(&self) -> PathBuf {
        self.path("certificates/ca.pem")
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
