//! Backup and restore as the control plane sees them: which records and key sets belong to an HSM or a partition, and what becomes
//! of a backup's partitions here. The keys are the keystore's; both change in one batch, so a restore has happened or it has not.

use super::model::{Model, ModelError, State, Versioned, now_ms, write};
use super::partitions::check_label;
use super::records::{
    Document as _, HSM_PREFIX, HsmRecord, HsmState, PARTITION_PREFIX, PartitionRecord, SLOTS, SlotCounter,
};
use hsmd_keystore::{
    BackupDocuments, BackupRequest, BackupScope, DocumentWrite, Incoming, KeySet, Manifest, RestoreTarget,
    StageOptions, Staged,
};
use hsmd_proto::ids::{KeySetId, OperationId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an operator asks of a restore.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// The HSM that gets a new partition; empty: the only one.
    pub hsm: String,
    /// Label of a new partition; empty: that of the backup.
    pub label: String,
    /// What is replaced; empty: nothing.
    pub replace: String,
    /// Objects that were destroyed since the backup live again.
    pub resurrect: bool,
    /// Change nothing.
    pub dry_run: bool,
}

/// What became of a backup.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// What the backup says of itself.
    pub manifest: Manifest,
    /// The HSM's ARN; empty in a dry run of a new one.
    pub hsm_arn: String,
    /// Its partitions.
    pub partitions: Vec<RestoreRow>,
}

/// What became of a partition.
#[derive(Clone, Debug)]
pub struct RestoreRow {
    /// Its record in the backup.
    pub source: PartitionRecord,
    /// Its record here; in a dry run of a new one without serial number.
    pub record: PartitionRecord,
    /// What was there is replaced.
    pub replaced: bool,
    /// Objects in the backup.
    pub objects: u64,
    /// Of them, those that were destroyed since.
    pub destroyed_since: u64,
    /// Objects that go.
    pub lost: u64,
    /// Other partitions with the same keys.
    pub shared_with: Vec<String>,
}

/// A partition of a backup and where it goes.
struct Assigned {
    source: PartitionRecord,
    target: Target,
}

enum Target {
    /// A new key set of this id, for a new partition.
    New(KeySetId),
    /// This partition, and what its keys are now.
    Replace(PartitionRecord, Arc<KeySet>),
}

impl Model {
    /// What a backup of everything, of an HSM, or of a partition consists of.
    ///
    /// # Errors
    /// No such HSM or partition; keys that cannot be used.
    pub fn backup_request(&self, hsm: &str, partition: &str) -> Result<BackupRequest, ModelError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        if hsm.is_empty() && partition.is_empty() {
            return Ok(BackupRequest {
                scope: BackupScope::Daemon,
                name: String::new(),
                version,
                documents: BackupDocuments::All,
                key_sets: None,
            });
        }
        let (scope, name, records) = if partition.is_empty() {
            let hsm = self.hsm(hsm)?;
            (BackupScope::Hsm, hsm.serial.clone(), self.partitions(&hsm.id)?)
        } else {
            let record = self.partition_named(partition)?;
            (BackupScope::Partition, record.serial.clone(), vec![record])
        };
        // The free partition of an HSM holds nothing, and every HSM that offers one makes its own.
        let records: Vec<_> = records.into_iter().filter(|record| !record.free).collect();
        let mut names: Vec<_> = records.iter().map(PartitionRecord::name).collect();
        if scope == BackupScope::Hsm {
            names.push(self.hsm(hsm)?.name());
        }
        let mut key_sets = Vec::with_capacity(records.len());
        for record in &records {
            let missing = || ModelError::KeysMissing(record.serial.clone());
            let id = KeySetId::from_hex(&record.key_set).ok_or_else(missing)?;
            self.keystore.key_set(id).ok_or_else(missing)?;
            key_sets.push(id);
        }
        Ok(BackupRequest {
            scope,
            name,
            version,
            documents: BackupDocuments::Names(names),
            key_sets: Some(key_sets),
        })
    }

    /// Restores an HSM or a partition.
    ///
    /// # Errors
    /// What stands in the way, before anything is read; [`hsmd_keystore::RestoreError`]; the keystore's errors. Nothing was changed then.
    pub fn restore(
        &self,
        incoming: Incoming<'_>,
        options: &RestoreOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<RestoreReport, ModelError> {
        let scope = incoming.manifest().scope;
        if scope == BackupScope::Daemon {
            return Err(ModelError::Keystore(hsmd_keystore::RestoreError::Scope(scope).into()));
        }
        let documents = Documents::read(&incoming)?;
        let mut assigned = match scope {
            BackupScope::Partition => self.assign_partition(&documents, options)?,
            _ => self.assign_hsm(&documents, options)?,
        };
        let choose = |id: KeySetId| {
            let found = assigned.get(&id.to_string())?;
            Some(match &found.target {
                Target::New(new) => RestoreTarget::New(*new),
                Target::Replace(_, key_set) => RestoreTarget::Replace(Arc::clone(key_set)),
            })
        };
        let wanted = StageOptions {
            resurrect: options.resurrect,
            dry_run: options.dry_run,
        };
        let staged = self.keystore.stage(incoming, choose, wanted, progress)?;
        // In the order of the backup, as the staged sets are.
        let ordered = staged
            .sets()
            .iter()
            .map(|set| assigned.remove(&set.contents.id.to_string()));
        let ordered: Option<Vec<_>> = ordered.collect();
        let ordered = ordered.ok_or(ModelError::Damaged("partition".to_owned()))?;
        if options.dry_run {
            return Ok(self.preview(&staged, ordered, options));
        }
        self.finish_restore(staged, ordered, documents.hsm.as_ref(), options)
    }

    fn assign_partition(
        &self,
        documents: &Documents,
        options: &RestoreOptions,
    ) -> Result<BTreeMap<String, Assigned>, ModelError> {
        let [source] = documents.partitions.as_slice() else {
            return Err(ModelError::Damaged("partition".to_owned()));
        };
        let target = if options.replace.is_empty() {
            let hsm = self.hsm(&options.hsm)?;
            if !hsm.serves() {
                return Err(ModelError::State(hsm.state.name()));
            }
            let label = new_label(source, options);
            check_label(label)?;
            if self.state.lock().has_label(&hsm.id, label) {
                return Err(ModelError::LabelTaken);
            }
            Target::New(KeySetId(hsmd_crypto::random::array()))
        } else {
            self.replaced(&options.replace)?
        };
        let assigned = Assigned {
            source: source.clone(),
            target,
        };
        Ok(BTreeMap::from([(source.key_set.clone(), assigned)]))
    }

    /// Whether an administrator may change the partitions of the HSM that a restore is for. A dry run changes none; a new HSM has no
    /// officer yet.
    ///
    /// # Errors
    /// As [`Model::authorise`]; no such HSM or partition.
    pub(super) fn authorise_restore(
        &self,
        incoming: &Incoming<'_>,
        options: &RestoreOptions,
        pin: Option<&[u8]>,
    ) -> Result<(), ModelError> {
        let replaces = !options.replace.is_empty();
        let hsm = match incoming.manifest().scope {
            _ if options.dry_run => return Ok(()),
            BackupScope::Daemon => return Ok(()),
            BackupScope::Hsm if !replaces => return Ok(()),
            BackupScope::Hsm => self.hsm(&options.replace)?.id,
            BackupScope::Partition if replaces => self.partition_named(&options.replace)?.hsm,
            BackupScope::Partition => self.hsm(&options.hsm)?.id,
        };
        self.authorise(&hsm, pin)
    }

    fn assign_hsm(
        &self,
        documents: &Documents,
        options: &RestoreOptions,
    ) -> Result<BTreeMap<String, Assigned>, ModelError> {
        if documents.hsm.is_none() {
            return Err(ModelError::Damaged("hsm".to_owned()));
        }
        let mut assigned = BTreeMap::new();
        let there = match options.replace.as_str() {
            "" => None,
            name => Some(self.partitions(&self.hsm(name)?.id)?),
        };
        for source in &documents.partitions {
            let target = match &there {
                None => Target::New(KeySetId(hsmd_crypto::random::array())),
                Some(there) => {
                    let same = there.iter().find(|record| record.serial == source.serial);
                    let same = same.or_else(|| there.iter().find(|record| record.label == source.label));
                    // All of its partitions or none: a part of it would be neither before nor after.
                    let same = same.ok_or(ModelError::NotFound(
                        "partition of this serial number or label in the HSM",
                    ))?;
                    self.replaced(&same.serial)?
                }
            };
            let source = source.clone();
            assigned.insert(source.key_set.clone(), Assigned { source, target });
        }
        Ok(assigned)
    }

    fn replaced(&self, name: &str) -> Result<Target, ModelError> {
        let record = self.partition_named(name)?;
        let key_set = self.key_set(&record.key_set);
        let key_set = key_set.ok_or_else(|| ModelError::KeysMissing(record.serial.clone()))?;
        Ok(Target::Replace(record, key_set))
    }

    fn partition_named(&self, name: &str) -> Result<PartitionRecord, ModelError> {
        let serial = name.rsplit_once("/partition-").map_or(name, |(_, serial)| serial);
        let state = self.state.lock();
        let living = || {
            state
                .partitions
                .values()
                .map(|entry| &entry.record)
                .filter(|record| !record.deleting)
        };
        if let Some(record) = living().find(|record| record.serial == serial) {
            return Ok(record.clone());
        }
        let mut hits = living().filter(|record| !name.is_empty() && record.label == name);
        let record = hits.next().ok_or(ModelError::NotFound("partition of this name"))?;
        match hits.next() {
            None => Ok(record.clone()),
            Some(_) => Err(ModelError::Invalid(
                "partition",
                "a label that one partition has, or a serial number",
            )),
        }
    }

    fn preview(&self, staged: &Staged, assigned: Vec<Assigned>, options: &RestoreOptions) -> RestoreReport {
        let state = self.state.lock();
        let partitions = assigned.into_iter().zip(staged.sets()).map(|(assigned, set)| {
            let record = match &assigned.target {
                Target::Replace(record, _) => record.clone(),
                Target::New(_) => PartitionRecord {
                    serial: String::new(),
                    label: new_label(&assigned.source, options).to_owned(),
                    ..assigned.source.clone()
                },
            };
            row(&state, assigned, record, set)
        });
        RestoreReport {
            manifest: staged.manifest().clone(),
            hsm_arn: String::new(),
            partitions: partitions.collect(),
        }
    }

    /// Both planes in one batch.
    fn finish_restore(
        &self,
        staged: Staged,
        assigned: Vec<Assigned>,
        hsm: Option<&HsmRecord>,
        options: &RestoreOptions,
    ) -> Result<RestoreReport, ModelError> {
        // No token comes to be between the look and the change.
        let _still = self.tokens.write();
        let mut state = self.state.lock();
        let mut plan = Plan::new(&state);
        let owner = if options.replace.is_empty() {
            let owner = match (staged.manifest().scope, hsm) {
                (BackupScope::Hsm, Some(backup)) => self.new_hsm_of(&state, backup)?,
                _ => {
                    let entry = hsm_in(&state, &options.hsm)?;
                    plan.hsm_version = entry.version;
                    entry.record.clone()
                }
            };
            Some(owner)
        } else {
            None
        };
        plan.hsm = owner;
        let mut rows = Vec::with_capacity(assigned.len());
        for (assigned, set) in assigned.into_iter().zip(staged.sets()) {
            let policy = set.policy().name().to_owned();
            let record = match &assigned.target {
                Target::New(id) => {
                    let label = new_label(&assigned.source, options).to_owned();
                    self.plan_new(&state, &mut plan, &assigned.source, label, &policy, *id)?
                }
                Target::Replace(record, _) => {
                    plan.replaced(&state, record, &policy);
                    record.clone()
                }
            };
            rows.push(row(&state, assigned, record, set));
        }
        let manifest = staged.manifest().clone();
        let operation = OperationId(hsmd_crypto::random::array());
        let writes = plan.writes(&state);
        staged.finish(operation, &writes)?;
        let hsm_arn = plan.hsm.as_ref().map(|hsm| hsm.arn.clone()).unwrap_or_default();
        plan.apply(&mut state);
        drop(state);
        self.show();
        self.after_restore(&rows);
        Ok(RestoreReport {
            manifest,
            hsm_arn,
            partitions: rows,
        })
    }

    /// What may fail without harm: the next start does it again.
    fn after_restore(&self, rows: &[RestoreRow]) {
        let swept = self.sweep_key_sets();
        let hsms = rows.iter().map(|row| row.record.hsm.as_str());
        let freed = hsms.map(|hsm| self.ensure_free(hsm)).find(Result::is_err);
        if swept.is_err() || freed.is_some() {
            tracing::warn!("what a restore leaves is tidied up at the next start");
        }
        self.show();
    }

    /// A new HSM that is as the one in the backup, with an id, serial number and (if it is taken) address of its own.
    fn new_hsm_of(&self, state: &State, backup: &HsmRecord) -> Result<HsmRecord, ModelError> {
        let free = Some(backup.eni_ip.as_str()).filter(|ip| !ip.is_empty() && !state.has_address(ip, ""));
        let place = |address| self.place(state, &backup.subnet_id, address, None);
        let place = place(free).or_else(|_| place(None))?;
        let fresh = self.new_hsm(state, &super::NewHsm::default(), place);
        Ok(HsmRecord {
            id: fresh.id,
            serial: fresh.serial,
            arn: fresh.arn,
            state: HsmState::Running,
            home: fresh.home,
            eni_id: fresh.eni_id,
            eni_ip: fresh.eni_ip,
            vpc_id: fresh.vpc_id,
            availability_zone: fresh.availability_zone,
            created_ms: fresh.created_ms,
            client_token: String::new(),
            next_partition: 1,
            terminated_ms: 0,
            // Its PIN is in a key set that is not in the backup: the new one is initialised anew.
            officer: Default::default(),
            ..backup.clone()
        })
    }

    /// A partition of the plan's HSM. On one with a free slot the free partition becomes it, as with any new one.
    fn plan_new(
        &self,
        state: &State,
        plan: &mut Plan,
        source: &PartitionRecord,
        label: String,
        policy: &str,
        key_set: KeySetId,
    ) -> Result<PartitionRecord, ModelError> {
        let hsm = plan.hsm.as_mut().ok_or(ModelError::NotFound("HSM of this name"))?;
        if state.has_label(&hsm.id, &label) {
            return Err(ModelError::LabelTaken);
        }
        let mut record = PartitionRecord {
            hsm: hsm.id.clone(),
            label,
            policy: policy.to_owned(),
            key_set: key_set.to_string(),
            free: false,
            deleting: false,
            created_ms: now_ms(),
            ..source.clone()
        };
        let mut taken = state.partitions.values().filter(|entry| entry.record.hsm == hsm.id);
        let free = taken.clone().find(|entry| entry.record.free && !entry.record.deleting);
        if let Some(free) = free {
            record.serial.clone_from(&free.record.serial);
            record.slot = free.record.slot;
            plan.partitions.push((free.version, record.clone()));
            return Ok(record);
        }
        if hsm.next_partition > 999
            || taken.by_ref().count() + plan.partitions.len() >= self.config.max_partitions as usize
        {
            return Err(ModelError::NoRoom);
        }
        record.serial = format!("{}{:03}", hsm.serial, hsm.next_partition);
        record.slot = plan.next_slot;
        hsm.next_partition += 1;
        plan.next_slot += 1;
        plan.partitions.push((0, record.clone()));
        Ok(record)
    }
}

/// The HSM of this name that can have partitions.
fn hsm_in<'a>(state: &'a State, name: &str) -> Result<&'a Versioned<HsmRecord>, ModelError> {
    let mut hits = state.hsms.values().filter(|entry| match name {
        "" => entry.record.state != HsmState::Terminated,
        name => [&entry.record.id, &entry.record.serial, &entry.record.arn].contains(&&name.to_owned()),
    });
    let entry = hits.next().ok_or(ModelError::NotFound("HSM of this name"))?;
    if hits.next().is_some() {
        return Err(ModelError::Ambiguous);
    }
    if entry.record.serves() {
        Ok(entry)
    } else {
        Err(ModelError::State(entry.record.state.name()))
    }
}

/// The control plane's side of a restore.
struct Plan {
    /// The HSM that gets partitions; none: in place.
    hsm: Option<HsmRecord>,
    /// Its document's version; 0: new.
    hsm_version: u64,
    next_slot: u32,
    /// With their documents' versions.
    partitions: Vec<(u64, PartitionRecord)>,
}

impl Plan {
    fn new(state: &State) -> Self {
        Self {
            hsm: None,
            hsm_version: 0,
            next_slot: state.counter.record.next,
            partitions: Vec::new(),
        }
    }

    /// The policy of keys that are replaced may have become stricter: every partition that has them says so, and none is free.
    fn replaced(&mut self, state: &State, record: &PartitionRecord, policy: &str) {
        let sharers = state
            .partitions
            .values()
            .filter(|entry| entry.record.key_set == record.key_set);
        for entry in sharers.filter(|entry| entry.record.policy != policy || entry.record.free) {
            let mut changed = entry.record.clone();
            policy.clone_into(&mut changed.policy);
            changed.free = false;
            self.partitions.push((entry.version, changed));
        }
    }

    fn writes(&self, state: &State) -> Vec<DocumentWrite> {
        let partitions = self.partitions.iter();
        let mut writes: Vec<_> = partitions
            .map(|(version, record)| write(&record.name(), *version, Some(record)))
            .collect();
        if let Some(hsm) = &self.hsm {
            writes.push(write(&hsm.name(), self.hsm_version, Some(hsm)));
        }
        if self.next_slot != state.counter.record.next {
            let counter = SlotCounter { next: self.next_slot };
            writes.push(write(SLOTS, state.counter.version, Some(&counter)));
        }
        writes
    }

    /// What is durable is what is known (INV-2).
    fn apply(self, state: &mut State) {
        if self.next_slot != state.counter.record.next {
            state.counter = Versioned {
                version: state.counter.version + 1,
                record: SlotCounter { next: self.next_slot },
            };
        }
        if let Some(record) = self.hsm {
            let version = self.hsm_version + 1;
            state.hsms.insert(record.id.clone(), Versioned { version, record });
        }
        for (version, record) in self.partitions {
            let version = version + 1;
            state
                .partitions
                .insert(record.serial.clone(), Versioned { version, record });
        }
    }
}

/// The control plane's records in a backup.
struct Documents {
    hsm: Option<HsmRecord>,
    partitions: Vec<PartitionRecord>,
}

impl Documents {
    fn read(incoming: &Incoming<'_>) -> Result<Self, ModelError> {
        let mut documents = Self {
            hsm: None,
            partitions: Vec::new(),
        };
        for (name, value) in incoming.documents() {
            let damaged = |_| ModelError::Damaged(name.clone());
            if name.starts_with(HSM_PREFIX) {
                documents.hsm = Some(serde_json::from_slice(&value).map_err(damaged)?);
            } else if name.starts_with(PARTITION_PREFIX) {
                documents
                    .partitions
                    .push(serde_json::from_slice(&value).map_err(damaged)?);
            }
        }
        Ok(documents)
    }
}

impl State {
    fn has_label(&self, hsm: &str, label: &str) -> bool {
        let mut partitions = self.partitions.values().map(|entry| &entry.record);
        partitions.any(|record| record.hsm == hsm && record.label == label)
    }
}

fn new_label<'a>(source: &'a PartitionRecord, options: &'a RestoreOptions) -> &'a str {
    if options.label.is_empty() {
        &source.label
    } else {
        &options.label
    }
}

fn row(state: &State, assigned: Assigned, record: PartitionRecord, set: &hsmd_keystore::StagedSet) -> RestoreRow {
    let replaced = matches!(assigned.target, Target::Replace(..));
    let sharers = state.partitions.values().map(|entry| &entry.record);
    let sharers = sharers.filter(|other| replaced && other.key_set == record.key_set && other.serial != record.serial);
    RestoreRow {
        shared_with: sharers.map(|other| other.serial.clone()).collect(),
        source: assigned.source,
        replaced,
        objects: set.contents.objects,
        destroyed_since: set.destroyed_since,
        lost: set.lost,
        record,
    }
}
