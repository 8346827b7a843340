//! What runs in this process: digests, random, and operations with public keys under policies that allow it
//! (DESIGN 5, "Thick client"). Keys are never made here.

use hsmd_crypto::{Input, Key, Material};
use hsmd_proto::attribute::Template;
use hsmd_proto::ck::{AttributeType, KeyType, ObjectClass, Rv};
use hsmd_proto::meta::Curve;
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::params::Mechanism;

pub(crate) use hsmd_crypto::digest::Digest;

/// Random bytes of the operating system: nothing of them is kept here that a fork could double.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    hsmd_crypto::random::array()
}

/// Fills memory with random bytes.
pub(crate) fn fill(out: &mut [u8]) {
    hsmd_crypto::random::fill(out);
}

/// A public key ready to use in this process.
pub(crate) struct PublicKey(Key);

impl PublicKey {
    /// Opens a public key object; `None` if it is none, or one that must be left to the daemon.
    pub(crate) fn open(attributes: &Template) -> Option<Self> {
        let number = |attribute| attributes.ulong(attribute).ok().flatten();
        if number(AttributeType::CLASS).map(ObjectClass) != Some(ObjectClass::PUBLIC_KEY) {
            return None;
        }
        let value = |attribute| attributes.value(attribute);
        let material = match KeyType(number(AttributeType::KEY_TYPE)?) {
            KeyType::RSA => Material::RsaPublic {
                n: value(AttributeType::MODULUS)?.to_vec(),
                e: value(AttributeType::PUBLIC_EXPONENT)?.to_vec(),
            },
            KeyType::EC => {
                let curve = Curve::from_params(value(AttributeType::EC_PARAMS)?)?;
                Material::EcPublic {
                    curve,
                    point: hsmd_crypto::point::decode(curve, value(AttributeType::EC_POINT)?)?,
                }
            }
            KeyType::EC_EDWARDS => Material::EdPublic {
                point: hsmd_crypto::point::decode_edwards(value(AttributeType::EC_POINT)?)?,
            },
            key_type @ (KeyType::ML_DSA | KeyType::SLH_DSA) => Material::PqPublic {
                set: ParameterSet::new(key_type, number(AttributeType::PARAMETER_SET)?)?,
                value: value(AttributeType::VALUE)?.to_vec(),
            },
            key_type @ (KeyType::HSS | KeyType::XMSS | KeyType::XMSSMT) => Material::StatefulPublic {
                key_type,
                value: value(AttributeType::VALUE)?.to_vec(),
            },
            _ => return None,
        };
        Key::open(&material).ok().map(Self)
    }

    /// Verifies a signature over a message, or over a digest that was made here.
    ///
    /// # Errors
    /// `CKR_SIGNATURE_INVALID` and what else C_Verify may return.
    pub(crate) fn verify(
        &self,
        mechanism: &Mechanism,
        data: &[u8],
        digested: bool,
        signature: &[u8],
    ) -> Result<(), Rv> {
        let input = if digested {
            Input::Digest(data)
        } else {
            Input::Message(data)
        };
        self.0.verify(mechanism, input, signature).map_err(|error| error.rv())
    }

    /// The data in a signature.
    ///
    /// # Errors
    /// What C_VerifyRecover may return.
    pub(crate) fn recover(&self, mechanism: &Mechanism, signature: &[u8]) -> Result<Vec<u8>, Rv> {
        let mut out = Vec::new();
        self.0
            .verify_recover(mechanism, signature, &mut out)
            .map_err(|error| error.rv())?;
        Ok(out)
    }

    /// Encrypts.
    ///
    /// # Errors
    /// What C_Encrypt may return.
    pub(crate) fn encrypt(&self, mechanism: &Mechanism, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let mut out = Vec::new();
        self.0.encrypt(mechanism, data, &mut out).map_err(|error| error.rv())?;
        Ok(out)
    }
}
