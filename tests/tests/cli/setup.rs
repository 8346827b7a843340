//! `hsmctl setup-client`: one command, and an application on another host works; twice is once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsmd_tests::daemon::PIN;
use hsmd_tests::peers::{Run, program, run, succeed};
use serde_json::Value;

use super::world::{World, free_port};

const SETUP: &str = "hsmctl setup-client shop1 --group web --partition old --out files -o json";

fn json(run: &Run) -> Value {
    assert!(run.good, "{}", run.text);
    serde_json::from_slice(&run.output).unwrap_or_else(|error| panic!("{error}: {}", run.text))
}

/// pkcs11-tool as on another host: the copied files, no socket.
fn remote(world: &World, variable: &str, path: &Path, arguments: &str) -> Run {
    let mut tool = std::process::Command::new(program("pkcs11-tool"));
    tool.arg("--module")
        .arg(world.daemon.module_path())
        .args(arguments.split_whitespace());
    tool.env_remove("HSMD_CONFIG")
        .env("HOME", "/nonexistent")
        .env_remove("XDG_RUNTIME_DIR");
    run(tool.env(variable, path))
}

#[test]
fn the_files_of_one_command_are_enough_for_another_host() {
    let world = World::new();
    let made = json(&world.shell(SETUP));
    let again = json(&world.shell(SETUP));
    assert_eq!(made, again, "twice is once");
    let files = world.folder().join("files");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode(&files), mode(&files.join("shop1Key.pem"))), (0o700, 0o600));

    // Copied, as to another host.
    let there = world.folder().join("there");
    succeed(std::process::Command::new("cp").arg("-a").arg(&files).arg(&there));
    let client_file = there.join("hsmd-client.toml");
    let login = format!("--login --pin {PIN} --token-label web");
    let generate = format!("{login} --keypairgen --key-type EC:prime256v1 --id 07 --label far --usage-sign");
    let generated = remote(&world, "HSMD_CONFIG", &client_file, &generate);
    assert!(generated.good, "{}", generated.text);
    // The same by the file of a Luna client.
    let listed = remote(
        &world,
        "ChrystokiConfigurationPath",
        &there,
        &format!("{login} --list-objects"),
    );
    assert!(listed.good && listed.text.contains("far"), "{}", listed.text);

    let doctor = format!("HSMD_CONFIG={} hsmctl doctor --module", client_file.display());
    let healthy = world.shell(&doctor);
    assert!(
        healthy.good && healthy.text.contains("certificates good on both sides"),
        "{}",
        healthy.text
    );
    let luna = world.shell(&format!(
        "ChrystokiConfigurationPath={} hsmctl doctor --module",
        there.display()
    ));
    assert!(
        luna.good && luna.text.contains("certificates good on both sides"),
        "{}",
        luna.text
    );

    // What is not assigned is not there; what is deleted ends.
    let slots = remote(&world, "HSMD_CONFIG", &client_file, "--list-slots");
    assert!(!slots.text.contains("demo"), "{}", slots.text);
    assert!(world.shell("hsmctl client delete shop1 --yes").good);
    let sick = world.shell(&doctor);
    assert_eq!(sick.code, Some(1), "{}", sick.text);
    assert!(sick.text.contains("does not know this certificate"), "{}", sick.text);
    let gone = remote(&world, "HSMD_CONFIG", &client_file, &format!("{login} --list-objects"));
    assert!(!gone.good, "{}", gone.text);
}

#[test]
fn faults_of_the_files_and_servers_are_named_by_doctor() {
    let world = World::new();
    json(&world.shell(SETUP));
    let files = world.folder().join("files");
    let client_file = files.join("hsmd-client.toml");
    let sick = |words: &str| {
        let shown = world.shell(&format!("HSMD_CONFIG={} hsmctl doctor --module", client_file.display()));
        assert_eq!(shown.code, Some(1), "{}", shown.text);
        assert!(shown.text.contains(words), "no `{words}` in {}", shown.text);
    };
    let key = files.join("shop1Key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("the key");
    sick("chmod 0600");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("the key");

    let text = fs::read_to_string(&client_file).expect("the file");
    let write = |text: &str| fs::write(&client_file, text).expect("the file");
    let servers = text.lines().next().expect("a line");
    write(&text.replace(servers, &format!("servers = [\"{}\"]", free_port())));
    sick("nobody listens there");
    write(&text.replace("127.0.0.1", "no-such-host.invalid"));
    sick("DNS");
    write(&text.replace("shop1.pem", "none.pem"));
    sick("none.pem");
    // Another authority: that of the client itself is as wrong as any.
    write(&text.replace("CAFile.pem", "shop1.pem"));
    sick("another authority");
    write(&text);
    let other = world.folder().join("new.key");
    fs::copy(other, &key).expect("a copy");
    sick("belong together");
}

#[test]
fn a_name_that_is_taken_and_a_partition_that_is_not_there_change_nothing() {
    let world = World::new();
    let refused = world.shell("hsmctl setup-client app --group web --out mine");
    assert_eq!(refused.code, Some(7), "{}", refused.text);
    assert!(refused.error.contains("hsmctl client modify app"), "{}", refused.error);
    let missing = world.shell("hsmctl setup-client fresh --partition none --out fresh");
    assert_eq!(missing.code, Some(3), "{}", missing.text);
    assert!(!world.folder().join("fresh").exists());
    assert_eq!(world.shell("hsmctl setup-client ../x --group web").code, Some(2));
}
