//! What a client is told when a request fails: a service's own errors, and those common to all, in the form of each protocol.

use crate::protocol::Protocol;
use http::StatusCode;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    /// The error's name, as the client's SDK knows it.
    pub(crate) code: Cow<'static, str>,
    /// Names field and rule; never holds a secret.
    pub(crate) message: String,
    /// Further members of the error's shape.
    pub(crate) members: Map<String, Value>,
}

/// The errors that every service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Common {
    /// Neither header nor query carries a signature.
    MissingAuthentication,
    /// The access key is not known.
    UnknownAccessKey,
    /// The signature is not that of the request.
    WrongSignature,
    /// The signature lacks a part or is of another form.
    IncompleteSignature,
    /// The request's time is more than 15 minutes off.
    Expired,
    /// No such operation.
    UnknownOperation,
    /// The body is not what the protocol says.
    Malformed,
    /// The body is too large.
    TooLarge,
    /// A Host header that is not ours.
    WrongHost,
    /// Not GET or POST, or another path.
    WrongMethod,
    /// hsmd cannot be reached.
    Unavailable,
    /// Our fault.
    Internal,
}

/// One row: what JSON services and what query services say.
struct Row(Common, u16, &'static str, u16, &'static str);

/// Names and status codes: the common errors of the API references, and for JSON what AWS's own services answer.
const ROWS: [Row; 12] = [
    Row(
        Common::MissingAuthentication,
        400,
        "MissingAuthenticationTokenException",
        403,
        "MissingAuthenticationToken",
    ),
    Row(
        Common::UnknownAccessKey,
        400,
        "UnrecognizedClientException",
        403,
        "InvalidClientTokenId",
    ),
    Row(
        Common::WrongSignature,
        400,
        "InvalidSignatureException",
        403,
        "SignatureDoesNotMatch",
    ),
    Row(
        Common::IncompleteSignature,
        400,
        "IncompleteSignatureException",
        400,
        "IncompleteSignature",
    ),
    Row(Common::Expired, 400, "InvalidSignatureException", 400, "RequestExpired"),
    Row(
        Common::UnknownOperation,
        400,
        "UnknownOperationException",
        400,
        "InvalidAction",
    ),
    Row(Common::Malformed, 400, "SerializationException", 400, "MalformedInput"),
    Row(
        Common::TooLarge,
        413,
        "RequestEntityTooLargeException",
        413,
        "RequestEntityTooLarge",
    ),
    Row(Common::WrongHost, 403, "AccessDeniedException", 403, "AccessDenied"),
    Row(
        Common::WrongMethod,
        405,
        "UnsupportedOperationException",
        405,
        "UnsupportedOperation",
    ),
    Row(
        Common::Unavailable,
        503,
        "ServiceUnavailableException",
        503,
        "ServiceUnavailable",
    ),
    Row(Common::Internal, 500, "InternalFailure", 500, "InternalFailure"),
];

impl Fault {
    /// A service's own error.
    pub(crate) fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: code.into(),
            message: message.into(),
            members: Map::new(),
        }
    }

    /// A common error, in the words of a protocol.
    pub(crate) fn common(protocol: Protocol, kind: Common, message: impl Into<String>) -> Self {
        let row = ROWS.iter().find(|row| row.0 == kind);
        let (status, code) = match (row, protocol) {
            (Some(Row(_, status, code, ..)), Protocol::Json) | (Some(Row(.., status, code)), Protocol::Query) => {
                (*status, *code)
            }
            (None, _) => (500, "InternalFailure"),
        };
        Self::new(status, code, message)
    }

    /// Adds a member of the error's shape.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_common_error_has_one_row() {
        for row in &ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.0 == row.0).count(), 1, "{:?}", row.0);
            assert_eq!(Fault::common(Protocol::Json, row.0, "").code, row.2);
            assert_eq!(Fault::common(Protocol::Query, row.0, "").code, row.4);
        }
    }
}
