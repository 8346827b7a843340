//! CloudHSM Classic: all 20 operations.

#![expect(deprecated, reason = "AWS has given up CloudHSM Classic; that is why hsmd serves it")]

use std::sync::Arc;

use aws_sdk_cloudhsm::Client;
use aws_sdk_cloudhsm::types::{ClientVersion, CloudHsmObjectState, HsmStatus, SubscriptionType, Tag};

use crate::ask::{Failure, Patience, certificate, given, refused};
use crate::endpoint::{Endpoint, variable};
use crate::tally::Tally;
use crate::tally::Wanted::{self, Answer};

/// What is called.
pub(crate) const OPERATIONS: &[(&str, Wanted)] = &[
    ("AddTagsToResource", Answer),
    ("CreateHapg", Answer),
    ("CreateHsm", Answer),
    ("CreateLunaClient", Answer),
    ("DeleteHapg", Answer),
    ("DeleteHsm", Answer),
    ("DeleteLunaClient", Answer),
    ("DescribeHapg", Answer),
    ("DescribeHsm", Answer),
    ("DescribeLunaClient", Answer),
    ("GetConfig", Answer),
    ("ListAvailableZones", Answer),
    ("ListHapgs", Answer),
    ("ListHsms", Answer),
    ("ListLunaClients", Answer),
    ("ListTagsForResource", Answer),
    ("ModifyHapg", Answer),
    ("ModifyHsm", Answer),
    ("ModifyLunaClient", Answer),
    ("RemoveTagsFromResource", Answer),
];

const ROLE: &str = "arn:aws:iam::123456789012:role/hsm";

/// Runs all scenarios.
///
/// # Errors
/// Of the first call that does not succeed.
pub(crate) async fn run(endpoint: Arc<Endpoint>, tally: Tally) -> Result<(), Failure> {
    let client = endpoint.cloudhsm(&tally);
    hsms(&client).await?;
    groups(&client).await?;
    clients(&client).await?;
    refusals(&client).await;
    let stranger = endpoint.with_wrong_secret().cloudhsm(&tally);
    refused!(stranger.list_hsms(), code "InvalidSignatureException");
    Ok(())
}

async fn hsms(client: &Client) -> Result<(), Failure> {
    assert!(!client.list_available_zones().send().await?.az_list().is_empty());
    let create = client
        .create_hsm()
        .subnet_id("subnet-0a1b2c3d")
        .ssh_key("ssh-rsa AAAA x")
        .iam_role_arn(ROLE)
        .subscription_type(SubscriptionType::Production)
        .client_token("token1");
    let made = create.clone().send().await?;
    let arn = given(made.hsm_arn(), "HsmArn")?;
    assert_eq!(
        create.clone().send().await?.hsm_arn(),
        Some(arn),
        "the token makes it idempotent"
    );
    let error = refused!(create.ssh_key("another"), is_cloud_hsm_service_exception);
    assert!(format!("{error:?}").contains("retryable: false"), "{error:?}");

    let patience = Patience::new();
    let found = loop {
        let found = client.describe_hsm().hsm_arn(arn).send().await?;
        match found.status() {
            Some(HsmStatus::Running) => break found,
            Some(HsmStatus::Pending) => patience.pause("PENDING".to_owned()).await?,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(found.subscription_type(), Some(&SubscriptionType::Production));
    assert_eq!(
        (found.iam_role_arn(), found.subnet_id()),
        (Some(ROLE), Some("subnet-0a1b2c3d"))
    );
    let serial = given(found.serial_number(), "SerialNumber")?;
    let same = client.describe_hsm().hsm_serial_number(serial).send().await?;
    assert_eq!(same.hsm_arn(), Some(arn));
    assert!(all_hsms(client).await?.iter().any(|one| one == arn));
    assert_eq!(
        client
            .modify_hsm()
            .hsm_arn(arn)
            .syslog_ip("10.1.2.3")
            .send()
            .await?
            .hsm_arn(),
        Some(arn)
    );

    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let add = client.add_tags_to_resource().resource_arn(arn);
    let add = add.tag_list(tag("team", "web")?).tag_list(tag("empty", "")?);
    assert!(!add.send().await?.status().is_empty());
    assert_eq!(tags(client, arn).await?, ["empty=", "team=web"]);
    let remove = client
        .remove_tags_from_resource()
        .resource_arn(arn)
        .tag_key_list("empty");
    assert!(!remove.send().await?.status().is_empty());
    assert_eq!(tags(client, arn).await?, ["team=web"]);

    assert!(!client.delete_hsm().hsm_arn(arn).send().await?.status().is_empty());
    let gone = client.describe_hsm().hsm_arn(arn).send().await?;
    assert!(
        matches!(gone.status(), Some(HsmStatus::Terminating | HsmStatus::Terminated)),
        "{gone:?}"
    );
    Ok(())
}

async fn all_hsms(client: &Client) -> Result<Vec<String>, Failure> {
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let page = client.list_hsms().set_next_token(next).send().await?;
        found.extend_from_slice(page.hsm_list());
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            return Ok(found);
        }
    }
}

async fn tags(client: &Client, arn: &str) -> Result<Vec<String>, Failure> {
    let listed = client.list_tags_for_resource().resource_arn(arn).send().await?;
    let tags = listed.tag_list().iter();
    let mut found: Vec<_> = tags.map(|tag| format!("{}={}", tag.key(), tag.value())).collect();
    found.sort();
    Ok(found)
}

async fn groups(client: &Client) -> Result<(), Failure> {
    let made = client.create_hapg().label("sdk").send().await?;
    let arn = given(made.hapg_arn(), "HapgArn")?;
    assert!(
        client
            .list_hapgs()
            .send()
            .await?
            .hapg_list()
            .iter()
            .any(|one| one == arn)
    );
    let found = client.describe_hapg().hapg_arn(arn).send().await?;
    assert_eq!(
        (found.label(), found.state()),
        (Some("sdk"), Some(&CloudHsmObjectState::Ready))
    );
    assert!(found.partition_serial_list().is_empty(), "{found:?}");
    let changed = client
        .modify_hapg()
        .hapg_arn(arn)
        .label("sdk2")
        .set_partition_serial_list(Some(Vec::new()));
    assert_eq!(changed.send().await?.hapg_arn(), Some(arn));
    assert_eq!(client.describe_hapg().hapg_arn(arn).send().await?.label(), Some("sdk2"));
    assert!(!client.delete_hapg().hapg_arn(arn).send().await?.status().is_empty());
    refused!(client.describe_hapg().hapg_arn(arn), is_invalid_request_exception);
    let ready = client
        .describe_hapg()
        .hapg_arn(variable("HSMD_HAPG_ARN")?)
        .send()
        .await?;
    assert_eq!(ready.partition_serial_list().len(), 2, "{ready:?}");
    Ok(())
}

async fn clients(client: &Client) -> Result<(), Failure> {
    let (first, second) = (certificate("one")?, certificate("two")?);
    let made = client
        .create_luna_client()
        .label("sdk-host")
        .certificate(&first)
        .send()
        .await?;
    let arn = given(made.client_arn(), "ClientArn")?;
    let found = client.describe_luna_client().client_arn(arn).send().await?;
    assert_eq!(
        (found.label(), found.certificate()),
        (Some("sdk-host"), Some(first.as_str()))
    );
    let print = given(found.certificate_fingerprint(), "CertificateFingerprint")?;
    let same = client
        .describe_luna_client()
        .certificate_fingerprint(print)
        .send()
        .await?;
    assert_eq!(same.client_arn(), Some(arn));
    assert!(
        client
            .list_luna_clients()
            .send()
            .await?
            .client_list()
            .iter()
            .any(|one| one == arn)
    );
    let changed = client
        .modify_luna_client()
        .client_arn(arn)
        .certificate(&second)
        .send()
        .await?;
    assert_eq!(changed.client_arn(), Some(arn));
    let found = client.describe_luna_client().client_arn(arn).send().await?;
    assert_ne!(found.certificate_fingerprint(), Some(print));

    let group = variable("HSMD_HAPG_ARN")?;
    let config = client
        .get_config()
        .client_arn(arn)
        .client_version(ClientVersion::FiveThree)
        .hapg_list(&group);
    let config = config.send().await?;
    assert!(
        given(config.config_file(), "ConfigFile")?.contains("Chrystoki2"),
        "{config:?}"
    );
    assert!(given(config.config_cred(), "ConfigCred")?.starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(
        !client
            .delete_luna_client()
            .client_arn(arn)
            .send()
            .await?
            .status()
            .is_empty()
    );
    refused!(
        client.describe_luna_client().client_arn(arn),
        is_invalid_request_exception
    );
    Ok(())
}

async fn refusals(client: &Client) {
    let nobody = "arn:aws:cloudhsm:local-1:000000000000:hapg-00000000";
    refused!(client.describe_hapg().hapg_arn(nobody), is_invalid_request_exception);
    refused!(client.create_hapg().label("not allowed!"), is_invalid_request_exception);
    refused!(client.describe_hsm(), is_invalid_request_exception);
    refused!(client.delete_hapg().hapg_arn("nonsense"), is_invalid_request_exception);
    refused!(client.list_hsms().next_token("nonsense"), is_invalid_request_exception);
}
