//! How long the long programs run and how they tell it: rounds, seed, progress, verdict. `cargo xtask soak` sets
//! `HSMD_ROUNDS` and `HSMD_SEED`; without them a program is as short as continuous integration needs it.

use std::time::Instant;

/// The seed of every short run: a gate neither fails nor passes by luck. Long runs take theirs from the clock.
const SHORT: u64 = 20_261_122;

fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.subsec_nanos().into())
}

/// One run of a program.
pub struct Soak {
    name: &'static str,
    /// How often the program does what it does.
    pub rounds: usize,
    /// What its choices come from: the same seed makes the same choices.
    pub seed: u64,
    started: Instant,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

impl Soak {
    /// A run of `short` rounds, unless `HSMD_ROUNDS` or `HSMD_SOAK` says otherwise.
    #[must_use]
    pub fn new(name: &'static str, short: usize) -> Self {
        let rounds = number("HSMD_ROUNDS").map_or_else(|| short * crate::soak(), |rounds| rounds as usize);
        let seed = number("HSMD_SEED").unwrap_or_else(|| if Self::is_long() { clock() } else { SHORT });
        println!("{name}: {rounds} rounds, seed {seed}");
        Self {
            name,
            rounds,
            seed,
            started: Instant::now(),
        }
    }

    /// Whether this is a long run, asked for by `cargo xtask soak`.
    #[must_use]
    pub fn is_long() -> bool {
        number("HSMD_ROUNDS").is_some()
    }

    /// Says where the run is, about twenty times in all.
    pub fn progress(&self, done: usize, text: impl FnOnce() -> String) {
        if done.is_multiple_of((self.rounds / 20).max(1)) {
            let seconds = self.started.elapsed().as_secs();
            println!("{}: {done} of {}, {seconds} s: {}", self.name, self.rounds, text());
        }
    }

    /// The last line, and the end of the test.
    ///
    /// # Panics
    /// Unless `good`.
    pub fn verdict(&self, good: bool, figures: &str) {
        let seconds = self.started.elapsed().as_secs();
        let word = if good { "good" } else { "BAD" };
        println!(
            "VERDICT {}: {word}: {} rounds, seed {}, {seconds} s: {figures}",
            self.name, self.rounds, self.seed
        );
        assert!(good, "{}: seed {}: {figures}", self.name, self.seed);
    }
}

/// A generator without dependencies (Steele and others, SplitMix64): the seed replays the choices. No secret.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Any seed is good.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.bits() as u8).collect()
    }

    /// So many letters and digits.
    pub fn text(&mut self, length: usize) -> String {
        const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        (0..length).map(|_| char::from(self.pick(LETTERS))).collect()
    }
}
