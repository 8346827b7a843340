//! What came from the other side and was not used yet. Records are opened in place, so it holds plaintext too.

use hsmd_proto::wipe::{WipingVec, wipe};
use std::ops::Range;

/// What a buffer has at first: an exchange of a few hundred bytes takes no more.
const FIRST: usize = 4 << 10;
/// What a buffer grows to when the other side fills it: several records of the largest size, read at once.
const MOST: usize = 64 << 10;

/// Bytes that were read and not used.
pub(crate) struct Incoming {
    bytes: WipingVec,
    filled: Range<usize>,
}

impl Incoming {
    pub(crate) fn new() -> Self {
        Self {
            bytes: WipingVec::from(vec![0; FIRST]),
            filled: 0..0,
        }
    }

    /// What was read and not used.
    pub(crate) fn unused(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled.clone()]
    }

    /// The first bytes were used: they are wiped.
    pub(crate) fn discard(&mut self, count: usize) {
        let end = self.filled.end.min(self.filled.start + count);
        wipe(&mut self.bytes[self.filled.start..end]);
        self.filled.start = end;
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
    }

    /// Where the next bytes go; empty when a peer sends more than any record has without one being complete.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let length = self.filled.len();
        if self.filled.end == self.bytes.len() {
            if self.filled.start > 0 {
                self.bytes.copy_within(self.filled.clone(), 0);
                wipe(&mut self.bytes[length..]);
            } else if length < MOST {
                let mut larger = WipingVec::from(vec![0; (length * 2).min(MOST)]);
                larger[..length].copy_from_slice(&self.bytes);
                self.bytes = larger;
            }
            self.filled = 0..length;
        }
        &mut self.bytes[self.filled.end..]
    }

    /// So many bytes were written to the room.
    pub(crate) fn received(&mut self, count: usize) {
        self.filled.end = self.bytes.len().min(self.filled.end + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(incoming: &mut Incoming, bytes: &[u8]) {
        let room = incoming.room();
        room[..bytes.len()].copy_from_slice(bytes);
        incoming.received(bytes.len());
    }

    #[test]
    fn used_bytes_are_zeros_and_room_is_found_again() {
        let mut incoming = Incoming::new();
        put(&mut incoming, b"secret and more");
        incoming.discard(6);
        assert_eq!(&incoming.bytes[..6], &[0; 6]);
        assert_eq!(incoming.unused(), b" and more");
        let room = incoming.room().len();
        incoming.received(room);
        assert_eq!(incoming.room().len(), 6, "what was used is room");
        assert!(incoming.unused().starts_with(b" and more"));
    }

    #[test]
    fn a_buffer_that_is_filled_grows_to_its_bound_and_no_further() {
        let mut incoming = Incoming::new();
        let mut total = 0;
        loop {
            let room = incoming.room().len();
            if room == 0 {
                break;
            }
            incoming.received(room);
            total += room;
        }
        assert_eq!(total, MOST);
    }
}
