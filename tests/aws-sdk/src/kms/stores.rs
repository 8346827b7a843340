//! Custom key stores: in the group of two HSMs that `hsmd dev` sets up, and behind its XKS proxy.

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    ConnectionStateType, CustomKeyStoreType, CustomKeyStoresListEntry, KeyState, OriginType,
    XksProxyAuthenticationCredentialType, XksProxyConnectivityType,
};

use super::{opened, sealed, state};
use crate::ask::{Failure, Patience, given, program, refused};
use crate::endpoint::variable;

async fn shown(client: &Client, store: &str) -> Result<CustomKeyStoresListEntry, Failure> {
    let found = client
        .describe_custom_key_stores()
        .custom_key_store_id(store)
        .send()
        .await?;
    Ok(given(found.custom_key_stores().first(), "CustomKeyStores")?.clone())
}

async fn reaches(client: &Client, store: &str, wanted: ConnectionStateType) -> Result<(), Failure> {
    let patience = Patience::new();
    loop {
        let found = shown(client, store).await?;
        if found.connection_state() == Some(&wanted) {
            return Ok(());
        }
        patience.pause(format!("{found:?}")).await?;
    }
}

async fn connect(client: &Client, store: &str) -> Result<(), Failure> {
    client
        .connect_custom_key_store()
        .custom_key_store_id(store)
        .send()
        .await?;
    reaches(client, store, ConnectionStateType::Connected).await
}

async fn disconnect(client: &Client, store: &str) -> Result<(), Failure> {
    client
        .disconnect_custom_key_store()
        .custom_key_store_id(store)
        .send()
        .await?;
    reaches(client, store, ConnectionStateType::Disconnected).await
}

pub(super) async fn in_a_group(client: &Client) -> Result<(), Failure> {
    let cluster = variable("HSMD_CLUSTER_ID")?;
    let anchor = std::fs::read_to_string(variable("HSMD_TRUST_ANCHOR")?)?;
    let create = client
        .create_custom_key_store()
        .custom_key_store_name("cluster")
        .cloud_hsm_cluster_id(&cluster)
        .key_store_password(variable("HSMD_KMSUSER_PASSWORD")?)
        .trust_anchor_certificate(&anchor);
    let unknown = create.clone().cloud_hsm_cluster_id("cluster-234567abcdef");
    refused!(unknown, is_cloud_hsm_cluster_not_found_exception);
    refused!(
        create.clone().trust_anchor_certificate("nonsense"),
        is_incorrect_trust_anchor_exception
    );
    let made = create.clone().send().await?;
    let first = given(made.custom_key_store_id(), "CustomKeyStoreId")?;
    client
        .delete_custom_key_store()
        .custom_key_store_id(first)
        .send()
        .await?;
    let delete = client.delete_custom_key_store().custom_key_store_id(first);
    refused!(delete, is_custom_key_store_not_found_exception);

    let made = create.clone().send().await?;
    let store = given(made.custom_key_store_id(), "CustomKeyStoreId")?;
    let found = shown(client, store).await?;
    assert_eq!(found.connection_state(), Some(&ConnectionStateType::Disconnected));
    assert_eq!(
        (found.cloud_hsm_cluster_id(), found.trust_anchor_certificate()),
        (Some(cluster.as_str()), Some(anchor.as_str()))
    );
    refused!(
        create.custom_key_store_name("second"),
        is_cloud_hsm_cluster_in_use_exception
    );
    let create = client
        .create_key()
        .origin(OriginType::AwsCloudhsm)
        .custom_key_store_id(store);
    refused!(create.clone(), is_custom_key_store_invalid_state_exception);
    connect(client, store).await?;
    let rename = client
        .update_custom_key_store()
        .custom_key_store_id(store)
        .new_custom_key_store_name("renamed");
    rename.send().await?;
    assert_eq!(shown(client, store).await?.custom_key_store_name(), Some("renamed"));

    let made = create.send().await?;
    let made = given(made.key_metadata(), "KeyMetadata")?;
    assert_eq!(
        (made.origin(), made.custom_key_store_id()),
        (Some(&OriginType::AwsCloudhsm), Some(store))
    );
    assert_eq!(made.cloud_hsm_cluster_id(), Some(cluster.as_str()));
    let blob = sealed(client, made.key_id(), b"text").await?;
    assert_eq!(opened(client, &blob).await?.as_ref(), b"text");
    let random = client
        .generate_random()
        .number_of_bytes(32)
        .custom_key_store_id(store)
        .send()
        .await?;
    assert_eq!(given(random.plaintext(), "Plaintext")?.as_ref().len(), 32);
    let delete = client.delete_custom_key_store().custom_key_store_id(store);
    refused!(delete.clone(), is_custom_key_store_invalid_state_exception);

    disconnect(client, store).await?;
    assert_eq!(state(client, made.key_id()).await?, KeyState::Unavailable);
    refused!(
        client.decrypt().ciphertext_blob(blob.clone()),
        is_kms_invalid_state_exception
    );
    refused!(delete, is_custom_key_store_has_cm_ks_exception);
    let random = client.generate_random().number_of_bytes(32).custom_key_store_id(store);
    refused!(random, is_custom_key_store_invalid_state_exception);
    connect(client, store).await?;
    assert_eq!(opened(client, &blob).await?.as_ref(), b"text");
    Ok(())
}

pub(super) async fn behind_a_proxy(client: &Client) -> Result<(), Failure> {
    let (label, pin) = (variable("HSMD_TOKEN_LABEL")?, variable("HSMD_PIN")?);
    let module = variable("HSMD_PKCS11_MODULE")?;
    let mut words = vec!["--module", &module, "--token-label", &label, "--login", "--pin", &pin];
    words.extend(["--keygen", "--key-type", "AES:32", "--label", "outside"]);
    program("pkcs11-tool", &words, &[])?;
    let uri = variable("HSMD_XKS_URI")?;
    let rest = given(uri.strip_prefix("https://"), "https://")?;
    let (authority, path) = given(rest.split_once('/'), "path")?;
    let host = authority.split(':').next().unwrap_or(authority);
    let credential = |secret: &str| {
        let id = variable("HSMD_XKS_ACCESS_KEY_ID")?;
        let builder = XksProxyAuthenticationCredentialType::builder().access_key_id(id);
        Ok::<_, Failure>(builder.raw_secret_access_key(secret).build()?)
    };
    let create = client
        .create_custom_key_store()
        .custom_key_store_name("proxy")
        .custom_key_store_type(CustomKeyStoreType::ExternalKeyStore)
        .xks_proxy_connectivity(XksProxyConnectivityType::PublicEndpoint)
        .xks_proxy_uri_endpoint(format!("https://{host}"))
        .xks_proxy_uri_path(format!("/{path}"));
    let wrong = create
        .clone()
        .xks_proxy_authentication_credential(credential(&"x".repeat(43))?);
    refused!(wrong, is_xks_proxy_incorrect_authentication_credential_exception);
    let right = credential(&variable("HSMD_XKS_SECRET_ACCESS_KEY")?)?;
    let made = create.xks_proxy_authentication_credential(right).send().await?;
    let store = given(made.custom_key_store_id(), "CustomKeyStoreId")?;
    let found = shown(client, store).await?;
    let proxy = given(found.xks_proxy_configuration(), "XksProxyConfiguration")?;
    assert_eq!(proxy.connectivity(), Some(&XksProxyConnectivityType::PublicEndpoint));
    connect(client, store).await?;

    let create = client
        .create_key()
        .origin(OriginType::ExternalKeyStore)
        .custom_key_store_id(store);
    refused!(create.clone().xks_key_id("nobody"), is_xks_key_not_found_exception);
    let made = create.clone().xks_key_id("outside").send().await?;
    let made = given(made.key_metadata(), "KeyMetadata")?;
    assert_eq!(
        made.xks_key_configuration().and_then(|behind| behind.id()),
        Some("outside")
    );
    refused!(create.xks_key_id("outside"), is_xks_key_already_in_use_exception);
    let encrypt = client
        .encrypt()
        .key_id(made.key_id())
        .plaintext(Blob::new("text"))
        .encryption_context("a", "b");
    let blob = given(encrypt.send().await?.ciphertext_blob, "CiphertextBlob")?;
    let decrypt = client.decrypt().ciphertext_blob(blob);
    let answer = decrypt.clone().encryption_context("a", "b").send().await?;
    assert_eq!(given(answer.plaintext(), "Plaintext")?.as_ref(), b"text");
    // It is the proxy that refuses another context, and to KMS whatever a proxy refuses is the store's state.
    refused!(decrypt, is_kms_invalid_state_exception);
    disconnect(client, store).await?;
    assert_eq!(state(client, made.key_id()).await?, KeyState::Unavailable);
    Ok(())
}
