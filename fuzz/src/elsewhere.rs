//! Targets of what `hsmctl import` reads: key files of any program, object files of SoftHSM2.

use hsmd_import::{Error, file, fuzzing};
use std::path::Path;

/// After an even byte a file of keys and certificates, after an odd one an object file.
pub(crate) fn import(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    if first % 2 == 1 {
        fuzzing::softhsm_object(rest);
        return;
    }
    // Decryption takes as long as the file says: no password, and what needs one ends there.
    let mut none = || Err(Error::Secret(String::new()));
    let _ = file::parse(Path::new("fuzzed.pem"), rest, &mut none);
}

/// A key, a certificate's beginning, an object with one attribute of each kind.
pub(crate) fn import_seeds() -> Vec<Vec<u8>> {
    let key = include_bytes!("../seeds/rsa-1024.pk8");
    let attribute =
        |number: u64, kind: u64, value: &[u8]| [number.to_be_bytes().as_slice(), &kind.to_be_bytes(), value].concat();
    let counted = |bytes: &[u8]| [(bytes.len() as u64).to_be_bytes().as_slice(), bytes].concat();
    let object = [
        35_u64.to_be_bytes().to_vec(),
        attribute(0, 2, &4_u64.to_be_bytes()),
        attribute(2, 1, &[0]),
        attribute(3, 3, &counted(b"label")),
        attribute(0x100, 2, &31_u64.to_be_bytes()),
        attribute(0x4000_0211, 4, &counted(&[])),
        attribute(0x4000_0600, 5, &1_u64.to_be_bytes()),
        vec![0; 8],
    ];
    vec![
        [&[0], key.as_slice()].concat(),
        b"\x00-----BEGIN EC PRIVATE KEY-----\nMAoCAQEEAQGgAwYBKg==\n-----END EC PRIVATE KEY-----\n".to_vec(),
        [&[1], object.concat().as_slice()].concat(),
    ]
}
