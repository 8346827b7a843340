//! The commands and flags of the original `cloudhsm` command line, as rows. What they do is in `act.rs`.

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    AddHsmToHapg,
    AddTag,
    CloneHapg,
    CloneHsm,
    CreateClient,
    CreateHapg,
    CreateHsm,
    DeleteClient,
    DeleteHapg,
    DeleteHsm,
    DeregisterClient,
    DescribeClient,
    DescribeHapg,
    DescribeHsm,
    GetConfiguration,
    InitializeHsm,
    ListClients,
    ListHapgs,
    ListHsms,
    ListTags,
    ModifyHsm,
    RegisterClient,
    RemoveHsmFromHapg,
    RemoveTags,
    Version,
}

/// How many values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// None: it is a switch.
    Nothing,
    /// One.
    One,
    /// One or more.
    Many,
}

/// A flag of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) value: &'static str,
    pub(super) takes: Takes,
    pub(super) required: bool,
    pub(super) help: &'static str,
}

/// A command.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) act: Act,
    pub(super) about: &'static str,
    pub(super) flags: &'static [Flag],
    pub(super) example: &'static str,
}

const fn flag(long: &'static str, short: Option<char>, value: &'static str, help: &'static str) -> Flag {
    Flag {
        long,
        short,
        value,
        takes: Takes::One,
        required: true,
        help,
    }
}

const fn optional(flag: Flag) -> Flag {
    Flag {
        required: false,
        ..flag
    }
}

const fn many(flag: Flag) -> Flag {
    Flag {
        takes: Takes::Many,
        ..flag
    }
}

const fn switch(long: &'static str, short: Option<char>, help: &'static str) -> Flag {
    Flag {
        long,
        short,
        value: "",
        takes: Takes::Nothing,
        required: false,
        help,
    }
}

const HSM: Flag = flag("hsm-arn", Some('H'), "ARN", "The HSM: ARN, id or serial number.");
const HAPG: Flag = flag(
    "hapg-arn",
    Some('G'),
    "ARN",
    "The group: ARN, id, serial number or label.",
);
const CLIENT: Flag = flag(
    "client-arn",
    Some('C'),
    "ARN",
    "The client: ARN, id, label or fingerprint.",
);
const RESOURCE: Flag = flag("resource-arn", None, "ARN", "The ARN of an HSM, a group or a client.");
const FORCE: Flag = switch("force", Some('y'), "Do it without asking.");
const SO_PASSWORD: Flag = flag(
    "so-password",
    None,
    "PASSWORD",
    "The HSM's security officer: file:PATH, fd:NUMBER, or the password itself, which others may see.",
);
const PARTITION_PASSWORD: Flag = flag(
    "partition-password",
    None,
    "PASSWORD",
    "The partition's: file:PATH, fd:NUMBER, or the password itself, which others may see.",
);
const DOMAIN: Flag = flag(
    "cloning-domain",
    Some('d'),
    "DOMAIN",
    "Taken and not used: members of a group share their keys.",
);
const SUBNET: Flag = flag("subnet-id", Some('n'), "ID", "The subnet.");
const ROLE: Flag = flag("iam-role-arn", None, "ARN", "The role in descriptions.");
const HSM_IP: Flag = optional(flag("hsm-ip", None, "ADDRESS", "The address."));
const EXTERNAL_ID: Flag = optional(flag("external-id", None, "ID", "Kept."));
const SYSLOG_IP: Flag = optional(flag("syslog-ip", None, "ADDRESS", "Where logs go."));

/// Flags of every command. Region, host and port are checked or explained; keys are not needed.
pub(super) const COMMON: &[Flag] = &[
    optional(flag(
        "aws-region",
        Some('r'),
        "REGION",
        "Taken and not used: ARNs say it.",
    )),
    optional(flag(
        "aws-access-key-id",
        Some('k'),
        "ACCESS",
        "Taken and not used: the socket or certificate says who calls.",
    )),
    optional(flag(
        "aws-secret-access-key",
        Some('s'),
        "SECRET",
        "Taken and not used.",
    )),
    optional(flag("aws-host", None, "HOST", "Taken and not used: see --endpoint.")),
    optional(flag("aws-port", None, "PORT", "Taken and not used: see --endpoint.")),
];

/// Flags before the command.
pub(super) const LEADING: &[Flag] = &[
    optional(flag(
        "conf_file",
        Some('c'),
        "FILE",
        "An ini file: keys are long flags with `_` for `-`.",
    )),
    switch("quiet", Some('q'), "Taken and not used."),
    switch("verbose", Some('v'), "Taken and not used."),
];

/// The commands.
pub(super) const TABLE: &[Row] = &[
    Row {
        name: "add-hsm-to-hapg",
        act: Act::AddHsmToHapg,
        about: "Adds an HSM to a group: makes a partition for it, or finds the one that an earlier run made.",
        flags: &[HSM, HAPG, SO_PASSWORD, PARTITION_PASSWORD, DOMAIN],
        example: "-H hsm-2b3c4d5e -G shop --so-password file:so.txt --partition-password file:pin.txt -d demo",
    },
    Row {
        name: "add-tag-to-resource",
        act: Act::AddTag,
        about: "Adds a tag.",
        flags: &[
            RESOURCE,
            flag("key", None, "KEY", "The key."),
            flag("value", None, "VALUE", "The value."),
        ],
        example: "--resource-arn arn:aws:cloudhsm:local-1:000000000000:hsm-1a2b3c4d --key stage --value test",
    },
    Row {
        name: "clone-hapg",
        act: Act::CloneHapg,
        about: "Copies the keys of a group to another one, whose user has the same password.",
        flags: &[
            flag("src-hapg-arn", Some('S'), "ARN", "The group to copy from."),
            flag("dest-hapg-arn", Some('D'), "ARN", "The group to copy to."),
            flag(
                "hapg-password",
                None,
                "PASSWORD",
                "The partitions': file:PATH, fd:NUMBER, or the password itself, which others may see.",
            ),
            FORCE,
        ],
        example: "-S web -D bank --hapg-password file:pin.txt -y",
    },
    Row {
        name: "clone-hsm",
        act: Act::CloneHsm,
        about: "Gives an HSM a partition in each group in which another one has one.",
        flags: &[
            flag("src-hsm-arn", Some('S'), "ARN", "The HSM to copy from."),
            flag("dest-hsm-arn", Some('D'), "ARN", "The HSM to copy to."),
            SO_PASSWORD,
            FORCE,
        ],
        example: "-S hsm-1a2b3c4d -D hsm-3c4d5e6f --so-password file:so.txt -y",
    },
    Row {
        name: "create-client",
        act: Act::CreateClient,
        about: "Registers a client.",
        flags: &[flag("certificate-file", Some('t'), "PATH", "Its certificate in PEM.")],
        example: "-t new.pem",
    },
    Row {
        name: "create-hapg",
        act: Act::CreateHapg,
        about: "Creates a group.",
        flags: &[flag("group-label", Some('l'), "LABEL", "Its label.")],
        example: "-l payments",
    },
    Row {
        name: "create-hsm",
        act: Act::CreateHsm,
        about: "Creates an HSM.",
        flags: &[
            SUBNET,
            flag(
                "ssh-public-key-file",
                None,
                "PATH",
                "The administrator's SSH public key.",
            ),
            ROLE,
            HSM_IP,
            EXTERNAL_ID,
            SYSLOG_IP,
            optional(flag("software-version", None, "VERSION", "Taken and not used.")),
            switch(
                "fips-certified",
                None,
                "Taken and not used: see the policies of partitions.",
            ),
        ],
        example: "-n subnet-0a1b2c3d --ssh-public-key-file id.pub --iam-role-arn arn:aws:iam::000000000000:role/hsmd",
    },
    Row {
        name: "delete-client",
        act: Act::DeleteClient,
        about: "Deletes a client.",
        flags: &[CLIENT],
        example: "-C app",
    },
    Row {
        name: "delete-hapg",
        act: Act::DeleteHapg,
        about: "Deletes a group; keys stay in its partitions.",
        flags: &[HAPG, FORCE],
        example: "-G shop -y",
    },
    Row {
        name: "delete-hsm",
        act: Act::DeleteHsm,
        about: "Deletes an HSM that holds no initialised partition.",
        flags: &[HSM, FORCE],
        example: "-H hsm-3c4d5e6f -y",
    },
    Row {
        name: "deregister-client-from-hapg",
        act: Act::DeregisterClient,
        about: "Takes a group from a client.",
        flags: &[CLIENT, HAPG],
        example: "-C app -G web",
    },
    Row {
        name: "describe-client",
        act: Act::DescribeClient,
        about: "Describes a client.",
        flags: &[CLIENT],
        example: "-C app",
    },
    Row {
        name: "describe-hapg",
        act: Act::DescribeHapg,
        about: "Describes a group.",
        flags: &[HAPG],
        example: "-G web",
    },
    Row {
        name: "describe-hsm",
        act: Act::DescribeHsm,
        about: "Describes an HSM.",
        flags: &[HSM],
        example: "-H hsm-1a2b3c4d",
    },
    Row {
        name: "get-client-configuration",
        act: Act::GetConfiguration,
        about: "Writes Chrystoki.conf and CAFile.pem for a client.",
        flags: &[
            CLIENT,
            many(flag("hapg-arns", Some('G'), "ARN", "The groups.")),
            optional(flag(
                "cert-directory",
                Some('f'),
                "DIR",
                "Where CAFile.pem goes; default: here.",
            )),
            optional(flag(
                "config-directory",
                Some('F'),
                "DIR",
                "Where Chrystoki.conf goes; default: here.",
            )),
        ],
        example: "-C app -G web",
    },
    Row {
        name: "initialize-hsm",
        act: Act::InitializeHsm,
        about: "Initialises an HSM: sets its label and its security officer's password.",
        flags: &[
            HSM,
            flag("label", Some('l'), "LABEL", "Its label."),
            SO_PASSWORD,
            flag(
                "cloning-domain",
                Some('d'),
                "DOMAIN",
                "Its cloning domain: file:PATH, fd:NUMBER, or the text itself.",
            ),
        ],
        example: "-H hsm-3c4d5e6f -l third --so-password file:so.txt -d file:domain.txt",
    },
    Row {
        name: "list-clients",
        act: Act::ListClients,
        about: "Lists clients.",
        flags: &[],
        example: "",
    },
    Row {
        name: "list-hapgs",
        act: Act::ListHapgs,
        about: "Lists groups.",
        flags: &[],
        example: "",
    },
    Row {
        name: "list-hsms",
        act: Act::ListHsms,
        about: "Lists HSMs.",
        flags: &[],
        example: "",
    },
    Row {
        name: "list-tags-for-resource",
        act: Act::ListTags,
        about: "Lists tags.",
        flags: &[RESOURCE],
        example: "--resource-arn arn:aws:cloudhsm:local-1:000000000000:hsm-1a2b3c4d",
    },
    Row {
        name: "modify-hsm",
        act: Act::ModifyHsm,
        about: "Changes an HSM.",
        flags: &[
            HSM,
            optional(SUBNET),
            optional(ROLE),
            HSM_IP,
            EXTERNAL_ID,
            SYSLOG_IP,
            FORCE,
        ],
        example: "-H hsm-1a2b3c4d --hsm-ip 10.0.0.77 -y",
    },
    Row {
        name: "register-client-to-hapg",
        act: Act::RegisterClient,
        about: "Gives a client a group.",
        flags: &[CLIENT, HAPG],
        example: "-C app -G web",
    },
    Row {
        name: "remove-hsm-from-hapg",
        act: Act::RemoveHsmFromHapg,
        about: "Takes an HSM out of a group and deletes its partition; the keys stay with the other members.",
        flags: &[HSM, HAPG, SO_PASSWORD, FORCE],
        example: "-H hsm-2b3c4d5e -G web --so-password file:so.txt -y",
    },
    Row {
        name: "remove-tags-from-resource",
        act: Act::RemoveTags,
        about: "Removes tags.",
        flags: &[RESOURCE, many(flag("keys", None, "KEY", "Their keys."))],
        example: "--resource-arn arn:aws:cloudhsm:local-1:000000000000:hsm-1a2b3c4d --keys stage owner",
    },
    Row {
        name: "version",
        act: Act::Version,
        about: "Says which version this is.",
        flags: &[],
        example: "",
    },
];
