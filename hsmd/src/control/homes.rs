//! Homes: the node that each HSM of the model belongs to. Every node serves every partition, so that a home that is gone closes no
//! door; it decides who confirms a new HSM, which server clients of a group are told first, and when a group is DEGRADED. An HSM
//! moves by one change of its record.

use super::model::{Model, ModelError, State};
use super::records::{GroupRecord, HsmRecord, HsmState};
use hsmd_keystore::Standing;
use std::collections::{BTreeMap, BTreeSet};

/// A member of a group, looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VerifiedPartition {
    pub(super) serial: String,
    pub(super) hsm: String,
    pub(super) home: String,
    pub(super) serves: bool,
    pub(super) equal: bool,
    pub(super) objects: u64,
}

/// A group, looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VerifiedGroup {
    pub(super) members: Vec<VerifiedPartition>,
    /// Of the sealed records in this node's memory.
    pub(super) sum: String,
    pub(super) revision: u64,
}

/// A node of the fleet, as far as HSMs are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HomeNode {
    /// 32 hexadecimal digits.
    pub(super) id: String,
    /// Whether it serves, and means to go on.
    pub(super) serves: bool,
    /// Where applications reach it; may be empty.
    pub(super) address: String,
}

impl Model {
    /// The nodes that share the store, in the order of their ids; empty where the store is this daemon's alone.
    pub(super) fn home_nodes(&self) -> Vec<HomeNode> {
        let Some(peers) = self.keystore.peers() else {
            return Vec::new();
        };
        let nodes = peers.nodes().unwrap_or_default().into_iter();
        nodes
            .map(|(records, facts)| HomeNode {
                id: format!("{:032x}", records.node.0),
                serves: records.standing == Standing::Serving && !records.beat.is_some_and(|beat| beat.draining),
                address: facts.address,
            })
            .collect()
    }

    /// The homes that do not serve. A node that no record tells of is none of them: its store is its own.
    pub(super) fn lost_homes(&self) -> BTreeSet<String> {
        let nodes = self.home_nodes().into_iter();
        nodes.filter(|node| !node.serves).map(|node| node.id).collect()
    }

    /// The HSMs of each home, TERMINATED ones left out.
    pub(crate) fn hsms_by_home(&self) -> BTreeMap<String, Vec<String>> {
        let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for hsm in self.hsms().into_iter().filter(|hsm| hsm.state != HsmState::Terminated) {
            homes.entry(hsm.home).or_default().push(hsm.id);
        }
        homes
    }

    /// Gives an HSM another home.
    ///
    /// # Errors
    /// No such HSM, a node that does not serve; the keystore's errors.
    pub(crate) fn move_hsm(&self, hsm: &str, node: &str) -> Result<HsmRecord, ModelError> {
        let id = self.hsm_of("Hsm", hsm)?.id;
        if !self.home_nodes().iter().any(|home| home.id == node && home.serves) {
            return Err(ModelError::Invalid("Node", "the id of a node that serves"));
        }
        self.rehome(&id, node)
    }

    /// Gives all HSMs of a node to the others that serve, each to the one with the fewest. Says which went where.
    ///
    /// # Errors
    /// No other node serves; the keystore's errors, and then some may have moved.
    pub(crate) fn evacuate(&self, node: &str) -> Result<Vec<HsmRecord>, ModelError> {
        let serving = self
            .home_nodes()
            .into_iter()
            .filter(|home| home.serves && home.id != node);
        let mut homes = self.hsms_by_home();
        let leaving = homes.remove(node).unwrap_or_default();
        let mut load: BTreeMap<String, usize> = serving
            .map(|home| (homes.get(&home.id).map_or(0, Vec::len), home.id))
            .map(|(count, id)| (id, count))
            .collect();
        let mut moved = Vec::with_capacity(leaving.len());
        for hsm in leaving {
            let least = load.iter_mut().min_by_key(|(_, count)| **count);
            let Some((target, count)) = least else {
                return Err(ModelError::NoOtherNode);
            };
            moved.push(self.rehome(&hsm, target)?);
            *count += 1;
        }
        Ok(moved)
    }

    fn rehome(&self, id: &str, node: &str) -> Result<HsmRecord, ModelError> {
        let mut state = self.state.lock();
        let entry = state.hsms.get_mut(id).ok_or(ModelError::NotFound("HSM of this name"))?;
        if entry.record.state == HsmState::Terminated {
            return Err(ModelError::State(entry.record.state.name()));
        }
        if entry.record.home != node {
            let mut record = entry.record.clone();
            node.clone_into(&mut record.home);
            self.replace(entry, record)?;
        }
        Ok(entry.record.clone())
    }

    /// Whether all members of a group have its keys (INV-3), and a sum of these as this node has them.
    ///
    /// # Errors
    /// No such group, one without members; keys that cannot be used.
    pub(super) fn verify_group(&self, name: &str) -> Result<VerifiedGroup, ModelError> {
        let lost = self.lost_homes();
        let state = self.state.lock();
        let mut groups = state.groups.values().map(|entry| &entry.record);
        let named = |group: &&GroupRecord| [&group.id, &group.arn, &group.serial].iter().any(|word| *word == name);
        let group = groups.find(named).ok_or(ModelError::Unknown("Group", "group"))?;
        if group.members.is_empty() {
            return Err(ModelError::NoMembers(group.id.clone()));
        }
        let look = |serial: &String| {
            let partition = &state.partitions.get(serial)?.record;
            let hsm = &state.hsms.get(&partition.hsm)?.record;
            let keys = self.key_set(&partition.key_set);
            Some(VerifiedPartition {
                serial: serial.clone(),
                hsm: hsm.id.clone(),
                home: hsm.home.clone(),
                serves: hsm.serves() && keys.is_some() && state.is_home_there(hsm, &lost),
                equal: partition.key_set == group.key_set,
                objects: keys.map_or(0, |keys| keys.used().objects),
            })
        };
        let members = group.members.iter().filter_map(look).collect();
        let missing = || ModelError::KeysMissing(group.members[0].clone());
        let keys = self.key_set(&group.key_set).ok_or_else(missing)?;
        drop(state);
        let (sum, revision) = keys.sum();
        Ok(VerifiedGroup {
            members,
            sum: sum.iter().map(|byte| format!("{byte:02x}")).collect(),
            revision,
        })
    }

    /// What this node, as the home of HSMs, has to do after another one changed their records: it confirms them.
    pub(crate) fn confirm_own(&self) {
        let own = self.keystore.node().to_string();
        let waits = |hsm: &HsmRecord| matches!(hsm.state, HsmState::Pending | HsmState::Updating) && hsm.home == own;
        for hsm in self.hsms().iter().filter(|hsm| waits(hsm)) {
            // Whoever made it here confirms it as well: one of the two is first.
            if let Err(error) = self.confirm(&hsm.id) {
                tracing::debug!(hsm = hsm.id, %error, "an HSM is not confirmed here");
            }
        }
    }

    /// Where applications reach the nodes: the homes of these HSMs first, in their order, then the others that serve. Empty where
    /// nodes are not told of.
    pub(super) fn addresses(&self, hsms: &[String]) -> Vec<String> {
        let nodes = self.home_nodes();
        let state = self.state.lock();
        let home = |id: &String| {
            let home = &state.hsms.get(id)?.record.home;
            nodes.iter().find(|node| node.id == *home)
        };
        let mut addresses: Vec<String> = Vec::new();
        let others = nodes.iter().filter(|node| node.serves);
        for node in hsms.iter().filter_map(home).chain(others) {
            if !node.address.is_empty() && !addresses.contains(&node.address) {
                addresses.push(node.address.clone());
            }
        }
        addresses
    }

    /// Goes on with what the end of another node interrupted: one node does it for all.
    pub(crate) fn take_over(&self) {
        let own = self.keystore.node().to_string();
        let nodes = self.home_nodes();
        if nodes
            .iter()
            .find(|node| node.serves)
            .is_none_or(|first| first.id != own)
        {
            return;
        }
        let open: Vec<_> = {
            let state = self.state.lock();
            let groups = state.groups.values().map(|entry| &entry.record);
            let old = super::model::now_ms().saturating_sub(PATIENCE_MS);
            // A join that waits for a login waits for that alone.
            let lost = nodes.iter().any(|node| !node.serves);
            let open = groups.filter(|group| !group.leaving.is_empty() || (lost && !group.joining.is_empty()));
            open.filter(|group| group.modified_ms < old)
                .map(|group| group.id.clone())
                .collect()
        };
        for group in open {
            self.finish_group(&group);
        }
        self.forget_joins();
        if let Err(error) = self.sweep_key_sets() {
            tracing::warn!(%error, "key sets that nothing refers to stay for now");
        }
    }
}

impl State {
    /// Whether an HSM's home is none of these.
    pub(super) fn is_home_there(&self, hsm: &HsmRecord, lost: &BTreeSet<String>) -> bool {
        !lost.contains(&hsm.home)
    }
}

/// How long a change of a group is left to the node that was asked for it.
const PATIENCE_MS: u64 = 20_000;
