//! C_Encrypt and C_Decrypt (PKCS#11 3.2, 5.9 and 5.11). INV-5: memory only.

use hsmd_crypto::OpError;
use hsmd_proto::ck::Rv;
use hsmd_proto::init::{MADE_IV, Operation};
use hsmd_proto::mechanism::Family;
use hsmd_proto::meta::Usage;
use hsmd_proto::params::Mechanism;
use hsmd_proto::wipe::wipe;

use super::ObjectRef;
use super::latch::MaterialHash;
use super::object::Object;
use crate::caller::Context;
use crate::key_set::KeySet;

impl KeySet {
    /// Encrypts; the result is appended to `out`.
    ///
    /// # Errors
    /// As C_EncryptInit and C_Encrypt; `CKR_MECHANISM_PARAM_INVALID` for an IV of GCM, or a nonce of CCM or ChaCha20, that the key
    /// has used, and under `strict` and `fips` for one that was not made here (DESIGN 8).
    pub fn encrypt(
        &self,
        context: &Context,
        key: &ObjectRef<'_>,
        mechanism: &Mechanism,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Rv> {
        let key = self.usable(context, Operation::Encrypt, mechanism, key, Rv::KEY_HANDLE_INVALID)?;
        let start = out.len();
        key.key()?.encrypt(mechanism, data, out).map_err(OpError::rv)?;
        let cancels = data.is_empty() && mechanism.params.aad().is_empty();
        self.note_nonce(&key, mechanism, cancels, out, (start, start + data.len()))
    }

    /// Before a result leaves: its nonce, if it has one, is used for one message. The result begins at `start`, its tag at `tag`;
    /// what is refused is taken back.
    pub(super) fn note_nonce(
        &self,
        key: &Object,
        mechanism: &Mechanism,
        cancels: bool,
        out: &mut Vec<u8>,
        (start, tag): (usize, usize),
    ) -> Result<(), Rv> {
        let Some((nonce, material)) = mechanism.params.nonce().zip(key.material) else {
            return Ok(());
        };
        let tag = out.get(tag..).unwrap_or_default();
        let noted = self.note_iv(key, material, nonce, (cancels, tag));
        if noted.is_err() {
            wipe(&mut out[start..]);
            out.truncate(start);
        }
        noted
    }

    /// An IV is used for one message. INV-1 holds without it; what is encrypted does not stay secret.
    pub(super) fn note_iv(
        &self,
        key: &Object,
        material: MaterialHash,
        nonce: &[u8],
        (cancels, tag): (bool, &[u8]),
    ) -> Result<(), Rv> {
        let policy = self.policy();
        if policy.makes_ivs() {
            return self.objects().issued.redeem(material, nonce, tag);
        }
        // SunPKCS11 cancels an operation by finishing it, so an empty message with the true IV comes before each message with
        // AAD. It gives E(J0) away, which helps to open other messages: so only where the caller may decrypt anyway.
        let decrypts = key.meta(false).is_some_and(|meta| meta.usage.contains(Usage::DECRYPT));
        if !policy.latches() || (cancels && decrypts) {
            return Ok(());
        }
        self.objects().ivs.note(material, nonce, tag)
    }

    /// Makes the IV of one encryption, or wrap, with this key (DESIGN 8, "daemon-made IVs"): 96 random bits, good on this node, in
    /// this run, for one message.
    ///
    /// # Errors
    /// As C_EncryptInit, C_SignInit or C_WrapKey; `CKR_MECHANISM_INVALID` where the mechanism takes no made IV or the policy takes
    /// the caller's.
    pub fn make_iv(
        &self,
        context: &Context,
        key: &ObjectRef<'_>,
        mechanism: &Mechanism,
        wrapping: bool,
    ) -> Result<[u8; MADE_IV], Rv> {
        let row = hsmd_proto::mechanism::row(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?;
        let (operation, no_key) = match row.family {
            _ if wrapping => (Operation::Wrap, Rv::WRAPPING_KEY_HANDLE_INVALID),
            Family::AesGmac => (Operation::Sign, Rv::KEY_HANDLE_INVALID),
            _ => (Operation::Encrypt, Rv::KEY_HANDLE_INVALID),
        };
        let key = self.usable(context, operation, mechanism, key, no_key)?;
        let material = key.material.ok_or(no_key)?;
        if !self.policy().makes_ivs() || mechanism.params.nonce().is_none() {
            return Err(Rv::MECHANISM_INVALID);
        }
        Ok(self.objects().issued.issue(material))
    }

    /// Decrypts; the result is appended to `out`.
    ///
    /// # Errors
    /// As C_DecryptInit and C_Decrypt.
    pub fn decrypt(
        &self,
        context: &Context,
        key: &ObjectRef<'_>,
        mechanism: &Mechanism,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Rv> {
        let key = self.usable_on(context, Operation::Decrypt, mechanism, key, data)?;
        key.key()?.decrypt(mechanism, data, out).map_err(OpError::rv)
    }
}
