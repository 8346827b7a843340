//! Each invariant of docs/architecture.md is cited by the code that keeps it and by a test that would catch a breach.

/// The invariants that this version keeps; 3, 4 and 6 belong to the fleet.
const KEPT: [u8; 7] = [1, 2, 5, 7, 8, 9, 10];

/// One sentence for each invariant that no code or no test names.
pub(super) fn check(files: &[(String, String)], errors: &mut Vec<String>) {
    for number in KEPT {
        let (mut by_code, mut by_test) = (false, false);
        for (path, text) in files
            .iter()
            .filter(|(path, _)| path.ends_with(".rs") && !path.starts_with("xtask/"))
        {
            let (code, tests) = split(path, text);
            by_code |= cites(code, number);
            by_test |= cites(tests, number);
        }
        if !by_code {
            errors.push(format!("INV-{number}: no source file says that it keeps it"));
        }
        if !by_test {
            errors.push(format!("INV-{number}: no test says that it would catch a breach"));
        }
    }
}

/// The part of a file that ships, and its tests.
fn split<'a>(path: &str, text: &'a str) -> (&'a str, &'a str) {
    if path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs") {
        return ("", text);
    }
    text.find("#[cfg(test)]").map_or((text, ""), |at| text.split_at(at))
}

fn cites(text: &str, number: u8) -> bool {
    let name = format!("INV-{number}");
    text.match_indices(&name)
        .any(|(at, _)| !text[at + name.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::{check, cites};

    #[test]
    fn a_number_is_not_found_in_a_longer_one() {
        assert!(cites("keeps INV-1: no", 1));
        assert!(!cites("keeps INV-10", 1));
    }

    #[test]
    fn code_and_test_are_told_apart() {
        let files = vec![("a/src/b.rs".to_owned(), "// INV-2\n#[cfg(test)]\n// INV-5\n".to_owned())];
        let mut errors = Vec::new();
        check(&files, &mut errors);
        assert!(!errors.iter().any(|w| w.starts_with("INV-2: no source")), "{errors:?}");
        assert!(errors.iter().any(|w| w.starts_with("INV-2: no test")), "{errors:?}");
        assert!(!errors.iter().any(|w| w.starts_with("INV-5: no test")), "{errors:?}");
    }
}
