//! PIN stretching: Argon2id (RFC 9106) in at most two fixed arenas per process, wiped after use, for which callers
//! queue (DESIGN 6): a burst of logins costs time, never memory.

use crate::secret::SecretArray;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use thiserror::Error;
use zeroize::Zeroize;

/// How much work a PIN check is. Stored beside the salt of each PIN record, so that it may grow later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl PinCost {
    /// For production: 256 MiB and three passes.
    pub const PRODUCTION: Self = Self {
        memory_kib: 256 * 1024,
        passes: 3,
        lanes: 1,
    };

    /// For `hsmd dev` and tests: it slows nobody down, guessing included.
    pub const SMALL: Self = Self {
        memory_kib: 256,
        passes: 1,
        lanes: 1,
    };

    /// The most that a record may ask for: a record is sealed, but a wrong one must not eat the machine.
    const MOST: Self = Self {
        memory_kib: 1024 * 1024,
        passes: 16,
        lanes: 16,
    };
}

impl Default for PinCost {
    fn default() -> Self {
        Self::PRODUCTION
    }
}

/// Why a PIN was not stretched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PinError {
    /// The cost is outside what Argon2 or this build takes.
    #[error("the cost is out of range")]
    Cost,
    /// There is no memory for the arena.
    #[error("there is no memory for the arena")]
    Memory,
}

/// Stretches a PIN to a key. Blocks while both arenas are in use.
///
/// # Errors
/// [`PinError`].
pub fn stretch(pin: &[u8], salt: &[u8; 16], cost: &PinCost) -> Result<SecretArray<32>, PinError> {
    let most = PinCost::MOST;
    if cost.memory_kib > most.memory_kib || cost.passes > most.passes || cost.lanes > most.lanes {
        return Err(PinError::Cost);
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|_| PinError::Cost)?;
    let blocks = params.block_count();
    let mut arena = POOL.take();
    let memory = arena.slice(blocks)?;
    let mut result = Ok(());
    let key = SecretArray::filled(|out| {
        result = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(pin, salt, out, memory);
    });
    result.map(|()| key).map_err(|_| PinError::Cost)
}

const ARENAS: usize = 2;

static POOL: Pool = Pool {
    state: Mutex::new(State {
        idle: Vec::new(),
        in_use: 0,
    }),
    returned: Condvar::new(),
};

struct Pool {
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    /// Arenas that nobody uses, all zero.
    idle: Vec<Vec<Block>>,
    in_use: usize,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self) -> Arena {
        let mut state = self
            .returned
            .wait_while(self.lock(), |state| state.in_use == ARENAS)
            .unwrap_or_else(PoisonError::into_inner);
        state.in_use += 1;
        Arena {
            pool: self,
            memory: state.idle.pop().unwrap_or_default(),
            used: 0,
        }
    }
}

/// An arena while it is in use; wiped and given back when dropped, also by a panic.
struct Arena {
    pool: &'static Pool,
    memory: Vec<Block>,
    used: usize,
}

impl Arena {
    fn slice(&mut self, blocks: usize) -> Result<&mut [Block], PinError> {
        if self.memory.len() < blocks {
            self.memory = Vec::new();
            self.memory.try_reserve_exact(blocks).map_err(|_| PinError::Memory)?;
            self.memory.resize(blocks, Block::default());
        }
        self.used = blocks;
        Ok(&mut self.memory[..blocks])
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for block in &mut self.memory[..self.used] {
            block.as_mut().zeroize();
        }
        let mut state = self.pool.lock();
        state.idle.push(std::mem::take(&mut self.memory));
        state.in_use -= 1;
        drop(state);
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pin_salt_and_cost_all_count() {
        let salt = [7; 16];
        let key = stretch(b"1234", &salt, &PinCost::SMALL).unwrap();
        assert_eq!(key, stretch(b"1234", &salt, &PinCost::SMALL).unwrap());
        assert_ne!(key, stretch(b"1235", &salt, &PinCost::SMALL).unwrap());
        assert_ne!(key, stretch(b"1234", &[8; 16], &PinCost::SMALL).unwrap());
        let dearer = PinCost {
            passes: 2,
            ..PinCost::SMALL
        };
        assert_ne!(key, stretch(b"1234", &salt, &dearer).unwrap());
        assert!(stretch(b"", &salt, &PinCost::SMALL).is_ok());
    }

    #[test]
    fn absurd_costs_are_refused() {
        for cost in [
            PinCost {
                memory_kib: 0,
                ..PinCost::SMALL
            },
            PinCost {
                passes: 0,
                ..PinCost::SMALL
            },
            PinCost {
                lanes: 0,
                ..PinCost::SMALL
            },
            PinCost {
                memory_kib: u32::MAX,
                ..PinCost::SMALL
            },
        ] {
            assert_eq!(stretch(b"1234", &[0; 16], &cost).err(), Some(PinError::Cost));
        }
    }

    #[test]
    fn many_callers_share_two_arenas_that_come_back_zero() {
        let salt = [7; 16];
        let expected = stretch(b"1234", &salt, &PinCost::SMALL).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| assert_eq!(stretch(b"1234", &salt, &PinCost::SMALL).unwrap(), expected));
            }
        });
        let state = POOL.lock();
        assert!(state.idle.len() + state.in_use <= ARENAS);
        let zero = |block: &Block| block.as_ref().iter().all(|word| *word == 0);
        assert!(state.idle.iter().flatten().all(zero));
    }
}
