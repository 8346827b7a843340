//! The table of docs/functions.md that has every function, from `proto/src/returns/table.rs`; and a check that the page's text
//! leaves none out.

use std::fmt::Write;

use hsmd_proto::returns::TABLE;

use super::pages::{compare_part, source};
use crate::sweeps::NEVER;

const PLACE: (&str, &str) = (
    "<!-- functions: written from proto/src/returns/table.rs -->\n",
    "<!-- end of functions -->",
);

#[test]
fn the_functions_page_has_every_function() {
    let mut table = "| function | since | section | a good call |\n|---|---|---|---|\n".to_owned();
    for row in TABLE {
        let succeeds = if NEVER.contains(&row.name) { "" } else { "succeeds" };
        writeln!(
            table,
            "| {} | {} | {} | {succeeds} |",
            row.name,
            row.since.name(),
            row.section
        )
        .expect("a String takes everything");
    }
    writeln!(table, "\n{} functions.", TABLE.len()).expect("a String takes everything");
    compare_part("functions.md", PLACE, &table);
}

/// The families that the first row names together.
const TOGETHER: [&str; 7] = ["5.4.", "5.5.", "5.6.1", "5.6.2", "5.6.3", "5.6.4", "5.7."];
/// C_Login and C_Logout, random numbers: ordinary ones that the first row means, too.
const ORDINARY: [&str; 4] = ["C_Login", "C_Logout", "C_SeedRandom", "C_GenerateRandom"];
/// The page says "the other three dual functions".
const DUAL: &str = "5.17.";

#[test]
fn the_functions_page_speaks_of_every_function() {
    let page = source("docs/functions.md");
    let text = page.split(PLACE.0).next().unwrap_or_default();
    let words: Vec<&str> = text
        .split(|c: char| !(c.is_alphanumeric() || "_*".contains(c)))
        .collect();
    let spoken = |name: &str| {
        words.iter().any(|word| {
            let start = word.strip_suffix('*');
            *word == name || start.is_some_and(|start| start.len() > 4 && name.starts_with(start))
        })
    };
    let left_out: Vec<&str> = TABLE
        .iter()
        .filter(|row| !TOGETHER.iter().any(|section| row.section.starts_with(section)))
        .filter(|row| !ORDINARY.contains(&row.name) && !row.section.starts_with(DUAL))
        .filter(|row| !spoken(row.name) && !message(row.name, &spoken))
        .map(|row| row.name)
        .collect();
    assert!(left_out.is_empty(), "docs/functions.md says nothing of {left_out:?}");
}

/// `C_EncryptMessageBegin` is one of `C_MessageEncrypt*`.
fn message(name: &str, spoken: &impl Fn(&str) -> bool) -> bool {
    let verb = name
        .trim_start_matches("C_")
        .split("Message")
        .next()
        .unwrap_or_default();
    name.contains("Message") && spoken(&format!("C_Message{verb}Init"))
}
