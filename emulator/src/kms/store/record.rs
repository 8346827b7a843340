//! What is recorded of a custom key store. Its secrets are in the record, which hsmd seals, and nowhere else.

use crate::secret::Secret;
use serde::{Deserialize, Serialize};

/// What the records of stores begin with.
pub(super) const PREFIX: &str = "kms/store/";

/// The record of a store. Times are milliseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoreRecord {
    /// `cks-` and 17 hexadecimal digits.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) created_ms: u64,
    pub(super) state: State,
    /// Why it has failed.
    pub(super) error: Option<Code>,
    pub(super) settings: Settings,
}

/// What was asked for last, and what came of it. The store's keeper does what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Disconnected,
    Connecting,
    Connected,
    /// It stays so until it is disconnected.
    Failed,
    Disconnecting,
}

impl State {
    /// The API's word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "DISCONNECTED",
            Self::Connecting => "CONNECTING",
            Self::Connected => "CONNECTED",
            Self::Failed => "FAILED",
            Self::Disconnecting => "DISCONNECTING",
        }
    }
}

/// What stands behind a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Settings {
    /// A group of partitions.
    Cluster(ClusterSettings),
    /// A proxy in front of somebody else's keys.
    External(ExternalSettings),
}

impl Settings {
    /// The API's word.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "AWS_CLOUDHSM",
            Self::External(_) => "EXTERNAL_KEY_STORE",
        }
    }
}

/// A group of partitions, and its user's PIN.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ClusterSettings {
    /// `cluster-...`
    pub(super) cluster: String,
    /// As it was given, in PEM.
    pub(super) anchor: String,
    /// The PIN that the user has, as far as is known.
    pub(super) pin: Secret,
    /// The PIN that it is being given: written here before it is set, so that a kill between the two loses neither.
    pub(super) next: Option<Secret>,
    /// Nobody but this record knows the PIN.
    pub(super) rotated: bool,
    /// It was seen that nobody else was logged in; whoever is now is this service.
    pub(super) entered: bool,
    /// Serial numbers of the partitions that the group had when it was connected last. Another group with one of them has, or had, the
    /// same keys.
    pub(super) members: Vec<String>,
}

/// Where a proxy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) connectivity: Connectivity,
    /// `https://host`
    pub(super) endpoint: String,
    /// `[/prefix]/kms/xks/v1`
    pub(super) path: String,
    /// The name of the VPC endpoint service.
    pub(super) service: Option<String>,
    /// Its account.
    pub(super) owner: Option<String>,
}

/// A proxy, and how to sign for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ExternalSettings {
    pub(super) place: Place,
    pub(super) access_key_id: String,
    pub(super) secret: Secret,
}

/// How a proxy is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Connectivity {
    Public,
    /// Through a service of a VPC.
    Service,
}

impl Connectivity {
    /// The API's word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Public => "PUBLIC_ENDPOINT",
            Self::Service => "VPC_ENDPOINT_SERVICE",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident: $name:literal,)*) => {
        /// Why a store is not connected: the API's ConnectionErrorCode. Those about subnets and VPCs cannot arise here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(super) enum Code { $($(#[$doc])* $code,)* }

        impl Code {
            pub(super) const ALL: &[Self] = &[$(Self::$code),*];

            /// The code of a word.
            pub(super) fn of(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.name() == name)
            }

            /// The API's word.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }
        }
    };
}

codes! {
    /// The PIN, or the proxy's credential, is wrong.
    InvalidCredentials: "INVALID_CREDENTIALS",
    /// The group is gone.
    ClusterNotFound: "CLUSTER_NOT_FOUND",
    /// hsmd does not answer, or does not show the group's token to this client.
    Network: "NETWORK_ERRORS",
    Internal: "INTERNAL_ERROR",
    /// No HSM of the group serves.
    NoHsm: "INSUFFICIENT_CLOUDHSM_HSMS",
    UserLockedOut: "USER_LOCKED_OUT",
    /// The token has no user's PIN.
    UserNotFound: "USER_NOT_FOUND",
    /// Somebody is logged in as the user.
    UserLoggedIn: "USER_LOGGED_IN",
    ProxyDenied: "XKS_PROXY_ACCESS_DENIED",
    ProxyUnreachable: "XKS_PROXY_NOT_REACHABLE",
    ProxyAnswer: "XKS_PROXY_INVALID_RESPONSE",
    ProxyConfiguration: "XKS_PROXY_INVALID_CONFIGURATION",
    ProxyTimedOut: "XKS_PROXY_TIMED_OUT",
    ProxyTls: "XKS_PROXY_INVALID_TLS_CONFIGURATION",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_knows_every_word() {
        let model: serde_json::Value = serde_json::from_str(crate::kms::MODEL).unwrap();
        let has = |shape: &str, name: &str| {
            let words = model["shapes"][shape]["enum"].as_array().unwrap();
            assert!(words.iter().any(|known| known == name), "{name}");
        };
        for code in Code::ALL {
            has("ConnectionErrorCodeType", code.name());
        }
        for state in [
            State::Disconnected,
            State::Connecting,
            State::Connected,
            State::Failed,
            State::Disconnecting,
        ] {
            has("ConnectionStateType", state.name());
        }
        for connectivity in [Connectivity::Public, Connectivity::Service] {
            has("XksProxyConnectivityType", connectivity.name());
        }
    }

    #[test]
    fn no_secret_is_in_debug_output() {
        let settings = Settings::Cluster(ClusterSettings {
            cluster: "cluster-234567abcdef".into(),
            anchor: String::new(),
            pin: Secret::new("hidden-one"),
            next: Some(Secret::new("hidden-two")),
            rotated: false,
            entered: false,
            members: Vec::new(),
        });
        assert!(!format!("{settings:?}").contains("hidden"));
    }
}
