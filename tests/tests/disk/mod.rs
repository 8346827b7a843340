//! What a thief of the disk sees. INV-7: nothing without the master key, not even labels. INV-1: nor does the log say it.

use std::fs;
use std::path::Path;

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN};
use hsmd_tests::template::{bytes, flag, number};

const PLANTED: [&str; 3] = ["planted-label-7f3a", "planted-value-91bc", "planted-public-label-44de"];

#[test]
fn labels_and_values_are_in_clear_neither_on_the_disk_nor_in_the_log() {
    let mut daemon = Daemon::start();
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    for (label, private) in [(PLANTED[0], true), (PLANTED[2], false)] {
        let template = [
            number(CKA_CLASS, CKO_DATA),
            flag(CKA_TOKEN, true),
            flag(CKA_PRIVATE, private),
            bytes(CKA_LABEL, label),
            bytes(CKA_VALUE, PLANTED[1]),
        ];
        module.create(session, &template).expect("C_CreateObject");
    }
    daemon.restart();
    assert_eq!(
        module
            .find(session, &[bytes(CKA_LABEL, PLANTED[0])])
            .expect("C_FindObjects")
            .len(),
        1
    );
    daemon.stop();
    let mut files = 0;
    search(&daemon.data_dir(), &mut files);
    assert!(files > 2, "{files} files in the data folder");
    let log = daemon.log();
    for secret in PLANTED {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}

fn search(folder: &Path, files: &mut usize) {
    for entry in fs::read_dir(folder).expect("the data folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            search(&path, files);
        } else if path.is_file() {
            *files += 1;
            let content = fs::read(&path).expect("a file");
            for secret in PLANTED {
                let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{secret} stands in {}", path.display());
            }
        }
    }
}
