//! Powers modulo an odd number.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use zeroize::Zeroize;

/// `base` to the power of `exponent` modulo `modulus`, as long as the modulus. Time does not depend on the bits of the exponent, only
/// on its length in words. `base` is below the modulus, which is odd.
pub(crate) fn power(modulus: &[u8], base: &[u8], exponent: &[u8], out: &mut [u8]) -> Option<()> {
    let bits = u32::try_from(modulus.len()).ok()?.checked_mul(8)?;
    let modulus = Odd::new(number(modulus, bits)?).into_option()?;
    let parameters = BoxedMontyParams::new(modulus);
    let mut exponent = number(exponent, u32::try_from(exponent.len()).ok()?.checked_mul(8)?)?;
    let mut power = BoxedMontyForm::new(number(base, bits)?, &parameters)
        .pow(&exponent)
        .retrieve();
    exponent.zeroize();
    let bytes = power.to_be_bytes();
    let spare = bytes.len().checked_sub(out.len())?;
    out.copy_from_slice(&bytes[spare..]);
    power.zeroize();
    super::wipe(bytes);
    Some(())
}

/// A number of at most `bits` bits, big-endian; leading zeros are no part of it.
pub(super) fn number(bytes: &[u8], bits: u32) -> Option<BoxedUint> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    BoxedUint::from_be_slice(&bytes[zeros..], bits.max(8)).ok()
}
