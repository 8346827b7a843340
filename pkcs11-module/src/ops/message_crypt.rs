//! C_MessageEncryptInit to C_MessageEncryptFinal and their counterparts (PKCS#11 3.0, 5.9 and 5.11): messages of AES-GCM, each
//! with its IV and tag. IVs are made here on demand, under `strict` and `fips` by the daemon; it refuses one that the key has used
//! (DESIGN 8). A message in
//! parts is collected: ciphertext and text come out at its end.

use super::crypt::{Direction, Length, check_length, process};
use super::iv;
use super::key::admit_parsed;
use super::request::Asker;
use super::sign::collect;
use crate::abi::mechanism::RawMechanism;
use crate::abi::message::{GcmMessage, RawMessage};
use crate::abi::pointers::{RawInput, RawOut, Written};
use crate::local;
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::operation::{IvCounter, KeyOperation, MessageOperation, OpenMessage, Operations, Running};
use cryptoki_sys::{
    CK_FLAGS, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKF_END_OF_MESSAGE, CKG_GENERATE, CKG_GENERATE_COUNTER,
    CKG_GENERATE_COUNTER_XOR, CKG_GENERATE_RANDOM, CKG_NO_GENERATE,
};
use hsmd_proto::ck::{MechanismType, Rv};
use hsmd_proto::init::Operation;
use hsmd_proto::params::{GcmParams, Mechanism, Params};
use hsmd_proto::returns::{Function, late};
use hsmd_proto::wipe::WipingVec;

/// Random IVs need room not to meet: at least so many bits.
const LEAST_RANDOM: usize = 64;

/// Which way, with where its operation is kept.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    direction: Direction,
    operation: Operation,
    place: fn(&mut Operations) -> &mut Option<Box<MessageOperation>>,
}

/// C_MessageEncryptInit, C_EncryptMessage, ...
pub(crate) const ENCRYPT: Side = Side {
    direction: Direction::Encrypt,
    operation: Operation::Encrypt,
    place: |operations| &mut operations.message_encrypt,
};

/// C_MessageDecryptInit, C_DecryptMessage, ...
pub(crate) const DECRYPT: Side = Side {
    direction: Direction::Decrypt,
    operation: Operation::Decrypt,
    place: |operations| &mut operations.message_decrypt,
};

/// C_MessageEncryptInit, C_MessageDecryptInit. The mechanism's parameter comes with each message; one that comes here is not
/// looked at.
pub(crate) fn init(
    side: Side,
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let mut operations = lock(&session.operations);
    let place = (side.place)(&mut operations);
    let active = place.as_ref().is_some_and(|other| other.running.alive(&session.slot));
    if mechanism.is_null() {
        *place = None;
        return if active { Ok(()) } else { Err(Rv::ARGUMENTS_BAD) };
    }
    if active {
        return Err(Rv::OPERATION_ACTIVE);
    }
    *place = None;
    if mechanism.kind()? != MechanismType::AES_GCM {
        return Err(Rv::MECHANISM_INVALID);
    }
    let asker = Asker::session(instance, &session);
    // Init looks at the key; each message brings IV and tag.
    let any = gcm(vec![0; 12], Vec::new(), 128);
    let admitted = admit_parsed(asker, side.operation, any, key, Rv::KEY_HANDLE_INVALID)?;
    *place = Some(Box::new(MessageOperation {
        running: KeyOperation::new(asker, admitted),
        counter: None,
        open: None,
    }));
    Ok(())
}

/// C_EncryptMessage, C_DecryptMessage. Whatever becomes of a message, the operation goes on.
pub(crate) fn whole(
    side: Side,
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    (parameter, aad): (&RawMessage<'_>, RawInput<'_>),
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    with(side, instance, session, |asker, operation| {
        if operation.open.is_some() {
            return Err(Rv::OPERATION_ACTIVE);
        }
        let (parameter, aad, data, out) = (parameter.gcm()?, aad.get()?, data.get()?, out.get()?);
        if let Some(refused) = out.refuse(data.len()) {
            return told(refused);
        }
        let iv = next_iv(side, asker, operation, &parameter)?;
        let result = run(side, asker, operation, (&parameter, iv, aad.to_vec()), data)?;
        told(out.put(&result))
    })
}

/// C_EncryptMessageBegin, C_DecryptMessageBegin.
pub(crate) fn begin(
    side: Side,
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    parameter: &RawMessage<'_>,
    aad: RawInput<'_>,
) -> Result<(), Rv> {
    with(side, instance, session, |asker, operation| {
        if operation.open.is_some() {
            return Err(Rv::OPERATION_ACTIVE);
        }
        let (parameter, aad) = (parameter.gcm()?, aad.get()?);
        let iv = next_iv(side, asker, operation, &parameter)?;
        operation.open = Some(OpenMessage {
            iv,
            aad: aad.to_vec(),
            data: WipingVec::new(),
        });
        Ok(())
    })
}

/// C_EncryptMessageNext, C_DecryptMessageNext.
pub(crate) fn next(
    side: Side,
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    (parameter, flags): (&RawMessage<'_>, CK_FLAGS),
    data: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    with(side, instance, session, |asker, operation| {
        let mut open = operation.open.take().ok_or(Rv::OPERATION_NOT_INITIALIZED)?;
        let (parameter, data, out) = (parameter.gcm()?, data.get()?, out.get()?);
        let end = flags & CKF_END_OF_MESSAGE != 0;
        let length = if end { open.data.len() + data.len() } else { 0 };
        if let Some(refused) = out.refuse(length) {
            operation.open = Some(open);
            return told(refused);
        }
        collect(&mut open.data, data, asker.instance.pool.max_data()).map_err(|_| side.direction.length_error())?;
        if !end {
            operation.open = Some(open);
            return told(out.put(&[]));
        }
        let OpenMessage { iv, aad, data } = open;
        let result = run(side, asker, operation, (&parameter, iv, aad), &data)?;
        told(out.put(&result))
    })
}

/// C_MessageEncryptFinal, C_MessageDecryptFinal.
pub(crate) fn finish(side: Side, instance: &Instance, session: CK_SESSION_HANDLE) -> Result<(), Rv> {
    with(side, instance, session, |_, operation| match operation.open {
        Some(_) => Err(Rv::OPERATION_ACTIVE),
        None => Ok(()),
    })?;
    let session = instance.session(session)?;
    *(side.place)(&mut lock(&session.operations)) = None;
    Ok(())
}

fn with(
    side: Side,
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    work: impl FnOnce(Asker<'_>, &mut MessageOperation) -> Result<(), Rv>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let mut operations = lock(&session.operations);
    let place = (side.place)(&mut operations);
    let operation = place
        .as_mut()
        .filter(|operation| operation.running.alive(&session.slot));
    work(
        Asker::session(instance, &session),
        operation.ok_or(Rv::OPERATION_NOT_INITIALIZED)?,
    )
}

fn told(written: Written) -> Result<(), Rv> {
    match written {
        Written::TooSmall => Err(Rv::BUFFER_TOO_SMALL),
        _ => Ok(()),
    }
}

/// AES-GCM with this parameter.
pub(crate) fn gcm(iv: Vec<u8>, aad: Vec<u8>, tag_bits: u32) -> Mechanism {
    Mechanism {
        kind: MechanismType::AES_GCM,
        params: Params::Gcm(GcmParams { iv, aad, tag_bits }),
    }
}

/// The IV of the next message: the daemon's where the policy takes no others, and then the caller asks for all of it.
fn next_iv(
    side: Side,
    asker: Asker<'_>,
    operation: &mut MessageOperation,
    parameter: &GcmMessage<'_>,
) -> Result<Vec<u8>, Rv> {
    if side.direction == Direction::Decrypt || !asker.slot.policy().makes_ivs() {
        return operation.iv(side.direction, parameter);
    }
    if !iv::asked_for(parameter) {
        return Err(Rv::ARGUMENTS_BAD);
    }
    let running = &operation.running;
    let made = iv::made(asker, Operation::Encrypt, running.key.reference(), &running.mechanism)
        .map_err(|rv| late(Function::Use, rv))?;
    parameter.put_iv(&made);
    Ok(made)
}

/// One message: the ciphertext, its tag written beside it; or the text.
fn run(
    side: Side,
    asker: Asker<'_>,
    operation: &MessageOperation,
    (parameter, iv, aad): (&GcmMessage<'_>, Vec<u8>, Vec<u8>),
    data: &[u8],
) -> Result<WipingVec, Rv> {
    let tag = parameter.tag_length();
    if data.len() + tag > asker.instance.pool.max_data() {
        return Err(side.direction.length_error());
    }
    let mechanism = gcm(iv, aad, parameter.tag_bits());
    if side.direction == Direction::Encrypt {
        let sealed = process(asker, &operation.running, &mechanism, data)?;
        check_length(&sealed, Length::Exact(data.len() + tag))?;
        let (text, tag) = sealed.split_at(data.len());
        parameter.put_tag(tag);
        return Ok(WipingVec::from(text));
    }
    let mut sealed = WipingVec::with_capacity(data.len() + tag);
    sealed.extend_from_slice(data);
    sealed.extend_from_slice(&parameter.tag());
    let text = process(asker, &operation.running, &mechanism, &sealed);
    let text = text.map_err(|rv| match rv {
        Rv::ENCRYPTED_DATA_INVALID => Rv::AEAD_DECRYPT_FAILED,
        other => other,
    })?;
    check_length(&text, Length::Exact(data.len()))?;
    Ok(text)
}

impl MessageOperation {
    /// The IV of the next message, written for the caller where it was made here.
    ///
    /// # Errors
    /// `CKR_ARGUMENTS_BAD` for a generator that does not exist or does not go on as it began, `CKR_DATA_LEN_RANGE` when all IVs of
    /// a counter are used up.
    fn iv(&mut self, direction: Direction, parameter: &GcmMessage<'_>) -> Result<Vec<u8>, Rv> {
        let given = parameter.iv();
        if direction == Direction::Decrypt {
            return Ok(given);
        }
        let fixed = parameter.fixed_bits();
        let made = match parameter.generator() {
            CKG_NO_GENERATE => return Ok(given),
            CKG_GENERATE | CKG_GENERATE_RANDOM if given.len() * 8 - fixed >= LEAST_RANDOM => {
                random_after(&given, fixed)
            }
            CKG_GENERATE_COUNTER => self.counted(&given, fixed, false)?,
            CKG_GENERATE_COUNTER_XOR => self.counted(&given, fixed, true)?,
            _ => return Err(Rv::ARGUMENTS_BAD),
        };
        parameter.put_iv(&made);
        Ok(made)
    }

    fn counted(&mut self, given: &[u8], fixed_bits: usize, xor: bool) -> Result<Vec<u8>, Rv> {
        let counter = self.counter.get_or_insert_with(|| IvCounter {
            // A counter begins anywhere: two operations with one key and one fixed part are not to count alike. The one that is
            // XORed begins at 0, as both sides of TLS 1.3 need it (RFC 8446, 5.3).
            first: if xor {
                given.to_vec()
            } else {
                random_after(given, fixed_bits)
            },
            fixed_bits,
            xor,
            used: 0,
        });
        if counter.first.len() != given.len() || counter.fixed_bits != fixed_bits || counter.xor != xor {
            return Err(Rv::ARGUMENTS_BAD);
        }
        let room = given.len() * 8 - fixed_bits;
        if room < 64 && counter.used >> room != 0 {
            return Err(Rv::DATA_LEN_RANGE);
        }
        let iv = advanced(counter);
        counter.used = counter.used.checked_add(1).ok_or(Rv::DATA_LEN_RANGE)?;
        Ok(iv)
    }
}

/// The IV of a message that stands alone: given, or made here.
///
/// # Errors
/// `CKR_MECHANISM_PARAM_INVALID` for too few random bits, and for counters, which have nothing to count.
pub(crate) fn single_iv(parameter: &GcmMessage<'_>) -> Result<Vec<u8>, Rv> {
    let (given, fixed) = (parameter.iv(), parameter.fixed_bits());
    match parameter.generator() {
        CKG_NO_GENERATE => Ok(given),
        CKG_GENERATE | CKG_GENERATE_RANDOM if given.len() * 8 - fixed >= LEAST_RANDOM => {
            Ok(random_after(&given, fixed))
        }
        _ => Err(Rv::MECHANISM_PARAM_INVALID),
    }
}

/// The first bits of one IV, and after them those of another.
fn joined(fixed: &[u8], fixed_bits: usize, rest: &mut [u8]) {
    for (index, (byte, fixed)) in rest.iter_mut().zip(fixed).enumerate() {
        let kept = fixed_bits.saturating_sub(index * 8).min(8);
        let mask = !(0xff_u16 >> kept) as u8;
        *byte = (fixed & mask) | (*byte & !mask);
    }
}

fn random_after(given: &[u8], fixed_bits: usize) -> Vec<u8> {
    let mut iv = vec![0; given.len()];
    local::fill(&mut iv);
    joined(given, fixed_bits, &mut iv);
    iv
}

/// The first IV with the counter added to, or XORed to, what is not fixed.
fn advanced(counter: &IvCounter) -> Vec<u8> {
    let mut iv = counter.first.clone();
    let mut carry = 0;
    for (index, byte) in iv.iter_mut().rev().enumerate() {
        let addend = counter.used.to_le_bytes().get(index).copied().unwrap_or_default();
        if counter.xor {
            *byte ^= addend;
        } else {
            let sum = u16::from(*byte) + u16::from(addend) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
    }
    joined(&counter.first, counter.fixed_bits, &mut iv);
    iv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fixed_stays_and_the_rest_counts() {
        let counter = |first: &[u8], fixed_bits, xor, used| {
            advanced(&IvCounter {
                first: first.to_vec(),
                fixed_bits,
                xor,
                used,
            })
        };
        assert_eq!(counter(&[1, 2, 0xff, 0xff], 16, false, 1), [1, 2, 0, 0]);
        assert_eq!(counter(&[1, 2, 0xff, 0xff], 8, false, 1), [1, 3, 0, 0]);
        assert_eq!(counter(&[0xf0, 0x0f], 4, true, 0x0101), [0xf1, 0x0e]);
        assert_eq!(counter(&[0xff; 2], 12, false, 1), [0xff, 0xf0]);
        assert_eq!(counter(&[7; 12], 0, true, 0), [7; 12]);
        let random = random_after(&[0xaa; 12], 30);
        assert_eq!((&random[..3], random[3] & 0xfc), (&[0xaa; 3][..], 0xa8));
    }
}
