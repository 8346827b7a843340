//! The security officer of an HSM: InitializeHsm, the check of its PIN, ZeroizeHsm. Its PIN and its tries are those of the SO of a
//! key set that holds nothing: so a try is counted durably before the PIN is checked (INV-8), and over a restart.

use super::groups::GroupChange;
use super::model::{Model, ModelError};
use super::partitions::check_label;
use super::records::{HsmRecord, HsmState, Officer};
use crate::config::Lockout;
use hsmd_keystore::{Caller, Identity, KeySet};
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::{ApplicationId, KeySetId, OperationId};
use hsmd_proto::policy::Policy;
use std::sync::Arc;

const HSM_OFFICER: &str = "HSM's security officer";
/// `CKF_SO_PIN_COUNT_LOW`, `_FINAL_TRY`, `_LOCKED` of CK_TOKEN_INFO.
const SO_FLAGS: [u64; 3] = [0x10_0000, 0x20_0000, 0x40_0000];
const MAX_DOMAIN: usize = 128;

/// How a security officer stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfficerView {
    /// The HSM's ARN.
    pub hsm_arn: String,
    /// InitializeHsm has been done.
    pub initialised: bool,
    /// The HSM's label.
    pub label: String,
    /// A keyed hash of the cloning domain.
    pub domain: String,
    /// There were wrong PINs since the last right one.
    pub tried: bool,
    /// One more locks.
    pub last_try: bool,
    /// Locked.
    pub locked: bool,
}

impl Model {
    /// How the security officer of an HSM stands.
    ///
    /// # Errors
    /// No such HSM; [`ModelError::KeysMissing`].
    pub fn officer(&self, hsm: &str) -> Result<OfficerView, ModelError> {
        let hsm = self.hsm(hsm)?;
        let key_set = self.officer_key_set(&hsm)?;
        let token = key_set.map(|key_set| key_set.token()).filter(|token| token.initialized);
        let flags = token.as_ref().map_or(0, |token| token.flags);
        let [tried, last_try, locked] = SO_FLAGS.map(|flag| flags & flag != 0);
        let initialised = token.is_some();
        let shown = |text: &String| if initialised { text.clone() } else { String::new() };
        Ok(OfficerView {
            initialised,
            label: shown(&hsm.officer.label),
            domain: shown(&hsm.officer.domain),
            hsm_arn: hsm.arn,
            tried,
            last_try,
            locked,
        })
    }

    /// Gives an HSM its security officer. A stop in between leaves it without one.
    ///
    /// # Errors
    /// No such HSM, one that has an officer or does not run, a label, PIN or domain of a wrong length; the keystore's errors.
    pub fn initialise_hsm(&self, hsm: &str, label: &str, pin: &[u8], domain: &[u8]) -> Result<OfficerView, ModelError> {
        check_label(label)?;
        self.check_pin("SoPin", pin)?;
        if domain.is_empty() || domain.len() > MAX_DOMAIN {
            return Err(ModelError::Invalid("Domain", "1 to 128 bytes"));
        }
        let id = self.hsm(hsm)?.id;
        // One at a time: the key set is made, referred to and initialised under this lock.
        let _still = self.tokens.write();
        let hsm = self.hsm(&id)?;
        if hsm.state != HsmState::Running || hsm.officer.zeroizing {
            return Err(ModelError::State(if hsm.officer.zeroizing {
                "being zeroized"
            } else {
                hsm.state.name()
            }));
        }
        let key_set = match self.officer_key_set(&hsm)? {
            Some(key_set) if key_set.token().initialized => return Err(ModelError::Initialised),
            Some(key_set) => key_set,
            None => self.keystore.create_key_set(Policy::Strict)?,
        };
        key_set.limit_tries(self.config.so_tries)?;
        let officer = Officer {
            key_set: key_set.id().to_string(),
            label: label.to_owned(),
            domain: self.keystore.keyed_name("cloning domain", domain),
            zeroizing: false,
        };
        self.change_officer(&id, officer)?;
        let done = key_set.init_token(&administrator(), pin, &[b' '; 32], operation());
        done.map_err(|rv| refused(rv, HSM_OFFICER))?;
        self.officer(&id)
    }

    /// Whether an administrator may change the partitions of an HSM: the PIN is right if it is given, given if it must be, and
    /// wrong ones have not locked the administration.
    ///
    /// # Errors
    /// [`ModelError::PinWrong`], [`ModelError::PinNeeded`], [`ModelError::RoleLocked`], [`ModelError::NotInitialised`].
    pub fn authorise(&self, hsm: &str, pin: Option<&[u8]>) -> Result<(), ModelError> {
        let hsm = self.hsm(hsm)?;
        let key_set = self
            .officer_key_set(&hsm)?
            .filter(|key_set| key_set.token().initialized);
        let Some(key_set) = key_set else {
            let needed = self.config.require_so || pin.is_some();
            return if needed {
                Err(ModelError::NotInitialised)
            } else {
                Ok(())
            };
        };
        if is_locked(&key_set) {
            // A stop came between the lock and what follows it.
            if pin.is_some() && self.config.so_lockout == Lockout::Zeroize {
                self.zeroise_hsm(&hsm.id)?;
            }
            return Err(ModelError::RoleLocked(HSM_OFFICER));
        }
        let Some(pin) = pin else {
            return if self.config.require_so {
                Err(ModelError::PinNeeded)
            } else {
                Ok(())
            };
        };
        let checked = key_set.check_so(&administrator(), pin, operation());
        if checked.is_err() && is_locked(&key_set) {
            tracing::warn!(hsm = hsm.id, "wrong PINs have locked the HSM's security officer");
            if self.config.so_lockout == Lockout::Zeroize {
                self.zeroise_hsm(&hsm.id)?;
            }
        }
        checked.map_err(|rv| refused(rv, HSM_OFFICER))
    }

    /// Refuses what changes an HSM's partitions while wrong PINs have locked its administration. What only takes something away
    /// (deletions of clients and logins, suspension, zeroisation) is not asked.
    pub(super) fn administered(&self, hsm: &HsmRecord) -> Result<(), ModelError> {
        let key_set = self.officer_key_set(hsm)?;
        match key_set.is_some_and(|key_set| is_locked(&key_set)) {
            true => Err(ModelError::RoleLocked(HSM_OFFICER)),
            false => Ok(()),
        }
    }

    /// As [`Model::administered`], of a partition's HSM.
    pub(super) fn administered_partition(&self, name: &str) -> Result<(), ModelError> {
        let partition = self.partition(name)?;
        self.administered(&self.hsm(&partition.hsm)?)
    }

    /// Destroys everything in an HSM: its partitions, which leave their groups first, and its officer. Says how many partitions
    /// there were. A stop in between is finished at the next start; from the first moment on its slots have no token.
    ///
    /// No PIN is asked for: whoever may call this may delete each of its partitions, and nothing is gained by it.
    ///
    /// # Errors
    /// No such HSM, none named, one that is deleted; the keystore's errors, after which it may be called again.
    pub fn zeroise_hsm(&self, hsm: &str) -> Result<usize, ModelError> {
        if hsm.is_empty() {
            return Err(ModelError::Missing("Hsm", "an id, serial number or ARN"));
        }
        let hsm = self.hsm(hsm)?;
        if !(hsm.state.serves() || hsm.state == HsmState::Suspended) {
            return Err(ModelError::State(hsm.state.name()));
        }
        {
            // INV-2: what is being initialised is done, and then destroyed.
            let _still = self.tokens.write();
            let hsm = self.hsm(&hsm.id)?;
            let zeroizing = true;
            self.change_officer(
                &hsm.id,
                Officer {
                    zeroizing,
                    ..hsm.officer
                },
            )?;
            self.show();
        }
        self.finish_zeroizing(&hsm.id)
    }

    pub(super) fn finish_zeroizing(&self, id: &str) -> Result<usize, ModelError> {
        let partitions = self.partitions(id)?;
        for partition in &partitions {
            let serial = &partition.serial;
            let group = self.state.lock().group_of(serial).cloned();
            if let Some(group) = group {
                let left = group.members.iter().filter(|member| *member != serial);
                let change = GroupChange {
                    members: Some(left.cloned().collect()),
                    ..GroupChange::default()
                };
                self.modify_group(&group.arn, change)?;
            }
            match self.delete_partition(serial) {
                // Somebody was faster.
                Ok(()) | Err(ModelError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.dismiss_officer(id)?;
        self.ensure_free(id)?;
        self.show();
        tracing::warn!(hsm = id, partitions = partitions.len(), "HSM zeroized");
        Ok(partitions.len())
    }

    /// Destroys what an HSM's officer was, if there is one.
    pub(super) fn dismiss_officer(&self, id: &str) -> Result<(), ModelError> {
        let hsm = self.hsm(id)?;
        if let Some(key_set) = KeySetId::from_hex(&hsm.officer.key_set) {
            self.keystore.delete_key_set(key_set)?;
        }
        self.change_officer(id, Officer::default())
    }

    fn change_officer(&self, id: &str, officer: Officer) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let hsm = state.hsms.get_mut(id).ok_or(ModelError::NotFound("HSM of this name"))?;
        if hsm.record.officer == officer {
            return Ok(());
        }
        let mut record = hsm.record.clone();
        record.officer = officer;
        self.replace(hsm, record)
    }

    /// The key set that holds the officer's PIN; `None`: there never was an officer.
    fn officer_key_set(&self, hsm: &HsmRecord) -> Result<Option<Arc<KeySet>>, ModelError> {
        if hsm.officer.key_set.is_empty() || hsm.officer.zeroizing {
            return Ok(None);
        }
        let key_set = self.key_set(&hsm.officer.key_set);
        key_set.map(Some).ok_or_else(|| ModelError::KeysMissing(hsm.id.clone()))
    }
}

fn is_locked(key_set: &KeySet) -> bool {
    key_set.token().flags & SO_FLAGS[2] != 0
}

/// Who asks of a key set what administrators ask: all of them count as one, so that their wrong PINs do.
pub(super) fn administrator() -> Caller {
    Caller {
        identity: Identity(hsmd_crypto::seal::sha256(&[b"administrators"])),
        application: ApplicationId(hsmd_crypto::random::array()),
    }
}

pub(super) fn operation() -> OperationId {
    OperationId(hsmd_crypto::random::array())
}

/// A token's refusal; `role` is whose PIN it was.
pub(super) fn refused(rv: Rv, role: &'static str) -> ModelError {
    match rv {
        Rv::PIN_INCORRECT => ModelError::PinWrong(role),
        Rv::PIN_LOCKED => ModelError::RoleLocked(role),
        Rv::USER_PIN_NOT_INITIALIZED => ModelError::NoPin(role),
        Rv::PIN_LEN_RANGE => ModelError::Invalid("Pin", "as long as pin.min_length and pin.max_length say"),
        Rv::FUNCTION_FAILED => ModelError::Conflict,
        Rv::DEVICE_MEMORY => ModelError::Keystore(hsmd_keystore::Error::Full),
        rv => ModelError::Token(rv),
    }
}
