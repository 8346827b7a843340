//! What is behind a key: rotation, and material that somebody else made.

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    AlgorithmSpec, ExpirationModelType, IncludeKeyMaterial, KeyMaterialState, KeySpec, KeyState, KeyUsageType,
    OriginType, RotationType, WrappingKeySpec,
};

use super::{described, key_of, new_key, opened, sealed, state};
use crate::ask::{Failure, given, program, refused};

pub(super) async fn rotation(client: &Client) -> Result<(), Failure> {
    let key = new_key(client).await?;
    let mut blobs = vec![sealed(client, &key, b"0").await?];
    for turn in [b"1", b"2"] {
        client.rotate_key_on_demand().key_id(&key).send().await?;
        blobs.push(sealed(client, &key, turn).await?);
    }
    let mut materials = Vec::new();
    for (turn, blob) in blobs.iter().enumerate() {
        let answer = client.decrypt().ciphertext_blob(blob.clone()).send().await?;
        assert_eq!(
            given(answer.plaintext(), "Plaintext")?.as_ref(),
            turn.to_string().as_bytes()
        );
        materials.push(given(answer.key_material_id(), "KeyMaterialId")?.to_owned());
    }
    assert_eq!(
        described(client, &key).await?.current_key_material_id(),
        Some(materials[2].as_str())
    );
    let pages = client
        .list_key_rotations()
        .key_id(&key)
        .into_paginator()
        .page_size(1)
        .items()
        .send();
    let done: Vec<_> = pages.try_collect().await?;
    assert!(
        done.len() == 2
            && done
                .iter()
                .all(|row| row.rotation_type() == Some(&RotationType::OnDemand)),
        "{done:?}"
    );
    let every = client
        .list_key_rotations()
        .key_id(&key)
        .include_key_material(IncludeKeyMaterial::AllKeyMaterial);
    let every = every.send().await?;
    let ids: Vec<_> = every
        .rotations()
        .iter()
        .filter_map(|row| row.key_material_id())
        .collect();
    assert_eq!(ids, materials);
    assert_eq!(
        every.rotations()[2].key_material_state(),
        Some(&KeyMaterialState::Current)
    );
    by_itself(client, &key).await
}

/// Rotation by the calendar, on and off.
async fn by_itself(client: &Client, key: &str) -> Result<(), Failure> {
    client
        .enable_key_rotation()
        .key_id(key)
        .rotation_period_in_days(90)
        .send()
        .await?;
    let status = client.get_key_rotation_status().key_id(key).send().await?;
    assert_eq!(
        (status.key_rotation_enabled(), status.rotation_period_in_days()),
        (true, Some(90))
    );
    given(status.next_rotation_date(), "NextRotationDate")?;
    client.disable_key_rotation().key_id(key).send().await?;
    assert!(
        !client
            .get_key_rotation_status()
            .key_id(key)
            .send()
            .await?
            .key_rotation_enabled()
    );
    let rsa = key_of(client, KeySpec::Rsa2048, KeyUsageType::EncryptDecrypt).await?;
    refused!(
        client.enable_key_rotation().key_id(&rsa),
        is_unsupported_operation_exception
    );
    refused!(
        client.rotate_key_on_demand().key_id(&rsa),
        is_unsupported_operation_exception
    );
    Ok(())
}

pub(super) async fn imported(client: &Client) -> Result<(), Failure> {
    let made = client.create_key().origin(OriginType::External).send().await?;
    let made = given(made.key_metadata(), "KeyMetadata")?;
    assert_eq!(
        (made.key_state(), made.origin()),
        (Some(&KeyState::PendingImport), Some(&OriginType::External))
    );
    let key = made.key_id();
    refused!(
        client.encrypt().key_id(key).plaintext(Blob::new("x")),
        is_kms_invalid_state_exception
    );
    let material = program("openssl", &["rand", "32"], &[])?;
    let name = bring(client, key, &material).await?;
    assert_eq!(state(client, key).await?, KeyState::Enabled);
    let blob = sealed(client, key, b"text").await?;

    let deleted = client.delete_imported_key_material().key_id(key).send().await?;
    assert_eq!(deleted.key_material_id(), Some(name.as_str()));
    assert_eq!(state(client, key).await?, KeyState::PendingImport);
    refused!(
        client.decrypt().ciphertext_blob(blob.clone()),
        is_kms_invalid_state_exception
    );
    assert_eq!(bring(client, key, &material).await?, name);
    assert_eq!(opened(client, &blob).await?.as_ref(), b"text");

    let import = client.import_key_material().key_id(key);
    let import = import.expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire);
    let wrapped = Blob::new(vec![1; 256]);
    let odd = import
        .clone()
        .import_token(Blob::new("x"))
        .encrypted_key_material(wrapped.clone());
    refused!(odd, is_invalid_import_token_exception);
    let (token, public) = parameters(client, key).await?;
    refused!(
        import
            .clone()
            .import_token(token.clone())
            .encrypted_key_material(wrapped),
        is_invalid_ciphertext_exception
    );
    let other = wrap(&public, &[9; 32])?;
    refused!(
        import.import_token(token).encrypted_key_material(other),
        is_incorrect_key_material_exception
    );
    let ordinary = new_key(client).await?;
    let wrong = client.delete_imported_key_material().key_id(ordinary);
    refused!(wrong, is_unsupported_operation_exception);
    Ok(())
}

/// Token and wrapping key.
async fn parameters(client: &Client, key: &str) -> Result<(Blob, Blob), Failure> {
    let got = client
        .get_parameters_for_import()
        .key_id(key)
        .wrapping_algorithm(AlgorithmSpec::RsaesOaepSha256)
        .wrapping_key_spec(WrappingKeySpec::Rsa2048)
        .send()
        .await?;
    given(got.parameters_valid_to(), "ParametersValidTo")?;
    Ok((
        given(got.import_token, "ImportToken")?,
        given(got.public_key, "PublicKey")?,
    ))
}

async fn bring(client: &Client, key: &str, material: &[u8]) -> Result<String, Failure> {
    let (token, public) = parameters(client, key).await?;
    let made = client
        .import_key_material()
        .key_id(key)
        .import_token(token)
        .encrypted_key_material(wrap(&public, material)?)
        .expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire)
        .send()
        .await?;
    Ok(given(made.key_material_id(), "KeyMaterialId")?.to_owned())
}

fn wrap(public: &Blob, material: &[u8]) -> Result<Blob, Failure> {
    std::fs::write("wrapping.der", public.as_ref())?;
    let oaep = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"];
    let mut words = vec![
        "pkeyutl",
        "-encrypt",
        "-pubin",
        "-keyform",
        "DER",
        "-inkey",
        "wrapping.der",
    ];
    words.extend(oaep.iter().flat_map(|option| ["-pkeyopt", option]));
    Ok(Blob::new(program("openssl", &words, material)?))
}
