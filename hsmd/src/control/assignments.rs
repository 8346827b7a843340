//! Assignments of the model: which partitions and groups a client sees, be it the holder of a certificate or a local user, and
//! from them who sees which slot. A group stands for its virtual slot and its members' slots, whatever its members are.

use super::model::{Model, ModelError, State, Versioned, now_ms, write};
use super::records::{ClientRecord, Document, FORMAT, UserRecord};
use crate::data::local_identity;
use crate::slots::Assigned;
use hsmd_keystore::{Identity, KeySet};
use hsmd_proto::ids::{NodeId, SlotId};
use std::collections::BTreeSet;
use std::sync::Arc;

const CLIENT: &str = "Client";
const TO: &str = "Partition";
/// The most assignments of a client.
const MAX_ASSIGNED: usize = 1_000;

/// A client with what it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// `client-xxxxxxxx` or `user-1000`.
    pub client: String,
    /// The client's ARN; empty for a local user.
    pub arn: String,
    /// As given, or the id.
    pub label: String,
    /// Serial numbers of partitions.
    pub partitions: Vec<String>,
    /// Ids of groups.
    pub groups: Vec<String>,
    /// The slots that it sees by all of these.
    pub slots: Vec<u32>,
}

/// What a revocation leaves to be ended.
#[derive(Debug)]
pub struct Revoked {
    /// What the client sees now.
    pub left: Assignment,
    /// Whose connections and logins end.
    pub identity: Option<Identity>,
    /// Key sets that it reached by what was taken, and reaches no more.
    pub key_sets: Vec<Arc<KeySet>>,
}

impl Model {
    /// Lets a client, named by id, ARN or label, see a partition or group, named by serial number, id or ARN. What it sees
    /// already stays.
    ///
    /// # Errors
    /// [`ModelError::Unknown`] for either, more than 1,000 assignments; the keystore's errors.
    pub fn assign(&self, client: &str, to: &str) -> Result<Assignment, ModelError> {
        self.reassign(client, to, true).map(|done| done.left)
    }

    /// Takes a partition or group from a client. Done again it is done again: a stop between this and the end of connections
    /// and logins is made good so.
    ///
    /// # Errors
    /// As [`Self::assign`]. What was deleted may be named by id or serial number.
    pub fn revoke(&self, client: &str, from: &str) -> Result<Revoked, ModelError> {
        self.reassign(client, from, false)
    }

    /// What clients see; with an empty name, all clients in the order of their ids.
    ///
    /// # Errors
    /// [`ModelError::Unknown`].
    pub fn assignments(&self, client: &str) -> Result<Vec<Assignment>, ModelError> {
        let state = self.state.lock();
        if !client.is_empty() {
            let view = match find(&state, client)? {
                Found::Client(id) => state.clients.get(&id).map(|entry| state.view(&entry.record)),
                Found::User(id) => state.users.get(&id).map(|entry| state.view(&entry.record)),
            };
            return Ok(view.into_iter().collect());
        }
        let clients = state.clients.values().map(|entry| state.view(&entry.record));
        let users = state.users.values().map(|entry| state.view(&entry.record));
        Ok(clients.chain(users).collect())
    }

    /// Makes a local user a client, so that partitions can be assigned to it. The same again answers what is there.
    ///
    /// # Errors
    /// A label of the wrong form or of another client; the keystore's errors.
    pub fn create_local_client(&self, user: u32, label: &str) -> Result<Assignment, ModelError> {
        let id = format!("user-{user}");
        let label = if label.is_empty() { &id } else { label };
        if label.len() > 64 || label.chars().any(char::is_control) {
            return Err(ModelError::Invalid(
                "Label",
                "at most 64 bytes, without control characters",
            ));
        }
        let mut state = self.state.lock();
        if let Some(there) = state.users.get(&id) {
            return if there.record.label == *label {
                Ok(state.view(&there.record))
            } else {
                Err(ModelError::UserTaken(there.record.label.clone()))
            };
        }
        let record = UserRecord {
            format: FORMAT,
            home: self.keystore.node().to_string(),
            user,
            label: label.to_owned(),
            created_ms: now_ms(),
            assigned: BTreeSet::new(),
            id,
        };
        self.commit(vec![write(&record.name(), 0, Some(&record))])?;
        let view = state.view(&record);
        state.users.insert(record.id.clone(), Versioned { version: 1, record });
        drop(state);
        self.show();
        Ok(view)
    }

    /// Deletes the client that a local user is. The answer is the identity that it was.
    ///
    /// # Errors
    /// [`ModelError::Unknown`]; the keystore's errors.
    pub fn delete_local_client(&self, name: &str) -> Result<Option<Identity>, ModelError> {
        let mut state = self.state.lock();
        let Found::User(id) = find(&state, name)? else {
            return Err(ModelError::Invalid(
                CLIENT,
                "a local user; DeleteLunaClient deletes others",
            ));
        };
        let Some(entry) = state.users.get(&id) else {
            return Err(ModelError::Unknown(CLIENT, "client"));
        };
        let was = entry.record.identity();
        self.commit(vec![write::<UserRecord>(&entry.record.name(), entry.version, None)])?;
        state.users.remove(&id);
        drop(state);
        self.show();
        Ok(was)
    }

    fn reassign(&self, client: &str, to: &str, add: bool) -> Result<Revoked, ModelError> {
        if to.is_empty() {
            return Err(ModelError::Missing(TO, "a serial number, id or ARN"));
        }
        let mut state = self.state.lock();
        let to = state.target(to, !add)?;
        let done = match find(&state, client)? {
            Found::Client(id) => {
                let State { clients, .. } = &mut *state;
                let entry = clients.get_mut(&id).ok_or(ModelError::Unknown(CLIENT, "client"))?;
                self.change(entry, &to, add)?;
                (
                    entry.record.identity(),
                    entry.record.assigned.clone(),
                    Found::Client(id),
                )
            }
            Found::User(id) => {
                let State { users, .. } = &mut *state;
                let entry = users.get_mut(&id).ok_or(ModelError::Unknown(CLIENT, "client"))?;
                self.change(entry, &to, add)?;
                (entry.record.identity(), entry.record.assigned.clone(), Found::User(id))
            }
        };
        let (identity, assigned, found) = done;
        let kept = state.key_sets(&assigned);
        let mut lost = state.key_sets(&BTreeSet::from([to]));
        lost.retain(|key_set| !kept.contains(key_set));
        let left = match found {
            Found::Client(id) => state.clients.get(&id).map(|entry| state.view(&entry.record)),
            Found::User(id) => state.users.get(&id).map(|entry| state.view(&entry.record)),
        };
        drop(state);
        self.show();
        Ok(Revoked {
            left: left.ok_or(ModelError::Unknown(CLIENT, "client"))?,
            identity,
            key_sets: lost.iter().filter_map(|id| self.key_set(id)).collect(),
        })
    }

    fn change<T: Client>(&self, entry: &mut Versioned<T>, to: &str, add: bool) -> Result<(), ModelError> {
        let mut record = entry.record.clone();
        let changed = if add {
            record.assigned_mut().insert(to.to_owned())
        } else {
            record.assigned_mut().remove(to)
        };
        if record.assigned_mut().len() > MAX_ASSIGNED {
            return Err(ModelError::Invalid(TO, "one of at most 1000 of a client"));
        }
        if changed { self.replace(entry, record) } else { Ok(()) }
    }

    /// Who sees which slots.
    pub(super) fn assigned(&self, state: &State) -> Assigned {
        let clients = state
            .clients
            .values()
            .map(|entry| (entry.record.identity(), &entry.record.assigned));
        let users = state
            .users
            .values()
            .map(|entry| (entry.record.identity(), &entry.record.assigned));
        let known = clients
            .chain(users)
            .filter_map(|(identity, assigned)| Some((identity?, assigned)));
        known
            .map(|(identity, assigned)| (identity, state.slots(assigned)))
            .collect()
    }
}

/// A record to which partitions are assigned.
trait Client: Document + Clone {
    fn identity(&self) -> Option<Identity>;
    fn assigned_mut(&mut self) -> &mut BTreeSet<String>;
    /// Id, ARN, label, what is assigned.
    fn parts(&self) -> (&str, &str, &str, &BTreeSet<String>);
}

impl State {
    /// By what the clients of all kinds are known.
    pub(super) fn identities(&self) -> Vec<Identity> {
        let clients = self
            .clients
            .values()
            .filter_map(|entry| Client::identity(&entry.record));
        let users = self.users.values().filter_map(|entry| Client::identity(&entry.record));
        clients.chain(users).collect()
    }
}

impl Client for ClientRecord {
    fn identity(&self) -> Option<Identity> {
        Self::identity(self)
    }

    fn assigned_mut(&mut self) -> &mut BTreeSet<String> {
        &mut self.assigned
    }

    fn parts(&self) -> (&str, &str, &str, &BTreeSet<String>) {
        (&self.id, &self.arn, &self.label, &self.assigned)
    }
}

impl Client for UserRecord {
    fn identity(&self) -> Option<Identity> {
        Some(local_identity(NodeId::from_hex(&self.home)?, self.user))
    }

    fn assigned_mut(&mut self) -> &mut BTreeSet<String> {
        &mut self.assigned
    }

    fn parts(&self) -> (&str, &str, &str, &BTreeSet<String>) {
        (&self.id, "", &self.label, &self.assigned)
    }
}

/// Which kind of client a name is of, with its id.
enum Found {
    Client(String),
    User(String),
}

/// The client of this id, ARN or label.
fn find(state: &State, name: &str) -> Result<Found, ModelError> {
    if name.is_empty() {
        return Err(ModelError::Missing(CLIENT, "an id, ARN or label"));
    }
    if let Some(entry) = state.users.get(name) {
        return Ok(Found::User(entry.record.id.clone()));
    }
    let clients = state.clients.values().map(|entry| &entry.record);
    let exact = clients.clone().find(|client| client.id == name || client.arn == name);
    if let Some(client) = exact {
        return Ok(Found::Client(client.id.clone()));
    }
    let clients = clients.filter(|client| client.label == name);
    let users = state.users.values().map(|entry| &entry.record);
    let users = users.filter(|user| user.label == name);
    let mut hits = clients
        .map(|client| Found::Client(client.id.clone()))
        .chain(users.map(|user| Found::User(user.id.clone())));
    let first = hits.next().ok_or(ModelError::Unknown(CLIENT, "client"))?;
    if hits.next().is_some() {
        return Err(ModelError::Invalid(CLIENT, "an id or ARN: several have this label"));
    }
    Ok(first)
}

impl State {
    /// The serial number or id by which a partition or group is assigned. What is gone is known only while it is taken away.
    fn target(&self, name: &str, gone: bool) -> Result<String, ModelError> {
        let serial = name.rsplit_once("/partition-").map_or(name, |(_, serial)| serial);
        if let Some(entry) = self.partitions.get(serial).filter(|entry| !entry.record.deleting) {
            let hsm = self.hsms.get(&entry.record.hsm);
            let arn = hsm.map(|hsm| hsm.record.partition_arn(serial));
            if name == serial || arn.is_some_and(|arn| arn == name) {
                return Ok(serial.to_owned());
            }
        }
        let mut groups = self.groups.values().map(|entry| &entry.record);
        let group = groups.find(|group| group.id == name || group.arn == name || group.serial == name);
        match group {
            Some(group) => Ok(group.id.clone()),
            None if gone && self.is_assigned(name) => Ok(name.to_owned()),
            None => Err(ModelError::Unknown(TO, "partition or group")),
        }
    }

    fn is_assigned(&self, name: &str) -> bool {
        let clients = self.clients.values().map(|entry| &entry.record.assigned);
        let users = self.users.values().map(|entry| &entry.record.assigned);
        clients.chain(users).any(|assigned| assigned.contains(name))
    }

    /// The partitions behind a list of partitions and groups: serial numbers.
    fn reached<'a>(&'a self, assigned: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
        assigned.iter().flat_map(|name| {
            let members = self.groups.get(name).map(|group| group.record.members.iter());
            let alone = members.is_none().then_some(name);
            members.into_iter().flatten().chain(alone).map(String::as_str)
        })
    }

    /// The slots that these assignments show.
    fn slots(&self, assigned: &BTreeSet<String>) -> BTreeSet<SlotId> {
        let partitions = self.reached(assigned).filter_map(|serial| self.partitions.get(serial));
        let groups = assigned.iter().filter_map(|id| self.groups.get(id));
        let virtual_slots = groups.filter_map(|group| group.record.slot);
        let slots = partitions.map(|entry| entry.record.slot).chain(virtual_slots);
        slots.map(SlotId).collect()
    }

    /// The key sets behind these assignments.
    fn key_sets(&self, assigned: &BTreeSet<String>) -> BTreeSet<String> {
        let partitions = self.reached(assigned).filter_map(|serial| self.partitions.get(serial));
        let groups = assigned.iter().filter_map(|id| self.groups.get(id));
        let shared = groups.map(|group| group.record.key_set.clone());
        partitions
            .map(|entry| entry.record.key_set.clone())
            .chain(shared)
            .collect()
    }

    fn view(&self, client: &impl Client) -> Assignment {
        let (id, arn, label, assigned) = client.parts();
        let there = |serial: &&String| {
            let entry = self.partitions.get(*serial);
            entry.is_some_and(|entry| !entry.record.deleting)
        };
        Assignment {
            client: id.to_owned(),
            arn: arn.to_owned(),
            label: label.to_owned(),
            partitions: assigned.iter().filter(there).cloned().collect(),
            groups: assigned
                .iter()
                .filter(|id| self.groups.contains_key(*id))
                .cloned()
                .collect(),
            slots: self.slots(assigned).iter().map(|slot| slot.0).collect(),
        }
    }
}
