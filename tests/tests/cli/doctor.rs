//! `hsmctl doctor`: planted faults, each named with what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cryptoki_sys::CKU_USER;
use hsmd_tests::daemon::{Daemon, SO_PIN};
use hsmd_tests::peers::run;
use serde_json::Value;

use super::world::shell;

/// What one check says: its state, its message and its remedy in one text.
fn findings(daemon: &Daemon, line: &str, variables: &[(&str, &Path)]) -> (Option<i32>, Vec<(String, String, String)>) {
    let mut command = shell(daemon, &format!("hsmctl doctor {line} -o json"));
    let answer = run(command.envs(variables.iter().copied()));
    let report: Value =
        serde_json::from_slice(&answer.output).unwrap_or_else(|error| panic!("{error}: {}", answer.text));
    let text = |finding: &Value, key: &str| finding[key].as_str().expect("a text").to_owned();
    let findings = report["findings"].as_array().expect("a list").iter().map(|finding| {
        let words = format!("{} [{}]", text(finding, "message"), text(finding, "remedy"));
        (text(finding, "check"), text(finding, "state"), words)
    });
    (answer.code, findings.collect())
}

#[track_caller]
fn says(all: &(Option<i32>, Vec<(String, String, String)>), code: i32, check: &str, state: &str, words: &str) {
    let hit = all
        .1
        .iter()
        .any(|(name, is, text)| name == check && is == state && text.contains(words));
    assert!(
        hit && all.0 == Some(code),
        "no `{check}` {state} with `{words}`, or not code {code}: {all:#?}"
    );
}

#[test]
fn a_module_that_works_is_seen_with_its_token() {
    let daemon = Daemon::start();
    let all = findings(&daemon, "--module", &[]);
    says(&all, 0, "client file", "skipped", "hsmd-client.toml");
    says(&all, 0, "socket", "ok", "dev.sock");
    says(&all, 0, "library", "ok", "PKCS#11 3.");
    says(&all, 0, "token", "ok", "token \"demo\"");
    let all = findings(&daemon, "--module", &[("HSMD_CONFIG", &daemon.client_file())]);
    says(&all, 0, "client file", "ok", "named by HSMD_CONFIG");
}

#[test]
fn faults_of_the_client_file_are_named() {
    let daemon = Daemon::start();
    let file = daemon.folder().join("c.toml");
    let with = |text: &str| {
        fs::write(&file, text).expect("a file");
        findings(&daemon, "--module", &[("HSMD_CONFIG", &file)])
    };
    says(&with("socket = \n"), 1, "client file", "failure", "line 1");
    says(
        &with("socket = \"x.sock\"\n"),
        1,
        "client file",
        "failure",
        "absolute path",
    );
    says(
        &with("service_user = \"no-such-user\"\n"),
        1,
        "client file",
        "failure",
        "no user of this machine",
    );
    let all = with("fork = \"inherit\"\n");
    says(&all, 1, "client file", "failure", "fork");
    says(&all, 1, "module", "failure", "C_Initialize");
    says(
        &with("socket = \"/nonexistent/x\"\n"),
        1,
        "socket",
        "failure",
        "no such socket",
    );
    fs::remove_file(&file).expect("the file");
    let all = findings(&daemon, "--module", &[("HSMD_CONFIG", &file)]);
    says(&all, 1, "client file", "failure", "correct HSMD_CONFIG");
}

#[test]
fn an_absent_daemon_and_a_file_that_is_no_module_are_named() {
    let mut daemon = Daemon::start();
    daemon.kill9();
    let all = findings(&daemon, "--module", &[("HSMD_CONFIG", &daemon.client_file())]);
    says(&all, 1, "socket", "failure", "nobody listens");
    says(&all, 1, "slots", "failure", "no slot");
    says(&findings(&daemon, "", &[]), 1, "control socket", "failure", "hsmd dev");
    let text = daemon.folder().join("text.so");
    fs::write(&text, "no library").expect("a file");
    let all = findings(&daemon, &format!("--module {}", text.display()), &[]);
    says(&all, 1, "module", "failure", "no shared library");
    says(
        &findings(&daemon, "--module none.so", &[]),
        1,
        "module",
        "failure",
        "none.so",
    );
}

#[test]
fn states_of_tokens_are_named() {
    let daemon = Daemon::start();
    assert!(
        run(&mut shell(
            &daemon,
            "hsmctl partition create one && hsmctl partition create two"
        ))
        .good
    );
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let slots = module.slots(false).expect("C_GetSlotList");
    module.init_token(slots[1], SO_PIN, "one").expect("C_InitToken");
    let session = module.open_session(slots[0]).expect("C_OpenSession");
    let locked = (0..20).any(|_| {
        let error = module.login(session, CKU_USER, "wrong pin").expect_err("a wrong PIN");
        format!("{error:?}").contains("LOCKED")
    });
    assert!(locked, "ten wrong tries lock a PIN");
    let all = findings(&daemon, "--module", &[]);
    says(&all, 1, "token", "warning", "the user PIN is not set");
    says(&all, 1, "token", "warning", "not initialised");
    says(&all, 1, "token", "failure", "the user PIN is locked");
    let list = run(&mut shell(
        &daemon,
        "for p in $(hsmctl partition list -o name); do hsmctl partition delete $p --yes; done",
    ));
    assert!(list.good, "{}", list.text);
    says(&findings(&daemon, "--module", &[]), 1, "slots", "failure", "no slot");
}

#[test]
fn faults_of_the_daemons_files_are_named() {
    let daemon = Daemon::start();
    let all = findings(&daemon, "", &[]);
    says(&all, 0, "control socket", "ok", "node");
    says(&all, 0, "configuration", "warning", "development server");
    says(&all, 0, "store", "ok", "no trouble");
    let key = daemon.data_dir().join("master.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("the key file");
    says(&findings(&daemon, "", &[]), 1, "master key", "failure", "chmod 0400");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).expect("the key file");
    let socket = daemon.socket();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("the socket");
    says(
        &findings(&daemon, "", &[]),
        1,
        "data socket",
        "failure",
        "every user can connect",
    );
    fs::remove_file(&socket).expect("the socket");
    says(
        &findings(&daemon, "", &[]),
        1,
        "data socket",
        "failure",
        "restart the daemon",
    );
    let config = daemon.folder().join("hsmd.toml");
    fs::write(&config, "[dta]\n").expect("a file");
    let line = format!("--config {}", config.display());
    says(
        &findings(&daemon, &line, &[]),
        1,
        "configuration",
        "warning",
        "--config",
    );
}
