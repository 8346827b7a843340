//! The target of requests: a daemon in memory answers them, one after the other. Sockets are not in it.

use std::cell::RefCell;

use hsmd::fuzzing::{Daemon, requests as good};

/// Some requests, 2 bytes of length each, to one daemon.
pub(crate) fn requests(data: &[u8]) {
    thread_local! {
        static DAEMON: RefCell<Option<Daemon>> = const { RefCell::new(None) };
    }
    DAEMON.with_borrow_mut(|place| {
        if place.as_ref().is_none_or(Daemon::is_spent) {
            *place = None;
        }
        let daemon = place.get_or_insert_with(|| Daemon::new().expect("a daemon in memory"));
        let mut rest = data;
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_le_bytes(*length)).min(tail.len());
            let (request, tail) = tail.split_at(length);
            daemon.request(request);
            rest = tail;
        }
    });
}

/// Each good request alone, and all in a row.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = good()
        .into_iter()
        .map(|request| [(request.len() as u16).to_le_bytes().as_slice(), &request].concat())
        .collect();
    seeds.push(seeds.concat());
    seeds
}
