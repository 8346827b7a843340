//! What a proxy's failure means to the caller of KMS: one row for each cause, as the specification's table "KMS Considerations"
//! has it. The proxy's own message is for the log only.

use super::client::ProxyFailure;
use super::error::ErrorName;
use crate::fault::Fault;

/// What a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Refused(ErrorName),
    Unreachable,
    Tls,
    TimedOut,
    BadResponse,
}

/// The names of errors of KMS, each in one place.
mod code {
    pub(super) const RESPONSE: &str = "XksProxyInvalidResponseException";
    pub(super) const CREDENTIAL: &str = "XksProxyIncorrectAuthenticationCredentialException";
    pub(super) const CONFIGURATION: &str = "XksProxyInvalidConfigurationException";
    pub(super) const UNREACHABLE: &str = "XksProxyUriUnreachableException";
    pub(super) const STORE: &str = "CustomKeyStoreInvalidStateException";
    pub(super) const KEY: &str = "XksKeyInvalidConfigurationException";
    pub(super) const NO_KEY: &str = "XksKeyNotFoundException";
    pub(super) const USE: &str = "KMSInvalidStateException";
}

/// One cause.
struct Row {
    cause: Cause,
    /// CreateCustomKeyStore and UpdateCustomKeyStore.
    store: &'static str,
    /// CreateKey.
    key: &'static str,
    /// The `ConnectionErrorCode` of a ConnectCustomKeyStore that failed.
    connection: &'static str,
    message: &'static str,
}

const fn row(
    cause: Cause,
    store: &'static str,
    key: &'static str,
    connection: &'static str,
    message: &'static str,
) -> Row {
    Row {
        cause,
        store,
        key,
        connection,
        message,
    }
}

const UNREADABLE: &str = "The external key store proxy gave an answer that KMS cannot interpret. If this repeats, tell the \
                          administrator of the proxy.";

/// All causes. The specification has no store error for a refusal that its health check cannot give: such an answer is a wrong
/// one. For UnsupportedOperationException it names `XksKeyInvalidResponseException` at CreateKey, which the service's model does
/// not have: the nearest that it has stands here.
const ROWS: [Row; 16] = [
    row(
        Cause::Refused(ErrorName::Validation),
        code::RESPONSE,
        code::STORE,
        "XKS_PROXY_INVALID_RESPONSE",
        UNREADABLE,
    ),
    row(
        Cause::Refused(ErrorName::InvalidState),
        code::RESPONSE,
        code::KEY,
        "XKS_PROXY_NOT_REACHABLE",
        "The external key of this KMS key is not enabled in its external key manager. Enable it there and try again.",
    ),
    row(
        Cause::Refused(ErrorName::InvalidCiphertext),
        code::RESPONSE,
        code::STORE,
        "XKS_PROXY_INVALID_RESPONSE",
        "The external key store proxy refused the request: the ciphertext or the encryption context is corrupted, missing or \
         otherwise invalid.",
    ),
    row(
        Cause::Refused(ErrorName::InvalidKeyUsage),
        code::RESPONSE,
        code::KEY,
        "XKS_PROXY_INVALID_RESPONSE",
        "The external key of this KMS key does not support the operation. Enable the operation for the key in its external key \
         manager and try again.",
    ),
    row(
        Cause::Refused(ErrorName::AuthenticationFailed),
        code::CREDENTIAL,
        code::STORE,
        "INVALID_CREDENTIALS",
        "The external key store proxy refused the request: it could not authenticate KMS. Verify the authentication credential \
         of the external key store and update it if need be.",
    ),
    row(
        Cause::Refused(ErrorName::AccessDenied),
        code::RESPONSE,
        code::USE,
        "XKS_PROXY_ACCESS_DENIED",
        "The external key store proxy denied access to the operation. Verify that user and external key are both authorized for \
         it and try again.",
    ),
    row(
        Cause::Refused(ErrorName::KeyNotFound),
        code::RESPONSE,
        code::NO_KEY,
        "XKS_PROXY_INVALID_RESPONSE",
        "The external key of this KMS key was not found in its external key manager. If its id is wrong, create a new KMS key \
         with the right one.",
    ),
    row(
        Cause::Refused(ErrorName::InvalidUriPath),
        code::CONFIGURATION,
        code::STORE,
        "XKS_PROXY_INVALID_CONFIGURATION",
        "The external key store proxy refused the request: the URI path is not valid. Verify the path of the external key store \
         and update it if need be.",
    ),
    row(
        Cause::Refused(ErrorName::Throttling),
        code::UNREACHABLE,
        code::STORE,
        "XKS_PROXY_NOT_REACHABLE",
        "The external key store proxy refused the request because there are too many. Use the KMS keys of this external key store \
         less often.",
    ),
    row(
        Cause::Refused(ErrorName::UnsupportedOperation),
        code::RESPONSE,
        code::KEY,
        "XKS_PROXY_INVALID_RESPONSE",
        "The external key store proxy refused the request because it does not support the operation. If this repeats, tell the \
         administrator of the proxy.",
    ),
    row(
        Cause::Refused(ErrorName::DependencyTimeout),
        code::UNREACHABLE,
        code::STORE,
        "XKS_PROXY_TIMED_OUT",
        "The external key store proxy did not get an answer in the time allotted. Try again. If this repeats, tell the \
         administrator of the proxy.",
    ),
    row(
        Cause::Refused(ErrorName::Internal),
        code::RESPONSE,
        code::STORE,
        "XKS_PROXY_NOT_REACHABLE",
        "The external key store proxy refused the request because it cannot communicate with the external key manager. Verify \
         the configuration of the proxy and that the key manager is available.",
    ),
    row(
        Cause::Unreachable,
        code::UNREACHABLE,
        code::STORE,
        "XKS_PROXY_NOT_REACHABLE",
        "KMS cannot communicate with the external key store proxy. If this repeats, verify that the proxy runs, is connected to \
         the network, and that its endpoint is right in the external key store.",
    ),
    row(
        Cause::Tls,
        code::UNREACHABLE,
        code::STORE,
        "XKS_PROXY_INVALID_TLS_CONFIGURATION",
        "KMS cannot establish a TLS connection to the external key store proxy. Verify its TLS configuration and certificate.",
    ),
    row(
        Cause::TimedOut,
        code::UNREACHABLE,
        code::STORE,
        "XKS_PROXY_TIMED_OUT",
        "The external key store proxy did not answer in time. Try again. If this repeats, tell the administrator of the proxy.",
    ),
    row(
        Cause::BadResponse,
        code::RESPONSE,
        code::STORE,
        "XKS_PROXY_INVALID_RESPONSE",
        UNREADABLE,
    ),
];

fn find(failure: ProxyFailure) -> &'static Row {
    let cause = match failure {
        ProxyFailure::Unreachable => Cause::Unreachable,
        ProxyFailure::Tls => Cause::Tls,
        ProxyFailure::TimedOut => Cause::TimedOut,
        ProxyFailure::BadResponse(_) => Cause::BadResponse,
        ProxyFailure::Refused(name) => Cause::Refused(name),
    };
    // The last row stands for what none is for; a test shows that there is no such cause.
    ROWS.iter()
        .find(|row| row.cause == cause)
        .unwrap_or(&ROWS[ROWS.len() - 1])
}

/// What CreateCustomKeyStore and UpdateCustomKeyStore answer.
pub(crate) fn store_fault(failure: ProxyFailure) -> Fault {
    let row = find(failure);
    Fault::new(400, row.store, row.message)
}

/// What CreateKey answers.
pub(crate) fn key_fault(failure: ProxyFailure) -> Fault {
    let row = find(failure);
    Fault::new(400, row.key, row.message)
}

/// What operations that use a key answer.
pub(crate) fn use_fault(failure: ProxyFailure) -> Fault {
    Fault::new(400, code::USE, find(failure).message)
}

/// The `ConnectionErrorCode` of a store whose connecting failed so.
pub(crate) fn connection_error(failure: ProxyFailure) -> &'static str {
    find(failure).connection
}

#[cfg(test)]
mod tests {
    use super::super::error::ROWS as NAMES;
    use super::*;
    use crate::model::Model;

    #[test]
    fn each_cause_has_one_row() {
        let others = [Cause::Unreachable, Cause::Tls, Cause::TimedOut, Cause::BadResponse];
        for cause in NAMES.iter().map(|row| Cause::Refused(row.0)).chain(others) {
            assert_eq!(ROWS.iter().filter(|row| row.cause == cause).count(), 1, "{cause:?}");
        }
        assert_eq!(ROWS.len(), NAMES.len() + others.len());
    }

    #[test]
    fn the_errors_are_those_of_the_operations_models() {
        let model = Model::parse(crate::kms::MODEL).unwrap();
        for row in &ROWS {
            for operation in ["CreateCustomKeyStore", "UpdateCustomKeyStore"] {
                assert!(model.error(operation, row.store).is_some(), "{operation} {}", row.store);
            }
            // The specification has this one at CreateKey, the model has not.
            assert!(
                row.key == code::USE || model.error("CreateKey", row.key).is_some(),
                "{}",
                row.key
            );
        }
        for operation in ["Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey"] {
            assert!(model.error(operation, code::USE).is_some(), "{operation}");
        }
        let codes = include_str!("../../model/kms.json");
        for row in &ROWS {
            assert!(codes.contains(&format!("\"{}\"", row.connection)), "{}", row.connection);
        }
    }
}
