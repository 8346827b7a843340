//! Finite-field Diffie-Hellman (PKCS#11 3.2, 6.4; SP 800-56A r3) in the groups of `hsmd_proto::dh`. The other side's value is
//! validated in full: one outside the subgroup would tell whether the private value is even, and the two of order 1 and 2 would give a
//! secret that everybody knows.

use crate::awslc::ffi::power;
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

    /// The secret shared with the other side, as long as the prime, or its last `length` bytes (PKCS #3; PKCS#11 3.2, 6.4).
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

/// A new private value: [`DhGroup::exponent_bits`] long.
pub(crate) fn generate(group: DhGroup) -> Secret {
    loop {
        let value = Secret::random(group.exponent_bits() / 8);
        // One that begins with a zero would be shorter than the strength asks for.
        if value.expose().first().is_some_and(|byte| *byte != 0) {
            return value;
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
    let mut one = vec![0; prime.len()];
    power(prime, &padded, &half(prime), &mut one)?;
    let (last, front) = one.split_last()?;
    (*last == 1 && front.iter().all(|byte| *byte == 0)).then_some(padded)
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

    #[test]
    fn both_sides_agree_in_every_group() {
        for group in DhGroup::ALL {
            let side = || open_private(group, &generate(group)).unwrap();
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
    fn values_outside_the_subgroup_are_refused() {
        let group = DhGroup::Ffdhe2048;
        let prime = group.prime();
        let key = open_private(group, &generate(group)).unwrap();
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
