//! HKDF (RFC 5869; PKCS#11 3.2, 6.62): extract, expand, or one after the other.

use super::symmetric::Symmetric;
use crate::engine::Hmac;
use crate::error::OpError;
use crate::secret::Secret;
use hsmd_proto::mechanism::digest_length;
use hsmd_proto::params::HkdfParams;
use zeroize::Zeroizing;

/// The salt where none is given (RFC 5869, 2.2).
const ZEROS: &[u8; 64] = &[0; 64];

/// `length` bytes: at most 255 hashes, and without HKDF-Expand at most one.
pub(crate) fn derive(key: &Symmetric, params: &HkdfParams, length: usize) -> Result<Secret, OpError> {
    let whole = digest_length(params.hash).ok_or(OpError::Parameter)?;
    let most = if params.expand { 255 * whole } else { whole };
    if !(1..=most).contains(&length) {
        return Err(OpError::DataLength);
    }
    let mut block = Zeroizing::new([0; 64]);
    if !params.extract {
        return expand(key.hmac(params.hash)?, params, whole, length);
    }
    let salt = if params.salt.is_empty() {
        &ZEROS[..whole]
    } else {
        &params.salt[..]
    };
    let extract = Hmac::new(params.hash, salt).ok_or(OpError::Failed)?;
    extract
        .compute(&[key.value().expose()], &mut block)
        .ok_or(OpError::Failed)?;
    if !params.expand {
        return Ok(Secret::from_slice(&block[..length]));
    }
    let pseudo_random = Hmac::new(params.hash, &block[..whole]).ok_or(OpError::Failed)?;
    expand(&pseudo_random, params, whole, length)
}

fn expand(key: &Hmac, params: &HkdfParams, whole: usize, length: usize) -> Result<Secret, OpError> {
    let (mut out, mut block) = (Secret::zeroed(length), Zeroizing::new([0; 64]));
    let mut before = 0;
    for (counter, target) in (1..=u8::MAX).zip(out.expose_mut().chunks_mut(whole)) {
        let last = block.clone();
        key.compute(&[&last[..before], &params.info, &[counter]], &mut block)
            .ok_or(OpError::Failed)?;
        target.copy_from_slice(&block[..target.len()]);
        before = whole;
    }
    Ok(out)
}
