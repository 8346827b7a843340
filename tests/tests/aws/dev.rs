//! `hsmd dev` brings the AWS side with it: what its env file says is all that boto3 and the AWS CLI need.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use hsmd_tests::daemon::{self, Daemon, Options};
use hsmd_tests::peers::succeed;
use hsmd_tests::wait;

/// The variables of the env file that only AWS's clients, and stories about them, need.
const VARIABLES: &[&str] = &[
    "HSMD_DATA_DIR",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "HSMD_SUBNET_ID",
    "HSMD_HAPG_ARN",
    "HSMD_HSM_IP",
    "HSMD_PARTITION_NAME",
    "HSMD_PARTITION_PASSWORD",
    "HSMD_SERVER_CERT",
    "HSMD_CLUSTER_ID",
    "HSMD_TRUST_ANCHOR",
    "HSMD_KMSUSER_PASSWORD",
    "HSMD_XKS_URI",
    "HSMD_XKS_CERT",
    "HSMD_XKS_ACCESS_KEY_ID",
    "HSMD_XKS_SECRET_ACCESS_KEY",
    "HSMD_PKCS11_MODULE",
    "HSMD_TOKEN_LABEL",
    "HSMD_PIN",
];

fn start() -> Daemon {
    let aws = true;
    let arguments = ["--aws-listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
    Daemon::start_with(Options {
        aws,
        arguments,
        ..Options::default()
    })
}

pub(super) fn python(daemon: &Daemon, program: &str) -> Command {
    let binaries = daemon::binaries();
    let folder = binaries.parent().unwrap_or(Path::new("."));
    let mut command = daemon.command(&folder.join("venv/bin").join(program));
    for name in VARIABLES {
        command.env(name, daemon.variable(name));
    }
    command.env("AWS_PAGER", "").env("AWS_MAX_ATTEMPTS", "1");
    command
}

fn run(daemon: &Daemon, scenario: &str) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/aws/dev.py");
    succeed(python(daemon, "python").arg(script).arg(scenario));
}

#[test]
fn the_env_file_of_hsmd_dev_is_all_that_boto3_and_the_aws_cli_need() {
    let mut daemon = start();
    run(&daemon, "first_start");
    run(&daemon, "custom_key_stores");
    let listed = succeed(python(&daemon, "aws").args(["kms", "list-keys", "--query", "length(Keys)"]));
    assert_eq!(String::from_utf8_lossy(&listed.output).trim(), "3");
    let pair =
        |daemon: &Daemon| ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| daemon.variable(name).to_owned());
    let address = |daemon: &Daemon| {
        daemon
            .variable("AWS_ENDPOINT_URL")
            .trim_start_matches("http://")
            .to_owned()
    };
    let (keys, old) = (pair(&daemon), address(&daemon));
    // Nobody tells the child of the kill: it sees its standard input end.
    daemon.kill9();
    let gone = wait::until(wait::PATIENCE, || TcpStream::connect(&old).is_err().then_some(()));
    assert!(gone.is_some(), "hsmd-aws outlived hsmd dev");
    daemon.restart();
    assert_eq!(pair(&daemon), keys);
    run(&daemon, "second_start");
}
