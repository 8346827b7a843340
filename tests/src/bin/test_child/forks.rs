//! A program that forks, and one that initialises and finalises for ever. INV-9: the host application is safe.

use cryptoki_sys::*;
use hsmd_tests::daemon::LABEL;
use hsmd_tests::ffi;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{self, Mechanism, bytes};

use super::{Findings, logged_in};
use hsmd_tests::signatures::SIGNATURES;

/// A child is told that it is not initialised, may initialise, and leaves its parent's sessions alone.
pub(crate) fn run(module: &Module, pin: &str, findings: &mut Findings) {
    let session = logged_in(module, pin);
    let (public, private) = session_pair(module, session);
    sign(module, session, public, private, findings, "before the fork");
    for round in 0..3 {
        let code = ffi::in_forked_child(|| child(module, pin));
        findings.expect(code == 0, || format!("fork {round}: the child ended with {code}"));
        // The child closed what it inherited and what it opened: this login is the parent's.
        sign(
            module,
            session,
            public,
            private,
            findings,
            "in the parent after the child has ended",
        );
    }
    let code = ffi::in_forked_child(|| 0);
    findings.expect(code == 0, || format!("a child that never calls: {code}"));
    sign(
        module,
        session,
        public,
        private,
        findings,
        "after a child that never called",
    );
}

/// The number says which step went wrong.
fn child(module: &Module, pin: &str) -> i32 {
    for (name, letters) in SIGNATURES {
        if module.library.call(name, &vec![0; letters.len()]) != CKR_CRYPTOKI_NOT_INITIALIZED {
            return 1;
        }
    }
    if module.initialize() != Ok(()) {
        return 2;
    }
    let Ok(session) = module.open_session(module.slot_of(LABEL)) else {
        return 3;
    };
    if module.login(session, CKU_USER, pin) != Ok(()) {
        return 4;
    }
    let (public, private) = session_pair(module, session);
    let mut findings = Findings::default();
    sign(module, session, public, private, &mut findings, "child");
    // A grandchild while the child has a session.
    let code = ffi::in_forked_child(|| i32::from(module.random(session, 4) != Err(Rv(CKR_CRYPTOKI_NOT_INITIALIZED))));
    if code != 0 {
        return 5;
    }
    if module.finalize() != Ok(()) || !findings.list.is_empty() {
        return 6;
    }
    0
}

fn session_pair(module: &Module, session: Session) -> (Object, Object) {
    module
        .generate_key_pair(
            session,
            &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN),
            &[bytes(CKA_EC_PARAMS, template::P256)],
            &[],
        )
        .expect("a pair of session keys")
}

fn sign(module: &Module, session: Session, public: Object, private: Object, findings: &mut Findings, when: &str) {
    let mechanism = Mechanism::Plain(CKM_ECDSA_SHA256);
    let result = module
        .sign(session, &mechanism, private, b"data")
        .and_then(|signature| module.verify(session, &mechanism, public, b"data", &signature));
    findings.expect(result == Ok(()), || format!("sign {when}: {result:?}"));
}

/// Initialise, work, finalise: the same number of open files and threads after each round.
pub(crate) fn cycles(module: &Module, pin: &str, rounds: usize, findings: &mut Findings) {
    let mut files = 0;
    for round in 0..rounds {
        let session = logged_in(module, pin);
        let random = module.random(session, 16);
        findings.expect(random.is_ok(), || format!("round {round}: {random:?}"));
        findings.expect(entries("/proc/self/task") == 1, || {
            format!("round {round}: the module started a thread")
        });
        // Every other round leaves the sessions to C_Finalize.
        if round % 2 == 0 {
            let closed = module.close_session(session);
            findings.expect(closed == Ok(()), || format!("round {round}: C_CloseSession {closed:?}"));
        }
        let finalized = module.finalize();
        findings.expect(finalized == Ok(()), || {
            format!("round {round}: C_Finalize {finalized:?}")
        });
        let open = entries("/proc/self/fd");
        if round == 0 {
            files = open;
        }
        findings.expect(open == files, || {
            format!("round {round}: {open} open files, {files} after the first")
        });
    }
}

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).map(Iterator::count).unwrap_or_default()
}
