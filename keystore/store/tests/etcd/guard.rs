//! Who may use a store, and what must not be served: another node, a second process of this one, another store's keys, a store that
//! went backwards, records that somebody has changed in etcd.

use std::sync::Arc;
use std::time::Duration;

use hsmd_store::{CommitError, EtcdOptions, EtcdTls, Fatal, OpenError, Outcome, Store, StoreKeys, Trouble, WriterId};
use parking_lot::Mutex;

use crate::engines::Bench;
use crate::etcd::cluster::Cluster;
use crate::etcd::server::{etcdctl, shared};
use crate::etcd::{fill, open, options, prefix, until};
use crate::model::{Model, batch, folder, keys, path, put};

/// Options that tell what stopped the store.
fn telling(options: EtcdOptions) -> (EtcdOptions, Arc<Mutex<Vec<Fatal>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&told);
    let options = EtcdOptions {
        on_fatal: Arc::new(move |fatal| hook.lock().push(fatal)),
        ..options
    };
    (options, told)
}

#[test]
fn another_node_is_refused_by_name_until_the_first_has_left() {
    let (dir, other, prefix) = (folder(), folder(), prefix());
    let store = open(options(&[shared()], &prefix, dir.path()));
    let second = || EtcdOptions {
        writer: WriterId([2; 16]),
        ..options(&[shared()], &prefix, other.path())
    };
    let refused = Store::open_etcd(second(), &keys()).map(|_| ());
    let Err(OpenError::InUse { node, host }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(node, "01".repeat(16));
    assert!(host.contains(&format!("process {}", std::process::id())), "{host}");
    assert!(matches!(
        store.commit(batch(1, vec![put("/a", 1, b"x")])),
        Ok(Outcome::Committed(_))
    ));
    store.close().unwrap();
    let store = open(second());
    assert_eq!(store.get(&path("/a")).unwrap().version, 1);
}

#[test]
fn a_second_process_of_a_node_fences_the_first() {
    let (dir, elsewhere, prefix) = (folder(), folder(), prefix());
    let (first, told) = telling(options(&[shared()], &prefix, dir.path()));
    let first = open(first);
    // From a copy of the folder, on another host: as long as the first shows that it lives it is refused.
    let copy = || EtcdOptions {
        beat: Duration::from_millis(200),
        dead: Duration::from_secs(2),
        ..options(&[shared()], &prefix, elsewhere.path())
    };
    assert!(matches!(
        Store::open_etcd(copy(), &keys()),
        Err(OpenError::InUse { .. })
    ));
    assert_eq!(*told.lock(), vec![]);
    // In the same place, which knows that the first is dead (here it is not): the first writes nothing any more.
    let second = open(options(&[shared()], &prefix, dir.path()));
    assert_eq!(
        first.commit(batch(1, vec![put("/a", 1, b"x")])),
        Err(CommitError::Stopped)
    );
    until("the hook", || *told.lock() == vec![Fatal::Fenced]);
    assert!(!first.may_serve());
    assert!(matches!(
        second.commit(batch(2, vec![put("/a", 1, b"y")])),
        Ok(Outcome::Committed(_))
    ));
    assert!(second.may_serve());
}

#[test]
fn other_keys_and_other_data_are_no_store_of_ours() {
    let (dir, other, prefix) = (folder(), folder(), prefix());
    let store = open(options(&[shared()], &prefix, dir.path()));
    store.close().unwrap();
    let others = StoreKeys::new([3; 32], [4; 32]);
    let refused = Store::open_etcd(options(&[shared()], &prefix, other.path()), &others);
    assert!(matches!(refused, Err(OpenError::WrongKeys)));
    let absent = EtcdOptions {
        create: false,
        ..options(&[shared()], &crate::etcd::prefix(), other.path())
    };
    assert!(matches!(Store::open_etcd(absent, &keys()), Err(OpenError::Lost)));
    let taken = crate::etcd::prefix();
    etcdctl(shared(), &["put", &format!("{taken}/something"), "else"]);
    let refused = Store::open_etcd(options(&[shared()], &taken, other.path()), &keys());
    assert!(matches!(refused, Err(OpenError::WrongKeys)));
}

#[test]
fn a_restored_snapshot_is_noticed_by_a_start_and_by_a_running_store() {
    let mut cluster = Cluster::start(1);
    let (dir, prefix) = (folder(), prefix());
    let ports = cluster.ports();
    let options = || options(&ports, &prefix, dir.path());
    let mut model = Model::default();
    let (first, told) = telling(options());
    let bench = Bench::of(open(first), None, false);
    fill(&bench, &mut model, 0, 30);
    let snapshot = cluster.dir.path().join("snapshot.db");
    etcdctl(ports[0], &["snapshot", "save", &snapshot.to_string_lossy()]);
    let old = model.clone();
    fill(&bench, &mut model, 100, 30);
    cluster.restore(&snapshot);
    until("the store stops", || bench.status().stopped);
    until("the hook", || *told.lock() == vec![Fatal::WentBack]);
    assert_eq!(bench.commit(batch(1, vec![])), Err(CommitError::Stopped));
    drop(bench.again(|| Store::memory(keys(), Default::default())));
    // INV-7: and no new process serves it, until the operator says so.
    let refused = Store::open_etcd(options(), &keys()).map(|_| ());
    let Err(OpenError::WentBack { seen, found }) = refused else {
        panic!("{refused:?}")
    };
    assert!(seen > found, "{seen} {found}");
    let accepted = EtcdOptions {
        accept_rollback: true,
        ..options()
    };
    let store = open(accepted);
    let records = |model: &Model| {
        model
            .records
            .iter()
            .map(|(path, record)| (path.clone(), record.0))
            .collect::<Vec<_>>()
    };
    assert_eq!(records(&Model::of(&store)), records(&old));
    assert!(store.check().is_clean());
    store.close().unwrap();
    open(options()).close().unwrap();
}

#[test]
fn what_somebody_changes_in_etcd_is_not_believed() {
    let (dir, prefix) = (folder(), prefix());
    let options = || options(&[shared()], &prefix, dir.path());
    let bench = Bench::of(open(options()), None, false);
    let mut model = Model::default();
    fill(&bench, &mut model, 0, 40);
    let record = |name: &str| format!("{prefix}/record{name}");
    etcdctl(shared(), &["put", &record("/ks/00/o/000"), "anything"]);
    etcdctl(shared(), &["del", &record("/ks/01/o/001")]);
    until("both groups are named", || bench.quarantined().len() == 2);
    // Memory keeps the truth; writes to these groups are refused, others go on.
    assert_eq!(bench.model(), model);
    let refused = bench.commit(batch(500, vec![put("/ks/00/o/000", 9, b"x")]));
    assert!(
        matches!(refused, Ok(Outcome::Conflict { .. }) | Err(CommitError::Quarantined(_))),
        "{refused:?}"
    );
    let version = model.version(&path("/ks/01/o/001"));
    let refused = bench.commit(batch(501, vec![put("/ks/01/o/001", version + 1, b"x")]));
    assert_eq!(refused, Err(CommitError::Quarantined("/ks/01".to_owned())));
    assert!(matches!(
        bench.commit(batch(502, vec![put("/ks/02/new", 1, b"x")])),
        Ok(Outcome::Committed(_))
    ));
    assert_eq!(bench.check().etcd, Some(false));
    assert_eq!(
        bench.accept("/ks/01"),
        Err(CommitError::Quarantined("/ks/01".to_owned()))
    );
    bench.close().unwrap();
    // A new process has no truth to compare with but the heads, which say that something is wrong.
    let (store, report) = Store::open_etcd(options(), &keys()).unwrap();
    let named: Vec<_> = report.quarantined.iter().map(|(group, _)| group.as_str()).collect();
    assert_eq!(named, ["/ks/00", "/ks/01"]);
    assert!(matches!(report.quarantined[1].1, Trouble::HeadMismatch { .. }));
    // The operator has looked at it.
    store.accept("/ks/01").unwrap();
    let version = store.get(&path("/ks/01/o/004")).unwrap().version;
    assert!(matches!(
        store.commit(batch(503, vec![put("/ks/01/o/004", version + 1, b"x")])),
        Ok(Outcome::Committed(_))
    ));
    store.close().unwrap();
    let (_, report) = Store::open_etcd(options(), &keys()).unwrap();
    assert_eq!(report.quarantined.len(), 1);
}

#[test]
fn etcd_knows_the_node_by_its_certificate() {
    let dir = folder();
    let file = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        leaf.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        (
            file(&format!("{name}.pem"), &certificate.pem()),
            file(&format!("{name}.key"), &key.serialize_pem()),
        )
    };
    let ca = file("ca.pem", &ca_certificate.pem());
    let ((server, server_key), node) = (issue("server"), issue("node"));
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let arguments = [
        "--cert-file",
        &text(&server),
        "--key-file",
        &text(&server_key),
        "--client-cert-auth",
        "--trusted-ca-file",
        &text(&ca),
    ];
    let cluster = Cluster::with(1, &arguments.map(str::to_owned));
    let with = |tls| EtcdOptions {
        tls,
        patience: Duration::from_secs(2),
        ..options(&cluster.ports(), "/tls", dir.path())
    };
    let known = EtcdTls {
        ca: ca.clone(),
        identity: Some(node),
    };
    for strange in [None, Some(EtcdTls { ca, identity: None })] {
        assert!(matches!(
            Store::open_etcd(with(strange), &keys()),
            Err(OpenError::Unreachable(_))
        ));
    }
    let store = open(EtcdOptions {
        patience: Duration::from_secs(20),
        ..with(Some(known))
    });
    assert!(matches!(
        store.commit(batch(1, vec![put("/a", 1, b"x")])),
        Ok(Outcome::Committed(_))
    ));
}
