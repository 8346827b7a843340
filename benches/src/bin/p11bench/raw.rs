//! The primitive alone: aws-lc through aws-lc-rs, without module, socket, daemon or policy. What the rows of a module
//! cost beyond it is the product's own.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::digest::{self, Digest, SHA256, SHA384};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey,
    Pkcs1PublicEncryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{agreement, hmac, rand};

/// One call.
pub(crate) type Call = Box<dyn FnMut() -> Result<(), Unspecified>>;

/// Whether a row has a primitive.
pub(crate) fn has(row: &str) -> bool {
    PRIMITIVES.contains(&row)
}

const PRIMITIVES: [&str; 18] = [
    "sign-rsa2048",
    "sign-rsa4096",
    "sign-p256",
    "sign-p384",
    "sign-ed25519",
    "decrypt-oaep2048",
    "decrypt-pkcs1-2048",
    "ecdh-p256",
    "aes-gcm-1k",
    "aes-gcm-64k",
    "aes-gcm-decrypt-1k",
    "aes-cbc-16k",
    "hmac-sha256-1k",
    "sha256-1k",
    "random-32",
    "keygen-aes-session",
    "keygen-p256-session",
    "keygen-rsa2048-session",
];

/// The primitive of a row; nothing for a row that is no operation of a key.
pub(crate) fn prepare(row: &str) -> Result<Option<Call>, Unspecified> {
    Ok(Some(match row {
        "sign-rsa2048" => rsa(KeySize::Rsa2048)?,
        "sign-rsa4096" => rsa(KeySize::Rsa4096)?,
        "sign-p256" => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, &SHA256)?,
        "sign-p384" => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, &SHA384)?,
        "sign-ed25519" => {
            let key = Ed25519KeyPair::generate()?;
            Box::new(move || {
                std::hint::black_box(key.sign(&[0x5a; 32]));
                Ok(())
            })
        }
        "decrypt-oaep2048" => oaep()?,
        "decrypt-pkcs1-2048" => pkcs1()?,
        "ecdh-p256" => ecdh()?,
        "aes-gcm-1k" => seal(1 << 10)?,
        "aes-gcm-64k" => seal(64 << 10)?,
        "aes-gcm-decrypt-1k" => open()?,
        "aes-cbc-16k" => cbc(16 << 10)?,
        "hmac-sha256-1k" => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
            Box::new(move || {
                std::hint::black_box(hmac::sign(&key, &[0x5a; 1 << 10]));
                Ok(())
            })
        }
        "sha256-1k" => Box::new(|| {
            std::hint::black_box(digest::digest(&SHA256, &[1; 1 << 10]));
            Ok(())
        }),
        "random-32" | "keygen-aes-session" => Box::new(|| {
            let mut output = [0; 32];
            rand::fill(&mut output)?;
            std::hint::black_box(&output);
            Ok(())
        }),
        "keygen-p256-session" => Box::new(|| {
            std::hint::black_box(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?);
            Ok(())
        }),
        "keygen-rsa2048-session" => Box::new(|| {
            std::hint::black_box(RsaKeyPair::generate(KeySize::Rsa2048)?);
            Ok(())
        }),
        _ => return Ok(None),
    }))
}

fn rsa(size: KeySize) -> Result<Call, Unspecified> {
    let key = RsaKeyPair::generate(size)?;
    let digest = Digest::import_less_safe(&[0x5a; 32], &SHA256)?;
    let mut signature = vec![0; key.public_modulus_len()];
    Ok(Box::new(move || {
        key.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature)
    }))
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, hash: &'static digest::Algorithm) -> Result<Call, Unspecified> {
    let key = EcdsaKeyPair::generate(algorithm)?;
    let digest = digest::digest(hash, &[0x5a; 32]);
    Ok(Box::new(move || {
        key.sign_digest(&digest)
            .map(|signature| _ = std::hint::black_box(signature))
    }))
}

fn oaep() -> Result<Call, Unspecified> {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048)?;
    let public = OaepPublicEncryptingKey::new(key.public_key())?;
    let mut ciphertext = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA1_MGF1SHA1, &[7; 32], &mut ciphertext, None)?;
    let key = OaepPrivateDecryptingKey::new(key)?;
    let mut plain = vec![0; key.min_output_size()];
    Ok(Box::new(move || {
        key.decrypt(&OAEP_SHA1_MGF1SHA1, &ciphertext, &mut plain, None)
            .map(|_| ())
    }))
}

fn pkcs1() -> Result<Call, Unspecified> {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048)?;
    let public = Pkcs1PublicEncryptingKey::new(key.public_key())?;
    let mut ciphertext = vec![0; public.ciphertext_size()];
    public.encrypt(&[7; 32], &mut ciphertext)?;
    let key = Pkcs1PrivateDecryptingKey::new(key)?;
    let mut plain = vec![0; key.min_output_size()];
    Ok(Box::new(move || key.decrypt(&ciphertext, &mut plain).map(|_| ())))
}

fn ecdh() -> Result<Call, Unspecified> {
    let key = agreement::PrivateKey::generate(&agreement::ECDH_P256)?;
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let point = other.public_key().as_ref().to_vec();
    Ok(Box::new(move || {
        let public = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, &point);
        agreement::agree(&key, public, Unspecified, |secret| {
            std::hint::black_box(secret);
            Ok(())
        })
    }))
}

fn gcm() -> Result<LessSafeKey, Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32])?))
}

/// Encrypts in place, over and over: one pass less over the data than a module, which has an input and an output.
fn seal(length: usize) -> Result<Call, Unspecified> {
    let (key, mut data, mut count) = (gcm()?, vec![1_u8; length], 0_u64);
    Ok(Box::new(move || {
        count += 1;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&count.to_le_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut data)
            .map(|tag| _ = std::hint::black_box(tag))
    }))
}

fn open() -> Result<Call, Unspecified> {
    let (key, mut sealed) = (gcm()?, vec![1_u8; 1 << 10]);
    let nonce = || Nonce::assume_unique_for_key([5; 12]);
    key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed)?;
    let mut room = sealed.clone();
    Ok(Box::new(move || {
        // Opening is in place: the ciphertext is put back first.
        room.copy_from_slice(&sealed);
        key.open_in_place(nonce(), Aad::empty(), &mut room).map(|_| ())
    }))
}

fn cbc(length: usize) -> Result<Call, Unspecified> {
    let key = EncryptingKey::cbc(UnboundCipherKey::new(&AES_256, &[7; 32])?)?;
    let mut data = vec![1_u8; length];
    Ok(Box::new(move || {
        let iv = EncryptionContext::Iv128(FixedLength::from([3; 16]));
        key.less_safe_encrypt(&mut data, iv).map(|_| ())
    }))
}

#[cfg(test)]
mod tests {
    use super::{PRIMITIVES, prepare};

    #[test]
    fn every_primitive_works() {
        // Two RSA-4096 keys would take seconds.
        for row in PRIMITIVES.iter().filter(|row| !row.contains("4096")) {
            let mut call = prepare(row).expect("a key").unwrap_or_else(|| panic!("{row}"));
            assert!((0..3).all(|_| call().is_ok()), "{row}");
        }
        assert!(prepare("session").expect("nothing fails").is_none());
    }
}
