//! The token of `hsmd dev`: made at the first start, found again at every other, finished if a start was interrupted.

use super::DevOptions;
use crate::audit::as_act;
use crate::cli::Failure;
use crate::control::{HsmState, ModelError, PartitionRecord};
use crate::files;
use crate::init::first_hsm;
use crate::node::Node;
use hsmd_keystore::audit::Act;
use hsmd_keystore::{Caller, Identity};
use hsmd_proto::ck::{Rv, UserType};
use hsmd_proto::ids::{ApplicationId, OperationId, SlotId};
use hsmd_proto::policy::Policy;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Letters and digits of random PINs, without those that look alike.
const ALPHABET: &[u8] = b"23456789abcdefghjkmnpqrstuvwxyz";

/// What is kept in the folder (`token.toml`, mode 0600).
#[derive(Serialize, Deserialize)]
struct Kept {
    label: String,
    so_pin: String,
    pin: String,
}

/// The token, ready to use.
pub(super) struct Token {
    pub(super) slot: u32,
    pub(super) label: String,
    pub(super) so_pin: String,
    pub(super) pin: String,
    pub(super) hsm: String,
    pub(super) policy: String,
}

impl Token {
    /// Finds or makes the token.
    pub(super) fn prepare(node: &Node, options: &DevOptions, folder: &Path) -> Result<Self, Failure> {
        let kept = kept(options, folder)?;
        let partition = partition(node, options, &kept.label).map_err(explain)?;
        let set_up = set_up(node, partition.slot, &kept.label, &kept.so_pin, &kept.pin);
        set_up.map_err(|rv| Failure::Other(format!("setting up the token failed: {rv}")))?;
        if options.free_slot {
            node.model().offer_free_slot(&partition.hsm).map_err(explain)?;
        }
        Ok(Self {
            slot: partition.slot,
            label: kept.label,
            so_pin: kept.so_pin,
            pin: kept.pin,
            hsm: partition.hsm,
            policy: partition.policy,
        })
    }
}

fn explain(error: ModelError) -> Failure {
    Failure::Other(error.to_string())
}

/// Label and PINs of an earlier start, or new ones, on disk before they are used.
fn kept(options: &DevOptions, folder: &Path) -> Result<Kept, Failure> {
    let path = folder.join("token.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let kept: Kept = toml::from_str(&text)
                .map_err(|error| Failure::Other(format!("{}: {}", path.display(), error.message())))?;
            let given = [&options.so_pin, &options.pin];
            let differ = given
                .iter()
                .zip([&kept.so_pin, &kept.pin])
                .any(|(given, kept)| given.as_ref().is_some_and(|pin| pin != kept));
            if differ || options.token_label != kept.label {
                tracing::warn!("the folder has a token already: its label and PINs are served, not the given ones");
            }
            Ok(kept)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let random = |given: &Option<String>| given.clone().unwrap_or_else(random_pin);
            let kept = Kept {
                label: options.token_label.clone(),
                so_pin: random(&options.so_pin),
                pin: random(&options.pin),
            };
            let text = toml::to_string(&kept).map_err(|error| Failure::Other(error.to_string()))?;
            files::write_private(&path, &text)?;
            Ok(kept)
        }
        Err(error) => Err(Failure::io(&path, &error)),
    }
}

fn random_pin() -> String {
    let bytes: [u8; 12] = hsmd_crypto::random::array();
    bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

/// The partition of this label, with an HSM to hold it.
fn partition(node: &Node, options: &DevOptions, label: &str) -> Result<PartitionRecord, ModelError> {
    let model = node.model();
    if let Some(found) = model.partitions("")?.into_iter().find(|record| record.label == label) {
        return Ok(found);
    }
    let mut hsms = model.hsms().into_iter();
    let hsm = match hsms.find(|hsm| hsm.state == HsmState::Running) {
        Some(hsm) => hsm,
        None => {
            let make = || {
                let hsm = model.create_hsm(&first_hsm(&node.config))?;
                model.confirm(&hsm.id)?;
                Ok::<_, ModelError>(hsm)
            };
            as_act(Act::HsmCreate, make)?
        }
    };
    let policy = Policy::from_name(&options.policy).ok_or(ModelError::Policy)?;
    let make = || model.create_partition(&hsm.id, label, Some(policy));
    as_act(Act::PartitionCreate, make)
}

/// Gives the token of this slot a label and PINs, as far as it has none.
pub(super) fn set_up(node: &Node, slot: u32, label: &str, so_pin: &str, pin: &str) -> Result<(), Rv> {
    let slot = node.slots().get(SlotId(slot)).ok_or(Rv::SLOT_ID_INVALID)?;
    let key_set = slot.key_set.as_ref().ok_or(Rv::TOKEN_NOT_PRESENT)?;
    let caller = Caller {
        identity: Identity(hsmd_crypto::seal::sha256(&[b"hsmd dev"])),
        application: ApplicationId(hsmd_crypto::random::array()),
    };
    let operation = || OperationId(hsmd_crypto::random::array());
    if !key_set.token().initialized {
        let mut padded = [b' '; 32];
        let length = label.len().min(32);
        padded[..length].copy_from_slice(&label.as_bytes()[..length]);
        key_set.init_token(&caller, so_pin.as_bytes(), &padded, operation())?;
    }
    if !key_set.token().has_user_pin {
        let ticket = key_set.login(&caller, UserType::SO, so_pin.as_bytes(), operation())?;
        let login = key_set.resolve(&caller, ticket.expose())?;
        key_set.init_pin(&login, pin.as_bytes(), operation())?;
        key_set.logout(&login);
    }
    Ok(())
}
