//! The guard against repeated GCM IVs (DESIGN 8): encryption with an IV among the key's last 65,536 on this node is refused. The
//! very same request again is no reuse: it has the same result, by whose tag it is known; so the guard looks before a result
//! leaves, not before it is made. A guard, not a proof: other nodes and earlier runs are not seen.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use hsmd_proto::ck::Rv;
use parking_lot::Mutex;

use super::latch::MaterialHash;

/// IVs remembered for each key.
const WINDOW: usize = 65_536;
/// IVs remembered for all keys of a key set; beyond it the key that was not used for longest is forgotten.
const TOTAL: usize = 1 << 21;
/// Locks, so that keys do not wait for each other.
const SHARDS: usize = 8;

/// The IVs that the keys of a key set have used.
pub(crate) struct IvGuards {
    /// Random, so that nobody can make two IVs with one hash.
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    total: usize,
}

#[derive(Default)]
struct Shard {
    keys: HashMap<MaterialHash, Window>,
    remembered: usize,
    clock: u64,
}

#[derive(Default)]
struct Window {
    /// Hash of an IV to hash of the tag that it was used for.
    tags: HashMap<u64, u64>,
    order: VecDeque<u64>,
    used: u64,
}

impl IvGuards {
    pub(crate) fn new() -> Self {
        Self::bounded(TOTAL)
    }

    fn bounded(total: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            total,
        }
    }

    /// Notes an encryption with this IV that made this tag. A tag is a keyed hash of parameter and data already.
    ///
    /// # Errors
    /// `CKR_MECHANISM_PARAM_INVALID` for an IV that this key used for another request.
    pub(crate) fn note(&self, key: MaterialHash, iv: &[u8], tag: &[u8]) -> Result<(), Rv> {
        let iv = self.hasher.hash_one(iv);
        let tag = self.hasher.hash_one(tag);
        let mut shard = self.shards[usize::from(key.0[0]) % SHARDS].lock();
        shard.clock += 1;
        let clock = shard.clock;
        let window = shard.keys.entry(key).or_default();
        window.used = clock;
        match window.tags.get(&iv) {
            Some(before) if *before == tag => return Ok(()),
            Some(_) => return Err(Rv::MECHANISM_PARAM_INVALID),
            None => {}
        }
        window.tags.insert(iv, tag);
        window.order.push_back(iv);
        if window.order.len() > WINDOW {
            if let Some(oldest) = window.order.pop_front() {
                window.tags.remove(&oldest);
            }
        } else {
            shard.remembered += 1;
        }
        if shard.remembered > self.total / SHARDS {
            shard.forget_one(key);
        }
        Ok(())
    }
}

impl Shard {
    fn forget_one(&mut self, but: MaterialHash) {
        let oldest = self
            .keys
            .iter()
            .filter(|(key, _)| **key != but)
            .min_by_key(|(_, window)| window.used);
        if let Some(window) = oldest.map(|(key, _)| *key).and_then(|key| self.keys.remove(&key)) {
            self.remembered -= window.order.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iv(number: u32) -> [u8; 4] {
        number.to_le_bytes()
    }

    // A17: the same IV twice, with other data, under one key.
    #[test]
    fn an_iv_is_used_for_one_request_only() {
        let guards = IvGuards::new();
        let (key, other) = (MaterialHash([1; 32]), MaterialHash([2; 32]));
        assert_eq!(guards.note(key, &iv(1), b"a"), Ok(()));
        assert_eq!(guards.note(key, &iv(1), b"a"), Ok(()), "a retry");
        assert_eq!(guards.note(key, &iv(1), b"b"), Err(Rv::MECHANISM_PARAM_INVALID));
        assert_eq!(guards.note(other, &iv(1), b"b"), Ok(()));
    }

    #[test]
    fn the_window_moves_on_and_memory_is_bounded() {
        let guards = IvGuards::new();
        let key = MaterialHash([1; 32]);
        for number in 0..=u32::try_from(WINDOW).unwrap() {
            assert_eq!(guards.note(key, &iv(number), b"a"), Ok(()));
        }
        assert_eq!(guards.note(key, &iv(1), b"b"), Err(Rv::MECHANISM_PARAM_INVALID));
        assert_eq!(guards.note(key, &iv(0), b"b"), Ok(()), "forgotten");
        let guards = IvGuards::bounded(SHARDS * 4);
        for number in 0..100 {
            let mut key = MaterialHash([0; 32]);
            key.0[1] = number;
            assert_eq!(guards.note(key, &iv(1), b"a"), Ok(()));
        }
        assert!(guards.shards[0].lock().remembered <= 5);
    }
}
