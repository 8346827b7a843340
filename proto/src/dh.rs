//! The groups of finite-field Diffie-Hellman that this build has: those of RFC 3526 and RFC 7919 with at least 2,048 bits. Each
//! prime p is 2q + 1 with q prime, and 2 generates the q squares among the numbers below p (docs/decisions/0018).

use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of SP 800-56A r3, appendix D")]
pub enum DhGroup {
    Modp2048,
    Modp3072,
    Modp4096,
    Modp6144,
    Modp8192,
    Ffdhe2048,
    Ffdhe3072,
    Ffdhe4096,
    Ffdhe6144,
    Ffdhe8192,
}

/// The primes, in the order of [`DhGroup::ALL`].
static PRIMES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let number = |line: &str| -> Vec<u8> {
        let (pairs, _) = line
            .split_once(' ')
            .map_or(line, |(_, digits)| digits)
            .as_bytes()
            .as_chunks::<2>();
        let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
        pairs
            .iter()
            .map(|[high, low]| digit(*high) << 4 | digit(*low))
            .collect()
    };
    include_str!("dh/groups.txt").lines().map(number).collect()
});

impl DhGroup {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::Modp6144,
        Self::Modp8192,
        Self::Ffdhe2048,
        Self::Ffdhe3072,
        Self::Ffdhe4096,
        Self::Ffdhe6144,
        Self::Ffdhe8192,
    ];
    /// The generator, big-endian: `CKA_BASE`.
    pub const BASE: [u8; 1] = [2];

    /// The prime, big-endian: `CKA_PRIME`.
    #[must_use]
    pub fn prime(self) -> &'static [u8] {
        PRIMES.get(self as usize).map_or(&[], Vec::as_slice)
    }

    /// The prime's length in bits.
    #[must_use]
    pub const fn bits(self) -> usize {
        match self {
            Self::Modp2048 | Self::Ffdhe2048 => 2048,
            Self::Modp3072 | Self::Ffdhe3072 => 3072,
            Self::Modp4096 | Self::Ffdhe4096 => 4096,
            Self::Modp6144 | Self::Ffdhe6144 => 6144,
            Self::Modp8192 | Self::Ffdhe8192 => 8192,
        }
    }

    /// The group's strength in bits (SP 800-56A r3, appendix D, tables 25 and 26).
    const fn strength(self) -> usize {
        match self.bits() {
            2048 => 112,
            3072 => 128,
            4096 => 152,
            6144 => 176,
            _ => 200,
        }
    }

    /// The length in bits of a private value whose caller names none: twice the group's strength and a margin (SP 800-56A r3,
    /// 5.6.1.1; RFC 7919, 5.2).
    #[must_use]
    pub const fn exponent_bits(self) -> usize {
        match self.bits() {
            2048 => 256,
            3072 => 288,
            4096 => 352,
            6144 => 384,
            _ => 416,
        }
    }

    /// The lengths in bits that a new private value may have: from twice the group's strength to the length of q (SP 800-56A r3,
    /// 5.6.1.1.1).
    #[must_use]
    pub const fn exponent_range(self) -> RangeInclusive<usize> {
        2 * self.strength()..=self.bits() - 1
    }

    /// The group of a prime and a generator, which may have leading zeros.
    #[must_use]
    pub fn from_params(prime: &[u8], base: &[u8]) -> Option<Self> {
        let (prime, base) = (significant(prime), significant(base));
        let named = |group: &Self| group.prime() == prime;
        Self::ALL.into_iter().find(named).filter(|_| base == Self::BASE)
    }
}

/// A number without leading zeros.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_is_found_by_its_numbers() {
        for group in DhGroup::ALL {
            let prime = group.prime();
            assert_eq!(prime.len() * 8, group.bits());
            // RFC 3526, 3; RFC 7919, appendix A.
            assert!(prime.starts_with(&[0xff; 8]) && prime.ends_with(&[0xff; 8]));
            assert_eq!(DhGroup::from_params(prime, &[2]), Some(group));
            assert_eq!(DhGroup::from_params(&[&[0], prime].concat(), &[0, 2]), Some(group));
            assert_eq!(DhGroup::from_params(prime, &[5]), None);
            let mut other = prime.to_vec();
            other[100] ^= 1;
            assert_eq!(DhGroup::from_params(&other, &[2]), None);
            assert!(group.exponent_range().contains(&group.exponent_bits()));
        }
        assert_eq!(DhGroup::from_params(&[], &[]), None);
    }
}
