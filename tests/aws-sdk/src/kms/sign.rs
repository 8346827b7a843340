//! Signatures, which OpenSSL checks too, authentication codes, and key agreement.

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyAgreementAlgorithmSpec, KeySpec, KeyUsageType, MacAlgorithmSpec, MessageType};
use aws_sdk_kms::types::{OriginType, SigningAlgorithmSpec};

use super::{key_of, new_key};
use crate::ask::{Failure, given, program, refused};

/// Key, algorithm, what OpenSSL calls its digest, further options of OpenSSL.
type Row = (KeySpec, SigningAlgorithmSpec, &'static str, &'static [&'static str]);

const PSS: &[&str] = &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];

fn rows() -> [Row; 7] {
    [
        (
            KeySpec::Rsa2048,
            SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
            "-sha256",
            &[],
        ),
        (KeySpec::Rsa2048, SigningAlgorithmSpec::RsassaPssSha384, "-sha384", PSS),
        (KeySpec::Rsa3072, SigningAlgorithmSpec::RsassaPssSha512, "-sha512", PSS),
        (KeySpec::EccNistP256, SigningAlgorithmSpec::EcdsaSha256, "-sha256", &[]),
        (KeySpec::EccNistP384, SigningAlgorithmSpec::EcdsaSha384, "-sha384", &[]),
        (KeySpec::EccNistP521, SigningAlgorithmSpec::EcdsaSha512, "-sha512", &[]),
        (
            KeySpec::EccSecgP256K1,
            SigningAlgorithmSpec::EcdsaSha256,
            "-sha256",
            &[],
        ),
    ]
}

pub(super) async fn signatures(client: &Client) -> Result<(), Failure> {
    let message = Blob::new(vec![42; 1000]);
    for (spec, algorithm, digest, options) in rows() {
        let key = key_of(client, spec.clone(), KeyUsageType::SignVerify).await?;
        let public = client.get_public_key().key_id(&key).send().await?;
        assert_eq!(
            (public.key_spec(), public.key_usage()),
            (Some(&spec), Some(&KeyUsageType::SignVerify))
        );
        assert!(public.signing_algorithms().contains(&algorithm), "{public:?}");
        let sign = client.sign().key_id(&key).signing_algorithm(algorithm.clone());
        let made = sign.clone().message(message.clone()).send().await?;
        let signature = given(made.signature(), "Signature")?;
        let hashed = Blob::new(program("openssl", &["dgst", "-binary", digest], message.as_ref())?);
        let verify = client
            .verify()
            .key_id(&key)
            .signing_algorithm(algorithm.clone())
            .signature(signature.clone());
        let good = verify
            .clone()
            .message(hashed.clone())
            .message_type(MessageType::Digest)
            .send()
            .await?;
        assert!(good.signature_valid(), "{good:?}");
        assert!(verify.clone().message(message.clone()).send().await?.signature_valid());
        refused!(verify.message(Blob::new("other")), is_kms_invalid_signature_exception);
        let of_digest = sign
            .clone()
            .message(hashed)
            .message_type(MessageType::Digest)
            .send()
            .await?;
        assert_eq!(of_digest.signing_algorithm(), Some(&algorithm));
        let short = sign.message(Blob::new("x")).message_type(MessageType::Digest);
        refused!(short, code "ValidationException");
        let (public, signature) = (given(public.public_key(), "PublicKey")?, signature.as_ref());
        verified_by_openssl(public.as_ref(), message.as_ref(), signature, digest, options)?;
        let other_use = client.encrypt().key_id(&key).plaintext(Blob::new("x"));
        refused!(other_use, is_invalid_key_usage_exception);
    }
    let symmetric = new_key(client).await?;
    refused!(
        client.get_public_key().key_id(&symmetric),
        is_unsupported_operation_exception
    );
    let sign = client
        .sign()
        .key_id(&symmetric)
        .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
    refused!(sign.message(Blob::new("x")), is_invalid_key_usage_exception);
    Ok(())
}

fn verified_by_openssl(
    public: &[u8],
    message: &[u8],
    signature: &[u8],
    digest: &str,
    options: &[&str],
) -> Result<(), Failure> {
    std::fs::write("public.der", public)?;
    std::fs::write("signature", signature)?;
    let mut words = vec![
        "dgst",
        digest,
        "-keyform",
        "DER",
        "-verify",
        "public.der",
        "-signature",
        "signature",
    ];
    words.extend_from_slice(options);
    program("openssl", &words, message).map(|_| ())
}

pub(super) async fn macs(client: &Client) -> Result<(), Failure> {
    let rows = [
        (KeySpec::Hmac224, MacAlgorithmSpec::HmacSha224, 28),
        (KeySpec::Hmac256, MacAlgorithmSpec::HmacSha256, 32),
        (KeySpec::Hmac384, MacAlgorithmSpec::HmacSha384, 48),
        (KeySpec::Hmac512, MacAlgorithmSpec::HmacSha512, 64),
    ];
    for (spec, algorithm, length) in rows {
        let key = key_of(client, spec, KeyUsageType::GenerateVerifyMac).await?;
        let make = client
            .generate_mac()
            .key_id(&key)
            .mac_algorithm(algorithm.clone())
            .message(Blob::new("message"));
        let mac = given(make.send().await?.mac, "Mac")?;
        assert_eq!(mac.as_ref().len(), length);
        let verify = client.verify_mac().key_id(&key).mac_algorithm(algorithm).mac(mac);
        assert!(verify.clone().message(Blob::new("message")).send().await?.mac_valid());
        refused!(verify.message(Blob::new("another")), is_kms_invalid_mac_exception);
    }
    Ok(())
}

/// Two keys of KMS agree with each other.
pub(super) async fn agreement(client: &Client) -> Result<(), Failure> {
    for spec in [KeySpec::EccNistP256, KeySpec::EccNistP384, KeySpec::EccNistP521] {
        let mut keys = Vec::new();
        for _ in 0..2 {
            let key = key_of(client, spec.clone(), KeyUsageType::KeyAgreement).await?;
            let public = client.get_public_key().key_id(&key).send().await?;
            assert_eq!(public.key_agreement_algorithms(), [KeyAgreementAlgorithmSpec::Ecdh]);
            keys.push((key, given(public.public_key, "PublicKey")?));
        }
        let mut secrets = Vec::new();
        for (mine, theirs) in [(0, 1), (1, 0)] {
            let derive = client.derive_shared_secret().key_id(&keys[mine].0);
            let derive = derive.key_agreement_algorithm(KeyAgreementAlgorithmSpec::Ecdh);
            let made = derive.clone().public_key(keys[theirs].1.clone()).send().await?;
            assert_eq!(made.key_origin(), Some(&OriginType::AwsKms));
            secrets.push(given(made.shared_secret, "SharedSecret")?);
            refused!(derive.public_key(Blob::new("x")), code "ValidationException");
        }
        assert_eq!(secrets[0], secrets[1]);
    }
    Ok(())
}
