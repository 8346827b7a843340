//! What is kept about certificates, configurations and clusters: records in hsmd, which seals them. Private keys and passwords
//! are in no answer and no debug output.

pub(super) use crate::secret::Secret;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tags of a resource.
pub(super) type Tags = BTreeMap<String, String>;

/// The kinds of resources that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Certificate,
    Configuration,
    Cluster,
}

/// What a kind is called in each place.
pub(super) struct Words {
    /// The beginning of records' keys.
    pub(super) prefix: &'static str,
    /// In ARNs.
    pub(super) arn: &'static str,
    /// In DescribeTags.
    pub(super) resource_type: &'static str,
    /// In sentences.
    pub(super) noun: &'static str,
    pub(super) identifier: &'static str,
    pub(super) not_found: &'static str,
    pub(super) exists: &'static str,
    pub(super) quota: &'static str,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Certificate, Self::Configuration, Self::Cluster];

    pub(super) const fn words(self) -> Words {
        match self {
            Self::Certificate => Words {
                prefix: "redshift/certificate/",
                arn: "hsmclientcertificate",
                resource_type: "HSM certificate",
                noun: "HSM client certificate",
                identifier: "HsmClientCertificateIdentifier",
                not_found: "HsmClientCertificateNotFoundFault",
                exists: "HsmClientCertificateAlreadyExistsFault",
                quota: "HsmClientCertificateQuotaExceededFault",
            },
            Self::Configuration => Words {
                prefix: "redshift/configuration/",
                arn: "hsmconfiguration",
                resource_type: "HSM connection",
                noun: "HSM configuration",
                identifier: "HsmConfigurationIdentifier",
                not_found: "HsmConfigurationNotFoundFault",
                exists: "HsmConfigurationAlreadyExistsFault",
                quota: "HsmConfigurationQuotaExceededFault",
            },
            Self::Cluster => Words {
                prefix: "redshift/cluster/",
                arn: "cluster",
                resource_type: "Cluster",
                noun: "cluster",
                identifier: "ClusterIdentifier",
                not_found: "ClusterNotFoundFault",
                exists: "ClusterAlreadyExistsFault",
                quota: "ClusterQuotaExceededFault",
            },
        }
    }
}

/// A kept resource.
pub(super) trait Resource: Serialize + DeserializeOwned + Clone + Send + Sync {
    const KIND: Kind;
    fn id(&self) -> &str;
    fn tags(&self) -> &Tags;
    fn tags_mut(&mut self) -> &mut Tags;
}

macro_rules! resource {
    ($type:ident, $kind:ident) => {
        impl Resource for $type {
            const KIND: Kind = Kind::$kind;
            fn id(&self) -> &str {
                &self.id
            }
            fn tags(&self) -> &Tags {
                &self.tags
            }
            fn tags_mut(&mut self) -> &mut Tags {
                &mut self.tags
            }
        }
    };
}

resource!(Certificate, Certificate);
resource!(Configuration, Configuration);
resource!(Cluster, Cluster);

/// An HSM client certificate with its private key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Certificate {
    pub(super) id: String,
    pub(super) pem: String,
    pub(super) key: Secret,
    pub(super) tags: Tags,
}

/// An HSM configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Configuration {
    pub(super) id: String,
    pub(super) description: String,
    pub(super) address: String,
    pub(super) partition: String,
    pub(super) password: Secret,
    /// The authority that the HSM's certificate must come from, PEM.
    pub(super) authority: String,
    pub(super) tags: Tags,
}

/// A cluster. There is no database: what is real are its keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cluster {
    pub(super) id: String,
    /// Stays when the cluster is renamed.
    pub(super) namespace: String,
    pub(super) created_ms: u64,
    pub(super) status: Status,
    pub(super) settings: Settings,
    pub(super) tags: Tags,
    /// How it shall reach its HSM; without it the cluster is not encrypted.
    pub(super) hsm: Option<Hsm>,
    /// The keys in force.
    pub(super) key: Option<Key>,
    /// A cluster key that is being made: recorded before it exists, so that none is forgotten.
    pub(super) next: Option<Next>,
    /// Cluster keys that are to be destroyed.
    pub(super) old: Vec<Place>,
    /// Why the HSM could not be used the last time.
    pub(super) trouble: Option<Trouble>,
}

/// What DescribeClusters calls `ClusterStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    Creating,
    Available,
    Modifying,
    RotatingKeys,
    IncompatibleHsm,
    Deleting,
}

impl Status {
    /// As clients read it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::Modifying => "modifying",
            Self::RotatingKeys => "rotating-keys",
            Self::IncompatibleHsm => "incompatible-hsm",
            Self::Deleting => "deleting",
        }
    }
}

/// A pair by which an HSM is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hsm {
    pub(super) certificate: String,
    pub(super) configuration: String,
}

/// A cluster key: its `CKA_ID` in hexadecimal digits, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) cek: String,
    pub(super) hsm: Hsm,
}

/// The cluster key, and the database key under it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) place: Place,
    /// The database key, encrypted by the cluster key, in base64.
    pub(super) wrapped: String,
}

/// A cluster key in the making.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Next {
    pub(super) place: Place,
    /// Whether it may exist although nobody said so.
    pub(super) doubt: bool,
}

/// Why an HSM could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Trouble {
    /// Nothing answers at the address.
    Unreachable,
    /// The HSM's certificate is not of the given authority, or not for the address.
    ServerCertificate,
    /// The HSM does not know the client certificate.
    ClientCertificate,
    /// No partition of that name is assigned to the certificate.
    Partition,
    /// The partition's password is another.
    Password,
    /// Too many wrong passwords.
    Locked,
    /// The cluster key is not in the partition.
    NoKey,
    /// The database key does not open.
    WrongKey,
    /// The module or the HSM failed in another way, or took too long: what was asked may have been done.
    Failed,
}

impl Trouble {
    /// Whether trying again by itself may help, and does no harm: a wrong password brings the lock-out nearer.
    pub(super) const fn may_pass(self) -> bool {
        !matches!(self, Self::Password | Self::Locked)
    }
}

/// Settings of a cluster that are kept and shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) node_type: String,
    pub(super) nodes: u32,
    pub(super) master_username: String,
    pub(super) database: String,
    pub(super) port: u16,
    pub(super) zone: String,
    pub(super) maintenance_window: String,
    pub(super) automated_retention: i32,
    pub(super) manual_retention: i32,
    pub(super) allow_version_upgrade: bool,
    pub(super) publicly_accessible: bool,
    pub(super) enhanced_vpc_routing: bool,
    pub(super) track: String,
    pub(super) vpc_security_groups: Vec<String>,
    pub(super) security_groups: Vec<String>,
    pub(super) roles: Vec<String>,
}

impl Cluster {
    /// Whether it needs a certificate or a configuration.
    pub(super) fn uses(&self, needs: impl Fn(&Hsm) -> bool) -> bool {
        let keys = self.key.iter().map(|key| &key.place.hsm);
        let next = self.next.iter().map(|next| &next.place.hsm);
        let old = self.old.iter().map(|place| &place.hsm);
        self.hsm.iter().chain(keys).chain(next).chain(old).any(needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_output_shows_a_secret_and_records_read_back() {
        let configuration = Configuration {
            id: "hsm".into(),
            description: "d".into(),
            address: "127.0.0.1".into(),
            partition: "p".into(),
            password: Secret::new("open sesame"),
            authority: String::new(),
            tags: Tags::new(),
        };
        assert!(!format!("{configuration:?}").contains("sesame"));
        let text = serde_json::to_string(&configuration).unwrap();
        let read: Configuration = serde_json::from_str(&text).unwrap();
        assert_eq!(read.password.expose(), configuration.password.expose());
    }
}
