//! `hsmctl` as its users have it: every example, what it finds without being told, states as they change, what waits, the
//! original's commands, `doctor`, snippets, completions and manual pages.

mod aliases;
mod doctor;
mod examples;
mod readme;
mod setup;
mod snippets;
pub(crate) mod world;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use hsmd_tests::daemon::{Daemon, binaries};
use hsmd_tests::peers::{run, succeed};
use world::{World, shell};

#[test]
fn a_running_hsmd_dev_is_found_without_a_variable_and_named() {
    let mut daemon = Daemon::start();
    let status = succeed(&mut shell(&daemon, "hsmctl status"));
    assert!(
        status.error.contains("hsmctl: using ") && status.error.contains("dev-control.sock"),
        "{}",
        status.error
    );
    daemon.kill9();
    let status = run(&mut shell(&daemon, "hsmctl status"));
    assert_eq!(status.code, Some(6), "{}", status.text);
    assert!(
        status.error.contains("looked at") && status.error.contains("/run/hsmd/control.sock"),
        "{}",
        status.error
    );
}

#[test]
fn status_shows_everything_at_a_glance() {
    let world = World::new();
    let status = world.shell("hsmctl status");
    for words in [
        "HSMs         3 (3 RUNNING)",
        "Groups       3 (3 READY)",
        "Clients      1",
        "Partitions   5",
    ] {
        assert!(status.text.contains(words), "{words}: {}", status.text);
    }
    assert!(world.shell("hsmctl hsm suspend hsm-2b3c4d5e").good);
    let status = world.shell("hsmctl status");
    assert_eq!(status.code, Some(1), "{}", status.text);
    assert!(
        status.text.contains("degraded") && status.text.contains("1 SUSPENDED"),
        "{}",
        status.text
    );
    let twice = world.shell("hsmctl status --watch --count 2 --interval 50 -o json");
    assert_eq!(
        String::from_utf8_lossy(&twice.output).lines().count(),
        2,
        "{}",
        twice.text
    );
}

#[test]
fn watch_tells_of_each_change_in_one_line() {
    let world = World::new();
    let mut watch = shell(&world.daemon, "exec hsmctl watch --interval 50 -o json --all")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("hsmctl starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("its output"))
        .lines()
        .map_while(Result::ok);
    let mut next = |words: &str| lines.find(|line| line.contains(words)).expect(words);
    next(world.name("hsm-2b3c4d5e"));
    assert!(world.shell("hsmctl hsm suspend hsm-2b3c4d5e").good);
    let line = next("\"SUSPENDED\"");
    let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(event["was"], "RUNNING");
    assert_eq!(event["id"], world.name("hsm-2b3c4d5e"));
    assert!(world.shell("hsmctl group create fresh").good);
    next("\"fresh\"");
    let _ = watch.kill();
    watch.wait().expect("it ends");
}

#[test]
fn what_waits_too_long_ends_with_eight() {
    let mut world = World::new();
    let waited = world.shell("hsmctl wait hsm hsm-1a2b3c4d --for SUSPENDED --timeout 0");
    assert_eq!(waited.code, Some(8), "{}", waited.text);
    assert!(waited.error.contains("RUNNING (0 s)"), "{}", waited.error);
    assert!(world.shell("hsmctl wait ready --timeout 0").good);
    world.daemon.kill9();
    assert_eq!(world.shell("hsmctl wait ready --timeout 0").code, Some(8));
}

#[test]
fn what_destroys_asks_first_and_never_hangs_without_a_terminal() {
    let world = World::new();
    for line in [
        "hsmctl partition delete 157826003",
        "hsmctl group remove web 157714001",
        "hsmctl group delete shop",
        "hsmctl client delete app",
        "hsmctl hsm delete hsm-3c4d5e6f",
        "hsmctl cloudhsm delete-hsm -H hsm-3c4d5e6f",
    ] {
        let refused = world.shell(line);
        assert_eq!(refused.code, Some(2), "{line}: {}", refused.text);
        assert!(refused.error.contains("--yes"), "{}", refused.error);
        if !line.contains("cloudhsm") {
            assert!(world.shell(&format!("{line} --dry-run")).good, "{line} --dry-run");
        }
    }
    let status = world.shell("hsmctl status");
    assert!(
        status.text.contains("Partitions   5") && status.text.contains("Clients      1"),
        "{}",
        status.text
    );
}

#[test]
fn env_leads_other_programs_to_the_daemon() {
    let daemon = Daemon::start();
    let line = "eval \"$(hsmctl env)\"; pkcs11-tool --module \"$PKCS11_MODULE_PATH\" --list-token-slots; hsmctl status";
    let shown = succeed(&mut shell(&daemon, line));
    assert!(
        shown.text.contains("demo") && shown.text.contains("State"),
        "{}",
        shown.text
    );
}

#[test]
fn completions_load_and_manual_pages_are_written_for_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let hsmctl = || Command::new(binaries().join("hsmctl"));
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeed(hsmctl().args(["completion", name]));
        let text = String::from_utf8_lossy(&script.output).into_owned();
        assert!(text.contains("add-hsm-to-hapg") && text.contains("partition"), "{name}");
        fs::write(folder.path().join(name), text).expect("a file");
    }
    let load = "source ./bash && complete -p hsmctl && COMP_WORDS=(hsmctl part) COMP_CWORD=1 && _hsmctl hsmctl part hsmctl && \
                echo \"${COMPREPLY[@]}\"";
    let loaded = succeed(Command::new("bash").args(["-c", load]).current_dir(folder.path()));
    assert!(loaded.text.contains("partition"), "{}", loaded.text);
    let pages = folder.path().join("man1");
    succeed(hsmctl().args(["man", "--all"]).arg(&pages));
    for command in examples::examples().keys() {
        let page = pages.join(format!("{}.1", command.replace(' ', "-")));
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.contains(".TH ") && text.contains(".SH NAME"), "{text}");
    }
}
