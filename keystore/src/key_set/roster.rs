//! Who is logged in, and how an administrator ends it: the login records of one identity, or one login. How a login comes to be
//! and how its own application ends it is `pins`.

use std::collections::HashMap;
use std::sync::Arc;

use hsmd_proto::ids::LoginId;

use super::KeySet;
use super::pins::login_path;
use crate::caller::Identity;
use crate::error::Error;
use crate::login::{Entry, Role};
use crate::records::LoginRecord;
use crate::seal::Kind;

/// A login, as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginView {
    /// Its id.
    pub id: LoginId,
    /// Whose it is.
    pub identity: Identity,
    /// In which role.
    pub role: Role,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970 of the last use: to the second since this run of the daemon knows it, else to a day.
    pub used: u64,
}

impl KeySet {
    /// The logins that live, in the order of their making.
    #[must_use]
    pub fn logins(&self) -> Vec<LoginView> {
        // What is on its way to the store counts.
        self.core.background.flush();
        let root = self.root();
        let known: HashMap<LoginId, Arc<Entry>> = self
            .logins
            .all()
            .into_iter()
            .map(|entry| (entry.login.id, entry))
            .collect();
        let mut logins: Vec<_> = self
            .login_records()
            .into_iter()
            .filter(|(_, record)| record.epoch == root.epoch && !self.is_idle(record))
            .filter_map(|(id, record)| {
                let used = known.get(&id).map_or(0, |entry| self.used_at(&entry.login));
                Some(LoginView {
                    id,
                    identity: Identity::from_slice(&record.identity)?,
                    role: Role::from_number(record.role)?,
                    created: record.created,
                    used: used.max(record.used),
                })
            })
            .collect();
        logins.sort_by_key(|login| (login.created, login.id));
        logins
    }

    /// Ends the logins of one identity and says how many there were. Their records are gone when it returns: no ticket of
    /// theirs is good again, also not after a restart.
    ///
    /// # Errors
    /// [`Error::LoginsStay`]: this run knows them no more, but a record may be left.
    pub fn end_logins_of(&self, identity: &Identity) -> Result<usize, Error> {
        self.end_where(|_, whose| whose == identity)
    }

    /// Ends one login; false if there is none of this id.
    ///
    /// # Errors
    /// As [`Self::end_logins_of`].
    pub fn end_login(&self, id: LoginId) -> Result<bool, Error> {
        self.end_where(|each, _| each == id).map(|ended| ended > 0)
    }

    fn end_where(&self, meant: impl Fn(LoginId, &Identity) -> bool) -> Result<usize, Error> {
        self.core.background.flush();
        // Under the lock, so that nobody resolves a ticket from its record at the same time.
        let _opening = self.opening.lock();
        let root = self.root();
        let mut ids: Vec<LoginId> = self
            .login_records()
            .into_iter()
            .filter(|(id, record)| Identity::from_slice(&record.identity).is_some_and(|whose| meant(*id, &whose)))
            .map(|(id, _)| id)
            .collect();
        // One that was made since the flush.
        let known = self.logins.all().into_iter();
        ids.extend(
            known
                .filter(|entry| meant(entry.login.id, &entry.login.identity))
                .map(|entry| entry.login.id),
        );
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(0);
        }
        for id in &ids {
            self.forget(id);
            self.core.background.delete(login_path(&root, *id));
        }
        if self.core.background.flush() {
            return Ok(ids.len());
        }
        Err(Error::LoginsStay)
    }

    /// The login records of this incarnation that open.
    fn login_records(&self) -> Vec<(LoginId, LoginRecord)> {
        let root = self.root();
        let found = self.core.store.scan(root.path("login").as_str()).into_iter();
        found
            .filter_map(|(path, record)| {
                let id = LoginId::from_hex(path.as_str().rsplit_once('/')?.1)?;
                let record = self.core.decode::<LoginRecord>(&path, Kind::Login, &record).ok()?;
                Some((id, record))
            })
            .collect()
    }
}
