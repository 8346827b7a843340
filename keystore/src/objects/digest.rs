//! C_DigestKey (PKCS#11 3.2, 5.12.4) for keys whose value may not be read. A state that absorbed one leaves sealed (INV-1): it
//! opens for the key set, incarnation, epoch and identity that it was made for, with a login if one of its keys is private,
//! and only while its keys may be digested: neither destroyed (INV-6) nor latched (DESIGN 8). It is no session's and no
//! application's, so that C_GetOperationState can save it.

use std::sync::Arc;

use hsmd_crypto::digest::Digest;
use hsmd_crypto::seal::SealKey;
use hsmd_proto::ck::{AttributeType as A, MechanismType, ObjectClass, Rv};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::mechanism::{self, Operations};
use zeroize::Zeroizing;

use super::latch::MaterialHash;
use super::object::Object;
use super::{ObjectRef, access, policy};
use crate::audit::Act;
use crate::caller::Context;
use crate::key_set::KeySet;

/// Form of the sealed state: this byte, flags, mechanism, sealed body.
const FORMAT: u8 = 1;
const PRIVATE: u8 = 1;
/// Bytes before the sealed body.
const HEADER: usize = 2 + 8;
/// The most keys that one digest absorbs.
const MAX_KEYS: usize = 32;

/// Where a digest stands.
#[derive(Clone, Copy)]
pub enum DigestFrom<'a> {
    /// A state that the client made: nothing of a key is in it.
    Clear(&'a [u8]),
    /// What [`KeySet::digest`] gave.
    Sealed(&'a [u8]),
}

/// How a digest goes on: data first, then a key.
#[derive(Clone, Copy)]
pub struct DigestStep<'a> {
    /// The hash.
    pub mechanism: MechanismType,
    /// Where it stands.
    pub from: DigestFrom<'a>,
    /// Data to be added.
    pub data: &'a [u8],
    /// The secret key whose value is added after the data.
    pub key: Option<ObjectRef<'a>>,
    /// The digest is wanted instead of a state.
    pub last: bool,
}

/// A key that a digest has absorbed.
struct Absorbed {
    id: UniqueId,
    /// Session objects live in the module: only of token objects is known here whether they are there.
    token: bool,
    material: Option<MaterialHash>,
}

/// A running digest and what is in it.
struct Running {
    digest: Digest,
    keys: Vec<Absorbed>,
    private: bool,
}

impl KeySet {
    /// Goes on with a digest that absorbs a key, or has absorbed one: the next sealed state, or the digest. INV-5: memory only.
    ///
    /// # Errors
    /// `CKR_MECHANISM_INVALID`; `CKR_SAVED_STATE_INVALID` for a state that is none or no longer holds; `CKR_KEY_HANDLE_INVALID`;
    /// `CKR_KEY_INDIGESTIBLE` for what is no secret key, has wrapped a sensitive key, or is not allowed with this mechanism;
    /// `CKR_KEY_SIZE_RANGE` for one that is so short that its digest gives it away.
    pub fn digest(&self, context: &Context, step: &DigestStep<'_>) -> Result<Zeroizing<Vec<u8>>, Rv> {
        self.check_self_tests()?;
        let row = mechanism::row(step.mechanism).ok_or(Rv::MECHANISM_INVALID)?;
        if !row.operations_under(self.policy()).contains(Operations::DIGEST) {
            return Err(Rv::MECHANISM_INVALID);
        }
        let mut running = match step.from {
            DigestFrom::Clear(state) => Running {
                digest: Digest::resume(step.mechanism, state).ok_or(Rv::SAVED_STATE_INVALID)?,
                keys: Vec::new(),
                private: false,
            },
            DigestFrom::Sealed(sealed) => self.open_digest(context, step.mechanism, sealed)?,
        };
        running.digest.update(step.data);
        if let Some(name) = &step.key {
            self.absorb(context, step.mechanism, name, &mut running)?;
        }
        if running.keys.is_empty() {
            // Digests without keys are the module's.
            return Err(Rv::ARGUMENTS_BAD);
        }
        if step.last {
            return Ok(Zeroizing::new(running.digest.finish()));
        }
        self.seal_digest(context, step.mechanism, &running).map(Zeroizing::new)
    }

    fn absorb(
        &self,
        context: &Context,
        mechanism: MechanismType,
        name: &ObjectRef<'_>,
        running: &mut Running,
    ) -> Result<(), Rv> {
        let key = self.object(context, name).map_err(|_| Rv::KEY_HANDLE_INVALID)?;
        self.check_digestible(mechanism, &key)?;
        if running.keys.len() >= MAX_KEYS {
            return Err(Rv::KEY_INDIGESTIBLE);
        }
        let value = key.values.get(A::VALUE).ok_or(Rv::DEVICE_ERROR)?;
        running.digest.update(value.expose());
        running.private |= key.private();
        running.keys.push(Absorbed {
            id: key.id,
            token: name.blob.is_none(),
            material: key.material,
        });
        if self.audits_use() {
            let event = self.event(Act::KeyUse, &key).detail(format!("Digest {mechanism}"));
            self.core().audit.note_use(event);
        }
        Ok(())
    }

    fn check_digestible(&self, mechanism: MechanismType, key: &Arc<Object>) -> Result<(), Rv> {
        let latches = self.policy().latches();
        let meta = key.meta(latches).ok_or(Rv::KEY_HANDLE_INVALID)?;
        let allowed = meta.allowed.as_ref().is_none_or(|list| list.contains(&mechanism));
        if meta.class != ObjectClass::SECRET_KEY || meta.wrapping || !allowed {
            return Err(Rv::KEY_INDIGESTIBLE);
        }
        // A digest has no secret of its own: of a short key it is a list of guesses away. PKCS#11 names this code for it.
        let readable = !key.sensitive() && key.flag(A::EXTRACTABLE);
        let length = key.values.get(A::VALUE).map_or(0, |value| value.len());
        if latches && !readable && length < policy::MIN_DERIVED {
            return Err(Rv::KEY_SIZE_RANGE);
        }
        Ok(())
    }

    fn seal_digest(&self, context: &Context, mechanism: MechanismType, running: &Running) -> Result<Vec<u8>, Rv> {
        let state = running.digest.state().ok_or(Rv::FUNCTION_FAILED)?;
        let mut body = Zeroizing::new(Vec::with_capacity(1 + running.keys.len() * 50 + state.len()));
        body.push(running.keys.len() as u8);
        for key in &running.keys {
            body.extend_from_slice(&key.id.0);
            body.push(u8::from(key.token) | u8::from(key.material.is_some()) << 1);
            body.extend_from_slice(&key.material.map_or([0; 32], |material| material.0));
        }
        body.extend_from_slice(&state);
        let mut out = vec![FORMAT, if running.private { PRIVATE } else { 0 }];
        out.extend_from_slice(&mechanism.0.to_le_bytes());
        let sealed = self.with_digest_key(context, &out, |key, aad| key.seal(aad, &body));
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    fn open_digest(&self, context: &Context, mechanism: MechanismType, sealed: &[u8]) -> Result<Running, Rv> {
        const INVALID: Rv = Rv::SAVED_STATE_INVALID;
        let (header, body) = sealed.split_at_checked(HEADER).ok_or(INVALID)?;
        let private = header[1] == PRIVATE;
        if header[0] != FORMAT || header[2..] != mechanism.0.to_le_bytes() {
            return Err(INVALID);
        }
        if private && !access::sees_private(self, context) {
            return Err(INVALID);
        }
        let plain = self
            .with_digest_key(context, header, |key, aad| key.open(aad, body))
            .map_err(|_| INVALID)?;
        let (keys, digest) = read(mechanism, &plain).ok_or(INVALID)?;
        if !keys.iter().all(|key| self.still_digestible(key)) {
            return Err(INVALID);
        }
        Ok(Running { digest, keys, private })
    }

    /// INV-6: a digest is a use of the key until it is done.
    fn still_digestible(&self, key: &Absorbed) -> bool {
        let there = !key.token || self.objects().get(&key.id).is_some();
        let latched = self.policy().latches()
            && key
                .material
                .is_some_and(|material| self.core().latches.cell(material).wrapping());
        there && !latched
    }

    /// The key of sealed states, with what each is bound to beside its own header.
    fn with_digest_key<T>(&self, context: &Context, header: &[u8], use_it: impl FnOnce(&SealKey, &[&[u8]]) -> T) -> T {
        let root = self.root();
        let aad: [&[u8]; 6] = [
            b"digest state",
            &self.id().0,
            &root.incarnation().to_le_bytes(),
            &root.epoch().to_le_bytes(),
            &context.caller.identity.0,
            header,
        ];
        use_it(&SealKey::new(&self.core().fleet.key("digest state")), &aad)
    }
}

/// The keys and the digest in an opened state.
fn read(mechanism: MechanismType, plain: &[u8]) -> Option<(Vec<Absorbed>, Digest)> {
    let (count, mut rest) = plain.split_first()?;
    let mut keys = Vec::with_capacity(usize::from(*count).min(MAX_KEYS));
    for _ in 0..*count {
        let (id, after) = rest.split_first_chunk::<16>()?;
        let (flags, after) = after.split_first()?;
        let (material, after) = after.split_first_chunk::<32>()?;
        rest = after;
        keys.push(Absorbed {
            id: UniqueId(*id),
            token: flags & 1 != 0,
            material: (flags & 2 != 0).then_some(MaterialHash(*material)),
        });
    }
    Some((keys, Digest::resume(mechanism, rest)?))
}

/// Reads what may stand in an opened state, and goes on with its digest; see `super::fuzzing`.
pub(super) fn fuzzing(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    const HASHES: [MechanismType; 4] = [
        MechanismType::SHA_1,
        MechanismType::SHA256,
        MechanismType::SHA512,
        MechanismType::SHA3_256,
    ];
    let mechanism = HASHES[usize::from(kind % 4)];
    if let Some((_, mut digest)) = read(mechanism, data) {
        digest.update(&[0; 300]);
        let length = mechanism::digest_length(mechanism);
        assert_eq!(Some(digest.finish().len()), length, "a digest of another length");
    }
}
