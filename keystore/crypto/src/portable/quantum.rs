//! Keys of ML-DSA (FIPS 204) and ML-KEM (FIPS 203).

use super::ScrubbedStack;
use super::random::System;
use crate::secret::Secret;
use hsmd_proto::parameter_set::ParameterSet;
use ml_dsa::{ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, VerifyingKey};
use ml_kem::{Decapsulate, Encapsulate, KeyExport, ml_kem_512, ml_kem_768, ml_kem_1024};
use zeroize::Zeroize;

/// A key of a parameter set, public or private.
pub(crate) struct Lattice {
    key: Box<dyn Operations>,
    set: ParameterSet,
}

/// What a key of some set does; `None`: another kind of key does it.
trait Operations: Send + Sync {
    fn public(&self) -> Vec<u8>;

    fn private(&self) -> Option<Secret>;

    fn sign(&self, _mu: &[u8; 64], _out: &mut [u8]) -> Option<()> {
        None
    }

    fn verify(&self, _mu: &[u8; 64], _signature: &[u8]) -> Option<()> {
        None
    }

    fn encapsulate(&self) -> Option<(Vec<u8>, Secret)> {
        None
    }

    fn decapsulate(&self, _ciphertext: &[u8]) -> Option<Secret> {
        None
    }
}

/// The set's type in place of its name.
macro_rules! signing {
    ($set:expr, $function:ident($($argument:expr),*)) => {
        match $set {
            ParameterSet::MlDsa44 => $function::<MlDsa44>($($argument),*),
            ParameterSet::MlDsa65 => $function::<MlDsa65>($($argument),*),
            ParameterSet::MlDsa87 => $function::<MlDsa87>($($argument),*),
            _ => None,
        }
    };
}

impl Lattice {
    /// A private key from its seed or from its expanded form, which is told by the length. Of an expanded one the public half is
    /// computed; it must fit the hash of it that the private one holds.
    pub(crate) fn from_private(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        let key = if bytes.len() == set.seed_bytes() {
            signing!(set, from_seed(bytes))
        } else {
            signing!(set, from_expanded(set, bytes))
        };
        key.map(|key| Self { key, set })
    }

    /// A public key.
    pub(crate) fn from_public(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        signing!(set, from_public(bytes)).map(|key| Self { key, set })
    }

    pub(crate) const fn set(&self) -> ParameterSet {
        self.set
    }

    /// The public key, which a private one has as well.
    #[expect(clippy::unnecessary_wraps, reason = "the other engine may fail")]
    pub(crate) fn public(&self) -> Option<Vec<u8>> {
        Some(self.key.public())
    }

    /// The expanded private key.
    pub(crate) fn private(&self) -> Option<Secret> {
        self.key.private()
    }

    /// A hedged signature of a message representative (FIPS 204, 6.2, from step 7 on).
    pub(crate) fn sign(&self, mu: &[u8; 64], out: &mut [u8]) -> Option<()> {
        let _scrubbed = ScrubbedStack;
        self.key.sign(mu, out)
    }

    /// Whether it is a signature of the message representative.
    pub(crate) fn verify(&self, mu: &[u8; 64], signature: &[u8]) -> Option<()> {
        self.key.verify(mu, signature)
    }
}

/// A key of ML-DSA.
struct Signing<P: MlDsaParams> {
    public: VerifyingKey<P>,
    private: Option<Box<ExpandedSigningKey<P>>>,
}

fn from_seed<P: MlDsaParams + 'static>(seed: &[u8]) -> Option<Box<dyn Operations>> {
    let private = Box::new(ExpandedSigningKey::<P>::from_seed(seed.try_into().ok()?));
    Some(Box::new(Signing {
        public: private.verifying_key(),
        private: Some(private),
    }))
}

fn from_expanded<P: MlDsaParams + 'static>(set: ParameterSet, bytes: &[u8]) -> Option<Box<dyn Operations>> {
    if bytes.len() != set.private_bytes() || !has_short_vectors(set, bytes) {
        return None;
    }
    #[expect(
        deprecated,
        reason = "PKCS#11 has keys in this form, and what the crate does not check was checked"
    )]
    let private = Box::new(ExpandedSigningKey::<P>::from_expanded(bytes.try_into().ok()?));
    let public = private.verifying_key();
    // The hash of the public key, tr, is after two seeds of 32 bytes (FIPS 204, 7.2, algorithm 24).
    let hash = super::shake256(&[&public.encode()])?;
    let private = Some(private);
    (bytes.get(64..128) == Some(&hash)).then(|| -> Box<dyn Operations> { Box::new(Signing { public, private }) })
}

fn from_public<P: MlDsaParams + 'static>(bytes: &[u8]) -> Option<Box<dyn Operations>> {
    let public = VerifyingKey::<P>::decode(bytes.try_into().ok()?);
    Some(Box::new(Signing { public, private: None }))
}

/// Whether all coefficients of the secret vectors are in range (FIPS 204, 7.2, algorithm 25: who decodes from elsewhere must
/// look). Looks at each of them, whatever it finds.
fn has_short_vectors(set: ParameterSet, bytes: &[u8]) -> bool {
    // Polynomials in both vectors, bits of a coefficient, the greatest (4, table 1).
    let (polynomials, bits, most) = match set {
        ParameterSet::MlDsa44 => (8, 3, 4_u8),
        ParameterSet::MlDsa65 => (11, 4, 8),
        ParameterSet::MlDsa87 => (15, 3, 4),
        _ => return false,
    };
    let Some(vectors) = bytes.get(128..128 + polynomials * 32 * bits) else {
        return false;
    };
    let mut over = 0;
    for group in vectors.chunks_exact(bits) {
        let number = group.iter().rev().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        for at in (0..bits * 8).step_by(bits) {
            let coefficient = (number >> at) as u8 & ((1 << bits) - 1);
            over |= most.wrapping_sub(coefficient) & 0x80;
        }
    }
    over == 0
}

impl<P: MlDsaParams> Operations for Signing<P> {
    fn public(&self) -> Vec<u8> {
        self.public.encode().to_vec()
    }

    fn private(&self) -> Option<Secret> {
        #[expect(deprecated, reason = "PKCS#11 has keys in this form")]
        let mut bytes = self.private.as_ref()?.to_expanded();
        let secret = Secret::from_slice(&bytes);
        bytes.as_mut_slice().zeroize();
        Some(secret)
    }

    fn sign(&self, mu: &[u8; 64], out: &mut [u8]) -> Option<()> {
        let signature = self.private.as_ref()?.sign_mu_randomized(mu.into(), &mut System).ok()?;
        let bytes = signature.encode();
        (bytes.len() == out.len()).then(|| out.copy_from_slice(&bytes))
    }

    fn verify(&self, mu: &[u8; 64], signature: &[u8]) -> Option<()> {
        let signature = Signature::<P>::try_from(signature).ok()?;
        self.public.verify_mu(mu.into(), &signature).then_some(())
    }
}

/// Keys of ML-KEM.
impl Lattice {
    /// A private key of this set from its seed, d || z (FIPS 203, 7.1).
    pub(crate) fn from_kem_seed(set: ParameterSet, seed: &Secret) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        let seed = seed.expose().try_into().ok()?;
        let key: Box<dyn Operations> = match set {
            ParameterSet::MlKem512 => Box::new(ml_kem_512::DecapsulationKey::from_seed(seed)),
            ParameterSet::MlKem768 => Box::new(ml_kem_768::DecapsulationKey::from_seed(seed)),
            ParameterSet::MlKem1024 => Box::new(ml_kem_1024::DecapsulationKey::from_seed(seed)),
            _ => return None,
        };
        Some(Self { key, set })
    }

    /// A private key from its expanded form and its public half; both are checked, and that they fit each other.
    pub(crate) fn from_kem_pair(set: ParameterSet, public: &[u8], private: &[u8]) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        let key: Box<dyn Operations> = match set {
            ParameterSet::MlKem512 => Box::new(expanded_512(private)?),
            ParameterSet::MlKem768 => Box::new(expanded_768(private)?),
            ParameterSet::MlKem1024 => Box::new(expanded_1024(private)?),
            _ => return None,
        };
        let key = Self { key, set };
        let (ciphertext, secret) = key.encapsulate()?;
        let fits = key.public()? == public && key.decapsulate(&ciphertext)? == secret;
        fits.then_some(key)
    }

    /// A public key, whose numbers are in range (FIPS 203, 7.2).
    pub(crate) fn from_kem_public(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        let key: Box<dyn Operations> = match set {
            ParameterSet::MlKem512 => Box::new(ml_kem_512::EncapsulationKey::new(bytes.try_into().ok()?).ok()?),
            ParameterSet::MlKem768 => Box::new(ml_kem_768::EncapsulationKey::new(bytes.try_into().ok()?).ok()?),
            ParameterSet::MlKem1024 => Box::new(ml_kem_1024::EncapsulationKey::new(bytes.try_into().ok()?).ok()?),
            _ => return None,
        };
        Some(Self { key, set })
    }

    /// A ciphertext and the secret that it carries.
    pub(crate) fn encapsulate(&self) -> Option<(Vec<u8>, Secret)> {
        let _scrubbed = ScrubbedStack;
        self.key.encapsulate()
    }

    /// The secret of a ciphertext of the set's length.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Option<Secret> {
        let _scrubbed = ScrubbedStack;
        self.key.decapsulate(ciphertext)
    }
}

/// Both halves of a set of ML-KEM, and how the private one is read from its expanded form. The crate's traits over all sets are
/// its own.
macro_rules! kem {
    ($set:ident, $expanded:ident) => {
        fn $expanded(private: &[u8]) -> Option<$set::DecapsulationKey> {
            #[expect(deprecated, reason = "PKCS#11 has keys in this form; the crate checks it")]
            $set::DecapsulationKey::from_expanded(private.try_into().ok()?).ok()
        }

        impl Operations for $set::EncapsulationKey {
            fn public(&self) -> Vec<u8> {
                self.to_bytes().to_vec()
            }

            fn private(&self) -> Option<Secret> {
                None
            }

            fn encapsulate(&self) -> Option<(Vec<u8>, Secret)> {
                let (ciphertext, mut shared) = self.encapsulate_with_rng(&mut System);
                let secret = Secret::from_slice(&shared);
                shared.as_mut_slice().zeroize();
                Some((ciphertext.to_vec(), secret))
            }
        }

        impl Operations for $set::DecapsulationKey {
            fn public(&self) -> Vec<u8> {
                Operations::public(self.encapsulation_key())
            }

            fn private(&self) -> Option<Secret> {
                #[expect(deprecated, reason = "PKCS#11 has keys in this form")]
                let mut bytes = ml_kem::ExpandedKeyEncoding::to_expanded_bytes(self);
                let secret = Secret::from_slice(&bytes);
                bytes.as_mut_slice().zeroize();
                Some(secret)
            }

            fn encapsulate(&self) -> Option<(Vec<u8>, Secret)> {
                Operations::encapsulate(self.encapsulation_key())
            }

            fn decapsulate(&self, ciphertext: &[u8]) -> Option<Secret> {
                let mut shared = Decapsulate::decapsulate(self, ciphertext.try_into().ok()?);
                let secret = Secret::from_slice(&shared);
                shared.as_mut_slice().zeroize();
                Some(secret)
            }
        }
    };
}

kem!(ml_kem_512, expanded_512);
kem!(ml_kem_768, expanded_768);
kem!(ml_kem_1024, expanded_1024);
