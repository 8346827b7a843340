//! The table of `docs/fuzzing.md` and the table of targets say the same.

use std::collections::BTreeSet;

use hsmd_fuzz::TARGETS;

#[test]
fn every_target_has_its_line_and_every_line_its_target() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fuzzing.md");
    let page = std::fs::read_to_string(page).expect("docs/fuzzing.md");
    let documented: BTreeSet<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let rows: Vec<String> = TARGETS
        .iter()
        .map(|target| format!("| `{}` | {} |", target.name, target.what))
        .collect();
    assert_eq!(documented, rows.iter().map(String::as_str).collect());
}

#[test]
fn every_folder_of_regressions_has_its_target() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");
    for entry in std::fs::read_dir(folder).expect("the folder of regressions") {
        let name = entry.expect("an entry").file_name();
        let known = TARGETS.iter().any(|target| Some(target.name) == name.to_str());
        assert!(known || name == "README.md", "{name:?} is no target");
    }
}
