//! The errors that an XKS proxy may answer: names and statuses as the specification's section "Error codes" has them, one row
//! each.

/// What a proxy says is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorName {
    /// A parameter is missing or has another form.
    Validation,
    /// The key or the store is disabled.
    InvalidState,
    /// Ciphertext, vector, tag or authenticated data are not what an encryption gave.
    InvalidCiphertext,
    /// The key does not do this.
    InvalidKeyUsage,
    /// The signature is not good.
    AuthenticationFailed,
    /// What the request is for is not allowed to its principal.
    AccessDenied,
    /// No such key.
    KeyNotFound,
    /// No such path.
    InvalidUriPath,
    /// Too many requests.
    Throttling,
    /// A value larger than the proxy takes.
    UnsupportedOperation,
    /// What stands behind the proxy did not answer in time.
    DependencyTimeout,
    /// Anything else.
    Internal,
}

/// One error: its name in answers and its status.
pub(crate) struct Row(pub(crate) ErrorName, pub(crate) &'static str, pub(crate) u16);

/// All errors.
pub(crate) const ROWS: [Row; 12] = [
    Row(ErrorName::Validation, "ValidationException", 400),
    Row(ErrorName::InvalidState, "InvalidStateException", 400),
    Row(ErrorName::InvalidCiphertext, "InvalidCiphertextException", 400),
    Row(ErrorName::InvalidKeyUsage, "InvalidKeyUsageException", 400),
    Row(ErrorName::AuthenticationFailed, "AuthenticationFailedException", 401),
    Row(ErrorName::AccessDenied, "AccessDeniedException", 403),
    Row(ErrorName::KeyNotFound, "KeyNotFoundException", 404),
    Row(ErrorName::InvalidUriPath, "InvalidUriPathException", 404),
    Row(ErrorName::Throttling, "ThrottlingException", 429),
    Row(ErrorName::UnsupportedOperation, "UnsupportedOperationException", 501),
    Row(ErrorName::DependencyTimeout, "DependencyTimeoutException", 503),
    Row(ErrorName::Internal, "InternalException", 500),
];

impl ErrorName {
    /// The error of a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.1 == text).map(|row| row.0)
    }

    /// Name and status in an answer.
    pub(crate) fn row(self) -> &'static Row {
        const OTHER: Row = Row(ErrorName::Internal, "InternalException", 500);
        ROWS.iter().find(|row| row.0 == self).unwrap_or(&OTHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_one_row_and_reads_back() {
        for row in &ROWS {
            assert_eq!(ErrorName::parse(row.1), Some(row.0));
            assert_eq!(row.0.row().1, row.1);
        }
        assert_eq!(ErrorName::parse("Exception"), None);
    }
}
