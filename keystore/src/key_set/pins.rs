//! PINs and logins of a key set: C_Login, C_Logout, C_InitPIN, C_SetPIN, and the resolving of tickets. The order of things in a
//! PIN check: the lock state, the verifier, a place in the counter (durable), Argon2id, the verdict (durable), the answer (INV-8).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hsmd_crypto::random;
use hsmd_crypto::seal::{equal, hmac};
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ck::{Rv, UserType};
use hsmd_proto::ids::{LoginId, OperationId};
use hsmd_store::{Batch, Path, Write};

use super::lockout::RoleLockout;
use super::{KeySet, Root};
use crate::audit::{Act, Event};
use crate::caller::{Caller, Identity};
use crate::core::Committed;
use crate::error::Error;
use crate::login::{Entry, Login, Role};
use crate::pin::{self, Place};
use crate::records::{FORMAT, LoginRecord, PinRecord, done_before, remember};
use crate::seal::{Kind, Psk};
use crate::shared::wrote;
use crate::ticket::Ticket;
use crate::tries::{Begin, Gate};
use crate::verifier::Subject;

/// A PIN that was found right.
pub(super) struct Proven {
    pub(super) psk: Psk,
    /// The root when the check began: what was proven holds for its epoch.
    pub(super) root: Arc<Root>,
}

/// A PIN record and its version.
type Kept = (PinRecord, u64);

impl KeySet {
    /// `C_Login` (PKCS#11 3.2, 5.6.8). `attempt` again is the same try: it is not counted again and makes no second login.
    ///
    /// # Errors
    /// `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`, `CKR_USER_PIN_NOT_INITIALIZED`, `CKR_USER_TYPE_INVALID`; `CKR_FUNCTION_FAILED` if there
    /// was no room for the try in time; `CKR_DEVICE_ERROR`, `CKR_DEVICE_MEMORY` from the store.
    pub fn login(&self, caller: &Caller, user: UserType, pin: &[u8], attempt: OperationId) -> Result<Ticket, Rv> {
        let role = Role::of(user)?;
        self.check_self_tests()?;
        let proven = self.prove(caller, role, pin, attempt)?;
        self.make_login(caller, role, proven, attempt)
    }

    /// `C_Login` with `CKU_CONTEXT_SPECIFIC`: the PIN of the login's own role once more. Makes no new login.
    ///
    /// # Errors
    /// As [`KeySet::login`].
    pub fn reauthenticate(&self, caller: &Caller, login: &Login, pin: &[u8], attempt: OperationId) -> Result<(), Rv> {
        self.check_login(login)?;
        self.prove(caller, login.role, pin, attempt).map(drop)
    }

    /// `C_Logout` (PKCS#11 3.2, 5.6.10): ends the login. Its record is gone when this returns.
    pub fn logout(&self, login: &Login) {
        // Under the lock, so that nobody resolves the ticket from the record at the same time.
        let _opening = self.opening.lock();
        login.end();
        self.forget(&login.id);
        self.audit_login(Act::Logout, login.role);
        self.core.background.delete(login_path(&self.root(), login.id));
        if !self.core.background.flush() {
            tracing::warn!(login = %login.id, "the record of an ended login could not be removed");
        }
    }

    /// The login of a ticket, for a caller of the identity to which it was given. Of a ticket seen before: a look-up and a
    /// comparison, no store, no cipher (INV-5).
    ///
    /// # Errors
    /// `CKR_USER_NOT_LOGGED_IN`, whatever the reason.
    pub fn resolve(&self, caller: &Caller, ticket: &[u8]) -> Result<Arc<Login>, Rv> {
        if let Some(login) = self.logins.find(&caller.identity, ticket) {
            login.used.store(self.touch(), Ordering::Relaxed);
            return Ok(login);
        }
        self.resolve_anew(&caller.identity, ticket)
            .ok_or(Rv::USER_NOT_LOGGED_IN)
    }

    /// `C_InitPIN` (PKCS#11 3.2, 5.5.8): gives the user a PIN. If there was one, all other logins end and failures are forgotten.
    ///
    /// # Errors
    /// `CKR_USER_NOT_LOGGED_IN` unless `login` is the SO's; `CKR_PIN_LEN_RANGE`; from the store as [`KeySet::login`].
    pub fn init_pin(&self, login: &Login, pin: &[u8], operation: OperationId) -> Result<(), Rv> {
        self.check_login(login)?;
        if login.role != Role::So {
            return Err(Rv::USER_NOT_LOGGED_IN);
        }
        let path = self.pin_path(&self.root(), Role::User);
        if self.has_done(&path, &operation)? {
            return Ok(());
        }
        self.check_length(pin)?;
        let psk = self.psk().ok_or(Rv::USER_NOT_LOGGED_IN)?;
        let place = self.place(&self.root(), Role::User);
        let mut record = pin::wrap(&psk, pin, place, &self.core.options.pin_cost)?;
        remember(&mut record.operations, &operation);
        // The login's own record may still be on its way; it is written anew below.
        self.core.background.flush();
        self.user_gate()
            .reset(|| self.put_user_pin(login, &psk, place.incarnation, record, operation))
    }

    /// `C_SetPIN` (PKCS#11 3.2, 5.5.9): changes the PIN of the login's role, or the user's without a login. All logins go on.
    ///
    /// # Errors
    /// `CKR_PIN_INCORRECT` (counted), `CKR_PIN_LOCKED`, `CKR_PIN_LEN_RANGE`, `CKR_USER_PIN_NOT_INITIALIZED`; from the store as
    /// [`KeySet::login`].
    pub fn set_pin(
        &self,
        caller: &Caller,
        login: Option<&Login>,
        old: &[u8],
        new: &[u8],
        operation: OperationId,
    ) -> Result<(), Rv> {
        login.map_or(Ok(()), |login| self.check_login(login))?;
        let role = login.map_or(Role::User, Login::role);
        let path = self.pin_path(&self.root(), role);
        // A repeated call whose first reply was lost comes with a PIN that is no longer right (INV-10).
        if self.has_done(&path, &operation)? {
            return Ok(());
        }
        self.check_length(new)?;
        let (root, found) = self.pin_record(role)?;
        let path = self.pin_path(&root, role);
        let proven = self.prove(caller, role, old, operation)?;
        let (before, version) = found.ok_or(Rv::USER_PIN_NOT_INITIALIZED)?;
        let mut record = pin::wrap(
            &proven.psk,
            new,
            self.place(&proven.root, role),
            &self.core.options.pin_cost,
        )?;
        record.operations = before.operations;
        remember(&mut record.operations, &operation);
        let writing = self.begin_write();
        let batch = Batch {
            operation: random::array(),
            compares: vec![proven.root.compare()],
            writes: vec![self.core.put(&path, version, Kind::Pin, &record)],
            reserve: true,
        };
        let event = self.role_event(Act::PinSet, role);
        match self.core.commit_act(batch, vec![event]).map_err(|error| error.rv())? {
            Committed::Done(_) => {
                let subject = self.subject(writing.root(), role, version + 1);
                self.verifiers.remember(&self.core, subject, new, &proven.psk);
                Ok(())
            }
            Committed::Conflict(_) => Err(Rv::FUNCTION_FAILED),
        }
    }

    /// Opens the SO's role, or the user's, to everybody whom failures have closed it. For administrators.
    ///
    /// # Errors
    /// From the store.
    pub fn unlock(&self, role: Role) -> Result<(), Error> {
        let prefix = self.root().path(&format!("tries/{}", role.word()));
        let paths: Vec<_> = self
            .core
            .store
            .scan(prefix.as_str())
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        for path in paths {
            self.tries.gate(path.clone()).reset(|| {
                let Some(record) = self.core.store.get(&path) else {
                    return Ok(());
                };
                let write = Write {
                    path: path.clone(),
                    version: record.version + 1,
                    value: None,
                };
                let batch = Batch {
                    operation: random::array(),
                    writes: vec![write],
                    reserve: true,
                    ..Batch::default()
                };
                let event = self.role_event(Act::PinUnlock, role);
                self.core.commit_act(batch, vec![event]).map(drop)
            })?;
        }
        Ok(())
    }

    pub(crate) fn pin_path(&self, root: &Root, role: Role) -> Path {
        root.path(&format!("pin/{}", role.word()))
    }

    pub(super) fn place(&self, root: &Root, role: Role) -> Place {
        Place {
            key_set: self.id,
            incarnation: root.incarnation,
            role,
        }
    }

    pub(super) fn check_length(&self, pin: &[u8]) -> Result<(), Rv> {
        if self.core.options.pin_length.contains(&pin.len()) {
            Ok(())
        } else {
            Err(Rv::PIN_LEN_RANGE)
        }
    }

    /// Checks the SO's PIN, for C_InitToken.
    pub(super) fn prove_so(&self, caller: &Caller, pin: &[u8], attempt: OperationId) -> Result<(), Rv> {
        self.prove(caller, Role::So, pin, attempt).map(drop)
    }

    fn subject(&self, root: &Root, role: Role, pin: u64) -> Subject {
        Subject {
            key_set: self.id,
            role,
            epoch: root.epoch,
            pin,
        }
    }

    fn check_login(&self, login: &Login) -> Result<(), Rv> {
        let good = login.alive() && login.key_set == self.id && login.epoch.load(Ordering::Acquire) == self.epoch();
        if good { Ok(()) } else { Err(Rv::USER_NOT_LOGGED_IN) }
    }

    pub(super) fn has_done(&self, path: &Path, operation: &OperationId) -> Result<bool, Rv> {
        let record = self
            .core
            .read::<PinRecord>(path, Kind::Pin)
            .map_err(|error| error.rv())?;
        Ok(record.is_some_and(|(record, _)| done_before(&record.operations, operation)))
    }

    fn user_gate(&self) -> Arc<Gate> {
        self.tries.gate(self.root().path("tries/user"))
    }

    fn gate_of(&self, root: &Root, role: Role, identity: &Identity) -> Arc<Gate> {
        if role != Role::So {
            return self.tries.gate(root.path(&format!("tries/{}", role.word())));
        }
        // DESIGN 7: a locked SO closes the role to that client. The name is a keyed hash: INV-7, a thief learns no identity.
        let key = self.core.fleet.key("identity");
        let name = hmac(key.expose(), &[&root.counters.0, &identity.0]);
        let name: String = name[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.tries.gate(root.path(&format!("tries/so/{name}")))
    }

    /// A root and a role's PIN under it. A restore that takes both away between the two looks is looked at again: it must not seem
    /// as if the role had no PIN.
    fn pin_record(&self, role: Role) -> Result<(Arc<Root>, Option<Kept>), Rv> {
        loop {
            let root = self.root();
            let read = |path| self.core.read::<PinRecord>(&path, Kind::Pin);
            let record = match root.initialized() {
                true => read(self.pin_path(&root, role)).map_err(|error| error.rv())?,
                false => None,
            };
            if record.is_some() || self.root().incarnation == root.incarnation {
                return Ok((root, record));
            }
        }
    }

    /// The PIN check.
    pub(super) fn prove(&self, caller: &Caller, role: Role, pin: &[u8], attempt: OperationId) -> Result<Proven, Rv> {
        let (root, record) = self.pin_record(role)?;
        let Some((record, version)) = record else {
            pin::pretend(pin, &self.core.options.pin_cost);
            return Err(Rv::USER_PIN_NOT_INITIALIZED);
        };
        let subject = self.subject(&root, role, version);
        let known = || self.verifiers.check(&self.core, subject, pin);
        let gate = self.gate_of(&root, role, &caller.identity);
        let lockout = RoleLockout {
            key_set: self,
            incarnation: root.incarnation,
            role,
        };
        let (locked, failures) = gate.counts(&self.core)?;
        if !locked && let Some(psk) = known() {
            if failures > 0 {
                gate.clear(&self.core, &lockout)?;
            }
            return Ok(Proven { psk, root });
        }
        let place = match gate.begin(&self.core, &lockout, attempt, known)? {
            Begin::Known(psk) => {
                gate.clear(&self.core, &lockout)?;
                return Ok(Proven { psk, root });
            }
            Begin::Taken(place) => place,
        };
        let _one_at_a_time = gate.check.lock();
        if let Some(psk) = known() {
            place.succeed()?;
            return Ok(Proven { psk, root });
        }
        match pin::unwrap(&record, pin, self.place(&root, role)) {
            Ok(Some(psk)) => {
                place.succeed()?;
                self.verifiers.remember(&self.core, subject, pin, &psk);
                Ok(Proven { psk, root })
            }
            Ok(None) => {
                place.fail()?;
                Err(Rv::PIN_INCORRECT)
            }
            Err(rv) => {
                place.release()?;
                Err(rv)
            }
        }
    }

    fn make_login(&self, caller: &Caller, role: Role, proven: Proven, attempt: OperationId) -> Result<Ticket, Rv> {
        let core = &self.core;
        let hash = hmac(
            core.fleet.key("login").expose(),
            &[&self.id.0, &caller.identity.0, &attempt.0],
        );
        let id = LoginId::from_slice(&hash[..16]).ok_or(Rv::GENERAL_ERROR)?;
        if let Some(entry) = self
            .logins
            .by_id(&id)
            .filter(|entry| entry.login.alive() && entry.login.role == role)
        {
            return Ok(entry.ticket.duplicate());
        }
        let secret = SecretArray::random();
        let (ticket, key) = core
            .ticket_keys
            .seal(self.id, &caller.identity, id, &secret)
            .ok_or(Rv::GENERAL_ERROR)?;
        let login = Login::new(
            core,
            self.id,
            id,
            (role, caller.identity, proven.root.epoch),
            (secret, key),
        );
        let record = self.login_record(&login, &proven.psk).ok_or(Rv::GENERAL_ERROR)?;
        let opening = self.opening.lock();
        if self.epoch() != proven.root.epoch {
            // The token was initialised anew meanwhile.
            return Err(Rv::FUNCTION_FAILED);
        }
        self.audit_login(Act::Login, role);
        core.background.put(login_path(&proven.root, id), record);
        self.open_private(proven.psk);
        let entry = self.logins.insert(Entry {
            login: Arc::new(login),
            ticket,
        });
        drop(opening);
        // INV-4: in a fleet the next request may be another node's, which has the login from the store alone.
        if core.sharing.is_on() {
            core.background.flush();
            wrote(core.store.position());
        }
        self.touch();
        self.bound_logins(&caller.identity);
        Ok(entry.ticket.duplicate())
    }

    /// A record in the audit log, durable with or before the login's own; many of one source are counted.
    fn audit_login(&self, act: Act, role: Role) {
        let audit = &self.core.audit;
        if let Some(event) = audit.admit(self.role_event(act, role)) {
            self.core.background.audit(audit.write(vec![event]));
        }
    }

    pub(super) fn role_event(&self, act: Act, role: Role) -> Event {
        Event::new(act).of(self.id).detail(role.word())
    }

    fn login_record(&self, login: &Login, psk: &Psk) -> Option<LoginRecord> {
        let psk = self
            .core
            .ticket_keys
            .seal_psk(login.ticket_key, login.id, &login.secret, psk)?;
        let now = self.core.clock.unix();
        Some(LoginRecord {
            format: FORMAT,
            identity: login.identity.0.to_vec(),
            role: login.role.number(),
            epoch: login.epoch.load(Ordering::Acquire),
            created: now,
            used: now,
            ticket_key: login.ticket_key,
            psk,
        })
    }

    /// The PSK has come. The caller holds `opening`.
    fn open_private(&self, psk: Psk) {
        if self.psk.load().is_none() {
            let damaged = self.objects.open_private(self, &psk);
            self.damaged.lock().extend(damaged);
            self.psk.store(Some(Arc::new(psk)));
        }
    }

    /// Resolves a ticket that this run has not seen, or has forgotten: its record tells whether the login lives (INV-4).
    fn resolve_anew(&self, identity: &Identity, ticket: &[u8]) -> Option<Arc<Login>> {
        let opened = self.core.ticket_keys.open(self.id, identity, ticket)?;
        let _opening = self.opening.lock();
        if let Some(login) = self.logins.find(identity, ticket) {
            return Some(login);
        }
        let root = self.root();
        let path = login_path(&root, opened.id);
        let (record, _) = match self.core.read::<LoginRecord>(&path, Kind::Login) {
            Ok(found) => found?,
            Err(error) => {
                tracing::warn!(%error, "a login record is refused");
                return None;
            }
        };
        let role = Role::from_number(record.role)?;
        if !equal(&record.identity, &identity.0) || record.epoch != root.epoch || self.is_idle(&record) {
            return None;
        }
        let psk = self
            .core
            .ticket_keys
            .open_psk(record.ticket_key, opened.id, &opened.secret, &record.psk)?;
        self.open_private(psk);
        let login = Login::new(
            &self.core,
            self.id,
            opened.id,
            (role, *identity, root.epoch),
            (opened.secret, opened.key),
        );
        let entry = self.logins.insert(Entry {
            login: Arc::new(login),
            ticket: Ticket::from_slice(ticket),
        });
        self.touch();
        Some(Arc::clone(&entry.login))
    }

    /// Ends what memory knows of a login.
    pub(super) fn forget(&self, id: &LoginId) {
        if let Some(entry) = self.logins.remove(id) {
            entry.login.end();
        }
        self.objects.forget_login(id);
    }

    pub(super) fn is_idle(&self, record: &LoginRecord) -> bool {
        let idle = self.core.options.login_idle.map(|idle| idle.as_secs());
        idle.is_some_and(|idle| record.used.saturating_add(idle) < self.core.clock.unix())
    }

    /// Writes the user's new PIN. If there was one: a new epoch, a new count, and only the SO's own login goes on.
    fn put_user_pin(
        &self,
        login: &Login,
        psk: &Psk,
        incarnation: u32,
        record: PinRecord,
        operation: OperationId,
    ) -> Result<(), Rv> {
        let _gate = self.gate.write();
        let mut root = Root::clone(&self.root());
        let path = self.pin_path(&root, Role::User);
        if self.has_done(&path, &operation)? {
            return Ok(());
        }
        if root.incarnation != incarnation {
            return Err(Rv::USER_NOT_LOGGED_IN);
        }
        let before = self.core.store.get(&path).map_or(0, |record| record.version);
        let mut batch = Batch {
            operation: random::array(),
            reserve: true,
            ..Batch::default()
        };
        batch.writes.push(self.core.put(&path, before, Kind::Pin, &record));
        if before == 0 {
            batch.compares.push(root.compare());
        } else {
            root.epoch += 1;
            batch.writes.push(self.put_root(&mut root));
            let tries = root.path("tries/user");
            if let Some(found) = self.core.store.get(&tries) {
                batch.writes.push(Write {
                    path: tries,
                    version: found.version + 1,
                    value: None,
                });
            }
            let own = login_path(&root, login.id);
            let mut record = self.login_record(login, psk).ok_or(Rv::GENERAL_ERROR)?;
            record.epoch = root.epoch;
            let version = self.core.store.get(&own).map_or(0, |record| record.version);
            batch.writes.push(self.core.put(&own, version, Kind::Login, &record));
        }
        let event = Event::new(Act::PinInit).of(self.id);
        let event = if before == 0 {
            event
        } else {
            event.detail("in place of another")
        };
        match self.core.commit_act(batch, vec![event]).map_err(|error| error.rv())? {
            Committed::Conflict(_) => Err(Rv::FUNCTION_FAILED),
            Committed::Done(_) if before == 0 => Ok(()),
            Committed::Done(_) => {
                login.epoch.store(root.epoch, Ordering::Release);
                self.switch(root, Some(login));
                Ok(())
            }
        }
    }
}

/// `login/<id>` of the incarnation.
pub(super) fn login_path(root: &Root, id: LoginId) -> Path {
    root.path(&format!("login/{id}"))
}

#[cfg(test)]
impl KeySet {
    /// The verifiers, to be cleared.
    pub(crate) fn verifiers_for_tests(&self) -> &crate::verifier::Verifiers {
        &self.verifiers
    }

    /// Takes a place of the user and leaves it open, as a process does that is killed during the check.
    pub(crate) fn reserve_for_tests(&self, caller: &Caller, attempt: OperationId) {
        let gate = self.gate_of(&self.root(), Role::User, &caller.identity);
        let lockout = RoleLockout {
            key_set: self,
            incarnation: self.root().incarnation,
            role: Role::User,
        };
        let Ok(Begin::Taken(place)) = gate.begin(&self.core, &lockout, attempt, || None::<()>) else {
            return;
        };
        std::mem::forget(place);
    }
}
