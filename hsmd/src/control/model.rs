//! HSMs and partitions: what is recorded, and how it changes. One lock; each change is one batch of documents that
//! compares versions, so that a second node would be noticed.

use super::administrators::{ADMIN_PREFIX, AdminRecord, Callers};
use super::certificate::CertificateError;
use super::moves::Moves;
use super::records::{
    CLIENT_PREFIX, ClientRecord, Document, FORMAT, GROUP_PREFIX, GroupRecord, HSM_PREFIX, HsmRecord, HsmState, Officer,
    PARTITION_PREFIX, PartitionRecord, SLOTS, SlotCounter, Tags, USER_PREFIX, UserRecord,
};
use super::strangers::Strangers;
use super::subnets::Place;
use crate::config::{Hsm as Config, Subnet};
use crate::pki::{AuthorityError, Pins, RequestError};
use crate::slots::{Slot, Slots};
use hsmd_keystore::{DocumentOutcome, DocumentWrite, Error, Identity, KeySetChange, Keystore};
use hsmd_proto::ids::{JoinId, KeySetId, OperationId, SlotId};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The control plane's state, and what changes it. Its calls block on the store.
pub struct Model {
    pub(super) keystore: Keystore,
    pub(super) config: Config,
    pub(super) subnets: Vec<Subnet>,
    pub(super) slots: Arc<Slots>,
    pub(super) state: Mutex<State>,
    /// Held for reading while a token is initialised, for writing while a change depends on tokens not being so.
    pub(super) tokens: RwLock<()>,
    /// The certificates of clients: what the data plane lets in.
    pub(super) client_pins: Arc<Pins>,
    /// The certificates of administrators, and who they are.
    pub(super) callers: Callers,
    pub(super) moves: Moves,
    /// Key sets and copied objects that nothing refers to, in a fleet.
    pub(super) strangers: (Strangers<KeySetId>, Strangers<JoinId>),
}

/// All records with the versions of their documents.
#[derive(Default)]
pub(super) struct State {
    pub(super) hsms: BTreeMap<String, Versioned<HsmRecord>>,
    pub(super) partitions: BTreeMap<String, Versioned<PartitionRecord>>,
    pub(super) groups: BTreeMap<String, Versioned<GroupRecord>>,
    pub(super) clients: BTreeMap<String, Versioned<ClientRecord>>,
    pub(super) administrators: BTreeMap<String, Versioned<AdminRecord>>,
    pub(super) users: BTreeMap<String, Versioned<UserRecord>>,
    pub(super) counter: Versioned<SlotCounter>,
}

#[derive(Clone, Default)]
pub(super) struct Versioned<T> {
    pub(super) version: u64,
    pub(super) record: T,
}

/// What CreateHsm is given, checked.
#[derive(Clone, Debug, Default)]
pub struct NewHsm {
    /// `subnet-xxxxxxxx`.
    pub subnet_id: String,
    /// The administrator's SSH public key.
    pub ssh_key: String,
    /// An address, or empty.
    pub eni_ip: String,
    /// The role.
    pub iam_role_arn: String,
    /// As given.
    pub external_id: String,
    /// PRODUCTION.
    pub subscription_type: String,
    /// Makes the call idempotent; empty: it is not.
    pub client_token: String,
    /// As given.
    pub syslog_ip: String,
    /// Offer one uninitialised partition after all others.
    pub free_slot: bool,
}

/// Why a change is refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No such HSM or partition.
    #[error("there is no {0}")]
    NotFound(&'static str),
    /// More than one HSM fits.
    #[error("there are several HSMs: name one by id, serial number or ARN")]
    Ambiguous,
    /// The same client token with other arguments.
    #[error("the client token was used with other arguments")]
    TokenReused,
    /// The HSM is not in a state that allows it.
    #[error("the HSM is {0}")]
    State(&'static str),
    /// No address of the subnet is free.
    #[error("SubnetId: the subnet has no free address")]
    SubnetFull,
    /// A PIN that is not the right one; it was counted.
    #[error("the PIN of the {0} is not right")]
    PinWrong(&'static str),
    /// A PIN that has to be given.
    #[error("the PIN of the HSM's security officer is needed; the configuration says so (hsm.require_so)")]
    PinNeeded,
    /// Wrong PINs have closed a role.
    #[error("the {0} is locked after wrong PINs")]
    RoleLocked(&'static str),
    /// A role without PIN.
    #[error("the {0} has no PIN yet")]
    NoPin(&'static str),
    /// InitializeHsm has been done.
    #[error("the HSM is initialised already; ZeroizeHsm destroys what it holds")]
    Initialised,
    /// InitializeHsm has not been done.
    #[error("the HSM has no security officer; InitializeHsm gives it one")]
    NotInitialised,
    /// No login of this id.
    #[error("there is no such login")]
    NoLogin,
    /// A log level that is none, or no log.
    #[error("{0}")]
    Log(String),
    /// A token's word that has no better name here.
    #[error("the token answered {0}")]
    Token(hsmd_proto::ck::Rv),
    /// All partition numbers of the HSM are used.
    #[error("the HSM has no room for another partition")]
    NoRoom,
    /// A label of the wrong form.
    #[error("a label has 1 to 32 bytes and no control characters")]
    Label,
    /// A label that another partition has.
    #[error("another partition of the HSM has this label")]
    LabelTaken,
    /// No policy of this name.
    #[error("a policy is standard, strict, fips or legacy")]
    Policy,
    /// A record does not read.
    #[error("the record {0} cannot be read")]
    Damaged(String),
    /// Somebody else changed the same records.
    #[error("the records were changed by somebody else; try again")]
    Conflict,
    /// A required field without a value: its name and rule.
    #[error("{0} is missing: it must be {1}")]
    Missing(&'static str, &'static str),
    /// A field with a value that the model does not allow: its name and rule.
    #[error("{0} must be {1}")]
    Invalid(&'static str, &'static str),
    /// What a field names does not exist, or not here.
    #[error("{0}: there is no {1} of this name")]
    Unknown(&'static str, &'static str),
    /// Partitions that hold keys stand in the way.
    #[error("the HSM has {0} initialised partitions; delete them first")]
    HoldsTokens(usize),
    /// The partition is a member of a group.
    #[error("a partition is a member of {0}; take it out of the group first")]
    InGroup(String),
    /// A join or leave of the group is open.
    #[error("{0} is UPDATING; try again when it is READY")]
    GroupUpdating(String),
    /// Keys of a group could not be copied, and why.
    #[error("the keys could not be copied: {0}")]
    NotCopied(String),
    /// The partition is joining a group.
    #[error(
        "the partition's keys are being merged into a group's; wait for it, or take the partition out of the group"
    )]
    Merging,
    /// Each client with wrong PINs has a counter.
    #[error("wrong PINs of too many clients are counted; unlock the partition's roles first")]
    TooManyCounters,
    /// Members of one group have one policy.
    #[error("partition {0} has another policy than the group")]
    PolicyDiffers(String),
    /// A key set that does not load.
    #[error("the keys of partition {0} cannot be used; see `hsmctl status`")]
    KeysMissing(String),
    /// A group without members has no configuration.
    #[error("{0} has no members")]
    NoMembers(String),
    /// A certificate that belongs to a client.
    #[error("the certificate is that of {0}")]
    CertificateTaken(String),
    /// A local user that is a client, with another label.
    #[error("the user is a client already, labelled {0}")]
    UserTaken(String),
    /// A certificate that was revoked stays so.
    #[error("the certificate was revoked as {0}; make a new one")]
    CertificateRevoked(String),
    /// A name has one role.
    #[error("this name is registered as {0}: choose another name, or revoke those certificates first")]
    RoleDiffers(String),
    /// A request that cannot be granted.
    #[error("request: {0}")]
    Request(#[from] RequestError),
    /// The authority's word.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A certificate that cannot be registered.
    #[error("Certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// An address that another HSM has.
    #[error("EniIp: another HSM has this address")]
    AddressTaken,
    /// More tags than a resource may have.
    #[error("a resource has at most 50 tags")]
    TooManyTags,
    /// The record is not what the caller has read.
    #[error("the group was changed since LastModifiedTimestamp was that; read it again")]
    Changed,
    /// A node is to give away its HSMs, and nobody can take them.
    #[error("no other node of the fleet serves")]
    NoOtherNode,
    /// The keystore's word.
    #[error(transparent)]
    Keystore(#[from] Error),
}

impl Model {
    /// Reads all records, finishes what a stop interrupted, and shows the slots.
    ///
    /// # Errors
    /// Damaged records and the keystore's errors.
    pub(crate) fn load(keystore: Keystore, config: Config, slots: Arc<Slots>) -> Result<Self, ModelError> {
        let state = State::read(&keystore)?;
        let model = Self {
            keystore,
            config,
            subnets: Vec::new(),
            slots,
            state: Mutex::new(state),
            tokens: RwLock::new(()),
            client_pins: Arc::default(),
            callers: Callers::default(),
            moves: Moves::default(),
            strangers: Default::default(),
        };
        model.pin_clients(&model.state.lock());
        model.pin_administrators(&model.state.lock());
        model.finish_interrupted()?;
        model.show();
        Ok(model)
    }

    /// Reads all records again: another node has changed some. Says which clients are no more: their connections are to end.
    ///
    /// # Errors
    /// As [`Model::load`]; what was known stays.
    pub(crate) fn refresh(&self) -> Result<Vec<Identity>, ModelError> {
        let mut state = self.state.lock();
        let mut gone = state.identities();
        *state = State::read(&self.keystore)?;
        let now = state.identities();
        gone.retain(|identity| !now.contains(identity));
        self.pin_clients(&state);
        self.pin_administrators(&state);
        drop(state);
        self.show();
        Ok(gone)
    }

    /// Records an HSM as PENDING. The same client token again gives the HSM that it made.
    ///
    /// # Errors
    /// A client token with other arguments; the keystore's errors.
    pub fn create_hsm(&self, new: &NewHsm) -> Result<HsmRecord, ModelError> {
        let mut state = self.state.lock();
        let same = state
            .hsms
            .values()
            .find(|hsm| !new.client_token.is_empty() && hsm.record.client_token == new.client_token);
        if let Some(hsm) = same {
            return if is_same(&hsm.record, new) {
                Ok(hsm.record.clone())
            } else {
                Err(ModelError::TokenReused)
            };
        }
        let address = Some(new.eni_ip.as_str()).filter(|address| !address.is_empty());
        let place = self.place(&state, &new.subnet_id, address, None)?;
        let record = self.new_hsm(&state, new, place);
        let write = write(&record.name(), 0, Some(&record));
        self.commit(vec![write])?;
        let versioned = Versioned {
            version: 1,
            record: record.clone(),
        };
        state.hsms.insert(record.id.clone(), versioned);
        Ok(record)
    }

    /// The home node confirms an HSM: PENDING or UPDATING becomes RUNNING, and a free slot appears if it is to have one.
    ///
    /// # Errors
    /// The keystore's errors; the HSM stays PENDING then, until the next start.
    pub fn confirm(&self, id: &str) -> Result<(), ModelError> {
        let waits = |hsm: &Versioned<HsmRecord>| matches!(hsm.record.state, HsmState::Pending | HsmState::Updating);
        if self.state.lock().hsms.get(id).is_some_and(waits) {
            self.change_state(id, HsmState::Running)?;
        }
        self.ensure_free(id)?;
        self.show();
        Ok(())
    }

    /// All HSMs in the order of their ids.
    #[must_use]
    pub fn hsms(&self) -> Vec<HsmRecord> {
        self.state.lock().hsms.values().map(|hsm| hsm.record.clone()).collect()
    }

    /// The HSM of this id, serial number or ARN; with an empty name the only one.
    ///
    /// # Errors
    /// [`ModelError::NotFound`], [`ModelError::Ambiguous`].
    pub fn hsm(&self, name: &str) -> Result<HsmRecord, ModelError> {
        let state = self.state.lock();
        let mut hits = state.hsms.values().map(|hsm| &hsm.record).filter(|hsm| match name {
            "" => hsm.state != HsmState::Terminated,
            name => hsm.id == name || hsm.serial == name || hsm.arn == name,
        });
        let first = hits.next().ok_or(ModelError::NotFound("HSM of this name"))?;
        if hits.next().is_some() {
            return Err(ModelError::Ambiguous);
        }
        Ok(first.clone())
    }

    /// Sets whether an HSM offers a free slot; `hsmd dev --free-slot` on an existing store.
    ///
    /// # Errors
    /// The keystore's errors.
    pub fn offer_free_slot(&self, id: &str) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let hsm = state.hsms.get_mut(id).ok_or(ModelError::NotFound("HSM of this name"))?;
        if !hsm.record.free_slot {
            let mut record = hsm.record.clone();
            record.free_slot = true;
            self.replace(hsm, record)?;
        }
        drop(state);
        self.ensure_free(id)?;
        self.show();
        Ok(())
    }

    /// While this is held, no partition changes its keys or goes: what C_InitToken needs.
    pub(crate) fn steady(&self) -> RwLockReadGuard<'_, ()> {
        self.tokens.read()
    }

    pub(super) fn change_state(&self, id: &str, next: HsmState) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let hsm = state.hsms.get_mut(id).ok_or(ModelError::NotFound("HSM of this name"))?;
        if !hsm.record.state.may_become(next) {
            return Err(ModelError::State(hsm.record.state.name()));
        }
        let mut record = hsm.record.clone();
        record.state = next;
        if next == HsmState::Terminated {
            record.terminated_ms = now_ms();
        }
        self.replace(hsm, record)
    }

    /// What a stop between two batches left behind.
    fn finish_interrupted(&self) -> Result<(), ModelError> {
        let node = self.keystore.node().to_string();
        for hsm in self.hsms() {
            if matches!(hsm.state, HsmState::Pending | HsmState::Updating) && hsm.home == node {
                self.change_state(&hsm.id, HsmState::Running)?;
            }
        }
        for hsm in self.hsms().iter().filter(|hsm| hsm.officer.zeroizing) {
            self.finish_zeroizing(&hsm.id)?;
        }
        self.align_policies()?;
        for serial in self.deleting() {
            self.finish_deletion(&serial)?;
        }
        for hsm in self.hsms().iter().filter(|hsm| hsm.state == HsmState::Terminating) {
            self.finish_hsm(&hsm.id)?;
        }
        self.forget_terminated()?;
        self.finish_groups();
        self.sweep_key_sets()?;
        self.allot_virtual_slots()?;
        for slot in self.taken_slots() {
            self.mark_taken(slot)?;
        }
        for hsm in self.hsms() {
            self.ensure_free(&hsm.id)?;
        }
        Ok(())
    }

    /// Makes the slots that applications see from the records.
    pub(super) fn show(&self) {
        let state = self.state.lock();
        let slots = state
            .partitions
            .values()
            .filter(|entry| !entry.record.deleting)
            .map(|entry| {
                let record = &entry.record;
                let serves = state.hsms.get(&record.hsm).is_some_and(|hsm| hsm.record.serves());
                let key_set = KeySetId::from_hex(&record.key_set).filter(|_| serves);
                Slot {
                    id: SlotId(record.slot),
                    serial: record.serial.clone(),
                    hsm: record.hsm.clone(),
                    group: None,
                    policy: record.policy(),
                    free: record.free,
                    key_set: key_set.and_then(|id| self.keystore.key_set(id)),
                }
            });
        self.moves.look(&state);
        let assigned = self.assigned(&state);
        self.slots.replace(slots.chain(self.virtual_slots(&state)), assigned);
    }

    pub(super) fn commit(&self, writes: Vec<DocumentWrite>) -> Result<(), ModelError> {
        self.commit_with(writes, Vec::new())
    }

    /// As [`Model::commit`], with changes of key sets in the same batch.
    pub(super) fn commit_with(&self, writes: Vec<DocumentWrite>, keys: Vec<KeySetChange>) -> Result<(), ModelError> {
        let operation = OperationId(hsmd_crypto::random::array());
        match self.keystore.commit_with_key_sets(operation, writes, keys)? {
            DocumentOutcome::Committed { .. } => Ok(()),
            DocumentOutcome::Conflict { .. } => Err(ModelError::Conflict),
        }
    }

    /// Writes the new form of a record, and takes it over once it is durable (INV-2).
    pub(super) fn replace<T: Document>(&self, entry: &mut Versioned<T>, record: T) -> Result<(), ModelError> {
        self.commit(vec![write(&record.name(), entry.version, Some(&record))])?;
        *entry = Versioned {
            version: entry.version + 1,
            record,
        };
        Ok(())
    }

    /// The ARN of something new.
    pub(super) fn arn(&self, id: &str) -> String {
        format!("arn:aws:cloudhsm:{}:{}:{id}", self.config.region, self.config.account)
    }

    pub(super) fn new_hsm(&self, state: &State, new: &NewHsm, place: Place) -> HsmRecord {
        let id = fresh(|| format!("hsm-{}", hex8()), |id| state.hsms.contains_key(id));
        let serial = fresh(six_digits, |serial| {
            state.hsms.values().any(|hsm| hsm.record.serial == *serial)
        });
        HsmRecord {
            format: FORMAT,
            arn: self.arn(&id),
            id,
            serial,
            state: HsmState::Pending,
            home: self.keystore.node().to_string(),
            subnet_id: new.subnet_id.clone(),
            vpc_id: place.vpc,
            eni_id: format!("eni-{}", hex8()),
            eni_ip: place.address,
            ssh_key: new.ssh_key.clone(),
            iam_role_arn: new.iam_role_arn.clone(),
            external_id: new.external_id.clone(),
            syslog_ip: new.syslog_ip.clone(),
            subscription_type: new.subscription_type.clone(),
            client_token: new.client_token.clone(),
            availability_zone: place.zone,
            created_ms: now_ms(),
            free_slot: new.free_slot,
            next_partition: 1,
            terminated_ms: 0,
            tags: Tags::new(),
            officer: Officer::default(),
        }
    }
}

impl State {
    fn read(keystore: &Keystore) -> Result<Self, ModelError> {
        Ok(Self {
            hsms: read_all(keystore, HSM_PREFIX)?,
            partitions: read_all(keystore, PARTITION_PREFIX)?,
            groups: read_all(keystore, GROUP_PREFIX)?,
            clients: read_all(keystore, CLIENT_PREFIX)?,
            administrators: read_all(keystore, ADMIN_PREFIX)?,
            users: read_all(keystore, USER_PREFIX)?,
            counter: read_all(keystore, SLOTS)?.remove("").unwrap_or_default(),
        })
    }

    /// Whether a living HSM other than `except` has this address.
    pub(super) fn has_address(&self, ip: &str, except: &str) -> bool {
        self.hsms
            .values()
            .map(|hsm| &hsm.record)
            .any(|hsm| hsm.eni_ip == ip && hsm.id != except && hsm.state != HsmState::Terminated)
    }

    /// The group of which a partition is a member, or still leaving.
    pub(super) fn group_of(&self, serial: &str) -> Option<&GroupRecord> {
        let mut groups = self.groups.values().map(|group| &group.record);
        let leaves = |group: &GroupRecord| group.leaving.iter().any(|leaving| leaving.serial == serial);
        groups.find(|group| group.members.iter().any(|member| member == serial) || leaves(group))
    }
}

/// Whether a repeated CreateHsm asks for what the record says.
fn is_same(hsm: &HsmRecord, new: &NewHsm) -> bool {
    hsm.subnet_id == new.subnet_id
        && hsm.ssh_key == new.ssh_key
        && hsm.iam_role_arn == new.iam_role_arn
        && hsm.external_id == new.external_id
        && hsm.syslog_ip == new.syslog_ip
        && (new.eni_ip.is_empty() || hsm.eni_ip == new.eni_ip)
}

fn read_all<T: DeserializeOwned>(
    keystore: &Keystore,
    prefix: &str,
) -> Result<BTreeMap<String, Versioned<T>>, ModelError> {
    let documents = keystore.documents(prefix)?;
    documents
        .into_iter()
        .map(|(name, document)| {
            let record = serde_json::from_slice(&document.value).map_err(|_| ModelError::Damaged(name.clone()))?;
            let key = name.strip_prefix(prefix).unwrap_or(&name).to_owned();
            let version = document.version;
            Ok((key, Versioned { version, record }))
        })
        .collect()
}

/// One document of a batch; `version` is what it has now, 0 when it does not exist.
pub(super) fn write<T: Serialize>(name: &str, version: u64, record: Option<&T>) -> DocumentWrite {
    DocumentWrite {
        name: name.to_owned(),
        expected: version,
        // Records of strings and numbers always serialise.
        value: record.map(|record| serde_json::to_vec(record).unwrap_or_default()),
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn fresh(mut make: impl FnMut() -> String, taken: impl Fn(&String) -> bool) -> String {
    loop {
        let candidate = make();
        if !taken(&candidate) {
            return candidate;
        }
    }
}

pub(super) fn hex8() -> String {
    format!("{:08x}", u32::from_be_bytes(hsmd_crypto::random::array()))
}

fn six_digits() -> String {
    let number = u32::from_be_bytes(hsmd_crypto::random::array());
    format!("{}", 100_000 + number % 900_000)
}
