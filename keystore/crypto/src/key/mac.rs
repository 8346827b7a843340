//! HMAC (FIPS 198-1) with SHA-2, whole MACs only.

use super::symmetric::Symmetric;
use crate::error::OpError;
use crate::material::Input;
use crate::seal;
use hsmd_proto::ck::MechanismType;
use zeroize::Zeroizing;

pub(crate) fn sign(
    key: &Symmetric,
    hash: Option<MechanismType>,
    input: Input<'_>,
    out: &mut Vec<u8>,
) -> Result<(), OpError> {
    let (mac, length) = compute(key, hash, input)?;
    out.extend_from_slice(&mac[..length]);
    Ok(())
}

pub(crate) fn verify(
    key: &Symmetric,
    hash: Option<MechanismType>,
    input: Input<'_>,
    signature: &[u8],
) -> Result<(), OpError> {
    let (mac, length) = compute(key, hash, input)?;
    if signature.len() != length {
        return Err(OpError::SignatureLength);
    }
    if seal::equal(&mac[..length], signature) {
        Ok(())
    } else {
        Err(OpError::Signature)
    }
}

/// The right MAC is wiped: for C_Verify it would be a forgery.
fn compute(
    key: &Symmetric,
    hash: Option<MechanismType>,
    input: Input<'_>,
) -> Result<(Zeroizing<[u8; 64]>, usize), OpError> {
    let Input::Message(message) = input else {
        return Err(OpError::Data);
    };
    let key = key.hmac(hash.ok_or(OpError::Mechanism)?)?;
    let mut mac = Zeroizing::new([0; 64]);
    let length = key.compute(&[message], &mut mac).ok_or(OpError::Failed)?;
    Ok((mac, length))
}
