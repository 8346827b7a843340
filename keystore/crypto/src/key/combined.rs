//! Wrapping by an AES key that serves once, which RSA carries or ECDH agrees on: CKM_RSA_AES_KEY_WRAP and CKM_ECDH_AES_KEY_WRAP
//! (PKCS#11 3.2, 6.1.19 and 6.3.22). The AES key wraps by KWP; what carries it stands before that.

use super::keywrap;
use super::{agree, rsa};
use crate::engine::{Aes, Ec, Rsa, Way};
use crate::error::OpError;
use crate::secret::Secret;
use hsmd_proto::params::{EcdhAesParams, EcdhParams, Params, RsaAesParams};

fn aes_bytes(bits: u64) -> Result<usize, OpError> {
    match bits {
        128 | 192 | 256 => Ok(bits as usize / 8),
        _ => Err(OpError::Parameter),
    }
}

fn kwp(aes: &Secret, way: Way, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let aes = Aes::new(aes.expose()).ok_or(OpError::Failed)?;
    keywrap::kwp(&aes, way, &Params::None, data, out)
}

/// Nothing is left in `out` when `work` fails half-way.
fn whole(out: &mut Vec<u8>, work: impl FnOnce(&mut Vec<u8>) -> Result<(), OpError>) -> Result<(), OpError> {
    let start = out.len();
    let result = work(out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

pub(crate) fn rsa_wrap(key: &Rsa, params: &RsaAesParams, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let aes = Secret::random(aes_bytes(params.aes_bits)?);
    whole(out, |out| {
        let oaep = Params::Oaep(params.oaep.clone());
        rsa::oaep(key, Way::Encrypt, &oaep, aes.expose(), out)?;
        kwp(&aes, Way::Encrypt, data, out)
    })
}

/// A blob whose AES key does not decrypt goes on with another one, so that it cannot be told from one whose second part is wrong
/// (A15). The length of the AES key is what was encrypted; the parameter's counts for wrapping.
pub(crate) fn rsa_unwrap(key: &Rsa, params: &RsaAesParams, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let (carried, wrapped) = data.split_at_checked(key.bytes()).ok_or(OpError::EncryptedLength)?;
    let oaep = Params::Oaep(params.oaep.clone());
    let mut aes = Vec::new();
    let opened = rsa::oaep(key, Way::Decrypt, &oaep, carried, &mut aes);
    let aes = Secret::new(aes);
    let aes = match opened {
        Ok(()) if matches!(aes.len(), 16 | 24 | 32) => aes,
        Ok(()) | Err(OpError::Encrypted) => Secret::random(32),
        Err(other) => return Err(other),
    };
    kwp(&aes, Way::Decrypt, wrapped, out)
}

/// An ephemeral pair on the wrapping key's curve; its public point, uncompressed, comes first.
pub(crate) fn ecdh_wrap(key: &Ec, params: &EcdhAesParams, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let ephemeral = Ec::generate(key.curve()).ok_or(OpError::Failed)?;
    let aes = agreed(&ephemeral, params, key.point().ok_or(OpError::Failed)?)?;
    whole(out, |out| {
        out.extend_from_slice(ephemeral.point().ok_or(OpError::Failed)?);
        kwp(&aes, Way::Encrypt, data, out)
    })
}

pub(crate) fn ecdh_unwrap(key: &Ec, params: &EcdhAesParams, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let point = 1 + 2 * key.curve().field_bytes();
    let (point, wrapped) = data.split_at_checked(point).ok_or(OpError::EncryptedLength)?;
    let aes = agreed(key, params, point).map_err(|error| match error {
        // A point that is none is a blob that does not open.
        OpError::Parameter => OpError::Encrypted,
        error => error,
    })?;
    kwp(&aes, Way::Decrypt, wrapped, out)
}

fn agreed(key: &Ec, params: &EcdhAesParams, point: &[u8]) -> Result<Secret, OpError> {
    let ecdh = EcdhParams {
        kdf: params.kdf,
        shared_data: params.shared_data.clone(),
        public_point: point.to_vec(),
    };
    agree::weierstrass(key, &ecdh, Some(aes_bytes(params.aes_bits)?))
}
