//! Finite-field Diffie-Hellman (PKCS#11 3.2, 6.4; SP 800-56A r3) in the groups of `hsmd_proto::dh`. The other side's value is
//! validated in full: one outside the subgroup would tell whether the private value is even, and the two of order 1 and 2 would give a
//! secret that everybody knows.

use crate::engine::power;
use crate::error::{KeyError, OpError};
use crate::material::Material;
use crate::secret::Secret;
use hsmd_proto::dh::DhGroup;

/// A private key with its public value.
pub(crate) struct Dh {
    group: DhGroup,
    value: Secret,
    public: Vec<u8>,
}

impl Dh {
    pub(crate) const fn group(&self) -> DhGroup {
        self.group
    }

    pub(crate) fn public(&self) -> Material {
        Material::DhPublic {
            group: self.group,
            value: self.public.clone(),
        }
    }

    /// The secret shared with the other side, as long as the prime, or its last `length` bytes (PKCS #3; PKCS#11 3.2, 6.4.10).
    pub(crate) fn agree(&self, other: &[u8], length: Option<usize>) -> Result<Secret, OpError> {
        let other = valid(self.group, other).ok_or(OpError::Parameter)?;
        let mut shared = Secret::zeroed(self.group.bits() / 8);
        power(self.group.prime(), &other, self.value.expose(), shared.expose_mut()).ok_or(OpError::Failed)?;
        let Some(length) = length else {
            return Ok(shared);
        };
        let cut = shared.len().checked_sub(length).ok_or(OpError::DataLength)?;
        Ok(Secret::from_slice(&shared.expose()[cut..]))
    }
}

/// Opens a private value: above 0, below the prime, and with a public value that is one.
pub(crate) fn open_private(group: DhGroup, value: &Secret) -> Result<Dh, KeyError> {
    let (prime, bytes) = (group.prime(), value.expose());
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros..];
    if bytes.is_empty() || bytes.len() > prime.len() || (bytes.len() == prime.len() && bytes >= prime) {
        return Err(KeyError::Invalid);
    }
    let mut public = vec![0; prime.len()];
    power(prime, &DhGroup::BASE, bytes, &mut public).ok_or(KeyError::Invalid)?;
    // A power of the base is in the subgroup; what is left is the one that is 1.
    if !in_range(prime, &public) {
        return Err(KeyError::Invalid);
    }
    Ok(Dh {
        group,
        value: Secret::from_slice(bytes),
        public,
    })
}

/// Opens a public value.
pub(crate) fn open_public(group: DhGroup, value: &[u8]) -> Result<Vec<u8>, KeyError> {
    valid(group, value).ok_or(KeyError::Invalid)
}

/// A new private value of exactly so many bits (PKCS #3, 7.1: from 2^(bits - 1), less than 2^bits), less than q; `None` for a length
/// that is not in [`DhGroup::exponent_range`].
pub(crate) fn generate(group: DhGroup, bits: usize) -> Option<Secret> {
    if !group.exponent_range().contains(&bits) {
        return None;
    }
    let spare = bits.next_multiple_of(8) - bits;
    let most = half(group.prime());
    loop {
        let mut value = Secret::random(bits.div_ceil(8));
        let first = value.expose_mut().first_mut()?;
        *first = *first & 0xff >> spare | 0x80 >> spare;
        if value.len() < most.len() || value.expose() < &most[..] {
            return Some(value);
        }
    }
}

/// The full validation of SP 800-56A r3, 5.6.2.3.1: from 2 to p - 2, and a square. Gives the value as long as the prime.
fn valid(group: DhGroup, value: &[u8]) -> Option<Vec<u8>> {
    let prime = group.prime();
    let zeros = value.iter().take_while(|byte| **byte == 0).count();
    let value = &value[zeros..];
    let missing = prime.len().checked_sub(value.len())?;
    let padded = [&vec![0; missing][..], value].concat();
    if !in_range(prime, &padded) {
        return None;
    }
    is_square(&padded, prime).then_some(padded)
}

/// Whether a number is a square modulo a prime: its Jacobi symbol is 1 (Handbook of Applied Cryptography, 2.149, with differences in
/// place of remainders). Not for secrets: time depends on the number. A tenth of the time of the power that says the same.
fn is_square(value: &[u8], prime: &[u8]) -> bool {
    let (mut a, mut n) = (limbs(value), limbs(prime));
    let low = |number: &[u64]| number.first().copied().unwrap_or_default();
    let mut negative = false;
    while a.iter().any(|limb| *limb != 0) {
        while low(&a).is_multiple_of(2) {
            halve(&mut a);
            // (2 / n) is -1 for n = 3, 5 modulo 8.
            negative ^= matches!(low(&n) % 8, 3 | 5);
        }
        if a.iter().rev().lt(n.iter().rev()) {
            std::mem::swap(&mut a, &mut n);
            negative ^= low(&a) % 4 == 3 && low(&n) % 4 == 3;
        }
        subtract(&mut a, &n);
    }
    let one = low(&n) == 1 && n.iter().skip(1).all(|limb| *limb == 0);
    one && !negative
}

/// The lowest limb first.
fn limbs(number: &[u8]) -> Vec<u64> {
    let (front, whole) = number.as_rchunks::<8>();
    let first = front.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    let mut limbs: Vec<u64> = whole.iter().rev().map(|limb| u64::from_be_bytes(*limb)).collect();
    limbs.push(first);
    limbs
}

fn halve(number: &mut [u64]) {
    let mut carry = 0;
    for limb in number.iter_mut().rev() {
        (carry, *limb) = (*limb << 63, *limb >> 1 | carry);
    }
}

/// `number` is not less than `other`, and both have as many limbs.
fn subtract(number: &mut [u64], other: &[u64]) {
    let mut borrow = false;
    for (limb, other) in number.iter_mut().zip(other) {
        let (less, first) = limb.overflowing_sub(*other);
        let (less, second) = less.overflowing_sub(u64::from(borrow));
        (*limb, borrow) = (less, first || second);
    }
}

/// From 2 to p - 2; of the same length as the prime.
fn in_range(prime: &[u8], value: &[u8]) -> bool {
    let mut most = prime.to_vec();
    // The primes end in 64 ones.
    if let Some(last) = most.last_mut() {
        *last -= 2;
    }
    let (Some((last, front)), true) = (value.split_last(), value.len() == prime.len()) else {
        return false;
    };
    let small = front.iter().all(|byte| *byte == 0) && *last < 2;
    !small && value <= &most[..]
}

/// q = (p - 1) / 2.
fn half(prime: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    prime
        .iter()
        .map(|byte| {
            let out = carry << 7 | byte >> 1;
            carry = byte & 1;
            out
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsmd_proto::meta::modulus_bits;

    #[test]
    fn both_sides_agree_in_every_group() {
        for group in DhGroup::ALL {
            let side = || open_private(group, &generate(group, group.exponent_bits()).unwrap()).unwrap();
            let (one, other) = (side(), side());
            let shared = one.agree(&other.public, None).unwrap();
            assert_eq!(shared.len() * 8, group.bits());
            assert_eq!(shared, other.agree(&one.public, None).unwrap());
            let cut = one.agree(&other.public, Some(16)).unwrap();
            assert_eq!(cut.expose(), &shared.expose()[shared.len() - 16..]);
            assert_eq!(
                one.agree(&other.public, Some(shared.len() + 1)),
                Err(OpError::DataLength)
            );
        }
    }

    #[test]
    fn a_new_private_value_is_as_long_as_asked() {
        for group in DhGroup::ALL {
            let (least, most) = (*group.exponent_range().start(), *group.exponent_range().end());
            for bits in [least, least + 1, group.exponent_bits(), 1024, most - 1, most] {
                let value = generate(group, bits).unwrap();
                assert_eq!(modulus_bits(value.expose()), bits as u64);
                // Not the same twice, and less than q, which is as long as the longest.
                assert_ne!(value, generate(group, bits).unwrap());
                assert!(bits < most || value.expose() < &half(group.prime())[..]);
            }
            for bits in [0, 1, least - 1, most + 1, usize::MAX] {
                assert!(generate(group, bits).is_none(), "{group:?} {bits}");
            }
        }
    }

    #[test]
    fn a_square_is_what_the_power_says() {
        for group in [DhGroup::Ffdhe2048, DhGroup::Modp3072] {
            let (prime, mut squares) = (group.prime(), 0);
            for _ in 0..40 {
                let value = Secret::random(prime.len() - 1);
                let value = [&[0], value.expose()].concat();
                let mut one = vec![0; prime.len()];
                power(prime, &value, &half(prime), &mut one).unwrap();
                let is_one = one.ends_with(&[1]) && one[..one.len() - 1].iter().all(|byte| *byte == 0);
                assert_eq!(is_square(&value, prime), is_one);
                squares += u32::from(is_one);
            }
            assert!((5..=35).contains(&squares));
        }
        // Modulo 7: 1, 2 and 4.
        let small = |value: u8| is_square(&[value], &[7]);
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6].map(small),
            [false, true, true, false, true, false, false]
        );
    }

    #[test]
    fn values_outside_the_subgroup_are_refused() {
        let group = DhGroup::Ffdhe2048;
        let prime = group.prime();
        let key = open_private(group, &generate(group, 256).unwrap()).unwrap();
        let less = |by: u8| [&prime[..prime.len() - 1], &[0xff - by]].concat();
        // 0, 1, p - 1, p, more, and what is no square: p - 4, since -1 is none.
        let wrong = [
            vec![],
            vec![0],
            vec![1],
            less(1),
            less(0),
            vec![0xff; 256],
            vec![1; 257],
            less(4),
        ];
        for other in wrong {
            assert_eq!(key.agree(&other, None), Err(OpError::Parameter), "{other:?}");
            assert!(open_public(group, &other).is_err());
        }
        assert!(key.agree(&[4], None).is_ok() && key.agree(&[0, 0, 4], None).is_ok());
        let private = |bytes: &[u8]| open_private(group, &Secret::from_slice(bytes));
        // 0; q, whose public value is 1; p.
        for value in [vec![0; 32], half(prime), prime.to_vec(), vec![1; 257]] {
            assert!(private(&value).is_err());
        }
        assert!(private(&[2]).is_ok());
    }
}
