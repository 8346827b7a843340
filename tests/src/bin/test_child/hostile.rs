//! Every function with NULL for each pointer, with handles that do not exist, with lengths that no memory has. The codes
//! are those of PKCS#11 3.2, section 5, and of what conformance suites check.

use cryptoki_sys::*;
use hsmd_tests::module::{Module, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{self, Mechanism};

use super::{Findings, logged_in};
use hsmd_tests::signatures::{Parameter, SIGNATURES, parameters};

const NO_HANDLE: usize = 0x7eee_dead_beef;
/// As long as anything that a call here may legally write.
const ROOM: usize = 1 << 16;

/// Runs every family.
pub(crate) fn run(module: &Module, pin: &str, findings: &mut Findings) {
    before_initialize(module, findings);
    wrong_initialize(module, findings);
    let session = logged_in(module, pin);
    let objects = module.find(session, &[]).expect("C_FindObjects").len();
    wrong_handles(module, findings);
    nulls(module, session, findings);
    absurd_lengths(module, session, findings);
    let after = module.find(session, &[]).map(|found| found.len());
    findings.expect(after == Ok(objects), || {
        format!("{objects} objects before, {after:?} after")
    });
    still_works(module, session, findings);
    let finalized = module.finalize();
    findings.expect(finalized == Ok(()), || format!("C_Finalize: {finalized:?}"));
    before_initialize(module, findings);
}

fn call(module: &Module, name: &str, words: &[usize]) -> Rv {
    Rv(module.library.call(name, words))
}

fn one_of(findings: &mut Findings, what: &str, rv: Rv, allowed: &[CK_RV]) {
    findings.expect(allowed.contains(&rv.0), || {
        let allowed: Vec<Rv> = allowed.iter().copied().map(Rv).collect();
        format!("{what}: {rv:?}, not one of {allowed:?}")
    });
}

fn before_initialize(module: &Module, findings: &mut Findings) {
    for (name, letters) in SIGNATURES {
        let rv = call(module, name, &vec![0; letters.len()]);
        one_of(
            findings,
            &format!("{name} before C_Initialize"),
            rv,
            &[CKR_CRYPTOKI_NOT_INITIALIZED],
        );
    }
    let rv = call(module, "C_Finalize", &[0]);
    one_of(
        findings,
        "C_Finalize before C_Initialize",
        rv,
        &[CKR_CRYPTOKI_NOT_INITIALIZED],
    );
    let rv = call(module, "C_GetFunctionList", &[0]);
    one_of(findings, "C_GetFunctionList(NULL)", rv, &[CKR_ARGUMENTS_BAD]);
}

fn wrong_initialize(module: &Module, findings: &mut Findings) {
    // PKCS#11 3.2, 5.4: the reserved pointer must be NULL; it points nowhere here and must not be followed.
    let reserved: [usize; 6] = [0, 0, 0, 0, CKF_OS_LOCKING_OK as usize, 16];
    one_of(
        findings,
        "C_Initialize with pReserved",
        call(module, "C_Initialize", &[reserved.as_ptr() as usize]),
        &[CKR_ARGUMENTS_BAD],
    );
    let callbacks: [usize; 6] = [ROOM, 0, 0, 0, CKF_OS_LOCKING_OK as usize, 0];
    one_of(
        findings,
        "C_Initialize with one callback",
        call(module, "C_Initialize", &[callbacks.as_ptr() as usize]),
        &[CKR_ARGUMENTS_BAD],
    );
    let rv = call(module, "C_Initialize", &[0]);
    one_of(findings, "C_Initialize(NULL)", rv, &[CKR_OK]);
    let rv = call(module, "C_Initialize", &[0]);
    one_of(findings, "C_Initialize twice", rv, &[CKR_CRYPTOKI_ALREADY_INITIALIZED]);
    let rv = call(module, "C_Finalize", &[ROOM]);
    one_of(findings, "C_Finalize(not NULL)", rv, &[CKR_ARGUMENTS_BAD]);
    let rv = call(module, "C_Finalize", &[0]);
    one_of(findings, "C_Finalize", rv, &[CKR_OK]);
}

fn wrong_handles(module: &Module, findings: &mut Findings) {
    let mut memory = vec![0_usize; ROOM / 8];
    for (name, letters) in SIGNATURES {
        let kinds = parameters(letters);
        for with_memory in [false, true] {
            let words: Vec<usize> = kinds
                .iter()
                .map(|kind| match kind {
                    Parameter::Session | Parameter::Slot | Parameter::Object => NO_HANDLE,
                    Parameter::Length => 1,
                    Parameter::Number => 1,
                    Parameter::Opaque => 0,
                    _ if with_memory => memory.as_mut_ptr() as usize,
                    _ => 0,
                })
                .collect();
            let expected: &[CK_RV] = match kinds.first() {
                Some(Parameter::Session) if matches!(*name, "C_GetFunctionStatus" | "C_CancelFunction") => {
                    &[CKR_FUNCTION_NOT_PARALLEL, CKR_SESSION_HANDLE_INVALID]
                }
                // The handle is looked at before the other arguments; functions of later versions may be refused.
                Some(Parameter::Session) => &[CKR_SESSION_HANDLE_INVALID, CKR_FUNCTION_NOT_SUPPORTED],
                Some(Parameter::Slot) if with_memory => &[CKR_SLOT_ID_INVALID],
                Some(Parameter::Slot) => &[CKR_SLOT_ID_INVALID, CKR_ARGUMENTS_BAD],
                _ => continue,
            };
            let what = format!("{name} with handles that do not exist, memory {with_memory}");
            one_of(findings, &what, call(module, name, &words), expected);
            memory.fill(0);
        }
    }
}

fn nulls(module: &Module, session: Session, findings: &mut Findings) {
    let slot = module.slot_of(hsmd_tests::daemon::LABEL) as usize;
    for (name, letters) in SIGNATURES {
        let kinds = parameters(letters);
        let pointers = kinds.iter().any(|kind| {
            !matches!(
                kind,
                Parameter::Session | Parameter::Slot | Parameter::Object | Parameter::Number
            )
        });
        // With a NULL PIN the next two would count a failure or change a PIN path; they have tests of their own.
        if !pointers || matches!(*name, "C_Login" | "C_InitToken") {
            continue;
        }
        let words: Vec<usize> = kinds
            .iter()
            .map(|kind| match kind {
                Parameter::Session => session as usize,
                Parameter::Slot => slot,
                Parameter::Object => NO_HANDLE,
                // CKF_DONT_BLOCK, CK_TRUE; a flag word without CKF_SERIAL_SESSION.
                Parameter::Number | Parameter::Length => 1,
                _ => 0,
            })
            .collect();
        let mut allowed = vec![
            CKR_ARGUMENTS_BAD,
            CKR_OPERATION_NOT_INITIALIZED,
            CKR_FUNCTION_NOT_SUPPORTED,
            CKR_MECHANISM_INVALID,
            CKR_KEY_HANDLE_INVALID,
            CKR_OBJECT_HANDLE_INVALID,
            CKR_WRAPPING_KEY_HANDLE_INVALID,
            CKR_UNWRAPPING_KEY_HANDLE_INVALID,
            CKR_USER_NOT_LOGGED_IN,
            CKR_SESSION_PARALLEL_NOT_SUPPORTED,
            CKR_RANDOM_SEED_NOT_SUPPORTED,
            CKR_MECHANISM_INVALID,
        ];
        if name.ends_with("Init") && kinds.contains(&Parameter::Mechanism) {
            // 3.0 and later: a NULL mechanism ends the operation, if there is one.
            allowed.push(CKR_OK);
        }
        one_of(
            findings,
            &format!("{name} with NULLs"),
            call(module, name, &words),
            &allowed,
        );
        if *name == "C_FindObjectsInit" {
            call(module, "C_FindObjectsFinal", &[session as usize]);
        }
    }
}

fn absurd_lengths(module: &Module, session: Session, findings: &mut Findings) {
    let mut memory = vec![0_usize; ROOM / 8];
    let place = memory.as_mut_ptr() as usize;
    let h = session as usize;
    for absurd in [usize::MAX, 1 << 63] {
        let bad = |findings: &mut Findings, what: &str, rv: Rv| {
            findings.expect(rv.0 != CKR_OK && rv.name().is_some(), || {
                format!("{what} with length {absurd:#x}: {rv:?}")
            });
        };
        for name in ["C_CreateObject", "C_FindObjectsInit"] {
            bad(findings, name, call(module, name, &[h, place, absurd, place]));
        }
        for (name, words) in [
            ("C_GetAttributeValue", vec![h, NO_HANDLE, place, absurd]),
            ("C_SetAttributeValue", vec![h, NO_HANDLE, place, absurd]),
            ("C_GenerateRandom", vec![h, place, absurd]),
            ("C_SeedRandom", vec![h, place, absurd]),
            ("C_SetPIN", vec![h, place, absurd, place, absurd]),
            ("C_FindObjects", vec![h, place, absurd, place]),
        ] {
            bad(findings, name, call(module, name, &words));
        }
        Mechanism::Plain(CKM_SHA256).with(|mechanism| {
            for name in ["C_Digest", "C_DigestUpdate"] {
                call(module, "C_DigestInit", &[h, mechanism]);
                bad(findings, name, call(module, name, &[h, place, absurd, place, place]));
            }
        });
        Mechanism::Bytes(CKM_AES_CBC, vec![0; 16]).with(|mechanism| {
            bad(
                findings,
                "C_GenerateKey",
                call(module, "C_GenerateKey", &[h, mechanism, place, absurd, place]),
            );
        });
        memory.fill(0);
    }
    // A length of output beyond any memory is a large buffer, not an error: no slice may be made of it.
    Mechanism::Plain(CKM_SHA256).with(|mechanism| {
        let (mut digest, mut length) = ([0_u8; 32], usize::MAX);
        let rv = call(module, "C_DigestInit", &[h, mechanism]);
        one_of(findings, "C_DigestInit", rv, &[CKR_OK]);
        let words = [h, place, 3, digest.as_mut_ptr() as usize, &raw mut length as usize];
        let rv = call(module, "C_Digest", &words);
        one_of(findings, "C_Digest into a buffer of any length", rv, &[CKR_OK]);
        findings.expect(length == 32, || format!("C_Digest wrote the length {length}"));
    });
}

fn still_works(module: &Module, session: Session, findings: &mut Findings) {
    let made = module.generate_key_pair(
        session,
        &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN),
        &[template::bytes(CKA_EC_PARAMS, template::P256)],
        &[],
    );
    let worked = made.and_then(|(public, private)| {
        let mechanism = Mechanism::Plain(CKM_ECDSA_SHA256);
        let signature = module.sign(session, &mechanism, private, b"data")?;
        module.verify(session, &mechanism, public, b"data", &signature)
    });
    findings.expect(worked == Ok(()), || {
        format!("after all that a sign and verify: {worked:?}")
    });
}
