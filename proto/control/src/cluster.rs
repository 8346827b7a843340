//! Ids of CloudHSM clusters (the API of 2017) for what CloudHSM Classic names by eight hexadecimal digits. AWS's services that know
//! clusters only, as KMS, so can name a group; each id is the other, written longer, and nothing is kept.

/// Base32 (RFC 4648, 6) in small letters: within `[2-7a-zA-Z]{11,16}`, the pattern of the API.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Characters: 4 bytes of the id, 3 of check digits, rounded up.
const LENGTH: usize = 12;

/// `cluster-` and twelve characters, for `hapg-` and eight digits; `None` for anything else.
#[must_use]
pub fn cluster_of_group(group: &str) -> Option<String> {
    Some(format!("cluster-{}", long(group.strip_prefix("hapg-")?)?))
}

/// The group of a cluster; `None` for an id that [`cluster_of_group`] never gives.
#[must_use]
pub fn group_of_cluster(cluster: &str) -> Option<String> {
    Some(format!("hapg-{}", short(cluster.strip_prefix("cluster-")?)?))
}

/// `hsm-` and twelve characters, for `hsm-` and eight digits; `None` for anything else.
#[must_use]
pub fn long_hsm(hsm: &str) -> Option<String> {
    Some(format!("hsm-{}", long(hsm.strip_prefix("hsm-")?)?))
}

fn long(digits: &str) -> Option<String> {
    let canonical = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    if digits.len() != 8 || !digits.bytes().all(canonical) {
        return None;
    }
    let id = u32::from_str_radix(digits, 16).ok()?;
    let bits = (u64::from(id) << 24 | u64::from(check(id))) << 4;
    let letter = |at: usize| char::from(ALPHABET[(bits >> (5 * (LENGTH - 1 - at))) as usize & 31]);
    Some((0..LENGTH).map(letter).collect())
}

fn short(text: &str) -> Option<String> {
    let mut bits = 0_u64;
    for letter in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == letter)?;
        bits = bits << 5 | value as u64;
    }
    let digits = format!("{:08x}", u32::try_from(bits.checked_shr(28)?).ok()?);
    (long(&digits)? == text).then_some(digits)
}

/// 24 bits of FNV-1a, so that a mistyped id is no other group's.
fn check(id: u32) -> u32 {
    let hash = id.to_be_bytes().iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    (hash ^ hash >> 24) & 0x00ff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_fits_the_pattern() {
        for group in ["hapg-00000000", "hapg-ffffffff", "hapg-0a1b2c3d"] {
            let cluster = cluster_of_group(group).unwrap();
            let letters = cluster.strip_prefix("cluster-").unwrap();
            assert!((11..=16).contains(&letters.len()), "{cluster}");
            assert!(letters.bytes().all(|byte| ALPHABET.contains(&byte)), "{cluster}");
            assert_eq!(group_of_cluster(&cluster).as_deref(), Some(group));
        }
        assert_ne!(long_hsm("hsm-0a1b2c3d"), long_hsm("hsm-0a1b2c3e"));
    }

    #[test]
    fn what_is_no_id_of_ours_has_no_group() {
        let good = cluster_of_group("hapg-0a1b2c3d").unwrap();
        let mistyped = good.replace(&good[8..9], if &good[8..9] == "a" { "b" } else { "a" });
        for id in [
            "",
            "cluster-",
            "cluster-aaaaaaaaaaaaaaaa",
            "cluster-234567abcde",
            &good[..19],
            &mistyped,
        ] {
            assert_eq!(group_of_cluster(id), None, "{id}");
        }
        for id in ["hapg-0A1B2C3D", "hapg-0a1b2c3", "hapg-+a1b2c3d", "hsm-0a1b2c3d"] {
            assert_eq!(cluster_of_group(id), None, "{id}");
        }
    }
}
