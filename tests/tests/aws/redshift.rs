//! Redshift's clusters with their keys in an HSM: a daemon that listens for clients with certificates, as it would for clusters
//! on other hosts. The scenarios are in `redshift.py`.

use std::fs;
use std::net::TcpListener;

use hsmd_tests::daemon::{Daemon, Options, PIN};
use hsmd_tests::peers::{run, succeed};

use super::{Front, SECRET};

/// What must be in no log: passwords of partitions and clusters, halves of key pairs.
const SECRETS: [&str; 5] = [
    SECRET,
    "wrong-and-secret",
    "a password of a partition",
    "Passw0rd",
    "PRIVATE KEY",
];

fn front(settings: &str) -> Front {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("a free port");
    let daemon = Daemon::start_with(Options {
        arguments: vec!["--listen".to_owned(), address.to_string()],
        ..Options::default()
    });
    Front::over(daemon, &format!("[redshift]\nport = {}\n{settings}", address.port()))
}

fn scenario(name: &str, settings: &str) {
    let front = front(settings);
    front.run("redshift.py", name);
    no_secret(&front);
}

fn no_secret(front: &Front) {
    let aws = fs::read_to_string(front.daemon.folder().join("aws.log")).expect("a log");
    let log = front.daemon.log();
    for secret in SECRETS {
        assert!(!aws.contains(secret), "{secret:?} is in the front's log:\n{aws}");
        // The banner of `hsmd dev` shows the PIN, as it is for people.
        assert!(
            secret == PIN || !log.contains(secret),
            "{secret:?} is in the daemon's log:\n{log}"
        );
    }
}

#[test]
fn client_certificates_of_clusters() {
    scenario("certificates", "max_certificates = 3\n");
}

#[test]
fn configurations_show_neither_password_nor_certificate() {
    scenario("configurations", "max_configurations = 45\n");
}

#[test]
fn tags_of_redshift() {
    scenario("tags", "");
}

#[test]
fn query_requests_in_all_their_forms() {
    scenario("requests", "");
}

#[test]
fn presigned_requests_and_the_sample_of_the_api_reference() {
    scenario("presigned", "");
}

#[test]
fn what_clusters_refuse() {
    scenario("clusters", "max_clusters = 3\n");
}

#[test]
fn a_cluster_keeps_its_key_in_an_hsm_until_its_end() {
    scenario("story", "");
}

#[test]
fn whoever_cannot_use_its_hsm_is_incompatible_until_it_can() {
    let front = front("time_limit_ms = 8000\n");
    front.run("redshift.py", "incompatible");
    no_secret(&front);
    let log = fs::read_to_string(front.daemon.folder().join("aws.log")).expect("a log");
    for trouble in [
        "Password",
        "ServerCertificate",
        "Partition",
        "Unreachable",
        "ClientCertificate",
    ] {
        assert!(
            log.contains(&format!("trouble={trouble}")),
            "no {trouble} in the log:\n{log}"
        );
    }
}

#[test]
fn clusters_survive_a_kill_of_everything_at_any_step() {
    let mut front = front("");
    front.run("redshift.py", "before_the_restart");
    front.restart();
    front.run("redshift.py", "after_the_restart");
    no_secret(&front);
}

#[test]
fn the_command_line_makes_an_hsm_client_certificate() {
    let front = front("");
    let made = succeed(front.python("aws").args([
        "redshift",
        "create-hsm-client-certificate",
        "--hsm-client-certificate-identifier",
        "myhsmclientcert",
    ]));
    assert!(
        made.text
            .contains("\"HsmClientCertificateIdentifier\": \"myhsmclientcert\"")
            && made.text.contains("\"Tags\": []"),
        "{}",
        made.text
    );
    let refused = run(front
        .python("aws")
        .args(["redshift", "describe-hsm-configurations", "--max-records", "5"]));
    assert!(
        !refused.good && refused.text.contains("InvalidParameterValue"),
        "{}",
        refused.text
    );
}
