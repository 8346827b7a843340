//! The parameter sets of ML-DSA (FIPS 204), ML-KEM (FIPS 203) and SLH-DSA (FIPS 205): `CKA_PARAMETER_SET`, and the lengths that follow from it.

use crate::ck::KeyType;

/// A parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ParameterSet {
    MlDsa44,
    MlDsa65,
    MlDsa87,
    MlKem512,
    MlKem768,
    MlKem1024,
    SlhDsaSha2_128s,
    SlhDsaSha2_128f,
    SlhDsaSha2_192s,
    SlhDsaSha2_192f,
    SlhDsaSha2_256s,
    SlhDsaSha2_256f,
    SlhDsaShake128s,
    SlhDsaShake128f,
    SlhDsaShake192s,
    SlhDsaShake192f,
    SlhDsaShake256s,
    SlhDsaShake256f,
}

impl ParameterSet {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::MlDsa44,
        Self::MlDsa65,
        Self::MlDsa87,
        Self::MlKem512,
        Self::MlKem768,
        Self::MlKem1024,
        Self::SlhDsaSha2_128s,
        Self::SlhDsaSha2_128f,
        Self::SlhDsaSha2_192s,
        Self::SlhDsaSha2_192f,
        Self::SlhDsaSha2_256s,
        Self::SlhDsaSha2_256f,
        Self::SlhDsaShake128s,
        Self::SlhDsaShake128f,
        Self::SlhDsaShake192s,
        Self::SlhDsaShake192f,
        Self::SlhDsaShake256s,
        Self::SlhDsaShake256f,
    ];

    /// Reads `CKA_PARAMETER_SET` of a key of this type.
    #[must_use]
    pub fn new(key_type: KeyType, number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|set| set.key_type() == key_type && set.number() == number)
    }

    /// The value of `CKA_PARAMETER_SET`: `CKP_ML_DSA_44` and so on.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::MlDsa44 => cryptoki_sys::CKP_ML_DSA_44,
            Self::MlDsa65 => cryptoki_sys::CKP_ML_DSA_65,
            Self::MlDsa87 => cryptoki_sys::CKP_ML_DSA_87,
            Self::MlKem512 => cryptoki_sys::CKP_ML_KEM_512,
            Self::MlKem768 => cryptoki_sys::CKP_ML_KEM_768,
            Self::MlKem1024 => cryptoki_sys::CKP_ML_KEM_1024,
            Self::SlhDsaSha2_128s => cryptoki_sys::CKP_SLH_DSA_SHA2_128S,
            Self::SlhDsaSha2_128f => cryptoki_sys::CKP_SLH_DSA_SHA2_128F,
            Self::SlhDsaSha2_192s => cryptoki_sys::CKP_SLH_DSA_SHA2_192S,
            Self::SlhDsaSha2_192f => cryptoki_sys::CKP_SLH_DSA_SHA2_192F,
            Self::SlhDsaSha2_256s => cryptoki_sys::CKP_SLH_DSA_SHA2_256S,
            Self::SlhDsaSha2_256f => cryptoki_sys::CKP_SLH_DSA_SHA2_256F,
            Self::SlhDsaShake128s => cryptoki_sys::CKP_SLH_DSA_SHAKE_128S,
            Self::SlhDsaShake128f => cryptoki_sys::CKP_SLH_DSA_SHAKE_128F,
            Self::SlhDsaShake192s => cryptoki_sys::CKP_SLH_DSA_SHAKE_192S,
            Self::SlhDsaShake192f => cryptoki_sys::CKP_SLH_DSA_SHAKE_192F,
            Self::SlhDsaShake256s => cryptoki_sys::CKP_SLH_DSA_SHAKE_256S,
            Self::SlhDsaShake256f => cryptoki_sys::CKP_SLH_DSA_SHAKE_256F,
        }
    }

    /// The type of keys of this set.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => KeyType::ML_DSA,
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => KeyType::ML_KEM,
            _ => KeyType::SLH_DSA,
        }
    }

    /// The length of a public key in bytes, which is also the key's size in the mechanism table.
    #[must_use]
    pub const fn public_bytes(self) -> usize {
        match self {
            Self::MlDsa44 => 1312,
            Self::MlDsa65 => 1952,
            Self::MlDsa87 => 2592,
            Self::MlKem512 => 800,
            Self::MlKem768 => 1184,
            Self::MlKem1024 => 1568,
            _ => 2 * self.hash_bytes(),
        }
    }

    /// The length of an expanded private key in bytes: `CKA_VALUE`.
    #[must_use]
    pub const fn private_bytes(self) -> usize {
        match self {
            Self::MlDsa44 => 2560,
            Self::MlDsa65 => 4032,
            Self::MlDsa87 => 4896,
            Self::MlKem512 => 1632,
            Self::MlKem768 => 2400,
            Self::MlKem1024 => 3168,
            _ => 4 * self.hash_bytes(),
        }
    }

    /// The length of the seed in bytes: `CKA_SEED` (xi of FIPS 204; d and z of FIPS 203). Of
    /// SLH-DSA, whose keys have no such attribute: SK.seed, SK.prf and PK.seed.
    #[must_use]
    pub const fn seed_bytes(self) -> usize {
        match self {
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => 32,
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => 64,
            _ => 3 * self.hash_bytes(),
        }
    }

    /// The length in bytes of a signature of ML-DSA or SLH-DSA, or of a ciphertext of ML-KEM.
    #[must_use]
    pub const fn output_bytes(self) -> usize {
        match self {
            Self::MlDsa44 => 2420,
            Self::MlDsa65 => 3309,
            Self::MlDsa87 => 4627,
            Self::MlKem512 => 768,
            Self::MlKem768 => 1088,
            Self::MlKem1024 => 1568,
            Self::SlhDsaSha2_128s | Self::SlhDsaShake128s => 7856,
            Self::SlhDsaSha2_128f | Self::SlhDsaShake128f => 17088,
            Self::SlhDsaSha2_192s | Self::SlhDsaShake192s => 16224,
            Self::SlhDsaSha2_192f | Self::SlhDsaShake192f => 35664,
            Self::SlhDsaSha2_256s | Self::SlhDsaShake256s => 29792,
            Self::SlhDsaSha2_256f | Self::SlhDsaShake256f => 49856,
        }
    }

    /// The bits of classical security (FIPS 204, table 1: lambda; SP 800-57 for ML-KEM's categories 1, 3 and 5).
    #[must_use]
    pub const fn strength_bits(self) -> usize {
        match self {
            Self::MlDsa44 | Self::MlKem512 => 128,
            Self::MlDsa65 | Self::MlKem768 => 192,
            Self::MlDsa87 | Self::MlKem1024 => 256,
            _ => 8 * self.hash_bytes(),
        }
    }

    /// The length in bytes of a hash value of SLH-DSA (FIPS 205, table 2: n); 0 for the others.
    #[must_use]
    pub const fn hash_bytes(self) -> usize {
        match self {
            Self::SlhDsaSha2_128s | Self::SlhDsaShake128s | Self::SlhDsaSha2_128f | Self::SlhDsaShake128f => 16,
            Self::SlhDsaSha2_192s | Self::SlhDsaShake192s | Self::SlhDsaSha2_192f | Self::SlhDsaShake192f => 24,
            Self::SlhDsaSha2_256s | Self::SlhDsaShake256s | Self::SlhDsaSha2_256f | Self::SlhDsaShake256f => 32,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_named_by_key_type_and_number() {
        for set in ParameterSet::ALL {
            assert_eq!(ParameterSet::new(set.key_type(), set.number()), Some(set));
        }
        assert_eq!(ParameterSet::new(KeyType::ML_DSA, 4), None);
        assert_eq!(ParameterSet::new(KeyType::EC, 1), None);
    }
}
