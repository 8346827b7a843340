//! docs/comparison.md, from `comparison.txt`: what other tokens have, and the test that shows it here.

use std::fmt::Write;

use hsmd_proto::mechanism::TABLE;

use super::pages::{cited, compare};

const HEAD: &str = "\
# Comparison with other tokens

What software tokens offer. Written from `tests/tests/docs/comparison.txt`; a test compares, and checks that each test named in the
second column is there. The other columns are what we read in the sources or saw at run time of SoftHSM 2.7.0 (git, and 2.6.1 where
that is said), kryoptic 1.5.2, the soft token of openCryptoki 3.27 and the softoken of NSS (snapshots of 2026): *y* yes, *n* no, *p* partly,
nothing: we do not know. How the return codes of ours differ from SoftHSM2's, call by call, is in
`tests/tests/oracle/differences.txt`, each difference with the section of PKCS#11 that explains it.
";

/// Walks through every row of the mechanism table.
const MATRIX: &str = "tests/tests/sweeps/matrix.rs#every_mechanism_with_every_key_for_every_operation_under_standard";

#[test]
fn the_comparison_page_is_what_the_table_says() {
    let mut page = HEAD.to_owned();
    let mut add = |line: String| writeln!(page, "{line}").expect("a String takes everything");
    for line in include_str!("comparison.txt").lines() {
        if let Some(title) = line.strip_prefix("## ") {
            add(format!("\n## {title}\n"));
            add(
                "| | hsmd | shown by | SoftHSM2 | kryoptic | openCryptoki | NSS |\n|---|---|---|---|---|---|---|"
                    .to_owned(),
            );
        } else if !line.starts_with('#') && !line.is_empty() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [feature, ours, test, softhsm, kryoptic, opencryptoki, nss] = cells[..] else {
                panic!("seven cells: {line}");
            };
            let (ours, test) = match ours.strip_prefix('?') {
                Some(name) if TABLE.iter().any(|row| row.mechanism.name() == Some(name)) => ("y", MATRIX),
                Some(_) => ("n", ""),
                None => (ours, test),
            };
            assert!(ours == "n" || !test.is_empty(), "what we claim has a test: {line}");
            let test = if test.is_empty() { String::new() } else { cited(test) };
            add(format!(
                "| {feature} | {ours} | {test} | {softhsm} | {kryoptic} | {opencryptoki} | {nss} |"
            ));
        }
    }
    compare("comparison.md", &page);
}
