//! What an administrator does with the PIN of a security officer: has it checked, gives the user a new PIN with it, sets how many
//! tries it has. Logins of applications are `pins`.

use hsmd_proto::ck::{Rv, UserType};
use hsmd_proto::ids::OperationId;

use super::KeySet;
use crate::audit::{Act, Event};
use crate::caller::Caller;
use crate::error::Error;

impl KeySet {
    /// Whether this is the SO's PIN: a try like any other, but no login comes of it.
    ///
    /// # Errors
    /// As [`KeySet::login`].
    pub fn check_so(&self, caller: &Caller, pin: &[u8], attempt: OperationId) -> Result<(), Rv> {
        self.prove_so(caller, pin, attempt)
    }

    /// Whether this is the user's PIN: a try like any other, but no login comes of it.
    ///
    /// # Errors
    /// As [`KeySet::login`].
    pub fn check_user(&self, caller: &Caller, pin: &[u8], attempt: OperationId) -> Result<(), Rv> {
        self.prove_user(caller, pin, attempt).map(drop)
    }

    /// Gives the user a new PIN by the SO's, which re-wraps the PSK. If there was one, all logins end and failures are forgotten.
    ///
    /// # Errors
    /// `CKR_PIN_LEN_RANGE` for the new one, before the SO's is tried; as [`KeySet::login`] and [`KeySet::init_pin`].
    pub fn reset_user_pin(&self, caller: &Caller, so_pin: &[u8], pin: &[u8], operation: OperationId) -> Result<(), Rv> {
        self.check_length(pin)?;
        let ticket = self.login(caller, UserType::SO, so_pin, operation)?;
        let login = self.resolve(caller, ticket.expose())?;
        let done = self.init_pin(&login, pin, operation);
        self.logout(&login);
        done
    }

    /// Sets how many wrong tries lock a role, instead of `Options::pin_tries`; before C_InitToken.
    ///
    /// # Errors
    /// [`Error::KeySetExists`] when it is initialised; from the store.
    pub fn limit_tries(&self, tries: u32) -> Result<(), Error> {
        self.change_root(
            Event::new(Act::PartitionModify).detail(format!("pin tries {tries}")),
            |root| {
                if root.initialized() {
                    return Err(Error::KeySetExists);
                }
                root.pin_tries = tries;
                Ok(())
            },
        )?;
        self.tries.limit(tries);
        Ok(())
    }
}
