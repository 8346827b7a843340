//! CreateKey, EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion, UpdateKeyDescription, and the end of keys whose
//! time has come.

use super::input::Input;
use super::key::{KeyRecord, Kind, Row, SPECS, Spec, State, Usage};
use super::keys::{Found, Keys};
use super::{Answer, Kms, describe, internal, now_ms, record_fault, store, tags};
use crate::fault::Fault;
use crate::module::{ModuleError, Worker};
use crate::uuid;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use serde_json::{Map, Value};
use std::time::Duration;

/// Days that a key waits for its deletion when the request does not say.
const WINDOW: usize = 30;
const DAY_MS: u64 = 86_400_000;
/// A key that is not made after so long never will be: longer than the module's patience.
const ABANDONED_MS: u64 = 900_000;
/// How often keys are looked for whose time has come.
const ROUND: Duration = Duration::from_secs(30);

/// CreateKey: the record first, then the key with the record's id, then the record says that it is there.
pub(super) async fn create(kms: &Kms, input: Input) -> Answer {
    let (row, usage) = chosen(&input)?;
    let tags = tags::read(&input)?;
    let uuid = uuid::random().ok_or_else(internal)?;
    let id = uuid::text(&uuid);
    let place = store::place(kms, &input).await?;
    let record = KeyRecord {
        spec: Spec(row.name.to_owned()),
        usage,
        state: State::Creating,
        description: input.text("Description").unwrap_or_default().to_owned(),
        created_ms: now_ms(),
        deletion_ms: 0,
        tags,
        policy: describe::policy(kms, &input)?,
        material: uuid.iter().map(|byte| format!("{byte:02x}")).collect(),
        backing: place.backing.clone(),
        id,
    };
    let keys = kms.keys().await?;
    let arn = kms.arn(&format!("key/{}", record.id));
    let key = place.insert(kms, keys, record).await?;
    let found = Found {
        key,
        arn,
        store: place.store,
    };
    let (kind, object, label) = (row.kind, found.record().object_id(), found.arn.clone());
    let made = match kms.holder(&found) {
        Ok(module) => {
            module
                .run(move |worker| make(worker, kind, usage, &object, &label))
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
    let found = write(kms, &found, |record| record.state = State::Enabled).await?;
    Ok(Map::from_iter([(
        "KeyMetadata".to_owned(),
        describe::metadata(kms, &found),
    )]))
}

fn chosen(input: &Input) -> Result<(&'static Row, Usage), Fault> {
    let unsupported = |message: String| Fault::new(400, "UnsupportedOperationException", message);
    let validation = |message: String| Fault::new(400, "ValidationException", message);
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
    Ok((row, usage))
}

/// Makes the key in the token. A retry after a lost session finds what the first try made.
fn make(worker: &mut Worker, kind: Kind, usage: Usage, id: &[u8], label: &str) -> Result<(), ModuleError> {
    let class = match kind {
        Kind::Aes | Kind::Hmac(_) => ObjectClass::SECRET_KEY,
        Kind::Rsa(_) | Kind::Ec(..) => ObjectClass::PRIVATE_KEY,
    };
    if worker.find(class, id).is_ok() {
        return Ok(());
    }
    let secret = |length: u32| {
        let used = usage == Usage::EncryptDecrypt;
        vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Id(id.to_vec()),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::ValueLen(u64::from(length).into()),
            Attribute::Encrypt(used),
            Attribute::Decrypt(used),
            Attribute::Sign(!used),
            Attribute::Verify(!used),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ]
    };
    let (encrypts, signs) = (usage == Usage::EncryptDecrypt, usage == Usage::SignVerify);
    let private = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Decrypt(encrypts),
        Attribute::Sign(signs),
        Attribute::Unwrap(false),
    ];
    let mut public = vec![
        Attribute::Token(true),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Encrypt(encrypts),
        Attribute::Verify(signs),
        Attribute::Wrap(false),
    ];
    let session = worker.session()?;
    match kind {
        Kind::Aes => session.generate_key(&Mechanism::AesKeyGen, &secret(32)).map(drop)?,
        Kind::Hmac(bytes) => session
            .generate_key(&Mechanism::GenericSecretKeyGen, &secret(bytes))
            .map(drop)?,
        Kind::Rsa(bits) => {
            public.extend([
                Attribute::ModulusBits(u64::from(bits).into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
            ]);
            session
                .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)
                .map(drop)?;
        }
        Kind::Ec(curve, _) => {
            public.push(Attribute::EcParams(curve.to_vec()));
            session
                .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
                .map(drop)?;
        }
    }
    Ok(())
}

/// EnableKey.
pub(super) async fn enable(kms: &Kms, input: Input) -> Answer {
    set_state(kms, input.must("KeyId"), State::Enabled).await
}

/// DisableKey.
pub(super) async fn disable(kms: &Kms, input: Input) -> Answer {
    set_state(kms, input.must("KeyId"), State::Disabled).await
}

async fn set_state(kms: &Kms, name: &str, state: State) -> Answer {
    change(kms, name, |record| record.state = state).await?;
    Ok(Map::new())
}

/// UpdateKeyDescription.
pub(super) async fn describe_anew(kms: &Kms, input: Input) -> Answer {
    let description = input.must("Description").to_owned();
    change(kms, input.must("KeyId"), |record| record.description = description).await?;
    Ok(Map::new())
}

/// Changes a key that is not to be deleted.
pub(super) async fn change(kms: &Kms, name: &str, change: impl FnOnce(&mut KeyRecord)) -> Result<Found, Fault> {
    let found = kms.find(name).await?;
    found.record().changeable(&found.arn)?;
    write(kms, &found, change).await
}

async fn write(kms: &Kms, found: &Found, change: impl FnOnce(&mut KeyRecord)) -> Result<Found, Fault> {
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
    let when = now_ms() + days as u64 * DAY_MS;
    let found = change(kms, input.must("KeyId"), |record| {
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
    let found = kms.find(input.must("KeyId")).await?;
    if found.record().state != State::PendingDeletion {
        return Err(Fault::new(
            400,
            "KMSInvalidStateException",
            format!("{} is not pending deletion.", found.arn),
        ));
    }
    let found = write(kms, &found, |record| {
        record.state = State::Disabled;
        record.deletion_ms = 0;
    });
    Ok(Map::from_iter([("KeyId".to_owned(), Value::from(found.await?.arn))]))
}

/// Deletes, for ever, keys whose time has come.
pub(crate) async fn end_keys(kms: &Kms) {
    let mut rounds = tokio::time::interval(ROUND);
    loop {
        rounds.tick().await;
        let Ok(keys) = kms.keys().await else { continue };
        if let Err(error) = end_due(kms, keys, now_ms()).await {
            tracing::warn!(%error, "keys that are to be deleted wait for the next round");
        }
    }
}

async fn end_due(kms: &Kms, keys: &Keys, now: u64) -> Result<(), crate::records::RecordError> {
    for key in keys.all() {
        let due = match key.record.state {
            State::PendingDeletion => key.record.deletion_ms <= now,
            // Nobody was told of it, and nobody is still at it.
            State::Creating => key.record.created_ms + ABANDONED_MS <= now,
            State::Enabled | State::Disabled | State::Deleting => false,
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
