//! The AWS front end with AWS's own clients: boto3 and the AWS CLI, unmodified, signatures on. botocore validates what it
//! sends and reads by its own models. Scripts beside this file; `cargo xtask setup` installs the clients in `target/venv`.

mod dev;
mod fleet;
mod kills;
mod redshift;
mod stores;
mod story;
mod xks;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hsmd_tests::daemon::{self, Daemon, LABEL, PIN};
use hsmd_tests::peers::{program, run, succeed};

const ACCESS_KEY: &str = "AKIAHSMDTESTS0000001";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYTESTKEY000";

/// A front end on a port of its own, before a daemon of its own, whose token holds the keys of KMS.
struct Front {
    daemon: Daemon,
    child: Child,
    url: String,
    /// What its configuration says beyond the usual.
    settings: String,
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
}

impl Front {
    fn start() -> Self {
        Self::over(Daemon::start(), "")
    }

    /// Before a daemon, with further settings.
    fn over(daemon: Daemon, settings: &str) -> Self {
        let (child, url) = launch(&daemon, settings);
        Self {
            daemon,
            child,
            url,
            settings: settings.to_owned(),
        }
    }

    /// Kills both, as a power cut would, and starts both again.
    fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.daemon.restart();
        (self.child, self.url) = launch(&self.daemon, &self.settings);
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

    fn run(&self, script: &str, name: &str) {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/aws").join(script);
        let mut command = self.python("python");
        command.envs(self.daemon.variables());
        command.env("HSMD_AWS", daemon::binaries().join("hsmd-aws"));
        succeed(command.arg(script).arg(name));
    }

    fn scenario(script: &str, name: &str) {
        Self::scenario_with("", script, name);
    }

    fn scenario_with(more: &str, script: &str, name: &str) {
        let front = Self::over(Daemon::start(), more);
        front.run(script, name);
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

fn launch(daemon: &Daemon, settings: &str) -> (Child, String) {
    let (config, pin) = (daemon.folder().join("hsmd-aws.toml"), daemon.folder().join("pin"));
    write_private(&pin, &format!("{PIN}\n"));
    let text = format!(
        "listen = \"127.0.0.1:0\"\nendpoint = {:?}\n\n[[access_keys]]\nid = {ACCESS_KEY:?}\nsecret = {SECRET:?}\n\n\
         [kms]\nmodule = {:?}\ntoken = {LABEL:?}\npin_file = {pin:?}\n\n{settings}",
        daemon.variable("HSMD_ENDPOINT"),
        daemon.module_path(),
    );
    write_private(&config, &text);
    let log = fs::File::create(daemon.folder().join("aws.log")).expect("a log");
    let mut command = daemon.command(&daemon::binaries().join("hsmd-aws"));
    command.arg("--config").arg(&config).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().expect("hsmd-aws: `cargo xtask ci` builds it");
    let mut url = String::new();
    let output = child.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut url).expect("the address");
    assert!(url.starts_with("http://"), "no address: {url:?}");
    (child, url.trim().to_owned())
}

macro_rules! scenarios {
    ($script:literal: $($name:ident),* $(,)?) => { $(#[test] fn $name() { Front::scenario($script, stringify!($name)); })* };
}

scenarios! { "cloudhsm.py":
    every_operation_of_cloudhsm, refusals_are_the_modelled_errors, signatures_of_requests, the_2016_command_line, bad_bodies,
    the_daemon_is_away,
}

scenarios! { "kms.py": life_of_a_key, aliases, encryption, signatures }

scenarios! { "kms_more.py":
    grants, rotation, imported_material, imported_pairs, data_key_pairs, shared_secrets, policies_and_tags, dry_runs,
    key_states, uses,
}

scenarios! { "bad_input.py": kms, cloudhsm, bodies }

#[test]
fn what_is_due_after_days_is_done_by_itself() {
    Front::scenario_with("day_ms = 20\n", "kms_more.py", "what_days_bring");
}

#[test]
fn material_that_expires_goes_and_comes_back() {
    Front::scenario_with("day_ms = 3000\n", "kms_more.py", "material_that_expires");
}

#[test]
fn keys_records_and_ciphertexts_survive_a_kill_of_everything() {
    let mut front = Front::start();
    front.run("kms.py", "before_the_restart");
    front.restart();
    front.run("kms.py", "after_the_restart");
}

#[test]
fn the_aws_encryption_sdk_seals_and_opens() {
    Front::start().run("envelope.py", "");
}

#[test]
fn the_keys_of_kms_are_in_the_token() {
    let front = Front::start();
    let made =
        succeed(
            front
                .python("aws")
                .args(["kms", "create-key", "--query", "KeyMetadata.Arn", "--output", "text"]),
        );
    let arn = String::from_utf8_lossy(&made.output).trim().to_owned();
    let module = front.daemon.module_path();
    let mut tool = front.daemon.command(&program("pkcs11-tool"));
    let listed = succeed(tool.arg("--module").arg(module).args([
        "--login",
        "--pin",
        PIN,
        "--list-objects",
        "--type",
        "secrkey",
    ]));
    assert!(
        listed.text.contains(&arn) && listed.text.contains("never extractable"),
        "{}",
        listed.text
    );
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
