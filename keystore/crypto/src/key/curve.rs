//! Elliptic curves: ECDSA (FIPS 186-5, 6), ECDH (SP 800-56A), Ed25519 (RFC 8032).

use super::{append, rsa::with_digest};
use crate::awslc::ffi::{self, Ec, Ed25519};
use crate::error::{KeyError, OpError};
use crate::material::Input;
use crate::point;
use crate::secret::Secret;
use hsmd_proto::ck::{Kdf, MechanismType};
use hsmd_proto::meta::Curve;
use hsmd_proto::params::EcdhParams;

pub(crate) fn open_private(curve: Curve, scalar: &Secret) -> Result<Ec, KeyError> {
    // Longer values only with leading zeros: ASN.1 INTEGERs and careless callers bring them along.
    let spare = scalar.len().saturating_sub(curve.field_bytes());
    let (zeros, scalar) = scalar.expose().split_at(spare);
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(KeyError::Invalid);
    }
    Ec::from_scalar(curve, scalar).ok_or(KeyError::Invalid)
}

pub(crate) fn open_public(curve: Curve, value: &[u8]) -> Result<Ec, KeyError> {
    point::octets(curve, value)
        .and_then(|octets| Ec::from_point(curve, octets))
        .ok_or(KeyError::Invalid)
}

pub(crate) fn sign_ecdsa(
    key: &Ec,
    hash: Option<MechanismType>,
    input: Input<'_>,
    out: &mut Vec<u8>,
) -> Result<(), OpError> {
    with_input(hash, input, |digest| {
        append(out, 2 * key.curve().field_bytes(), |target| {
            key.sign(digest, target).ok_or(OpError::Failed)
        })
    })
}

pub(crate) fn verify_ecdsa(
    key: &Ec,
    hash: Option<MechanismType>,
    input: Input<'_>,
    signature: &[u8],
) -> Result<(), OpError> {
    with_input(hash, input, |digest| {
        if signature.len() != 2 * key.curve().field_bytes() {
            return Err(OpError::SignatureLength);
        }
        key.verify(digest, signature).ok_or(OpError::Signature)
    })
}

/// CKM_ECDSA takes a digest of any length as its data (PKCS#11 3.2, 6.3.12).
fn with_input<T>(
    hash: Option<MechanismType>,
    input: Input<'_>,
    run: impl FnOnce(&[u8]) -> Result<T, OpError>,
) -> Result<T, OpError> {
    match (hash, input) {
        (Some(hash), input) => with_digest(hash, input, run),
        (None, Input::Message(data) | Input::Digest(data)) => run(data),
    }
}

pub(crate) fn sign_eddsa(key: &Ed25519, input: Input<'_>, out: &mut Vec<u8>) -> Result<(), OpError> {
    let signature = key.sign(message(input)?).ok_or(OpError::Failed)?;
    out.extend_from_slice(&signature);
    Ok(())
}

pub(crate) fn verify_eddsa(point: &[u8; 32], input: Input<'_>, signature: &[u8]) -> Result<(), OpError> {
    let signature = signature.try_into().map_err(|_| OpError::SignatureLength)?;
    ffi::ed25519_verify(point, message(input)?, signature).ok_or(OpError::Signature)
}

/// Pure Ed25519 hashes the message twice: a digest made outside is of no use.
fn message(input: Input<'_>) -> Result<&[u8], OpError> {
    match input {
        Input::Message(message) => Ok(message),
        Input::Digest(_) => Err(OpError::Data),
    }
}

pub(crate) fn agree(key: &Ec, params: &EcdhParams) -> Result<Secret, OpError> {
    if params.kdf != Kdf::NULL || !params.shared_data.is_empty() {
        return Err(OpError::Parameter);
    }
    point::octets(key.curve(), &params.public_point)
        .and_then(|octets| key.agree(octets))
        .ok_or(OpError::Parameter)
}

/// SubjectPublicKeyInfo of an Ed25519 key (RFC 8410, 4).
pub(crate) fn edwards_der(point: &[u8; 32]) -> Vec<u8> {
    const PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    [PREFIX, point].concat()
}
