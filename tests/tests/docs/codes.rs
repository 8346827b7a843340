//! docs/return-codes.md, from `proto/src/returns/table.rs`.

use std::collections::BTreeMap;
use std::fmt::Write;

use hsmd_proto::ck::Rv;
use hsmd_proto::returns::{Reach, TABLE};

use super::pages::compare;

const HEAD: &str = "\
# Return codes

Which codes each function of PKCS#11 3.2 may return: the specification's chapter 5, the paragraphs \"Return values\". Written from
`proto/src/returns/table.rs`; a test compares. The module never returns another one: what only the daemon finds out and
the function may not say (a key that was destroyed after Init) is `CKR_FUNCTION_FAILED`, which 5.1.1 gives to every function. The tests'
harness and the random calls of `cargo xtask soak hostile-calls` fail on any other code, before that is done.

The codes are shown without `CKR_`. Those that every function of a kind may return are in the first table; `OK` is none of
C_GetFunctionStatus and C_CancelFunction, `CRYPTOKI_NOT_INITIALIZED` none of C_Initialize and the functions that give function lists.

| functions of | always | section |
|---|---|---|
";

fn names(codes: &[Rv]) -> String {
    let name = |rv: &Rv| rv.name().map_or("?", |name| name.trim_start_matches("CKR_"));
    codes.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_return_codes_page_is_what_the_table_says() {
    let mut page = HEAD.to_owned();
    let mut add = |line: String| writeln!(page, "{line}").expect("a String takes everything");
    for (reach, what, section) in [
        (Reach::Library, "the library and slots", "5.1.1"),
        (Reach::Slot, "a token", "5.1.1, 5.1.3"),
        (Reach::Session, "a session", "5.1.1 to 5.1.3, 5.1.7"),
    ] {
        add(format!("| {what} | {} | {section} |", names(reach.always())));
    }
    add("\n| function | of | section | further codes |\n|---|---|---|---|".to_owned());
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in TABLE {
        let of = match row.reach {
            Reach::Library => "library",
            Reach::Slot => "token",
            Reach::Session => "session",
        };
        let beyond: Vec<Rv> = row.beyond.iter().map(|(code, _)| *code).collect();
        let starred = names(&beyond).replace(", ", "\\*, ");
        let further = match (row.listed.is_empty(), beyond.is_empty()) {
            (_, true) => names(row.listed),
            (true, false) => format!("{starred}\\*"),
            (false, false) => format!("{}, {starred}\\*", names(row.listed)),
        };
        add(format!("| {} | {of} | {} | {further} |", row.name, row.section));
        for (code, reason) in row.beyond {
            let entry = format!("{} from {}", names(&[*code]), row.name);
            reasons.entry(reason).or_default().push(entry);
        }
    }
    add("\n## Codes that are not in a function's paragraph\n\nEach has something else in the specification that allows it.\n".to_owned());
    add("| allowed by | codes |\n|---|---|".to_owned());
    for (reason, entries) in reasons {
        add(format!("| {reason} | {} |", entries.join(", ")));
    }
    add(format!("\n{} functions.", TABLE.len()));
    compare("return-codes.md", &page);
}
