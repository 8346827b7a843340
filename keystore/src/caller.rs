//! Who asks: the identity of a connection, the application behind it, and its login. Facts only; what they allow is decided by
//! `login` and `objects`.

use std::sync::Arc;

use hsmd_proto::ids::ApplicationId;

use crate::key_set::GrantId;
use crate::login::Login;

/// Who is at the other end of a connection: a hash of ("uid", node, uid) or of the client certificate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub [u8; 32]);

impl Identity {
    /// Reads one from a record; `None` unless it has 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A few digits tell identities apart in a log.
        write!(
            f,
            "Identity({:02x}{:02x}{:02x}{:02x})",
            self.0[0], self.0[1], self.0[2], self.0[3]
        )
    }
}

/// The connection on which a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub identity: Identity,
    /// Which `C_Initialize` of which process: session objects are sealed to it.
    pub application: ApplicationId,
}

/// A request's caller and, if its ticket was good, the login.
#[derive(Clone, Debug)]
pub struct Context {
    /// The connection.
    pub caller: Caller,
    /// The login that [`crate::KeySet::resolve`] found; `None`: public.
    pub login: Option<Arc<Login>>,
    /// What [`crate::KeySet::grant`] gave for this one operation.
    pub grant: Option<GrantId>,
}
