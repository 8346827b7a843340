//! Powers modulo an odd number.

use super::{Owned, check, number, sys, target};
use std::ptr;

/// `base` to the power of `exponent` modulo `modulus`, as long as the modulus. Time does not depend on the bits of the exponent, only
/// on its length in words. `base` is below the modulus, which is odd.
pub(crate) fn power(modulus: &[u8], base: &[u8], exponent: &[u8], out: &mut [u8]) -> Option<()> {
    let (m, a, p, result) = (number(modulus)?, number(base)?, number(exponent)?, number(&[])?);
    let (o, length) = target(out);
    // SAFETY: the numbers live through the calls; the context is new, and ours or null; no Montgomery context is given. Writes `length`
    // bytes.
    unsafe {
        let context = Owned::take(sys::BN_CTX_new())?;
        let no_montgomery = ptr::null();
        check(sys::BN_mod_exp_mont_consttime(
            result.get(),
            a.get(),
            p.get(),
            m.get(),
            context.get(),
            no_montgomery,
        ))?;
        check(sys::BN_bn2bin_padded(o, length, result.get()))
    }
}
