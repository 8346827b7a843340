//! C_Sign, C_Verify and their forms with recovery (PKCS#11 3.2, 5.13 to 5.16). INV-5: memory only.

use hsmd_crypto::{Input, OpError};
use hsmd_proto::ck::Rv;
use hsmd_proto::init::Operation;
use hsmd_proto::params::Mechanism;

use super::ObjectRef;
use crate::caller::Context;
use crate::key_set::KeySet;

impl KeySet {
    /// Signs, or makes a MAC; the result is appended to `out`.
    ///
    /// # Errors
    /// As C_SignInit and C_Sign.
    pub fn sign(
        &self,
        context: &Context,
        key: &ObjectRef<'_>,
        mechanism: &Mechanism,
        input: Input<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Rv> {
        let (Input::Message(data) | Input::Digest(data)) = input;
        let key = self.usable_on(context, Operation::Sign, mechanism, key, data)?;
        let start = out.len();
        key.key()?.sign(mechanism, input, out).map_err(OpError::rv)?;
        // GMAC: a nonce for two messages gives away what forges all others.
        self.note_nonce(&key, mechanism, false, out, (start, start))
    }

    /// Signs so that the signature gives the data back; the result is appended to `out`.
    ///
    /// # Errors
    /// As C_SignRecoverInit and C_SignRecover.
    pub fn sign_recover(
        &self,
        context: &Context,
        key: &ObjectRef<'_>,
        mechanism: &Mechanism,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Rv> {
        let key = self.usable_on(context, Operation::SignRecover, mechanism, key, data)?;
        key.key()?
            .sign(mechanism, Input::Message(data), out)
            .map_err(OpError::rv)
    }

    /// Appends the data that a signature was made of to `out`.
    ///
    /// # Errors
    /// As C_VerifyRecoverInit and C_VerifyRecover.
    pub fn verify_recover(
        &self,
        context: &Context,
        key: &ObjectRef<'_>,
        mechanism: &Mechanism,
        signature: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Rv> {
        let key = self.usable(
            context,
            Operation::VerifyRecover,
            mechanism,
            key,
            Rv::KEY_HANDLE_INVALID,
        )?;
        key.key()?
            .verify_recover(mechanism, signature, out)
            .map_err(OpError::rv)
    }

    /// Verifies a signature or MAC.
    ///
    /// # Errors
    /// As C_VerifyInit and C_Verify.
    pub fn verify(
        &self,
        context: &Context,
        key: &ObjectRef<'_>,
        mechanism: &Mechanism,
        input: Input<'_>,
        signature: &[u8],
    ) -> Result<(), Rv> {
        let key = self.usable(context, Operation::Verify, mechanism, key, Rv::KEY_HANDLE_INVALID)?;
        key.key()?.verify(mechanism, input, signature).map_err(OpError::rv)
    }
}
