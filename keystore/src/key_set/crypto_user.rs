//! The crypto user: the role that uses keys and leaves the token as it is. The user (the crypto officer) gives it its PIN; what
//! it may do is `objects::access`. Its tries are counted apart from the user's.

use hsmd_crypto::random;
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::OperationId;
use hsmd_store::{Batch, Write};

use super::pins::Proven;
use super::{KeySet, Root};
use crate::audit::{Act, Event};
use crate::caller::Caller;
use crate::core::Committed;
use crate::login::Role;
use crate::pin;
use crate::records::{PinRecord, remember};
use crate::seal::Kind;
use crate::tries::Counts;

/// How a role stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleState {
    /// It has a PIN.
    pub initialized: bool,
    /// A wrong PIN was tried since the last right one.
    pub tried: bool,
    /// One more wrong PIN locks it.
    pub last_try: bool,
    /// Nobody logs in.
    pub locked: bool,
}

impl KeySet {
    /// Gives the crypto user a PIN by the user's, which is a counted try. If there was one, all logins end and failures are
    /// forgotten, as with [`KeySet::init_pin`].
    ///
    /// # Errors
    /// `CKR_PIN_LEN_RANGE` for the new one, before the user's is tried; as [`KeySet::login`].
    pub fn set_crypto_user_pin(
        &self,
        caller: &Caller,
        user_pin: &[u8],
        pin: &[u8],
        operation: OperationId,
    ) -> Result<(), Rv> {
        self.check_length(pin)?;
        let proven = self.prove(caller, Role::User, user_pin, operation)?;
        if self.has_done(&self.pin_path(&proven.root, Role::CryptoUser), &operation)? {
            return Ok(());
        }
        let place = self.place(&proven.root, Role::CryptoUser);
        let mut record = pin::wrap(&proven.psk, pin, place, &self.core.options.pin_cost)?;
        remember(&mut record.operations, &operation);
        // Records of logins that are still on their way would outlive the epoch.
        self.core.background.flush();
        self.tries
            .gate(proven.root.path("tries/cu"))
            .reset(|| self.put_crypto_user_pin(&proven, &record, &operation))
    }

    /// How the crypto user's role stands.
    #[must_use]
    pub fn crypto_user(&self) -> RoleState {
        let root = self.root();
        let path = self.pin_path(&root, Role::CryptoUser);
        if !root.initialized() || self.core.store.get(&path).is_none() {
            return RoleState::default();
        }
        let Counts { low, last, locked } = self.worst_counts(&root.path("tries/cu"));
        RoleState {
            initialized: true,
            tried: low,
            last_try: last,
            locked,
        }
    }

    fn put_crypto_user_pin(&self, proven: &Proven, record: &PinRecord, operation: &OperationId) -> Result<(), Rv> {
        let _gate = self.gate.write();
        let mut root = Root::clone(&self.root());
        let path = self.pin_path(&root, Role::CryptoUser);
        if self.has_done(&path, operation)? {
            return Ok(());
        }
        if root.incarnation != proven.root.incarnation || root.epoch != proven.root.epoch {
            // The user's PIN was locked or given anew meanwhile.
            return Err(Rv::FUNCTION_FAILED);
        }
        let before = self.core.store.get(&path).map_or(0, |record| record.version);
        let mut batch = Batch {
            operation: random::array(),
            writes: vec![self.core.put(&path, before, Kind::Pin, record)],
            reserve: true,
            ..Batch::default()
        };
        let event = Event::new(Act::PinInit).of(self.id);
        let event = if before == 0 {
            batch.compares.push(root.compare());
            event.detail("cu")
        } else {
            root.epoch += 1;
            batch.writes.push(self.put_root(&mut root));
            let tries = root.path("tries/cu");
            if let Some(found) = self.core.store.get(&tries) {
                batch.writes.push(Write {
                    path: tries,
                    version: found.version + 1,
                    value: None,
                });
            }
            event.detail("cu, in place of another")
        };
        match self.core.commit_act(batch, vec![event]).map_err(|error| error.rv())? {
            Committed::Conflict(_) => Err(Rv::FUNCTION_FAILED),
            Committed::Done(_) if before == 0 => Ok(()),
            Committed::Done(_) => {
                self.switch(root, None);
                Ok(())
            }
        }
    }
}
