//! Exit codes and errors of `hsmctl`: what, why, what to do.

use std::process::ExitCode;
use tonic::Code;

/// Exit codes; stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed.
    Failed = 1,
    /// Wrong arguments.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// Refused.
    Refused = 4,
    /// Locked or not initialised.
    NotReady = 5,
    /// No daemon answers.
    Unavailable = 6,
    /// It exists already, or was changed by somebody else.
    Conflict = 7,
    /// It took too long.
    Timeout = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Error {
    exit: Exit,
    message: String,
}

impl Error {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    pub(super) fn failed(error: &dyn std::error::Error) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }

    pub(super) const fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::new(exit(status.code()), status.message())
    }
}

/// The one table from gRPC codes to exit codes.
const fn exit(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Ok,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::PermissionDenied | Code::Unauthenticated => Exit::Refused,
        Code::FailedPrecondition => Exit::NotReady,
        Code::Unavailable => Exit::Unavailable,
        Code::AlreadyExists | Code::Aborted => Exit::Conflict,
        Code::DeadlineExceeded => Exit::Timeout,
        Code::Cancelled | Code::Unknown | Code::ResourceExhausted | Code::Unimplemented => Exit::Failed,
        Code::Internal | Code::DataLoss => Exit::Failed,
    }
}
