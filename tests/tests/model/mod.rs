//! A model-based test through C: random sequences of calls, on the module with a daemon and on a small reference model that
//! is written from the specification (`rules.rs`). No difference, and no value that was born secret is ever read. `cargo xtask
//! soak model` makes 2^20 steps; the model of attackers who keep what they get is in `keystore/src/objects/tests/model.rs`.

mod rules;
mod walk;

use hsmd_tests::daemon::Daemon;
use hsmd_tests::soak::Soak;

use crate::hostile::watched::panics;
use walk::Walk;

/// Steps from an empty token on.
const EPISODE: usize = 1000;

/// Calls that must succeed now and then, or the run says nothing of them.
const KINDS: [&str; 15] = [
    "C_OpenSession",
    "C_CloseSession",
    "C_Login",
    "C_Logout",
    "C_CreateObject",
    "C_GenerateKey",
    "C_CopyObject",
    "C_SetAttributeValue",
    "C_GetAttributeValue",
    "CKA_VALUE",
    "C_FindObjects",
    "C_EncryptInit",
    "C_WrapKey",
    "C_UnwrapKey",
    "C_DestroyObject",
];

// INV-1
#[test]
fn random_calls_do_what_the_reference_model_says() {
    let soak = Soak::new("model", 6000);
    let daemon = Daemon::start();
    let mut walk = Walk::new(&daemon, soak.seed);
    let mut wrong = None;
    for step in 0..soak.rounds {
        if step % EPISODE == 0 {
            walk.begin();
        }
        if let Err(what) = walk.step() {
            wrong = Some(format!("step {step}: {what}"));
            break;
        }
        soak.progress(step, || format!("officer {}", walk.is_officer()));
    }
    let panicked = panics(&daemon);
    // Every kind of call succeeded often enough for the run to say something.
    let least = soak.rounds / 1500;
    let often = |name: &str| walk.done.get(name).is_some_and(|count| *count >= least);
    let idle: Vec<&str> = KINDS.into_iter().filter(|name| !often(name)).collect();
    let good = wrong.is_none() && panicked == 0 && idle.is_empty();
    if let Some(what) = &wrong {
        println!("{what}");
    }
    soak.verdict(
        good,
        &format!(
            "{panicked} requests panicked, {:?}, {wrong:?}, too rare {idle:?}",
            walk.done
        ),
    );
}
