//! What must never come twice: A18.

use std::collections::BTreeSet;

use cryptoki_sys::*;
use hsmd_tests::template::{Mechanism, P256, flag};

use super::token::{Token, refused};

/// Signatures over one digest and over others: two with one nonce give the key away.
const SIGNATURES: u32 = 2_000;

/// Nonces of ECDSA; random numbers of applications that began alike; in a forked child, which `fork` tests, nothing is
/// inherited: a child is not initialised.
pub(super) fn repeats(token: &Token<'_>) {
    let (_, private) = token
        .pair(CKM_EC_KEY_PAIR_GEN, P256, &[], &[flag(CKA_SIGN, true)])
        .expect("a pair");
    let mut seen = BTreeSet::new();
    for index in 0..SIGNATURES {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&(index / 2).to_be_bytes());
        let signature = token
            .module
            .sign(token.session, &Mechanism::Plain(CKM_ECDSA), private, &digest)
            .expect("C_Sign");
        assert!(
            seen.insert(signature[..32].to_vec()),
            "the nonce of signature {index} came before"
        );
    }
    let others: Vec<Token<'_>> = (0..3).map(|_| Token::on(token.partition)).collect();
    let mut random = BTreeSet::new();
    for other in others.iter().chain([token]) {
        // A seed of the caller's makes nothing worse, and nothing the same.
        let seeded = other.call("C_SeedRandom", &[[0_u8; 32].as_ptr() as usize, 32]);
        assert!(seeded.is_ok(), "{seeded:?}");
        for _ in 0..50 {
            let bytes = other.module.random(other.session, 32).expect("C_GenerateRandom");
            assert!(random.insert(bytes), "random numbers that came before");
        }
    }
    refused(token.call("C_GenerateRandom", &[0, 8]), CKR_ARGUMENTS_BAD);
}
