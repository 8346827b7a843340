//! Every function of the lists after every other, on one session: listed codes, no crash, and no state left behind. `cargo
//! xtask soak call-orders` walks at random on top.

use std::collections::BTreeMap;

use hsmd_tests::daemon::{Daemon, Options};
use hsmd_tests::ffi::FUNCTIONS;
use hsmd_tests::rv::Rv;
use hsmd_tests::signatures_3::SIGNATURES_3;
use hsmd_tests::soak::{Random, Soak};

use super::stage::{MADE, Stage};
use crate::hostile::watched::panics;

/// What makes an object or a session, at the beginning of the output.
const MAKERS: [&str; 9] = [
    "C_CreateObject",
    "C_CopyObject",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_UnwrapKey",
    "C_UnwrapKeyAuthenticated",
    "C_DeriveKey",
    "C_EncapsulateKey",
    "C_DecapsulateKey",
];
/// A PIN costs tens of milliseconds: it is changed after and before these only.
const OF_LOGINS: [&str; 9] = [
    "C_SetPIN",
    "C_InitPIN",
    "C_InitToken",
    "C_Login",
    "C_LoginUser",
    "C_Logout",
    "C_OpenSession",
    "C_CloseSession",
    "C_Finalize",
];
/// Functions of which a good call cannot succeed here: nobody is an officer, everything is initialised, nothing is asynchronous
/// or parallel, no slot event comes, the stage has no key of that kind.
pub(crate) const NEVER: [&str; 8] = [
    "C_InitPIN",
    "C_GetFunctionStatus",
    "C_CancelFunction",
    "C_WaitForSlotEvent",
    "C_SetOperationState",
    "C_AsyncComplete",
    "C_AsyncGetID",
    "C_AsyncJoin",
];

/// What needs two others before it to succeed.
const LONGER: [[&str; 3]; 11] = [
    ["C_DecryptInit", "C_DecryptUpdate", "C_DecryptFinal"],
    ["C_VerifyInit", "C_VerifyUpdate", "C_VerifyFinal"],
    ["C_DigestInit", "C_EncryptInit", "C_DigestEncryptUpdate"],
    ["C_DigestInit", "C_DecryptInit", "C_DecryptDigestUpdate"],
    ["C_SignInit", "C_EncryptInit", "C_SignEncryptUpdate"],
    ["C_VerifyInit", "C_DecryptInit", "C_DecryptVerifyUpdate"],
    ["C_MessageEncryptInit", "C_EncryptMessageBegin", "C_EncryptMessageNext"],
    ["C_MessageDecryptInit", "C_DecryptMessageBegin", "C_DecryptMessageNext"],
    ["C_MessageSignInit", "C_SignMessageBegin", "C_SignMessageNext"],
    ["C_MessageVerifyInit", "C_VerifyMessageBegin", "C_VerifyMessageNext"],
    [
        "C_VerifySignatureInit",
        "C_VerifySignatureUpdate",
        "C_VerifySignatureFinal",
    ],
];

/// The functions of each operation, the one that begins it first.
const FAMILIES: [&[&str]; 11] = [
    &["C_EncryptInit", "C_Encrypt", "C_EncryptUpdate", "C_EncryptFinal"],
    &["C_DecryptInit", "C_Decrypt", "C_DecryptUpdate", "C_DecryptFinal"],
    &[
        "C_DigestInit",
        "C_Digest",
        "C_DigestUpdate",
        "C_DigestKey",
        "C_DigestFinal",
    ],
    &["C_SignInit", "C_Sign", "C_SignUpdate", "C_SignFinal"],
    &["C_VerifyInit", "C_Verify", "C_VerifyUpdate", "C_VerifyFinal"],
    &[
        "C_VerifySignatureInit",
        "C_VerifySignature",
        "C_VerifySignatureUpdate",
        "C_VerifySignatureFinal",
    ],
    &[
        "C_MessageEncryptInit",
        "C_EncryptMessage",
        "C_EncryptMessageBegin",
        "C_EncryptMessageNext",
        "C_MessageEncryptFinal",
    ],
    &[
        "C_MessageDecryptInit",
        "C_DecryptMessage",
        "C_DecryptMessageBegin",
        "C_DecryptMessageNext",
        "C_MessageDecryptFinal",
    ],
    &[
        "C_MessageSignInit",
        "C_SignMessage",
        "C_SignMessageBegin",
        "C_SignMessageNext",
        "C_MessageSignFinal",
    ],
    &[
        "C_MessageVerifyInit",
        "C_VerifyMessage",
        "C_VerifyMessageBegin",
        "C_VerifyMessageNext",
        "C_MessageVerifyFinal",
    ],
    &["C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal"],
];

fn functions() -> Vec<&'static str> {
    let newer = SIGNATURES_3.iter().map(|(name, ..)| *name);
    FUNCTIONS.into_iter().chain(newer).collect()
}

/// Calls one after the other, then looks at what is left.
fn walk(stage: &mut Stage, names: &[&'static str]) -> Result<Vec<Rv>, String> {
    let mut answers = Vec::new();
    for name in names {
        let rv = stage.good(name);
        answers.push(rv);
        if rv.name().is_none() {
            return Err(format!("{name} in {names:?}: {rv}"));
        }
        if rv.0 == cryptoki_sys::CKR_OK && MAKERS.contains(name) {
            let made = stage.output[if *name == "C_EncapsulateKey" { MADE } else { 0 }];
            // A later call may have ended the session or the login.
            stage.raw("C_DestroyObject", &[stage.session as usize, made]);
        }
        if rv.0 == cryptoki_sys::CKR_OK && *name == "C_OpenSession" {
            let second = stage.output[0];
            stage.raw("C_CloseSession", &[second]);
        }
    }
    stage
        .is_as_new()
        .map_err(|what| format!("after {names:?} {answers:?}: {what}"))?;
    Ok(answers)
}

fn every_pair(policy: &str) {
    let daemon = Daemon::start_with(Options {
        arguments: vec!["--policy".to_owned(), policy.to_owned()],
        ..Options::default()
    });
    let mut stage = Stage::new(&daemon);
    let names = functions();
    let mut good: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for first in &names {
        for second in &names {
            let pins = [first, second].contains(&&"C_SetPIN");
            if pins && ![first, second].iter().all(|name| OF_LOGINS.contains(name)) {
                continue;
            }
            match walk(&mut stage, &[first, second]) {
                Ok(answers) => {
                    for (name, rv) in [first, second].into_iter().zip(answers) {
                        *good.entry(name).or_default() += usize::from(rv.0 == cryptoki_sys::CKR_OK);
                    }
                }
                Err(what) => wrong.push(what),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of the pairs:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    // The calls are good ones: each succeeds where its operation is open.
    let never: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| good.get(name) == Some(&0))
        .collect();
    let longer = LONGER.map(|names| names[2]);
    let unexpected: Vec<&&str> = never
        .iter()
        .filter(|name| !NEVER.contains(name) && !longer.contains(name))
        .collect();
    assert!(unexpected.is_empty(), "never successful: {unexpected:?}");
    assert_eq!(panics(&daemon), 0);
}

/// A walk at random met C_VerifySignature after C_VerifySignatureUpdate once in thousands of walks.
#[test]
fn the_functions_of_an_operation_in_every_order_leave_nothing_behind() {
    let daemon = Daemon::start();
    let mut stage = Stage::new(&daemon);
    let mut wrong = Vec::new();
    for family in FAMILIES {
        let mut paths = vec![vec![family[0]]];
        for _ in 0..3 {
            let longer = paths.iter().flat_map(|path| {
                let next = |name: &&'static str| path.iter().copied().chain([*name]).collect();
                family.iter().map(next)
            });
            paths = longer.collect();
        }
        wrong.extend(paths.iter().filter_map(|path| walk(&mut stage, path).err()));
    }
    assert!(
        wrong.is_empty(),
        "{} walks:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    assert_eq!(panics(&daemon), 0);
}

#[test]
fn every_function_after_every_other_leaves_nothing_behind_under_standard() {
    every_pair("standard");
}

#[test]
fn every_function_after_every_other_leaves_nothing_behind_under_strict() {
    every_pair("strict");
}

#[test]
fn every_function_after_every_other_leaves_nothing_behind_under_fips() {
    every_pair("fips");
}

#[test]
fn functions_that_need_two_others_before_them_succeed() {
    let daemon = Daemon::start();
    let mut stage = Stage::new(&daemon);
    for names in LONGER {
        let answers = walk(&mut stage, &names).unwrap_or_else(|what| panic!("{what}"));
        assert!(
            answers.iter().all(|rv| rv.0 == cryptoki_sys::CKR_OK),
            "{names:?}: {answers:?}"
        );
    }
}

#[test]
fn long_walks_through_all_functions_leave_nothing_behind() {
    let soak = Soak::new("call-orders", 1500);
    let daemon = Daemon::start();
    let mut stage = Stage::new(&daemon);
    let names: Vec<&str> = functions().into_iter().filter(|name| *name != "C_InitToken").collect();
    let mut random = Random::new(soak.seed);
    let mut wrong = Vec::new();
    for round in 0..soak.rounds {
        let steps = 3 + random.below(8);
        let mut path: Vec<&'static str> = (0..steps).map(|_| random.pick(&names)).collect();
        if !Soak::is_long() || random.below(50) != 0 {
            path.retain(|name| *name != "C_SetPIN");
        }
        wrong.extend(walk(&mut stage, &path).err());
        soak.progress(round, || format!("{} went wrong", wrong.len()));
        if wrong.len() > 20 {
            break;
        }
    }
    let panicked = panics(&daemon);
    let good = wrong.is_empty() && panicked == 0;
    soak.verdict(
        good,
        &format!(
            "{panicked} requests panicked, {} walks went wrong {wrong:#?}",
            wrong.len()
        ),
    );
}
