//! UUIDs (RFC 9562): names of keys and of requests.

/// The length in bytes.
pub(crate) const LENGTH: usize = 16;

/// A random one (version 4); `None` when the system gives no random bytes.
pub(crate) fn random() -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).ok()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Some(bytes)
}

/// As text: five groups of small hexadecimal digits.
pub(crate) fn text(bytes: &[u8; LENGTH]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Of a text; `None` for what has not 32 digits.
pub(crate) fn parse(text: &str) -> Option<[u8; LENGTH]> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    let good = digits.len() == 2 * LENGTH && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u128::from_str_radix(&digits, 16)
        .ok()
        .filter(|_| good)
        .map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_one_reads_back_and_nothing_else_does() {
        let bytes = random().unwrap();
        assert_eq!(parse(&text(&bytes)), Some(bytes));
        assert_eq!((text(&bytes).len(), text(&bytes).as_bytes()[14]), (36, b'4'));
        for other in ["", "no-uuid", "+2345678123412341234123456789012", &text(&bytes)[1..]] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
