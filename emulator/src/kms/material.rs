//! The materials of a key: each one object of the token. A rotation adds one and keeps the others, so that what they sealed
//! still opens; material that the customer brings may expire, go, and come back.

use super::key::KeyRecord;
use super::keys::{Found, Keys};
use super::{Kms, object, record_fault};
use crate::fault::Fault;
use crate::records::{RecordError, Versioned};
use serde::{Deserialize, Serialize};

/// The length of a material's name in bytes; the API writes it as 64 hexadecimal digits.
pub(super) const ID: usize = 32;

/// A material. Times are milliseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Material {
    /// `KeyMaterialId`: random for what the token made, computed with the key itself for what was brought, so that the same
    /// material has the same name.
    pub(super) id: String,
    /// `CKA_ID` of its object, hexadecimal.
    pub(super) object: String,
    pub(super) stage: Stage,
    /// How it came to be used, if by a rotation, and when.
    #[serde(default)]
    pub(super) rotated: Option<Rotated>,
    /// For what the customer brought.
    #[serde(default)]
    pub(super) import: Option<Import>,
}

/// Where a material is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// The record is there, the object perhaps not yet.
    Making,
    /// Brought, and waiting for a rotation.
    Waiting,
    /// It is, or was, what the key seals with.
    InUse,
}

/// A rotation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Rotated {
    pub(super) at_ms: u64,
    pub(super) on_demand: bool,
}

/// What is known of brought material.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Import {
    /// Whether it is in the token now.
    pub(super) present: bool,
    /// When it goes by itself; 0: never.
    pub(super) expires_ms: u64,
    pub(super) description: Option<String>,
}

/// How a key is rotated.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Rotation {
    /// Days between automatic rotations; 0: there are none.
    pub(super) period_days: u64,
    /// When the next automatic one is due.
    pub(super) next_ms: u64,
}

impl Material {
    /// The name's bytes.
    pub(super) fn id_bytes(&self) -> [u8; ID] {
        let mut out = [0; ID];
        out.iter_mut().zip(bytes(&self.id)).for_each(|(to, from)| *to = from);
        out
    }

    /// Whether its object can be used.
    pub(super) fn is_present(&self) -> bool {
        self.stage != Stage::Making && self.import.as_ref().is_none_or(|import| import.present)
    }
}

/// The bytes of hexadecimal digits that we wrote.
pub(super) fn bytes(digits: &str) -> Vec<u8> {
    let digit = |at: usize| {
        digits
            .get(at..at + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    (0..digits.len() / 2).filter_map(|at| digit(at * 2)).collect()
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new name at random; `None` when the system gives no random bytes.
pub(super) fn random_id() -> Option<String> {
    let mut id = [0; ID];
    getrandom::fill(&mut id).ok()?;
    Some(hex(&id))
}

/// A key without what an interrupted change of its materials left; whoever asks holds the lock, so that nobody is still at it.
///
/// # Errors
/// Those of the records.
pub(super) async fn settled(kms: &Kms, found: Found) -> Result<Found, Fault> {
    let making = |known: &Material| known.stage == Stage::Making;
    if !found.record().materials.iter().any(making) {
        return Ok(found);
    }
    let finished = finish(kms, kms.keys().await?, &found.key).await;
    finished.map_err(|error| record_fault(&error))?;
    kms.find(&found.record().id).await
}

/// Puts right what a kill left between a key's record and its objects: a material whose making was not finished, and brought
/// material that is recorded as gone, is destroyed in the token.
///
/// # Errors
/// Those of the records; the module's are for later.
pub(super) async fn finish(kms: &Kms, keys: &Keys, key: &Versioned<KeyRecord>) -> Result<(), RecordError> {
    let stray = |material: &&Material| !material.is_present();
    let ids: Vec<_> = key
        .record
        .materials
        .iter()
        .filter(stray)
        .map(|stray| bytes(&stray.object))
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    if let Err(error) = kms.module.run(move |worker| object::destroy(worker, &ids)).await {
        tracing::warn!(%error, key = key.record.id, "unfinished material is not destroyed yet");
        return Ok(());
    }
    if key
        .record
        .materials
        .iter()
        .any(|material| material.stage == Stage::Making)
    {
        keys.change(kms, key, |record| {
            record.materials.retain(|material| material.stage != Stage::Making)
        })
        .await?;
    }
    Ok(())
}
