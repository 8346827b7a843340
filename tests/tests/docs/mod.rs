//! Pages of the book that are written from tables in the code, so that they cannot tell yesterday's truth.

mod codes;
mod comparison;
mod functions;
mod pages;
mod policies;

use std::fmt::Write;

use hsmd_proto::ck::KeyType;
use hsmd_proto::mechanism::{MultiPart, Operations, Row, TABLE, Unit};
use hsmd_proto::policy::Policy;

const HEAD: &str = "\
# Mechanisms

Written from the mechanism table (`proto/src/mechanism/table.rs`); a test compares. Sizes are in bits for RSA and EC keys,
in bytes for others, of post-quantum keys those of the public key; the smallest is that of the policy `standard`. *Parts*
says what happens to data that comes in parts: hashed in the module, processed block by block, collected up to `max_data`, or
refused. How many published vectors each of them passes: [vectors.md](vectors.md).
*Approved by* is the standard for which the policy `fips` has the mechanism; where there is none, it has not.

| mechanism | keys | sizes | operations | parts | approved by | PKCS#11 3.2 |
|---|---|---|---|---|---|---|
";

const OPERATIONS: [(Operations, &str); 14] = [
    (Operations::ENCRYPT, "encrypt"),
    (Operations::DECRYPT, "decrypt"),
    (Operations::DIGEST, "digest"),
    (Operations::SIGN, "sign"),
    (Operations::VERIFY, "verify"),
    (Operations::SIGN_RECOVER, "sign recover"),
    (Operations::VERIFY_RECOVER, "verify recover"),
    (Operations::GENERATE, "generate"),
    (Operations::GENERATE_KEY_PAIR, "generate pair"),
    (Operations::WRAP, "wrap"),
    (Operations::UNWRAP, "unwrap"),
    (Operations::DERIVE, "derive"),
    (Operations::ENCAPSULATE, "encapsulate"),
    (Operations::DECAPSULATE, "decapsulate"),
];

fn key_type(kind: KeyType) -> String {
    kind.name().map_or_else(
        || "other".to_owned(),
        |name| name.trim_start_matches("CKK_").replace('_', " "),
    )
}

fn line(row: &Row) -> String {
    let keys: Vec<String> = row.key_types.iter().map(|kind| key_type(*kind)).collect();
    let sizes = match row.unit {
        Unit::None => String::new(),
        _ if row.min_under(Policy::Standard) == row.max => row.max.to_string(),
        _ if row.max >= 1 << 20 => format!("from {}", row.min_under(Policy::Standard)),
        _ => format!("{} to {}", row.min_under(Policy::Standard), row.max),
    };
    let operations: Vec<&str> = OPERATIONS
        .iter()
        .filter(|(operation, _)| row.operations_under(Policy::Standard).contains(*operation))
        .map(|(_, name)| *name)
        .collect();
    let parts = match row.multi_part {
        MultiPart::No => "",
        MultiPart::Hash => "hashed",
        MultiPart::Blocks => "blocks",
        MultiPart::Collect => "collected",
    };
    let name = row.mechanism.name().unwrap_or("?");
    format!(
        "| `{name}` | {} | {sizes} | {} | {parts} | {} | {} |\n",
        keys.join(", "),
        operations.join(", "),
        row.approved().unwrap_or_default(),
        row.section
    )
}

#[test]
fn the_mechanisms_page_is_what_the_table_says() {
    let mut page = HEAD.to_owned();
    for row in TABLE {
        page.push_str(&line(row));
    }
    writeln!(page, "\n{} mechanisms.", TABLE.len()).expect("a String takes everything");
    pages::compare("mechanisms.md", &page);
}
