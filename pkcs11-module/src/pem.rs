//! PEM (RFC 7468) for the client's certificate, its key and the authorities of servers. Keys are decoded straight into
//! memory that is wiped; nothing else of the text is believed.

use hsmd_proto::wipe::WipingVec;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// One block: its label, and what it holds.
#[cfg_attr(
    not(feature = "aws-lc"),
    allow(dead_code, reason = "nobody reads the files of TLS there")
)]
pub(crate) struct Block<'a> {
    pub(crate) label: &'a [u8],
    pub(crate) der: WipingVec,
}

/// The blocks of a file; `None` when one of them is broken. Text between blocks is passed over, as tools put it there.
pub(crate) fn blocks(mut text: &[u8]) -> Option<Vec<Block<'_>>> {
    let mut blocks = Vec::new();
    while let Some(at) = find(text, BEGIN) {
        text = &text[at + BEGIN.len()..];
        let label = &text[..find(text, DASHES)?];
        text = &text[label.len() + DASHES.len()..];
        let content = &text[..find(text, END)?];
        text = &text[content.len() + END.len()..];
        text = text.strip_prefix(label)?.strip_prefix(DASHES)?;
        blocks.push(Block {
            label,
            der: decode(content)?,
        });
    }
    Some(blocks)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Base64 with its padding; white space anywhere.
fn decode(text: &[u8]) -> Option<WipingVec> {
    let mut out = WipingVec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count, mut padding) = (0_u32, 0_u32, 0_u32);
    for &byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        bits = bits << 6 | u32::from(value);
        count += 1;
        if count % 4 == 0 {
            out.extend_from_slice(&bits.to_be_bytes()[1..]);
            bits = 0;
        }
    }
    match (count % 4, padding) {
        (0, 0) => {}
        (2, 2) => out.push((bits >> 4) as u8),
        (3, 1) => out.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => return None,
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_as_rfc_4648_says() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            (" Zm9v\r\nYmFy\n", b"foobar"),
            ("+/+/", &[0xfb, 0xff, 0xbf]),
        ] {
            assert_eq!(decode(text.as_bytes()).unwrap().as_slice(), bytes, "{text}");
        }
        for text in ["Z", "Zg", "Zg=", "Zg===", "Z===", "=Zg=", "Zm9v=", "Zm9_"] {
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn blocks_are_found_in_the_text_around_them_and_broken_ones_refused() {
        let text = b"Bag Attributes\n-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\nnoise\n\
                     -----BEGIN EC PRIVATE KEY-----\nZg==\n-----END EC PRIVATE KEY-----\n";
        let found = blocks(text).unwrap();
        let labels: Vec<_> = found.iter().map(|block| block.label).collect();
        assert_eq!(labels, [&b"CERTIFICATE"[..], b"EC PRIVATE KEY"]);
        assert_eq!(found[0].der.as_slice(), b"foo");
        assert!(blocks(b"nothing").unwrap().is_empty());
        for text in [
            &b"-----BEGIN A-----\nZg==\n-----END B-----"[..],
            b"-----BEGIN A-----\nZg==\n",
            b"-----BEGIN A",
            b"-----BEGIN A-----\n!!\n-----END A-----",
        ] {
            assert!(blocks(text).is_none());
        }
    }
}
