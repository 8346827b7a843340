//! The key derivation functions of SP 800-108 r1 (PKCS#11 3.2, CKM_SP800_108_...), over HMAC or CMAC.

use super::mac;
use super::symmetric::Symmetric;
use crate::engine::{Aes, Hmac};
use crate::error::OpError;
use crate::secret::Secret;
use hsmd_proto::ck::MechanismType;
use hsmd_proto::kbkdf::{KbkdfField, KbkdfMode, KbkdfParams, NumberFormat};
use hsmd_proto::mechanism;
use zeroize::Zeroizing;

/// The longest block of a pseudo-random function, in bytes.
const LONGEST: usize = 64;

enum Prf<'a> {
    Hmac(&'a Hmac),
    Cmac(&'a Aes),
}

impl<'a> Prf<'a> {
    fn of(key: &'a Symmetric, prf: MechanismType) -> Result<Self, OpError> {
        if prf == MechanismType::AES_CMAC {
            return key.aes().map(Self::Cmac);
        }
        let row = mechanism::row(prf).ok_or(OpError::Parameter)?;
        key.hmac(row.hash.ok_or(OpError::Parameter)?).map(Self::Hmac)
    }

    fn compute(&self, input: &[u8], out: &mut [u8; LONGEST]) -> Result<(), OpError> {
        match self {
            Self::Hmac(hmac) => hmac.compute(&[input], out).map(drop).ok_or(OpError::Failed),
            Self::Cmac(aes) => mac::cmac(aes, input, out).map(drop),
        }
    }
}

/// `length` bytes.
pub(crate) fn derive(key: &Symmetric, mode: KbkdfMode, params: &KbkdfParams, length: usize) -> Result<Secret, OpError> {
    let block = params.block().ok_or(OpError::Parameter)?;
    let blocks = length.div_ceil(block);
    if length == 0 {
        return Err(OpError::DataLength);
    }
    let (prf, plan) = (
        Prf::of(key, params.prf)?,
        Plan {
            params,
            length,
            whole: blocks * block,
        },
    );
    // Before the first block: A(0) of the double pipeline is the input without what changes; of feedback, the IV.
    let mut sequence = Zeroizing::new(match mode {
        KbkdfMode::Counter => Vec::new(),
        KbkdfMode::Feedback => params.iv.clone(),
        KbkdfMode::DoublePipeline => plan.input(None, 0)?,
    });
    let (mut out, mut result) = (Secret::zeroed(length), Zeroizing::new([0; LONGEST]));
    for (counter, target) in (1..).zip(out.expose_mut().chunks_mut(block)) {
        if mode == KbkdfMode::DoublePipeline {
            prf.compute(&sequence, &mut result)?;
            *sequence = result[..block].to_vec();
        }
        let input = Zeroizing::new(plan.input(Some(&sequence), counter)?);
        prf.compute(&input, &mut result)?;
        if mode == KbkdfMode::Feedback {
            *sequence = result[..block].to_vec();
        }
        target.copy_from_slice(&result[..target.len()]);
    }
    Ok(out)
}

struct Plan<'a> {
    params: &'a KbkdfParams,
    /// Of the key, in bytes.
    length: usize,
    /// Of all blocks, in bytes.
    whole: usize,
}

impl Plan<'_> {
    /// The fields one after the other; without a sequence, those alone that do not change.
    fn input(&self, sequence: Option<&[u8]>, counter: u64) -> Result<Vec<u8>, OpError> {
        let mut input = Vec::new();
        for field in &self.params.fields {
            match (field, sequence) {
                (KbkdfField::Bytes(bytes), _) => input.extend_from_slice(bytes),
                (KbkdfField::Length { segments, format }, _) => {
                    let bytes = if *segments { self.whole } else { self.length };
                    // A length that has no room is the caller's to see.
                    number(*format, bytes as u64 * 8, &mut input).ok_or(OpError::Parameter)?;
                }
                (KbkdfField::Iteration(None), Some(sequence)) => input.extend_from_slice(sequence),
                (KbkdfField::Iteration(Some(format)) | KbkdfField::Counter(format), Some(_)) => {
                    // SP 800-108 r1, 4: there are no more blocks than the counter counts.
                    number(*format, counter, &mut input).ok_or(OpError::DataLength)?;
                }
                (KbkdfField::Iteration(_) | KbkdfField::Counter(_), None) => {}
            }
        }
        Ok(input)
    }
}

fn number(format: NumberFormat, value: u64, out: &mut Vec<u8>) -> Option<()> {
    let bytes = format.bits as usize / 8;
    if !(1..=8).contains(&bytes) || (bytes < 8 && value >> format.bits != 0) {
        return None;
    }
    if format.little_endian {
        out.extend_from_slice(&value.to_le_bytes()[..bytes]);
    } else {
        out.extend_from_slice(&value.to_be_bytes()[8 - bytes..]);
    }
    Some(())
}
