//! AES-CBC with ciphertext stealing, in the form CS1 (SP 800-38A, addendum; PKCS#11 3.2, 6.12): as long as the text, of which
//! there is at least one block; whole blocks are CBC.

use super::append;
use crate::engine::{Aes, Block, Way};
use crate::error::OpError;
use zeroize::{Zeroize, Zeroizing};

const BLOCK: usize = 16;

pub(crate) fn crypt(aes: &Aes, way: Way, iv: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let mut iv: Block = iv.try_into().map_err(|_| OpError::Parameter)?;
    if data.len() < BLOCK {
        return Err(match way {
            Way::Encrypt => OpError::DataLength,
            Way::Decrypt => OpError::EncryptedLength,
        });
    }
    append(out, data.len(), |target| {
        let done = match (way, data.len() % BLOCK) {
            (_, 0) => aes.cbc(way, &mut iv, data, target),
            (Way::Encrypt, tail) => seal(aes, &mut iv, data, tail, target),
            (Way::Decrypt, tail) => open(aes, &mut iv, data, tail, target),
        };
        done.ok_or(OpError::Failed)
    })
}

/// The last block but one loses what the zeros behind the text would have made of it.
fn seal(aes: &Aes, iv: &mut Block, data: &[u8], tail: usize, out: &mut [u8]) -> Option<()> {
    let (whole, rest) = data.split_at(data.len() - tail);
    let mut last = Zeroizing::new([0; BLOCK]);
    last[..tail].copy_from_slice(rest);
    aes.cbc(Way::Encrypt, iv, whole, &mut out[..whole.len()])?;
    let mut sealed: Block = [0; BLOCK];
    aes.cbc(Way::Encrypt, iv, &*last, &mut sealed)?;
    // The block before keeps its first `tail` bytes; the last one moves up behind them.
    out[data.len() - BLOCK..].copy_from_slice(&sealed);
    Some(())
}

fn open(aes: &Aes, iv: &mut Block, data: &[u8], tail: usize, out: &mut [u8]) -> Option<()> {
    let (front, last) = data.split_at(data.len() - BLOCK);
    let (whole, stolen) = front.split_at(front.len() - tail);
    let mut mixed: Block = last.try_into().ok()?;
    aes.block(Way::Decrypt, &mut mixed);
    // What was stolen of the block before stands in the last one, behind the text's tail.
    let mut before: Block = mixed;
    before[..tail].copy_from_slice(stolen);
    aes.cbc(Way::Decrypt, iv, whole, &mut out[..whole.len()])?;
    aes.cbc(Way::Decrypt, iv, &before, &mut out[whole.len()..whole.len() + BLOCK])?;
    for ((target, mixed), stolen) in out[whole.len() + BLOCK..].iter_mut().zip(&mixed).zip(stolen) {
        *target = mixed ^ stolen;
    }
    mixed.zeroize();
    before.zeroize();
    Some(())
}
