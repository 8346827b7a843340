//! Elliptic curves: ECDSA (FIPS 186-5, 6), Ed25519 (RFC 8032). ECDH is in [`super::agree`].

use super::{append, rsa::with_digest};
use crate::engine::{Ec, EdInstance, EdPrivate, EdPublic};
use crate::error::{KeyError, OpError};
use crate::material::Input;
use crate::point;
use crate::secret::Secret;
use hsmd_proto::ck::MechanismType;
use hsmd_proto::meta::Curve;
use hsmd_proto::params::Params;

const ED25519_SIGNATURE: usize = 64;

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
        let half = key.curve().field_bytes();
        if signature.len() == 2 * half {
            return key.verify(digest, signature).ok_or(OpError::Signature);
        }
        key.verify(digest, &widened(signature, half)?).ok_or(OpError::Signature)
    })
}

/// Two halves of full length. Both may come shorter, by the same number of leading zeros (PKCS#11 3.2, 6.3.1): Java cuts
/// them so, for P-521 in one signature of four.
fn widened(signature: &[u8], half: usize) -> Result<Vec<u8>, OpError> {
    let short = signature.len() / 2;
    if short == 0 || short > half || !signature.len().is_multiple_of(2) {
        return Err(OpError::SignatureLength);
    }
    let mut out = vec![0; 2 * half];
    let (r, s) = signature.split_at(short);
    out[half - short..half].copy_from_slice(r);
    out[2 * half - short..].copy_from_slice(s);
    Ok(out)
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

/// An Ed25519 private key from its seed (RFC 8032, 5.1.5).
pub(crate) fn open_edwards_private(seed: &Secret) -> Result<EdPrivate, KeyError> {
    EdPrivate::from_seed(seed).ok_or(KeyError::Invalid)
}

pub(crate) fn open_edwards_public(point: &[u8; 32]) -> Result<EdPublic, KeyError> {
    EdPublic::from_point(point).ok_or(KeyError::Invalid)
}

/// The instance of RFC 8032, 5.1 that the parameter asks for, and its context; `None`: Ed25519 itself, which is what PKCS#11's
/// callers mean by an empty context as well.
fn instance(params: &Params) -> Result<Option<EdInstance<'_>>, OpError> {
    match params {
        Params::None => Ok(None),
        Params::Eddsa(eddsa) if !eddsa.prehash && eddsa.context.is_empty() => Ok(None),
        Params::Eddsa(eddsa) => Ok(Some(EdInstance {
            prehash: eddsa.prehash,
            context: &eddsa.context,
        })),
        _ => Err(OpError::Parameter),
    }
}

pub(crate) fn sign_eddsa(key: &EdPrivate, params: &Params, input: Input<'_>, out: &mut Vec<u8>) -> Result<(), OpError> {
    let signature = key.sign(instance(params)?, message(input)?).ok_or(OpError::Failed)?;
    out.extend_from_slice(&signature);
    Ok(())
}

pub(crate) fn verify_eddsa(key: &EdPublic, params: &Params, input: Input<'_>, signature: &[u8]) -> Result<(), OpError> {
    let fixed: &[u8; ED25519_SIGNATURE] = signature.try_into().map_err(|_| OpError::SignatureLength)?;
    key.verify(instance(params)?, message(input)?, fixed)
        .ok_or(OpError::Signature)
}

/// Pure Ed25519 hashes the message twice: a digest made outside is of no use.
fn message(input: Input<'_>) -> Result<&[u8], OpError> {
    match input {
        Input::Message(message) => Ok(message),
        Input::Digest(_) => Err(OpError::Data),
    }
}
