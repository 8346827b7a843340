//! A request that the model has let through: members have their types and lengths.

use crate::fault::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The members of a request, and its operation.
pub(super) struct Input(pub(super) Map<String, Value>, pub(super) &'static str);

impl Input {
    /// The operation.
    pub(super) const fn operation(&self) -> &'static str {
        self.1
    }

    /// A text, if it is there.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A text that the model requires.
    pub(super) fn must(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// Bytes, if they are there.
    pub(super) fn blob(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.text(name)
            .and_then(|text| STANDARD.decode(text).ok())
            .map(Zeroizing::new)
    }

    /// Bytes that the model requires.
    pub(super) fn bytes(&self, name: &str) -> Zeroizing<Vec<u8>> {
        self.blob(name).unwrap_or_default()
    }

    /// A number, if it is there.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.0
            .get(name)
            .and_then(Value::as_u64)
            .and_then(|number| usize::try_from(number).ok())
    }

    /// Whether a flag is there and true.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The pairs of a map of texts.
    pub(super) fn pairs(&self, name: &str) -> Vec<(&str, &str)> {
        let map = self.0.get(name).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
            .collect()
    }

    /// The texts of a list.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let list = self.0.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }

    /// The structures of a list.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &Map<String, Value>> {
        self.0
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
    }

    /// Refuses an answer for a Nitro enclave: there are none.
    ///
    /// # Errors
    /// UnsupportedOperationException.
    pub(super) fn no_enclave(&self) -> Result<(), Fault> {
        if self.0.get("Recipient").is_none_or(Value::is_null) {
            return Ok(());
        }
        let message = "there is no Nitro enclave here: Recipient is not served";
        Err(Fault::new(400, "UnsupportedOperationException", message))
    }

    /// Ends a request that only asked whether it would succeed.
    ///
    /// # Errors
    /// DryRunOperationException, if `DryRun` is true.
    pub(super) fn dry_run(&self) -> Result<(), Fault> {
        if self.flag("DryRun") {
            let message = "The request would have succeeded, but the DryRun option is set.";
            return Err(Fault::new(400, "DryRunOperationException", message));
        }
        Ok(())
    }

    /// Checks a limit of a list that is smaller than the model's.
    ///
    /// # Errors
    /// ValidationException.
    pub(super) fn limit(&self, most: usize) -> Result<(), Fault> {
        match self.number("Limit") {
            Some(limit) if limit > most => {
                let message = format!("Limit must be between 1 and {most}");
                Err(Fault::new(400, "ValidationException", message))
            }
            _ => Ok(()),
        }
    }

    /// A page of a list that is in order: from where, and how many.
    ///
    /// # Errors
    /// InvalidMarkerException.
    pub(super) fn page<T>(&self, list: Vec<T>, usual: usize) -> Result<(Vec<T>, Option<usize>), Fault> {
        let invalid = || {
            Fault::new(
                400,
                "InvalidMarkerException",
                "Marker is not one that a truncated answer gave",
            )
        };
        let start = match self.text("Marker") {
            None => 0,
            Some(marker) => marker
                .parse::<usize>()
                .ok()
                .filter(|start| *start <= list.len())
                .ok_or_else(invalid)?,
        };
        let limit = self.number("Limit").unwrap_or(usual);
        let next = start + limit;
        let more = (next < list.len()).then_some(next);
        Ok((list.into_iter().skip(start).take(limit).collect(), more))
    }
}

/// Bytes in an answer.
pub(super) fn blob(bytes: &[u8]) -> Value {
    Value::String(STANDARD.encode(bytes))
}

/// Puts `NextMarker` and `Truncated` into an answer.
pub(super) fn truncated(answer: &mut Map<String, Value>, more: Option<usize>) {
    if let Some(next) = more {
        answer.insert("NextMarker".into(), next.to_string().into());
    }
    answer.insert("Truncated".into(), more.is_some().into());
}
