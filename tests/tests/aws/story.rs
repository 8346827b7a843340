//! `docs/aws-story.md` as it is printed: its blocks are run by bash, in order. Where the reader starts the daemon again in the
//! other terminal, this test does.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use hsmd_tests::daemon::{self, Daemon, Options};
use hsmd_tests::peers::{program, succeed};

/// The block that ends the first part: after it the daemon is started again.
const KILL: &str = "kill -9 \"$HSMD_PID\"\n";

/// The blocks for a shell, as two scripts: until the daemon is killed, and after its return.
fn parts() -> [String; 2] {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/aws-story.md")).expect("the page");
    let blocks = page
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default());
    let mut parts = [String::new(), String::new()];
    let mut part = 0;
    for block in blocks {
        parts[part].push_str(block);
        part += usize::from(block == KILL);
    }
    assert_eq!(part, 1, "one block kills the daemon");
    parts
}

#[test]
fn the_story_of_the_documentation_happens_as_it_is_told() {
    let mut daemon = Daemon::start_with(Options {
        aws: true,
        arguments: ["--aws-listen", "127.0.0.1:0"].map(str::to_owned).to_vec(),
        ..Options::default()
    });
    let binaries = daemon::binaries();
    let venv = binaries.parent().unwrap_or(Path::new(".")).join("venv/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{}:{path}", binaries.display(), venv.display());
    // What a shell knows by name at the end of a part is handed to the next: it is one terminal.
    let mut known = String::new();
    for (number, part) in parts().iter().enumerate() {
        if number > 0 {
            daemon.restart();
        }
        let mut script = "set -euo pipefail\nset -a\n".to_owned();
        let _ = write!(script, "{known}\n{part}\n");
        script = script.replace("kill -9 \"$HSMD_PID\"\n", "");
        script.push_str("export -p > known; declare -f >> known\n");
        let mut bash = Command::new(program("bash"));
        bash.args(["-c", &script])
            .current_dir(daemon.folder())
            .env("PATH", &path)
            .env("HOME", daemon.folder());
        for name in ["HSMD_ENDPOINT", "HSMD_CONFIG", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"] {
            bash.env_remove(name);
        }
        succeed(&mut bash);
        known = fs::read_to_string(daemon.folder().join("known")).expect("what the shell knew");
    }
}
