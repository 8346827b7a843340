//! The format level of a fleet: what the shipped program says of it; and two daemons of which one is the next release. That one is
//! built by `cargo xtask soak planted`, which runs the same test: a shipped program never says that it knows what it does not.

use std::fs;

use hsmd_tests::etcd::Etcd;
use hsmd_tests::peers::run;
use hsmd_tests::served::Served;
use hsmd_tests::wait;
use serde_json::Value;

use super::{SOON, log_in, make_key, pair, private_keys, sign, standings};

/// What `cargo xtask soak planted` sets when the daemons can be the next release.
const NEXT: &str = "level-2";

fn ctl(served: &Served, arguments: &str) -> (bool, String, Value) {
    let done = run(served.hsmctl().args(["-o", "json"]).args(arguments.split_whitespace()));
    let value = serde_json::from_slice(&done.output).unwrap_or_default();
    (done.good, done.text, value)
}

/// The level that the fleet has, as a node tells, and the highest that its program knows.
fn levels(served: &Served) -> (Value, Value) {
    let (good, text, shown) = ctl(served, "fleet level show");
    assert!(good, "{text}");
    (shown["level"].clone(), shown["highest"].clone())
}

fn serve_both(first: &Served) {
    let both = || (standings(first) == ["serving", "serving"]).then_some(());
    wait::until(SOON, both).expect("both serve");
}

/// Starts a daemon again as this release or as the next one.
fn becomes(served: &mut Served, next: bool) {
    served.stop();
    let file = served.data_dir().join("planted");
    if next {
        fs::write(file, NEXT).expect("a file");
    } else {
        fs::remove_file(file).expect("it was the next release");
    }
    served.launch(&[]).expect("the daemon starts");
}

#[test]
fn a_fleet_has_the_level_that_all_its_programs_know() {
    let etcd = Etcd::start();
    let (mut first, mut second) = pair(&etcd);
    serve_both(&first);
    for node in [&first, &second] {
        assert_eq!(levels(node), (Value::from(1), Value::from(1)));
        let (good, text, _) = ctl(node, "fleet level raise --yes");
        assert!(!good && text.contains("knows no format level above 1"), "{text}");
    }
    let (_, _, shown) = ctl(&second, "fleet level show");
    let told = shown["nodes"].as_array().expect("nodes").iter();
    assert_eq!(told.map(|node| node["level"].clone()).collect::<Vec<_>>(), [1, 1]);
    if std::env::var("HSMD_PLANTED").is_ok_and(|planted| planted == NEXT) {
        two_releases(&mut first, &mut second);
    }
}

fn two_releases(first: &mut Served, second: &mut Served) {
    // Nodes of two adjacent releases work together.
    becomes(first, true);
    serve_both(first);
    make_key(first, "01");
    let there = second.module();
    let session = log_in(&there);
    let key = wait::until(SOON, || private_keys(&there, session).first().copied()).expect("the older node has it");
    sign(&there, session, key).expect("C_Sign through the older node");
    let (_, _, status) = ctl(second, "fleet status");
    let older = status["nodes"].as_array().expect("nodes").iter();
    let older = older.clone().find(|node| node["own"] == true).expect("its own")["id"].clone();
    let older = older.as_str().expect("an id");
    let (good, text, _) = ctl(first, "fleet level raise --yes");
    assert!(
        !good && text.contains(older) && text.contains("up to level 1"),
        "{text}"
    );
    // One that is gone could come back as it was.
    second.stop();
    let (good, text, _) = ctl(first, "fleet level raise --yes");
    assert!(!good && text.contains(older), "{text}");
    second.launch(&[]).expect("the daemon starts");
    becomes(second, true);
    serve_both(first);
    let (good, text, shown) = ctl(second, "fleet level raise --yes");
    assert!(good && shown["level"] == 2, "{text}");
    let has_it = || (levels(first) == (Value::from(2), Value::from(2))).then_some(());
    wait::until(SOON, has_it).expect("the other node has seen it");

    // An older program rests; the fleet goes on; with the newer one it is back.
    becomes(second, false);
    let phase = || (ctl(second, "fleet status").2["phase"] == "wrong level").then_some(());
    wait::until(SOON, phase).expect("it does not enter");
    assert!(
        second.log().contains("format level that this program does not know"),
        "{}",
        second.log()
    );
    assert_eq!(standings(first), ["left", "serving"]);
    let here = first.module();
    let session = log_in(&here);
    sign(&here, session, private_keys(&here, session)[0]).expect("C_Sign goes on");
    becomes(second, true);
    serve_both(first);
}
