//! ML-DSA and HashML-DSA (FIPS 204). The engine signs a message representative; which bytes it is made of, and that it is
//! made for one of the two, is decided here.

use super::{append, rsa::with_digest};
use crate::awslc::ffi::{Lattice, shake256};
use crate::error::{KeyError, OpError};
use crate::material::Input;
use crate::secret::Secret;
use hsmd_proto::ck::MechanismType;
use hsmd_proto::mechanism::{Family, Row, digest_length};
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

    /// The message representative (FIPS 204, 5.2 to 5.4, and 6.2, step 6): of the message with the domain separator 0, or of
    /// its digest with 1 and the hash's object identifier.
    fn representative(&self, row: &Row, params: &Params, input: Input<'_>) -> Result<[u8; 64], OpError> {
        let (context, named): (&[u8], _) = match params {
            Params::None => (&[], None),
            Params::SignContext(sign) => (&sign.context, sign.hash),
            _ => return Err(OpError::Parameter),
        };
        let length = u8::try_from(context.len()).map_err(|_| OpError::Parameter)?;
        match (row.family, row.hash, named) {
            (Family::MlDsa, None, None) => {
                let Input::Message(message) = input else {
                    return Err(OpError::Data);
                };
                shake256(&[&self.tr, &[0, length], context, message]).ok_or(OpError::Failed)
            }
            (Family::HashMlDsa, Some(hash), None) => {
                let domain = [1, length];
                let oid = object_identifier(hash).ok_or(OpError::Parameter)?;
                with_digest(hash, input, |digest| {
                    shake256(&[&self.tr, &domain, context, &oid, digest]).ok_or(OpError::Failed)
                })
            }
            (Family::HashMlDsa, None, Some(hash)) => {
                let (Input::Message(digest) | Input::Digest(digest)) = input;
                if Some(digest.len()) != digest_length(hash) {
                    return Err(OpError::DataLength);
                }
                let oid = object_identifier(hash).ok_or(OpError::Parameter)?;
                shake256(&[&self.tr, &[1, length], context, &oid, digest]).ok_or(OpError::Failed)
            }
            _ => Err(OpError::Parameter),
        }
    }
}

/// DER of the hash's object identifier (FIPS 204, 5.4.1): 2.16.840.1.101.3.4.2.x.
const fn object_identifier(hash: MechanismType) -> Option<[u8; 11]> {
    let last = match hash {
        MechanismType::SHA256 => 1,
        MechanismType::SHA384 => 2,
        MechanismType::SHA512 => 3,
        MechanismType::SHA224 => 4,
        MechanismType::SHA3_224 => 7,
        MechanismType::SHA3_256 => 8,
        MechanismType::SHA3_384 => 9,
        MechanismType::SHA3_512 => 10,
        _ => return None,
    };
    Some([0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last])
}
