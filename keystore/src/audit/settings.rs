//! What the audit log can be told.

use std::time::Duration;

/// Options of the audit log.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// How long the chainer gathers acts before it chains them.
    pub interval: Duration,
    /// The most bytes of entries that are kept; the oldest go.
    pub max_bytes: u64,
    /// How long entries are kept; `None`: as long as `max_bytes` allows.
    pub keep: Option<Duration>,
    /// Whether entries tell the labels of objects.
    pub labels: bool,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(200),
            max_bytes: 64 << 20,
            keep: None,
            labels: false,
        }
    }
}
