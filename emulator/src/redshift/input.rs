//! A request that the model has let through, and the rules that the API reference adds to it.

use super::record::Tags;
use super::{fault, invalid};
use crate::fault::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The most tags of a resource.
pub(super) const MOST_TAGS: usize = 50;

/// The members of a request.
pub(super) struct Input(pub(super) Map<String, Value>);

impl Input {
    /// A text, if it is there.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A text that the model requires.
    pub(super) fn must(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// A text that the model requires, taken out: nothing of it stays here.
    pub(super) fn take(&mut self, name: &str) -> Zeroizing<String> {
        match self.0.remove(name) {
            Some(Value::String(text)) => Zeroizing::new(text),
            _ => Zeroizing::default(),
        }
    }

    /// A number, if it is there.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    /// A flag, if it is there.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    /// A list of texts; empty if it is not there.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let list = self.0.get(name).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    }

    /// A number within bounds.
    ///
    /// # Errors
    /// InvalidParameterValue.
    pub(super) fn within(&self, name: &str, low: i64, high: i64) -> Result<Option<i64>, Fault> {
        match self.number(name) {
            Some(number) if !(low..=high).contains(&number) => {
                Err(invalid(name, &format!("must be between {low} and {high}")))
            }
            found => Ok(found),
        }
    }

    /// The identifier of a resource that is to be made: what fits into an ARN.
    ///
    /// # Errors
    /// InvalidParameterValue.
    pub(super) fn identifier(&self, name: &str) -> Result<String, Fault> {
        let id = self.must(name);
        let good = (1..=255).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !good {
            return Err(invalid(
                name,
                "must have 1 to 255 letters, digits, hyphens, dots and underscores",
            ));
        }
        Ok(id.to_owned())
    }

    /// `Tags`.
    ///
    /// # Errors
    /// InvalidTagFault, TagLimitExceededFault.
    pub(super) fn tags(&self) -> Result<Tags, Fault> {
        let mut tags = Tags::new();
        let list = self.0.get("Tags").and_then(Value::as_array);
        for tag in list.into_iter().flatten() {
            let text = |name: &str| tag.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (key, value) = (text("Key"), text("Value"));
            tag_key(&key)?;
            if key.starts_with("aws:") {
                return Err(fault("InvalidTagFault", "A tag key must not begin with aws:."));
            }
            if value.chars().count() > 256 {
                return Err(fault("InvalidTagFault", "A tag value has at most 256 characters."));
            }
            if tags.insert(key, value).is_some() {
                return Err(fault("InvalidTagFault", "A tag key stands there twice."));
            }
        }
        limited(&tags)?;
        Ok(tags)
    }

    /// Which resources a Describe asks for by their tags.
    ///
    /// # Errors
    /// InvalidTagFault.
    pub(super) fn wanted(&self) -> Result<Wanted, Fault> {
        let wanted = Wanted {
            keys: self.texts("TagKeys"),
            values: self.texts("TagValues"),
        };
        wanted.keys.iter().try_for_each(|key| tag_key(key))?;
        Ok(wanted)
    }

    /// A page of a list that is in the order of its keys: `MaxRecords` after `Marker`.
    ///
    /// # Errors
    /// InvalidParameterValue.
    pub(super) fn page<T>(&self, mut list: Vec<(String, T)>) -> Result<(Vec<T>, Option<String>), Fault> {
        let most = self.within("MaxRecords", 20, 100)?.unwrap_or(100);
        if let Some(marker) = self.text("Marker").filter(|marker| !marker.is_empty()) {
            let after = STANDARD
                .decode(marker)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let after = after.ok_or_else(|| invalid("Marker", "must be one that an earlier answer gave"))?;
            list.retain(|(key, _)| *key > after);
        }
        let most = usize::try_from(most).unwrap_or(100);
        let more = list.len() > most;
        list.truncate(most);
        let marker = list.last().filter(|_| more).map(|(key, _)| STANDARD.encode(key));
        Ok((list.into_iter().map(|(_, found)| found).collect(), marker))
    }
}

fn tag_key(key: &str) -> Result<(), Fault> {
    if (1..=128).contains(&key.chars().count()) {
        return Ok(());
    }
    Err(fault("InvalidTagFault", "A tag key has 1 to 128 characters."))
}

/// Refuses more tags than a resource has.
///
/// # Errors
/// TagLimitExceededFault.
pub(super) fn limited(tags: &Tags) -> Result<(), Fault> {
    if tags.len() > MOST_TAGS {
        let message = format!("A resource has at most {MOST_TAGS} tags.");
        return Err(fault("TagLimitExceededFault", &message));
    }
    Ok(())
}

/// Keys and values of tags of which a resource must have one, in any combination.
pub(super) struct Wanted {
    keys: Vec<String>,
    values: Vec<String>,
}

impl Wanted {
    /// Whether a tag is one of them.
    pub(super) fn has(&self, key: &str, value: &str) -> bool {
        let among = |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| one == text);
        among(&self.keys, key) && among(&self.values, value)
    }

    /// Whether a resource is asked for.
    pub(super) fn matches(&self, tags: &Tags) -> bool {
        let any = self.keys.is_empty() && self.values.is_empty();
        any || tags.iter().any(|(key, value)| self.has(key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn input(value: Value) -> Input {
        Input(value.as_object().unwrap().clone())
    }

    #[test]
    fn pages_follow_each_other_and_no_marker_is_invented() {
        let list: Vec<_> = (0..45).map(|number| (format!("c{number:02}"), number)).collect();
        let mut marker = None;
        let mut seen = Vec::new();
        loop {
            let mut asked = json!({"MaxRecords": 20});
            if let Some(marker) = &marker {
                asked["Marker"] = Value::String(String::clone(marker));
            }
            let (page, next) = input(asked).page(list.clone()).unwrap();
            seen.extend(page);
            marker = next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..45).collect::<Vec<_>>());
        for asked in [
            json!({"MaxRecords": 19}),
            json!({"MaxRecords": 101}),
            json!({"Marker": "%"}),
        ] {
            assert_eq!(
                input(asked).page(list.clone()).unwrap_err().code,
                "InvalidParameterValue"
            );
        }
    }

    #[test]
    fn tags_have_limits() {
        let many: Vec<_> = (0..51).map(|n| json!({"Key": n.to_string(), "Value": ""})).collect();
        let cases = [
            (json!([{"Key": "", "Value": "v"}]), "InvalidTagFault"),
            (json!([{"Key": "aws:a", "Value": "v"}]), "InvalidTagFault"),
            (json!([{"Key": "a".repeat(129), "Value": "v"}]), "InvalidTagFault"),
            (json!([{"Key": "a", "Value": "v".repeat(257)}]), "InvalidTagFault"),
            (json!([{"Key": "a"}, {"Key": "a"}]), "InvalidTagFault"),
            (json!(many), "TagLimitExceededFault"),
        ];
        for (tags, code) in cases {
            assert_eq!(input(json!({"Tags": tags})).tags().unwrap_err().code, code, "{tags}");
        }
        assert_eq!(input(json!({"Tags": many[..50]})).tags().unwrap().len(), 50);
    }

    #[test]
    fn keys_and_values_of_tags_select_in_any_combination() {
        let tags = Tags::from([("owner".into(), "a".into()), ("stage".into(), "b".into())]);
        let wanted = |keys: &[&str], values: &[&str]| {
            input(json!({"TagKeys": keys, "TagValues": values}))
                .wanted()
                .unwrap()
                .matches(&tags)
        };
        assert!(wanted(&[], &[]) && wanted(&["owner", "x"], &[]) && wanted(&[], &["b"]) && wanted(&["owner"], &["a"]));
        assert!(!wanted(&["x"], &[]) && !wanted(&["owner"], &["b"]) && !wanted(&[], &["x"]));
    }
}
