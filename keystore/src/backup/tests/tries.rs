//! INV-8 while a restore replaces what is counted.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const CLIENTS: u8 = 8;

/// Tries the SO's PIN as this client until it is locked; how many tries were answered with a check.
fn guess(keys: &KeySet, client: u8) -> u32 {
    let caller = Caller {
        identity: Identity([client + 10; 32]),
        ..caller()
    };
    let mut checked = 0;
    loop {
        match keys.login(&caller, UserType::SO, b"a guess", operation()).err() {
            Some(Rv::PIN_INCORRECT) => checked += 1,
            Some(Rv::PIN_LOCKED) => return checked,
            // Replaced meanwhile: nothing was checked.
            Some(Rv::FUNCTION_FAILED) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tries_of_many_clients_during_a_restore_all_count() {
    for _ in 0..3 {
        let keystore = memory();
        let keys = token(&keystore, Policy::Standard);
        let bytes = partition(&keystore, &keys);
        let left = AtomicUsize::new(usize::from(CLIENTS));
        std::thread::scope(|scope| {
            let guessing: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (keys, left) = (&keys, &left);
                    scope.spawn(move || {
                        let checked = guess(keys, client);
                        left.fetch_sub(1, Ordering::Relaxed);
                        checked
                    })
                })
                .collect();
            while left.load(Ordering::Relaxed) > 0 {
                replace(&keystore, &bytes, &keys, true).unwrap();
            }
            for checked in guessing.into_iter().map(|thread| thread.join().unwrap()) {
                assert!(checked <= options().pin_tries, "{checked} PINs were checked");
            }
        });
        login(&keys, UserType::SO, SO_PIN).unwrap();
        login(&keys, UserType::USER, PIN).unwrap();
    }
}
