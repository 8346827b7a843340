//! The settings of a cluster: what CreateCluster and ModifyCluster take, held against the rules of the API reference. What
//! names a thing that cannot exist here (subnet groups, elastic addresses, schedules) has the modelled NotFound fault.

use super::input::Input;
use super::record::Settings;
use super::{combination, fault, invalid};
use crate::fault::Fault;

/// Node types of the API reference, past ones too: a real HSM was for those only.
const NODE_TYPES: [&str; 12] = [
    "dc1.large",
    "dc1.8xlarge",
    "dc2.large",
    "dc2.8xlarge",
    "ds1.xlarge",
    "ds2.xlarge",
    "ds2.8xlarge",
    "ra3.large",
    "ra3.xlplus",
    "ra3.4xlarge",
    "ra3.16xlarge",
    "rg.xlarge",
];
/// Of one cluster.
const MOST_NODES: i64 = 100;
/// Days that snapshots are kept.
const LONGEST_MANUAL: i64 = 3_653;

/// Members that name what does not exist here, and what the model says then; `default` exists.
const ABSENT: [(&str, &str); 6] = [
    ("ClusterSubnetGroupName", "ClusterSubnetGroupNotFoundFault"),
    ("ElasticIp", "InvalidElasticIpFault"),
    ("SnapshotScheduleIdentifier", "SnapshotScheduleNotFoundFault"),
    ("RedshiftIdcApplicationArn", "RedshiftIdcApplicationNotExistsFault"),
    ("KmsKeyId", "UnsupportedOperationFault"),
    ("MasterPasswordSecretKmsKeyId", "UnsupportedOperationFault"),
];
/// Flags that ask for what is not served.
const UNSERVED: [&str; 3] = ["ManageMasterPassword", "MultiAZ", "AvailabilityZoneRelocation"];

/// The identifier of a cluster.
///
/// # Errors
/// InvalidParameterValue.
pub(super) fn identifier(input: &Input, name: &str) -> Result<String, Fault> {
    let id = input.must(name);
    let good = (1..=63).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && !id.ends_with('-')
        && !id.contains("--");
    if good {
        return Ok(id.to_owned());
    }
    Err(invalid(
        name,
        "must have 1 to 63 lowercase letters, digits and hyphens, begin with a letter, and neither end with a hyphen nor have \
         two in a row",
    ))
}

/// The settings of a new cluster in a zone.
///
/// # Errors
/// The modelled ones.
pub(super) fn new(input: &Input, zone: &str) -> Result<Settings, Fault> {
    let mut settings = Settings {
        node_type: String::new(),
        nodes: 1,
        master_username: input.must("MasterUsername").to_owned(),
        database: input.text("DBName").unwrap_or("dev").to_owned(),
        port: 5439,
        zone: zone.to_owned(),
        maintenance_window: "sun:10:00-sun:10:30".into(),
        automated_retention: 1,
        manual_retention: -1,
        allow_version_upgrade: true,
        publicly_accessible: false,
        enhanced_vpc_routing: false,
        track: "current".into(),
        vpc_security_groups: Vec::new(),
        security_groups: vec!["default".into()],
        roles: Vec::new(),
    };
    if input.text("MasterUserPassword").is_none() {
        return Err(combination(
            "MasterUserPassword must be given: passwords are not managed here.",
        ));
    }
    username(&settings.master_username)?;
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_$".contains(&byte);
    let database = &settings.database;
    if !(1..=64).contains(&database.len()) || !database.bytes().all(lower) {
        return Err(invalid("DBName", "must have 1 to 64 lowercase letters and digits"));
    }
    settings.roles = input.texts("IamRoles");
    if settings.roles.len() > 50 {
        return Err(fault("LimitExceededFault", "A cluster has at most 50 roles."));
    }
    change(input, &mut settings)?;
    Ok(settings)
}

fn username(name: &str) -> Result<(), Fault> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_+.@-".contains(&byte);
    if (1..=128).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(good)
        && name != "public"
    {
        return Ok(());
    }
    Err(invalid(
        "MasterUsername",
        "must have 1 to 128 lowercase letters, digits and _+.@-, begin with a letter, and not be public",
    ))
}

/// Changes settings as a request says.
///
/// # Errors
/// The modelled ones.
pub(super) fn change(input: &Input, settings: &mut Settings) -> Result<(), Fault> {
    unserved(input)?;
    nodes(input, settings)?;
    password(input.text("MasterUserPassword"))?;
    groups(input, settings)?;
    if let Some(port) = input.within("Port", 1_150, 65_535)? {
        settings.port = u16::try_from(port).unwrap_or(settings.port);
    }
    if let Some(days) = retention(input, "AutomatedSnapshotRetentionPeriod", |days| {
        (0..=35).contains(&days)
    })? {
        settings.automated_retention = days;
    }
    let manual = |days| days == -1 || (1..=LONGEST_MANUAL).contains(&days);
    if let Some(days) = retention(input, "ManualSnapshotRetentionPeriod", manual)? {
        settings.manual_retention = days;
    }
    if let Some(window) = input.text("PreferredMaintenanceWindow") {
        if !is_window(window) {
            return Err(invalid(
                "PreferredMaintenanceWindow",
                "must be like sun:10:00-sun:10:30",
            ));
        }
        window.clone_into(&mut settings.maintenance_window);
    }
    if let Some(track) = input.text("MaintenanceTrackName") {
        if !["current", "trailing"].contains(&track) {
            return Err(fault(
                "InvalidClusterTrackFault",
                "MaintenanceTrackName must be current or trailing.",
            ));
        }
        track.clone_into(&mut settings.track);
    }
    if input.text("ClusterVersion").is_some_and(|version| version != "1.0") {
        return Err(invalid("ClusterVersion", "must be 1.0"));
    }
    let flags = [
        ("AllowVersionUpgrade", &mut settings.allow_version_upgrade),
        ("PubliclyAccessible", &mut settings.publicly_accessible),
        ("EnhancedVpcRouting", &mut settings.enhanced_vpc_routing),
    ];
    for (name, setting) in flags {
        *setting = input.flag(name).unwrap_or(*setting);
    }
    if let Some(zone) = input.text("AvailabilityZone") {
        if !(1..=64).contains(&zone.len()) {
            return Err(invalid("AvailabilityZone", "must have 1 to 64 characters"));
        }
        zone.clone_into(&mut settings.zone);
    }
    Ok(())
}

fn unserved(input: &Input) -> Result<(), Fault> {
    for (name, shape) in ABSENT {
        if input
            .text(name)
            .is_some_and(|value| value != "default" && !value.is_empty())
        {
            return Err(fault(shape, &format!("There is no such {name} here.")));
        }
    }
    if let Some(name) = UNSERVED.iter().find(|name| input.flag(name) == Some(true)) {
        return Err(fault("UnsupportedOperationFault", &format!("{name} is not served.")));
    }
    match input.text("IpAddressType") {
        None | Some("ipv4") => Ok(()),
        Some("dualstack") => Err(fault(
            "Ipv6CidrBlockNotFoundFault",
            "There is no VPC with an IPv6 block here.",
        )),
        Some(_) => Err(invalid("IpAddressType", "must be ipv4 or dualstack")),
    }
}

fn nodes(input: &Input, settings: &mut Settings) -> Result<(), Fault> {
    if let Some(kind) = input.text("NodeType") {
        if !NODE_TYPES.contains(&kind) {
            return Err(invalid(
                "NodeType",
                &format!("must be one of: {}", NODE_TYPES.join(", ")),
            ));
        }
        kind.clone_into(&mut settings.node_type);
    }
    let count = input.number("NumberOfNodes");
    if count.is_some_and(|count| count < 1) {
        return Err(invalid("NumberOfNodes", &format!("must be between 1 and {MOST_NODES}")));
    }
    if count.is_some_and(|count| count > MOST_NODES) {
        let message = format!("A cluster has at most {MOST_NODES} nodes.");
        return Err(fault("NumberOfNodesPerClusterLimitExceededFault", &message));
    }
    let count = count.and_then(|count| u32::try_from(count).ok());
    settings.nodes = match (input.text("ClusterType"), count) {
        (None, None) => settings.nodes,
        (None, Some(count)) => count,
        (Some("single-node"), None | Some(1)) => 1,
        (Some("multi-node"), Some(count)) if count > 1 => count,
        (Some("single-node"), _) => {
            return Err(combination("NumberOfNodes must be 1 for the ClusterType single-node."));
        }
        (Some("multi-node"), _) => {
            return Err(combination(
                "NumberOfNodes must be at least 2 for the ClusterType multi-node.",
            ));
        }
        (Some(_), _) => return Err(invalid("ClusterType", "must be single-node or multi-node")),
    };
    Ok(())
}

/// It is checked and forgotten: there is no database to log in to.
fn password(password: Option<&str>) -> Result<(), Fault> {
    let Some(password) = password else { return Ok(()) };
    let has = |kind: fn(&u8) -> bool| password.bytes().any(|byte| kind(&byte));
    let good = (8..=64).contains(&password.len())
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
        && password
            .bytes()
            .all(|byte| (33..=126).contains(&byte) && !b"'\"\\/@".contains(&byte));
    if good {
        return Ok(());
    }
    Err(invalid(
        "MasterUserPassword",
        "must have 8 to 64 printable ASCII characters without ' \" \\ / @ and space, a capital and a small letter and a digit \
         among them",
    ))
}

fn groups(input: &Input, settings: &mut Settings) -> Result<(), Fault> {
    let known = |name: &&String| name.as_str() != "default";
    if let Some(name) = input.texts("ClusterSecurityGroups").iter().find(known) {
        let name = name.get(..128).unwrap_or(name);
        return Err(fault(
            "ClusterSecurityGroupNotFoundFault",
            &format!("There is no security group {name} here."),
        ));
    }
    let parameters = input.text("ClusterParameterGroupName");
    if parameters.is_some_and(|name| !["default.redshift-1.0", "default.redshift-2.0"].contains(&name)) {
        return Err(fault(
            "ClusterParameterGroupNotFoundFault",
            "There is no parameter group of this name here.",
        ));
    }
    let groups = input.texts("VpcSecurityGroupIds");
    let group = |id: &String| {
        id.starts_with("sg-") && id.len() <= 64 && id.bytes().skip(3).all(|byte| byte.is_ascii_alphanumeric())
    };
    if !groups.iter().all(group) || groups.len() > 50 {
        return Err(invalid(
            "VpcSecurityGroupIds",
            "must be at most 50 identifiers like sg-0123456789abcdef0",
        ));
    }
    if !groups.is_empty() {
        settings.vpc_security_groups = groups;
    }
    Ok(())
}

fn retention(input: &Input, name: &str, allowed: impl Fn(i64) -> bool) -> Result<Option<i32>, Fault> {
    match input.number(name) {
        Some(days) if !allowed(days) => {
            let rule = "is not a number of days that snapshots can be kept";
            Err(fault("InvalidRetentionPeriodFault", &format!("{name} {rule}.")))
        }
        days => Ok(days.and_then(|days| i32::try_from(days).ok())),
    }
}

/// `ddd:hh24:mi-ddd:hh24:mi`.
fn is_window(text: &str) -> bool {
    let moment = |text: &str| {
        let words: Vec<_> = text.split(':').collect();
        let number = |text: &str, below: u8| text.len() == 2 && text.parse::<u8>().is_ok_and(|number| number < below);
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        matches!(words.as_slice(), [day, hour, minute]
            if days.contains(&day.to_ascii_lowercase().as_str()) && number(hour, 24) && number(minute, 60))
    };
    text.split_once('-')
        .is_some_and(|(from, to)| moment(from) && moment(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn asked(change: &Value) -> Input {
        let mut all = json!({
            "ClusterIdentifier": "c", "NodeType": "dc2.large", "MasterUsername": "admin", "MasterUserPassword": "Passw0rd"
        });
        let members = all.as_object_mut().unwrap();
        members.extend(change.as_object().unwrap().clone());
        members.retain(|_, value| !value.is_null());
        Input(members.clone())
    }

    #[test]
    fn what_the_reference_does_not_allow_has_its_fault() {
        let cases = [
            (json!({"NodeType": "m5.large"}), "InvalidParameterValue"),
            (json!({"MasterUsername": "Public"}), "InvalidParameterValue"),
            (json!({"MasterUserPassword": "password"}), "InvalidParameterValue"),
            (json!({"MasterUserPassword": null}), "InvalidParameterCombination"),
            (json!({"DBName": "DB"}), "InvalidParameterValue"),
            (json!({"ClusterType": "multi-node"}), "InvalidParameterCombination"),
            (
                json!({"ClusterType": "single-node", "NumberOfNodes": 2}),
                "InvalidParameterCombination",
            ),
            (json!({"ClusterType": "x"}), "InvalidParameterValue"),
            (
                json!({"NumberOfNodes": 101}),
                "NumberOfNodesPerClusterLimitExceededFault",
            ),
            (json!({"Port": 80}), "InvalidParameterValue"),
            (
                json!({"AutomatedSnapshotRetentionPeriod": 36}),
                "InvalidRetentionPeriodFault",
            ),
            (
                json!({"ManualSnapshotRetentionPeriod": 0}),
                "InvalidRetentionPeriodFault",
            ),
            (
                json!({"PreferredMaintenanceWindow": "sun:24:00-sun:10:30"}),
                "InvalidParameterValue",
            ),
            (json!({"MaintenanceTrackName": "x"}), "InvalidClusterTrackFault"),
            (
                json!({"ClusterSubnetGroupName": "x"}),
                "ClusterSubnetGroupNotFoundFault",
            ),
            (
                json!({"ClusterSecurityGroups": ["x"]}),
                "ClusterSecurityGroupNotFoundFault",
            ),
            (
                json!({"ClusterParameterGroupName": "x"}),
                "ClusterParameterGroupNotFoundFault",
            ),
            (json!({"ElasticIp": "1.2.3.4"}), "InvalidElasticIpFault"),
            (
                json!({"SnapshotScheduleIdentifier": "x"}),
                "SnapshotScheduleNotFoundFault",
            ),
            (json!({"KmsKeyId": "x"}), "UnsupportedOperationFault"),
            (json!({"MultiAZ": true}), "UnsupportedOperationFault"),
            (json!({"IpAddressType": "dualstack"}), "Ipv6CidrBlockNotFoundFault"),
        ];
        for (change, code) in cases {
            assert_eq!(new(&asked(&change), "z").unwrap_err().code, code, "{change}");
        }
        let settings = new(
            &asked(&json!({"NumberOfNodes": 2, "ClusterType": "multi-node", "Port": 5431})),
            "z",
        )
        .unwrap();
        assert_eq!((settings.nodes, settings.port, settings.zone.as_str()), (2, 5431, "z"));
    }

    #[test]
    fn identifiers_of_clusters_follow_the_reference() {
        for id in ["", "A", "1a", "a-", "a--b", "a_b", &"a".repeat(64)] {
            let input = Input(json!({"ClusterIdentifier": id}).as_object().unwrap().clone());
            assert!(identifier(&input, "ClusterIdentifier").is_err(), "{id}");
        }
    }
}
