//! The table of docs/policies.md that says which mechanisms each policy narrows, from the mechanism table.

use std::fmt::Write;

use hsmd_proto::mechanism::{Operations, Row, TABLE};
use hsmd_proto::policy::Policy;

use super::OPERATIONS;
use super::pages::compare_part;

const PLACE: (&str, &str) = (
    "<!-- mechanisms: written from proto/src/mechanism/table.rs -->\n",
    "<!-- end of mechanisms -->",
);

fn operations(row: &Row, policy: Policy) -> String {
    if !row.allowed(policy) {
        return "not offered".to_owned();
    }
    let missing: Vec<&str> = OPERATIONS
        .iter()
        .filter(|(operation, _)| has(row.operations, *operation) && !has(row.operations_under(policy), *operation))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        String::new()
    } else {
        format!("no {}", missing.join(", "))
    }
}

fn has(all: Operations, one: Operations) -> bool {
    all.contains(one)
}

#[test]
fn the_policies_page_is_what_the_tables_say() {
    let mut table = "| mechanism | legacy | standard | strict | fips |\n|---|---|---|---|---|\n".to_owned();
    for row in TABLE {
        let cells = Policy::ALL.map(|policy| operations(row, policy));
        if cells.iter().any(|cell| !cell.is_empty()) {
            writeln!(table, "| `{}` | {} |", row.mechanism, cells.join(" | ")).expect("a String takes everything");
        }
    }
    compare_part("policies.md", PLACE, &table);
}
