//! SLH-DSA and HashSLH-DSA (FIPS 205): keys and operations over [`crate::slh_dsa`].

use super::append;
use super::external::with_message;
use crate::error::{KeyError, OpError};
use crate::material::Input;
use crate::random;
use crate::secret::Secret;
use crate::slh_dsa::{Private, Public};
use hsmd_proto::mechanism::Row;
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::params::{Hedge, Params};

/// A private key: SK.seed, SK.prf, PK.seed, PK.root. That the last one is the key's costs as much as making the key; it is checked
/// by [`crate::Key::is_whole`].
pub(crate) fn open_private(set: ParameterSet, value: &Secret) -> Result<Private, KeyError> {
    Private::new(set, value).ok_or(KeyError::Invalid)
}

/// A new private key of its seeds: SK.seed, SK.prf, PK.seed.
pub(crate) fn from_seeds(set: ParameterSet, seeds: &Secret) -> Result<Private, KeyError> {
    Private::from_seeds(set, seeds).ok_or(KeyError::Invalid)
}

pub(crate) fn open_public(set: ParameterSet, value: &[u8]) -> Result<Public, KeyError> {
    Public::new(set, value).ok_or(KeyError::Invalid)
}

/// The public half as [`crate::Material`] has it.
pub(crate) fn material(key: &Public) -> crate::Material {
    crate::Material::PqPublic {
        set: key.set(),
        value: key.bytes().to_vec(),
    }
}

pub(crate) fn sign(
    key: &Private,
    row: &Row,
    params: &Params,
    input: Input<'_>,
    out: &mut Vec<u8>,
) -> Result<(), OpError> {
    let deterministic = matches!(params, Params::SignContext(sign) if sign.hedge == Hedge::Deterministic);
    let mut fresh = [0; 32];
    let hedge = if deterministic {
        None
    } else {
        random::generator(&mut fresh);
        Some(&fresh[..key.hedge_bytes()])
    };
    with_message(row, params, input, |message| {
        append(out, key.public().set().output_bytes(), |target| {
            key.sign(message, hedge, target).ok_or(OpError::Failed)
        })
    })
}

pub(crate) fn verify(
    key: &Public,
    row: &Row,
    params: &Params,
    input: Input<'_>,
    signature: &[u8],
) -> Result<(), OpError> {
    if signature.len() != key.set().output_bytes() {
        return Err(OpError::SignatureLength);
    }
    with_message(row, params, input, |message| match key.verify(message, signature) {
        Some(true) => Ok(()),
        Some(false) => Err(OpError::Signature),
        None => Err(OpError::Failed),
    })
}
