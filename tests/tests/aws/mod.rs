//! The AWS front end with AWS's own clients: boto3 and the AWS CLI, unmodified, signatures on. botocore validates what it
//! sends and reads by its own models. Scripts beside this file; `cargo xtask setup` installs the clients in `target/venv`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hsmd_tests::daemon::{self, Daemon};
use hsmd_tests::peers::{run, succeed};

const ACCESS_KEY: &str = "AKIAHSMDTESTS0000001";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYTESTKEY000";

/// A front end on a port of its own, before a daemon of its own.
struct Front {
    daemon: Daemon,
    child: Child,
    url: String,
}

impl Front {
    fn start() -> Self {
        let daemon = Daemon::start();
        let config = daemon.folder().join("hsmd-aws.toml");
        let text = format!(
            "listen = \"127.0.0.1:0\"\nendpoint = {:?}\n\n[[access_keys]]\nid = {ACCESS_KEY:?}\nsecret = {SECRET:?}\n",
            daemon.variable("HSMD_ENDPOINT")
        );
        fs::write(&config, text).expect("a configuration");
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).expect("its mode");
        let log = fs::File::create(daemon.folder().join("aws.log")).expect("a log");
        let mut command = Command::new(daemon::binaries().join("hsmd-aws"));
        command.arg("--config").arg(&config).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("hsmd-aws: `cargo xtask ci` builds it");
        let mut url = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut url).expect("the address");
        assert!(url.starts_with("http://"), "no address: {url:?}");
        Self {
            daemon,
            child,
            url: url.trim().to_owned(),
        }
    }

    /// A program of the Python environment, with the environment of a user who has configured AWS.
    fn python(&self, program: &str) -> Command {
        let binaries = daemon::binaries();
        let path = binaries
            .parent()
            .unwrap_or(Path::new("."))
            .join("venv/bin")
            .join(program);
        assert!(
            path.exists(),
            "{} is missing: `cargo xtask setup` makes it",
            path.display()
        );
        let mut command = self.daemon.command(&path);
        command
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_DEFAULT_REGION", "local-1")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_PAGER", "");
        command
    }

    fn scenario(name: &str) {
        let front = Self::start();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/aws/cloudhsm.py");
        succeed(front.python("python").arg(script).arg(name));
        let log = fs::read_to_string(front.daemon.folder().join("aws.log")).expect("a log");
        assert!(!log.contains(SECRET), "the secret key is in the log");
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => { $(#[test] fn $name() { Front::scenario(stringify!($name)); })* };
}

scenarios! {
    every_operation_of_cloudhsm, refusals_are_the_modelled_errors, signatures, the_2016_command_line, bad_bodies,
    the_daemon_is_away,
}

#[test]
fn the_aws_command_line_works_unchanged() {
    let front = Front::start();
    let created = succeed(front.python("aws").args(["cloudhsm", "create-hapg", "--label", "web"]));
    assert!(
        created.text.contains("arn:aws:cloudhsm:local-1:000000000000:hapg-"),
        "{}",
        created.text
    );
    let listed = succeed(front.python("aws").args(["cloudhsm", "list-hapgs", "--output", "text"]));
    assert!(listed.text.contains("hapg-"), "{}", listed.text);
    let refused = run(front
        .python("aws")
        .args(["cloudhsm", "describe-hapg", "--hapg-arn", "nonsense"]));
    assert!(
        !refused.good && refused.text.contains("InvalidRequestException"),
        "{}",
        refused.text
    );
}
