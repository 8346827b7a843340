//! Session objects: sealed blobs that the module carries (DESIGN 5). A blob opens only for the key set, incarnation, epoch,
//! application and identity that it was made for; a private one only with the login that made it. Nothing of it is in the
//! store. Opened ones are kept for a while, so that a key is not parsed for each use.

use std::collections::HashMap;
use std::sync::Arc;

use hsmd_crypto::seal::{SealKey, sha256};
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::{LoginId, OperationId, UniqueId};
use parking_lot::RwLock;

use super::object::Object;
use super::record::{Body, encode_body};
use crate::caller::Context;
use crate::key_set::KeySet;
use crate::login::Login;

/// Opened blobs in each of the two generations of the cache.
const GENERATION: usize = 2048;
/// Form of the blob: this byte, flags, unique id, version, sealed body.
const FORMAT: u8 = 1;
const PRIVATE: u8 = 1;
/// Bytes before the sealed body.
const HEADER: usize = 2 + 16 + 8;

/// Session objects that were opened lately, by a hash of the whole blob *and* of whom it is for: a blob in other hands is
/// another entry, so identity is always part of the look-up.
pub(crate) struct SessionCache {
    generations: RwLock<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<[u8; 32], Opened>,
    old: HashMap<[u8; 32], Opened>,
}

#[derive(Clone)]
struct Opened {
    object: Arc<Object>,
    login: Option<LoginId>,
}

impl SessionCache {
    pub(crate) fn new() -> Self {
        Self {
            generations: RwLock::default(),
        }
    }

    fn get(&self, place: &[u8; 32]) -> Option<Arc<Object>> {
        let generations = self.generations.read();
        let opened = generations.young.get(place).or_else(|| generations.old.get(place))?;
        Some(Arc::clone(&opened.object))
    }

    fn put(&self, place: [u8; 32], opened: Opened) {
        let mut generations = self.generations.write();
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(place, opened);
    }

    /// Wipes everything.
    pub(crate) fn clear(&self) {
        *self.generations.write() = Generations::default();
    }

    /// Wipes the private session objects of a login that has ended.
    pub(crate) fn forget_login(&self, login: &LoginId) {
        let mut generations = self.generations.write();
        let others = |_: &[u8; 32], opened: &mut Opened| opened.login.as_ref() != Some(login);
        generations.young.retain(others);
        generations.old.retain(others);
    }
}

/// What a blob is sealed to, but for its own header.
struct Binding {
    key_set: [u8; 16],
    incarnation: [u8; 4],
    epoch: [u8; 8],
    application: [u8; 16],
    identity: [u8; 32],
}

impl Binding {
    fn of(key_set: &KeySet, context: &Context) -> Self {
        let root = key_set.root();
        Self {
            key_set: key_set.id().0,
            incarnation: root.incarnation().to_le_bytes(),
            epoch: root.epoch().to_le_bytes(),
            application: context.caller.application.0,
            identity: context.caller.identity.0,
        }
    }

    fn aad<'a>(&'a self, header: &'a [u8]) -> [&'a [u8]; 7] {
        [
            b"session object",
            &self.key_set,
            &self.incarnation,
            &self.epoch,
            &self.application,
            &self.identity,
            header,
        ]
    }

    /// Where the opened blob is cached.
    fn place(&self, login: Option<&Login>, blob: &[u8]) -> [u8; 32] {
        let login = login.map_or([0; 16], |login| login.id.0);
        let [label, key_set, incarnation, epoch, application, identity, _] = self.aad(&[]);
        sha256(&[label, key_set, incarnation, epoch, application, identity, &login, blob])
    }
}

/// The blob of a session object.
///
/// # Errors
/// `CKR_USER_NOT_LOGGED_IN` for a private object without login.
pub(crate) fn seal(key_set: &KeySet, context: &Context, object: &Object) -> Result<Vec<u8>, Rv> {
    let login = login_of(context, object.private())?;
    let mut blob = Vec::with_capacity(HEADER);
    blob.extend_from_slice(&[FORMAT, if object.private() { PRIVATE } else { 0 }]);
    blob.extend_from_slice(&object.id.0);
    blob.extend_from_slice(&object.version.to_le_bytes());
    let body = encode_body(
        object.origin,
        object.held,
        object.material,
        &object.request,
        &object.attributes,
        &object.values,
    );
    let binding = Binding::of(key_set, context);
    let sealed = key(key_set, login, |key| key.seal(&binding.aad(&blob), &body));
    blob.reserve_exact(sealed.len());
    blob.extend_from_slice(&sealed);
    Ok(blob)
}

/// Opens a blob, or finds it opened.
///
/// # Errors
/// `CKR_OBJECT_HANDLE_INVALID` for a blob that is not this caller's or that no longer holds, `CKR_USER_NOT_LOGGED_IN`.
pub(crate) fn open(key_set: &KeySet, context: &Context, id: &UniqueId, blob: &[u8]) -> Result<Arc<Object>, Rv> {
    let header = blob.get(..HEADER).ok_or(Rv::OBJECT_HANDLE_INVALID)?;
    if header[0] != FORMAT || header[2..18] != id.0 {
        return Err(Rv::OBJECT_HANDLE_INVALID);
    }
    let login = login_of(context, header[1] & PRIVATE != 0)?;
    let binding = Binding::of(key_set, context);
    let place = binding.place(login, blob);
    let sessions = &key_set.objects().sessions;
    if let Some(object) = sessions.get(&place) {
        return Ok(object);
    }
    let plain = key(key_set, login, |key| key.open(&binding.aad(header), &blob[HEADER..]))
        .map_err(|_| Rv::OBJECT_HANDLE_INVALID)?;
    let body = Body::decode(&plain).ok_or(Rv::OBJECT_HANDLE_INVALID)?;
    let version = header[18..HEADER].try_into().map_or(0, u64::from_le_bytes);
    let object = Object::from_body(*id, (version, 0, OperationId(id.0)), body, &key_set.core().latches)
        .map(Arc::new)
        .ok_or(Rv::OBJECT_HANDLE_INVALID)?;
    sessions.put(
        place,
        Opened {
            object: Arc::clone(&object),
            login: login.map(|login| login.id),
        },
    );
    Ok(object)
}

/// The login that a private object hangs on; none for a public one.
fn login_of(context: &Context, private: bool) -> Result<Option<&Login>, Rv> {
    if !private {
        return Ok(None);
    }
    let login = context.login.as_deref().filter(|login| login.alive());
    login.map(Some).ok_or(Rv::USER_NOT_LOGGED_IN)
}

/// Public objects are sealed under the fleet's key, so that they outlive C_Logout; private ones under the login's.
fn key<T>(key_set: &KeySet, login: Option<&Login>, use_it: impl FnOnce(&SealKey) -> T) -> T {
    match login {
        Some(login) => use_it(login.session_key()),
        None => use_it(&SealKey::new(&key_set.core().fleet.key("public session object"))),
    }
}
