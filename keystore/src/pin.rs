//! How a PIN holds the PSK: Argon2id, a commitment, and a wrap, all bound to key set, incarnation, role and cost. Counting tries
//! is `tries`; remembering a right PIN is `verifier`.

use hsmd_crypto::pin::{PinCost, PinError, stretch};
use hsmd_crypto::random;
use hsmd_crypto::seal::{SealKey, equal, hkdf};
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::KeySetId;

use crate::login::Role;
use crate::records::{FORMAT, PinRecord};
use crate::seal::Psk;

/// What a wrap is for; it opens for nothing else.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) key_set: KeySetId,
    pub(crate) incarnation: u32,
    pub(crate) role: Role,
}

/// The keys that a stretched PIN gives.
struct Keys {
    commitment: SecretArray<32>,
    wrap: SealKey,
}

/// Wraps the PSK under a new PIN.
pub(crate) fn wrap(psk: &Psk, pin: &[u8], place: Place, cost: &PinCost) -> Result<PinRecord, Rv> {
    let salt = random::array::<16>();
    let aad = aad(place, cost, &salt);
    let keys = keys(pin, &salt, cost, &aad).map_err(stretch_failed)?;
    Ok(PinRecord {
        format: FORMAT,
        memory_kib: cost.memory_kib,
        passes: cost.passes,
        lanes: cost.lanes,
        salt: salt.to_vec(),
        commitment: keys.commitment.expose().to_vec(),
        wrapped: keys.wrap.seal(&[&aad], psk.expose()),
        operations: Vec::new(),
        wrapped_key_set: Vec::new(),
        wrapped_incarnation: 0,
    })
}

/// The PSK, or `None` if the PIN is wrong.
///
/// # Errors
/// `CKR_DEVICE_ERROR` if the record is damaged, `CKR_HOST_MEMORY` if there is no memory for the arena: nothing was tried.
pub(crate) fn unwrap(record: &PinRecord, pin: &[u8], place: Place) -> Result<Option<Psk>, Rv> {
    let cost = cost(record);
    let place = wrapped_at(record, place);
    let salt: [u8; 16] = record.salt.as_slice().try_into().map_err(|_| Rv::DEVICE_ERROR)?;
    let aad = aad(place, &cost, &salt);
    let keys = keys(pin, &salt, &cost, &aad).map_err(stretch_failed)?;
    if !equal(keys.commitment.expose(), &record.commitment) {
        return Ok(None);
    }
    let plain = keys.wrap.open(&[&aad], &record.wrapped).map_err(|_| Rv::DEVICE_ERROR)?;
    SecretArray::from_slice(&plain)
        .map(Psk::new)
        .map(Some)
        .ok_or(Rv::DEVICE_ERROR)
}

/// The place for which a wrap was made: where the record is, unless it was brought there from elsewhere.
pub(crate) fn wrapped_at(record: &PinRecord, place: Place) -> Place {
    KeySetId::from_slice(&record.wrapped_key_set).map_or(place, |key_set| Place {
        key_set,
        incarnation: record.wrapped_incarnation,
        role: place.role,
    })
}

/// Makes a record say for which place its wrap was made, so that it opens elsewhere.
pub(crate) fn mark_place(record: &mut PinRecord, place: Place) {
    let place = wrapped_at(record, place);
    record.wrapped_key_set = place.key_set.0.to_vec();
    record.wrapped_incarnation = place.incarnation;
}

/// The work of a PIN check, for a role that has no PIN: so that this is not told by time.
pub(crate) fn pretend(pin: &[u8], cost: &PinCost) {
    // Whether it worked does not matter.
    let _ = stretch(pin, &[0; 16], cost);
}

fn cost(record: &PinRecord) -> PinCost {
    PinCost {
        memory_kib: record.memory_kib,
        passes: record.passes,
        lanes: record.lanes,
    }
}

fn keys(pin: &[u8], salt: &[u8; 16], cost: &PinCost, aad: &[u8]) -> Result<Keys, PinError> {
    let stretched = stretch(pin, salt, cost)?;
    Ok(Keys {
        // GCM-SIV alone does not commit to its key: a wrap could be made to open under two PINs.
        commitment: hkdf(stretched.expose(), b"hsmd pin", &[b"commit", aad]),
        wrap: SealKey::new(&hkdf(stretched.expose(), b"hsmd pin", &[b"wrap", aad])),
    })
}

/// Key set (16), incarnation (4), role (4), cost (3 x 4), salt (16): all of fixed length.
fn aad(place: Place, cost: &PinCost, salt: &[u8; 16]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(52);
    aad.extend_from_slice(&place.key_set.0);
    for number in [
        place.incarnation,
        place.role.number(),
        cost.memory_kib,
        cost.passes,
        cost.lanes,
    ] {
        aad.extend_from_slice(&number.to_le_bytes());
    }
    aad.extend_from_slice(salt);
    aad
}

fn stretch_failed(error: PinError) -> Rv {
    tracing::error!(%error, "a PIN cannot be stretched");
    Rv::HOST_MEMORY
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        key_set: KeySetId([7; 16]),
        incarnation: 1,
        role: Role::User,
    };

    #[test]
    fn a_wrap_opens_for_its_pin_and_place_only() {
        let psk = Psk::new(SecretArray::random());
        let record = wrap(&psk, b"1234", PLACE, &PinCost::SMALL).unwrap();
        assert_eq!(unwrap(&record, b"1234", PLACE).unwrap().unwrap().expose(), psk.expose());
        assert!(unwrap(&record, b"1235", PLACE).unwrap().is_none());
        for place in [
            Place {
                key_set: KeySetId([8; 16]),
                ..PLACE
            },
            Place {
                incarnation: 2,
                ..PLACE
            },
            Place {
                role: Role::So,
                ..PLACE
            },
        ] {
            assert!(unwrap(&record, b"1234", place).unwrap().is_none());
        }
    }

    #[test]
    fn a_wrap_whose_cost_was_lowered_does_not_open() {
        let psk = Psk::new(SecretArray::random());
        let mut record = wrap(&psk, b"1234", PLACE, &PinCost::SMALL).unwrap();
        record.passes += 1;
        assert!(unwrap(&record, b"1234", PLACE).unwrap().is_none());
    }
}
