//! AES modes (PKCS#11 3.2, 6.10 to 6.13): ECB, CBC, CBC with padding, CTR, GCM, CCM; the others have files of their own ([`super::cts`],
//! [`super::xts`], [`super::keywrap`]); and ChaCha20 with Poly1305 (6.61).

use super::symmetric::Symmetric;
use super::{append, cts, des3, keywrap, padding, xts};
use crate::engine::{self, Aead, AeadKind, Aes, Block, Way, ccm_open, ccm_seal};
use crate::error::OpError;
use hsmd_proto::mechanism::Family;
use hsmd_proto::params::{CcmParams, ChaChaParams, CtrParams, GcmParams, Params};
use zeroize::Zeroize;

/// Whether [`crypt`] knows the family.
pub(crate) const fn is_cipher(family: Family) -> bool {
    matches!(
        family,
        Family::AesEcb
            | Family::AesCbc
            | Family::AesCbcPad
            | Family::AesCts
            | Family::AesCtr
            | Family::AesXts
            | Family::AesGcm
            | Family::AesCcm
            | Family::ChaChaPoly
            | Family::AesKw
            | Family::AesKwp
            | Family::Des3Ecb
            | Family::Des3Cbc
            | Family::Des3CbcPad
    )
}

/// Encrypts or decrypts with a secret key.
pub(crate) fn crypt(
    key: &Symmetric,
    family: Family,
    way: Way,
    params: &Params,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), OpError> {
    match (family, params) {
        (Family::AesEcb, Params::None) => ecb(key.value().expose(), way, data, out),
        (Family::AesCbc, Params::Iv(iv)) => cbc(key.aes()?, way, iv, data, out),
        (Family::AesCbcPad, Params::Iv(iv)) => match way {
            Way::Encrypt => cbc_pad(key.aes()?, iv, data, out),
            Way::Decrypt => cbc_unpad(key.aes()?, iv, data, out),
        },
        (Family::AesCts, Params::Iv(iv)) => cts::crypt(key.aes()?, way, iv, data, out),
        (Family::AesXts, Params::Iv(iv)) => xts::crypt(key.value().expose(), way, iv, data, out),
        (Family::AesCtr, Params::Ctr(ctr)) => self::ctr(key.aes()?, way, ctr, data, out),
        (Family::AesGcm, Params::Gcm(gcm)) => match way {
            Way::Encrypt => gcm_seal(key, gcm, &gcm.aad, data, out),
            Way::Decrypt => gcm_open(key, gcm, data, out),
        },
        (Family::AesCcm, Params::Ccm(ccm)) => self::ccm(key, way, ccm, data, out),
        (Family::ChaChaPoly, Params::ChaCha(chacha)) => self::chacha(key, way, chacha, data, out),
        (Family::AesKw, Params::None | Params::Iv(_)) => keywrap::kw(key.aes()?, way, params, data, out),
        (Family::AesKwp, Params::None | Params::Iv(_)) => keywrap::kwp(key.aes()?, way, params, data, out),
        (Family::Des3Ecb | Family::Des3Cbc | Family::Des3CbcPad, _) => {
            des3::crypt(key, (family, way), params, data, out)
        }
        (Family::RsaOaep | Family::RsaRaw, _) => Err(OpError::KeyType),
        (family, _) if is_cipher(family) => Err(OpError::Parameter),
        _ => Err(OpError::Mechanism),
    }
}

/// The code for a partial block.
const fn partial(way: Way) -> OpError {
    match way {
        Way::Encrypt => OpError::DataLength,
        Way::Decrypt => OpError::EncryptedLength,
    }
}

fn iv_of(iv: &[u8]) -> Result<Block, OpError> {
    iv.try_into().map_err(|_| OpError::Parameter)
}

fn ecb(key: &[u8], way: Way, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    if !data.len().is_multiple_of(16) {
        return Err(partial(way));
    }
    append(out, data.len(), |target| {
        target.copy_from_slice(data);
        engine::ecb(key, way, target).ok_or(OpError::KeySize)
    })
}

fn cbc(aes: &Aes, way: Way, iv: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let mut iv = iv_of(iv)?;
    if !data.len().is_multiple_of(16) {
        return Err(partial(way));
    }
    append(out, data.len(), |target| {
        aes.cbc(way, &mut iv, data, target).ok_or(OpError::Failed)
    })
}

fn cbc_pad(aes: &Aes, iv: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let mut iv = iv_of(iv)?;
    let (whole, rest) = data.split_at(data.len() / 16 * 16);
    let last = padding::last_block::<16>(rest);
    append(out, whole.len() + 16, |target| {
        let (front, back) = target.split_at_mut(whole.len());
        aes.cbc(Way::Encrypt, &mut iv, whole, front).ok_or(OpError::Failed)?;
        aes.cbc(Way::Encrypt, &mut iv, &*last, back).ok_or(OpError::Failed)
    })
}

fn cbc_unpad(aes: &Aes, iv: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let mut iv = iv_of(iv)?;
    if data.is_empty() || !data.len().is_multiple_of(16) {
        return Err(OpError::EncryptedLength);
    }
    let start = out.len();
    let mut kept = 0;
    append(out, data.len(), |target| {
        aes.cbc(Way::Decrypt, &mut iv, data, target).ok_or(OpError::Failed)?;
        kept = padding::unpadded_length::<16>(target).ok_or(OpError::Encrypted)?;
        target[kept..].zeroize();
        Ok(())
    })?;
    out.truncate(start + kept);
    Ok(())
}

fn ctr(aes: &Aes, way: Way, params: &CtrParams, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    if !(1..=128).contains(&params.counter_bits) {
        return Err(OpError::Parameter);
    }
    // The counter's low bits must not wrap (SP 800-38A, B.1), so the full-width counter of the engine does as well.
    let counter = u128::from_be_bytes(params.block);
    let most = u128::MAX >> (128 - params.counter_bits);
    let blocks = data.len().div_ceil(16) as u128;
    if blocks > 0 && blocks - 1 > most - (counter & most) {
        return Err(partial(way));
    }
    let mut block = params.block;
    append(out, data.len(), |target| {
        aes.ctr(&mut block, data, target).ok_or(OpError::Failed)
    })
}

/// The tag's length in bytes, and the IV's checked (DESIGN 8: at least 96 bits, never empty).
fn gcm_tag(params: &GcmParams) -> Result<usize, OpError> {
    let fits = matches!(params.tag_bits, 96 | 104 | 112 | 120 | 128) && (1..=256).contains(&params.iv.len());
    if fits {
        Ok(params.tag_bits as usize / 8)
    } else {
        Err(OpError::Parameter)
    }
}

pub(super) fn gcm_seal(
    key: &Symmetric,
    params: &GcmParams,
    aad: &[u8],
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), OpError> {
    let tag = gcm_tag(params)?;
    let aead = key.gcm()?;
    append(out, data.len() + 16, |target| {
        aead.run(Way::Encrypt, &params.iv, aad, data, target)
            .ok_or(OpError::Failed)
    })?;
    // A shorter tag is the front of the long one (SP 800-38D, 7.1).
    out.truncate(out.len() - (16 - tag));
    Ok(())
}

fn gcm_open(key: &Symmetric, params: &GcmParams, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let tag = gcm_tag(params)?;
    let length = data.len().checked_sub(tag).ok_or(OpError::EncryptedLength)?;
    append(out, length, |target| {
        let opened = if tag == 16 {
            key.gcm()?.run(Way::Decrypt, &params.iv, &params.aad, data, target)
        } else {
            key.gcm_with_tag(tag)?
                .run(Way::Decrypt, &params.iv, &params.aad, data, target)
        };
        opened.ok_or(OpError::Encrypted)
    })
}

/// CCM (SP 800-38C): the tag follows the text. The parameter has said how long the text is.
fn ccm(key: &Symmetric, way: Way, params: &CcmParams, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let (key, tag) = (key.value().expose(), params.mac_length as usize);
    let fits = matches!(tag, 8 | 10 | 12 | 14 | 16) && (7..=13).contains(&params.nonce.len());
    if !fits {
        return Err(OpError::Parameter);
    }
    if !matches!(key.len(), 16 | 24 | 32) {
        return Err(OpError::KeySize);
    }
    let text = match way {
        Way::Encrypt => Some(data.len()),
        Way::Decrypt => data.len().checked_sub(tag),
    };
    let text = text
        .filter(|text| *text as u64 == params.data_length)
        .ok_or(partial(way))?;
    let (nonce, aad) = (&params.nonce[..], &params.aad[..]);
    match way {
        Way::Encrypt => append(out, text + tag, |target| {
            let (front, back) = target.split_at_mut(text);
            ccm_seal(key, nonce, aad, data, front, back).ok_or(OpError::Failed)
        }),
        Way::Decrypt => append(out, text, |target| {
            let (data, tag) = data.split_at(text);
            ccm_open(key, nonce, aad, data, tag, target).ok_or(OpError::Encrypted)
        }),
    }
}

/// ChaCha20 and Poly1305 (RFC 8439): a tag of 16 bytes follows the text.
fn chacha(key: &Symmetric, way: Way, params: &ChaChaParams, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    if params.nonce.len() != 12 {
        return Err(OpError::Parameter);
    }
    let aead = Aead::new(AeadKind::ChaCha, key.value().expose(), 16).ok_or(OpError::KeySize)?;
    let (length, error) = match way {
        Way::Encrypt => (data.len() + 16, OpError::Failed),
        Way::Decrypt => (
            data.len().checked_sub(16).ok_or(OpError::EncryptedLength)?,
            OpError::Encrypted,
        ),
    };
    append(out, length, |target| {
        aead.run(way, &params.nonce, &params.aad, data, target).ok_or(error)
    })
}
