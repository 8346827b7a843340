//! The file that applications load: its symbols, its size, its interfaces.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2};
use hsmd_tests::daemon;
use hsmd_tests::ffi::{FUNCTIONS, Library};
use hsmd_tests::peers::{program, succeed};

fn library() -> PathBuf {
    daemon::binaries().join("libhsmd_pkcs11.so")
}

#[test]
fn the_library_exports_c_functions_only() {
    let listed = succeed(
        Command::new(program("nm"))
            .args(["-D", "--defined-only"])
            .arg(library()),
    );
    let symbols: Vec<String> = String::from_utf8_lossy(&listed.output)
        .lines()
        .filter_map(|line| line.split_whitespace().last().map(str::to_owned))
        .collect();
    let foreign: Vec<&String> = symbols.iter().filter(|symbol| !symbol.starts_with("C_")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    for name in FUNCTIONS.iter().chain(&["C_GetInterfaceList", "C_GetInterface"]) {
        assert!(symbols.iter().any(|symbol| symbol == name), "{name} is not exported");
    }
}

#[test]
fn the_stripped_library_is_under_six_mebibytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let stripped = folder.path().join("libhsmd_pkcs11.so");
    succeed(Command::new(program("strip")).arg("-o").arg(&stripped).arg(library()));
    let bytes = fs::metadata(&stripped).expect("the stripped file").len();
    // Four without rustls; a release is half a mebibyte smaller.
    assert!(bytes < 6 << 20, "{bytes} bytes");
}

#[test]
fn every_version_of_the_interface_is_offered_and_others_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("libhsmd_pkcs11.so");
    fs::copy(library(), &copy).expect("a copy");
    let library = Library::load(&copy).expect("the module loads");
    let mut interface = 0_usize;
    let place = &raw mut interface as usize;
    for (version, size) in [
        ([2, 40], size_of::<CK_FUNCTION_LIST>()),
        ([3, 0], size_of::<CK_FUNCTION_LIST_3_0>()),
        ([3, 2], size_of::<CK_FUNCTION_LIST_3_2>()),
    ] {
        let pointers = library
            .interface(version, size)
            .unwrap_or_else(|rv| panic!("version {version:?}: {rv:#x}"));
        let null = pointers.iter().position(|pointer| *pointer == 0);
        assert_eq!(
            null,
            None,
            "version {version:?}: a NULL among {} functions",
            pointers.len()
        );
    }
    assert_eq!(
        library.call_symbol("C_GetInterface", &[0, 0, place, 0]),
        cryptoki_sys::CKR_OK
    );
    let wrong: [&[usize]; 3] = [
        &[c"Other".as_ptr() as usize, 0, place, 0],
        &[0, [9_u8, 9].as_ptr() as usize, place, 0],
        &[0, 0, 0, 0],
    ];
    for words in wrong {
        assert_eq!(
            library.call_symbol("C_GetInterface", words),
            cryptoki_sys::CKR_ARGUMENTS_BAD,
            "{words:?}"
        );
    }
    let mut count = 0_usize;
    assert_eq!(
        library.call_symbol("C_GetInterfaceList", &[0, &raw mut count as usize]),
        cryptoki_sys::CKR_OK
    );
    assert!(count >= 3, "{count} interfaces");
    let (mut list, mut short) = ([0_usize; 3], 1_usize);
    let words = [list.as_mut_ptr() as usize, &raw mut short as usize];
    assert_eq!(
        library.call_symbol("C_GetInterfaceList", &words),
        cryptoki_sys::CKR_BUFFER_TOO_SMALL
    );
    assert_eq!(short, count);
}
