//! Who may call what on the control plane: one table, a row per method. What has no row is denied, as what is forbidden.
//! `docs/identity.md` shows this table; a test keeps both alike, and another holds it against the descriptors of all services.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// What somebody is on the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Everything.
    Admin,
    /// Makes and changes; deletes no keys and nobody's identity.
    Operator,
    /// Reads, the audit log too; changes nothing.
    Auditor,
    /// A program: its own records, and what the AWS front end needs.
    Service,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::Auditor, Self::Service];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Service => "service",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who asks: in the extensions of every request that a service sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The name of the certificate's record; `uid:1000` for a local user.
    pub(crate) name: Arc<str>,
    /// What it may do.
    pub(crate) role: Role,
}

/// A set of roles; an administrator is in each.
#[derive(Clone, Copy)]
struct Roles(&'static [Role]);

use Role::{Auditor, Operator, Service};

/// Administrators alone: what destroys keys, what changes who is who, what takes keys out.
const ADMIN: Roles = Roles(&[]);
/// Who runs the appliance.
const OPERATE: Roles = Roles(&[Operator]);
/// Who runs it, and the AWS front end.
const REGISTER: Roles = Roles(&[Operator, Service]);
/// People who look.
const LOOK: Roles = Roles(&[Operator, Auditor]);
/// Programs that keep records.
const KEEP: Roles = Roles(&[Service]);
/// Whoever looks at the audit log.
const AUDIT: Roles = Roles(&[Auditor]);
/// Everybody that is known.
const ALL: Roles = Roles(&[Operator, Auditor, Service]);

/// Service, method, roles.
type Row = (&'static str, &'static str, Roles);

const CLOUDHSM: &str = "cloudhsm.v1.CloudHsm";
const HSM_ADMIN: &str = "hsmd.admin.v1.HsmAdmin";
const IDENTITY: &str = "hsmd.identity.v1.Identity";
const RECORDS: &str = "hsmd.records.v1.Records";
const BACKUP: &str = "hsmd.backup.v1.Backup";
const AUDIT_LOG: &str = "hsmd.audit.v1.Audit";
const FLEET: &str = "hsmd.fleet.v1.Fleet";
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// The table.
const TABLE: &[Row] = &[
    (CLOUDHSM, "CreateHsm", OPERATE),
    (CLOUDHSM, "DescribeHsm", ALL),
    (CLOUDHSM, "ListHsms", ALL),
    (CLOUDHSM, "ModifyHsm", OPERATE),
    (CLOUDHSM, "DeleteHsm", ADMIN),
    (CLOUDHSM, "CreateHapg", OPERATE),
    (CLOUDHSM, "DescribeHapg", ALL),
    (CLOUDHSM, "ListHapgs", ALL),
    (CLOUDHSM, "ModifyHapg", OPERATE),
    (CLOUDHSM, "DeleteHapg", ADMIN),
    (CLOUDHSM, "CreateLunaClient", REGISTER),
    (CLOUDHSM, "DescribeLunaClient", ALL),
    (CLOUDHSM, "ListLunaClients", ALL),
    (CLOUDHSM, "ModifyLunaClient", REGISTER),
    (CLOUDHSM, "DeleteLunaClient", ADMIN),
    (CLOUDHSM, "GetConfig", REGISTER),
    (CLOUDHSM, "ListAvailableZones", ALL),
    (CLOUDHSM, "AddTagsToResource", OPERATE),
    (CLOUDHSM, "RemoveTagsFromResource", OPERATE),
    (CLOUDHSM, "ListTagsForResource", ALL),
    (HSM_ADMIN, "CreatePartition", OPERATE),
    (HSM_ADMIN, "ListPartitions", ALL),
    (HSM_ADMIN, "DeletePartition", ADMIN),
    (HSM_ADMIN, "SuspendHsm", OPERATE),
    (HSM_ADMIN, "ResumeHsm", OPERATE),
    (HSM_ADMIN, "CloneGroup", OPERATE),
    (HSM_ADMIN, "VerifyGroup", LOOK),
    (HSM_ADMIN, "AssignClient", OPERATE),
    (HSM_ADMIN, "RevokeClient", OPERATE),
    (HSM_ADMIN, "ListAssignments", LOOK),
    (HSM_ADMIN, "CreateLocalClient", OPERATE),
    (HSM_ADMIN, "DeleteLocalClient", ADMIN),
    (HSM_ADMIN, "ResizePartition", OPERATE),
    (HSM_ADMIN, "TightenPartition", OPERATE),
    (HSM_ADMIN, "ResetPartitionPin", OPERATE),
    (HSM_ADMIN, "SetCryptoUserPin", OPERATE),
    (HSM_ADMIN, "RekeyPartition", OPERATE),
    (HSM_ADMIN, "ListRoles", LOOK),
    (HSM_ADMIN, "UnlockRole", ADMIN),
    (HSM_ADMIN, "ListLogins", LOOK),
    (HSM_ADMIN, "RevokeLogin", OPERATE),
    (HSM_ADMIN, "ListConnections", LOOK),
    (HSM_ADMIN, "SetLogLevel", OPERATE),
    (HSM_ADMIN, "DescribeSecurityOfficer", LOOK),
    (HSM_ADMIN, "InitializeHsm", ADMIN),
    (HSM_ADMIN, "ZeroizeHsm", ADMIN),
    (HSM_ADMIN, "DescribeAccess", LOOK),
    (HSM_ADMIN, "Status", ALL),
    (RECORDS, "Put", KEEP),
    (RECORDS, "Get", KEEP),
    (RECORDS, "List", KEEP),
    (RECORDS, "Delete", KEEP),
    (RECORDS, "Batch", KEEP),
    (RECORDS, "Watch", KEEP),
    (BACKUP, "Create", ADMIN),
    (BACKUP, "Restore", ADMIN),
    (BACKUP, "ListAutomatic", LOOK),
    (IDENTITY, "IssueCertificate", ADMIN),
    (IDENTITY, "RegisterCertificate", ADMIN),
    (IDENTITY, "ListCertificates", AUDIT),
    (IDENTITY, "RevokeCertificate", ADMIN),
    (IDENTITY, "WhoAmI", ALL),
    (IDENTITY, "ListDenials", AUDIT),
    (AUDIT_LOG, "Head", AUDIT),
    (AUDIT_LOG, "Export", AUDIT),
    (AUDIT_LOG, "Tail", AUDIT),
    (AUDIT_LOG, "Verify", AUDIT),
    (AUDIT_LOG, "SetUse", AUDIT),
    (AUDIT_LOG, "ListUse", AUDIT),
    (FLEET, "ListNodes", ALL),
    (FLEET, "Drain", ADMIN),
    (FLEET, "RemoveNode", ADMIN),
    (FLEET, "MoveHsm", OPERATE),
    (FLEET, "Evacuate", OPERATE),
    (FLEET, "RaiseLevel", ADMIN),
    (HEALTH, "Check", ALL),
    (HEALTH, "Watch", ALL),
    (REFLECTION, "ServerReflectionInfo", ALL),
    (REFLECTION_ALPHA, "ServerReflectionInfo", ALL),
];

static BY_PATH: LazyLock<HashMap<String, Roles>> = LazyLock::new(|| {
    let path = |(service, method, roles): &Row| (format!("/{service}/{method}"), *roles);
    TABLE.iter().map(path).collect()
});

/// Whether a role may call the method of this path, `/package.Service/Method`.
pub(crate) fn may(role: Role, path: &str) -> bool {
    let known = BY_PATH.get(path);
    known.is_some_and(|roles| role == Role::Admin || roles.0.contains(&role))
}

/// The table as it stands in `docs/identity.md`.
#[cfg(test)]
fn markdown() -> String {
    use std::fmt::Write as _;
    let mut text =
        String::from("| service | method | admin | operator | auditor | service |\n|---|---|---|---|---|---|\n");
    for (service, method, _) in TABLE {
        let path = format!("/{service}/{method}");
        let cells = Role::ALL.map(|role| if may(role, &path) { "yes" } else { "" });
        writeln!(text, "| {service} | {method} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use std::collections::BTreeSet;

    /// Every method of every service that the daemon serves, by its path.
    fn methods() -> BTreeSet<String> {
        let sets = [
            hsmd_control::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut methods = BTreeSet::new();
        for set in sets {
            for file in prost_types::FileDescriptorSet::decode(set).unwrap().file {
                for service in &file.service {
                    let name = |method: &prost_types::MethodDescriptorProto| {
                        format!("/{}.{}/{}", file.package(), service.name(), method.name())
                    };
                    methods.extend(service.method.iter().map(name));
                }
            }
        }
        methods
    }

    #[test]
    fn every_method_has_one_row_and_no_row_is_stale() {
        let rows: Vec<_> = TABLE
            .iter()
            .map(|(service, method, _)| format!("/{service}/{method}"))
            .collect();
        let set: BTreeSet<_> = rows.iter().cloned().collect();
        assert_eq!(set.len(), rows.len(), "a method has two rows");
        let methods = methods();
        let missing: Vec<_> = methods.difference(&set).collect();
        let stale: Vec<_> = set.difference(&methods).collect();
        assert!(
            missing.is_empty(),
            "without a row in TABLE, and so denied to all: {missing:?}"
        );
        assert!(stale.is_empty(), "rows of TABLE without a method: {stale:?}");
    }

    #[test]
    fn an_unknown_method_is_nobodys() {
        for role in Role::ALL {
            for path in [
                "",
                "/",
                "/cloudhsm.v1.CloudHsm/createHsm",
                "/cloudhsm.v1.CloudHsm/CreateHsm/",
                "/x.Y/Z",
            ] {
                assert!(!may(role, path), "{role} {path}");
            }
            assert_eq!(Role::from_name(role.name()), Some(role));
        }
        assert_eq!(Role::from_name("root"), None);
    }

    #[test]
    fn roles_are_separate() {
        let path = |row: &Row| format!("/{}/{}", row.0, row.1);
        for row in TABLE {
            assert!(may(Role::Admin, &path(row)), "{}", row.1);
            let reads = [
                "Describe",
                "List",
                "Get",
                "Status",
                "WhoAmI",
                "ListDenials",
                "Check",
                "Watch",
                "ServerReflection",
            ]
            .iter()
            // What is recorded is the auditor's to say.
            .chain(&["Verify", "Export", "Tail", "Read", "Head", "SetUse"])
            .any(|word| row.1.starts_with(word));
            assert!(
                reads || !may(Auditor, &path(row)),
                "an auditor changes something: {}",
                row.1
            );
            let destroys = ["Delete", "Zero", "Destroy"].iter().any(|word| row.1.starts_with(word));
            let holder = destroys && [CLOUDHSM, HSM_ADMIN].contains(&row.0);
            assert!(!holder || !may(Operator, &path(row)), "an operator destroys: {}", row.1);
        }
    }

    #[test]
    fn the_documentation_shows_this_table() {
        let page = include_str!("../../../docs/identity.md");
        let table = markdown();
        assert!(
            page.contains(&table),
            "docs/identity.md, between \"<!-- roles -->\" and \"<!-- end of roles -->\", is to be:\n{table}"
        );
    }
}
