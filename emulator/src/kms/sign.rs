//! Sign, Verify, GenerateMac, VerifyMac, GetPublicKey. A message is hashed here or by the caller, so that both ways are one;
//! ECDSA signatures are DER outside (ANSI X9.62) and r and s in a row inside (PKCS#11 3.2, 6.3.1).

use super::input::{Input, blob};
use super::key::{KeyRecord, Kind, Usage};
use super::keys::Found;
use super::{Answer, Kms, describe, internal, module_fault};
use crate::fault::Fault;
use crate::module::{ModuleError, Worker};
use cryptoki::error::RvError;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use serde_json::{Map, Value, json};
use std::iter;
use zeroize::Zeroizing;

/// A hash: its mechanisms, its length, what stands before it in a PKCS #1 v1.5 signature (RFC 8017, 9.2).
struct Hash {
    name: &'static str,
    /// A function, since a mechanism may hold pointers and so belongs to one thread.
    digest: fn() -> Mechanism<'static>,
    kind: MechanismType,
    mgf: PkcsMgfType,
    length: usize,
    prefix: [u8; 19],
}

const fn prefix(kind: u8, length: u8) -> [u8; 19] {
    [
        0x30,
        0x11 + length,
        0x30,
        0x0d,
        6,
        9,
        0x60,
        0x86,
        0x48,
        1,
        0x65,
        3,
        4,
        2,
        kind,
        5,
        0,
        4,
        length,
    ]
}

static HASHES: [Hash; 3] = [
    Hash {
        name: "SHA_256",
        digest: || Mechanism::Sha256,
        kind: MechanismType::SHA256,
        mgf: PkcsMgfType::MGF1_SHA256,
        length: 32,
        prefix: prefix(1, 32),
    },
    Hash {
        name: "SHA_384",
        digest: || Mechanism::Sha384,
        kind: MechanismType::SHA384,
        mgf: PkcsMgfType::MGF1_SHA384,
        length: 48,
        prefix: prefix(2, 48),
    },
    Hash {
        name: "SHA_512",
        digest: || Mechanism::Sha512,
        kind: MechanismType::SHA512,
        mgf: PkcsMgfType::MGF1_SHA512,
        length: 64,
        prefix: prefix(3, 64),
    },
];

/// How a digest is signed.
#[derive(Clone, Copy)]
enum Scheme {
    Pkcs1,
    Pss,
    /// The length of a coordinate in bytes.
    Ecdsa(usize),
}

/// Sign.
pub(super) async fn sign(kms: &Kms, input: Input) -> Answer {
    let (found, algorithm, scheme, hash) = prepare(kms, &input).await?;
    input.dry_run()?;
    let (id, digested, message) = (
        found.record().object_id(),
        is_digest(&input, hash)?,
        input.bytes("Message"),
    );
    let run = move |worker: &mut Worker| {
        let key = worker.find(ObjectClass::PRIVATE_KEY, &id)?;
        let digest = digest(worker, hash, digested, &message)?;
        Ok(worker
            .session()?
            .sign(&mechanism(scheme, hash), key, &framed(scheme, hash, &digest))?)
    };
    let signature = kms
        .module
        .run(run)
        .await
        .map_err(|error| module_fault(&error, &found.arn))?;
    let signature = match scheme {
        Scheme::Ecdsa(length) => to_der(&signature, length).ok_or_else(internal)?,
        Scheme::Pkcs1 | Scheme::Pss => signature,
    };
    Ok(Map::from_iter([
        ("KeyId".to_owned(), Value::from(found.arn)),
        ("Signature".to_owned(), blob(&signature)),
        ("SigningAlgorithm".to_owned(), algorithm.into()),
    ]))
}

/// Verify.
pub(super) async fn verify(kms: &Kms, input: Input) -> Answer {
    let (found, algorithm, scheme, hash) = prepare(kms, &input).await?;
    input.dry_run()?;
    let invalid = || Fault::new(400, "KMSInvalidSignatureException", "");
    let signature = input.bytes("Signature");
    let signature = match scheme {
        Scheme::Ecdsa(length) => from_der(&signature, length).ok_or_else(invalid)?,
        Scheme::Pkcs1 | Scheme::Pss => signature.to_vec(),
    };
    let (id, digested, message) = (
        found.record().object_id(),
        is_digest(&input, hash)?,
        input.bytes("Message"),
    );
    let run = move |worker: &mut Worker| {
        let key = worker.find(ObjectClass::PUBLIC_KEY, &id)?;
        let digest = digest(worker, hash, digested, &message)?;
        let checked = worker.session()?.verify(
            &mechanism(scheme, hash),
            key,
            &framed(scheme, hash, &digest),
            &signature,
        );
        Ok(checked?)
    };
    match kms.module.run(run).await {
        Ok(()) => Ok(Map::from_iter([
            ("KeyId".to_owned(), Value::from(found.arn)),
            ("SignatureValid".to_owned(), true.into()),
            ("SigningAlgorithm".to_owned(), algorithm.into()),
        ])),
        Err(error) if is_wrong(&error) => Err(invalid()),
        Err(error) => Err(module_fault(&error, &found.arn)),
    }
}

/// GenerateMac.
pub(super) async fn mac(kms: &Kms, input: Input) -> Answer {
    let (found, algorithm, mechanism) = prepare_mac(kms, &input).await?;
    input.dry_run()?;
    let (id, message) = (found.record().object_id(), input.bytes("Message"));
    let run = move |worker: &mut Worker| {
        let key = worker.find(ObjectClass::SECRET_KEY, &id)?;
        Ok(worker.session()?.sign(&mechanism(), key, &message)?)
    };
    let mac = kms
        .module
        .run(run)
        .await
        .map_err(|error| module_fault(&error, &found.arn))?;
    Ok(Map::from_iter([
        ("Mac".to_owned(), blob(&mac)),
        ("MacAlgorithm".to_owned(), algorithm.into()),
        ("KeyId".to_owned(), found.arn.into()),
    ]))
}

/// VerifyMac.
pub(super) async fn verify_mac(kms: &Kms, input: Input) -> Answer {
    let (found, algorithm, mechanism) = prepare_mac(kms, &input).await?;
    input.dry_run()?;
    let (id, message, mac) = (found.record().object_id(), input.bytes("Message"), input.bytes("Mac"));
    let run = move |worker: &mut Worker| {
        let key = worker.find(ObjectClass::SECRET_KEY, &id)?;
        Ok(worker.session()?.verify(&mechanism(), key, &message, &mac)?)
    };
    match kms.module.run(run).await {
        Ok(()) => Ok(Map::from_iter([
            ("KeyId".to_owned(), Value::from(found.arn)),
            ("MacValid".to_owned(), true.into()),
            ("MacAlgorithm".to_owned(), algorithm.into()),
        ])),
        Err(error) if is_wrong(&error) => Err(Fault::new(400, "KMSInvalidMacException", "")),
        Err(error) => Err(module_fault(&error, &found.arn)),
    }
}

/// GetPublicKey.
pub(super) async fn public_key(kms: &Kms, input: Input) -> Answer {
    let found = kms.allowed(&input, "KeyId").await?;
    let record = found.record().clone();
    let row = record
        .spec
        .row()
        .filter(|row| matches!(row.kind, Kind::Rsa(_) | Kind::Ec(..)));
    let row = row.ok_or_else(|| {
        Fault::new(
            400,
            "UnsupportedOperationException",
            format!("{} has no public key", found.arn),
        )
    })?;
    let id = record.object_id();
    let run = move |worker: &mut Worker| {
        let key = worker.find(ObjectClass::PUBLIC_KEY, &id)?;
        Ok(worker.session()?.get_attributes(key, &[AttributeType::PublicKeyInfo])?)
    };
    let attributes = kms
        .module
        .run(run)
        .await
        .map_err(|error| module_fault(&error, &found.arn))?;
    let Some(Attribute::PublicKeyInfo(info)) = attributes.first() else {
        return Err(internal());
    };
    let mut answer = Map::from_iter([
        ("KeyId".to_owned(), Value::from(found.arn.as_str())),
        ("PublicKey".to_owned(), blob(info)),
        ("CustomerMasterKeySpec".to_owned(), row.name.into()),
        ("KeySpec".to_owned(), row.name.into()),
        ("KeyUsage".to_owned(), record.usage.name().into()),
    ]);
    let (name, algorithms) = describe::algorithms(record.usage, row);
    answer.insert(name.to_owned(), json!(algorithms));
    Ok(answer)
}

async fn prepare(kms: &Kms, input: &Input) -> Result<(Found, &'static str, Scheme, &'static Hash), Fault> {
    let found = kms.allowed(input, "KeyId").await?;
    found.record().is_for(Usage::SignVerify, &found.arn)?;
    let name = input.must("SigningAlgorithm");
    let row = found.record().spec.row();
    let algorithm = row
        .and_then(|row| row.signing.iter().find(|known| **known == name))
        .copied();
    let hash = HASHES.iter().find(|hash| name.ends_with(hash.name));
    let scheme = row.and_then(|row| match row.kind {
        Kind::Rsa(_) if name.starts_with("RSASSA_PSS") => Some(Scheme::Pss),
        Kind::Rsa(_) => Some(Scheme::Pkcs1),
        Kind::Ec(_, length) => Some(Scheme::Ecdsa(length)),
        Kind::Aes | Kind::Hmac(_) => None,
    });
    match (algorithm, scheme, hash) {
        (Some(algorithm), Some(scheme), Some(hash)) => Ok((found, algorithm, scheme, hash)),
        _ => Err(incompatible(name, found.record())),
    }
}

async fn prepare_mac(kms: &Kms, input: &Input) -> Result<(Found, &'static str, fn() -> Mechanism<'static>), Fault> {
    let found = kms.allowed(input, "KeyId").await?;
    found.record().is_for(Usage::GenerateVerifyMac, &found.arn)?;
    let name = input.must("MacAlgorithm");
    let algorithm = found
        .record()
        .spec
        .row()
        .and_then(|row| row.mac.iter().find(|known| **known == name))
        .copied();
    let mechanism: fn() -> Mechanism<'static> = match algorithm {
        Some("HMAC_SHA_224") => || Mechanism::Sha224Hmac,
        Some("HMAC_SHA_256") => || Mechanism::Sha256Hmac,
        Some("HMAC_SHA_384") => || Mechanism::Sha384Hmac,
        Some("HMAC_SHA_512") => || Mechanism::Sha512Hmac,
        _ => return Err(incompatible(name, found.record())),
    };
    Ok((found, algorithm.unwrap_or_default(), mechanism))
}

fn incompatible(algorithm: &str, record: &KeyRecord) -> Fault {
    let message = format!("Algorithm {algorithm} is incompatible with key spec {}.", record.spec.0);
    Fault::new(400, "InvalidKeyUsageException", message)
}

/// Whether the message is the digest already.
fn is_digest(input: &Input, hash: &Hash) -> Result<bool, Fault> {
    let invalid = |message: &str| Err(Fault::new(400, "ValidationException", message));
    match input.text("MessageType") {
        None | Some("RAW") => Ok(false),
        Some("DIGEST") if input.bytes("Message").len() == hash.length => Ok(true),
        Some("DIGEST") => invalid("Digest is invalid length for algorithm."),
        Some(_) => invalid("MessageType EXTERNAL_MU is for ML-DSA keys"),
    }
}

fn digest(
    worker: &mut Worker,
    hash: &Hash,
    digested: bool,
    message: &Zeroizing<Vec<u8>>,
) -> Result<Vec<u8>, ModuleError> {
    if digested {
        return Ok(message.to_vec());
    }
    Ok(worker.session()?.digest(&(hash.digest)(), message)?)
}

fn mechanism(scheme: Scheme, hash: &Hash) -> Mechanism<'static> {
    match scheme {
        Scheme::Pkcs1 => Mechanism::RsaPkcs,
        Scheme::Pss => Mechanism::RsaPkcsPss(PkcsPssParams {
            hash_alg: hash.kind,
            mgf: hash.mgf,
            s_len: (hash.length as u64).into(),
        }),
        Scheme::Ecdsa(_) => Mechanism::Ecdsa,
    }
}

/// What is signed: for PKCS #1 v1.5 the DigestInfo.
fn framed(scheme: Scheme, hash: &Hash, digest: &[u8]) -> Vec<u8> {
    match scheme {
        Scheme::Pkcs1 => [&hash.prefix, digest].concat(),
        Scheme::Pss | Scheme::Ecdsa(_) => digest.to_vec(),
    }
}

fn is_wrong(error: &ModuleError) -> bool {
    matches!(error.rv(), Some(RvError::SignatureInvalid | RvError::SignatureLenRange))
}

/// SEQUENCE { INTEGER r, INTEGER s } of r and s in a row.
fn to_der(signature: &[u8], length: usize) -> Option<Vec<u8>> {
    if signature.len() != 2 * length {
        return None;
    }
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
        let sign = (bytes[start] & 0x80 != 0).then_some(0);
        let body: Vec<u8> = sign.into_iter().chain(bytes[start..].iter().copied()).collect();
        [vec![2, body.len() as u8], body].concat()
    };
    let (r, s) = signature.split_at(length);
    let body = [integer(r), integer(s)].concat();
    let head = if body.len() < 128 {
        vec![0x30, body.len() as u8]
    } else {
        vec![0x30, 0x81, body.len() as u8]
    };
    Some([head, body].concat())
}

/// The reverse, of the strict form only.
fn from_der(der: &[u8], length: usize) -> Option<Vec<u8>> {
    let body = match der {
        [0x30, size, body @ ..] if *size < 128 && usize::from(*size) == body.len() => body,
        [0x30, 0x81, size, body @ ..] if *size >= 128 && usize::from(*size) == body.len() => body,
        _ => return None,
    };
    let integer = |bytes: &[u8]| -> Option<(Vec<u8>, usize)> {
        let [2, size, rest @ ..] = bytes else { return None };
        let value = rest.get(..usize::from(*size)).filter(|value| !value.is_empty())?;
        let padded = value[0] == 0;
        let minimal = !padded || value.get(1).is_some_and(|next| next & 0x80 != 0) || value.len() == 1;
        let positive = value[0] & 0x80 == 0;
        let digits = if padded { &value[1..] } else { value };
        let room = length.checked_sub(digits.len()).filter(|_| minimal && positive)?;
        Some((
            iter::repeat_n(0, room).chain(digits.iter().copied()).collect(),
            2 + value.len(),
        ))
    };
    let (r, used) = integer(body)?;
    let (s, more) = integer(&body[used..])?;
    (used + more == body.len()).then(|| [r, s].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_go_to_der_and_back() {
        for length in [32, 48, 66] {
            for fill in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut raw = vec![fill; 2 * length];
                raw[length - 1] = 1;
                raw[2 * length - 1] = 2;
                let der = to_der(&raw, length).unwrap();
                assert_eq!(
                    from_der(&der, length).as_deref(),
                    Some(raw.as_slice()),
                    "{length} {fill:x}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_the_strict_form_is_no_signature() {
        let good = to_der(&[1; 64], 32).unwrap();
        assert!(from_der(&good[..good.len() - 1], 32).is_none());
        assert!(from_der(&[&good[..], &[0]].concat(), 32).is_none());
        assert!(from_der(&[0x30, 6, 2, 1, 0x80, 2, 1, 1], 32).is_none());
        assert!(from_der(&[0x30, 7, 2, 2, 0, 1, 2, 1, 1], 32).is_none());
        assert!(from_der(&[], 32).is_none());
    }

    #[test]
    fn the_prefix_is_a_digest_info() {
        assert_eq!(HASHES[0].prefix[..2], [0x30, 0x31]);
        assert_eq!(HASHES[1].prefix[..2], [0x30, 0x41]);
        assert_eq!(HASHES[2].prefix[..2], [0x30, 0x51]);
    }
}
