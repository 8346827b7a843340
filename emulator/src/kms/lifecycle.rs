//! CreateKey, EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion, UpdateKeyDescription, and what time brings.

use super::backing::Backing;
use super::input::Input;
use super::key::{KeyRecord, Kind, Origin, Row, SPECS, Spec, State, Usage};
use super::keys::{Found, Keys};
use super::material::{self, Material, Rotation, Stage};
use super::{Answer, Kms, describe, import, internal, now_ms, object, policy, record_fault, rotate, store, tags};
use crate::fault::Fault;
use crate::records::RecordError;
use crate::uuid;
use serde_json::{Map, Value};
use std::time::Duration;

/// Days that a key waits for its deletion when the request does not say.
const WINDOW: usize = 30;
/// A key that is not made after so long never will be: longer than the module's patience.
const ABANDONED_MS: u64 = 900_000;
/// How often keys are looked for whose time has come.
const ROUND: Duration = Duration::from_secs(30);

/// CreateKey: the record first, then the key with the record's id, then the record says that it is there.
pub(super) async fn create(kms: &Kms, input: Input) -> Answer {
    let (row, usage, origin) = chosen(&input)?;
    let tags = tags::read(&input)?;
    let policy = policy::read(kms, &input)?;
    let uuid = uuid::random().ok_or_else(internal)?;
    let id = uuid::text(&uuid);
    let place = store::place(kms, &input).await?;
    let arn = kms.arn(&format!("key/{id}"));
    let mut record = KeyRecord {
        spec: Spec(row.name.to_owned()),
        usage,
        state: State::PendingImport,
        description: input.text("Description").unwrap_or_default().to_owned(),
        created_ms: now_ms(),
        deletion_ms: 0,
        tags,
        policy,
        material: String::new(),
        backing: place.backing.clone(),
        origin,
        materials: Vec::new(),
        rotation: Rotation::default(),
        id,
    };
    if origin == Origin::AwsKms {
        record.state = State::Creating;
        record.material = material::hex(&uuid);
    }
    if origin == Origin::AwsKms && record.backing == Backing::Partition {
        record.materials.push(Material {
            id: material::random_id().ok_or_else(internal)?,
            object: record.material.clone(),
            stage: Stage::InUse,
            rotated: None,
            import: None,
        });
    }
    let keys = kms.keys().await?;
    let key = place.insert(kms, keys, record).await?;
    let found = Found {
        key,
        arn,
        store: place.store,
    };
    let found = match origin {
        Origin::AwsKms => make(kms, keys, found).await?,
        Origin::External => found,
    };
    Ok(Map::from_iter([(
        "KeyMetadata".to_owned(),
        describe::metadata(kms, &found),
    )]))
}

/// Makes the object of a key that is recorded, and says so in the record.
async fn make(kms: &Kms, keys: &Keys, found: Found) -> Result<Found, Fault> {
    let (id, label) = (found.record().object_id(), found.arn.clone());
    let (spec, usage) = (found.record().spec.clone(), found.record().usage);
    let made = match kms.holder(&found) {
        Ok(module) => {
            module
                .run(move |worker| object::make(worker, &spec, usage, &id, &label))
                .await
        }
        Err(fault) => {
            let _ = keys.remove(kms, &found.key).await;
            return Err(fault);
        }
    };
    if let Err(error) = made {
        // The key may have been made although no answer came: it goes first, then its record; tried again until it is done.
        if let Ok(ending) = keys
            .change(kms, &found.key, |record| record.state = State::Deleting)
            .await
        {
            let _ = kms.destroy(keys, &ending).await;
        }
        return Err(found.creation_fault(&error));
    }
    write(kms, &found, |record| record.state = State::Enabled).await
}

fn chosen(input: &Input) -> Result<(&'static Row, Usage, Origin), Fault> {
    let unsupported = |message: String| Fault::new(400, "UnsupportedOperationException", message);
    let validation = |message: String| Fault::new(400, "ValidationException", message);
    let origin = match input.text("Origin") {
        Some("EXTERNAL") => Origin::External,
        // What the others mean is the backing's.
        _ => Origin::AwsKms,
    };
    if input.flag("MultiRegion") {
        return Err(unsupported(
            "there is one region only: multi-Region keys are not served".into(),
        ));
    }
    let old = input.text("CustomerMasterKeySpec");
    let name = input.text("KeySpec").or(old).unwrap_or("SYMMETRIC_DEFAULT");
    let row = SPECS.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| unsupported(format!("KeySpec {name} is not served")))?;
    let usage = match (input.text("KeyUsage"), row.usages) {
        (Some(name), usages) => usages.iter().find(|usage| usage.name() == name).copied(),
        (None, usages) if row.kind == Kind::Aes => usages.first().copied(),
        (None, _) => None,
    };
    let usage = usage.ok_or_else(|| match input.text("KeyUsage") {
        Some(usage) => validation(format!("KeyUsage {usage} is not compatible with KeySpec {name}")),
        None => validation(
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.".into(),
        ),
    })?;
    Ok((row, usage, origin))
}

/// EnableKey.
pub(super) async fn enable(kms: &Kms, input: Input) -> Answer {
    set_state(kms, &input, State::Enabled).await
}

/// DisableKey.
pub(super) async fn disable(kms: &Kms, input: Input) -> Answer {
    set_state(kms, &input, State::Disabled).await
}

async fn set_state(kms: &Kms, input: &Input, state: State) -> Answer {
    change(kms, input, |record| record.state = state).await?;
    Ok(Map::new())
}

/// UpdateKeyDescription.
pub(super) async fn describe_anew(kms: &Kms, input: Input) -> Answer {
    let description = input.must("Description").to_owned();
    change(kms, &input, |record| record.description = description).await?;
    Ok(Map::new())
}

/// Changes the key of a request, if its state allows the operation.
pub(super) async fn change(kms: &Kms, input: &Input, change: impl FnOnce(&mut KeyRecord)) -> Result<Found, Fault> {
    let found = kms.allowed(input, "KeyId").await?;
    write(kms, &found, change).await
}

/// Changes a key.
pub(super) async fn write(kms: &Kms, found: &Found, change: impl FnOnce(&mut KeyRecord)) -> Result<Found, Fault> {
    let key = kms.keys().await?.change(kms, &found.key, change).await;
    Ok(Found {
        key: key.map_err(|error| record_fault(&error))?,
        arn: found.arn.clone(),
        store: found.store.clone(),
    })
}

/// ScheduleKeyDeletion.
pub(super) async fn schedule_deletion(kms: &Kms, input: Input) -> Answer {
    let days = input.number("PendingWindowInDays").unwrap_or(WINDOW);
    if !(7..=30).contains(&days) {
        return Err(Fault::new(
            400,
            "ValidationException",
            "PendingWindowInDays must be between 7 and 30",
        ));
    }
    let when = now_ms() + days as u64 * kms.day_ms;
    let found = change(kms, &input, |record| {
        record.state = State::PendingDeletion;
        record.deletion_ms = when;
    });
    let found = found.await?;
    Ok(Map::from_iter([
        ("KeyId".to_owned(), found.arn.into()),
        ("DeletionDate".to_owned(), describe::seconds(when)),
        ("KeyState".to_owned(), State::PendingDeletion.name().into()),
        ("PendingWindowInDays".to_owned(), days.into()),
    ]))
}

/// CancelKeyDeletion. The key is disabled afterwards.
pub(super) async fn cancel_deletion(kms: &Kms, input: Input) -> Answer {
    let found = change(kms, &input, |record| {
        record.state = if record.is_complete() {
            State::Disabled
        } else {
            State::PendingImport
        };
        record.deletion_ms = 0;
    });
    Ok(Map::from_iter([("KeyId".to_owned(), Value::from(found.await?.arn))]))
}

/// Does what time brings: deletes, for ever, keys whose waiting time is over, rotates keys, removes material that expires.
pub(crate) async fn keep_time(kms: &Kms) {
    let round = Duration::from_millis(kms.day_ms / 50).clamp(Duration::from_millis(100), ROUND);
    let mut rounds = tokio::time::interval(round);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let Ok(keys) = kms.keys().await else { continue };
        let now = now_ms();
        let done = async {
            end_due(kms, keys, now).await?;
            rotate::rotate_due(kms, keys, now).await?;
            import::expire_due(kms, keys, now).await
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, "what is due waits for the next round");
        }
    }
}

async fn end_due(kms: &Kms, keys: &Keys, now: u64) -> Result<(), RecordError> {
    for key in keys.all() {
        let due = match key.record.state {
            State::PendingDeletion => key.record.deletion_ms <= now,
            // Nobody was told of it, and nobody is still at it.
            State::Creating => key.record.created_ms + ABANDONED_MS <= now,
            State::Enabled | State::Disabled | State::PendingImport | State::Deleting => false,
        };
        if due {
            let ending = keys.change(kms, &key, |record| record.state = State::Deleting).await?;
            kms.destroy(keys, &ending).await?;
        } else if key.record.state == State::Deleting {
            kms.destroy(keys, &key).await?;
        }
    }
    Ok(())
}
