//! ML-DSA and HashML-DSA (FIPS 204). The engine signs a message representative, which is made here.

use super::append;
use super::external::with_message;
use crate::engine::{Lattice, shake256};
use crate::error::{KeyError, OpError};
use crate::material::Input;
use crate::secret::Secret;
use hsmd_proto::mechanism::Row;
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::params::Params;

/// A key, public or private.
pub(crate) struct MlDsa {
    key: Lattice,
    /// The hash of the public key (FIPS 204, 6.2, step 6: tr).
    tr: [u8; 64],
}

/// A private key from its seed, its expanded form, or both, which then must be of one key.
pub(crate) fn open_private(set: ParameterSet, seed: Option<&Secret>, value: &Secret) -> Result<MlDsa, KeyError> {
    if value.len() != set.private_bytes() {
        return Err(KeyError::Invalid);
    }
    let Some(seed) = seed else {
        return MlDsa::new(Lattice::from_private(set, value.expose()));
    };
    let key = from_seed(set, seed)?;
    if key.key.private().as_ref() == Some(value) {
        Ok(key)
    } else {
        Err(KeyError::Invalid)
    }
}

/// A private key from its seed (FIPS 204, 6.1).
pub(crate) fn from_seed(set: ParameterSet, seed: &Secret) -> Result<MlDsa, KeyError> {
    if seed.len() != set.seed_bytes() {
        return Err(KeyError::Invalid);
    }
    MlDsa::new(Lattice::from_private(set, seed.expose()))
}

pub(crate) fn open_public(set: ParameterSet, value: &[u8]) -> Result<MlDsa, KeyError> {
    MlDsa::new(Lattice::from_public(set, value))
}

impl MlDsa {
    fn new(key: Option<Lattice>) -> Result<Self, KeyError> {
        let key = key.ok_or(KeyError::Invalid)?;
        let public = key.public().ok_or(KeyError::Invalid)?;
        let tr = shake256(&[&public]).ok_or(KeyError::Invalid)?;
        Ok(Self { key, tr })
    }

    pub(crate) const fn set(&self) -> ParameterSet {
        self.key.set()
    }

    pub(crate) fn public(&self) -> Option<Vec<u8>> {
        self.key.public()
    }

    /// The expanded private key.
    pub(crate) fn private(&self) -> Option<Secret> {
        self.key.private()
    }

    pub(crate) fn sign(&self, row: &Row, params: &Params, input: Input<'_>, out: &mut Vec<u8>) -> Result<(), OpError> {
        let mu = self.representative(row, params, input)?;
        append(out, self.set().output_bytes(), |target| {
            self.key.sign(&mu, target).ok_or(OpError::Failed)
        })
    }

    pub(crate) fn verify(&self, row: &Row, params: &Params, input: Input<'_>, signature: &[u8]) -> Result<(), OpError> {
        if signature.len() != self.set().output_bytes() {
            return Err(OpError::SignatureLength);
        }
        let mu = self.representative(row, params, input)?;
        self.key.verify(&mu, signature).ok_or(OpError::Signature)
    }

    /// The message representative (FIPS 204, 6.2, step 6).
    fn representative(&self, row: &Row, params: &Params, input: Input<'_>) -> Result<[u8; 64], OpError> {
        with_message(row, params, input, |message| {
            shake256(&[&[&self.tr[..]][..], message].concat()).ok_or(OpError::Failed)
        })
    }
}
