//! Encryption, data keys and random bytes.

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeyPairSpec, DataKeySpec, EncryptionAlgorithmSpec, KeySpec, KeyUsageType};

use super::{described, key_of, new_key, opened};
use crate::ask::{Failure, given, program, refused};

pub(super) async fn symmetric(client: &Client) -> Result<(), Failure> {
    let (key, other) = (new_key(client).await?, new_key(client).await?);
    let arn = described(client, &key).await?.arn().map(str::to_owned);
    for text in [vec![1], vec![7; 4096]] {
        let encrypt = client.encrypt().key_id(&key).plaintext(Blob::new(text.clone()));
        let made = encrypt
            .encryption_context("purpose", "test")
            .encryption_context("a", "")
            .send()
            .await?;
        assert_eq!(
            (made.key_id(), made.encryption_algorithm()),
            (arn.as_deref(), Some(&EncryptionAlgorithmSpec::SymmetricDefault))
        );
        let blob = given(made.ciphertext_blob(), "CiphertextBlob")?.clone();
        let bare = client.decrypt().ciphertext_blob(blob.clone());
        let decrypt = bare
            .clone()
            .encryption_context("a", "")
            .encryption_context("purpose", "test");
        let answer = decrypt.clone().send().await?;
        assert_eq!(
            (answer.key_id(), given(answer.plaintext(), "Plaintext")?.as_ref()),
            (arn.as_deref(), text.as_slice())
        );
        refused!(bare.clone(), is_invalid_ciphertext_exception);
        refused!(
            bare.encryption_context("purpose", "test"),
            is_invalid_ciphertext_exception
        );
        refused!(decrypt.clone().key_id(&other), is_incorrect_key_exception);
        for at in [0, 5, 20, blob.as_ref().len() - 1] {
            let mut changed = blob.as_ref().to_vec();
            changed[at] ^= 1;
            refused!(
                decrypt.clone().ciphertext_blob(Blob::new(changed)),
                is_invalid_ciphertext_exception
            );
        }
        let moved = client
            .re_encrypt()
            .ciphertext_blob(blob)
            .source_encryption_context("a", "")
            .source_encryption_context("purpose", "test")
            .destination_key_id(&other)
            .destination_encryption_context("now", "here")
            .send()
            .await?;
        assert_eq!(moved.source_key_id(), arn.as_deref());
        let blob = given(moved.ciphertext_blob(), "CiphertextBlob")?.clone();
        let answer = client
            .decrypt()
            .ciphertext_blob(blob)
            .encryption_context("now", "here")
            .send()
            .await?;
        assert_eq!(given(answer.plaintext(), "Plaintext")?.as_ref(), text);
    }
    let encrypt = client.encrypt().key_id(&key).plaintext(Blob::new("x"));
    refused!(encrypt.clone().dry_run(true), is_dry_run_operation_exception);
    refused!(encrypt.clone().plaintext(Blob::new(vec![0; 6145])), code "ValidationException");
    refused!(encrypt.grant_tokens("nonsense"), is_invalid_grant_token_exception);
    Ok(())
}

pub(super) async fn data_keys(client: &Client) -> Result<(), Failure> {
    let key = new_key(client).await?;
    let made = client
        .generate_data_key()
        .key_id(&key)
        .key_spec(DataKeySpec::Aes256)
        .send()
        .await?;
    let plain = given(made.plaintext(), "Plaintext")?;
    assert_eq!(plain.as_ref().len(), 32);
    assert_eq!(
        &opened(client, given(made.ciphertext_blob(), "CiphertextBlob")?).await?,
        plain
    );
    let hidden = client
        .generate_data_key_without_plaintext()
        .key_id(&key)
        .number_of_bytes(64)
        .send()
        .await?;
    let plain = opened(client, given(hidden.ciphertext_blob(), "CiphertextBlob")?).await?;
    assert_eq!(plain.as_ref().len(), 64);
    refused!(client.generate_data_key().key_id(&key), code "ValidationException");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let random = client.generate_random().number_of_bytes(32).send().await?;
        seen.insert(given(random.plaintext, "Plaintext")?.into_inner());
    }
    assert!(seen.len() == 8 && seen.iter().all(|one| one.len() == 32));
    Ok(())
}

pub(super) async fn data_key_pairs(client: &Client) -> Result<(), Failure> {
    let key = new_key(client).await?;
    let make = client.generate_data_key_pair().key_id(&key);
    for spec in [
        DataKeyPairSpec::Rsa2048,
        DataKeyPairSpec::EccNistP256,
        DataKeyPairSpec::EccNistP521,
    ] {
        let made = make.clone().key_pair_spec(spec.clone()).send().await?;
        assert_eq!(made.key_pair_spec(), Some(&spec));
        let private = given(made.private_key_plaintext(), "PrivateKeyPlaintext")?;
        let blob = given(made.private_key_ciphertext_blob(), "PrivateKeyCiphertextBlob")?;
        assert_eq!(&opened(client, blob).await?, private);
        belongs(private, given(made.public_key(), "PublicKey")?)?;
    }
    let hidden = client.generate_data_key_pair_without_plaintext().key_id(&key);
    let hidden = hidden.key_pair_spec(DataKeyPairSpec::EccNistP384).send().await?;
    let blob = given(hidden.private_key_ciphertext_blob(), "PrivateKeyCiphertextBlob")?;
    belongs(&opened(client, blob).await?, given(hidden.public_key(), "PublicKey")?)?;
    refused!(
        make.key_pair_spec(DataKeyPairSpec::Sm2),
        is_unsupported_operation_exception
    );
    let rsa = key_of(client, KeySpec::Rsa2048, KeyUsageType::EncryptDecrypt).await?;
    let wrong = client
        .generate_data_key_pair()
        .key_id(rsa)
        .key_pair_spec(DataKeyPairSpec::Rsa2048);
    refused!(wrong, is_invalid_key_usage_exception);
    Ok(())
}

/// What OpenSSL says is the public key of a private one.
fn belongs(private: &Blob, public: &Blob) -> Result<(), Failure> {
    let found = program(
        "openssl",
        &["pkey", "-inform", "DER", "-pubout", "-outform", "DER"],
        private.as_ref(),
    )?;
    assert_eq!(found, public.as_ref(), "another public key");
    Ok(())
}

pub(super) async fn oaep(client: &Client) -> Result<(), Failure> {
    let key = key_of(client, KeySpec::Rsa2048, KeyUsageType::EncryptDecrypt).await?;
    for algorithm in [
        EncryptionAlgorithmSpec::RsaesOaepSha1,
        EncryptionAlgorithmSpec::RsaesOaepSha256,
    ] {
        let encrypt = client.encrypt().key_id(&key).plaintext(Blob::new("hello"));
        let made = encrypt.encryption_algorithm(algorithm.clone()).send().await?;
        let blob = given(made.ciphertext_blob(), "CiphertextBlob")?.clone();
        assert_eq!(blob.as_ref().len(), 256);
        let decrypt = client.decrypt().key_id(&key).encryption_algorithm(algorithm);
        let answer = decrypt.clone().ciphertext_blob(blob.clone()).send().await?;
        assert_eq!(given(answer.plaintext(), "Plaintext")?.as_ref(), b"hello");
        let mut changed = blob.into_inner();
        changed[255] ^= 1;
        refused!(
            decrypt.ciphertext_blob(Blob::new(changed)),
            is_invalid_ciphertext_exception
        );
    }
    let encrypt = client.encrypt().key_id(&key).plaintext(Blob::new("x"));
    refused!(encrypt, is_invalid_key_usage_exception);
    Ok(())
}
