//! The table of acts. Code and name of an act never change and are never used again: logs outlive versions. `docs/audit.md` shows
//! this table, and a test holds the two against each other.

macro_rules! acts {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal $word:literal,)*) => {
        /// What was done. The number is the code in the log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Act {
            $($(#[doc = $doc])+ $name = $code,)*
        }

        impl Act {
            /// All acts in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in the log.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+),)*
                }
            }

            /// The act of a code.
            #[must_use]
            pub const fn from_code(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

acts! {
    /// The daemon has started; the detail says its version.
    DaemonStart = 100 "daemon.start",
    /// The daemon stops in order.
    DaemonStop = 101 "daemon.stop",
    /// The start found damage, and what it did about it.
    DaemonNotice = 102 "daemon.notice",
    /// Records of the control plane changed outside a request: the daemon finished what a stop had interrupted.
    RecordsChange = 103 "records.change",
    /// The oldest entries were dropped, as keep_days or max_bytes say; the detail says up to which, with its hash.
    LogDrop = 110 "log.drop",
    /// The log's records were damaged: a new chain has begun; the detail says what is known of the old one.
    LogRestart = 111 "log.restart",
    /// Entries were read out.
    LogExport = 112 "log.export",
    /// Settings of the log changed.
    LogSettings = 113 "log.settings",
    /// So many entries could not be kept: a pending record was damaged, or records of key uses were more than the queue takes.
    LogLoss = 114 "log.loss",
    /// So many entries could not be forwarded to the syslog server of an HSM.
    SyslogLoss = 115 "syslog.loss",
    /// An HSM was created.
    HsmCreate = 200 "hsm.create",
    /// An HSM was modified.
    HsmModify = 201 "hsm.modify",
    /// An HSM was deleted.
    HsmDelete = 202 "hsm.delete",
    /// An HSM was suspended.
    HsmSuspend = 203 "hsm.suspend",
    /// A suspended HSM was resumed.
    HsmResume = 204 "hsm.resume",
    /// An HSM was initialised.
    HsmInitialize = 205 "hsm.initialize",
    /// An HSM was zeroised.
    HsmZeroize = 206 "hsm.zeroize",
    /// A group was created.
    GroupCreate = 210 "group.create",
    /// A group was modified: members, label.
    GroupModify = 211 "group.modify",
    /// A group was deleted.
    GroupDelete = 212 "group.delete",
    /// A client's certificate was registered.
    ClientCreate = 220 "client.create",
    /// A client's certificate was replaced.
    ClientModify = 221 "client.modify",
    /// A client was deleted.
    ClientDelete = 222 "client.delete",
    /// Partitions or groups were assigned to a client.
    ClientAssign = 223 "client.assign",
    /// Partitions or groups were taken from a client.
    ClientRevoke = 224 "client.revoke",
    /// The configuration of a client was handed out.
    ClientConfig = 225 "client.config",
    /// A partition was created.
    PartitionCreate = 230 "partition.create",
    /// A partition was deleted with its keys.
    PartitionDelete = 231 "partition.delete",
    /// Settings of a partition changed: policy, quota, label.
    PartitionModify = 232 "partition.modify",
    /// Tags were added or removed.
    TagsChange = 240 "tags.change",
    /// An administrator's or server's certificate was issued, renewed or revoked.
    CertificateChange = 250 "certificate.change",
    /// A backup was made.
    BackupCreate = 260 "backup.create",
    /// A backup was restored.
    BackupRestore = 261 "backup.restore",
    /// Documents of a front end changed.
    DocumentsChange = 270 "documents.change",
    /// Any other request of the control plane that changes something; the detail names it.
    Control = 290 "control.other",
    /// C_InitToken: a token was initialised, or initialised anew and so emptied.
    TokenInit = 300 "token.init",
    /// C_InitPIN: the security officer gave the user a PIN.
    PinInit = 301 "pin.init",
    /// C_SetPIN: a PIN was changed.
    PinSet = 302 "pin.set",
    /// Wrong PINs have locked a role.
    PinLock = 303 "pin.lock",
    /// An administrator opened a locked role.
    PinUnlock = 304 "pin.unlock",
    /// C_Login.
    Login = 310 "login",
    /// C_Logout.
    Logout = 311 "logout",
    /// All logins of a partition were ended.
    LoginsEnd = 312 "logins.end",
    /// A key set was made for a partition or group.
    KeySetCreate = 320 "keyset.create",
    /// A key set was deleted with its keys.
    KeySetDelete = 321 "keyset.delete",
    /// The policy of a key set was tightened.
    PolicyTighten = 322 "policy.tighten",
    /// The objects of a key set were sealed anew under a new key, and its logins ended.
    KeySetRekey = 323 "keyset.rekey",
    /// C_CreateObject: an object, key or not, came from outside.
    ObjectCreate = 400 "object.create",
    /// C_CopyObject.
    ObjectCopy = 401 "object.copy",
    /// C_SetAttributeValue; the detail names the attributes.
    ObjectChange = 402 "object.change",
    /// C_DestroyObject.
    ObjectDestroy = 403 "object.destroy",
    /// C_GenerateKey or C_GenerateKeyPair, one entry for each half.
    KeyGenerate = 410 "key.generate",
    /// C_UnwrapKey.
    KeyUnwrap = 411 "key.unwrap",
    /// C_DeriveKey.
    KeyDerive = 412 "key.derive",
    /// C_WrapKey: a key left wrapped; the detail names the wrapping key.
    KeyWrap = 413 "key.wrap",
    /// C_EncapsulateKey: a secret key was made for who has the private half.
    KeyEncapsulate = 414 "key.encapsulate",
    /// C_DecapsulateKey: a secret key came out of a ciphertext.
    KeyDecapsulate = 415 "key.decapsulate",
    /// A key was used; only for partitions that ask for it. The detail names operation and mechanism.
    KeyUse = 420 "key.use",
    /// A connection was refused before anybody was known on it.
    ConnectionRefuse = 500 "connection.refuse",
}

impl Act {
    /// The code in the log.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }
}

#[cfg(test)]
mod tests {
    use super::Act;
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::Path;

    const BEGIN: &str = "<!-- acts: written from keystore/src/audit/act.rs -->\n";
    const END: &str = "<!-- end of acts -->";

    #[test]
    fn the_page_shows_the_table() {
        let mut table = String::from("| code | act | what |\n|---|---|---|\n");
        for act in Act::ALL {
            writeln!(table, "| {} | `{}` |{} |", act.code(), act.name(), act.meaning()).unwrap();
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/audit.md");
        let page = std::fs::read_to_string(&file).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (shown, after) = rest.split_once(END).unwrap();
        if std::env::var_os("HSMD_WRITE_DOCS").is_some() {
            std::fs::write(&file, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        } else {
            let advice = "HSMD_WRITE_DOCS=1 cargo test --profile ci -p hsmd-keystore the_page_shows_the_table";
            assert!(shown == table, "docs/audit.md is behind the table: {advice}");
        }
    }

    #[test]
    fn codes_and_names_are_unique_and_ascend() {
        assert!(Act::ALL.is_sorted_by(|a, b| a.code() < b.code()));
        let names: BTreeSet<_> = Act::ALL.iter().map(|act| act.name()).collect();
        assert_eq!(names.len(), Act::ALL.len());
        for act in Act::ALL {
            assert_eq!(Act::from_code(act.code()), Some(*act));
            assert!(act.name().chars().all(|c| c.is_ascii_lowercase() || c == '.'));
        }
    }
}
