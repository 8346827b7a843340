//! Whether hsmd does what the API promises next: a key of the session is made, encrypts, decrypts and is thrown away. The keys
//! of KMS are left alone, and what was found is good for a while.

use super::super::wire::{self, HealthStatus, Member};
use super::crypt;
use super::refusal::Refusal;
use crate::module::{ModuleError, Worker};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long a good result is used; the specification allows a minute.
const FRESH: Duration = Duration::from_secs(15);

/// The last good result.
#[derive(Default)]
pub(super) struct Cache {
    last: Mutex<Option<(Instant, Vec<u8>)>>,
}

impl Cache {
    /// The body of the answer: kept, or found by a check. Who asks meanwhile waits for the same check.
    pub(super) async fn get(&self, check: impl Future<Output = Result<Vec<u8>, Refusal>>) -> Result<Vec<u8>, Refusal> {
        let mut last = self.last.lock().await;
        if let Some((at, body)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(body.clone());
        }
        *last = None;
        let body = check.await?;
        *last = Some((Instant::now(), body.clone()));
        Ok(body)
    }

    /// The next one who asks gets a new result. A check that is under way finds out by itself.
    pub(super) fn spoil(&self) {
        if let Ok(mut last) = self.last.try_lock() {
            *last = None;
        }
    }
}

/// The check; on a thread of the module.
pub(super) fn check(worker: &mut Worker) -> Result<Vec<u8>, ModuleError> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(32.into()),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    let key = worker.session()?.generate_key(&Mechanism::AesKeyGen, &template)?;
    let worked = round_trip(worker, key);
    worker.session()?.destroy_object(key)?;
    worked?;
    let token = worker.info()?;
    let health = wire::Health {
        xks_proxy_fleet_size: 1,
        xks_proxy_vendor: "hsmd".into(),
        xks_proxy_model: concat!("hsmd-aws ", env!("CARGO_PKG_VERSION")).into(),
        ekm_vendor: token.manufacturer_id().to_owned(),
        ekm_fleet_details: vec![Member {
            id: token.serial_number().to_owned(),
            model: format!("{} {}", token.model(), token.firmware_version()),
            health_status: HealthStatus::Active,
        }],
    };
    // Strings and numbers always serialise.
    Ok(serde_json::to_vec(&health).unwrap_or_default())
}

fn round_trip(worker: &mut Worker, key: cryptoki::object::ObjectHandle) -> Result<(), ModuleError> {
    const TEXT: &[u8] = b"health";
    let mut iv = [0; 12];
    worker.session()?.generate_random_slice(&mut iv)?;
    let sealed = crypt::seal(worker, key, &mut iv.clone(), b"", TEXT)?;
    let opened = crypt::open(worker, key, &mut iv, b"", &sealed)?;
    // A token that decrypts wrongly is as good as none.
    if opened.as_slice() == TEXT {
        Ok(())
    } else {
        Err(ModuleError::NoToken)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ErrorName;
    use super::*;

    #[tokio::test]
    async fn good_results_are_kept_and_bad_ones_are_not() {
        let cache = Cache::default();
        let refusal = Refusal::new(ErrorName::Internal, "away");
        assert_eq!(cache.get(async { Err(refusal) }).await, Err(refusal));
        assert_eq!(cache.get(async { Ok(vec![1]) }).await, Ok(vec![1]));
        assert_eq!(cache.get(async { Err(refusal) }).await, Ok(vec![1]));
        cache.spoil();
        assert_eq!(cache.get(async { Ok(vec![2]) }).await, Ok(vec![2]));
    }
}
