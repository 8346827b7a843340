//! Answers of the control plane in the original's JSON: the API's names, nothing that is empty.

use hsmd_control::cloudhsm::{DescribeHapgResponse, DescribeHsmResponse, DescribeLunaClientResponse, Tag};
use serde_json::{Map, Value, json};

/// Named texts; the empty ones are left out, as the service does.
fn texts<const N: usize>(fields: [(&str, String); N]) -> Map<String, Value> {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    fields
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect()
}

pub(super) fn hsm(hsm: DescribeHsmResponse) -> Value {
    let mut answer = texts([
        ("AvailabilityZone", hsm.availability_zone),
        ("EniId", hsm.eni_id),
        ("EniIp", hsm.eni_ip),
        ("HsmArn", hsm.hsm_arn),
        ("HsmType", hsm.hsm_type),
        ("IamRoleArn", hsm.iam_role_arn),
        ("SerialNumber", hsm.serial_number),
        ("ServerCertLastUpdated", hsm.server_cert_last_updated),
        ("ServerCertUri", hsm.server_cert_uri),
        ("SoftwareVersion", hsm.software_version),
        ("SshKeyLastUpdated", hsm.ssh_key_last_updated),
        ("SshPublicKey", hsm.ssh_public_key),
        ("Status", hsm.status),
        ("StatusDetails", hsm.status_details),
        ("SubnetId", hsm.subnet_id),
        ("SubscriptionEndDate", hsm.subscription_end_date),
        ("SubscriptionStartDate", hsm.subscription_start_date),
        ("SubscriptionType", hsm.subscription_type),
        ("VendorName", hsm.vendor_name),
        ("VpcId", hsm.vpc_id),
    ]);
    answer.insert("Partitions".to_owned(), json!(hsm.partitions));
    Value::Object(answer)
}

pub(super) fn hapg(group: DescribeHapgResponse) -> Value {
    let mut answer = texts([
        ("HapgArn", group.hapg_arn),
        ("HapgSerial", group.hapg_serial),
        ("Label", group.label),
        ("LastModifiedTimestamp", group.last_modified_timestamp),
        ("State", group.state),
    ]);
    let lists = [
        ("HsmsLastActionFailed", group.hsms_last_action_failed),
        ("HsmsPendingDeletion", group.hsms_pending_deletion),
        ("HsmsPendingRegistration", group.hsms_pending_registration),
        ("PartitionSerialList", group.partition_serial_list),
    ];
    answer.extend(lists.map(|(name, list)| (name.to_owned(), json!(list))));
    Value::Object(answer)
}

pub(super) fn client(client: DescribeLunaClientResponse) -> Value {
    Value::Object(texts([
        ("Certificate", client.certificate),
        ("CertificateFingerprint", client.certificate_fingerprint),
        ("ClientArn", client.client_arn),
        ("Label", client.label),
        ("LastModifiedTimestamp", client.last_modified_timestamp),
    ]))
}

pub(super) fn tags(tags: Vec<Tag>) -> Value {
    let tags = tags
        .into_iter()
        .map(|tag| json!({ "Key": tag.key, "Value": tag.value }));
    json!({ "TagList": tags.collect::<Vec<_>>() })
}

/// What a command of several steps says at its end.
pub(super) fn status(words: &str) -> Value {
    json!({ "Status": words })
}
