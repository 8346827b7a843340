//! Who may see and change which objects: the PKCS#11 session states (3.2, section 5.6) without the sessions, which are the
//! module's. Nobody: public objects. SO: public objects. User: all. Crypto user: all, but token objects stay as they are, and
//! no key comes or goes wrapped.

use std::sync::Arc;

use hsmd_proto::ck::Rv;
use hsmd_proto::ids::UniqueId;
use hsmd_proto::init::{self, Operation};
use hsmd_proto::params::Mechanism;

use super::object::Object;
use super::{ObjectRef, birth, session};
use crate::audit::Act;
use crate::caller::Context;
use crate::key_set::KeySet;
use crate::login::Role;

/// The role of a request's login, if it is still one of this key set.
pub(crate) fn role(key_set: &KeySet, context: &Context) -> Option<Role> {
    let login = context.login.as_ref()?;
    (login.key_set == key_set.id() && login.alive()).then(|| login.role())
}

/// Whether the request may see private objects.
pub(crate) fn sees_private(key_set: &KeySet, context: &Context) -> bool {
    matches!(role(key_set, context), Some(Role::User | Role::CryptoUser))
}

/// Checks that a request may make or change an object.
///
/// # Errors
/// `CKR_USER_NOT_LOGGED_IN` for a private object without a user's login, `CKR_TOKEN_WRITE_PROTECTED` for a token object and a
/// crypto user.
pub(crate) fn may_write(key_set: &KeySet, context: &Context, token: bool, private: bool) -> Result<(), Rv> {
    let role = role(key_set, context);
    if private && !matches!(role, Some(Role::User | Role::CryptoUser)) {
        return Err(Rv::USER_NOT_LOGGED_IN);
    }
    if token && role == Some(Role::CryptoUser) {
        return Err(Rv::TOKEN_WRITE_PROTECTED);
    }
    Ok(())
}

/// A key that passed every check for an operation (STYLE 11).
pub(crate) struct Usable(Arc<Object>);

impl std::ops::Deref for Usable {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.0
    }
}

impl KeySet {
    /// The object that a request names, if it may see it.
    ///
    /// # Errors
    /// `CKR_OBJECT_HANDLE_INVALID`.
    pub(crate) fn object(&self, context: &Context, name: &ObjectRef<'_>) -> Result<Arc<Object>, Rv> {
        match name.blob {
            Some(blob) => session::open(self, context, &name.id, blob),
            None => self
                .token_object(&name.id)
                .filter(|object| !object.private() || sees_private(self, context))
                .ok_or(Rv::OBJECT_HANDLE_INVALID),
        }
    }

    /// A token object, whoever may see it: one that is stored, or one that the token has made itself.
    pub(crate) fn token_object(&self, id: &UniqueId) -> Option<Arc<Object>> {
        let objects = self.objects();
        let stored = objects.get(id);
        stored.or_else(|| objects.built_in.get(self.policy(), &self.core().latches, id))
    }

    /// The key that a request names, if it may be used so: the module checked the same at Init, this is the authority. Not a key
    /// that wants the PIN for each use: there is no operation that one could have been given for (PKCS#11 3.2, 4.10).
    ///
    /// # Errors
    /// `invalid` when there is no such key; `CKR_USER_NOT_LOGGED_IN`; else as [`init::check`].
    pub(crate) fn usable(
        &self,
        context: &Context,
        operation: Operation,
        mechanism: &Mechanism,
        name: &ObjectRef<'_>,
        invalid: Rv,
    ) -> Result<Usable, Rv> {
        let key = self.permitted(context, operation, mechanism, name, invalid)?;
        if key.meta(false).is_some_and(|meta| meta.always_authenticate) {
            return Err(Rv::USER_NOT_LOGGED_IN);
        }
        Ok(key)
    }

    /// [`Self::usable`] for an operation on data that C_Login(CKU_CONTEXT_SPECIFIC) may have been called for: the request's grant
    /// is used up.
    ///
    /// # Errors
    /// `CKR_KEY_HANDLE_INVALID`; else as [`Self::usable`].
    pub(crate) fn usable_on(
        &self,
        context: &Context,
        operation: Operation,
        mechanism: &Mechanism,
        name: &ObjectRef<'_>,
        data: &[u8],
    ) -> Result<Usable, Rv> {
        let key = self.permitted(context, operation, mechanism, name, Rv::KEY_HANDLE_INVALID)?;
        if key.meta(false).is_some_and(|meta| meta.always_authenticate) {
            self.redeem_grant(context, (operation, mechanism, key.id), data)?;
        }
        Ok(key)
    }

    /// Whether the request names a key that wants the PIN for each use.
    pub(crate) fn always_authenticates(&self, context: &Context, name: &ObjectRef<'_>) -> bool {
        let object = self.object(context, name);
        object.is_ok_and(|object| object.meta(false).is_some_and(|meta| meta.always_authenticate))
    }

    fn permitted(
        &self,
        context: &Context,
        operation: Operation,
        mechanism: &Mechanism,
        name: &ObjectRef<'_>,
        invalid: Rv,
    ) -> Result<Usable, Rv> {
        let policy = self.policy();
        self.check_self_tests()?;
        // The order of checks of DESIGN 5: mechanism and parameter come before the key.
        init::check_mechanism(operation, mechanism, policy)?;
        let object = self
            .object(context, name)
            .map_err(|rv| if rv == Rv::OBJECT_HANDLE_INVALID { invalid } else { rv })?;
        let meta = object.meta(policy.latches()).ok_or(invalid)?;
        let logged_in = !object.private() || sees_private(self, context);
        init::check(operation, mechanism, meta, policy, logged_in)?;
        let moves_keys = matches!(operation, Operation::Wrap | Operation::Unwrap);
        if moves_keys && role(self, context) == Some(Role::CryptoUser) {
            return Err(Rv::KEY_FUNCTION_NOT_PERMITTED);
        }
        if self.audits_use() {
            let detail = format!("{operation:?} {}", mechanism.kind);
            let event = self.event(Act::KeyUse, &object).detail(detail);
            self.core().audit.note_use(event);
        }
        Ok(Usable(object))
    }
}

/// A hash of a mechanism with its parameter.
pub(crate) fn mechanism_hash(mechanism: &Mechanism) -> [u8; 32] {
    birth::fingerprint("mechanism", Some(mechanism), &[], &[])
}
