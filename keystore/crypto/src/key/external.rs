//! What ML-DSA and SLH-DSA sign of a message (FIPS 204, 5.2 to 5.4; FIPS 205, 10.2): the message with the domain separator 0, or
//! its digest with 1 and the hash's object identifier.

use super::rsa::with_digest;
use crate::error::OpError;
use crate::material::Input;
use hsmd_proto::ck::MechanismType;
use hsmd_proto::mechanism::{Family, Row, digest_length};
use hsmd_proto::params::Params;

/// Calls `run` with the parts that are signed, one after the other.
///
/// # Errors
/// `Parameter` and `Data` for what the row does not take, `DataLength` for a digest of another length; and those of `run`.
pub(crate) fn with_message<T>(
    row: &Row,
    params: &Params,
    input: Input<'_>,
    run: impl FnOnce(&[&[u8]]) -> Result<T, OpError>,
) -> Result<T, OpError> {
    let (context, named): (&[u8], _) = match params {
        Params::None => (&[], None),
        Params::SignContext(sign) => (&sign.context, sign.hash),
        _ => return Err(OpError::Parameter),
    };
    let length = u8::try_from(context.len()).map_err(|_| OpError::Parameter)?;
    match (row.family, row.hash, named) {
        (Family::MlDsa | Family::SlhDsa, None, None) => {
            let Input::Message(message) = input else {
                return Err(OpError::Data);
            };
            run(&[&[0, length], context, message])
        }
        (Family::HashMlDsa | Family::HashSlhDsa, Some(hash), None) => {
            let oid = object_identifier(hash).ok_or(OpError::Parameter)?;
            with_digest(hash, input, |digest| run(&[&[1, length], context, &oid, digest]))
        }
        (Family::HashMlDsa | Family::HashSlhDsa, None, Some(hash)) => {
            let (Input::Message(digest) | Input::Digest(digest)) = input;
            if Some(digest.len()) != digest_length(hash) {
                return Err(OpError::DataLength);
            }
            let oid = object_identifier(hash).ok_or(OpError::Parameter)?;
            run(&[&[1, length], context, &oid, digest])
        }
        _ => Err(OpError::Parameter),
    }
}

/// DER of the hash's object identifier (FIPS 204, 5.4.1; FIPS 205, 10.2.2): 2.16.840.1.101.3.4.2.x.
const fn object_identifier(hash: MechanismType) -> Option<[u8; 11]> {
    let last = match hash {
        MechanismType::SHA256 => 1,
        MechanismType::SHA384 => 2,
        MechanismType::SHA512 => 3,
        MechanismType::SHA224 => 4,
        MechanismType::SHA512_224 => 5,
        MechanismType::SHA512_256 => 6,
        MechanismType::SHA3_224 => 7,
        MechanismType::SHA3_256 => 8,
        MechanismType::SHA3_384 => 9,
        MechanismType::SHA3_512 => 10,
        _ => return None,
    };
    Some([0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last])
}
