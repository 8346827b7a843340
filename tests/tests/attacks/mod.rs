//! Attacks on the API itself, through the C functions. One table: each attack of the literature, tried in earnest under each
//! policy that closes them. None gives a sensitive key in a form that the caller can open (INV-1), and what is refused is
//! refused with the code that the documentation names. The rules' own tests are in `keystore`.
//!
//! Sources: Bortolozzo, Centenaro, Focardi, Steel, "Attacking and Fixing PKCS#11 Security Tokens" (2010); Clulow, "On the
//! Security of PKCS #11" (2003); Bleichenbacher (1998); Vaudenay (2002). The numbers are those of `docs/policies.md`.

mod attributes;
mod copies;
mod derivations;
mod gcm;
mod import;
mod logins;
mod padding;
mod randomness;
mod token;
mod weak;
mod wrapping;

use std::panic::{AssertUnwindSafe, catch_unwind};

use token::{Partition, Token};

/// One attack.
struct Attack {
    number: &'static str,
    what: &'static str,
    /// Tries it, with every variant; an assertion that fails is an attack that succeeds.
    run: fn(&Token),
}

const fn attack(number: &'static str, what: &'static str, run: fn(&Token)) -> Attack {
    Attack { number, what, run }
}

/// All of them.
const ATTACKS: [Attack; 23] = [
    attack(
        "A01",
        "one key wraps, and decrypts what it wrapped",
        wrapping::wrap_then_decrypt,
    ),
    attack(
        "A02",
        "one key encrypts a known key, and unwraps it",
        wrapping::encrypt_then_unwrap,
    ),
    attack("A03", "the second role is added later", attributes::add_the_role_later),
    attack("A04", "a known key is imported, and wraps", import::known_wrapping_key),
    attack(
        "A05",
        "the attacker's public key is imported, and wraps",
        import::known_public_key,
    ),
    attack("A06", "sensitive or unextractable is taken back", attributes::loosen),
    attack("A07", "wrapped, then unwrapped as readable", wrapping::unwrap_readable),
    attack(
        "A08",
        "a private key is unwrapped as a secret",
        wrapping::unwrap_as_another_type,
    ),
    attack("A09", "trust is claimed, or not asked for", attributes::claim_trust),
    attack(
        "A10",
        "a usage flag that is off is not looked at",
        attributes::use_without_flag,
    ),
    attack(
        "A11",
        "a readable key is derived, or a short one",
        derivations::readable_or_short,
    ),
    attack("A12", "RSA keys that are no protection", weak::rsa),
    attack("A13", "points that are not on the curve", derivations::invalid_points),
    attack("A14", "points of low order on X25519", derivations::low_order),
    attack("A15", "the padding of PKCS #1 v1.5 tells", padding::pkcs1),
    attack("A16", "the padding of CBC tells", padding::cbc),
    attack("A17", "an IV twice, a short tag, text before the tag", gcm::misuse),
    attack("A18", "nonces and random numbers that repeat", randomness::repeats),
    attack(
        "A19",
        "logout, read-only sessions and limits of one key are forgotten",
        logins::limits,
    ),
    attack("A20", "a PIN is guessed", logins::guess),
    attack("A21", "an imported key claims a history", import::claim_history),
    attack("A22", "a weaker key or mechanism wraps", weak::wrapping),
    attack("A23", "what the template does not say is open", copies::defaults),
];

/// Runs the table under a policy; every attack has an application of its own, on one partition.
fn none_succeeds(policy: &'static str) -> String {
    let partition = Partition::new(policy);
    let (mut succeeded, mut table) = (Vec::new(), String::new());
    for attack in &ATTACKS {
        let token = Token::on(&partition);
        let result = catch_unwind(AssertUnwindSafe(|| (attack.run)(&token)));
        let verdict = if result.is_ok() { "stopped" } else { "SUCCEEDED" };
        table += &format!("{policy:<8} {} {verdict:<9} {}\n", attack.number, attack.what);
        if result.is_err() {
            succeeded.push(attack.number);
        }
    }
    assert!(
        succeeded.is_empty(),
        "under `{policy}` these succeeded: {succeeded:?}\n{table}"
    );
    table
}

// INV-1.
#[test]
fn no_attack_succeeds_under_standard() {
    println!("{}", none_succeeds("standard"));
}

#[test]
fn no_attack_succeeds_under_strict() {
    println!("{}", none_succeeds("strict"));
}

#[test]
fn no_attack_succeeds_under_fips() {
    println!("{}", none_succeeds("fips"));
}

/// The table is that of the documentation: every number once, in order.
#[test]
fn the_attacks_are_numbered_without_a_gap() {
    for (index, attack) in ATTACKS.iter().enumerate() {
        assert_eq!(attack.number, format!("A{:02}", index + 1));
    }
}
