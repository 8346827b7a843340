//! Encrypt and Decrypt with a key of the token: AES-GCM as the API lays it out. Runs on the threads of the module.

use super::super::error::ErrorName;
use super::super::wire::{self, Encrypted, TAG};
use super::keys::{Keys, Need};
use super::refusal::Refusal;
use super::request::{Ciphertext, Plaintext, authenticated};
use crate::module::{ModuleError, Worker};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use zeroize::Zeroizing;

/// The form of what is authenticated, kept with each ciphertext, so that another form can come later.
const FORM: [u8; 1] = [1];
/// The length of the vectors made here, in bytes.
const VECTOR: usize = 12;

type Outcome = Result<Result<Zeroizing<Vec<u8>>, Refusal>, ModuleError>;

/// The body of the answer to Encrypt. With an integrity value: computed first, and then what it speaks of is decrypted and
/// compared, so that whatever is damaged in memory from here on shows.
pub(super) fn encrypt(keys: &Keys, worker: &mut Worker, name: &str, wanted: &Plaintext) -> Outcome {
    let need = Need {
        encrypt: true,
        decrypt: wanted.integrity,
    };
    let done = keys.with(worker, name, need, |worker, key| {
        let aad = match authenticated(&wanted.aad, &FORM) {
            Ok(aad) => aad,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut iv = [0; VECTOR];
        worker.session()?.generate_random_slice(&mut iv)?;
        let sealed = seal(worker, key.handle, &mut iv.clone(), &aad, &wanted.plaintext)?;
        let Some((ciphertext, tag)) = sealed.split_last_chunk::<TAG>() else {
            return Ok(Err(DAMAGED));
        };
        if !wanted.integrity {
            return Ok(Ok(answer(ciphertext, &iv, tag, None)));
        }
        let value = wire::integrity(&wanted.aad, &FORM, &iv, ciphertext, tag);
        let opened = open(worker, key.handle, &mut iv.clone(), &aad, &sealed);
        match opened {
            Ok(opened) if verify_slices_are_equal(&opened, &wanted.plaintext).is_ok() => {
                Ok(Ok(answer(ciphertext, &iv, tag, Some(value))))
            }
            Ok(_) => Ok(Err(DAMAGED)),
            Err(error) if error.rv() == Some(RvError::EncryptedDataInvalid) => Ok(Err(DAMAGED)),
            Err(error) => Err(error),
        }
    });
    done.map(|done| done.and_then(|answer| answer))
}

const DAMAGED: Refusal = Refusal::new(
    ErrorName::Internal,
    "what was encrypted did not decrypt to the plaintext",
);

fn answer(ciphertext: &[u8], iv: &[u8], tag: &[u8], integrity: Option<[u8; 32]>) -> Zeroizing<Vec<u8>> {
    let [ciphertext, iv, tag, metadata] = [ciphertext, iv, tag, &FORM].map(wire::text);
    let value = integrity.map(|value| wire::text(&value));
    let answer = Encrypted {
        ciphertext: ciphertext.as_str().into(),
        initialization_vector: iv.as_str().into(),
        authentication_tag: tag.as_str().into(),
        ciphertext_metadata: Some(metadata.as_str().into()),
        ciphertext_data_integrity_value: value.as_ref().map(|text| text.as_str().into()),
    };
    // Strings always serialise.
    Zeroizing::new(serde_json::to_vec(&answer).unwrap_or_default())
}

/// The body of the answer to Decrypt.
pub(super) fn decrypt(keys: &Keys, worker: &mut Worker, name: &str, wanted: &Ciphertext) -> Outcome {
    let need = Need {
        encrypt: false,
        decrypt: true,
    };
    let done = keys.with(worker, name, need, |worker, key| {
        let plaintext = open(
            worker,
            key.handle,
            &mut wanted.iv.clone(),
            &wanted.authenticated,
            &wanted.sealed,
        )?;
        let text = wire::text(&plaintext);
        let mut body = Zeroizing::new(Vec::with_capacity(text.len() + 20));
        // Base64 needs no escapes in JSON; written by hand, so that it is in this buffer only.
        for part in [b"{\"plaintext\":\"".as_slice(), text.as_bytes(), b"\"}"] {
            body.extend_from_slice(part);
        }
        Ok(Ok(body))
    });
    done.map(|done| done.and_then(|answer| answer))
}

/// Encrypts; the tag is behind the ciphertext.
pub(super) fn seal(
    worker: &mut Worker,
    key: ObjectHandle,
    iv: &mut [u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, ModuleError> {
    let mechanism = Mechanism::AesGcm(GcmParams::new(iv, aad, TAG_BITS.into())?);
    Ok(worker.session()?.encrypt(&mechanism, key, plaintext)?)
}

/// Decrypts a ciphertext with its tag behind it.
pub(super) fn open(
    worker: &mut Worker,
    key: ObjectHandle,
    iv: &mut [u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, ModuleError> {
    let mechanism = Mechanism::AesGcm(GcmParams::new(iv, aad, TAG_BITS.into())?);
    Ok(worker.session()?.decrypt(&mechanism, key, sealed).map(Zeroizing::new)?)
}

const TAG_BITS: u64 = 128;
