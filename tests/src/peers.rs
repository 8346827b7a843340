//! Programs of others that the tests run: pkcs11-tool, openssl, OpenSSH, SoftHSM2. One that is missing fails the test
//! with the name of its Debian package; no test passes without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::daemon::{self, Daemon, Options};

/// Programs and the packages that bring them.
const PACKAGES: &[(&str, &str)] = &[
    ("pkcs11-tool", "opensc"),
    ("softhsm2-util", "softhsm2"),
    ("openssl", "openssl"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
    ("ssh-add", "openssh-client"),
    ("ssh-agent", "openssh-client"),
    ("knotd", "knot"),
    ("keymgr", "knot"),
    ("kzonesign", "knot-dnssecutils"),
    ("kdig", "knot-dnsutils"),
    ("ldns-verify-zone", "ldnsutils"),
    ("delv", "bind9-dnsutils"),
    ("etcd", "etcd-server"),
    ("etcdctl", "etcd-client"),
    ("strace", "strace"),
    ("nm", "binutils"),
    ("strip", "binutils"),
    ("java", "openjdk-17-jdk-headless"),
    ("javac", "openjdk-17-jdk-headless"),
    ("jar", "openjdk-17-jdk-headless"),
    ("jarsigner", "openjdk-17-jdk-headless"),
    ("keytool", "openjdk-17-jdk-headless"),
    ("p11tool", "gnutls-bin"),
    ("certtool", "gnutls-bin"),
    ("gnutls-serv", "gnutls-bin"),
    ("gnutls-cli", "gnutls-bin"),
    ("certutil", "libnss3-tools"),
    ("modutil", "libnss3-tools"),
    ("cmsutil", "libnss3-tools"),
    ("nginx", "nginx-light"),
    ("unshare", "util-linux"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("ods-hsmutil", "libhsm-bin"),
    ("apache2", "apache2-bin"),
    ("stunnel", "stunnel4"),
    ("osslsigncode", "osslsigncode"),
    ("sbsign", "sbsigntool"),
    ("sbverify", "sbsigntool"),
    ("gnupg-pkcs11-scd", "gnupg-pkcs11-scd"),
    ("gpg", "gpg"),
    ("gpgconf", "gpgconf"),
    ("gpg-agent", "gpg-agent"),
    ("gpg-connect-agent", "gpg-agent"),
    ("gpgsm", "gpgsm"),
    ("openvpn", "openvpn"),
    ("pki", "strongswan-pki"),
    ("kinit", "krb5-user"),
    ("klist", "krb5-user"),
    ("krb5kdc", "krb5-kdc"),
    ("kdb5_util", "krb5-kdc"),
    ("kadmin.local", "krb5-admin-server"),
    ("git", "git"),
];

/// The full path of a peer program.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path
        .split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|folder| Path::new(folder).join(name));
    found.into_iter().find(|file| file.is_file()).unwrap_or_else(|| {
        let package = PACKAGES
            .iter()
            .find(|(program, _)| *program == name)
            .map_or(name, |(_, package)| *package);
        panic!("`{name}` is missing: install the Debian package {package} (`cargo xtask setup` does)")
    })
}

/// A program under the words of another one (`nsenter ... --`), or of none.
#[must_use]
pub fn under(words: &[String], program: &Path) -> Command {
    let Some((first, rest)) = words.split_first() else {
        return Command::new(program);
    };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}

/// What a program did, with all it wrote in one text.
#[derive(Debug)]
pub struct Run {
    /// Whether it ended with 0.
    pub good: bool,
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Standard output, then standard error.
    pub text: String,
    /// Standard output alone, as bytes.
    pub output: Vec<u8>,
    /// Standard error alone.
    pub error: String,
}

/// Runs to the end.
#[must_use]
pub fn run(command: &mut Command) -> Run {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{shown}: {e}"));
    let error = String::from_utf8_lossy(&stderr).into_owned();
    let text = format!("$ {shown}\n{}{error}[{status}]\n", String::from_utf8_lossy(&stdout));
    Run {
        good: status.success(),
        code: status.code(),
        text,
        output: stdout,
        error,
    }
}

/// Runs to the end; anything but success fails the test with all that was written.
pub fn succeed(command: &mut Command) -> Run {
    let run = run(command);
    assert!(run.good, "{}", run.text);
    run
}

/// A token that pkcs11-tool can use: ours, or the oracle's.
pub struct Token {
    module: PathBuf,
    variable: (&'static str, PathBuf),
    so_pin: String,
    pin: String,
    /// Owns the daemon, for ours.
    pub daemon: Option<Daemon>,
    folder: TempDir,
}

impl Token {
    /// The token of a daemon of its own.
    #[must_use]
    pub fn hsmd() -> Self {
        Self::of(Daemon::start())
    }

    /// The token of a daemon that also offers an uninitialised slot.
    #[must_use]
    pub fn hsmd_with_free_slot() -> Self {
        Self::of(Daemon::start_with(Options {
            arguments: vec!["--free-slot".to_owned()],
            ..Options::default()
        }))
    }

    /// The token of this daemon.
    #[must_use]
    pub fn of(daemon: Daemon) -> Self {
        let folder = tempfile::tempdir_in(daemon.folder()).expect("a folder");
        Self {
            module: daemon.module_path(),
            variable: ("HSMD_CONFIG", daemon.client_file()),
            so_pin: daemon.variable("HSMD_SO_PIN").to_owned(),
            pin: daemon.variable("HSMD_PIN").to_owned(),
            daemon: Some(daemon),
            folder,
        }
    }

    /// A token of SoftHSM2: what a scenario shows there is what users expect here.
    #[must_use]
    pub fn softhsm() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let util = program("softhsm2-util");
        let (config, tokens) = (folder.path().join("softhsm2.conf"), folder.path().join("tokens"));
        fs::create_dir(&tokens).expect("a folder for tokens");
        fs::write(&config, format!("directories.tokendir = {}\n", tokens.display())).expect("a configuration");
        let mut initialise = Command::new(util);
        initialise
            .env("SOFTHSM2_CONF", &config)
            .args(["--init-token", "--free", "--label", daemon::LABEL]);
        succeed(initialise.args(["--so-pin", daemon::SO_PIN, "--pin", daemon::PIN]));
        let module = softhsm_module();
        Self {
            module,
            variable: ("SOFTHSM2_CONF", config),
            so_pin: daemon::SO_PIN.to_owned(),
            pin: daemon::PIN.to_owned(),
            daemon: None,
            folder,
        }
    }

    /// A file in a folder of this token's own.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The module's file.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The user's PIN.
    #[must_use]
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// Any program, with the variable by which the module finds its token.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command
            .env(self.variable.0, &self.variable.1)
            .env("HOME", self.folder.path());
        command
    }

    /// pkcs11-tool on this module; the arguments are separated by blanks.
    #[must_use]
    pub fn pkcs11_tool(&self, arguments: &str) -> Command {
        let mut command = self.command("pkcs11-tool");
        command
            .arg("--module")
            .arg(&self.module)
            .args(arguments.split_whitespace());
        command
    }

    /// pkcs11-tool with a login as user of the token `demo`; more arguments may follow.
    #[must_use]
    pub fn as_user(&self, arguments: &str) -> Command {
        let mut command = self.pkcs11_tool("");
        command.args(["--token-label", daemon::LABEL, "--login", "--pin", &self.pin]);
        command.args(arguments.split_whitespace());
        command
    }

    /// The security officer's PIN.
    #[must_use]
    pub fn so_pin(&self) -> &str {
        &self.so_pin
    }
}

/// The library of SoftHSM2.
///
/// # Panics
/// Where it is not installed: a test never passes without its peer.
#[must_use]
pub fn softhsm_module() -> PathBuf {
    ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("libsofthsm2.so: install the Debian package softhsm2")
}
