//! `hsmd-aws operations`: which operations are served, and how, from the very tables that serve them. The documentation has the
//! same text between two marks; a test compares them.

use crate::{cloudhsm, kms};
use std::fmt::Write as _;

/// A service, and its operations as a table of Markdown.
struct Service {
    name: &'static str,
    table: fn() -> Result<String, String>,
}

/// The services with tables.
const SERVICES: &[Service] = &[
    Service {
        name: "cloudhsm",
        table: cloudhsm::operations,
    },
    Service {
        name: "kms",
        table: kms::operations,
    },
];

/// The table of one service, or of all with headings.
///
/// # Errors
/// A sentence.
pub(crate) fn markdown(only: Option<&str>) -> Result<String, String> {
    if let Some(name) = only {
        let service = SERVICES.iter().find(|service| service.name == name);
        let known: Vec<_> = SERVICES.iter().map(|service| service.name).collect();
        let service = service.ok_or_else(|| format!("no service {name}: there are {}", known.join(", ")))?;
        return (service.table)();
    }
    let mut out = String::new();
    for service in SERVICES {
        // Writing into a text does not fail.
        let _ = write!(out, "## {}\n\n{}\n", service.name, (service.table)()?);
    }
    Ok(out)
}

/// A table of Markdown.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        // Writing into a text does not fail.
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_documentation_shows_what_is_served() {
        for service in SERVICES {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/aws-{}.md", service.name));
            let text = fs::read_to_string(&path).unwrap();
            let begin = format!("<!-- hsmd-aws operations {} -->\n", service.name);
            let (_, rest) = text.split_once(&begin).unwrap();
            let (shown, _) = rest.split_once("<!-- end of operations -->").unwrap();
            let served = (service.table)().unwrap();
            assert_eq!(
                shown,
                served,
                "{}: put the output of `hsmd-aws operations` there",
                path.display()
            );
        }
    }
}
