//! EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKeyOnDemand, ListKeyRotations, and rotations that are due.
//! A rotation makes a new object in the token; the older ones stay, since ciphertexts name the material that sealed them.

use super::describe::seconds;
use super::input::{Input, truncated};
use super::key::{KeyRecord, Kind, Origin, State};
use super::keys::{Found, Keys};
use super::material::{self, Material, Rotated, Rotation, Stage};
use super::{Answer, Kms, internal, lifecycle, module_fault, now_ms, object, record_fault};
use crate::fault::Fault;
use crate::records::RecordError;
use crate::uuid;
use serde_json::{Map, Value, json};

/// Days between automatic rotations when the request does not say.
const PERIOD: usize = 365;
/// How often a key may be rotated on demand (the API's quota).
const MAX_ON_DEMAND: usize = 25;
/// How many rotations a list shows when the request does not say.
const PAGE: usize = 100;

/// EnableKeyRotation.
pub(super) async fn enable(kms: &Kms, input: Input) -> Answer {
    let period_days = input.number("RotationPeriodInDays").unwrap_or(PERIOD) as u64;
    let next_ms = now_ms() + period_days * kms.day_ms;
    set(kms, &input, Rotation { period_days, next_ms }).await
}

/// DisableKeyRotation.
pub(super) async fn disable(kms: &Kms, input: Input) -> Answer {
    set(kms, &input, Rotation::default()).await
}

async fn set(kms: &Kms, input: &Input, rotation: Rotation) -> Answer {
    let found = kms.find(input.must("KeyId")).await?;
    rotatable(&found, &[Origin::AwsKms])?;
    lifecycle::change(kms, input, |record| record.rotation = rotation).await?;
    Ok(Map::new())
}

/// Whether a key has materials that follow each other: a symmetric one, of these origins.
fn rotatable(found: &Found, origins: &[Origin]) -> Result<(), Fault> {
    found.is_outside_of_stores()?;
    let record = found.record();
    let symmetric = record.spec.row().is_some_and(|row| row.kind == Kind::Aes);
    if symmetric && origins.contains(&record.origin) {
        return Ok(());
    }
    let message = format!(
        "{} is a {} key of origin {}, which this operation does not serve.",
        found.arn,
        record.spec.0,
        record.origin.name()
    );
    Err(Fault::new(400, "UnsupportedOperationException", message))
}

const BOTH: &[Origin] = &[Origin::AwsKms, Origin::External];

/// GetKeyRotationStatus.
pub(super) async fn status(kms: &Kms, input: Input) -> Answer {
    let found = kms.find(input.must("KeyId")).await?;
    rotatable(&found, BOTH)?;
    found.allows(&input)?;
    let (record, rotation) = (found.record(), found.record().rotation);
    // A key that is to be deleted is not rotated; it is again when the deletion is cancelled.
    let enabled = rotation.period_days > 0 && record.state != State::PendingDeletion;
    let mut answer = Map::from_iter([
        ("KeyRotationEnabled".to_owned(), Value::from(enabled)),
        ("KeyId".to_owned(), found.arn.as_str().into()),
    ]);
    if enabled {
        answer.insert("RotationPeriodInDays".to_owned(), rotation.period_days.into());
        answer.insert("NextRotationDate".to_owned(), seconds(rotation.next_ms));
    }
    Ok(answer)
}

/// RotateKeyOnDemand: done when it answers.
pub(super) async fn on_demand(kms: &Kms, input: Input) -> Answer {
    let _alone = kms.materials.lock().await;
    let found = kms.find(input.must("KeyId")).await?;
    rotatable(&found, BOTH)?;
    found.allows(&input)?;
    let asked = |material: &&Material| material.rotated.is_some_and(|rotated| rotated.on_demand);
    if found.record().materials.iter().filter(asked).count() >= MAX_ON_DEMAND {
        let message = format!("a key is rotated on demand at most {MAX_ON_DEMAND} times");
        return Err(Fault::new(400, "LimitExceededException", message));
    }
    match found.record().origin {
        Origin::AwsKms => rotate(kms, &found, true).await?,
        Origin::External => take_waiting(kms, &found).await?,
    }
    Ok(Map::from_iter([("KeyId".to_owned(), Value::from(found.arn))]))
}

/// Gives a key a new material: recorded, made, then used.
async fn rotate(kms: &Kms, found: &Found, on_demand: bool) -> Result<(), Fault> {
    let object = material::hex(&uuid::random().ok_or_else(internal)?);
    let fresh = Material {
        id: material::random_id().ok_or_else(internal)?,
        object: object.clone(),
        stage: Stage::Making,
        rotated: None,
        import: None,
    };
    let found = &material::settled(kms, found.clone()).await?;
    let recorded = lifecycle::write(kms, found, |record| record.materials.push(fresh)).await?;
    let (id, label) = (material::bytes(&object), found.arn.clone());
    let (spec, usage) = (found.record().spec.clone(), found.record().usage);
    let made = kms
        .module
        .run(move |worker| object::make(worker, &spec, usage, &id, &label))
        .await;
    if let Err(error) = made {
        // It may have been made although no answer came.
        let undone = material::finish(kms, kms.keys().await?, &recorded.key).await;
        undone.map_err(|error| record_fault(&error))?;
        return Err(module_fault(&error, &found.arn));
    }
    let day_ms = kms.day_ms;
    let used = move |record: &mut KeyRecord| put_to_use(record, &object, on_demand, day_ms);
    lifecycle::write(kms, &recorded, used).await.map(drop)
}

/// From now on the key seals with this object.
fn put_to_use(record: &mut KeyRecord, object: &str, on_demand: bool, day_ms: u64) {
    let at_ms = now_ms();
    if let Some(fresh) = record.materials.iter_mut().find(|material| material.object == object) {
        fresh.stage = Stage::InUse;
        fresh.rotated = Some(Rotated { at_ms, on_demand });
    }
    record.material = object.to_owned();
    if !on_demand {
        record.rotation.next_ms = at_ms + record.rotation.period_days * day_ms;
    }
}

/// A key of brought material is rotated to what was brought for that.
async fn take_waiting(kms: &Kms, found: &Found) -> Result<(), Fault> {
    let mut materials = found.record().materials.iter();
    let waiting = materials.find(|material| material.stage == Stage::Waiting && material.is_present());
    let Some(object) = waiting.map(|material| material.object.clone()) else {
        let message = format!("{} has no key material that is pending rotation.", found.arn);
        return Err(Fault::new(400, "KMSInvalidStateException", message));
    };
    let day_ms = kms.day_ms;
    lifecycle::write(kms, found, move |record| put_to_use(record, &object, true, day_ms))
        .await
        .map(drop)
}

/// Rotates the keys whose time has come. One that is disabled waits until it is enabled.
pub(super) async fn rotate_due(kms: &Kms, keys: &Keys, now: u64) -> Result<(), RecordError> {
    let due = |record: &KeyRecord| {
        record.state == State::Enabled && record.rotation.period_days > 0 && record.rotation.next_ms <= now
    };
    for key in keys.all() {
        if !due(&key.record) {
            continue;
        }
        let _alone = kms.materials.lock().await;
        // It may have changed while others were rotated.
        let Some(key) = keys.get(&key.record.id).filter(|key| due(&key.record)) else {
            continue;
        };
        let arn = kms.arn(&format!("key/{}", key.record.id));
        if let Err(fault) = rotate(kms, &Found { key, arn, store: None }, false).await {
            tracing::warn!(code = %fault.code, message = fault.message, "a rotation that is due is tried again");
        }
    }
    Ok(())
}

/// ListKeyRotations: the oldest first.
pub(super) async fn list(kms: &Kms, input: Input) -> Answer {
    let found = kms.find(input.must("KeyId")).await?;
    rotatable(&found, BOTH)?;
    found.allows(&input)?;
    let record = found.record();
    let all = input.text("IncludeKeyMaterial") == Some("ALL_KEY_MATERIAL");
    let shown = |material: &&Material| material.stage != Stage::Making && (all || material.rotated.is_some());
    let rows: Vec<_> = record.materials.iter().filter(shown).collect();
    let (page, more) = input.page(rows, PAGE)?;
    let rows = page.iter().map(|material| entry(record, material)).collect();
    let mut answer = Map::from_iter([("Rotations".to_owned(), rows)]);
    truncated(&mut answer, more);
    Ok(answer)
}

fn entry(record: &KeyRecord, material: &Material) -> Value {
    let state = match material.stage {
        Stage::Waiting | Stage::Making => "PENDING_ROTATION",
        Stage::InUse if material.object == record.material => "CURRENT",
        Stage::InUse => "NON_CURRENT",
    };
    let mut out = json!({"KeyId": record.id, "KeyMaterialId": material.id, "KeyMaterialState": state});
    if let Some(rotated) = material.rotated {
        out["RotationDate"] = seconds(rotated.at_ms);
        out["RotationType"] = if rotated.on_demand { "ON_DEMAND" } else { "AUTOMATIC" }.into();
    }
    if let Some(import) = &material.import {
        out["ImportState"] = if import.present { "IMPORTED" } else { "PENDING_IMPORT" }.into();
        if let Some(description) = &import.description {
            out["KeyMaterialDescription"] = description.as_str().into();
        }
        if import.present && import.expires_ms > 0 {
            out["ExpirationModel"] = "KEY_MATERIAL_EXPIRES".into();
            out["ValidTo"] = seconds(import.expires_ms);
        } else if import.present {
            out["ExpirationModel"] = "KEY_MATERIAL_DOES_NOT_EXPIRE".into();
        }
    }
    out
}
