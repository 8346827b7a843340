//! C_Encrypt and C_Decrypt (PKCS#11 3.2, 5.9 and 5.11). INV-5: memory only.

use hsmd_crypto::OpError;
use hsmd_proto::ck::Rv;
use hsmd_proto::init::Operation;
use hsmd_proto::meta::Usage;
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::wipe::wipe;

use super::ObjectRef;
use crate::caller::Context;
use crate::key_set::KeySet;

impl KeySet {
    /// Encrypts; the result is appended to `out`.
    ///
    /// # Errors
    /// As C_EncryptInit and C_Encrypt; `CKR_MECHANISM_PARAM_INVALID` for a GCM IV that the key has used (DESIGN 8).
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
        if let (Params::Gcm(gcm), true) = (&mechanism.params, self.policy().latches())
            && let Some(material) = key.material
        {
            // SunPKCS11 cancels an operation by finishing it, so an empty message with the true IV comes before each message
            // with AAD. It gives E(J0) away, which helps to open other messages: so only where the caller may decrypt anyway.
            let decrypts = key.meta(false).is_some_and(|meta| meta.usage.contains(Usage::DECRYPT));
            if !(data.is_empty() && gcm.aad.is_empty() && decrypts) {
                let tag = out.get(start + data.len()..).unwrap_or_default();
                if let Err(refused) = self.objects().ivs.note(material, &gcm.iv, tag) {
                    wipe(&mut out[start..]);
                    out.truncate(start);
                    return Err(refused);
                }
            }
        }
        Ok(())
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
        let key = self.usable(context, Operation::Decrypt, mechanism, key, Rv::KEY_HANDLE_INVALID)?;
        key.key()?.decrypt(mechanism, data, out).map_err(OpError::rv)
    }
}
