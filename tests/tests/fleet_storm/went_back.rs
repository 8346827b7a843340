//! Three etcd restored from an old snapshot under three daemons: nobody serves what is old until an operator has decided, and nothing has
//! happened if what is newer comes back.

use cryptoki_sys::{CKA_CLASS, CKA_ID, CKO_PRIVATE_KEY};
use hsmd_tests::daemon::binaries;
use hsmd_tests::faults::bed::{Bed, NODES};
use hsmd_tests::peers::run;
use hsmd_tests::served::Served;
use hsmd_tests::template::number;
use hsmd_tests::wait;

use crate::fleet::{log_in, make_key, sign};

/// The ids of the private keys that a node serves, each of which must sign.
fn served_by(node: &Served) -> Vec<u8> {
    let module = node.module();
    let session = log_in(&module);
    let found = module.find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]);
    let mut ids = Vec::new();
    for key in found.expect("C_FindObjects") {
        sign(&module, session, key).expect("C_Sign");
        ids.extend(module.get(session, key, CKA_ID).expect("CKA_ID"));
    }
    ids.sort_unstable();
    ids
}

fn destroy(node: &Served, id: u8) {
    let module = node.module();
    let session = log_in(&module);
    let found = module.find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]);
    let is_it = |key: &u64| module.get(session, *key, CKA_ID).is_ok_and(|own| own == [id]);
    let key = found.expect("C_FindObjects").into_iter().find(is_it);
    module.destroy(session, key.expect("the key")).expect("C_DestroyObject");
}

/// Each daemon ends rather than to serve what is old, and does not start on it.
fn nobody_serves(bed: &mut Bed) {
    for node in &mut bed.nodes {
        let ended = wait::until(wait::PATIENCE, || node.ended());
        assert!(ended.is_some(), "INV-7: it serves what is old:\n{}", node.log());
        node.kill9();
        assert!(node.launch(&[]).is_err(), "INV-7: it starts on what is old");
        assert!(node.log().contains("the store went backwards"), "{}", node.log());
    }
}

fn start_all(bed: &mut Bed) {
    for node in &mut bed.nodes {
        node.launch(&[]).expect("the daemon starts");
    }
    bed.wait_until_all_serve();
}

#[test]
fn an_old_snapshot_of_three_etcd_serves_nobody_until_an_operator_accepts_it() {
    let mut bed = Bed::start(&[]);
    make_key(&bed.nodes[0], "01");
    make_key(&bed.nodes[0], "02");
    bed.cluster.save("old");
    bed.wait_until_all_serve();
    destroy(&bed.nodes[1], 1);
    make_key(&bed.nodes[2], "03");

    bed.cluster.end_and_save("new");
    bed.cluster.restore("old");
    nobody_serves(&mut bed);
    // What is newer comes back: nothing has happened.
    bed.cluster.restore("new");
    start_all(&mut bed);
    for node in &bed.nodes {
        assert_eq!(served_by(node), [2, 3]);
    }

    bed.cluster.restore("old");
    nobody_serves(&mut bed);
    let accepted = run(bed
        .network
        .command(NODES[0], &binaries().join("hsmctl"))
        .args(["fleet", "accept-rollback", "--yes", "--config"])
        .arg(bed.nodes[0].config()));
    assert!(accepted.good, "{}", accepted.text);
    start_all(&mut bed);
    for node in &bed.nodes {
        // As docs/fleet-runbook.md warns: what was destroyed after the snapshot is there again, what was made is not.
        assert_eq!(served_by(node), [1, 2]);
    }
}
