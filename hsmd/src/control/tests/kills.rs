//! The daemon dies at each step of each operation of the control plane: for every file operation of the store that the change makes,
//! the machine stops there, with what was not synced kept or lost. After the next start the records are as before or as after,
//! never between (INV-2), and an operation that was acknowledged is there.

mod appliance;

use super::clients::{A, B};
use crate::config::Hsm;
use crate::control::groups::GroupChange;
use crate::control::hsms::HsmChange;
use crate::control::model::{Model, ModelError, NewHsm};
use crate::slots::Slots;
use hsmd_keystore::{Document, DocumentBatch, Faults, Keystore, MasterKey, Options, PinCost};
use hsmd_store::{Fault, Loss};
use std::path::Path;
use std::sync::Arc;

/// More steps than any operation has.
const MOST: u64 = 60;

/// An operation: what it is called, what is there before, and the operation.
type Row = (&'static str, fn(&Model), fn(&Model) -> Result<(), ModelError>);

fn nothing(_: &Model) {}

fn one_hsm(model: &Model) {
    let hsm = model.create_hsm(&NewHsm::default()).unwrap();
    model.confirm(&hsm.id).unwrap();
}

/// Two HSMs with a partition each, a group of the first, a client that sees it, tags.
fn scene(model: &Model) {
    for label in ["one", "two"] {
        let hsm = model.create_hsm(&NewHsm::default()).unwrap();
        model.confirm(&hsm.id).unwrap();
        model.create_partition(&hsm.id, label, None).unwrap();
    }
    let group = model.create_group("group").unwrap();
    join(model, &group.arn, &["one"]).unwrap();
    let client = model.create_client(Some("client"), A).unwrap();
    model.assign(&client.arn, &serial(model, "one")).unwrap();
    model
        .add_tags(&hsm(model, "one"), &[("stage".into(), "test".into())])
        .unwrap();
}

fn serial(model: &Model, label: &str) -> String {
    let all = model.partitions("").unwrap();
    all.into_iter()
        .find(|partition| partition.label == label)
        .unwrap()
        .serial
}

/// The ARN of the HSM of a partition.
fn hsm(model: &Model, label: &str) -> String {
    let all = model.partitions("").unwrap();
    let id = all.into_iter().find(|partition| partition.label == label).unwrap().hsm;
    model.hsm(&id).unwrap().arn
}

fn group(model: &Model) -> String {
    model.groups().remove(0).arn
}

fn client(model: &Model) -> String {
    model.clients().remove(0).arn
}

fn join(model: &Model, arn: &str, labels: &[&str]) -> Result<(), ModelError> {
    let change = GroupChange {
        members: Some(labels.iter().map(|label| serial(model, label)).collect()),
        ..GroupChange::default()
    };
    model.modify_group(arn, change).map(drop)
}

/// Records of a front end, by the name of the batch that writes them.
fn records(model: &Model, changes: &[(&str, Option<&str>)]) -> Result<(), ModelError> {
    let changes = changes.iter().map(|(key, value)| {
        let value = value.map(|value| value.as_bytes().to_vec());
        (format!("records/test/{key}"), value)
    });
    let batch = DocumentBatch {
        changes: changes.collect(),
        ..DocumentBatch::default()
    };
    model.keystore.apply_documents(&hsmd_crypto::random::array(), batch)?;
    Ok(())
}

const OPERATIONS: &[Row] = &[
    ("CreateHsm", nothing, |model| {
        model.create_hsm(&NewHsm::default()).map(drop)
    }),
    ("ModifyHsm", one_hsm, |model| {
        let change = HsmChange {
            eni_ip: Some("10.9.9.9".into()),
            external_id: Some("x".into()),
            ..HsmChange::default()
        };
        model.modify_hsm(&model.hsms()[0].arn, change).map(drop)
    }),
    ("DeleteHsm", one_hsm, |model| model.delete_hsm(&model.hsms()[0].arn)),
    ("DeleteHsm with partitions", scene, |model| {
        model.delete_hsm(&hsm(model, "two"))
    }),
    ("SuspendHsm", one_hsm, |model| model.suspend_hsm("")),
    (
        "ResumeHsm",
        |model| {
            one_hsm(model);
            model.suspend_hsm("").unwrap();
        },
        |model| model.resume_hsm(""),
    ),
    ("CreatePartition", one_hsm, |model| {
        model.create_partition("", "new", None).map(drop)
    }),
    ("DeletePartition", scene, |model| {
        model.delete_partition(&serial(model, "two"))
    }),
    ("free slot", one_hsm, |model| model.offer_free_slot(&model.hsms()[0].id)),
    ("CreateHapg", scene, |model| model.create_group("another").map(drop)),
    ("ModifyHapg, joining", scene, |model| {
        join(model, &group(model), &["one", "two"])
    }),
    ("ModifyHapg, leaving", scene, |model| join(model, &group(model), &[])),
    ("DeleteHapg", scene, |model| model.delete_group(&group(model))),
    ("CreateLunaClient", scene, |model| {
        model.create_client(Some("new"), B).map(drop)
    }),
    ("ModifyLunaClient", scene, |model| {
        model.modify_client(&client(model), B).map(drop)
    }),
    ("DeleteLunaClient", scene, |model| {
        model.delete_client(&client(model)).map(drop)
    }),
    ("AssignClient", scene, |model| {
        model.assign(&client(model), &serial(model, "two")).map(drop)
    }),
    ("RevokeClient", scene, |model| {
        model.revoke(&client(model), &serial(model, "one")).map(drop)
    }),
    ("AddTagsToResource", scene, |model| {
        model.add_tags(
            &hsm(model, "one"),
            &[("a".into(), "1".into()), ("b".into(), "2".into())],
        )
    }),
    ("RemoveTagsFromResource", scene, |model| {
        model.remove_tags(&hsm(model, "one"), &["stage".into()])
    }),
    ("Put", nothing, |model| records(model, &[("a", Some("1"))])),
    (
        "Batch",
        |model| records(model, &[("a", Some("1")), ("b", Some("1"))]).unwrap(),
        |model| records(model, &[("a", None), ("b", Some("2")), ("c", Some("2"))]),
    ),
];

/// What is there, without what chance or the clock has chosen.
fn view(model: &Model) -> String {
    let mut lines: Vec<String> = Vec::new();
    for hsm in model.hsms() {
        let tags = model.tags(&hsm.arn).unwrap_or_default();
        let address = Some(hsm.eni_ip).filter(|address| address == "10.9.9.9");
        lines.push(format!(
            "hsm {:?} {:?} {} {} {tags:?}",
            hsm.state, address, hsm.external_id, hsm.free_slot
        ));
    }
    for partition in model.partitions("").unwrap() {
        let key_set = model.key_set(&partition.key_set).is_some();
        lines.push(format!(
            "partition {} {} {} keys {key_set}",
            partition.label, partition.policy, partition.free
        ));
    }
    for group in model.groups() {
        let group = model.group(&group.arn).unwrap();
        lines.push(format!("group {} {:?}", group.record.label, group.record.members.len()));
    }
    for client in model.clients() {
        let seen = model.assignments(&client.arn).unwrap();
        let assigned: usize = seen.iter().map(|seen| seen.partitions.len() + seen.groups.len()).sum();
        lines.push(format!("client {} {} {assigned}", client.label, client.fingerprint));
    }
    for (name, Document { value, .. }) in model.keystore.documents("records/").unwrap() {
        lines.push(format!("{name} {value:?}"));
    }
    let unused = appliance::view(model, &mut lines);
    // A key set that nobody refers to is gone after a start.
    lines.push(format!("{} key sets", model.keystore.key_sets().len() - unused));
    lines.sort();
    lines.join("\n")
}

struct Bench {
    master: MasterKey,
    prepared: tempfile::TempDir,
}

fn options(faults: Faults) -> Options {
    Options {
        dev: true,
        pin_cost: PinCost::SMALL,
        segment_bytes: 2 << 20,
        on_fatal: Some(Arc::new(|_| {})),
        faults,
        ..Options::default()
    }
}

fn load(keystore: Keystore) -> Model {
    Model::load(keystore, Hsm::default(), Arc::new(Slots::default())).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Bench {
    /// A closed store in which everything is ready for an operation.
    fn new(prepare: fn(&Model)) -> Self {
        let bench = Self {
            master: MasterKey::random(),
            prepared: tempfile::tempdir().unwrap(),
        };
        let dir = bench.prepared.path().join("store");
        let keystore = Keystore::init(&dir, &bench.master, &options(Faults::default())).unwrap();
        let model = load(keystore.clone());
        prepare(&model);
        keystore.close().unwrap();
        bench
    }

    fn copy(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        copy(&self.prepared.path().join("store"), folder.path());
        folder
    }

    fn open(&self, dir: &Path, faults: Faults) -> Model {
        load(Keystore::open(dir, &self.master, &options(faults)).unwrap())
    }

    /// What a start finds after `act`.
    fn view_after(&self, act: fn(&Model) -> Result<(), ModelError>) -> String {
        let folder = self.copy();
        let model = self.open(folder.path(), Faults::default());
        act(&model).unwrap();
        model.keystore.close().unwrap();
        drop(model);
        view(&self.open(folder.path(), Faults::default()))
    }

    /// The machine stops at the n-th file operation: whether it came to that, whether the operation was acknowledged, and what
    /// the next start finds.
    fn crash(&self, act: fn(&Model) -> Result<(), ModelError>, nth: u64, loss: Loss) -> (bool, bool, String) {
        let folder = self.copy();
        let faults = Faults::tracking();
        let model = self.open(folder.path(), faults.clone());
        faults.plan(None, nth, 1, Fault::Crash);
        let acknowledged = act(&model).is_ok();
        drop(model);
        let crashed = faults.crashed();
        faults.clear();
        if crashed {
            faults.lose_unsynced(loss).unwrap();
        }
        (
            crashed,
            acknowledged,
            view(&self.open(folder.path(), Faults::default())),
        )
    }
}

// INV-2, INV-3
#[test]
fn an_operation_is_done_or_not_done_wherever_the_machine_stops() {
    sweep(OPERATIONS);
}

fn sweep(rows: &[Row]) {
    let (mut crashes, mut between) = (0, Vec::new());
    for (name, prepare, act) in rows {
        let bench = Bench::new(*prepare);
        let before = bench.view_after(|_| Ok(()));
        let after = bench.view_after(*act);
        assert_ne!(before, after, "{name} changes something that the view shows");
        for nth in 1..=MOST {
            let loss = if nth % 2 == 0 { Loss::Everything } else { Loss::Nothing };
            let (crashed, acknowledged, found) = bench.crash(*act, nth, loss);
            if !crashed {
                break;
            }
            crashes += 1;
            if found != after && (acknowledged || found != before) {
                between.push(format!("{name}, step {nth}, acknowledged {acknowledged}:\n{found}"));
            }
        }
    }
    assert!(between.is_empty(), "{}", between.join("\n\n"));
    assert!(crashes > 2 * rows.len(), "only {crashes} crashes");
}
