//! A key of a password: PBKDF2 (PKCS#11 3.2, 6.37). Whoever knows the password knows the key; what follows of that is the keystore's to
//! say. PINs are not here but in [`crate::pin`], under a function that is harder to guess against.

use crate::engine::pbkdf2 as engine;
use crate::error::OpError;
use crate::secret::Secret;
use hsmd_proto::params::Pbkdf2Params;

/// PBKDF2 with HMAC (RFC 8018, 5.2): `length` bytes.
///
/// # Errors
/// `KeySize` for no bytes; `Parameter` for a hash that this build does not have and for more work than one key may cost.
pub fn pbkdf2(params: &Pbkdf2Params, password: &[u8], length: usize) -> Result<Secret, OpError> {
    if length == 0 {
        return Err(OpError::KeySize);
    }
    let iterations = u32::try_from(params.iterations).ok().filter(|_| params.affords(length));
    let iterations = iterations.ok_or(OpError::Parameter)?;
    let mut out = Secret::zeroed(length);
    engine(params.hash, password, &params.salt, iterations, out.expose_mut()).ok_or(OpError::Parameter)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsmd_proto::ck::MechanismType as M;

    #[test]
    fn a_key_costs_no_more_than_one_client_may_ask_for() {
        let params = |iterations| Pbkdf2Params {
            hash: M::SHA256,
            salt: b"salt".to_vec(),
            iterations,
        };
        assert!(pbkdf2(&params(2), b"", 1024).is_ok());
        assert_eq!(pbkdf2(&params(0), b"", 32).unwrap_err(), OpError::Parameter);
        assert_eq!(pbkdf2(&params(5_000_001), b"", 64).unwrap_err(), OpError::Parameter);
        assert_eq!(pbkdf2(&params(u64::MAX), b"", 1024).unwrap_err(), OpError::Parameter);
        assert_eq!(pbkdf2(&params(1), b"", 0).unwrap_err(), OpError::KeySize);
    }
}
