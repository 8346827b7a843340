//! Redshift: client certificates, configurations, tags, and a cluster whose key is in an HSM.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_redshift::Client;
use aws_sdk_redshift::client::Waiters as _;
use aws_sdk_redshift::types::{Cluster, Tag};

use crate::ask::{Failure, Patience, given, program, refused};
use crate::endpoint::{Endpoint, variable};
use crate::tally::Tally;
use crate::tally::Wanted::{self, Answer, Refusal};

/// What is called.
pub(crate) const OPERATIONS: &[(&str, Wanted)] = &[
    ("CreateCluster", Answer),
    ("CreateHsmClientCertificate", Answer),
    ("CreateHsmConfiguration", Answer),
    ("CreateTags", Answer),
    ("DeleteCluster", Answer),
    ("DeleteHsmClientCertificate", Answer),
    ("DeleteHsmConfiguration", Answer),
    ("DeleteTags", Answer),
    ("DescribeClusters", Answer),
    ("DescribeHsmClientCertificates", Answer),
    ("DescribeHsmConfigurations", Answer),
    ("DescribeTags", Answer),
    ("ModifyCluster", Answer),
    ("RotateEncryptionKey", Answer),
    // Two of the many about data.
    ("DescribeEvents", Refusal),
    ("PauseCluster", Refusal),
];

/// Runs all scenarios; the HSM's side is told of certificates through CloudHSM Classic.
///
/// # Errors
/// Of the first call that does not succeed.
pub(crate) async fn run(endpoint: Arc<Endpoint>, tally: Tally, hsm: Tally) -> Result<(), Failure> {
    let client = endpoint.redshift(&tally);
    certificates(&client).await?;
    configurations(&client).await?;
    tags(&client, &endpoint.region).await?;
    refusals(&client).await?;
    let stranger = endpoint.with_wrong_secret().redshift(&tally);
    refused!(stranger.describe_tags(), code "SignatureDoesNotMatch");

    register(&client, &endpoint.cloudhsm(&hsm)).await?;
    life_of_a_cluster(&client).await?;
    a_wrong_password(&client).await?;
    client
        .delete_hsm_client_certificate()
        .hsm_client_certificate_identifier("sdk")
        .send()
        .await?;
    Ok(())
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

async fn certificates(client: &Client) -> Result<(), Failure> {
    let odd = "ä<&>\"";
    let create = client
        .create_hsm_client_certificate()
        .hsm_client_certificate_identifier("first");
    let made = create
        .clone()
        .tags(tag("stage", "test"))
        .tags(tag("owner", odd))
        .send()
        .await?;
    let made = given(made.hsm_client_certificate(), "HsmClientCertificate")?;
    let pem = given(
        made.hsm_client_certificate_public_key(),
        "HsmClientCertificatePublicKey",
    )?;
    let text = program("openssl", &["x509", "-noout", "-subject"], pem.as_bytes())?;
    assert!(String::from_utf8_lossy(&text).contains("first"), "{pem}");
    let values: Vec<_> = made.tags().iter().map(|tag| tag.value().unwrap_or_default()).collect();
    assert!(values.contains(&odd) && values.contains(&"test"), "{values:?}");
    refused!(create, is_hsm_client_certificate_already_exists_fault);

    client
        .create_hsm_client_certificate()
        .hsm_client_certificate_identifier("second")
        .send()
        .await?;
    let pages = client
        .describe_hsm_client_certificates()
        .into_paginator()
        .page_size(20)
        .items()
        .send();
    let found: Vec<_> = pages.try_collect().await?;
    let names: Vec<_> = found
        .iter()
        .filter_map(|one| one.hsm_client_certificate_identifier())
        .collect();
    assert!(names.contains(&"first") && names.contains(&"second"), "{names:?}");
    let by_tag = client
        .describe_hsm_client_certificates()
        .tag_keys("stage")
        .tag_values("test")
        .send()
        .await?;
    assert_eq!(by_tag.hsm_client_certificates().len(), 1, "{by_tag:?}");
    let one = client
        .describe_hsm_client_certificates()
        .hsm_client_certificate_identifier("none");
    refused!(one, is_hsm_client_certificate_not_found_fault);
    for name in ["first", "second"] {
        client
            .delete_hsm_client_certificate()
            .hsm_client_certificate_identifier(name)
            .send()
            .await?;
    }
    let again = client
        .delete_hsm_client_certificate()
        .hsm_client_certificate_identifier("first");
    refused!(again, is_hsm_client_certificate_not_found_fault);
    Ok(())
}

/// A configuration for the HSM of this daemon.
async fn configure(client: &Client, name: &str, password: &str) -> Result<(), Failure> {
    let made = client
        .create_hsm_configuration()
        .hsm_configuration_identifier(name)
        .description("an HSM")
        .hsm_ip_address(variable("HSMD_HSM_IP")?)
        .hsm_partition_name(variable("HSMD_PARTITION_NAME")?)
        .hsm_partition_password(password)
        .hsm_server_public_certificate(std::fs::read_to_string(variable("HSMD_SERVER_CERT")?)?)
        .send()
        .await?;
    let made = given(made.hsm_configuration(), "HsmConfiguration")?;
    assert_eq!(
        (made.hsm_configuration_identifier(), made.description()),
        (Some(name), Some("an HSM"))
    );
    Ok(())
}

async fn configurations(client: &Client) -> Result<(), Failure> {
    let names: Vec<_> = (0..25).map(|number| format!("page-{number:02}")).collect();
    for name in &names {
        configure(client, name, "of no importance").await?;
    }
    let mut pages = client
        .describe_hsm_configurations()
        .into_paginator()
        .page_size(20)
        .send();
    let mut sizes = Vec::new();
    while let Some(page) = pages.try_next().await? {
        sizes.push(page.hsm_configurations().len());
    }
    assert_eq!(sizes, [20, 5]);
    let one = client
        .describe_hsm_configurations()
        .hsm_configuration_identifier("none");
    refused!(one, is_hsm_configuration_not_found_fault);
    let wrong = client
        .create_hsm_configuration()
        .hsm_configuration_identifier("wrong")
        .description("x");
    let wrong = wrong
        .hsm_ip_address("hsm.example")
        .hsm_partition_name("p")
        .hsm_partition_password("x");
    refused!(wrong.hsm_server_public_certificate("x"), code "InvalidParameterValue");
    for name in &names {
        client
            .delete_hsm_configuration()
            .hsm_configuration_identifier(name)
            .send()
            .await?;
    }
    let again = client
        .delete_hsm_configuration()
        .hsm_configuration_identifier("page-00");
    refused!(again, is_hsm_configuration_not_found_fault);
    Ok(())
}

async fn tags(client: &Client, region: &str) -> Result<(), Failure> {
    client
        .create_hsm_client_certificate()
        .hsm_client_certificate_identifier("tagged")
        .send()
        .await?;
    let arn = format!("arn:aws:redshift:{region}:000000000000:hsmclientcertificate:tagged");
    let create = client.create_tags().resource_name(&arn);
    create
        .clone()
        .tags(tag("stage", "one"))
        .tags(tag("owner", "me"))
        .send()
        .await?;
    create.clone().tags(tag("stage", "two")).send().await?;
    let found = client
        .describe_tags()
        .resource_name(&arn)
        .into_paginator()
        .items()
        .send();
    let found: Vec<_> = found.try_collect().await?;
    let mut pairs = Vec::new();
    for one in &found {
        assert_eq!(
            (one.resource_name(), one.resource_type()),
            (Some(arn.as_str()), Some("HSM certificate"))
        );
        let tag = given(one.tag(), "Tag")?;
        pairs.push(format!("{}={}", given(tag.key(), "Key")?, given(tag.value(), "Value")?));
    }
    pairs.sort();
    assert_eq!(pairs, ["owner=me", "stage=two"]);
    refused!(create.clone().tags(tag("aws:x", "y")), is_invalid_tag_fault);
    let many = (0..51).map(|number| tag(&format!("k{number}"), "")).collect();
    refused!(create.set_tags(Some(many)), is_tag_limit_exceeded_fault);
    client
        .delete_tags()
        .resource_name(&arn)
        .tag_keys("stage")
        .tag_keys("none")
        .send()
        .await?;
    let left = client.describe_tags().resource_name(&arn).send().await?;
    assert_eq!(left.tagged_resources().len(), 1, "{left:?}");
    client
        .delete_hsm_client_certificate()
        .hsm_client_certificate_identifier("tagged")
        .send()
        .await?;
    refused!(client.describe_tags().resource_name(&arn), is_resource_not_found_fault);
    refused!(
        client.delete_tags().resource_name(&arn).tag_keys("a"),
        is_resource_not_found_fault
    );
    Ok(())
}

async fn refusals(client: &Client) -> Result<(), Failure> {
    refused!(
        client.describe_clusters().cluster_identifier("none"),
        is_cluster_not_found_fault
    );
    refused!(
        client.modify_cluster().cluster_identifier("none"),
        is_cluster_not_found_fault
    );
    refused!(
        client.rotate_encryption_key().cluster_identifier("none"),
        is_cluster_not_found_fault
    );
    let delete = client
        .delete_cluster()
        .cluster_identifier("none")
        .skip_final_cluster_snapshot(true);
    refused!(delete, is_cluster_not_found_fault);
    refused!(client.describe_events(), code "UnsupportedOperation");
    refused!(
        client.pause_cluster().cluster_identifier("none"),
        is_unsupported_operation_fault
    );
    Ok(())
}

/// What an operator does with the certificate of the clusters to come.
#[expect(deprecated, reason = "AWS has given up CloudHSM Classic; hsmd has not")]
async fn register(client: &Client, hsm: &aws_sdk_cloudhsm::Client) -> Result<(), Failure> {
    let made = client
        .create_hsm_client_certificate()
        .hsm_client_certificate_identifier("sdk")
        .send()
        .await?;
    let made = given(made.hsm_client_certificate(), "HsmClientCertificate")?;
    let pem = given(
        made.hsm_client_certificate_public_key(),
        "HsmClientCertificatePublicKey",
    )?;
    hsm.create_luna_client().label("sdk").certificate(pem).send().await?;
    program(
        "hsmctl",
        &["client", "assign", "sdk", &variable("HSMD_PARTITION_NAME")?],
        &[],
    )?;
    Ok(())
}

async fn create(client: &Client, name: &str) -> Result<Cluster, Failure> {
    let made = client
        .create_cluster()
        .cluster_identifier(name)
        .node_type("dc2.large")
        .cluster_type("multi-node")
        .number_of_nodes(2)
        .master_username("admin")
        .master_user_password("Secret-123")
        .encrypted(true)
        .hsm_client_certificate_identifier("sdk")
        .hsm_configuration_identifier(name)
        .tags(tag("of", "cluster"))
        .send()
        .await?;
    let cluster = given(made.cluster(), "Cluster")?.clone();
    assert_eq!(cluster.cluster_status(), Some("creating"));
    Ok(cluster)
}

async fn reaches(client: &Client, name: &str, status: &str) -> Result<Cluster, Failure> {
    let patience = Patience::new();
    loop {
        let found = client.describe_clusters().cluster_identifier(name).send().await?;
        let cluster = given(found.clusters().first(), "Clusters")?;
        if cluster.cluster_status() == Some(status) {
            return Ok(cluster.clone());
        }
        patience.pause(format!("{:?}", cluster.cluster_status())).await?;
    }
}

fn hsm_status(cluster: &Cluster) -> Option<&str> {
    cluster.hsm_status().and_then(|status| status.status())
}

async fn life_of_a_cluster(client: &Client) -> Result<(), Failure> {
    configure(client, "sales", &variable("HSMD_PARTITION_PASSWORD")?).await?;
    assert_eq!(hsm_status(&create(client, "sales").await?), Some("applying"));
    let found = reaches(client, "sales", "available").await?;
    assert_eq!(
        (hsm_status(&found), found.encrypted(), found.number_of_nodes()),
        (Some("active"), Some(true), Some(2))
    );
    assert_eq!(found.tags(), [tag("of", "cluster")]);
    given(found.cluster_create_time(), "ClusterCreateTime")?;
    let waiter = client.wait_until_cluster_available().cluster_identifier("sales");
    waiter.wait(Duration::from_secs(5)).await?;

    let used = client
        .delete_hsm_client_certificate()
        .hsm_client_certificate_identifier("sdk");
    refused!(used, is_invalid_hsm_client_certificate_state_fault);
    let used = client.delete_hsm_configuration().hsm_configuration_identifier("sales");
    refused!(used, is_invalid_hsm_configuration_state_fault);
    let again = client
        .create_cluster()
        .cluster_identifier("sales")
        .node_type("dc2.large")
        .master_username("admin");
    refused!(
        again.master_user_password("Secret-123"),
        is_cluster_already_exists_fault
    );

    let rotating = client
        .rotate_encryption_key()
        .cluster_identifier("sales")
        .send()
        .await?;
    assert_eq!(
        given(rotating.cluster(), "Cluster")?.cluster_status(),
        Some("rotating-keys")
    );
    assert_eq!(
        hsm_status(&reaches(client, "sales", "available").await?),
        Some("active")
    );
    let renamed = client
        .modify_cluster()
        .cluster_identifier("sales")
        .new_cluster_identifier("revenue")
        .port(5440);
    renamed.send().await?;
    let found = reaches(client, "revenue", "available").await?;
    assert_eq!(found.endpoint().and_then(|endpoint| endpoint.port()), Some(5440));
    refused!(
        client.describe_clusters().cluster_identifier("sales"),
        is_cluster_not_found_fault
    );
    ends(client, "revenue", "sales").await
}

/// DeleteCluster, and its configuration.
async fn ends(client: &Client, name: &str, configuration: &str) -> Result<(), Failure> {
    let ending = client
        .delete_cluster()
        .cluster_identifier(name)
        .skip_final_cluster_snapshot(true)
        .send()
        .await?;
    assert_eq!(given(ending.cluster(), "Cluster")?.cluster_status(), Some("deleting"));
    let patience = Patience::new();
    while client
        .describe_clusters()
        .send()
        .await?
        .clusters()
        .iter()
        .any(|one| one.cluster_identifier() == Some(name))
    {
        patience.pause("there".to_owned()).await?;
    }
    let waiter = client.wait_until_cluster_deleted().cluster_identifier(name);
    waiter.wait(Duration::from_secs(5)).await?;
    client
        .delete_hsm_configuration()
        .hsm_configuration_identifier(configuration)
        .send()
        .await?;
    Ok(())
}

async fn a_wrong_password(client: &Client) -> Result<(), Failure> {
    configure(client, "wrong", "not-the-password").await?;
    create(client, "wrong").await?;
    let found = reaches(client, "wrong", "incompatible-hsm").await?;
    assert_eq!(hsm_status(&found), Some("applying"));
    refused!(
        client.rotate_encryption_key().cluster_identifier("wrong"),
        is_invalid_cluster_state_fault
    );
    ends(client, "wrong", "wrong").await
}
