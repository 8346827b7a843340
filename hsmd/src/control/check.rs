//! The patterns of the CloudHSM Classic model, and the one table from model errors to gRPC codes.

use super::model::ModelError;
use tonic::{Code, Status};

/// Characters beyond letters and digits that a field allows, and its length.
pub(super) struct Pattern {
    pub(super) field: &'static str,
    pub(super) rule: &'static str,
    pub(super) fits: fn(&str) -> bool,
}

pub(super) const SUBNET_ID: Pattern = Pattern {
    field: "SubnetId",
    rule: "subnet- and 8 hexadecimal digits",
    fits: |text| text.strip_prefix("subnet-").is_some_and(is_hex8),
};
pub(super) const SSH_KEY: Pattern = Pattern {
    field: "SshKey",
    rule: "an OpenSSH public key",
    fits: |text| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "+/= ._:\\@-".contains(c))
    },
};
pub(super) const ENI_IP: Pattern = Pattern {
    field: "EniIp",
    rule: "an IPv4 address, or empty",
    fits: is_address_or_empty,
};
pub(super) const SYSLOG_IP: Pattern = Pattern {
    field: "SyslogIp",
    rule: "an IPv4 address, or empty",
    fits: is_address_or_empty,
};
pub(super) const IAM_ROLE_ARN: Pattern = Pattern {
    field: "IamRoleArn",
    rule: "arn:aws:iam::<12 digits>:role/<1 to 64 characters>",
    fits: is_role,
};
pub(super) const EXTERNAL_ID: Pattern = Pattern {
    field: "ExternalId",
    rule: "letters, digits and any of _ :+=./-",
    fits: |text| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_ :+=./-".contains(c))
    },
};
pub(super) const SUBSCRIPTION_TYPE: Pattern = Pattern {
    field: "SubscriptionType",
    rule: "PRODUCTION",
    fits: |text| text == "PRODUCTION",
};
pub(super) const CLIENT_TOKEN: Pattern = Pattern {
    field: "ClientToken",
    rule: "1 to 64 letters and digits, or empty",
    fits: |text| text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
};

impl Pattern {
    /// Checks a value.
    pub(super) fn check(&self, value: &str) -> Result<(), Status> {
        if (self.fits)(value) {
            Ok(())
        } else {
            Err(Status::invalid_argument(format!(
                "{} must be {}",
                self.field, self.rule
            )))
        }
    }
}

fn is_hex8(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_address_or_empty(text: &str) -> bool {
    text.is_empty() || text.parse::<std::net::Ipv4Addr>().is_ok()
}

fn is_role(text: &str) -> bool {
    let rest = text
        .strip_prefix("arn:aws:iam::")
        .or_else(|| text.strip_prefix("arn:aws-iso:iam::"));
    let Some((account, name)) = rest.and_then(|rest| rest.split_once(":role/")) else {
        return false;
    };
    account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && (1..=64).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.-@".contains(c))
}

/// The gRPC status of an error. What the keystore says is for the log; a client learns the kind of trouble.
pub(super) fn status(error: &ModelError) -> Status {
    let code = match error {
        ModelError::NotFound(_) => Code::NotFound,
        ModelError::Ambiguous | ModelError::Label | ModelError::Policy => Code::InvalidArgument,
        ModelError::LabelTaken | ModelError::TokenReused => Code::AlreadyExists,
        ModelError::State(_) => Code::FailedPrecondition,
        ModelError::NoRoom => Code::ResourceExhausted,
        ModelError::Conflict => Code::Aborted,
        ModelError::Damaged(_) => Code::DataLoss,
        ModelError::Keystore(hsmd_keystore::Error::Full) => Code::ResourceExhausted,
        ModelError::Keystore(hsmd_keystore::Error::Stopped) => Code::Unavailable,
        ModelError::Keystore(_) => Code::Internal,
    };
    if matches!(code, Code::Internal | Code::DataLoss | Code::Unavailable) {
        tracing::error!(%error, "control request failed");
    }
    Status::new(code, error.to_string())
}

/// Runs a change, which waits for the store, beside the runtime's workers.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| status(&error)),
        Err(_) => Err(Status::internal("the request failed; see the daemon's log")),
    }
}
