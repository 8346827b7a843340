//! KMS: all operations of the API that the SDK knows.

mod crypt;
mod grants;
mod keys;
mod material;
mod sign;
mod stores;

use std::sync::Arc;

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyState, KeyUsageType};

use crate::ask::{Failure, given, refused};
use crate::endpoint::Endpoint;
use crate::tally::Tally;
use crate::tally::Wanted::{self, Answer, Refusal};

/// What is called.
pub(crate) const OPERATIONS: &[(&str, Wanted)] = &[
    ("CancelKeyDeletion", Answer),
    ("ConnectCustomKeyStore", Answer),
    ("CreateAlias", Answer),
    ("CreateCustomKeyStore", Answer),
    ("CreateGrant", Answer),
    ("CreateKey", Answer),
    ("Decrypt", Answer),
    ("DeleteAlias", Answer),
    ("DeleteCustomKeyStore", Answer),
    ("DeleteImportedKeyMaterial", Answer),
    ("DeriveSharedSecret", Answer),
    ("DescribeCustomKeyStores", Answer),
    ("DescribeKey", Answer),
    ("DisableKey", Answer),
    ("DisableKeyRotation", Answer),
    ("DisconnectCustomKeyStore", Answer),
    ("EnableKey", Answer),
    ("EnableKeyRotation", Answer),
    ("Encrypt", Answer),
    ("GenerateDataKey", Answer),
    ("GenerateDataKeyPair", Answer),
    ("GenerateDataKeyPairWithoutPlaintext", Answer),
    ("GenerateDataKeyWithoutPlaintext", Answer),
    ("GenerateMac", Answer),
    ("GenerateRandom", Answer),
    ("GetKeyLastUsage", Answer),
    ("GetKeyPolicy", Answer),
    ("GetKeyRotationStatus", Answer),
    ("GetParametersForImport", Answer),
    ("GetPublicKey", Answer),
    ("ImportKeyMaterial", Answer),
    ("ListAliases", Answer),
    ("ListGrants", Answer),
    ("ListKeyPolicies", Answer),
    ("ListKeyRotations", Answer),
    ("ListKeys", Answer),
    ("ListResourceTags", Answer),
    ("ListRetirableGrants", Answer),
    ("PutKeyPolicy", Answer),
    ("ReEncrypt", Answer),
    ("RetireGrant", Answer),
    ("RevokeGrant", Answer),
    ("RotateKeyOnDemand", Answer),
    ("ScheduleKeyDeletion", Answer),
    ("Sign", Answer),
    ("TagResource", Answer),
    ("UntagResource", Answer),
    ("UpdateAlias", Answer),
    ("UpdateCustomKeyStore", Answer),
    ("UpdateKeyDescription", Answer),
    ("Verify", Answer),
    ("VerifyMac", Answer),
    // There are no ML-KEM keys, and there is one region.
    ("Decapsulate", Refusal),
    ("Encapsulate", Refusal),
    ("ReplicateKey", Refusal),
    ("UpdatePrimaryRegion", Refusal),
];

/// Runs all scenarios.
///
/// # Errors
/// Of the first call that does not succeed.
pub(crate) async fn run(endpoint: Arc<Endpoint>, tally: Tally) -> Result<(), Failure> {
    let client = endpoint.kms(&tally);
    keys::life(&client).await?;
    keys::aliases(&client).await?;
    keys::tags_and_policies(&client).await?;
    crypt::symmetric(&client).await?;
    crypt::data_keys(&client).await?;
    crypt::data_key_pairs(&client).await?;
    crypt::oaep(&client).await?;
    sign::signatures(&client).await?;
    sign::macs(&client).await?;
    sign::agreement(&client).await?;
    grants::life(&client).await?;
    material::rotation(&client).await?;
    material::imported(&client).await?;
    what_is_not_served(&client).await?;
    stores::in_a_group(&client).await?;
    stores::behind_a_proxy(&client).await?;
    let stranger = endpoint.with_wrong_secret().kms(&tally);
    refused!(stranger.list_keys(), code "InvalidSignatureException");
    Ok(())
}

/// A key that encrypts, without anything else about it.
async fn new_key(client: &Client) -> Result<String, Failure> {
    let made = client.create_key().send().await?;
    Ok(given(made.key_metadata(), "KeyMetadata")?.key_id().to_owned())
}

async fn key_of(client: &Client, spec: KeySpec, usage: KeyUsageType) -> Result<String, Failure> {
    let made = client.create_key().key_spec(spec).key_usage(usage).send().await?;
    Ok(given(made.key_metadata(), "KeyMetadata")?.key_id().to_owned())
}

async fn described(client: &Client, key: &str) -> Result<KeyMetadata, Failure> {
    let found = client.describe_key().key_id(key).send().await?;
    given(found.key_metadata, "KeyMetadata")
}

async fn state(client: &Client, key: &str) -> Result<KeyState, Failure> {
    let found = described(client, key).await?;
    Ok(given(found.key_state(), "KeyState")?.clone())
}

async fn sealed(client: &Client, key: &str, text: &[u8]) -> Result<Blob, Failure> {
    let made = client.encrypt().key_id(key).plaintext(Blob::new(text)).send().await?;
    given(made.ciphertext_blob, "CiphertextBlob")
}

async fn opened(client: &Client, sealed: &Blob) -> Result<Blob, Failure> {
    let made = client.decrypt().ciphertext_blob(sealed.clone()).send().await?;
    given(made.plaintext, "Plaintext")
}

async fn what_is_not_served(client: &Client) -> Result<(), Failure> {
    use aws_sdk_kms::types::EncapsulationAlgorithmSpec::MlKem;
    let key = new_key(client).await?;
    let encapsulate = client.encapsulate().key_id(&key).encapsulation_algorithm(MlKem);
    refused!(encapsulate, is_invalid_key_usage_exception);
    let decapsulate = client.decapsulate().key_id(&key).encapsulation_algorithm(MlKem);
    let decapsulate = decapsulate.shared_secret_ciphertext_blob(Blob::new("x"));
    refused!(decapsulate, is_invalid_key_usage_exception);
    refused!(
        client.replicate_key().key_id(&key).replica_region("eu-west-1"),
        is_unsupported_operation_exception
    );
    let move_it = client.update_primary_region().key_id(&key).primary_region("eu-west-1");
    refused!(move_it, is_unsupported_operation_exception);
    Ok(())
}
