//! Keys through their life, their names, tags and policies.

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::{Blob, DateTime};
use aws_sdk_kms::types::{EncryptionAlgorithmSpec, KeyManagerType, KeySpec, KeyState, KeyUsageType, OriginType, Tag};

use super::{described, key_of, new_key, opened, sealed, state};
use crate::ask::{Failure, given, refused};

/// No key has this name.
const UNKNOWN: &str = "12345678-1234-1234-1234-123456789012";

fn tag(key: &str, value: &str) -> Result<Tag, Failure> {
    Ok(Tag::builder().tag_key(key).tag_value(value).build()?)
}

pub(super) async fn life(client: &Client) -> Result<(), Failure> {
    let made = client
        .create_key()
        .description("first")
        .tags(tag("team", "web")?)
        .send()
        .await?;
    let made = given(made.key_metadata(), "KeyMetadata")?;
    assert_eq!((made.key_state(), made.enabled()), (Some(&KeyState::Enabled), true));
    assert_eq!(
        (made.key_spec(), made.origin()),
        (Some(&KeySpec::SymmetricDefault), Some(&OriginType::AwsKms))
    );
    assert_eq!(
        made.encryption_algorithms(),
        [EncryptionAlgorithmSpec::SymmetricDefault]
    );
    assert_eq!(made.key_manager(), Some(&KeyManagerType::Customer));
    let now = DateTime::from(std::time::SystemTime::now());
    let age = now.secs() - given(made.creation_date(), "CreationDate")?.secs();
    assert!(age.abs() < 600, "{made:?}");
    let (key, arn) = (made.key_id(), given(made.arn(), "Arn")?);
    assert_eq!(&described(client, arn).await?, made);
    let pages: Vec<_> = client
        .list_keys()
        .into_paginator()
        .page_size(2)
        .items()
        .send()
        .try_collect()
        .await?;
    assert!(
        pages
            .iter()
            .any(|one| one.key_id() == Some(key) && one.key_arn() == Some(arn))
    );

    client
        .update_key_description()
        .key_id(key)
        .description("second")
        .send()
        .await?;
    assert_eq!(described(client, key).await?.description(), Some("second"));
    client.disable_key().key_id(key).send().await?;
    let encrypt = client.encrypt().key_id(key).plaintext(Blob::new("x"));
    refused!(encrypt.clone(), is_disabled_exception);
    client.enable_key().key_id(key).send().await?;
    encrypt.clone().send().await?;
    let last = client.get_key_last_usage().key_id(key).send().await?;
    given(last.tracking_start_date(), "TrackingStartDate")?;
    let usage = given(last.key_last_usage(), "KeyLastUsage")?;
    assert_eq!(usage.operation().map(|operation| operation.as_str()), Some("Encrypt"));

    let leaving = client
        .schedule_key_deletion()
        .key_id(key)
        .pending_window_in_days(7)
        .send()
        .await?;
    assert_eq!(
        (leaving.key_state(), leaving.key_id()),
        (Some(&KeyState::PendingDeletion), Some(arn))
    );
    refused!(encrypt, is_kms_invalid_state_exception);
    refused!(client.enable_key().key_id(key), is_kms_invalid_state_exception);
    assert_eq!(described(client, key).await?.deletion_date(), leaving.deletion_date());
    client.cancel_key_deletion().key_id(key).send().await?;
    assert_eq!(state(client, key).await?, KeyState::Disabled);
    refused!(client.cancel_key_deletion().key_id(key), is_kms_invalid_state_exception);
    refused!(client.schedule_key_deletion().key_id(key).pending_window_in_days(6), code "ValidationException");
    refused!(
        client.create_key().multi_region(true),
        is_unsupported_operation_exception
    );
    refused!(client.describe_key().key_id(UNKNOWN), is_not_found_exception);
    refused!(client.list_keys().marker("nonsense"), is_invalid_marker_exception);
    Ok(())
}

pub(super) async fn aliases(client: &Client) -> Result<(), Failure> {
    let (one, two) = (new_key(client).await?, new_key(client).await?);
    let create = client.create_alias().alias_name("alias/sdk");
    create.clone().target_key_id(&one).send().await?;
    refused!(create.target_key_id(&two), is_already_exists_exception);
    let before = sealed(client, "alias/sdk", b"text").await?;
    client
        .update_alias()
        .alias_name("alias/sdk")
        .target_key_id(&two)
        .send()
        .await?;
    let found = client.list_aliases().key_id(&two).into_paginator().items().send();
    let found: Vec<_> = found.try_collect().await?;
    assert_eq!(
        found.iter().filter_map(|one| one.alias_name()).collect::<Vec<_>>(),
        ["alias/sdk"]
    );
    assert_eq!(
        described(client, given(found[0].alias_arn(), "AliasArn")?)
            .await?
            .key_id(),
        two
    );
    assert_eq!(opened(client, &before).await?.as_ref(), b"text");
    let signer = key_of(client, KeySpec::EccNistP256, KeyUsageType::SignVerify).await?;
    let other_use = client.update_alias().alias_name("alias/sdk").target_key_id(signer);
    refused!(other_use, code "ValidationException");
    client.delete_alias().alias_name("alias/sdk").send().await?;
    refused!(client.describe_key().key_id("alias/sdk"), is_not_found_exception);
    refused!(client.delete_alias().alias_name("alias/sdk"), is_not_found_exception);
    Ok(())
}

pub(super) async fn tags_and_policies(client: &Client) -> Result<(), Failure> {
    let key = new_key(client).await?;
    let many = (0..50)
        .map(|number| tag(&format!("k{number:02}"), "v"))
        .collect::<Result<Vec<_>, _>>()?;
    client
        .tag_resource()
        .key_id(&key)
        .set_tags(Some(many.clone()))
        .send()
        .await?;
    let mut pages = client
        .list_resource_tags()
        .key_id(&key)
        .into_paginator()
        .page_size(20)
        .send();
    let mut sizes = Vec::new();
    while let Some(page) = pages.try_next().await? {
        sizes.push(page.tags().len());
    }
    assert_eq!(sizes, [20, 20, 10]);
    refused!(
        client.tag_resource().key_id(&key).tags(tag("one", "more")?),
        is_limit_exceeded_exception
    );
    refused!(
        client.tag_resource().key_id(&key).tags(tag("aws:x", "")?),
        is_tag_exception
    );
    let untag = client.untag_resource().key_id(&key).tag_keys("unknown");
    untag
        .set_tag_keys(Some(many[1..].iter().map(|tag| tag.tag_key().to_owned()).collect()))
        .send()
        .await?;
    assert_eq!(
        client.list_resource_tags().key_id(&key).send().await?.tags(),
        [tag("k00", "v")?]
    );

    assert_eq!(
        client.list_key_policies().key_id(&key).send().await?.policy_names(),
        ["default"]
    );
    let found = client.get_key_policy().key_id(&key).send().await?;
    assert!(given(found.policy(), "Policy")?.contains("kms:*"), "{found:?}");
    let policy = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"}}]}"#;
    client.put_key_policy().key_id(&key).policy(policy).send().await?;
    assert_eq!(
        client.get_key_policy().key_id(&key).send().await?.policy(),
        Some(policy)
    );
    refused!(
        client.put_key_policy().key_id(&key).policy("{"),
        is_malformed_policy_document_exception
    );
    refused!(
        client.get_key_policy().key_id(&key).policy_name("other"),
        is_not_found_exception
    );
    Ok(())
}
