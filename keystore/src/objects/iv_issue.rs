//! IVs that the daemon makes (DESIGN 8; policies `strict` and `fips`): each is good for one message of the key that it was made
//! for. What is not in this table was not made here: an IV of an earlier run, of another node, or of the caller's own is
//! refused, so that no client, however hostile, encrypts twice under one IV. The guard for callers' IVs is [`super::iv_guard`].

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use hsmd_crypto::random;
use hsmd_proto::ck::Rv;
use hsmd_proto::init::MADE_IV;
use parking_lot::Mutex;

use super::latch::MaterialHash;

/// IVs remembered for each key set: made and not used yet, or used and maybe asked again. The oldest is forgotten first.
const REMEMBERED: usize = 65_536;

type Name = (MaterialHash, [u8; MADE_IV]);

/// The IVs that a key set has made.
pub(crate) struct IssuedIvs {
    hasher: RandomState,
    most: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// `None`: not used yet. Else a hash of the tag that it was used for, by which the very same request is known.
    states: HashMap<Name, Option<u64>>,
    order: VecDeque<Name>,
}

impl IssuedIvs {
    pub(crate) fn new() -> Self {
        Self::bounded(REMEMBERED)
    }

    fn bounded(most: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            most,
            inner: Mutex::default(),
        }
    }

    /// Makes an IV for a key.
    pub(crate) fn issue(&self, key: MaterialHash) -> [u8; MADE_IV] {
        let iv = random::array();
        let mut inner = self.inner.lock();
        if inner.order.len() >= self.most
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.states.remove(&oldest);
        }
        // Two of 96 random bits do not meet; if they did, the first use would be the only one.
        if inner.states.insert((key, iv), None).is_none() {
            inner.order.push_back((key, iv));
        }
        iv
    }

    /// Notes that an IV was used for a message with this tag. The very same request again is no reuse.
    ///
    /// # Errors
    /// `CKR_MECHANISM_PARAM_INVALID` for an IV that was not made here for this key, is forgotten, or was used.
    pub(crate) fn redeem(&self, key: MaterialHash, iv: &[u8], tag: &[u8]) -> Result<(), Rv> {
        let iv: [u8; MADE_IV] = iv.try_into().map_err(|_| Rv::MECHANISM_PARAM_INVALID)?;
        let tag = self.hasher.hash_one(tag);
        let mut inner = self.inner.lock();
        let state = inner.states.get_mut(&(key, iv)).ok_or(Rv::MECHANISM_PARAM_INVALID)?;
        match state {
            None => {
                *state = Some(tag);
                Ok(())
            }
            Some(before) if *before == tag => Ok(()),
            Some(_) => Err(Rv::MECHANISM_PARAM_INVALID),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A17.
    #[test]
    fn an_iv_is_good_for_one_message_of_its_key() {
        let issued = IssuedIvs::new();
        let (key, other) = (MaterialHash([1; 32]), MaterialHash([2; 32]));
        let iv = issued.issue(key);
        let refused = Err(Rv::MECHANISM_PARAM_INVALID);
        assert_eq!(issued.redeem(other, &iv, b"a"), refused);
        assert_eq!(issued.redeem(key, &[0; 12], b"a"), refused);
        assert_eq!(issued.redeem(key, &iv[..11], b"a"), refused);
        assert_eq!(issued.redeem(key, &iv, b"a"), Ok(()));
        assert_eq!(issued.redeem(key, &iv, b"a"), Ok(()), "a retry");
        assert_eq!(issued.redeem(key, &iv, b"b"), refused);
    }

    #[test]
    fn what_is_forgotten_is_refused() {
        let issued = IssuedIvs::bounded(2);
        let key = MaterialHash([1; 32]);
        let ivs = [(); 3].map(|()| issued.issue(key));
        assert_eq!(issued.redeem(key, &ivs[0], b"a"), Err(Rv::MECHANISM_PARAM_INVALID));
        for iv in &ivs[1..] {
            assert_eq!(issued.redeem(key, iv, b"a"), Ok(()));
        }
        assert_eq!(issued.inner.lock().states.len(), 2);
    }
}
