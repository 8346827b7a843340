//! TLS 1.2's pseudo-random function (RFC 5246, 5), and derivation by SHAKE (PKCS#11 3.2, 6.32).

use super::symmetric::Symmetric;
use crate::engine::Shake;
use crate::error::OpError;
use crate::secret::Secret;
use hsmd_proto::ck::MechanismType;
use hsmd_proto::mechanism::digest_length;
use hsmd_proto::tls::{TlsMacParams, TlsParams};
use zeroize::Zeroizing;

/// The most bytes that are asked for at once.
const LONGEST: usize = 1 << 16;

pub(crate) fn derive(key: &Symmetric, params: &TlsParams, length: usize) -> Result<Secret, OpError> {
    if !(1..=LONGEST).contains(&length) {
        return Err(OpError::DataLength);
    }
    let mut out = Secret::zeroed(length);
    prf(key, params.hash, [&params.label, &params.seed], out.expose_mut())?;
    Ok(out)
}

/// The MAC of a handshake's hash into the front of `out`; gives its length.
pub(super) fn mac(
    key: &Symmetric,
    params: &TlsMacParams,
    handshake: &[u8],
    out: &mut [u8; 64],
) -> Result<usize, OpError> {
    let length = usize::try_from(params.length).map_err(|_| OpError::Parameter)?;
    let target = out.get_mut(..length).ok_or(OpError::Parameter)?;
    prf(key, params.hash, [params.label(), handshake], target)?;
    Ok(length)
}

/// P_hash: HMAC of a chain of HMACs, each with label and seed.
fn prf(key: &Symmetric, hash: MechanismType, [label, seed]: [&[u8]; 2], out: &mut [u8]) -> Result<(), OpError> {
    let whole = digest_length(hash).ok_or(OpError::Parameter)?;
    let hmac = key.hmac(hash)?;
    let (mut chain, mut block) = (Zeroizing::new([0; 64]), Zeroizing::new([0; 64]));
    hmac.compute(&[label, seed], &mut chain).ok_or(OpError::Failed)?;
    for target in out.chunks_mut(whole) {
        hmac.compute(&[&chain[..whole], label, seed], &mut block)
            .ok_or(OpError::Failed)?;
        target.copy_from_slice(&block[..target.len()]);
        let last = chain.clone();
        hmac.compute(&[&last[..whole]], &mut chain).ok_or(OpError::Failed)?;
    }
    Ok(())
}

/// The first bytes of SHAKE of the key.
pub(crate) fn shake(key: &Symmetric, mechanism: MechanismType, length: usize) -> Result<Secret, OpError> {
    if !(1..=LONGEST).contains(&length) {
        return Err(OpError::DataLength);
    }
    let mut out = Secret::zeroed(length);
    let shake = match mechanism {
        MechanismType::SHAKE_128_KEY_DERIVATION => Shake::new_128(),
        MechanismType::SHAKE_256_KEY_DERIVATION => Shake::new(),
        _ => return Err(OpError::Mechanism),
    };
    let mut shake = shake.ok_or(OpError::Failed)?;
    shake
        .hash(&[key.value().expose()], out.expose_mut())
        .ok_or(OpError::Failed)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 202: SHAKE of nothing but three bytes, from the standard's own example files by way of Python's hashlib.
    #[test]
    fn shake_is_shake() {
        let key = Symmetric::new(&Secret::from_slice(b"abc")).unwrap();
        let first = |mechanism| shake(&key, mechanism, 8).unwrap().expose().to_vec();
        assert_eq!(first(MechanismType::SHAKE_128_KEY_DERIVATION), SHAKE128);
        assert_eq!(first(MechanismType::SHAKE_256_KEY_DERIVATION), SHAKE256);
        assert_eq!(shake(&key, MechanismType::SHA256, 8), Err(OpError::Mechanism));
    }

    const SHAKE128: [u8; 8] = [0x58, 0x81, 0x09, 0x2d, 0xd8, 0x18, 0xbf, 0x5c];
    const SHAKE256: [u8; 8] = [0x48, 0x33, 0x66, 0x60, 0x13, 0x60, 0xa8, 0x77];
}
