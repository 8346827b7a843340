//! Encryption and decryption of whole data, and of parts that are collected. Chained parts are in `chain.rs`.

use super::chain;
use super::request::Asker;
use super::sign::collect;
use crate::abi::pointers::{OutBuf, Written};
use crate::state::operation::{KeyOperation, Outcome, Work};
use hsmd_proto::ck::{ObjectClass, Rv};
use hsmd_proto::init::Operation;
use hsmd_proto::mechanism::{Family, digest_length};
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::request;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

impl Direction {
    /// The code for data of a length that does not fit.
    pub(crate) const fn length_error(self) -> Rv {
        match self {
            Self::Encrypt => Rv::DATA_LEN_RANGE,
            Self::Decrypt => Rv::ENCRYPTED_DATA_LEN_RANGE,
        }
    }
}

impl KeyOperation {
    /// Which way it goes.
    pub(crate) const fn direction(&self) -> Direction {
        match self.operation {
            Operation::Encrypt => Direction::Encrypt,
            _ => Direction::Decrypt,
        }
    }
}

/// What is known of a result's length before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Exact(usize),
    AtMost(usize),
}

/// C_Encrypt, C_Decrypt.
pub(crate) fn whole(
    asker: Asker<'_>,
    operation: &mut KeyOperation,
    (data, out): (&[u8], OutBuf<'_>),
) -> Result<Outcome, Rv> {
    if let Some(outcome) = operation.give_kept(&out) {
        return Ok(outcome);
    }
    if data.len() > asker.instance.pool.max_data() {
        return Err(operation.direction().length_error());
    }
    let length = result_length(operation, data.len())?;
    if let Some(refused) = refuse(&out, length) {
        return Ok(refused.into());
    }
    let give = |result: &[u8]| {
        check_length(result, length)?;
        Ok(match out.put(result) {
            Written::Whole => (Written::Whole, None),
            other => (other, Some(WipingVec::from(result))),
        })
    };
    let (written, kept) = process_with(asker, operation, &operation.mechanism, data, give)?;
    operation.kept = kept;
    Ok(written.into())
}

/// Too small a buffer costs no request where the length is known; a bound only answers length queries.
fn refuse(out: &OutBuf<'_>, length: Length) -> Option<Written> {
    match length {
        Length::Exact(length) => out.refuse(length),
        Length::AtMost(length) if out.is_query() => out.refuse(length),
        Length::AtMost(_) => None,
    }
}

/// A daemon that answers with another length is not believed.
///
/// # Errors
/// `CKR_DEVICE_ERROR`.
pub(crate) fn check_length(result: &[u8], length: Length) -> Result<(), Rv> {
    let good = match length {
        Length::Exact(exact) => result.len() == exact,
        Length::AtMost(most) => result.len() <= most,
    };
    if good { Ok(()) } else { Err(Rv::DEVICE_ERROR) }
}

/// C_EncryptUpdate, C_DecryptUpdate.
pub(crate) fn part(
    asker: Asker<'_>,
    operation: &mut KeyOperation,
    arguments: (&[u8], OutBuf<'_>),
) -> Result<Outcome, Rv> {
    part_and(asker, operation, arguments, |_| Ok(()))
}

/// One part. Nothing is taken in when the result would not fit: the caller comes again with the same data. `also` sees what
/// came out before the caller's buffer does, which may be the one of the input (dual functions).
pub(crate) fn part_and(
    asker: Asker<'_>,
    operation: &mut KeyOperation,
    (data, out): (&[u8], OutBuf<'_>),
    also: impl FnOnce(&[u8]) -> Result<(), Rv>,
) -> Result<Outcome, Rv> {
    // Of what is collected nothing comes out before the end: an authenticated text is whole or nothing.
    let length = match &operation.work {
        Work::Whole | Work::Hash(_) => return Err(Rv::FUNCTION_NOT_SUPPORTED),
        Work::Blocks(_) => chain::part_length(operation, data.len())?,
        Work::Collect(_) => 0,
    };
    if let Some(refused) = out.refuse(length) {
        return Ok(Outcome::of_update(refused));
    }
    let direction = operation.direction();
    let result = match &mut operation.work {
        Work::Collect(collected) => {
            collect(collected, data, asker.instance.pool.max_data()).map_err(|_| direction.length_error())?;
            WipingVec::new()
        }
        _ => chain::part(asker, operation, data)?,
    };
    also(&result)?;
    Ok(Outcome::of_update(out.put(&result)))
}

/// C_EncryptFinal, C_DecryptFinal.
pub(crate) fn last(asker: Asker<'_>, operation: &mut KeyOperation, out: OutBuf<'_>) -> Result<Outcome, Rv> {
    if let Some(outcome) = operation.give_kept(&out) {
        return Ok(outcome);
    }
    match &mut operation.work {
        Work::Whole | Work::Hash(_) => Err(Rv::FUNCTION_NOT_SUPPORTED),
        Work::Blocks(_) => chain::last(asker, operation, &out),
        Work::Collect(collected) => {
            let collected = std::mem::take(collected);
            let outcome = whole(asker, operation, (&collected, out))?;
            if operation.kept.is_none() {
                operation.work = Work::Collect(collected);
            }
            Ok(outcome)
        }
    }
}

/// Sends data to the key and keeps the result.
///
/// # Errors
/// As [`process_with`].
pub(crate) fn process(
    asker: Asker<'_>,
    operation: &KeyOperation,
    mechanism: &Mechanism,
    data: &[u8],
) -> Result<WipingVec, Rv> {
    process_with(asker, operation, mechanism, data, |result| Ok(WipingVec::from(result)))
}

/// Sends data to the key, or encrypts with a public key in this process, and hands the result over where it lies.
///
/// # Errors
/// As [`KeyOperation::ask`].
fn process_with<T>(
    asker: Asker<'_>,
    operation: &KeyOperation,
    mechanism: &Mechanism,
    data: &[u8],
    take: impl FnOnce(&[u8]) -> Result<T, Rv>,
) -> Result<T, Rv> {
    let direction = operation.direction();
    let here = direction == Direction::Encrypt
        && operation.meta.class == ObjectClass::PUBLIC_KEY
        && asker.slot.policy().local_public_operations();
    if here
        && let Some(view) = operation.key.view()
        && let Some(key) = view.public_key()
    {
        operation.check_grant()?;
        return take(&WipingVec::from(key.encrypt(mechanism, data)?));
    }
    let op = match direction {
        Direction::Encrypt => request::Op::Encrypt,
        Direction::Decrypt => request::Op::Decrypt,
    };
    operation.ask(asker, op, (mechanism, data, false), take)
}

/// The length of the result for data of a length.
///
/// # Errors
/// `CKR_DATA_LEN_RANGE`, `CKR_ENCRYPTED_DATA_LEN_RANGE`: the operation ends, also at a length query.
fn result_length(operation: &KeyOperation, length: usize) -> Result<Length, Rv> {
    let direction = operation.direction();
    use Direction::{Decrypt, Encrypt};
    use Length::{AtMost, Exact};
    let modulus = operation.meta.modulus_bytes();
    let found = match (operation.row.family, &operation.mechanism.params, direction) {
        (Family::AesCtr, _, _) => Some(Exact(length)),
        (Family::AesEcb, _, _) => length.is_multiple_of(16).then_some(Exact(length)),
        (Family::RsaPkcs1, _, Encrypt) => (length + 11 <= modulus).then_some(Exact(modulus)),
        (Family::RsaPkcs1, _, Decrypt) => (length == modulus).then_some(AtMost(modulus.saturating_sub(11))),
        (Family::RsaRaw, _, Encrypt) => (length <= modulus).then_some(Exact(modulus)),
        (Family::RsaRaw, _, Decrypt) => (length == modulus).then_some(Exact(modulus)),
        (Family::AesCts | Family::AesXts, _, _) => (length >= 16).then_some(Exact(length)),
        (Family::AesCbc, _, _) => length.is_multiple_of(16).then_some(Exact(length)),
        (Family::AesCbcPad, _, Encrypt) => Some(Exact((length / 16 + 1) * 16)),
        (Family::AesCbcPad, _, Decrypt) => (length != 0 && length.is_multiple_of(16)).then_some(AtMost(length)),
        (Family::Des3Ecb | Family::Des3Cbc, _, _) => length.is_multiple_of(8).then_some(Exact(length)),
        (Family::Des3CbcPad, _, Encrypt) => Some(Exact((length / 8 + 1) * 8)),
        (Family::Des3CbcPad, _, Decrypt) => (length != 0 && length.is_multiple_of(8)).then_some(AtMost(length)),
        (Family::AesGcm, Params::Gcm(gcm), Encrypt) => Some(Exact(length + gcm.tag_bits as usize / 8)),
        (Family::AesGcm, Params::Gcm(gcm), Decrypt) => length.checked_sub(gcm.tag_bits as usize / 8).map(Exact),
        (Family::AesCcm, Params::Ccm(ccm), Encrypt) => {
            (length as u64 == ccm.data_length).then_some(Exact(length + ccm.mac_length as usize))
        }
        (Family::AesCcm, Params::Ccm(ccm), Decrypt) => length
            .checked_sub(ccm.mac_length as usize)
            .filter(|text| *text as u64 == ccm.data_length)
            .map(Exact),
        (Family::ChaChaPoly, _, Encrypt) => Some(Exact(length + 16)),
        (Family::ChaChaPoly, _, Decrypt) => length.checked_sub(16).map(Exact),
        (Family::RsaOaep, Params::Oaep(oaep), _) => {
            let room = digest_length(oaep.hash).and_then(|hash| modulus.checked_sub(2 * hash + 2));
            match (room, direction) {
                (Some(room), Encrypt) => (length <= room).then_some(Exact(modulus)),
                (Some(room), Decrypt) => (length == modulus).then_some(AtMost(room)),
                (None, _) => None,
            }
        }
        (Family::AesKw, _, Encrypt) => (length >= 16 && length.is_multiple_of(8)).then_some(Exact(length + 8)),
        (Family::AesKw, _, Decrypt) => (length >= 24 && length.is_multiple_of(8)).then_some(Exact(length - 8)),
        (Family::AesKwp, _, Encrypt) => (length != 0).then_some(Exact(length.next_multiple_of(8) + 8)),
        (Family::AesKwp, _, Decrypt) => (length >= 16 && length.is_multiple_of(8)).then_some(AtMost(length - 8)),
        _ => return Err(Rv::FUNCTION_FAILED),
    };
    found.ok_or(direction.length_error())
}
