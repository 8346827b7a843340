//! What can go wrong, one variant per fact, and the one table from fact to return value.

use hsmd_proto::ck::Rv;
use thiserror::Error;

/// Why an operation with a key failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpError {
    /// The mechanism does not exist in this build or does not do this operation.
    #[error("the mechanism does not do this")]
    Mechanism,
    /// The parameter does not fit the mechanism or the key: lengths, hashes, a point that is not on the curve.
    #[error("the mechanism's parameter does not fit")]
    Parameter,
    /// The key is of another type than the mechanism needs.
    #[error("the key is of another type")]
    KeyType,
    /// The key's size does not suit the mechanism.
    #[error("the key's size does not suit")]
    KeySize,
    /// The data's length does not suit: a partial block, more than the key can take, a digest of another length.
    #[error("the data's length does not suit")]
    DataLength,
    /// The data is not what the mechanism takes, such as a digest where the message is needed.
    #[error("the data does not suit")]
    Data,
    /// The ciphertext's length cannot be right.
    #[error("the ciphertext's length cannot be right")]
    EncryptedLength,
    /// The ciphertext does not decrypt: tag, padding or check value. Which of them is not told.
    #[error("the ciphertext does not decrypt")]
    Encrypted,
    /// The signature's length cannot be right.
    #[error("the signature's length cannot be right")]
    SignatureLength,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// The engine failed: out of memory, or a self-check of its own result.
    #[error("the operation failed")]
    Failed,
}

impl OpError {
    /// The return value of a PKCS#11 function that ends with this error.
    #[must_use]
    pub const fn rv(self) -> Rv {
        match self {
            Self::Mechanism => Rv::MECHANISM_INVALID,
            Self::Parameter => Rv::MECHANISM_PARAM_INVALID,
            Self::KeyType => Rv::KEY_TYPE_INCONSISTENT,
            Self::KeySize => Rv::KEY_SIZE_RANGE,
            Self::DataLength => Rv::DATA_LEN_RANGE,
            Self::Data => Rv::DATA_INVALID,
            Self::EncryptedLength => Rv::ENCRYPTED_DATA_LEN_RANGE,
            Self::Encrypted => Rv::ENCRYPTED_DATA_INVALID,
            Self::SignatureLength => Rv::SIGNATURE_LEN_RANGE,
            Self::Signature => Rv::SIGNATURE_INVALID,
            Self::Failed => Rv::FUNCTION_FAILED,
        }
    }
}

/// Why [`crate::Material`] is no usable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A size that this build does not have.
    #[error("the key's size is not supported")]
    Size,
    /// The numbers are no key: inconsistent parts, an even modulus, a point off the curve, a scalar out of range.
    #[error("the key's parts do not make a key")]
    Invalid,
}

impl KeyError {
    /// The return value of a PKCS#11 function that ends with this error.
    #[must_use]
    pub const fn rv(self) -> Rv {
        match self {
            Self::Size => Rv::KEY_SIZE_RANGE,
            Self::Invalid => Rv::ATTRIBUTE_VALUE_INVALID,
        }
    }
}
