//! What the appliance's shell did: an HSM's security officer and its tries, PINs, quotas, policies, roles, certificates, local
//! users, clones and restores. Keys that are copied for a join or leave are the keystore's sweeps; here are the records with them.

use super::super::moves;
use super::super::restore::{back_up, labelled, replacing, restore};
use super::{Row, join, one_hsm, serial, sweep};
use crate::control::access;
use crate::control::administrators::NewAdmin;
use crate::control::model::{Model, ModelError};
use crate::control::officers::administrator;
use crate::control::provision::NewPartition;
use crate::control::tests::clients::{A, B};
use hsmd_keystore::{KeySet, Quota, Role};
use hsmd_proto::ck::UserType;
use hsmd_proto::ids::OperationId;
use hsmd_proto::policy::Policy;
use std::sync::Arc;

const SO: &[u8] = b"so-pin-1";
const USER: &[u8] = b"user-pin-1";
const OTHER: &[u8] = b"user-pin-2";
const OFFICER: &[u8] = b"officer-pin";

fn provision(model: &Model, label: &str) -> Result<(), ModelError> {
    let new = NewPartition {
        label,
        so_pin: Some(SO),
        user_pin: Some(USER),
        ..NewPartition::default()
    };
    model.provision(&new).map(drop)
}

fn officer(model: &Model) {
    one_hsm(model);
    provision(model, "web").unwrap();
    model.initialise_hsm("", "vault", OFFICER, b"domain").unwrap();
}

/// A refusal of a wrong PIN is an answer, and so acknowledged.
fn wrong_officer(model: &Model) -> Result<(), ModelError> {
    match model.authorise("", Some(b"wrong")) {
        Err(ModelError::PinWrong(_)) => Ok(()),
        other => other,
    }
}

fn tried_officer(model: &Model) {
    officer(model);
    wrong_officer(model).unwrap();
}

fn nearly_locked_officer(model: &Model) {
    tried_officer(model);
    wrong_officer(model).unwrap();
}

fn ready(model: &Model) {
    one_hsm(model);
    provision(model, "web").unwrap();
}

fn keys(model: &Model, label: &str) -> Arc<KeySet> {
    model.partition_keys(&serial(model, label)).unwrap()
}

fn operation() -> OperationId {
    OperationId(hsmd_crypto::random::array())
}

fn locked(model: &Model) {
    ready(model);
    let keys = keys(model, "web");
    while !model.roles(&serial(model, "web")).unwrap()[1].locked {
        let _ = keys.login(&administrator(), UserType::USER, b"wrong-pin", operation());
    }
}

fn logged_in(model: &Model) {
    ready(model);
    keys(model, "web")
        .login(&administrator(), UserType::USER, USER, operation())
        .unwrap();
}

fn admin(model: &Model, name: &'static str, certificate: &'static str) -> Result<(), ModelError> {
    let new = NewAdmin {
        name,
        role: access::Role::Operator,
        certificate,
        issued: false,
    };
    model.register_admin(&new).map(drop)
}

/// Two groups of a partition each; the first has a token with a key, the second, if `both`, another.
fn two_groups(model: &Model, both: bool) {
    for label in ["a", "b"] {
        let hsm = model.create_hsm(&super::NewHsm::default()).unwrap();
        model.confirm(&hsm.id).unwrap();
        let pins = both || label == "a";
        let new = NewPartition {
            hsm: &hsm.id,
            label,
            so_pin: pins.then_some(SO),
            user_pin: pins.then_some(USER),
            ..NewPartition::default()
        };
        model.provision(&new).unwrap();
        if pins {
            moves::make_key(&keys(model, label), USER);
        }
        let group = model.create_group(label).unwrap();
        join(model, &group.arn, &[label]).unwrap();
    }
}

fn group(model: &Model, label: &str) -> String {
    let all = model.groups();
    all.into_iter().find(|group| group.label == label).unwrap().arn
}

fn clone(model: &Model) -> Result<(), ModelError> {
    model
        .clone_group(&group(model, "a"), &group(model, "b"), USER)
        .map(drop)
}

/// A partition with keys of its own that waits to be merged into a group.
fn joining(model: &Model) {
    two_groups(model, true);
    join(model, &group(model, "b"), &[]).unwrap();
    join(model, &group(model, "a"), &["a", "b"]).unwrap();
}

fn merge(model: &Model) -> Result<(), ModelError> {
    // Without the login that goes before it, which is an act of its own.
    model.merge_with(&keys(model, "a"), &administrator(), USER);
    match model.group(&group(model, "a"))?.state {
        "READY" => Ok(()),
        _ => Err(ModelError::Conflict),
    }
}

fn merged(model: &Model) {
    joining(model);
    merge(model).unwrap();
}

fn with_key(model: &Model) {
    ready(model);
    moves::make_key(&keys(model, "web"), USER);
}

const OFFICERS: &[Row] = &[
    ("InitializeHsm", ready, |model| {
        model.initialise_hsm("", "vault", OFFICER, b"domain").map(drop)
    }),
    ("a wrong PIN of the officer", officer, wrong_officer),
    ("the one that locks", nearly_locked_officer, wrong_officer),
    ("a right PIN of the officer", tried_officer, |model| {
        model.authorise("", Some(OFFICER))
    }),
    ("ZeroizeHsm", officer, |model| {
        model.zeroise_hsm(&model.hsms()[0].id).map(drop)
    }),
    ("CreateLocalClient", one_hsm, |model| {
        model.create_local_client(4711, "batch").map(drop)
    }),
    (
        "DeleteLocalClient",
        |model| {
            one_hsm(model);
            model.create_local_client(4711, "batch").unwrap();
        },
        |model| model.delete_local_client("batch").map(drop),
    ),
    ("RegisterCertificate", one_hsm, |model| admin(model, "alice", A)),
    (
        "RevokeCertificate",
        |model| admin(model, "alice", A).unwrap(),
        |model| {
            let id = model.administrators().remove(0).id;
            model.revoke_admin(&id).map(drop)
        },
    ),
    (
        "RegisterCertificate, the next one",
        |model| admin(model, "alice", A).unwrap(),
        |model| admin(model, "alice", B),
    ),
];

const PARTITIONS: &[Row] = &[
    ("CreatePartition with PINs", one_hsm, |model| provision(model, "web")),
    ("ResetPartitionPin", ready, |model| {
        model.reset_pin(&serial(model, "web"), SO, OTHER)
    }),
    ("ResizePartition", ready, |model| {
        model.resize(&serial(model, "web"), Some(7), Some(70_000)).map(drop)
    }),
    ("TightenPartition", ready, |model| {
        model.tighten(&serial(model, "web"), Policy::Strict).map(drop)
    }),
    ("UnlockRole", locked, |model| {
        model.unlock(&serial(model, "web"), "user").map(drop)
    }),
    ("RevokeLogin", logged_in, |model| {
        let id = model.logins(&serial(model, "web"))?.remove(0).id;
        model.end_login(&serial(model, "web"), &id.to_string())
    }),
    ("RekeyPartition", logged_in, |model| {
        let begun = model.begin_rekey(&serial(model, "web"), SO, Some(USER), None)?;
        let done = begun.run(&mut |_, _| {});
        done.map(drop).map_err(|_| ModelError::Conflict)
    }),
];

const KEYS: &[Row] = &[
    ("CloneGroup", |model| two_groups(model, true), clone),
    ("CloneGroup, no token there", |model| two_groups(model, false), clone),
    ("ModifyHapg, merging", joining, merge),
    ("ModifyHapg, leaving with keys", merged, |model| {
        join(model, &group(model, "a"), &["a"])
    }),
    ("Restore", with_key, |model| {
        let backup = back_up(model, "", "web");
        restore(model, &backup, &labelled("again")).map(drop)
    }),
    (
        "Restore in place",
        |model| {
            with_key(model);
            provision(model, "other").unwrap();
        },
        |model| {
            let backup = back_up(model, "", "web");
            restore(model, &backup, &replacing("other")).map(drop)
        },
    ),
    ("Restore of an HSM", with_key, |model| {
        let backup = back_up(model, &model.hsms()[0].serial, "");
        restore(model, &backup, &labelled("")).map(drop)
    }),
];

/// What these rows change and the view of the others does not show; says how many key sets are officers' that were not
/// initialised.
pub(super) fn view(model: &Model, lines: &mut Vec<String>) -> usize {
    let mut unused = 0;
    for hsm in model.hsms() {
        let Ok(officer) = model.officer(&hsm.id) else { continue };
        // What a stop left of InitializeHsm: the next one takes it.
        unused += usize::from(!officer.initialised && !hsm.officer.key_set.is_empty());
        let (made, label, tried) = (officer.initialised, officer.label, officer.tried);
        lines.push(format!("officer {made} {label} {tried} {}", officer.locked));
    }
    for partition in model.partitions("").unwrap() {
        let keys = model.partition_keys(&partition.serial).unwrap();
        let [so, user, _] = model.roles(&partition.serial).unwrap();
        let label = &partition.label;
        let Quota { objects, bytes } = keys.quota();
        lines.push(format!(
            "{label}: {objects} {bytes} {:?} so {} {} user {} {}",
            keys.policy(),
            so.initialised,
            so.locked,
            user.initialised,
            user.locked
        ));
        lines.push(format!("{label}: {} objects", keys.used().objects));
        // One of an administrator, who resets a PIN, is nobody's any more after a stop: it ends by its idle time.
        let users = keys.logins().into_iter().filter(|login| login.role == Role::User);
        lines.push(format!("{label}: {} logins", users.count()));
        if user.initialised && !user.locked {
            let right = [USER, OTHER].map(|pin| keys.check_user(&administrator(), pin, operation()).is_ok());
            lines.push(format!("{label}: PINs {right:?}"));
        }
    }
    lines.push(format!("{} local clients", model.state.lock().users.len()));
    for admin in model.administrators() {
        lines.push(format!("{} {} {}", admin.name, admin.role, admin.revoked_ms > 0));
    }
    unused
}

// INV-2, INV-8
#[test]
fn what_is_done_about_officers_and_certificates_is_done_or_not_done() {
    sweep(OFFICERS);
}

#[test]
fn what_is_done_with_a_partition_is_done_or_not_done() {
    sweep(PARTITIONS);
}

// INV-3
#[test]
fn keys_that_are_cloned_merged_or_restored_are_there_with_their_records_or_not() {
    sweep(KEYS);
}
