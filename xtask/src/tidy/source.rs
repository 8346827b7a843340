//! Rules about single files: size, names, opening line, `unsafe`, ignored tests, a developer's own paths.

use super::scan;

const LINE_CAP: usize = 600;
const BANNED_NAMES: [&str; 4] = ["utils.rs", "helpers.rs", "common.rs", "misc.rs"];

/// The places that may hold `unsafe`: the C ABI of the module, the aws-lc wrapper, memory locking; and, for tests only,
/// the calls into a loaded module, and the names under which a peer of the benchmark is loaded.
const UNSAFE_PLACES: [&str; 5] = [
    "pkcs11-module/src/abi/",
    "keystore/crypto/src/awslc/ffi/",
    "hsmd/src/memory.rs",
    "tests/src/ffi.rs",
    "benches/kryoptic/src/lib.rs",
];

/// Folders that exist on one developer's machine only.
const OWN_PATHS: [&str; 4] = ["/home/", "/root/", "/work/", "/Users/"];

/// Rules for every text file.
pub(super) fn check_text(path: &str, text: &str, errors: &mut Vec<String>) {
    let own_list = path == "xtask/src/tidy/source.rs";
    if own_list || path == "Cargo.lock" || path == "LICENSE" {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        for own in OWN_PATHS {
            // `~/work/` or `example/home/` are not absolute.
            let absolute = line.match_indices(own).any(|(at, _)| {
                !line[..at]
                    .chars()
                    .next_back()
                    .is_some_and(|c| c.is_alphanumeric() || "~._-}>)".contains(c))
            });
            if absolute {
                errors.push(format!(
                    "{path}:{}: names {own}, a folder of one developer's machine",
                    number + 1
                ));
            }
        }
    }
}

/// Rules for Rust files.
pub(super) fn check_rust(path: &str, text: &str, errors: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LINE_CAP {
        errors.push(format!(
            "{path}: {lines} lines; the cap is {LINE_CAP}: split it, or move tables to their own file"
        ));
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    if BANNED_NAMES.contains(&name) {
        errors.push(format!("{path}: a file is named after what it holds, not `{name}`"));
    }
    if !text.starts_with("//! ") {
        errors.push(format!(
            "{path}:1: opens with `//!`: what the file is, and what it is not"
        ));
    }
    let code = scan::code_only(text);
    let may_be_unsafe = UNSAFE_PLACES.iter().any(|place| path.starts_with(place));
    for (number, line) in code.lines().enumerate() {
        if !may_be_unsafe && words(line).any(|word| word == "unsafe") {
            errors.push(format!(
                "{path}:{}: `unsafe` outside {}",
                number + 1,
                UNSAFE_PLACES.join(", ")
            ));
        }
        let squeezed: String = line.split_whitespace().collect();
        if squeezed.contains("#[ignore") {
            errors.push(format!(
                "{path}:{}: an ignored test: make it run or remove it",
                number + 1
            ));
        }
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::{check_rust, check_text};

    fn rust(path: &str, text: &str) -> String {
        let mut errors = Vec::new();
        check_rust(path, text, &mut errors);
        errors.join("\n")
    }

    #[test]
    fn a_good_file_passes() {
        assert_eq!(
            rust(
                "proto/src/frame.rs",
                "//! Frames.\n// unsafe is a word\n#![forbid(unsafe_code)]\n"
            ),
            ""
        );
    }

    #[test]
    fn a_long_file_is_named() {
        let long = format!("//! Long.\n{}", "\n".repeat(600));
        assert!(rust("a/src/b.rs", &long).contains("601 lines"));
    }

    #[test]
    fn a_banned_name_and_a_missing_opening_are_named() {
        let found = rust("a/src/utils.rs", "use std;\n");
        assert!(found.contains("`utils.rs`") && found.contains("opens with"), "{found}");
    }

    #[test]
    fn unsafe_is_allowed_in_its_places_only() {
        let text = "//! X.\nfn f() { unsafe { g() } }\n";
        assert!(rust("keystore/src/object.rs", text).contains("object.rs:2: `unsafe`"));
        assert_eq!(rust("pkcs11-module/src/abi/entry.rs", text), "");
    }

    #[test]
    fn an_ignored_test_is_named() {
        assert!(rust("a/src/b.rs", "//! X.\n#[ignore = \"slow\"]\nfn t() {}\n").contains("b.rs:2"));
    }

    #[test]
    fn a_developers_folder_is_named() {
        let mut errors = Vec::new();
        check_text(
            "docs/a.md",
            &format!("see {}me/x and ~{}x\n", "/home/", "/work/"),
            &mut errors,
        );
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}
