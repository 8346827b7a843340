//! The parameter of the key derivation functions of SP 800-108: which pseudo-random function, and what its input is made of
//! (PKCS#11 3.2, CK_SP800_108_KDF_PARAMS and CK_SP800_108_FEEDBACK_KDF_PARAMS).

use crate::ck::MechanismType;
use crate::mechanism::{self, Family};
use crate::params::{MAX_SHARED_DATA, Params};

/// The most fields that an input has.
const MAX_FIELDS: usize = 64;

/// Which of the functions (SP 800-108 r1, 4.1 to 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KbkdfMode {
    /// A counter.
    Counter,
    /// What came out before.
    Feedback,
    /// A second sequence, made beside.
    DoublePipeline,
}

/// How a number stands in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberFormat {
    /// The lowest byte first.
    pub little_endian: bool,
    /// How many bits it has: 8 to 64, whole bytes.
    pub bits: u32,
}

impl NumberFormat {
    const fn fits(self) -> bool {
        matches!(self.bits, 8 | 16 | 24 | 32 | 40 | 48 | 56 | 64)
    }
}

/// One field of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KbkdfField {
    /// What changes with each block: of [`KbkdfMode::Counter`] the counter, with its format; of the others their sequence.
    Iteration(Option<NumberFormat>),
    /// The number of the block, beside the sequence.
    Counter(NumberFormat),
    /// The length of what is derived, in bits.
    Length {
        /// Of whole blocks, instead of the key.
        segments: bool,
        /// How it stands.
        format: NumberFormat,
    },
    /// Label, context and whatever else.
    Bytes(Vec<u8>),
}

/// The parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KbkdfParams {
    /// `CKM_SHA..._HMAC` or `CKM_AES_CMAC`.
    pub prf: MechanismType,
    /// What goes in, in this order.
    pub fields: Vec<KbkdfField>,
    /// [`KbkdfMode::Feedback`]: what stands for the block before the first one.
    pub iv: Vec<u8>,
}

impl KbkdfParams {
    /// The length in bytes of a block of the pseudo-random function; `None`: this build does not have it.
    #[must_use]
    pub fn block(&self) -> Option<usize> {
        let row = mechanism::row(self.prf)?;
        let whole = matches!(row.family, Family::Hmac | Family::AesCmac)
            && row.params == mechanism::ParamKind::None
            && row.hash.is_none_or(mechanism::is_sha);
        whole.then(|| row.mac_length()).flatten()
    }

    pub(crate) fn fits(&self, mode: KbkdfMode) -> bool {
        let counts = |what: fn(&KbkdfField) -> bool| self.fields.iter().filter(|field| what(field)).count();
        let iterations = counts(|field| matches!(field, KbkdfField::Iteration(_)));
        let counters = counts(|field| matches!(field, KbkdfField::Counter(_)));
        let lengths = counts(|field| matches!(field, KbkdfField::Length { .. }));
        let most = usize::from(mode != KbkdfMode::Counter);
        let formats = self.fields.iter().all(|field| match field {
            KbkdfField::Iteration(format) => {
                format.is_some() == (mode == KbkdfMode::Counter) && format.is_none_or(NumberFormat::fits)
            }
            KbkdfField::Counter(format) | KbkdfField::Length { format, .. } => format.fits(),
            KbkdfField::Bytes(bytes) => !bytes.is_empty(),
        });
        let bytes = self.fields.iter().map(|field| match field {
            KbkdfField::Bytes(bytes) => bytes.len(),
            _ => 8,
        });
        let short = bytes.sum::<usize>() <= MAX_SHARED_DATA && self.iv.len() <= MAX_SHARED_DATA;
        let known = self.block().is_some() && (mode == KbkdfMode::Feedback || self.iv.is_empty());
        iterations == 1
            && counters <= most
            && lengths <= 1
            && formats
            && short
            && known
            && self.fields.len() <= MAX_FIELDS
    }
}

impl Params {
    /// The pseudo-random function of a derivation of SP 800-108.
    #[must_use]
    pub const fn prf(&self) -> Option<MechanismType> {
        match self {
            Self::Kbkdf(kbkdf) => Some(kbkdf.prf),
            _ => None,
        }
    }
}
