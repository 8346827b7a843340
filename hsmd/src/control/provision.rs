//! What administrators do with partitions of the model beside making and deleting them: PINs, quota, policy, roles, logins.

use super::model::{Model, ModelError, write};
use super::officers::{administrator, operation, refused};
use super::records::{Document as _, PartitionRecord};
use crate::data::local_identity;
use hsmd_keystore::audit;
use hsmd_keystore::{Identity, KeySet, LoginView, Quota, Role};
use hsmd_proto::ids::LoginId;
use hsmd_proto::policy::Policy;
use std::collections::HashMap;
use std::sync::Arc;

pub(super) const OFFICER: &str = "partition's security officer";
pub(super) const USER: &str = "partition's user";
/// Documents in one batch.
const BATCH: usize = 50;
/// `CKF_USER_PIN_COUNT_LOW`, `_FINAL_TRY`, `_LOCKED` of CK_TOKEN_INFO; the SO's are four bits higher.
const USER_FLAGS: [u64; 3] = [0x1_0000, 0x2_0000, 0x4_0000];

/// What CreatePartition is given.
#[derive(Clone, Copy, Default)]
pub struct NewPartition<'a> {
    /// Id, serial number or ARN; empty: the only one.
    pub hsm: &'a str,
    /// 1 to 32 bytes, no control characters.
    pub label: &'a str,
    /// `None`: the daemon's default.
    pub policy: Option<Policy>,
    /// Zeros: the daemon's defaults.
    pub quota: Quota,
    /// The SO's PIN: then the token is initialised.
    pub so_pin: Option<&'a [u8]>,
    /// The user's PIN.
    pub user_pin: Option<&'a [u8]>,
}

/// A role of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleView {
    /// so or user.
    pub name: &'static str,
    /// It has a PIN.
    pub initialised: bool,
    /// There were wrong PINs since the last right one.
    pub tried: bool,
    /// One more locks.
    pub last_try: bool,
    /// Locked.
    pub locked: bool,
}

impl Model {
    /// Creates a partition with what is to be in it from the start: all of it or, also after a stop, nothing.
    ///
    /// # Errors
    /// As [`Self::create_partition`]; PINs of a wrong length, a user's PIN without the SO's.
    pub fn provision(&self, new: &NewPartition<'_>) -> Result<PartitionRecord, ModelError> {
        for (field, pin) in [("SoPin", new.so_pin), ("UserPin", new.user_pin)] {
            pin.map_or(Ok(()), |pin| self.check_pin(field, pin))?;
        }
        let Some(so_pin) = new.so_pin else {
            if new.user_pin.is_some() {
                return Err(ModelError::Missing("SoPin", "given where UserPin is"));
            }
            return self.make_partition(new, false);
        };
        // Recorded as being deleted, which is what becomes of it at the next start, until all is done.
        let hidden = self.make_partition(new, true)?;
        let done = self.set_pins(&hidden, new.label, so_pin, new.user_pin);
        let done: Result<PartitionRecord, ModelError> = done.and_then(|()| self.reveal(&hidden.serial));
        if done.is_err() {
            self.finish_deletion(&hidden.serial)?;
        }
        self.ensure_free(&hidden.hsm)?;
        self.show();
        done
    }

    fn set_pins(
        &self,
        record: &PartitionRecord,
        label: &str,
        so: &[u8],
        user: Option<&[u8]>,
    ) -> Result<(), ModelError> {
        let missing = || ModelError::KeysMissing(record.serial.clone());
        let key_set = self.key_set(&record.key_set).ok_or_else(missing)?;
        let mut padded = [b' '; 32];
        padded[..label.len()].copy_from_slice(label.as_bytes());
        let caller = administrator();
        key_set
            .init_token(&caller, so, &padded, operation())
            .map_err(|rv| refused(rv, OFFICER))?;
        let user = user.map_or(Ok(()), |user| key_set.reset_user_pin(&caller, so, user, operation()));
        user.map_err(|rv| refused(rv, USER))
    }

    fn reveal(&self, serial: &str) -> Result<PartitionRecord, ModelError> {
        let mut state = self.state.lock();
        let missing = ModelError::NotFound("partition of this name");
        let entry = state.partitions.get_mut(serial).ok_or(missing)?;
        let mut record = entry.record.clone();
        record.deleting = false;
        self.replace(entry, record.clone())?;
        Ok(record)
    }

    /// The partition of this serial number or ARN.
    ///
    /// # Errors
    /// [`ModelError::NotFound`].
    pub fn partition(&self, name: &str) -> Result<PartitionRecord, ModelError> {
        let serial = name.rsplit_once("/partition-").map_or(name, |(_, serial)| serial);
        let state = self.state.lock();
        let entry = state.partitions.get(serial).filter(|entry| !entry.record.deleting);
        let named = entry.filter(|entry| {
            let hsm = state.hsms.get(&entry.record.hsm);
            name == serial || hsm.is_some_and(|hsm| hsm.record.partition_arn(serial) == name)
        });
        let found = named.map(|entry| entry.record.clone());
        found.ok_or(ModelError::NotFound("partition of this name"))
    }

    /// The key set behind a partition.
    ///
    /// # Errors
    /// [`ModelError::NotFound`], [`ModelError::KeysMissing`].
    pub fn partition_keys(&self, name: &str) -> Result<Arc<KeySet>, ModelError> {
        let record = self.partition(name)?;
        let key_set = self.key_set(&record.key_set);
        key_set.ok_or(ModelError::KeysMissing(record.serial))
    }

    /// Does something with the keys of a partition; the audit log says of which.
    fn at_partition<T>(&self, name: &str, work: impl FnOnce(&KeySet) -> T) -> Result<T, ModelError> {
        let record = self.partition(name)?;
        let key_set = self.partition_keys(name)?;
        let place = audit::Place {
            hsm: record.hsm,
            partition: record.serial,
        };
        Ok(audit::at(place, || work(&key_set)))
    }

    /// Sets how much a partition, and all that share its keys, may hold; `None`: as it is.
    ///
    /// # Errors
    /// As [`Self::partition_keys`]; the keystore's.
    pub fn resize(&self, name: &str, objects: Option<u64>, bytes: Option<u64>) -> Result<PartitionRecord, ModelError> {
        self.at_partition(name, |key_set| {
            let now = key_set.quota();
            key_set.set_quota(Quota {
                objects: objects.unwrap_or(now.objects),
                bytes: bytes.unwrap_or(now.bytes),
            })
        })??;
        self.partition(name)
    }

    /// Makes the policy of a partition, and of all that share its keys, stricter.
    ///
    /// # Errors
    /// As [`Self::partition_keys`]; a looser policy; the keystore's errors.
    pub fn tighten(&self, name: &str, policy: Policy) -> Result<PartitionRecord, ModelError> {
        self.at_partition(name, |key_set| key_set.tighten(policy))??;
        self.align_policies()?;
        self.show();
        self.partition(name)
    }

    /// Makes records say what the key sets do: a key set is tightened before the records that name its policy.
    pub(super) fn align_policies(&self) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let stale = state.partitions.values().filter_map(|entry| {
            let policy = self.key_set(&entry.record.key_set)?.policy().name();
            let mut record = entry.record.clone();
            policy.clone_into(&mut record.policy);
            (record != entry.record).then_some((record, entry.version))
        });
        let stale: Vec<_> = stale.collect();
        for some in stale.chunks(BATCH) {
            let writes = some
                .iter()
                .map(|(record, version)| write(&record.name(), *version, Some(record)));
            self.commit(writes.collect())?;
            for (record, version) in some {
                if let Some(entry) = state.partitions.get_mut(&record.serial) {
                    entry.version = version + 1;
                    entry.record = record.clone();
                }
            }
        }
        Ok(())
    }

    /// Gives the user of a partition a new PIN by the SO's, which is a counted try.
    ///
    /// # Errors
    /// As [`Self::partition_keys`]; a wrong or locked PIN, one of a wrong length, a token that is not initialised.
    pub fn reset_pin(&self, name: &str, so_pin: &[u8], user_pin: &[u8]) -> Result<(), ModelError> {
        self.check_pin("UserPin", user_pin)?;
        self.administered_partition(name)?;
        let reset = |key_set: &KeySet| key_set.reset_user_pin(&administrator(), so_pin, user_pin, operation());
        let done = self.at_partition(name, reset)?;
        done.map_err(|rv| refused(rv, OFFICER))
    }

    /// Gives the crypto user of a partition a PIN by the user's, which is a counted try.
    ///
    /// # Errors
    /// As [`Self::partition_keys`]; a wrong or locked PIN, one of a wrong length, a user without a PIN.
    pub fn set_crypto_user_pin(&self, name: &str, user_pin: &[u8], pin: &[u8]) -> Result<(), ModelError> {
        self.check_pin("CryptoUserPin", pin)?;
        self.administered_partition(name)?;
        let set = |key_set: &KeySet| key_set.set_crypto_user_pin(&administrator(), user_pin, pin, operation());
        let done = self.at_partition(name, set)?;
        done.map_err(|rv| refused(rv, USER))
    }

    /// The roles of a partition: the security officer, the user, the crypto user.
    ///
    /// # Errors
    /// As [`Self::partition_keys`].
    pub fn roles(&self, name: &str) -> Result<[RoleView; 3], ModelError> {
        let key_set = self.partition_keys(name)?;
        let (token, crypto_user) = (key_set.token(), key_set.crypto_user());
        let role = |name, initialised, shift: u32| {
            let [tried, last_try, locked] = USER_FLAGS.map(|flag| token.flags & (flag << shift) != 0);
            RoleView {
                name,
                initialised,
                tried,
                last_try,
                locked,
            }
        };
        let crypto_user = RoleView {
            name: "cu",
            initialised: crypto_user.initialized,
            tried: crypto_user.tried,
            last_try: crypto_user.last_try,
            locked: crypto_user.locked,
        };
        Ok([
            role("so", token.initialized, 4),
            role("user", token.has_user_pin, 0),
            crypto_user,
        ])
    }

    /// Opens a role of a partition that wrong PINs have closed.
    ///
    /// # Errors
    /// As [`Self::partition_keys`]; a role that is none; the keystore's errors.
    pub fn unlock(&self, name: &str, role: &str) -> Result<RoleView, ModelError> {
        let which = match role {
            "so" => Role::So,
            "user" => Role::User,
            "cu" => Role::CryptoUser,
            _ => return Err(ModelError::Invalid("Role", "so, user or cu")),
        };
        self.administered_partition(name)?;
        self.at_partition(name, |key_set| key_set.unlock(which))??;
        let [so, user, crypto_user] = self.roles(name)?;
        Ok(match which {
            Role::So => so,
            Role::User => user,
            Role::CryptoUser => crypto_user,
        })
    }

    /// The logins of a partition.
    ///
    /// # Errors
    /// As [`Self::partition_keys`].
    pub fn logins(&self, name: &str) -> Result<Vec<LoginView>, ModelError> {
        Ok(self.partition_keys(name)?.logins())
    }

    /// Ends a login of a partition.
    ///
    /// # Errors
    /// As [`Self::partition_keys`]; [`ModelError::NoLogin`]; the keystore's errors.
    pub fn end_login(&self, name: &str, login: &str) -> Result<(), ModelError> {
        let key_set = self.partition_keys(name)?;
        let id = LoginId::from_hex(login).ok_or(ModelError::Invalid("Login", "32 hexadecimal digits"))?;
        if key_set.end_login(id)? {
            Ok(())
        } else {
            Err(ModelError::NoLogin)
        }
    }

    /// Who is behind an identity: clients, and the users of this host.
    #[must_use]
    pub fn names(&self) -> HashMap<Identity, String> {
        let node = self.keystore.node();
        let mut names = HashMap::new();
        for user in host_users() {
            names.insert(local_identity(node, user), format!("user-{user}"));
        }
        let state = self.state.lock();
        names.extend(state.users.values().map(|entry| {
            let record = &entry.record;
            (local_identity(node, record.user), record.id.clone())
        }));
        names.extend(
            state
                .clients
                .values()
                .filter_map(|entry| Some((entry.record.identity()?, entry.record.id.clone()))),
        );
        names
    }

    pub(super) fn check_pin(&self, field: &'static str, pin: &[u8]) -> Result<(), ModelError> {
        if self.keystore.pin_length().contains(&pin.len()) {
            Ok(())
        } else {
            Err(ModelError::Invalid(
                field,
                "as long as pin.min_length and pin.max_length say",
            ))
        }
    }
}

/// The numbers of the users that this host knows by name.
fn host_users() -> Vec<u32> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split(':').nth(2)?.parse().ok())
        .collect()
}
