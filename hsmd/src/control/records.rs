//! The control plane's records: HSMs, partitions, the counter of slots. Sealed documents of the keystore, as JSON; a
//! reader ignores fields that it does not know.

use crate::data::certificate_identity;
use hsmd_keystore::Identity;
use hsmd_proto::policy::Policy;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Format of the records that this build writes.
pub(crate) const FORMAT: u32 = 1;
/// Name of the slot counter's document.
pub(crate) const SLOTS: &str = "slots";
/// Prefix of HSM documents.
pub(crate) const HSM_PREFIX: &str = "hsm/";
/// Prefix of partition documents.
pub(crate) const PARTITION_PREFIX: &str = "partition/";
/// Prefix of group documents.
pub(crate) const GROUP_PREFIX: &str = "hapg/";
/// Prefix of client documents.
pub(crate) const CLIENT_PREFIX: &str = "client/";
/// Prefix of documents of local users.
pub(crate) const USER_PREFIX: &str = "user/";

/// Tags of a resource, by key.
pub type Tags = BTreeMap<String, String>;

/// A record that is a document of its own.
pub(super) trait Document: Serialize {
    /// The document's name.
    fn name(&self) -> String;
}

/// The life of an HSM (CloudHSM Classic, `HsmStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HsmState {
    /// Recorded; its home node has not confirmed it yet.
    Pending,
    /// In use.
    Running,
    /// A change is going on.
    Updating,
    /// Its slots have no token.
    Suspended,
    /// Being deleted.
    Terminating,
    /// Deleted; listed for a while.
    Terminated,
}

impl HsmState {
    /// All states.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Updating,
        Self::Suspended,
        Self::Terminating,
        Self::Terminated,
    ];

    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Updating => "UPDATING",
            Self::Suspended => "SUSPENDED",
            Self::Terminating => "TERMINATING",
            Self::Terminated => "TERMINATED",
        }
    }

    /// Whether an HSM may go from this state to another.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Pending, Self::Running | Self::Terminating)
                | (Self::Running, Self::Updating | Self::Suspended | Self::Terminating)
                | (Self::Updating, Self::Running)
                | (Self::Suspended, Self::Running | Self::Terminating)
                | (Self::Terminating, Self::Terminated)
        )
    }

    /// Whether the slots of such an HSM have tokens.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Running | Self::Updating)
    }
}

/// A virtual appliance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HsmRecord {
    /// `FORMAT`.
    pub format: u32,
    /// `hsm-xxxxxxxx`.
    pub id: String,
    /// Six digits.
    pub serial: String,
    /// `arn:aws:cloudhsm:<region>:<account>:<id>`.
    pub arn: String,
    /// Where it is in its life.
    pub state: HsmState,
    /// The node that serves it: 32 hexadecimal digits.
    pub home: String,
    /// `subnet-xxxxxxxx`.
    pub subnet_id: String,
    /// `vpc-xxxxxxxx`, made up from the subnet.
    pub vpc_id: String,
    /// `eni-xxxxxxxx`.
    pub eni_id: String,
    /// The address.
    pub eni_ip: String,
    /// The administrator's SSH public key.
    pub ssh_key: String,
    /// As given.
    pub iam_role_arn: String,
    /// As given.
    pub external_id: String,
    /// As given.
    pub syslog_ip: String,
    /// PRODUCTION.
    pub subscription_type: String,
    /// Makes CreateHsm idempotent.
    pub client_token: String,
    /// Availability zone of the home node.
    pub availability_zone: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Offer one uninitialised partition after all others.
    pub free_slot: bool,
    /// The number of the next partition; numbers are never used again.
    pub next_partition: u32,
    /// Milliseconds since 1970; 0: not deleted.
    #[serde(default)]
    pub terminated_ms: u64,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
    /// Its security officer.
    #[serde(default)]
    pub officer: Officer,
}

/// The security officer of an HSM. There is one when the key set is initialised: its PIN and tries are that token's SO's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Officer {
    /// 32 hexadecimal digits, or empty.
    pub key_set: String,
    /// The HSM's label.
    pub label: String,
    /// A keyed hash of the cloning domain.
    pub domain: String,
    /// Everything in the HSM is being destroyed; its slots have no token.
    pub zeroizing: bool,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// `FORMAT`.
    pub format: u32,
    /// The HSM's serial and three digits.
    pub serial: String,
    /// The HSM's id.
    pub hsm: String,
    /// Given at creation; empty for a free one.
    pub label: String,
    /// The slot, allotted once.
    pub slot: u32,
    /// The policy's name.
    pub policy: String,
    /// The key set: 32 hexadecimal digits.
    pub key_set: String,
    /// The uninitialised partition that `free_slot` offers.
    pub free: bool,
    /// Being deleted: its keys go first, then the record.
    pub deleting: bool,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}

impl PartitionRecord {
    /// The policy; an unknown name is the strictest.
    pub(crate) fn policy(&self) -> Policy {
        Policy::from_name(&self.policy).unwrap_or(Policy::Fips)
    }
}

impl Document for PartitionRecord {
    fn name(&self) -> String {
        format!("{PARTITION_PREFIX}{}", self.serial)
    }
}

impl Document for HsmRecord {
    fn name(&self) -> String {
        format!("{HSM_PREFIX}{}", self.id)
    }
}

impl Document for GroupRecord {
    fn name(&self) -> String {
        format!("{GROUP_PREFIX}{}", self.id)
    }
}

impl Document for ClientRecord {
    fn name(&self) -> String {
        format!("{CLIENT_PREFIX}{}", self.id)
    }
}

impl HsmRecord {
    /// Whether its slots have tokens.
    pub(crate) const fn serves(&self) -> bool {
        self.state.serves() && !self.officer.zeroizing
    }

    /// The ARN of one of its partitions.
    #[must_use]
    pub fn partition_arn(&self, serial: &str) -> String {
        format!("{}/partition-{serial}", self.arn)
    }
}

/// A high-availability partition group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// `FORMAT`.
    pub format: u32,
    /// `hapg-xxxxxxxx`.
    pub id: String,
    /// `arn:aws:cloudhsm:<region>:<account>:<id>`.
    pub arn: String,
    /// Ten digits: the serial number of the virtual token.
    pub serial: String,
    /// As given; need not be unique.
    pub label: String,
    /// Serial numbers of the members, in the order given.
    pub members: Vec<String>,
    /// The virtual slot, allotted once; `None`: a record of an earlier version, until the next start.
    #[serde(default)]
    pub slot: Option<u32>,
    /// The key set to which all members refer, but for those that join: 32 hexadecimal digits; empty without members.
    pub key_set: String,
    /// Members with keys of their own, until these are merged.
    #[serde(default)]
    pub joining: Vec<Joining>,
    /// Partitions that are members no more and refer to the group's keys until they have a copy.
    #[serde(default)]
    pub leaving: Vec<Leaving>,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Milliseconds since 1970; increases with every change.
    pub modified_ms: u64,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A member whose keys are to be merged with the group's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joining {
    /// The partition.
    pub serial: String,
    /// The id of what is copied for it: 32 hexadecimal digits.
    pub join: String,
    /// Why it failed; empty: it is going on.
    #[serde(default)]
    pub failed: String,
}

/// A partition that gets a copy of the group's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// The partition.
    pub serial: String,
    /// Why it failed; empty: it is going on.
    #[serde(default)]
    pub failed: String,
}

/// An application host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// `FORMAT`.
    pub format: u32,
    /// `client-xxxxxxxx`.
    pub id: String,
    /// `arn:aws:cloudhsm:<region>:<account>:<id>`.
    pub arn: String,
    /// As given, or the id.
    pub label: String,
    /// The certificate as given, in PEM.
    pub certificate: String,
    /// MD5 of its DER form, as the API names it: `xx:xx:...`.
    pub fingerprint: String,
    /// SHA-256 of its DER form in hexadecimal: what connections will be held against.
    pub sha256: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Milliseconds since 1970; increases with every change.
    pub modified_ms: u64,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
    /// What it sees: serial numbers of partitions and ids of groups. Names of what is gone do no harm; none is used again.
    #[serde(default)]
    pub assigned: BTreeSet<String>,
}

impl ClientRecord {
    /// The identity of its connections, by its certificate.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let (digits, rest) = self.sha256.as_bytes().as_chunks::<2>();
        let mut sha256 = [0; 32];
        if digits.len() != sha256.len() || !rest.is_empty() {
            return None;
        }
        for (byte, digits) in sha256.iter_mut().zip(digits) {
            *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(certificate_identity(&sha256))
    }
}

/// A local user as a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserRecord {
    /// `FORMAT`.
    pub format: u32,
    /// `user-` and the number.
    pub id: String,
    /// The user's number on the home node.
    pub user: u32,
    /// The node whose user it is: 32 hexadecimal digits.
    pub home: String,
    /// As given, or the id.
    pub label: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// As with [`ClientRecord::assigned`].
    pub assigned: BTreeSet<String>,
}

impl Document for UserRecord {
    fn name(&self) -> String {
        format!("{USER_PREFIX}{}", self.id)
    }
}

/// The next slot id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotCounter {
    pub(crate) next: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn the_life_of_an_hsm_is_this_table() {
        let mut table = String::new();
        for from in HsmState::ALL {
            let to: Vec<_> = HsmState::ALL
                .into_iter()
                .filter(|to| from.may_become(*to))
                .map(HsmState::name)
                .collect();
            writeln!(table, "{} -> {}", from.name(), to.join(" ")).unwrap();
        }
        let expected = "PENDING -> RUNNING TERMINATING\n\
                        RUNNING -> UPDATING SUSPENDED TERMINATING\n\
                        UPDATING -> RUNNING\n\
                        SUSPENDED -> RUNNING TERMINATING\n\
                        TERMINATING -> TERMINATED\n\
                        TERMINATED -> \n";
        assert_eq!(table, expected);
    }
}
