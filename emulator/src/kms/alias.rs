//! CreateAlias, UpdateAlias, DeleteAlias, ListAliases.

use super::describe::seconds;
use super::input::{Input, truncated};
use super::keys::AliasRecord;
use super::{Answer, Kms, now_ms, record_fault};
use crate::fault::Fault;
use serde_json::{Map, json};

/// The most aliases (the API's default quota is 50 of a key).
const MAX_OF_A_KEY: usize = 50;

/// CreateAlias.
pub(super) async fn create(kms: &Kms, input: Input) -> Answer {
    let name = own_name(&input, "InvalidAliasNameException")?;
    let found = kms.allowed(&input, "TargetKeyId").await?;
    let keys = kms.keys().await?;
    if keys.alias(name).is_some() {
        let message = format!("An alias with the name {} already exists", kms.arn(name));
        return Err(Fault::new(400, "AlreadyExistsException", message));
    }
    let target = found.record().id.clone();
    if keys
        .aliases()
        .iter()
        .filter(|(_, alias)| alias.record.target == target)
        .count()
        >= MAX_OF_A_KEY
    {
        return Err(Fault::new(
            400,
            "LimitExceededException",
            "a key has at most 50 aliases",
        ));
    }
    let now = now_ms();
    let alias = AliasRecord {
        target,
        created_ms: now,
        updated_ms: now,
    };
    keys.put_alias(kms, name, 0, Some(alias))
        .await
        .map_err(|error| record_fault(&error))?;
    Ok(Map::new())
}

/// UpdateAlias.
pub(super) async fn update(kms: &Kms, input: Input) -> Answer {
    let name = own_name(&input, "ValidationException")?;
    let found = kms.allowed(&input, "TargetKeyId").await?;
    let keys = kms.keys().await?;
    let alias = keys.alias(name).ok_or_else(|| missing(kms, name))?;
    let old = keys.get(&alias.record.target);
    let fits = old.is_none_or(|old| old.record.usage == found.record().usage && same_kind(&old.record, found.record()));
    if !fits {
        let message = "an alias moves to keys of the same kind and usage only";
        return Err(Fault::new(400, "ValidationException", message));
    }
    let record = AliasRecord {
        target: found.record().id.clone(),
        updated_ms: now_ms(),
        ..alias.record
    };
    keys.put_alias(kms, name, alias.version, Some(record))
        .await
        .map_err(|error| record_fault(&error))?;
    Ok(Map::new())
}

fn same_kind(old: &super::key::KeyRecord, new: &super::key::KeyRecord) -> bool {
    let kind = |record: &super::key::KeyRecord| super::keys::class(record);
    kind(old) == kind(new)
}

/// DeleteAlias.
pub(super) async fn delete(kms: &Kms, input: Input) -> Answer {
    let name = input.must("AliasName");
    let keys = kms.keys().await?;
    let alias = keys.alias(name).ok_or_else(|| missing(kms, name))?;
    keys.put_alias(kms, name, alias.version, None)
        .await
        .map_err(|error| record_fault(&error))?;
    Ok(Map::new())
}

/// ListAliases: of one key, or of all.
pub(super) async fn list(kms: &Kms, input: Input) -> Answer {
    let only = match input.text("KeyId") {
        Some(name) => Some(kms.find(name).await?.record().id.clone()),
        None => None,
    };
    let keys = kms.keys().await?;
    let mut aliases = keys.aliases();
    aliases.retain(|(_, alias)| only.as_ref().is_none_or(|id| *id == alias.record.target));
    aliases.retain(|(_, alias)| {
        keys.get(&alias.record.target)
            .is_some_and(|key| key.record.state.is_shown())
    });
    let (page, more) = input.page(aliases, 50)?;
    let rows = page.iter().map(|(name, alias)| {
        json!({
            "AliasName": name, "AliasArn": kms.arn(name), "TargetKeyId": alias.record.target,
            "CreationDate": seconds(alias.record.created_ms), "LastUpdatedDate": seconds(alias.record.updated_ms),
        })
    });
    let mut answer = Map::from_iter([("Aliases".to_owned(), rows.collect())]);
    truncated(&mut answer, more);
    Ok(answer)
}

/// The name that a request gives: of the form that customers may use. The error for another form is the operation's.
fn own_name<'a>(input: &'a Input, code: &'static str) -> Result<&'a str, Fault> {
    let name = input.must("AliasName");
    let invalid = |message: &str| Err(Fault::new(400, code, message));
    match name.strip_prefix("alias/") {
        None | Some("") => invalid("Alias must start with the prefix \"alias/\""),
        Some(rest) if rest.starts_with("aws/") => Err(Fault::new(
            400,
            "NotAuthorizedException",
            "names that begin with alias/aws/ are reserved",
        )),
        Some(_) => Ok(name),
    }
}

fn missing(kms: &Kms, name: &str) -> Fault {
    Fault::new(
        400,
        "NotFoundException",
        format!("Alias {} is not found.", kms.arn(name)),
    )
}
