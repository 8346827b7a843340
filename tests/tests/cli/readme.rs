//! The README's way to another host, as it is printed: at most six commands in an empty folder. Only the addresses are
//! those of this test.

use std::fs;
use std::path::Path;
use std::process::Command;

use hsmd_tests::daemon::binaries;
use hsmd_tests::peers::{program, succeed};

use super::world::free_port;

const HEADING: &str = "\n## From another host\n";

/// The first block of commands below a heading.
fn block() -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("the README");
    let below = readme.split(HEADING).nth(1).expect("the heading");
    let block = below.split("```").nth(1).expect("a block");
    block.trim_start_matches("sh").trim().to_owned()
}

#[test]
fn six_commands_lead_from_nothing_to_a_client_on_another_host() {
    let block = block();
    let commands = block
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .count();
    assert!((1..=6).contains(&commands), "{block}");
    let folder = tempfile::Builder::new().prefix("hsmd").tempdir().expect("a folder");
    let address = free_port();
    let here = block
        .replace("0.0.0.0:1792", &address)
        .replace("hsm.example", "127.0.0.1");
    assert!(here.contains(&address), "the address that the test replaces: {block}");
    let token = "pkcs11-tool --module \"$MODULE\" --init-token --slot-index 0 --label shop --so-pin 87654321";
    let script = format!("set -e\ntrap 'kill %1' EXIT\n{here}\nHSMD_CONFIG=shop/hsmd-client.toml {token}\n");
    let mut bash = Command::new(program("bash"));
    let path = std::env::var("PATH").unwrap_or_default();
    bash.args(["-c", &script])
        .current_dir(folder.path())
        .env("HOME", folder.path());
    bash.env("PATH", format!("{}:{path}", binaries().display()));
    bash.env("MODULE", binaries().join("libhsmd_pkcs11.so"));
    for name in ["HSMD_ENDPOINT", "HSMD_CONFIG", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"] {
        bash.env_remove(name);
    }
    let shown = succeed(&mut bash);
    assert!(shown.text.contains("certificates good on both sides"), "{}", shown.text);
    assert!(shown.text.contains("Token successfully initialized"), "{}", shown.text);
}
