//! ECDH (SP 800-56A; PKCS#11 3.2, CKM_ECDH1_DERIVE) and the key derivation functions that may follow it.

use super::montgomery::Montgomery;
use crate::digest;
use crate::engine::Ec;
use crate::error::OpError;
use crate::point;
use crate::secret::Secret;
use hsmd_proto::ck::{Kdf, MechanismType};
use hsmd_proto::mechanism::{KdfForm, digest_length, kdf_hash};
use hsmd_proto::params::EcdhParams;

/// The longest secret that a derivation function is asked for, in bytes.
const LONGEST: usize = 1 << 16;

pub(crate) fn weierstrass(key: &Ec, params: &EcdhParams, length: Option<usize>) -> Result<Secret, OpError> {
    let shared = point::octets(key.curve(), &params.public_point)
        .and_then(|octets| key.agree(octets))
        .ok_or(OpError::Parameter)?;
    finish(shared, params, length)
}

pub(crate) fn montgomery(key: &Montgomery, params: &EcdhParams, length: Option<usize>) -> Result<Secret, OpError> {
    let shared = point::decode_edwards(&params.public_point)
        .and_then(|point| key.agree(&point))
        .ok_or(OpError::Parameter)?;
    finish(shared, params, length)
}

/// CKD_NULL: the secret, cut at its leading end. Else as many bytes as the key needs, or one hash.
fn finish(shared: Secret, params: &EcdhParams, length: Option<usize>) -> Result<Secret, OpError> {
    if params.kdf == Kdf::NULL {
        if !params.shared_data.is_empty() {
            return Err(OpError::Parameter);
        }
        let Some(length) = length else {
            return Ok(shared);
        };
        let cut = shared.len().checked_sub(length).ok_or(OpError::DataLength)?;
        return Ok(Secret::from_slice(&shared.expose()[cut..]));
    }
    let (form, hash) = kdf_hash(params.kdf).ok_or(OpError::Parameter)?;
    let whole = digest_length(hash).ok_or(OpError::Parameter)?;
    let length = length.unwrap_or(whole);
    if !(1..=LONGEST).contains(&length) {
        return Err(OpError::DataLength);
    }
    derive(form, hash, &shared, &params.shared_data, length)
}

fn derive(form: KdfForm, hash: MechanismType, shared: &Secret, data: &[u8], length: usize) -> Result<Secret, OpError> {
    let mut out = Secret::zeroed(length);
    let whole = digest_length(hash).ok_or(OpError::Parameter)?;
    for (counter, target) in (1_u32..).zip(out.expose_mut().chunks_mut(whole)) {
        let counter = counter.to_be_bytes();
        let parts: [&[u8]; 3] = match form {
            KdfForm::X963 => [shared.expose(), &counter, data],
            KdfForm::Sp800 => [&counter, shared.expose(), data],
        };
        let block = digest::of_parts(hash, &parts).ok_or(OpError::Failed)?;
        target.copy_from_slice(&block.as_ref()[..target.len()]);
    }
    Ok(out)
}
