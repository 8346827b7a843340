//! The shapes of the CloudHSM Classic model that requests use, as rows: pattern, length, values, and the rule in words. A
//! test holds every row against the model; what the model leaves open and we must bound stands in `most`.

use regex::Regex;
use std::sync::OnceLock;

/// What a text may be.
pub(super) struct Shape {
    /// The name in the model.
    #[cfg_attr(not(test), expect(dead_code, reason = "by it the test finds the shape in the model"))]
    pub(super) name: &'static str,
    /// What the whole text must match, as the model has it; empty: anything.
    pub(super) pattern: &'static str,
    /// Fewest and most characters in the model.
    pub(super) length: (usize, usize),
    /// The only values, if the model names them.
    pub(super) values: &'static [&'static str],
    /// The rule in words.
    pub(super) rule: &'static str,
    /// Our own limit in bytes, where the model has none.
    most: usize,
    matcher: OnceLock<Option<Regex>>,
}

/// A length that the model does not limit.
pub(super) const ANY: (usize, usize) = (0, usize::MAX);
/// The limit in bytes of texts that the model does not limit.
const MOST: usize = 4096;

impl Shape {
    const fn new(name: &'static str, pattern: &'static str, rule: &'static str) -> Self {
        Self {
            name,
            pattern,
            length: ANY,
            values: &[],
            rule,
            most: MOST,
            matcher: OnceLock::new(),
        }
    }

    const fn length(mut self, fewest: usize, most: usize) -> Self {
        self.length = (fewest, most);
        self
    }

    const fn values(mut self, values: &'static [&'static str]) -> Self {
        self.values = values;
        self
    }

    const fn most(mut self, bytes: usize) -> Self {
        self.most = bytes;
        self
    }

    /// Whether a text has this shape.
    pub(super) fn fits(&self, text: &str) -> bool {
        if text.len() > self.most || !(self.values.is_empty() || self.values.contains(&text)) {
            return false;
        }
        let characters = text.chars().count();
        (self.length.0..=self.length.1).contains(&characters) && (self.pattern.is_empty() || self.matches(text))
    }

    fn matches(&self, text: &str) -> bool {
        // The model's classes are ASCII. A pattern that did not compile would refuse everything; a test compiles all.
        let matcher = self
            .matcher
            .get_or_init(|| Regex::new(&format!("^(?-u:{})$", self.pattern)).ok());
        matcher.as_ref().is_some_and(|matcher| matcher.is_match(text))
    }
}

pub(super) static CERTIFICATE: Shape = Shape::new(
    "Certificate",
    r"[\w :+=./\n-]*",
    "one X.509 certificate in PEM, 600 to 2400 characters",
)
.length(600, 2400);
pub(super) static CERTIFICATE_FINGERPRINT: Shape = Shape::new(
    "CertificateFingerprint",
    r"([0-9a-fA-F][0-9a-fA-F]:){15}[0-9a-fA-F][0-9a-fA-F]",
    "16 pairs of hexadecimal digits with colons",
);
pub(super) static CLIENT_ARN: Shape = Shape::new(
    "ClientArn",
    r"arn:aws(-iso)?:cloudhsm:[a-zA-Z0-9\-]*:[0-9]{12}:client-[0-9a-f]{8}",
    "the ARN of a client (...:client-<8 hexadecimal digits>)",
);
pub(super) static CLIENT_LABEL: Shape = Shape::new(
    "ClientLabel",
    r"[a-zA-Z0-9_.-]{2,64}",
    "2 to 64 letters, digits and any of _ . -",
);
pub(super) static CLIENT_TOKEN: Shape = Shape::new("ClientToken", r"[a-zA-Z0-9]{1,64}", "1 to 64 letters and digits");
pub(super) static CLIENT_VERSION: Shape = Shape::new("ClientVersion", r"", "5.1 or 5.3").values(&["5.1", "5.3"]);
pub(super) static EXTERNAL_ID: Shape =
    Shape::new("ExternalId", r"[\w :+=./-]*", "letters, digits and any of _ :+=./-").most(1224);
pub(super) static HAPG_ARN: Shape = Shape::new(
    "HapgArn",
    r"arn:aws(-iso)?:cloudhsm:[a-zA-Z0-9\-]*:[0-9]{12}:hapg-[0-9a-f]{8}",
    "the ARN of a group (...:hapg-<8 hexadecimal digits>)",
);
pub(super) static HSM_ARN: Shape = Shape::new(
    "HsmArn",
    r"arn:aws(-iso)?:cloudhsm:[a-zA-Z0-9\-]*:[0-9]{12}:hsm-[0-9a-f]{8}",
    "the ARN of an HSM (...:hsm-<8 hexadecimal digits>)",
);
pub(super) static HSM_SERIAL_NUMBER: Shape = Shape::new("HsmSerialNumber", r"\d{1,16}", "1 to 16 digits");
pub(super) static IAM_ROLE_ARN: Shape = Shape::new(
    "IamRoleArn",
    r"arn:aws(-iso)?:iam::[0-9]{12}:role/[a-zA-Z0-9_\+=,\.\-@]{1,64}",
    "arn:aws:iam::<12 digits>:role/<1 to 64 characters>",
);
pub(super) static IP_ADDRESS: Shape = Shape::new("IpAddress", r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", "an IPv4 address");
pub(super) static LABEL: Shape = Shape::new(
    "Label",
    r"[a-zA-Z0-9_.-]{1,64}",
    "1 to 64 letters, digits and any of _ . -",
);
pub(super) static PAGINATION_TOKEN: Shape = Shape::new(
    "PaginationToken",
    r"[a-zA-Z0-9+/]*",
    "the NextToken of an earlier answer",
)
.most(1024);
pub(super) static PARTITION_SERIAL: Shape = Shape::new("PartitionSerial", r"\d{6,12}", "6 to 12 digits");
pub(super) static SSH_KEY: Shape =
    Shape::new("SshKey", r"[a-zA-Z0-9+/= ._:\\@-]*", "an OpenSSH public key").most(16384);
pub(super) static STRING: Shape =
    Shape::new("String", r"[\w :+=./\\-]*", "letters, digits and any of _ :+=./\\-").most(1024);
pub(super) static SUBNET_ID: Shape = Shape::new("SubnetId", r"subnet-[0-9a-f]{8}", "subnet- and 8 hexadecimal digits");
pub(super) static SUBSCRIPTION_TYPE: Shape = Shape::new("SubscriptionType", r"", "PRODUCTION").values(&["PRODUCTION"]);
pub(super) static TAG_KEY: Shape = Shape::new("TagKey", r"", "1 to 128 characters").length(1, 128);
pub(super) static TAG_VALUE: Shape = Shape::new("TagValue", r"", "0 to 256 characters").length(0, 256);

/// All rows.
#[cfg(test)]
pub(super) static ALL: [&Shape; 21] = [
    &CERTIFICATE,
    &CERTIFICATE_FINGERPRINT,
    &CLIENT_ARN,
    &CLIENT_LABEL,
    &CLIENT_TOKEN,
    &CLIENT_VERSION,
    &EXTERNAL_ID,
    &HAPG_ARN,
    &HSM_ARN,
    &HSM_SERIAL_NUMBER,
    &IAM_ROLE_ARN,
    &IP_ADDRESS,
    &LABEL,
    &PAGINATION_TOKEN,
    &PARTITION_SERIAL,
    &SSH_KEY,
    &STRING,
    &SUBNET_ID,
    &SUBSCRIPTION_TYPE,
    &TAG_KEY,
    &TAG_VALUE,
];
