//! Mutations for the smoke test: no coverage, but the edits that break parsers. A seed replays them.

/// Numbers at the edges of fields.
const EDGES: [u64; 16] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// A source of mutated inputs.
pub struct Mutator {
    state: u64,
    /// Inputs grow to this, in bytes.
    longest: usize,
}

impl Mutator {
    /// Any seed is good.
    #[must_use]
    pub const fn new(seed: u64, longest: usize) -> Self {
        Self { state: seed, longest }
    }

    /// 64 bits (SplitMix64: Steele and others).
    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 {
            0
        } else {
            (self.bits() % limit as u64) as usize
        }
    }

    /// A new input: one of `corpus`, edited one to four times.
    pub fn next(&mut self, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = self.one_of(corpus);
        for _ in 0..=self.below(4) {
            self.edit(&mut input, corpus, words);
        }
        input.truncate(self.longest);
        input
    }

    fn one_of(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let at = self.below(corpus.len());
        corpus.get(at).cloned().unwrap_or_default()
    }

    fn edit(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
        let at = self.below(input.len());
        let length = 1 + self.below(16);
        match self.below(if words.is_empty() { 9 } else { 12 }) {
            0 => self.with_byte(input, at, |byte, bits| byte ^ 1 << (bits % 8)),
            1 => self.with_byte(input, at, |_, bits| bits as u8),
            2 => input.truncate(at),
            3 => {
                let end = (at + length).min(input.len());
                input.drain(at..end);
            }
            4 => {
                let bytes: Vec<u8> = (0..length).map(|_| self.bits() as u8).collect();
                input.splice(at..at, bytes);
            }
            5 => {
                let end = (at + length * 4).min(input.len());
                let copy = input[at..end].to_vec();
                let to = self.below(input.len());
                input.splice(to..to, copy);
            }
            6 | 7 => self.number(input, at),
            8 => {
                let other = self.one_of(corpus);
                let from = self.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let word = words[self.below(words.len())];
                input.splice(at..at, word.bytes());
            }
        }
    }

    fn with_byte(&mut self, input: &mut [u8], at: usize, change: impl FnOnce(u8, u64) -> u8) {
        let bits = self.bits();
        if let Some(byte) = input.get_mut(at) {
            *byte = change(*byte, bits);
        }
    }

    /// Puts a number where a length or a count may stand: 1, 2, 4 or 8 bytes of either order.
    fn number(&mut self, input: &mut [u8], at: usize) {
        let width = 1 << self.below(4);
        let number = match self.below(3) {
            0 => EDGES[self.below(EDGES.len())],
            1 => (input.len() - at.min(input.len())) as u64,
            _ => EDGES[self.below(EDGES.len())]
                .wrapping_add(self.bits() % 5)
                .wrapping_sub(2),
        };
        let bytes = if self.below(4) == 0 {
            number.to_be_bytes()[8 - width..].to_vec()
        } else {
            number.to_le_bytes()[..width].to_vec()
        };
        for (place, byte) in input.iter_mut().skip(at).zip(bytes) {
            *place = byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mutator;

    #[test]
    fn a_seed_replays_its_inputs_and_they_differ() {
        let corpus = [vec![1; 40], vec![2; 10]];
        let run = |seed| {
            let mut mutator = Mutator::new(seed, 64);
            (0..200).map(|_| mutator.next(&corpus, &["word"])).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(3).iter().all(|input| input.len() <= 64));
    }
}
