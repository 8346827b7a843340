//! Grants and their tokens.

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{GrantConstraints, GrantOperation};

use super::new_key;
use crate::ask::{Failure, given, refused};

const ALICE: &str = "arn:aws:iam::000000000000:user/alice";
const BOB: &str = "arn:aws:iam::000000000000:role/bob";

pub(super) async fn life(client: &Client) -> Result<(), Failure> {
    let key = new_key(client).await?;
    let subset = GrantConstraints::builder()
        .encryption_context_subset("team", "web")
        .build();
    let create = client
        .create_grant()
        .key_id(&key)
        .grantee_principal(ALICE)
        .retiring_principal(BOB)
        .operations(GrantOperation::Encrypt)
        .operations(GrantOperation::Decrypt);
    let named = create.clone().name("one").constraints(subset.clone());
    let first = named.clone().send().await?;
    let (id, token) = (
        given(first.grant_id(), "GrantId")?,
        given(first.grant_token(), "GrantToken")?,
    );
    assert_eq!(
        named.send().await?.grant_id(),
        Some(id),
        "the same name is the same grant"
    );
    let second = create.clone().send().await?;
    let third = create.clone().send().await?;
    assert_ne!(second.grant_id(), third.grant_id());

    let pages = client
        .list_grants()
        .key_id(&key)
        .into_paginator()
        .page_size(2)
        .items()
        .send();
    let found: Vec<_> = pages.try_collect().await?;
    assert_eq!(found.len(), 3, "{found:?}");
    let shown = given(found.iter().find(|one| one.grant_id() == Some(id)), "grant")?;
    assert_eq!(
        (shown.name(), shown.grantee_principal(), shown.retiring_principal()),
        (Some("one"), Some(ALICE), Some(BOB))
    );
    assert_eq!(shown.operations(), [GrantOperation::Encrypt, GrantOperation::Decrypt]);
    assert_eq!(shown.constraints(), Some(&subset));
    let retirable = client
        .list_retirable_grants()
        .retiring_principal(BOB)
        .into_paginator()
        .items()
        .send();
    assert!(retirable.try_collect().await?.len() >= 3);

    let encrypt = client.encrypt().key_id(&key).plaintext(Blob::new("x"));
    encrypt.clone().grant_tokens(token).send().await?;
    refused!(encrypt.clone().grant_tokens("AAAA"), is_invalid_grant_token_exception);
    refused!(
        client.retire_grant().grant_token(token).dry_run(true),
        is_dry_run_operation_exception
    );
    client.retire_grant().grant_token(token).send().await?;
    refused!(encrypt.grant_tokens(token), is_invalid_grant_token_exception);
    let revoke = client
        .revoke_grant()
        .key_id(&key)
        .grant_id(given(second.grant_id(), "GrantId")?);
    revoke.clone().send().await?;
    refused!(revoke, is_not_found_exception);
    let arn = super::described(client, &key).await?;
    let retire = client.retire_grant().key_id(given(arn.arn(), "Arn")?);
    retire.grant_id(given(third.grant_id(), "GrantId")?).send().await?;
    assert!(client.list_grants().key_id(&key).send().await?.grants().is_empty());

    refused!(create.clone().dry_run(true), is_dry_run_operation_exception);
    refused!(create.clone().grantee_principal("alice"), is_invalid_arn_exception);
    refused!(create.operations(GrantOperation::Sign), code "ValidationException");
    refused!(
        client.list_grants().key_id(&key).grant_id("x"),
        is_invalid_grant_id_exception
    );
    Ok(())
}
