//! What is wrong with the store, and with the self-tests, in words for log and status. What cannot be trusted is named by the keystore
//! ([`hsmd_keystore::Keystore::quarantined`]); this is the rest.

use hsmd_keystore::{Keystore, Notice};

/// What is wrong now; empty when all is well.
pub(crate) fn troubles(keystore: &Keystore) -> Vec<String> {
    let status = keystore.status();
    let on_disk = status.load.is_some() && status.store.etcd.is_none();
    let found = [
        (
            status.store.stopped,
            "the store has stopped after a failed sync; restart the daemon when the disk is well",
        ),
        (
            status.store.etcd.as_ref().is_some_and(|etcd| !etcd.serving),
            "etcd does not answer: nothing is served until it does",
        ),
        (
            status.store.full,
            "the disk is full: changes are refused, reads and signatures go on; make room",
        ),
        (
            on_disk && !status.store.sled && !status.store.full,
            "sled is being rebuilt; the journal keeps everything",
        ),
    ];
    let failed = keystore.self_tests().failed();
    let tests = (!failed.is_empty()).then(|| {
        let names = failed.join(", ");
        format!("self-tests have failed ({names}): partitions of the policy fips are not served")
    });
    let store = found.iter().filter(|(is, _)| *is).map(|(_, words)| (*words).to_owned());
    store.chain(tests).collect()
}

/// What the last start found and dealt with.
pub(crate) fn notices(keystore: &Keystore) -> Vec<String> {
    keystore
        .status()
        .load
        .map(|load| load.notices.iter().map(describe).collect())
        .unwrap_or_default()
}

fn describe(notice: &Notice) -> String {
    match notice {
        Notice::SledRebuilt(fault) => format!("sled's folder was rebuilt from backup and journal ({fault:?})"),
        Notice::JournalDamaged { segment, offset } => format!("journal segment {segment} is damaged at byte {offset}"),
        Notice::TornTail { bytes } => format!("{bytes} bytes of a write that was never acknowledged were dropped"),
        Notice::BackupDamaged(file) => format!("the backup {} does not open", file.display()),
        Notice::RootRepaired => "one of the two root files was repaired".to_owned(),
        Notice::EtcdVersion { version, fault } => format!("etcd {version} has a known fault: {fault}"),
        Notice::AnchorMissing => {
            "the file etcd.anchor was not there: a store that went backwards before this start was not noticed"
                .to_owned()
        }
    }
}

/// Tells the log what a start found.
pub(crate) fn report(keystore: &Keystore) {
    for notice in notices(keystore) {
        tracing::warn!(notice, "found at start");
    }
    for name in keystore.quarantined() {
        tracing::error!(name, "cannot be trusted and is not served");
    }
    for trouble in troubles(keystore) {
        tracing::error!(trouble, "found at start");
    }
}
