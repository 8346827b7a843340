//! RSA: PKCS #1 v1.5 and PSS signatures, OAEP, raw RSA (RFC 8017). Encryption by v1.5 is in [`super::pkcs1`].

use super::append;
use crate::digest;
use crate::encoding;
use crate::engine::{Rsa, RsaHalf, RsaHashes, RsaNumbers, Way};
use crate::error::{KeyError, OpError};
use crate::material::{Input, Material, RsaPrivate};
use crate::seal;
use hsmd_proto::ck::MechanismType;
use hsmd_proto::mechanism::{digest_length, mgf_hash};
use hsmd_proto::meta::modulus_bits;
use hsmd_proto::params::{OaepParams, Params, PssParams};
use zeroize::Zeroizing;

/// The longest modulus.
pub(crate) const MAX_BYTES: usize = 512;

pub(crate) fn open_public(n: &[u8], e: &[u8]) -> Result<Rsa, KeyError> {
    check_size(n)?;
    check_lengths([e])?;
    Rsa::new(&RsaNumbers {
        n,
        e,
        d: None,
        crt: None,
    })
    .ok_or(KeyError::Invalid)
}

pub(crate) fn open_private(key: &RsaPrivate) -> Result<Rsa, KeyError> {
    check_size(&key.n)?;
    check_lengths([&key.e, key.d.expose()])?;
    let crt = key
        .crt
        .as_ref()
        .map(|crt| [&crt.p, &crt.q, &crt.dp, &crt.dq, &crt.qi].map(|part| part.expose()));
    check_lengths(crt.into_iter().flatten())?;
    let rsa = Rsa::new(&RsaNumbers {
        n: &key.n,
        e: &key.e,
        d: Some(key.d.expose()),
        crt,
    })
    .ok_or(KeyError::Invalid)?;
    // Without primes aws-lc cannot tell whether d belongs to n and e: a signature must come back.
    let pairs = key.crt.is_some() || is_pair(&rsa);
    if pairs { Ok(rsa) } else { Err(KeyError::Invalid) }
}

/// Whether the private half undoes the public one.
pub(crate) fn is_pair(key: &Rsa) -> bool {
    /// What a pair signs and verifies before it is used (FIPS 140-3 IG 10.3.A).
    const TEXT: &[u8] = b"hsmd pairwise consistency check";
    let (mut signature, mut recovered) = ([0; MAX_BYTES], [0; MAX_BYTES]);
    let (signature, recovered) = (&mut signature[..key.bytes()], &mut recovered[..key.bytes()]);
    key.sign(TEXT, signature)
        .and_then(|()| key.recover(signature, recovered))
        .is_some_and(|length| &recovered[..length] == TEXT)
}

fn check_size(n: &[u8]) -> Result<(), KeyError> {
    if (1024..=MAX_BYTES as u64 * 8).contains(&modulus_bits(n)) {
        Ok(())
    } else {
        Err(KeyError::Size)
    }
}

/// No number is longer than the longest modulus, so that what aws-lc computes with them stays small.
fn check_lengths<'a>(numbers: impl IntoIterator<Item = &'a [u8]>) -> Result<(), KeyError> {
    let fits = numbers
        .into_iter()
        .all(|number| modulus_bits(number) <= MAX_BYTES as u64 * 8);
    if fits { Ok(()) } else { Err(KeyError::Invalid) }
}

/// The numbers of a private key with primes.
pub(crate) fn private_material(key: &Rsa) -> Option<Material> {
    encoding::rsa_private(key.der(RsaHalf::Private)?.expose())
}

/// n and e.
pub(crate) fn public_material(key: &Rsa) -> Option<Material> {
    encoding::rsa_public(key.der(RsaHalf::Public)?.expose())
}

/// What is padded: the caller's own data (CKM_RSA_PKCS), or a DigestInfo around the digest (6.1.14).
fn with_encoded<T>(
    hash: Option<MechanismType>,
    input: Input<'_>,
    run: impl FnOnce(&[u8]) -> Result<T, OpError>,
) -> Result<T, OpError> {
    let Some(hash) = hash else {
        let (Input::Message(data) | Input::Digest(data)) = input;
        return run(data);
    };
    let prefix = digest_info(hash).ok_or(OpError::Mechanism)?;
    with_digest(hash, input, |digest| {
        let mut encoded = [0; 19 + 64];
        let encoded = &mut encoded[..prefix.len() + digest.len()];
        encoded[..prefix.len()].copy_from_slice(prefix);
        encoded[prefix.len()..].copy_from_slice(digest);
        run(encoded)
    })
}

/// The digest of a hash-and-sign mechanism: made here, or by the module and of the right length.
pub(crate) fn with_digest<T>(
    hash: MechanismType,
    input: Input<'_>,
    run: impl FnOnce(&[u8]) -> Result<T, OpError>,
) -> Result<T, OpError> {
    match input {
        Input::Message(message) => run(digest::short(hash, message).ok_or(OpError::Mechanism)?.as_ref()),
        Input::Digest(digest) if digest_length(hash) == Some(digest.len()) => run(digest),
        Input::Digest(_) => Err(OpError::DataLength),
    }
}

/// DER before the digest in a DigestInfo (RFC 8017, 9.2, note 1).
const fn digest_info(hash: MechanismType) -> Option<&'static [u8]> {
    Some(match hash {
        MechanismType::SHA_1 => b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
        MechanismType::SHA224 => b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x1c",
        MechanismType::SHA256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        MechanismType::SHA384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
        MechanismType::SHA512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
        MechanismType::SHA3_224 => b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x07\x05\x00\x04\x1c",
        MechanismType::SHA3_256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x08\x05\x00\x04\x20",
        MechanismType::SHA3_384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x09\x05\x00\x04\x30",
        MechanismType::SHA3_512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x0a\x05\x00\x04\x40",
        _ => return None,
    })
}

pub(crate) fn sign_pkcs1(
    key: &Rsa,
    hash: Option<MechanismType>,
    input: Input<'_>,
    out: &mut Vec<u8>,
) -> Result<(), OpError> {
    with_encoded(hash, input, |data| {
        check_room(key, data)?;
        append(out, key.bytes(), |target| key.sign(data, target).ok_or(OpError::Failed))
    })
}

pub(crate) fn verify_pkcs1(
    key: &Rsa,
    hash: Option<MechanismType>,
    input: Input<'_>,
    signature: &[u8],
) -> Result<(), OpError> {
    with_encoded(hash, input, |data| {
        check_room(key, data)?;
        check_signature_length(key, signature)?;
        let mut recovered = [0; MAX_BYTES];
        let length = key
            .recover(signature, &mut recovered[..key.bytes()])
            .ok_or(OpError::Signature)?;
        if seal::equal(&recovered[..length], data) {
            Ok(())
        } else {
            Err(OpError::Signature)
        }
    })
}

/// At most k - 11 bytes (RFC 8017, 9.2; PKCS#11 3.2, table 41).
pub(crate) fn check_room(key: &Rsa, data: &[u8]) -> Result<(), OpError> {
    if data.len() + 11 <= key.bytes() {
        Ok(())
    } else {
        Err(OpError::DataLength)
    }
}

fn check_signature_length(key: &Rsa, signature: &[u8]) -> Result<(), OpError> {
    if signature.len() == key.bytes() {
        Ok(())
    } else {
        Err(OpError::SignatureLength)
    }
}

/// The parameter of PSS, held against the mechanism's own hash and the key's size (RFC 8017, 9.1.1).
fn pss<'a>(
    key: &Rsa,
    combined: Option<MechanismType>,
    params: &'a Params,
) -> Result<(&'a PssParams, RsaHashes, usize), OpError> {
    let Params::Pss(pss) = params else {
        return Err(OpError::Parameter);
    };
    let hash_bytes = digest_length(pss.hash).ok_or(OpError::Parameter)?;
    let mgf = mgf_hash(pss.mgf).ok_or(OpError::Parameter)?;
    let salt = usize::try_from(pss.salt_length).map_err(|_| OpError::Parameter)?;
    let encoded = (key.bits() as usize - 1).div_ceil(8);
    let fits = salt <= MAX_BYTES && hash_bytes + salt + 2 <= encoded;
    if combined.is_some_and(|hash| hash != pss.hash) || !fits {
        return Err(OpError::Parameter);
    }
    Ok((pss, RsaHashes { hash: pss.hash, mgf }, salt))
}

/// CKM_RSA_PKCS_PSS takes the digest as its data.
fn pss_input<'a>(combined: Option<MechanismType>, input: Input<'a>) -> Input<'a> {
    match (combined, input) {
        (None, Input::Message(digest)) => Input::Digest(digest),
        _ => input,
    }
}

pub(crate) fn sign_pss(
    key: &Rsa,
    combined: Option<MechanismType>,
    params: &Params,
    input: Input<'_>,
    out: &mut Vec<u8>,
) -> Result<(), OpError> {
    let (params, hashes, salt) = pss(key, combined, params)?;
    with_digest(params.hash, pss_input(combined, input), |digest| {
        append(out, key.bytes(), |target| {
            key.sign_pss(hashes, salt, digest, target).ok_or(OpError::Failed)
        })
    })
}

pub(crate) fn verify_pss(
    key: &Rsa,
    combined: Option<MechanismType>,
    params: &Params,
    input: Input<'_>,
    signature: &[u8],
) -> Result<(), OpError> {
    let (params, hashes, salt) = pss(key, combined, params)?;
    with_digest(params.hash, pss_input(combined, input), |digest| {
        check_signature_length(key, signature)?;
        key.verify_pss(hashes, salt, digest, signature)
            .ok_or(OpError::Signature)
    })
}

/// One half of raw RSA (PKCS#11 3.2, CKM_RSA_X_509). Shorter input stands for the number with zeros before it; `error`
/// is the code for a number that is not less than the modulus.
pub(crate) fn raw(key: &Rsa, half: RsaHalf, data: &[u8], error: OpError, out: &mut Vec<u8>) -> Result<(), OpError> {
    let bytes = key.bytes();
    let mut padded = Zeroizing::new([0; MAX_BYTES]);
    let padded = &mut padded[..bytes];
    let at = bytes.checked_sub(data.len()).ok_or(OpError::DataLength)?;
    padded[at..].copy_from_slice(data);
    append(out, bytes, |target| key.raw(half, padded, target).ok_or(error))
}

/// Whether raw RSA brings the data back from a signature (3.2, CKM_RSA_X_509: the data may be shorter than the modulus).
pub(crate) fn verify_raw(key: &Rsa, data: &[u8], signature: &[u8]) -> Result<(), OpError> {
    check_signature_length(key, signature)?;
    let at = key.bytes().checked_sub(data.len()).ok_or(OpError::DataLength)?;
    let mut recovered = [0; MAX_BYTES];
    let recovered = &mut recovered[..key.bytes()];
    key.raw(RsaHalf::Public, signature, recovered)
        .ok_or(OpError::Signature)?;
    let (zeros, found) = recovered.split_at(at);
    if zeros.iter().all(|byte| *byte == 0) && seal::equal(found, data) {
        Ok(())
    } else {
        Err(OpError::Signature)
    }
}

/// What a PKCS #1 v1.5 signature was made of, without its padding.
pub(crate) fn recover_pkcs1(key: &Rsa, signature: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    check_signature_length(key, signature)?;
    let mut recovered = [0; MAX_BYTES];
    let length = key
        .recover(signature, &mut recovered[..key.bytes()])
        .ok_or(OpError::Signature)?;
    out.extend_from_slice(&recovered[..length]);
    Ok(())
}

/// What a raw RSA signature was made of, with the zeros before it.
pub(crate) fn recover_raw(key: &Rsa, signature: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    check_signature_length(key, signature)?;
    raw(key, RsaHalf::Public, signature, OpError::Signature, out)
}

/// RSAES-OAEP (RFC 8017, 7.1).
pub(crate) fn oaep(key: &Rsa, way: Way, params: &Params, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let Params::Oaep(OaepParams { hash, mgf, label }) = params else {
        return Err(OpError::Parameter);
    };
    let hash_bytes = digest_length(*hash).ok_or(OpError::Parameter)?;
    let mgf = mgf_hash(*mgf).ok_or(OpError::Parameter)?;
    let hashes = RsaHashes { hash: *hash, mgf };
    let room = key.bytes().checked_sub(2 * hash_bytes + 2).ok_or(OpError::KeySize)?;
    match way {
        Way::Encrypt if data.len() > room => Err(OpError::DataLength),
        Way::Encrypt => append(out, key.bytes(), |target| {
            let length = key.oaep(way, hashes, label, data, target);
            (length == Some(key.bytes())).then_some(()).ok_or(OpError::Failed)
        }),
        Way::Decrypt if data.len() != key.bytes() => Err(OpError::EncryptedLength),
        Way::Decrypt => {
            let mut plain = Zeroizing::new([0; MAX_BYTES]);
            let length = key.oaep(way, hashes, label, data, &mut plain[..key.bytes()]);
            let length = length.ok_or(OpError::Encrypted)?;
            out.extend_from_slice(&plain[..length]);
            Ok(())
        }
    }
}
