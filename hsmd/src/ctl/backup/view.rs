//! What the commands of backups show.

use super::super::output::{Table, list, record};
use hsmd_control::backup::{AutomaticBackup, Restored, Summary};
use hsmd_keystore::{BackupHeader, BackupKeySource, Contents};
use serde::Serialize;
use std::path::Path;

/// How a backup is sealed.
#[derive(Serialize)]
pub(super) struct HeaderView {
    key: &'static str,
    memory_kib: u32,
    passes: u32,
}

impl HeaderView {
    pub(super) fn new(header: &BackupHeader) -> Self {
        let (key, memory_kib, passes) = match header.source {
            BackupKeySource::Store => ("the store's own", 0, 0),
            BackupKeySource::KeyFile => ("key file", 0, 0),
            BackupKeySource::Passphrase { memory_kib, passes, .. } => ("passphrase", memory_kib, passes),
        };
        Self {
            key,
            memory_kib,
            passes,
        }
    }
}

impl Table for HeaderView {
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![("Key", self.key.to_owned())];
        if self.memory_kib > 0 {
            rows.push(("Memory", format!("{} KiB", self.memory_kib)));
            rows.push(("Passes", self.passes.to_string()));
        }
        record(rows)
    }
}

/// A key file that was made.
#[derive(Serialize)]
pub(super) struct KeyView {
    file: String,
}

impl KeyView {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.display().to_string(),
        }
    }
}

impl Table for KeyView {
    fn rows(&self) -> Vec<Vec<String>> {
        let note = "without this file no backup made with it can be read; keep it apart from them";
        record([("File", self.file.clone()), ("Note", note.to_owned())])
    }
}

/// A backup that was made.
#[derive(Serialize)]
pub(super) struct SummaryView {
    file: String,
    scope: String,
    name: String,
    created_ms: u64,
    node: String,
    version: String,
    revision: u64,
    key_sets: u32,
    objects: u64,
    documents: u64,
    bytes: u64,
}

impl SummaryView {
    pub(super) fn new(summary: Summary, file: &Path) -> Self {
        Self {
            file: file.display().to_string(),
            scope: summary.scope,
            name: summary.name,
            created_ms: summary.created_ms,
            node: summary.node,
            version: summary.version,
            revision: summary.revision,
            key_sets: summary.key_sets,
            objects: summary.objects,
            documents: summary.documents,
            bytes: summary.bytes,
        }
    }
}

impl Table for SummaryView {
    fn rows(&self) -> Vec<Vec<String>> {
        record([
            ("File", self.file.clone()),
            ("Scope", scope(&self.scope, &self.name)),
            ("Revision", self.revision.to_string()),
            ("Key sets", self.key_sets.to_string()),
            ("Objects", self.objects.to_string()),
            ("Records", self.documents.to_string()),
            ("Bytes", self.bytes.to_string()),
        ])
    }
}

/// A backup that was read to its end and is whole.
#[derive(Serialize)]
pub(super) struct ContentsView {
    whole: bool,
    scope: &'static str,
    name: String,
    created_ms: u64,
    node: String,
    version: String,
    revision: u64,
    dev: bool,
    documents: u64,
    latches: u64,
    bytes: u64,
    key_sets: Vec<KeySetView>,
}

#[derive(Serialize)]
struct KeySetView {
    id: String,
    policy: &'static str,
    token_label: Option<String>,
    objects: u64,
    pins: u64,
}

impl ContentsView {
    pub(super) fn new(contents: &Contents) -> Self {
        let manifest = &contents.manifest;
        let key_sets = contents.key_sets.iter().map(|key_set| KeySetView {
            id: key_set.id.to_string(),
            policy: key_set.policy.name(),
            token_label: key_set
                .label
                .map(|label| String::from_utf8_lossy(&label).trim_end().to_owned()),
            objects: key_set.objects,
            pins: key_set.pins,
        });
        Self {
            whole: true,
            scope: manifest.scope.name(),
            name: manifest.name.clone(),
            created_ms: manifest.created_ms,
            node: manifest.node.to_string(),
            version: manifest.version.clone(),
            revision: manifest.revision,
            dev: manifest.dev,
            documents: contents.documents,
            latches: contents.latches,
            bytes: contents.bytes,
            key_sets: key_sets.collect(),
        }
    }
}

impl Table for ContentsView {
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![
            ("State", "whole".to_owned()),
            ("Scope", scope(self.scope, &self.name)),
            ("Node", self.node.clone()),
            ("Version", self.version.clone()),
            ("Revision", self.revision.to_string()),
            ("Records", self.documents.to_string()),
            ("Bytes", self.bytes.to_string()),
        ];
        rows.extend(self.key_sets.iter().map(|key_set| {
            let label = key_set.token_label.as_deref().unwrap_or("not initialised");
            let text = format!("{label}: {} objects, policy {}", key_set.objects, key_set.policy);
            ("Key set", text)
        }));
        record(rows)
    }
}

/// The store's automatic backups.
#[derive(Serialize)]
pub(super) struct AutomaticList(Vec<AutomaticView>);

#[derive(Serialize)]
struct AutomaticView {
    revision: u64,
    bytes: u64,
    modified_ms: u64,
    file: String,
}

impl AutomaticList {
    pub(super) fn new(backups: Vec<AutomaticBackup>) -> Self {
        let view = |backup: AutomaticBackup| AutomaticView {
            revision: backup.revision,
            bytes: backup.bytes,
            modified_ms: backup.modified_ms,
            file: backup.file,
        };
        Self(backups.into_iter().map(view).collect())
    }
}

impl Table for AutomaticList {
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.0.iter().map(|backup| {
            [
                backup.revision.to_string(),
                backup.bytes.to_string(),
                backup.modified_ms.to_string(),
                backup.file.clone(),
            ]
        });
        list(["REVISION", "BYTES", "MODIFIED MS", "FILE"], rows)
    }
}

/// What a restore did, or would do.
#[derive(Serialize)]
pub(super) struct RestoredView {
    dry_run: bool,
    resurrect: bool,
    scope: String,
    name: String,
    created_ms: u64,
    hsm_arn: String,
    partitions: Vec<PartitionView>,
}

#[derive(Serialize)]
struct PartitionView {
    source: String,
    serial: String,
    label: String,
    slot: u32,
    replaced: bool,
    objects: u64,
    destroyed_since: u64,
    lost: u64,
    shared_with: Vec<String>,
}

impl RestoredView {
    pub(super) fn new(restored: Restored, resurrect: bool) -> Self {
        let backup = restored.backup.unwrap_or_default();
        let partitions = restored.partitions.into_iter().map(|partition| PartitionView {
            source: partition.source,
            serial: partition.serial,
            label: partition.label,
            slot: partition.slot,
            replaced: partition.replaced,
            objects: partition.objects,
            destroyed_since: partition.destroyed_since,
            lost: partition.lost,
            shared_with: partition.shared_with,
        });
        Self {
            dry_run: restored.dry_run,
            resurrect,
            scope: backup.scope,
            name: backup.name,
            created_ms: backup.created_ms,
            hsm_arn: restored.hsm_arn,
            partitions: partitions.collect(),
        }
    }

    /// Whether something goes, or comes back, that somebody might not want to.
    pub(super) fn changes_what_is_there(&self) -> bool {
        let resurrected = |partition: &PartitionView| self.resurrect && partition.destroyed_since > 0;
        self.partitions
            .iter()
            .any(|partition| partition.replaced || resurrected(partition))
    }

    /// What will happen.
    pub(super) fn in_words(&self) -> String {
        let mut words = Vec::new();
        for partition in &self.partitions {
            let name = if partition.replaced {
                &partition.serial
            } else {
                &partition.label
            };
            let mut sentence = format!("partition {name} gets the {} objects of the backup", partition.objects);
            if partition.replaced {
                sentence.push_str(&format!(
                    "; all its logins end, and {} objects that are not in the backup go",
                    partition.lost
                ));
            }
            if partition.destroyed_since > 0 {
                let fate = if self.resurrect { "live again" } else { "stay destroyed" };
                sentence.push_str(&format!(
                    "; {} that were destroyed since {fate}",
                    partition.destroyed_since
                ));
            }
            if !partition.shared_with.is_empty() {
                sentence.push_str(&format!(
                    "; the same for {}, which share its keys",
                    partition.shared_with.join(", ")
                ));
            }
            words.push(sentence);
        }
        words.join("\n")
    }
}

impl Table for RestoredView {
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![
            (
                "State",
                if self.dry_run { "would be restored" } else { "restored" }.to_owned(),
            ),
            ("Backup", scope(&self.scope, &self.name)),
        ];
        for partition in &self.partitions {
            let how = match (partition.replaced, partition.serial.as_str()) {
                (true, serial) => format!("in place of {serial}"),
                (false, "") => "as a new one".to_owned(),
                (false, serial) => format!("as {serial}, slot {}", partition.slot),
            };
            let text = format!("{} {how}: {} objects", partition.label, partition.objects);
            rows.push(("Partition", text));
            if partition.destroyed_since > 0 {
                let fate = if self.resurrect {
                    "live again"
                } else {
                    "stay destroyed (--resurrect brings them back)"
                };
                rows.push((
                    "",
                    format!(
                        "{} objects destroyed since the backup {fate}",
                        partition.destroyed_since
                    ),
                ));
            }
            if partition.lost > 0 {
                rows.push(("", format!("{} objects that are not in the backup go", partition.lost)));
            }
            if !partition.shared_with.is_empty() {
                rows.push(("", format!("the same keys: {}", partition.shared_with.join(", "))));
            }
        }
        record(rows)
    }
}

fn scope(scope: &str, name: &str) -> String {
    if name.is_empty() {
        scope.to_owned()
    } else {
        format!("{scope} {name}")
    }
}
