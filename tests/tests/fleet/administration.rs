//! HSMs and groups of a fleet: made, joined, moved and left through whichever node; states as the nodes stand.

use cryptoki_sys::{CKA_CLASS, CKO_PRIVATE_KEY};
use hsmd_tests::daemon::LABEL;
use hsmd_tests::module::Module;
use hsmd_tests::template::number;
use hsmd_tests::wait;
use serde_json::Value;

use super::nodes::Nodes;
use super::{SOON, log_in, make_key, private_keys, sign};

pub(super) fn text(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {value}"))
        .to_owned()
}

/// The id of the node that is asked.
pub(super) fn own(nodes: &Nodes, at: usize) -> String {
    let status = nodes.ctl(at, "fleet status");
    let all = status["nodes"].as_array().expect("nodes");
    text(all.iter().find(|node| node["own"] == true).expect("its own"), "id")
}

/// The HSMs of a node, as another one tells.
pub(super) fn hsms_of(nodes: &Nodes, at: usize, node: &str) -> Vec<String> {
    let status = nodes.ctl(at, "fleet status");
    let all = status["nodes"].as_array().expect("nodes");
    let found = all.iter().find(|one| one["id"] == node).expect("the node");
    let hsms = found["hsms"].as_array().expect("HSMs").iter();
    hsms.map(|hsm| hsm.as_str().expect("an id").to_owned()).collect()
}

fn keys_of(nodes: &Nodes, at: usize) -> usize {
    let module: Module = nodes.all[at].module();
    let session = log_in(&module);
    private_keys(&module, session).len()
}

#[test]
fn a_group_over_three_nodes_is_changed_through_any_and_its_hsms_move_when_one_goes() {
    let mut nodes = Nodes::start(3);
    make_key(&nodes.all[0], "01");
    let (module, _) = nodes.client("");
    let session = log_in(&module);
    let key = private_keys(&module, session)[0];
    // What one node has made, the next one knows at once.
    let mut made = Vec::new();
    for at in [1, 2] {
        let hsm = text(&nodes.ctl(at, "hsm create"), "id");
        let label = format!("p{at}");
        let partition = nodes.ctl((at + 1) % 3, &format!("partition create {label} --hsm {hsm}"));
        let serial = text(&partition[0], "serial");
        nodes.ctl(0, &format!("group add web {serial}"));
        assert_eq!(text(&nodes.ctl(2, "group describe web"), "state"), "READY");
        made.push((hsm, serial));
    }
    let ids: Vec<_> = (0..3).map(|at| own(&nodes, at)).collect();
    assert_eq!(
        hsms_of(&nodes, 0, &ids[1]),
        [made[0].0.clone()],
        "its home is the node that made it"
    );
    // The file of GetConfig names the servers in the order of the members, all nodes.
    let config = text(
        &nodes.ctl(2, "client config app web --client-version 5.3"),
        "config_file",
    );
    for (number, server) in nodes.servers.iter().enumerate() {
        let port = server.rsplit(':').next().expect("a port");
        assert!(config.contains(&format!("ServerPort{number:02} = {port};")), "{config}");
    }

    let verified = |at: usize| nodes.ctl(at, "group verify web");
    let (here, there) = (verified(0), verified(2));
    assert!(here["equal"] == true && here["sum"] == there["sum"], "{here} {there}");
    let members = here["members"].as_array().expect("members");
    assert_eq!(members.len(), 3);
    assert!(
        members
            .iter()
            .all(|member| member["serves"] == true && member["objects"] == 2),
        "{here}"
    );

    // A member's node dies: its door is closed, and the group goes on; its HSM moves to another node.
    nodes.all[1].kill9();
    let state = || Some(text(&nodes.ctl(2, "group describe web"), "state")).filter(|state| state == "DEGRADED");
    wait::until(SOON, state).expect("DEGRADED when the node is fenced");
    sign(&module, session, key).expect("C_Sign");
    let moved = nodes.ctl(2, &format!("fleet evacuate {}", ids[1]));
    assert_eq!(text(&moved[0], "hsm"), made[0].0);
    assert!(hsms_of(&nodes, 0, &ids[1]).is_empty());
    assert_eq!(text(&nodes.ctl(0, "group describe web"), "state"), "READY");

    // It comes back; the HSM goes home; a member leaves with a copy; a node leaves in order.
    nodes.all[1].launch(&[]).expect("the daemon starts");
    let serves = || (super::standings(&nodes.all[0]) == vec!["serving"; 3]).then_some(());
    wait::until(SOON, serves).expect("it serves again");
    nodes.ctl(1, &format!("fleet move {} {}", made[0].0, ids[1]));
    assert_eq!(hsms_of(&nodes, 2, &ids[1]), [made[0].0.clone()]);
    let (moved, why) = nodes.try_ctl(0, &format!("fleet move {} {}", made[0].0, "0".repeat(32)));
    assert!(!moved && why.contains("Node"), "{why}");
    nodes.ctl(2, &format!("group remove web {} --yes", made[1].1));
    assert_eq!(text(&nodes.ctl(1, "group describe web"), "state"), "READY");
    nodes.ctl(2, "fleet leave --yes");
    assert_eq!(super::standings(&nodes.all[0]), ["left", "serving", "serving"]);
    assert!(hsms_of(&nodes, 0, &ids[2]).is_empty());
    assert_eq!(text(&nodes.ctl(0, "group describe web"), "state"), "READY");
    sign(&module, session, key).expect("C_Sign");
    let keys = [number(CKA_CLASS, CKO_PRIVATE_KEY)];
    assert_eq!(module.find(session, &keys).expect("C_FindObjects"), [key]);
    // The copy of the member that left is a token of its own, seen through every node.
    let partitions = nodes.ctl(0, "partition list");
    let labelled = |partition: &&Value| partition["token_label"] == LABEL;
    let tokens = partitions
        .as_array()
        .expect("partitions")
        .iter()
        .filter(labelled)
        .count();
    assert_eq!(tokens, 3, "{partitions}");
    assert!(keys_of(&nodes, 1) > 0);
}

#[test]
fn two_administrators_at_two_nodes_lose_no_change_of_each_other() {
    let nodes = Nodes::start(2);
    std::thread::scope(|scope| {
        for at in 0..2 {
            let nodes = &nodes;
            scope.spawn(move || {
                for number in 0..6 {
                    let hsm = text(&nodes.ctl(at, "hsm create"), "id");
                    nodes.ctl(1 - at, &format!("partition create p{number} --hsm {hsm}"));
                    nodes.ctl(at, &format!("group create g{at}-{number}"));
                }
            });
        }
    });
    for at in 0..2 {
        let count = |what: &str| nodes.ctl(at, what).as_array().map(Vec::len);
        assert_eq!(count("hsm list"), Some(13));
        assert_eq!(count("partition list"), Some(13));
        assert_eq!(count("group list"), Some(12));
        let slots = nodes.ctl(at, "partition list");
        let mut slots: Vec<_> = slots
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["slot"].clone())
            .collect();
        slots.sort_by_key(Value::as_u64);
        slots.dedup();
        assert_eq!(slots.len(), 13, "no slot twice");
    }
}
