//! The commands of the original CloudHSM Classic command line, one after the other as its guide had it.

use std::fs;
use std::os::unix::fs::symlink;

use hsmd_tests::daemon::binaries;
use serde_json::Value;

use super::world::World;

fn cloudhsm(world: &World, line: &str) -> Value {
    let answer = world.shell(&format!("hsmctl cloudhsm {line}"));
    assert!(answer.good, "{}", answer.text);
    serde_json::from_slice(&answer.output).unwrap_or_else(|error| panic!("{error}: {}", answer.text))
}

fn status(world: &World, line: &str) -> String {
    cloudhsm(world, line)["Status"].as_str().expect("a Status").to_owned()
}

#[test]
fn a_group_is_built_registered_and_taken_apart_with_the_originals_commands() {
    let world = World::new();
    let create =
        "create-hsm -n subnet-0a1b2c3d --ssh-public-key-file id.pub --iam-role-arn arn:aws:iam::000000000000:role/x";
    let hsm = cloudhsm(&world, create)["HsmArn"].as_str().expect("an ARN").to_owned();
    let initialise = format!("initialize-hsm -H {hsm} -l fourth --so-password file:so.txt -d file:domain.txt");
    assert_eq!(
        status(&world, &initialise),
        "Initialization of CloudHSM instance successful"
    );
    let group = cloudhsm(&world, "create-hapg --group-label paid")["HapgArn"]
        .as_str()
        .expect("an ARN")
        .to_owned();
    let add =
        format!("add-hsm-to-hapg -H {hsm} -G {group} --so-password file:so.txt --partition-password file:pin.txt -d x");
    assert_eq!(
        status(&world, &add),
        format!("Addition of HSM {hsm} to HA partition group {group} successful")
    );
    assert_eq!(world.shell(&format!("hsmctl cloudhsm {add}")).code, Some(7), "twice");
    let second = add.replace(&hsm, "hsm-3c4d5e6f");
    assert!(status(&world, &second).ends_with("successful"));
    let members = cloudhsm(&world, &format!("describe-hapg -G {group}"))["PartitionSerialList"].clone();
    assert_eq!(members.as_array().map(Vec::len), Some(2));

    let client = cloudhsm(&world, "create-client -t new.pem")["ClientArn"]
        .as_str()
        .expect("an ARN")
        .to_owned();
    let register = format!("register-client-to-hapg -C {client} -G {group}");
    for _ in 0..2 {
        let words = format!("Registration of the client {client} to the HA partition group {group} successful");
        assert_eq!(status(&world, &register), words);
    }
    cloudhsm(&world, &format!("get-client-configuration -C {client} -G {group}"));
    let written = fs::read_to_string(world.folder().join("Chrystoki.conf")).expect("the file");
    assert!(written.contains("VirtualToken00Label = paid;"), "{written}");
    assert!(world.folder().join("CAFile.pem").exists());
    status(&world, &format!("deregister-client-from-hapg -C {client} -G {group}"));

    let remove = format!("remove-hsm-from-hapg -H {hsm} -G {group} --so-password file:so.txt");
    assert_eq!(
        world.shell(&format!("hsmctl cloudhsm {remove}")).code,
        Some(2),
        "without -y"
    );
    status(&world, &format!("{remove} -y"));
    let members = cloudhsm(&world, &format!("describe-hapg -G {group}"))["PartitionSerialList"].clone();
    assert_eq!(members.as_array().map(Vec::len), Some(1));
    status(&world, &format!("delete-hapg -G {group} -y"));
    status(&world, &format!("delete-hsm -H {hsm} -y"));
    status(&world, &format!("delete-client -C {client}"));
}

#[test]
fn the_name_cloudhsm_the_settings_file_and_the_form_of_the_output_are_the_originals() {
    let world = World::new();
    symlink(binaries().join("hsmctl"), world.folder().join("cloudhsm")).expect("a link");
    fs::write(
        world.folder().join("c.conf"),
        "[cloudhsmcli]\naws_region = eu-1\nhsm_arn = hsm-none\n",
    )
    .expect("a file");
    let listed = world.shell("./cloudhsm list-hsms --aws-region eu-1");
    let text = String::from_utf8_lossy(&listed.output).into_owned();
    assert!(
        text.starts_with("{\n    \"HsmList\": [\n        \"arn:aws:cloudhsm:"),
        "{}",
        listed.text
    );
    let described = world.shell("./cloudhsm -c c.conf describe-hsm -H hsm-1a2b3c4d");
    let text = String::from_utf8_lossy(&described.output).into_owned();
    let keys: Vec<_> = text.lines().filter(|line| line.starts_with("    \"")).collect();
    assert!(keys.len() > 8 && keys.is_sorted(), "{text}");
    assert_eq!(
        world.shell("./cloudhsm -c c.conf describe-hsm").code,
        Some(3),
        "the file's HSM is not here"
    );
    let missing = world.shell("./cloudhsm describe-hsm");
    assert_eq!(missing.code, Some(2));
    assert!(
        missing.error.contains("-H/--hsm-arn ARN is missing"),
        "{}",
        missing.error
    );
    let shown = world.shell("./cloudhsm initialise 2>&1; ./cloudhsm version");
    assert!(shown.text.contains("\"Version\""), "{}", shown.text);
    let warned = world.shell("./cloudhsm remove-hsm-from-hapg -H hsm-1a2b3c4d -G shop --so-password plain -y");
    assert!(warned.error.contains("list of processes"), "{}", warned.error);
}
