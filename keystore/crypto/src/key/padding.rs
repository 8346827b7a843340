//! The padding of PKCS #7 (RFC 5652, 6.3), for blocks of any size.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use zeroize::Zeroizing;

/// The last block: what is left of the data, and the padding. `rest` is shorter than a block.
pub(super) fn last_block<const BLOCK: usize>(rest: &[u8]) -> Zeroizing<[u8; BLOCK]> {
    let mut last = Zeroizing::new([(BLOCK - rest.len()) as u8; BLOCK]);
    last[..rest.len()].copy_from_slice(rest);
    last
}

/// The length without the padding; all bytes of the last block are looked at whatever they are.
pub(super) fn unpadded_length<const BLOCK: usize>(data: &[u8]) -> Option<usize> {
    let last: &[u8; BLOCK] = data.last_chunk()?;
    let padding = *last.last()?;
    let mut good = !padding.ct_eq(&0) & !padding.ct_gt(&(BLOCK as u8));
    for (distance, byte) in (1..=BLOCK).zip(last.iter().rev()) {
        let inside: Choice = !(distance as u8).ct_gt(&padding);
        let expected = u8::conditional_select(byte, &padding, inside);
        good &= byte.ct_eq(&expected);
    }
    bool::from(good).then(|| data.len() - padding as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_padded_is_found_again_and_nothing_else_is_padding() {
        for length in 0..8 {
            let data = vec![7; length];
            let block = last_block::<8>(&data);
            assert_eq!(unpadded_length::<8>(&block[..]), Some(length));
            assert_eq!(block[..length], data);
        }
        for wrong in [[0; 8], [9; 8], [1, 1, 1, 1, 1, 1, 3, 2], [8, 8, 8, 8, 8, 8, 7, 8]] {
            assert_eq!(unpadded_length::<8>(&wrong), None, "{wrong:?}");
        }
        assert_eq!(unpadded_length::<16>(&[1; 8]), None);
    }
}
