//! One record: what happened, and the line of JSON that it becomes in the chain. The line is the canonical form: it is what is
//! hashed, stored, exported and forwarded, byte for byte, so that later versions cannot render an old entry differently.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use hsmd_proto::ck::{KeyType, ObjectClass, Rv};
use hsmd_proto::ids::{KeySetId, UniqueId};

use super::act::Act;
use super::records::EventRecord;
use super::scene;

/// Most bytes of one text field.
const TEXT: usize = 256;

/// Who acted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Who {
    /// The daemon itself.
    #[default]
    Node,
    /// A user of this machine, through a Unix socket.
    Local {
        /// The user's number.
        user: u32,
        /// The process.
        process: u32,
    },
    /// An application host, by its certificate: `client-xxxxxxxx`.
    Client(String),
    /// An administrator, by certificate.
    Administrator {
        /// The name in the certificate's record.
        name: String,
        /// In which role.
        role: String,
    },
    /// Nobody that is known.
    Unknown,
}

impl Who {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Node => "node".to_owned(),
            Self::Local { user, .. } => format!("uid:{user}"),
            Self::Client(id) => format!("client:{id}"),
            Self::Administrator { name, .. } => format!("administrator:{name}"),
            Self::Unknown => "unknown".to_owned(),
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A PKCS#11 return value.
    Rv(Rv),
    /// A gRPC code.
    Grpc(i32),
}

/// The gRPC codes by their number.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Outcome {
    /// Whether the act was done.
    #[must_use]
    pub fn is_ok(self) -> bool {
        matches!(self, Self::Rv(Rv::OK) | Self::Grpc(0))
    }

    fn text(self) -> String {
        match self {
            Self::Rv(rv) => rv.to_string(),
            Self::Grpc(code) => {
                let name = usize::try_from(code).ok().and_then(|code| GRPC.get(code));
                name.map_or_else(|| format!("grpc {code}"), |name| (*name).to_owned())
            }
        }
    }
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub(super) record: EventRecord,
}

impl Event {
    /// An act that was done, by the current scene, there and now.
    #[must_use]
    pub fn new(act: Act) -> Self {
        let scene = scene::current();
        let (who, place) = match &scene {
            Some(scene) => (scene.who(), scene.place()),
            None => (Who::Node, scene::Place::default()),
        };
        let now = now_ms();
        let event = Self {
            record: EventRecord {
                act: u32::from(act.code()),
                time_ms: now,
                since_ms: now,
                count: 1,
                ..EventRecord::default()
            },
        };
        event.by(&who).at(&place.hsm, &place.partition)
    }

    /// By somebody else than the scene says.
    #[must_use]
    pub fn by(mut self, who: &Who) -> Self {
        self.record.who = clip(&who.text());
        self.record.process = 0;
        self.record.role.clear();
        match who {
            Who::Local { process, .. } => self.record.process = *process,
            Who::Administrator { role, .. } => self.record.role = clip(role),
            Who::Node | Who::Client(_) | Who::Unknown => {}
        }
        self
    }

    /// On this HSM and partition; empty where there is none.
    #[must_use]
    pub fn at(mut self, hsm: &str, partition: &str) -> Self {
        self.record.hsm = clip(hsm);
        self.record.partition = clip(partition);
        self
    }

    /// Of this key set.
    #[must_use]
    pub fn of(mut self, key_set: KeySetId) -> Self {
        self.record.key_set = key_set.0.to_vec();
        self
    }

    /// Of this object.
    #[must_use]
    pub fn object(mut self, id: UniqueId) -> Self {
        self.record.object = id.0.to_vec();
        self
    }

    /// Of this class and key type.
    #[must_use]
    pub fn kind(mut self, class: ObjectClass, key_type: Option<u64>) -> Self {
        self.record.class = Some(class.0);
        self.record.key_type = key_type;
        self
    }

    /// The object's label; for who has configured that labels are recorded.
    #[must_use]
    pub fn label(mut self, label: &[u8]) -> Self {
        self.record.label = clip(&String::from_utf8_lossy(label));
        self
    }

    /// What else is to be said, never a secret.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.record.detail = clip(&detail.into());
        self
    }

    /// Names of what it is about, in the detail; HSM and partition among them are put in their places.
    #[must_use]
    pub fn about(mut self, names: &[&str]) -> Self {
        for name in names {
            if let Some(serial) = name.strip_prefix("partition/") {
                self.record.partition = clip(serial);
            } else if let Some(id) = name.strip_prefix("hsm/") {
                self.record.hsm = clip(id);
            }
        }
        let mut detail = names.iter().take(4).copied().collect::<Vec<_>>().join(" ");
        if let Some(more) = names.len().checked_sub(4).filter(|more| *more > 0) {
            // Writing to a String does not fail.
            let _ = write!(detail, " and {more} more");
        }
        if !self.record.detail.is_empty() {
            detail.insert(0, ' ');
        }
        let detail = format!("{}{detail}", self.record.detail);
        self.detail(detail)
    }

    /// With this result.
    #[must_use]
    pub fn result(mut self, outcome: Outcome) -> Self {
        (self.record.grpc, self.record.result) = match outcome {
            Outcome::Rv(rv) => (false, rv.0),
            Outcome::Grpc(code) => (true, u64::try_from(code).unwrap_or(2)),
        };
        self
    }

    /// Happened so often, the last time now.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.record.count = count;
        self
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.record.outcome()
    }
}

impl EventRecord {
    pub(super) fn outcome(&self) -> Outcome {
        match self.grpc {
            true => Outcome::Grpc(i32::try_from(self.result).unwrap_or(2)),
            false => Outcome::Rv(Rv(self.result)),
        }
    }

    /// The canonical line of this record as entry `sequence`.
    pub(super) fn line(&self, sequence: u64) -> String {
        let mut out = String::with_capacity(320);
        let act = u16::try_from(self.act).ok().and_then(Act::from_code);
        // Writing to a String does not fail.
        let _ = write!(out, "{{\"sequence\":{sequence},\"time\":\"{}\"", Time(self.time_ms));
        text(&mut out, "act", act.map_or("unknown", Act::name));
        let _ = write!(out, ",\"code\":{}", self.act);
        text(&mut out, "who", &self.who);
        number(&mut out, "process", u64::from(self.process));
        text(&mut out, "role", &self.role);
        text(&mut out, "hsm", &self.hsm);
        text(&mut out, "partition", &self.partition);
        text(&mut out, "key_set", &hex(&self.key_set));
        text(&mut out, "object", &hex(&self.object));
        if let Some(class) = self.class {
            text(&mut out, "class", &ObjectClass(class).to_string());
        }
        if let Some(key_type) = self.key_type {
            text(&mut out, "key_type", &KeyType(key_type).to_string());
        }
        text(&mut out, "label", &self.label);
        text(&mut out, "detail", &self.detail);
        text(&mut out, "result", &self.outcome().text());
        if self.count != 1 {
            let _ = write!(out, ",\"count\":{},\"since\":\"{}\"", self.count, Time(self.since_ms));
        }
        out.push('}');
        out
    }
}

fn text(out: &mut String, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    let _ = write!(out, ",\"{name}\":\"");
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // RFC 8259, section 7; DEL and what is beyond need no escape, but line ends for people do.
            character if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push('"');
}

fn number(out: &mut String, name: &str, value: u64) {
    if value != 0 {
        let _ = write!(out, ",\"{name}\":{value}");
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn clip(text: &str) -> String {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // Control characters would spoil terminals and triple the length of a line.
    text[..end].replace(char::is_control, "?")
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time as entries say it: RFC 3339 in UTC with milliseconds, of milliseconds since 1970.
#[must_use]
pub fn time_text(ms: u64) -> String {
    Time(ms).to_string()
}

/// RFC 3339 in UTC with milliseconds.
struct Time(u64);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Days of the civil calendar in eras of 400 years that begin in March (as in RFC 3339's own appendix, the other way).
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march + 2) / 5 + 1;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_the_civil_calendar() {
        assert_eq!(Time(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Time(951_782_399_999).to_string(), "2000-02-28T23:59:59.999Z");
        assert_eq!(Time(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Time(1_795_334_400_123).to_string(), "2026-11-22T08:00:00.123Z");
    }

    #[test]
    fn a_line_says_what_is_known_and_escapes_the_rest() {
        let mut event = Event::new(Act::ObjectDestroy)
            .by(&Who::Local { user: 7, process: 9 })
            .at("hsm-1", "157541001")
            .object(UniqueId([0xab; 16]))
            .kind(ObjectClass::SECRET_KEY, None)
            .detail("a \"b\"\n\\")
            .result(Outcome::Rv(Rv::OK));
        event.record.time_ms = 0;
        assert_eq!(
            event.record.line(3),
            "{\"sequence\":3,\"time\":\"1970-01-01T00:00:00.000Z\",\"act\":\"object.destroy\",\"code\":403,\"who\":\"uid:7\",\
             \"process\":9,\"hsm\":\"hsm-1\",\"partition\":\"157541001\",\"object\":\"abababababababababababababababab\",\
             \"class\":\"CKO_SECRET_KEY\",\"detail\":\"a \\\"b\\\"?\\\\\",\"result\":\"CKR_OK\"}"
        );
    }

    #[test]
    fn texts_are_bounded() {
        let event = Event::new(Act::Control).detail("é".repeat(1000));
        assert_eq!(event.record.detail.len(), TEXT);
    }
}
