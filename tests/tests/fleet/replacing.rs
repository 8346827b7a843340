//! A host is lost for good, and another one takes its place: the commands of docs/fleet.md, "Replacing a host", in their order.

use hsmd_tests::wait;

use super::administration::{hsms_of, own, text};
use super::nodes::Nodes;
use super::{SOON, log_in, make_key, private_keys, sign, standings};

#[test]
fn a_host_that_is_lost_is_replaced_and_its_node_cannot_come_back() {
    let mut nodes = Nodes::start(3);
    make_key(&nodes.all[0], "01");
    let (module, _) = nodes.client("");
    let session = log_in(&module);
    let key = private_keys(&module, session)[0];
    let hsm = text(&nodes.ctl(2, "hsm create"), "id");
    let lost = own(&nodes, 2);
    assert_eq!(hsms_of(&nodes, 0, &lost), [hsm.as_str()]);

    // A node that serves is not removed.
    let (removed, why) = nodes.try_ctl(0, &format!("fleet remove {lost} --yes"));
    assert!(!removed && why.contains("left or is fenced"), "{why}");
    nodes.all[2].kill9();
    let fenced = || standings(&nodes.all[0]).contains(&"fenced".to_owned()).then_some(());
    wait::until(SOON, fenced).expect("it is fenced");
    // The new one has the address of the lost one, so that no client file changes.
    let new = nodes.join_at(&nodes.servers[2]);
    let serves = || (standings(&nodes.all[0]) == ["fenced", "serving", "serving", "serving"]).then_some(());
    wait::until(SOON, serves).expect("the new node serves");
    nodes.all.push(new);
    let place = own(&nodes, 3);
    assert_ne!(place, lost);
    // One of the nodes with the fewest takes what the lost one had: two have none.
    nodes.ctl(0, &format!("fleet evacuate {lost}"));
    let taken = [own(&nodes, 1), place].map(|node| hsms_of(&nodes, 1, &node)).concat();
    assert_eq!(taken, [hsm]);
    nodes.ctl(0, &format!("fleet remove {lost} --yes"));
    assert_eq!(standings(&nodes.all[1]), ["removed", "serving", "serving", "serving"]);
    sign(&module, session, key).expect("C_Sign goes on");
    let there = nodes.all[3].module();
    let session = log_in(&there);
    sign(&there, session, private_keys(&there, session)[0]).expect("C_Sign through the new node");

    // The old disk turns up, on a host of another address: its node stays out.
    drop(there);
    nodes.all[3].stop();
    nodes.all[2].launch(&[]).expect("the daemon starts");
    let phase = || (nodes.try_ctl(2, "fleet status -o json").1.contains("removed")).then_some(());
    wait::until(SOON, phase).expect("it says why");
    assert_eq!(standings(&nodes.all[0]), ["left", "removed", "serving", "serving"]);
}
