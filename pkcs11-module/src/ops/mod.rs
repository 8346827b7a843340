//! What each C_ function does, one file per family. Order of checks (DESIGN 5): initialised, session, arguments, operation
//! active, mechanism, parameter, key handle, class and type, size, usage, login.

pub(crate) mod absent;
pub(crate) mod attribute;
pub(crate) mod chain;
pub(crate) mod crypt;
pub(crate) mod decrypt;
pub(crate) mod derive;
pub(crate) mod digest;
pub(crate) mod dual;
pub(crate) mod encapsulate;
pub(crate) mod encrypt;
pub(crate) mod family;
pub(crate) mod find;
pub(crate) mod general;
pub(crate) mod generate;
pub(crate) mod iv;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod message_crypt;
pub(crate) mod message_sign;
pub(crate) mod object;
pub(crate) mod random;
pub(crate) mod recover;
pub(crate) mod request;
pub(crate) mod sealed_digest;
pub(crate) mod session;
pub(crate) mod sign;
pub(crate) mod slot;
pub(crate) mod state;
pub(crate) mod token;
pub(crate) mod verify;
pub(crate) mod verify_signature;
pub(crate) mod wrap;
