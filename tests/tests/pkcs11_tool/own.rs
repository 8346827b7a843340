//! The tests that pkcs11-tool itself brings, on our token: `--test`, `--test-ec`, `--test-threads`, `--test-fork`. The tool is
//! the newest that Debian offers (0.23).

use hsmd_tests::peers::{Token, run, succeed};

#[test]
fn its_tests_of_digests_signatures_and_ciphers_find_no_error() {
    let token = Token::hsmd();
    succeed(&mut token.as_user("--keypairgen --key-type rsa:2048 --id 01 --label r"));
    succeed(&mut token.as_user("--keypairgen --key-type EC:prime256v1 --id 02 --label e"));
    let tested = succeed(&mut token.as_user("--test"));
    assert!(tested.text.contains("No errors"), "{}", tested.text);
    assert!(
        tested.text.contains("all 4 digest functions seem to work"),
        "{}",
        tested.text
    );
}

/// It makes a pair, renames it, signs with it and deletes it. Its session is read-only unless told otherwise.
#[test]
fn its_test_of_elliptic_curves_passes() {
    let token = Token::hsmd();
    for curve in ["prime256v1", "secp384r1", "secp521r1", "secp256k1"] {
        let arguments = format!("--session-rw --test-ec --id 07 --label curve --key-type EC:{curve}");
        let tested = succeed(&mut token.as_user(&arguments));
        assert!(tested.text.contains("==> OK"), "{}", tested.text);
    }
    let left = succeed(&mut token.as_user("--list-objects"));
    assert!(!left.text.contains("Key Object"), "{}", left.text);
}

/// INV-9: a child after `fork` initialises for itself. SoftHSM2 does not pass this one.
#[test]
fn its_test_of_a_fork_passes() {
    let token = Token::hsmd();
    let tested = succeed(&mut token.as_user("--test-fork"));
    assert!(!tested.text.contains("error:"), "{}", tested.text);
}

/// Each pair of letters is a call that each thread makes: C_Initialize without (IN) and with CKF_OS_LOCKING_OK (IL), C_GetInfo,
/// C_GetSlotList, C_GetTokenInfo of a slot that was listed (T0), a pause of so many seconds (P0). The main thread does its own
/// work meanwhile. Ten threads are the tool's limit.
#[test]
fn its_tests_of_threads_pass() {
    let token = Token::hsmd();
    for threads in [
        &["IN"][..],
        &["IL"],
        &["ILGISLT0"],
        &["INGISLT0GISLT0"],
        &["ILGISLT0", "INGISLT0SL", "P0ILSLSLT0GI", "IN"],
        &["ILGISLT0P0T0GISLT0"; 10],
    ] {
        let mut command = token.pkcs11_tool("--list-slots");
        for letters in threads {
            command.args(["--test-threads", letters]);
        }
        let tested = succeed(&mut command);
        // The main thread may have initialised before.
        let mut ended = tested
            .text
            .lines()
            .filter(|line| line.starts_with("test_threads thread:"));
        let good = |line: &str| line.ends_with("rv:CKR_OK") || line.ends_with("rv:CKR_CRYPTOKI_ALREADY_INITIALIZED");
        assert!(ended.all(good), "{}", tested.text);
        let started = tested.text.matches("returning rv = 0").count();
        assert_eq!(started, threads.len(), "{}", tested.text);
        assert!(tested.text.contains("token label        : demo"), "{}", tested.text);
    }
    // The test can fail: a letter that the tool does not know.
    let unknown = run(token.pkcs11_tool("--list-slots").args(["--test-threads", "ILXX"]));
    assert!(unknown.text.contains("rv:CKR_GENERAL_ERROR"), "{}", unknown.text);
}
