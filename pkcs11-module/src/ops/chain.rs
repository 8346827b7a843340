//! AES-ECB, AES-CBC, AES-CBC-PAD and AES-CTR in parts: the module keeps the chaining value and sends whole blocks, so each
//! request stands for itself and any node can serve it (INV-4). Memory stays constant, whatever the length.

use super::crypt::{Direction, Length, check_length, process};
use super::request::Asker;
use crate::abi::pointers::OutBuf;
use crate::state::operation::{Chain, KeyOperation, Outcome, Work};
use hsmd_proto::ck::{MechanismType, Rv};
use hsmd_proto::mechanism::Family;
use hsmd_proto::params::{CtrParams, Mechanism, Params};
use hsmd_proto::wipe::WipingVec;

const BLOCK: usize = 16;
/// The most data of one request, in bytes: whole blocks.
const CHUNK: usize = 1 << 20;

/// How many bytes C_EncryptUpdate or C_DecryptUpdate gives when `length` bytes more come.
pub(crate) fn part_length(operation: &mut KeyOperation, length: usize) -> Result<usize, Rv> {
    if operation.row.family == Family::AesCtr {
        return Ok(length);
    }
    let padded = operation.row.family == Family::AesCbcPad;
    let total = chain(operation)?.pending.len() + length;
    Ok(ready(total, padded && operation.direction() == Direction::Decrypt))
}

/// C_EncryptUpdate, C_DecryptUpdate: takes data in and gives what is ready.
pub(crate) fn part(asker: Asker<'_>, operation: &mut KeyOperation, data: &[u8]) -> Result<WipingVec, Rv> {
    if operation.row.family == Family::AesCtr {
        return stream(asker, operation, data);
    }
    let ready = part_length(operation, data.len())?;
    let total = chain(operation)?.pending.len() + data.len();
    let mut input = std::mem::take(&mut chain(operation)?.pending);
    let mut whole = WipingVec::from(Vec::with_capacity(total));
    whole.extend_from_slice(&input);
    whole.extend_from_slice(data);
    input.clear();
    let (blocks, rest) = whole.split_at(ready);
    input.extend_from_slice(rest);
    chain(operation)?.pending = input;
    let mut result = WipingVec::from(Vec::with_capacity(ready));
    for chunk in blocks.chunks(CHUNK) {
        let mechanism = if operation.row.family == Family::AesEcb {
            Mechanism::plain(MechanismType::AES_ECB)
        } else {
            let params = Params::Iv(chain(operation)?.block.to_vec());
            Mechanism {
                kind: MechanismType::AES_CBC,
                params,
            }
        };
        let piece = process(asker, operation, &mechanism, chunk)?;
        check_length(&piece, Length::Exact(chunk.len()))?;
        let ciphertext = if operation.direction() == Direction::Encrypt {
            piece.as_slice()
        } else {
            chunk
        };
        chain(operation)?.block = last_block(ciphertext)?;
        result.extend_from_slice(&piece);
    }
    Ok(result)
}

/// How much of the input can be processed. Padded decryption holds the last block back: it may be the padding.
const fn ready(total: usize, hold_last: bool) -> usize {
    if hold_last {
        total.saturating_sub(1) / BLOCK * BLOCK
    } else {
        total / BLOCK * BLOCK
    }
}

/// C_EncryptFinal, C_DecryptFinal.
pub(crate) fn last(asker: Asker<'_>, operation: &mut KeyOperation, out: &OutBuf<'_>) -> Result<Outcome, Rv> {
    let (family, direction) = (operation.row.family, operation.direction());
    let pending = chain(operation)?.pending.len();
    let length = match (family, direction) {
        (Family::AesCtr, _) => Length::Exact(0),
        (Family::AesCbcPad, Direction::Encrypt) => Length::Exact(BLOCK),
        (Family::AesCbcPad, Direction::Decrypt) if pending == BLOCK => Length::AtMost(BLOCK),
        (Family::AesCbc | Family::AesEcb, _) if pending == 0 => Length::Exact(0),
        _ => return Err(direction.length_error()),
    };
    match length {
        Length::Exact(0) => return Ok(out.put(&[]).into()),
        Length::Exact(bound) => {
            if let Some(refused) = out.refuse(bound) {
                return Ok(refused.into());
            }
        }
        Length::AtMost(bound) if out.is_query() => {
            out.refuse(bound);
            return Ok(Outcome::Open);
        }
        Length::AtMost(_) => {}
    }
    let chain = chain(operation)?;
    let pending = std::mem::take(&mut chain.pending);
    let mechanism = Mechanism {
        kind: MechanismType::AES_CBC_PAD,
        params: Params::Iv(chain.block.to_vec()),
    };
    let result = process(asker, operation, &mechanism, &pending)?;
    check_length(&result, length)?;
    Ok(operation.give(out, result))
}

/// CTR: requests begin at a block's boundary, so the bytes of a block that are used up are sent as zeros and their
/// key stream is thrown away.
fn stream(asker: Asker<'_>, operation: &mut KeyOperation, data: &[u8]) -> Result<WipingVec, Rv> {
    let Params::Ctr(start) = operation.mechanism.params.clone() else {
        return Err(Rv::FUNCTION_FAILED);
    };
    let mut result = WipingVec::from(Vec::with_capacity(data.len()));
    for chunk in data.chunks(CHUNK) {
        let chain_now = chain(operation)?;
        let used = chain_now.used;
        let (full, over) = ((used + chunk.len()) / BLOCK, (used + chunk.len()) % BLOCK);
        if (full + usize::from(over != 0)) as u128 > chain_now.left {
            // The counter would repeat (PKCS#11 3.2, 6.11.2).
            return Err(operation.direction().length_error());
        }
        let params = CtrParams {
            counter_bits: start.counter_bits,
            block: chain_now.block,
        };
        let mechanism = Mechanism {
            kind: MechanismType::AES_CTR,
            params: Params::Ctr(params),
        };
        let mut input = WipingVec::from(vec![0; used]);
        input.reserve_exact(chunk.len());
        input.extend_from_slice(chunk);
        let piece = process(asker, operation, &mechanism, &input)?;
        check_length(&piece, Length::Exact(input.len()))?;
        result.extend_from_slice(piece.get(used..).ok_or(Rv::DEVICE_ERROR)?);
        let chain_now = chain(operation)?;
        chain_now.block = advance(chain_now.block, start.counter_bits, full as u128);
        chain_now.left -= full as u128;
        chain_now.used = over;
    }
    Ok(result)
}

/// How many counter blocks there are before the counter's bits overflow (PKCS#11 3.2, 6.11.2).
pub(crate) fn counters_left(start: &CtrParams) -> u128 {
    let value = u128::from_be_bytes(start.block);
    match 1_u128.checked_shl(start.counter_bits) {
        Some(limit) => limit - (value & (limit - 1)),
        None => (u128::MAX - value).saturating_add(1),
    }
}

/// Counts the low `bits` of a block up.
fn advance(block: [u8; BLOCK], bits: u32, by: u128) -> [u8; BLOCK] {
    let value = u128::from_be_bytes(block);
    let mask = 1_u128.checked_shl(bits).map_or(u128::MAX, |limit| limit - 1);
    ((value & !mask) | (value.wrapping_add(by) & mask)).to_be_bytes()
}

fn chain(operation: &mut KeyOperation) -> Result<&mut Chain, Rv> {
    match &mut operation.work {
        Work::Blocks(chain) => Ok(chain),
        _ => Err(Rv::FUNCTION_FAILED),
    }
}

fn last_block(bytes: &[u8]) -> Result<[u8; BLOCK], Rv> {
    bytes.last_chunk::<BLOCK>().copied().ok_or(Rv::FUNCTION_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_decryption_holds_the_last_block_back() {
        assert_eq!(
            [0, 15, 16, 17, 32, 33].map(|total| ready(total, true)),
            [0, 0, 0, 16, 16, 32]
        );
        assert_eq!(
            [0, 15, 16, 17, 32, 33].map(|total| ready(total, false)),
            [0, 0, 16, 16, 32, 32]
        );
    }

    #[test]
    fn a_counter_counts_within_its_bits() {
        let mut block = [0xff; BLOCK];
        assert_eq!(advance(block, 8, 1)[14..], [0xff, 0]);
        assert_eq!(advance(block, 128, 1), [0; BLOCK]);
        block[15] = 0;
        assert_eq!(advance(block, 1, 1)[15], 1);
        let left = |counter_bits, low| {
            let mut block = [0xff; BLOCK];
            block[15] = low;
            counters_left(&CtrParams { counter_bits, block })
        };
        // The specification's example: two bits that start as 1 give three blocks.
        assert_eq!((left(2, 0xfd), left(128, 0xff), left(128, 0xfe)), (3, 1, 2));
    }
}
