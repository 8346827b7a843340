//! Init validation: one pure function, called by the module so that the codes come at Init without a round trip, and by
//! the daemon as the authority (DESIGN 5, "Thick client").
//!
//! Order: mechanism, parameter, class and type, size, usage, login. Initialised, session, arguments, operation active
//! and key handle come before and are the caller's.

use crate::ck::{KeyType, MechanismType, ObjectClass, Rv};
use crate::mechanism::{Family, Operations, Row};
use crate::meta::{KeyMeta, Usage};
use crate::params::{Hedge, Mechanism, Params};
use crate::policy::Policy;

/// The length in bytes of the IVs that the daemon makes: 96 random bits (SP 800-38D, 8.2.2).
pub const MADE_IV: usize = 12;

/// What is to be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the C_ functions")]
pub enum Operation {
    Encrypt,
    Decrypt,
    Sign,
    SignRecover,
    Verify,
    VerifyRecover,
    Wrap,
    Unwrap,
    Derive,
    Encapsulate,
    Decapsulate,
}

impl Operation {
    const fn flag(self) -> Operations {
        match self {
            Self::Encrypt => Operations::ENCRYPT,
            Self::Decrypt => Operations::DECRYPT,
            Self::Sign => Operations::SIGN,
            Self::SignRecover => Operations::SIGN_RECOVER,
            Self::Verify => Operations::VERIFY,
            Self::VerifyRecover => Operations::VERIFY_RECOVER,
            Self::Wrap => Operations::WRAP,
            Self::Unwrap => Operations::UNWRAP,
            Self::Derive => Operations::DERIVE,
            Self::Encapsulate => Operations::ENCAPSULATE,
            Self::Decapsulate => Operations::DECAPSULATE,
        }
    }

    const fn usage(self) -> Usage {
        match self {
            Self::Encrypt => Usage::ENCRYPT,
            Self::Decrypt => Usage::DECRYPT,
            Self::Sign => Usage::SIGN,
            Self::SignRecover => Usage::SIGN_RECOVER,
            Self::Verify => Usage::VERIFY,
            Self::VerifyRecover => Usage::VERIFY_RECOVER,
            Self::Wrap => Usage::WRAP,
            Self::Unwrap => Usage::UNWRAP,
            Self::Derive => Usage::DERIVE,
            Self::Encapsulate => Usage::ENCAPSULATE,
            Self::Decapsulate => Usage::DECAPSULATE,
        }
    }

    /// The code for a key of the wrong type.
    const fn type_error(self) -> Rv {
        match self {
            Self::Wrap => Rv::WRAPPING_KEY_TYPE_INCONSISTENT,
            Self::Unwrap | Self::Decapsulate => Rv::UNWRAPPING_KEY_TYPE_INCONSISTENT,
            _ => Rv::KEY_TYPE_INCONSISTENT,
        }
    }

    /// The code for a key of the wrong size.
    const fn size_error(self) -> Rv {
        match self {
            Self::Wrap => Rv::WRAPPING_KEY_SIZE_RANGE,
            Self::Unwrap | Self::Decapsulate => Rv::UNWRAPPING_KEY_SIZE_RANGE,
            _ => Rv::KEY_SIZE_RANGE,
        }
    }

    /// The class of key that the operation needs when the key has two halves.
    const fn half(self) -> ObjectClass {
        match self {
            Self::Encrypt | Self::Verify | Self::VerifyRecover | Self::Wrap | Self::Encapsulate => {
                ObjectClass::PUBLIC_KEY
            }
            Self::Decrypt | Self::Sign | Self::SignRecover | Self::Unwrap | Self::Derive | Self::Decapsulate => {
                ObjectClass::PRIVATE_KEY
            }
        }
    }
}

/// Checks that a key may do an operation with a mechanism, and gives the mechanism's row.
///
/// # Errors
/// The code that the Init function (C_SignInit, ..., C_WrapKey, C_DeriveKey) returns.
pub fn check(
    operation: Operation,
    mechanism: &Mechanism,
    key: &KeyMeta,
    policy: Policy,
    logged_in: bool,
) -> Result<&'static Row, Rv> {
    let row = check_mechanism(operation, mechanism, policy)?;
    check_key_type(operation, row, key)?;
    check_size(operation, mechanism, row, key, policy)?;
    check_usage(operation, row, key, policy)?;
    if key.private && !logged_in {
        return Err(Rv::USER_NOT_LOGGED_IN);
    }
    Ok(row)
}

/// The part of [`check`] that needs no key.
///
/// # Errors
/// `CKR_MECHANISM_INVALID`, `CKR_MECHANISM_PARAM_INVALID`.
pub fn check_mechanism(operation: Operation, mechanism: &Mechanism, policy: Policy) -> Result<&'static Row, Rv> {
    let row = crate::mechanism::row(mechanism.kind).ok_or(Rv::MECHANISM_INVALID)?;
    if !row.operations_under(policy).contains(operation.flag()) {
        return Err(Rv::MECHANISM_INVALID);
    }
    let row = mechanism.check(policy)?;
    // The engine makes hedged signatures of ML-DSA (FIPS 204, 3.4) only; who verifies need not say which they are.
    let deterministic =
        matches!(&mechanism.params, Params::SignContext(context) if context.hedge == Hedge::Deterministic);
    let engine = matches!(row.family, Family::MlDsa | Family::HashMlDsa);
    if operation == Operation::Sign && deterministic && engine {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    if let (Operation::Encrypt | Operation::Sign | Operation::Wrap, Some(nonce), true) =
        (operation, mechanism.params.nonce(), policy.makes_ivs())
        && nonce.len() != MADE_IV
    {
        return Err(Rv::MECHANISM_PARAM_INVALID);
    }
    Ok(row)
}

fn check_key_type(operation: Operation, row: &Row, key: &KeyMeta) -> Result<(), Rv> {
    let class = if key.class == ObjectClass::SECRET_KEY {
        ObjectClass::SECRET_KEY
    } else {
        operation.half()
    };
    let fits = row.key_types.contains(&key.key_type) && key.class == class;
    if fits { Ok(()) } else { Err(operation.type_error()) }
}

fn check_size(operation: Operation, mechanism: &Mechanism, row: &Row, key: &KeyMeta, policy: Policy) -> Result<(), Rv> {
    if key.size < row.min_under(policy) || key.size > row.max {
        return Err(operation.size_error());
    }
    if policy == Policy::Fips && key.curve.is_some_and(|curve| !curve.approved()) {
        return Err(operation.size_error());
    }
    // The salt and the digest fit the modulus (RFC 8017, 9.1.1), which the parameter alone cannot tell.
    if let (Family::RsaPss, Params::Pss(pss)) = (row.family, &mechanism.params) {
        let hash = crate::mechanism::digest_length(pss.hash).unwrap_or_default() as u64;
        let encoded = (key.size - 1).div_ceil(8);
        if hash + pss.salt_length + 2 > encoded {
            return Err(Rv::MECHANISM_PARAM_INVALID);
        }
    }
    // CMAC is of AES keys, HMAC of the others.
    if let Some(prf) = mechanism.params.prf()
        && (prf == MechanismType::AES_CMAC) != (key.key_type == KeyType::AES)
    {
        return Err(operation.type_error());
    }
    // FIPS 204, 5.4; FIPS 205, 10.2.2: the hash's resistance to collisions is at least the key's strength.
    if let (Policy::Fips, Family::HashMlDsa | Family::HashSlhDsa, Some(set)) = (policy, row.family, key.set) {
        let hash = mechanism.params.hash().or(row.hash);
        let digest = hash.and_then(crate::mechanism::digest_length).unwrap_or_default();
        if digest * 8 / 2 < set.strength_bits() {
            return Err(operation.size_error());
        }
    }
    Ok(())
}

fn check_usage(operation: Operation, row: &Row, key: &KeyMeta, policy: Policy) -> Result<(), Rv> {
    let allowed = key
        .allowed
        .as_ref()
        .is_none_or(|list: &Vec<MechanismType>| list.contains(&row.mechanism));
    if !allowed {
        return Err(Rv::MECHANISM_INVALID);
    }
    let left_to_wrapping = matches!(operation, Operation::Wrap | Operation::Unwrap)
        || (key.class == ObjectClass::PUBLIC_KEY
            && matches!(
                operation,
                Operation::Encrypt | Operation::Verify | Operation::VerifyRecover
            ));
    // A16: unwrapping by CBC_PAD tells by its code whether the padding is right. Who may decrypt learns nothing by it.
    let tells = operation == Operation::Unwrap && row.family == Family::AesCbcPad && policy.latches();
    let needed = if tells {
        operation.usage().with(Usage::DECRYPT)
    } else {
        operation.usage()
    };
    if !key.usage.contains(needed) || (key.wrapping && !left_to_wrapping) {
        return Err(Rv::KEY_FUNCTION_NOT_PERMITTED);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ck::KeyType;

    fn aes(usage: Usage) -> KeyMeta {
        KeyMeta {
            class: ObjectClass::SECRET_KEY,
            key_type: KeyType::AES,
            size: 32,
            curve: None,
            set: None,
            usage,
            private: true,
            always_authenticate: false,
            wrapping: false,
            allowed: None,
        }
    }

    fn cbc() -> Mechanism {
        Mechanism {
            kind: MechanismType::AES_CBC,
            params: Params::Iv(vec![0; 16]),
        }
    }

    #[test]
    fn codes_come_in_the_order_of_the_design() {
        let key = aes(Usage::default());
        let run = |mechanism: &Mechanism, key: &KeyMeta| {
            check(Operation::Encrypt, mechanism, key, Policy::Standard, false)
                .map(|_| ())
                .unwrap_err()
        };
        assert_eq!(
            run(&Mechanism::plain(MechanismType::SHA256), &key),
            Rv::MECHANISM_INVALID
        );
        assert_eq!(
            run(&Mechanism::plain(MechanismType::AES_CBC), &key),
            Rv::MECHANISM_PARAM_INVALID
        );
        assert_eq!(
            run(
                &cbc(),
                &KeyMeta {
                    key_type: KeyType::RSA,
                    ..key.clone()
                }
            ),
            Rv::KEY_TYPE_INCONSISTENT
        );
        assert_eq!(
            run(
                &cbc(),
                &KeyMeta {
                    size: 15,
                    ..key.clone()
                }
            ),
            Rv::KEY_SIZE_RANGE
        );
        assert_eq!(run(&cbc(), &key), Rv::KEY_FUNCTION_NOT_PERMITTED);
        assert_eq!(run(&cbc(), &aes(Usage::ENCRYPT)), Rv::USER_NOT_LOGGED_IN);
    }

    #[test]
    fn a_latched_key_is_left_with_wrapping() {
        let all = Usage::ENCRYPT
            .with(Usage::DECRYPT)
            .with(Usage::WRAP)
            .with(Usage::UNWRAP);
        let key = KeyMeta {
            wrapping: true,
            ..aes(all)
        };
        let kw = Mechanism::plain(MechanismType::AES_KEY_WRAP);
        assert!(check(Operation::Wrap, &kw, &key, Policy::Standard, true).is_ok());
        for operation in [Operation::Encrypt, Operation::Decrypt] {
            let refused = check(operation, &cbc(), &key, Policy::Standard, true).map(|_| ());
            assert_eq!(refused, Err(Rv::KEY_FUNCTION_NOT_PERMITTED));
        }
    }

    #[test]
    fn a_public_half_does_not_decrypt() {
        let key = KeyMeta {
            class: ObjectClass::PUBLIC_KEY,
            key_type: KeyType::RSA,
            size: 2048,
            ..aes(Usage(u16::MAX))
        };
        let sign = check(
            Operation::Sign,
            &Mechanism::plain(MechanismType::RSA_PKCS),
            &key,
            Policy::Standard,
            true,
        );
        assert_eq!(sign.map(|_| ()), Err(Rv::KEY_TYPE_INCONSISTENT));
    }
}
