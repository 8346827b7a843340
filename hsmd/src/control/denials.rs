//! Denied requests: each has an id that the caller is told, and a reason that it is not. The log has both, and the last ones
//! are kept for the auditor.

use super::model::now_ms;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// How many are kept.
const KEPT: usize = 1_024;

/// A request that was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// 16 hexadecimal digits.
    pub(crate) id: String,
    /// Milliseconds since 1970.
    pub(crate) time_ms: u64,
    /// The caller's name, or what is known of it.
    pub(crate) caller: String,
    /// Empty: none.
    pub(crate) role: &'static str,
    /// `package.Service/Method`, as it was asked.
    pub(crate) method: String,
    /// Why.
    pub(crate) reason: &'static str,
}

/// The last denials.
#[derive(Default)]
pub(crate) struct Denials(Mutex<VecDeque<Denial>>);

impl Denials {
    /// Logs and keeps one; the answer is its id.
    pub(super) fn note(&self, caller: String, role: &'static str, path: &str, reason: &'static str) -> String {
        let id = super::model::hex8() + &super::model::hex8();
        // A path is the caller's text: bounded here, quoted in the log.
        let method: String = path.trim_start_matches('/').chars().take(128).collect();
        tracing::warn!(id, caller, role, ?method, reason, "denied");
        let denial = Denial {
            id: id.clone(),
            time_ms: now_ms(),
            caller,
            role,
            method,
            reason,
        };
        let mut kept = self.0.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(denial);
        id
    }

    /// The denial of this id, or all of them, oldest first.
    pub(super) fn find(&self, id: &str) -> Vec<Denial> {
        let kept = self.0.lock();
        let hits = kept.iter().filter(|denial| id.is_empty() || denial.id == id);
        hits.cloned().collect()
    }
}
