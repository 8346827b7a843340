//! Pages that are written from tables: compared with the file, or written to it when `HSMD_WRITE_DOCS` is set.

use std::fs;
use std::path::Path;

/// Fails unless `docs/NAME` is this text.
pub(super) fn compare(name: &str, page: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("HSMD_WRITE_DOCS").is_some() {
        fs::write(&file, page).expect("the page");
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/{name} is behind the tables: HSMD_WRITE_DOCS=1 cargo test --profile ci -p hsmd-tests --test main -- docs::"
    );
}

/// Fails unless the part of `docs/NAME` between two lines is this text.
pub(super) fn compare_part(name: &str, (begin, end): (&str, &str), part: &str) {
    let page = source(&format!("docs/{name}"));
    let (before, rest) = page
        .split_once(begin)
        .unwrap_or_else(|| panic!("docs/{name} has no {begin}"));
    let (_, after) = rest
        .split_once(end)
        .unwrap_or_else(|| panic!("docs/{name} has no {end}"));
    compare(name, &format!("{before}{begin}{part}{end}{after}"));
}

/// The text of a source file of the repository.
pub(super) fn source(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `path::to::file.rs#test_name`, or the path alone: checks that the file is there and has a test of that name; gives its
/// form for a page.
pub(super) fn cited(citation: &str) -> String {
    let (path, test) = citation.split_once('#').unwrap_or((citation, ""));
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    assert!(whole.exists(), "{path}: there is no such test");
    if test.is_empty() {
        return format!("`{path}`");
    }
    let text = source(path);
    assert!(text.contains(&format!("fn {test}(")), "{path} has no test {test}");
    format!("`{test}` ({path})")
}
