//! TagResource, UntagResource, ListResourceTags.

use super::input::{Input, truncated};
use super::{Answer, Kms, lifecycle};
use crate::fault::Fault;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The most tags of a key (the API's limit).
const MAX: usize = 50;

/// The tags of a request.
///
/// # Errors
/// TagException.
pub(super) fn read(input: &Input) -> Result<BTreeMap<String, String>, Fault> {
    let mut tags = BTreeMap::new();
    for tag in input.list("Tags") {
        let text = |name: &str| tag.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = text("TagKey");
        if key.starts_with("aws:") {
            return Err(Fault::new(400, "TagException", "tag keys must not begin with aws:"));
        }
        if tags.insert(key, text("TagValue")).is_some() {
            return Err(Fault::new(400, "TagException", "a tag key stands there twice"));
        }
    }
    Ok(tags)
}

/// TagResource.
pub(super) async fn add(kms: &Kms, input: Input) -> Answer {
    let tags = read(&input)?;
    let found = kms.allowed(&input, "KeyId").await?;
    let mut all = found.record().tags.clone();
    all.extend(tags);
    if all.len() > MAX {
        return Err(Fault::new(400, "LimitExceededException", "a key has at most 50 tags"));
    }
    lifecycle::change(kms, &input, |record| record.tags = all).await?;
    Ok(Map::new())
}

/// UntagResource. A key that is not there is no error.
pub(super) async fn remove(kms: &Kms, input: Input) -> Answer {
    let names: Vec<_> = input.texts("TagKeys").collect();
    lifecycle::change(kms, &input, |record| {
        record.tags.retain(|key, _| !names.contains(&key.as_str()));
    })
    .await?;
    Ok(Map::new())
}

/// ListResourceTags.
pub(super) async fn list(kms: &Kms, input: Input) -> Answer {
    let found = kms.find(input.must("KeyId")).await?;
    let tags: Vec<_> = found.record().tags.clone().into_iter().collect();
    input.limit(MAX)?;
    let (page, more) = input.page(tags, MAX)?;
    let rows = page
        .iter()
        .map(|(key, value)| json!({"TagKey": key, "TagValue": value}));
    let mut answer = Map::from_iter([("Tags".to_owned(), rows.collect())]);
    truncated(&mut answer, more);
    Ok(answer)
}
