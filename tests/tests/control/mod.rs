//! The control plane of a running daemon: every operation through the generated client (`operations`), and `hsmctl`: what it
//! prints, its exit codes, and that slots follow.

mod bad_input;
mod generic;
mod kills;
mod model;
mod operations;
mod raw;
mod records;

use std::path::Path;

use hsmd_tests::daemon::Daemon;
use hsmd_tests::peers::{Run, run};

fn hsmctl(daemon: &Daemon, arguments: &str) -> Run {
    let mut command = daemon.command(Path::new(daemon.variable("HSMCTL")));
    run(command
        .args(["--endpoint", daemon.variable("HSMD_ENDPOINT")])
        .args(arguments.split_whitespace()))
}

fn expect(code: i32, run: Run) -> Run {
    assert_eq!(run.code, Some(code), "{}", run.text);
    run
}

#[test]
fn status_is_zero_when_all_is_well_and_six_when_nobody_answers() {
    let mut daemon = Daemon::start();
    let status = expect(0, hsmctl(&daemon, "status -o json"));
    assert!(status.text.contains("\"healthy\": true"), "{}", status.text);
    daemon.kill9();
    expect(6, hsmctl(&daemon, "status"));
}

#[test]
fn a_partition_becomes_a_slot_and_goes_again() {
    let mut daemon = Daemon::start();
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let before = module.slots(false).expect("C_GetSlotList");
    expect(0, hsmctl(&daemon, "partition create web"));
    let slots = module.slots(false).expect("C_GetSlotList");
    assert_eq!(slots.len(), before.len() + 1);
    assert_eq!(
        slots[..before.len()],
        before,
        "ids of other slots stay, the new one comes last"
    );
    let slot = slots[before.len()];
    module.init_token(slot, "11223344", "web token").expect("C_InitToken");
    assert_eq!(module.token_info(slot).expect("C_GetTokenInfo").label, "web token");

    let listed = expect(0, hsmctl(&daemon, "partition list"));
    let row = listed
        .text
        .lines()
        .find(|line| line.contains("web"))
        .expect("the partition is listed");
    let serial = row.split_whitespace().next().expect("a serial number").to_owned();
    daemon.restart();
    assert_eq!(module.slots(false).expect("C_GetSlotList"), slots, "after a restart");
    expect(0, hsmctl(&daemon, &format!("partition delete {serial} --dry-run")));
    expect(2, hsmctl(&daemon, &format!("partition delete {serial}")));
    assert_eq!(
        module.slots(false).expect("C_GetSlotList"),
        slots,
        "nothing was deleted so far"
    );
    expect(0, hsmctl(&daemon, &format!("partition delete {serial} --yes")));
    assert_eq!(module.slots(false).expect("C_GetSlotList"), before);
    expect(3, hsmctl(&daemon, &format!("partition delete {serial} --yes")));
}

#[test]
fn an_hsm_is_created_once_for_one_client_token() {
    let daemon = Daemon::start();
    for _ in 0..2 {
        expect(
            0,
            hsmctl(&daemon, "hsm create --subnet subnet-0a1b2c3d --client-token once1"),
        );
    }
    let listed = expect(0, hsmctl(&daemon, "hsm list"));
    let rows = listed.text.lines().filter(|line| line.starts_with("hsm-")).count();
    assert_eq!(rows, 2, "the first HSM and the new one:\n{}", listed.text);
    expect(3, hsmctl(&daemon, "hsm describe hsm-00000000"));
}
