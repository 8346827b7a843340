//! Spoils frames: bits, lengths, cuts, insertions; either over all bytes, or in section and body with a header that fits, so
//! that what is behind the frame is met as well.

use hsmd_tests::soak::Random;

const HEADER: usize = 16;
const EDGES: [u32; 8] = [0, 1, 0x7f, 0xff, 0xffff, 1 << 20, 0x7fff_ffff, u32::MAX];

/// A frame and whether its header still says how long it is.
pub(crate) struct Spoiled {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fits: bool,
}

/// Spoils one frame.
pub(crate) fn spoil(random: &mut Random, frame: &[u8]) -> Spoiled {
    if frame.len() <= HEADER || random.below(4) == 0 {
        let mut bytes = frame.to_vec();
        edit(random, &mut bytes);
        return Spoiled { bytes, fits: false };
    }
    let section = field(frame, 4).min(frame.len() - HEADER);
    let (mut hidden, mut body) = (
        frame[HEADER..HEADER + section].to_vec(),
        frame[HEADER + section..].to_vec(),
    );
    for _ in 0..=random.below(3) {
        if random.below(4) == 0 {
            edit(random, &mut hidden);
        } else {
            edit(random, &mut body);
        }
    }
    let mut bytes = frame[..HEADER].to_vec();
    bytes[4..8].copy_from_slice(&(hidden.len() as u32).to_le_bytes());
    bytes[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend(hidden);
    bytes.extend(body);
    Spoiled { bytes, fits: true }
}

/// A length in a header.
pub(crate) fn field(frame: &[u8], at: usize) -> usize {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&frame[at..at + 4]);
    u32::from_le_bytes(bytes) as usize
}

fn edit(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        *bytes = random.bytes(4);
        return;
    }
    let at = random.below(bytes.len());
    let few = 1 + random.below(8);
    match random.below(7) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.bits() as u8,
        3 => {
            let edge = random.pick(&EDGES).to_le_bytes();
            bytes.iter_mut().skip(at).zip(edge).for_each(|(byte, new)| *byte = new);
        }
        4 => bytes.truncate(at),
        5 => {
            let new = random.bytes(few);
            bytes.splice(at..at, new);
        }
        _ => {
            let end = (at + few).min(bytes.len());
            bytes.drain(at..end);
        }
    }
}
