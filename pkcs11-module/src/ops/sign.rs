//! C_SignInit, C_Sign, C_SignUpdate, C_SignFinal. Also what C_Verify shares: gathering the message, signature lengths.

use super::crypt::{Length, check_length};
use super::family::{Place, family};
use super::request::Asker;
use crate::abi::pointers::{OutBuf, RawInput, RawOut};
use crate::local::Digest;
use crate::state::operation::{KeyOperation, Outcome, Work};
use hsmd_proto::ck::Rv;
use hsmd_proto::mechanism::Family;
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::params::Params;
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::request;
use std::borrow::Cow;

/// Where it runs.
pub(crate) const PLACE: Place = |operations| &mut operations.sign;

family! { PLACE;
    /// C_SignInit (PKCS#11 3.2, 5.13.1).
    init = Sign;
    /// C_Sign.
    single(Single, data: RawInput<'_>, out: RawOut<'_>) => |asker, operation, (data, out)| {
        sign(asker, operation, Some(data), &out)
    };
    /// C_SignUpdate.
    update(Update, data: RawInput<'_>) => add;
    /// C_SignFinal.
    finish(Final, out: RawOut<'_>) => |asker, operation, out| sign(asker, operation, None, &out);
}

/// C_SignUpdate, C_VerifyUpdate.
pub(crate) fn add(asker: Asker<'_>, operation: &mut KeyOperation, data: &[u8]) -> Result<Outcome, Rv> {
    operation.check_grant()?;
    operation.add(data, asker.instance.pool.max_data())?;
    Ok(Outcome::Open)
}

/// The length of a signature is known before it is made, so too small a buffer never costs a request.
pub(crate) fn sign(
    asker: Asker<'_>,
    operation: &mut KeyOperation,
    data: Option<&[u8]>,
    out: &OutBuf<'_>,
) -> Result<Outcome, Rv> {
    let length = signature_length(operation)?;
    if let Some(refused) = out.refuse(length) {
        return Ok(refused.into());
    }
    operation.check_grant()?;
    let message = operation.message(data, asker.instance.pool.max_data())?;
    let given = (&operation.mechanism, &*message.bytes, message.digested);
    let written = operation.ask(asker, request::Op::Sign, given, |signature| {
        check_length(signature, Length::Exact(length))?;
        Ok(out.put(signature))
    });
    // Of an operation that signs many messages each wants its own.
    operation.grant = None;
    Ok(written?.into())
}

/// What goes to the key.
pub(crate) struct Message<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    /// The bytes are the digest that was made here.
    pub(crate) digested: bool,
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(bytes) = &mut self.bytes {
            hsmd_proto::wipe::wipe(bytes);
        }
    }
}

impl KeyOperation {
    /// Takes a part of the message.
    ///
    /// # Errors
    /// `CKR_FUNCTION_NOT_SUPPORTED` for mechanisms without parts, `CKR_DATA_LEN_RANGE` beyond `max_data`.
    pub(crate) fn add(&mut self, data: &[u8], max_data: usize) -> Result<(), Rv> {
        match &mut self.work {
            Work::Hash(digest) => {
                let hash = self.row.hash.ok_or(Rv::FUNCTION_FAILED)?;
                if digest.is_none() {
                    *digest = Digest::new(hash);
                }
                digest.as_mut().ok_or(Rv::FUNCTION_FAILED)?.update(data);
                Ok(())
            }
            Work::Collect(collected) => collect(collected, data, max_data),
            Work::Whole | Work::Blocks(_) => Err(Rv::FUNCTION_NOT_SUPPORTED),
        }
    }

    /// Forgets what came in parts: a message ended.
    pub(crate) fn forget_parts(&mut self) {
        match &mut self.work {
            Work::Hash(digest) => *digest = None,
            Work::Collect(collected) => *collected = WipingVec::new(),
            Work::Whole | Work::Blocks(_) => {}
        }
    }

    /// The whole message: given at once, or what came in parts.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(crate) fn message<'a>(&mut self, data: Option<&'a [u8]>, max_data: usize) -> Result<Message<'a>, Rv> {
        match (&mut self.work, data) {
            (Work::Hash(digest), data) => {
                let hash = self.row.hash.ok_or(Rv::FUNCTION_FAILED)?;
                let mut digest = digest.take().or_else(|| Digest::new(hash)).ok_or(Rv::FUNCTION_FAILED)?;
                digest.update(data.unwrap_or_default());
                Ok(Message {
                    bytes: Cow::Owned(digest.finish()),
                    digested: true,
                })
            }
            (_, Some(data)) if data.len() > max_data => Err(Rv::DATA_LEN_RANGE),
            (_, Some(data)) => Ok(Message {
                bytes: Cow::Borrowed(data),
                digested: false,
            }),
            (Work::Collect(collected), None) => Ok(Message {
                bytes: Cow::Owned(std::mem::take(&mut **collected)),
                digested: false,
            }),
            _ => Err(Rv::FUNCTION_NOT_SUPPORTED),
        }
    }
}

/// Appends to what is kept, wiping the memory that it outgrows.
///
/// # Errors
/// `CKR_DATA_LEN_RANGE` beyond `max_data`.
pub(crate) fn collect(collected: &mut WipingVec, data: &[u8], max_data: usize) -> Result<(), Rv> {
    let needed = collected
        .len()
        .checked_add(data.len())
        .filter(|needed| *needed <= max_data);
    let needed = needed.ok_or(Rv::DATA_LEN_RANGE)?;
    if needed > collected.capacity() {
        let mut larger = WipingVec::from(Vec::with_capacity(needed.next_power_of_two()));
        larger.extend_from_slice(collected);
        *collected = larger;
    }
    collected.extend_from_slice(data);
    Ok(())
}

/// The longest signature of XMSS^MT, and of all (PKCS#11 3.2, 6.66.8), in bytes.
const LONGEST: usize = 104_520;

/// The length in bytes of this operation's signatures, or of the longest where they say themselves how long they are.
///
/// # Errors
/// As [`signature_length`].
pub(crate) fn longest_signature(operation: &KeyOperation) -> Result<usize, Rv> {
    match operation.row.family {
        Family::Stateful => Ok(LONGEST),
        _ => signature_length(operation),
    }
}

/// The length in bytes of this operation's signatures; all mechanisms of the table that sign have fixed ones.
///
/// # Errors
/// `CKR_FUNCTION_FAILED` for a row that makes no signatures.
pub(crate) fn signature_length(operation: &KeyOperation) -> Result<usize, Rv> {
    let meta = &operation.meta;
    let length = match operation.row.family {
        Family::RsaPkcs1 | Family::RsaPss | Family::RsaRaw => Some(meta.modulus_bytes()),
        Family::Ecdsa | Family::Eddsa => meta.curve.map(|curve| 2 * curve.field_bytes()),
        Family::MlDsa | Family::HashMlDsa | Family::SlhDsa | Family::HashSlhDsa => {
            meta.set.map(ParameterSet::output_bytes)
        }
        Family::AesGmac => match &operation.mechanism.params {
            Params::Gcm(gcm) => Some(gcm.tag_bits as usize / 8),
            _ => None,
        },
        Family::TlsMac => match &operation.mechanism.params {
            Params::TlsMac(mac) => usize::try_from(mac.length).ok(),
            _ => None,
        },
        Family::Hmac | Family::AesCmac | Family::Des3Cmac => match operation.mechanism.params {
            Params::Number(length) => usize::try_from(length).ok(),
            _ => operation.row.mac_length(),
        },
        _ => None,
    };
    length.ok_or(Rv::FUNCTION_FAILED)
}
