//! One of the processes of the PIN storm: it tries a PIN again and again and says what it was answered.

use std::fs;
use std::path::Path;

use cryptoki_sys::CKU_USER;
use hsmd_tests::daemon::LABEL;
use hsmd_tests::module::Module;
use hsmd_tests::wait;

/// Prepares everything, says so by a file, waits for the start and tries.
pub(crate) fn run(module: &Module, folder: &Path, tries: usize, pin: &str) {
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    fs::write(folder.join(format!("ready-{}", std::process::id())), "").expect("a file");
    let go = folder.join("go");
    wait::until(wait::PATIENCE, || go.exists().then_some(())).expect("the start");
    for _ in 0..tries {
        match module.login(session, CKU_USER, pin) {
            Ok(()) => println!("CKR_OK"),
            Err(rv) => println!("{rv}"),
        }
    }
}
