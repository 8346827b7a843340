//! Doors for the fuzz targets (docs/fuzzing.md): each takes hostile bytes to one of the readers of records, behind the seal
//! that keeps such bytes out, and returns nothing. Not part of the crate's interface; no door gives a key or opens a store.

use hsmd_crypto::secret::Secret;
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, KeyType, ObjectClass};
use hsmd_proto::ids::{KeySetId, OperationId, UniqueId};
use hsmd_proto::meta::Usage;
use prost::Message;

use crate::caller::{Caller, Context, Identity};
use crate::error::Error;
use crate::key_set::KeySet;
use crate::keystore::Keystore;
use crate::login::Role;
use crate::objects::fuzzing as objects;
use crate::options::Options;
use crate::pin::{self, Place};
use crate::records::{AnchorRecord, DocumentRecord, KeySetRecord, LoginRecord, PinRecord, TriesRecord};
use crate::root::RootRecord;
use crate::ticket::{Ticket, TicketKeys};
use crate::tries;
use hsmd_proto::ids::ApplicationId;

/// Argon2 with more than this takes longer than an input may.
const QUICK_KIB: u32 = 1024;

/// A keystore in memory with a key set, for readers that need one.
pub struct Records {
    keystore: Keystore,
    key_set: std::sync::Arc<KeySet>,
    context: Context,
}

impl Records {
    /// Makes it.
    ///
    /// # Errors
    /// From the keystore.
    pub fn new() -> Result<Self, Error> {
        let keystore = Keystore::in_memory(&Options::default())?;
        let key_set = keystore.create_key_set(hsmd_proto::policy::Policy::Standard)?;
        let caller = Caller {
            identity: Identity([1; 32]),
            application: ApplicationId([2; 16]),
        };
        Ok(Self {
            keystore,
            key_set,
            context: Context {
                caller,
                login: None,
                grant: None,
            },
        })
    }

    /// Reads `data` as what stands in a record; its first byte says which.
    pub fn read(&self, data: &[u8]) {
        let Some((kind, data)) = data.split_first() else { return };
        match kind % 11 {
            0 => objects::envelope(data),
            1 => objects::body(data, self.key_set.core()),
            2 => objects::tombstone(data),
            3 => {
                if let Some(record) = RootRecord::decode(data) {
                    assert!(
                        RootRecord::decode(&record.encode()).is_some(),
                        "a root record reads back"
                    );
                }
            }
            4 => self.pin(data),
            5 => self.tries(data),
            6 => {
                // A record that does not decode is damaged; nothing else is asked of these.
                let _ = KeySetRecord::decode(data);
                let _ = LoginRecord::decode(data);
                let _ = DocumentRecord::decode(data);
                let _ = AnchorRecord::decode(data);
            }
            7 => {
                let keys = TicketKeys::new(Vec::new());
                assert!(
                    keys.open(KeySetId([0; 16]), &self.context.caller.identity, data)
                        .is_none(),
                    "a ticket opens without a key"
                );
                Ticket::nonce(data);
                assert!(
                    self.key_set.resolve(&self.context.caller, data).is_err(),
                    "a login that nobody made"
                );
            }
            9 => crate::backup::fuzzing(data),
            10 => objects::digest_state(data),
            _ => {
                let id = data
                    .get(2..18)
                    .and_then(UniqueId::from_slice)
                    .unwrap_or(UniqueId([0; 16]));
                let opened = objects::session_blob(&self.key_set, &self.context, &id, data);
                assert!(!opened, "a session object that nobody sealed");
            }
        }
    }

    fn pin(&self, data: &[u8]) {
        let Ok(record) = PinRecord::decode(data) else { return };
        let quick = record.memory_kib <= QUICK_KIB && record.passes <= 2 && record.lanes <= 4;
        let refused = record.memory_kib > 1 << 20 || record.passes > 16 || record.lanes > 16;
        if quick || refused {
            let place = Place {
                key_set: self.key_set.id(),
                incarnation: 1,
                role: Role::User,
            };
            assert!(
                !matches!(pin::unwrap(&record, b"1234", place), Ok(Some(_))),
                "a PIN that opens what nobody sealed"
            );
        }
    }

    /// INV-8: whatever stands in the counter, tries and failures together stay below the limit, and a verdict never unlocks.
    fn tries(&self, data: &[u8]) {
        let Ok(record) = TriesRecord::decode(data) else { return };
        if record.sequence > u64::MAX / 2 {
            // Counts verdicts one by one: out of reach.
            return;
        }
        tries::fuzzing(&record, self.key_set.core(), &OperationId([3; 16]));
    }

    /// Whether the keystore still answers.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.keystore.status().quarantined.is_empty()
    }
}

/// Good records, each with its first byte: seeds of [`Records::read`].
#[must_use]
pub fn records() -> Vec<Vec<u8>> {
    let attributes = Template(vec![
        Attribute::ulong(A::CLASS, ObjectClass::SECRET_KEY.0),
        Attribute::ulong(A::KEY_TYPE, KeyType::AES.0),
        Attribute::ulong(A::VALUE_LEN, 32),
        Attribute::boolean(A::ENCRYPT, true),
    ]);
    let body = objects::encoded_body(&attributes, A::VALUE, Secret::from_slice(&[7; 32]), Usage::ENCRYPT);
    let curve = Template(vec![
        Attribute::ulong(A::CLASS, ObjectClass::PRIVATE_KEY.0),
        Attribute::ulong(A::KEY_TYPE, KeyType::EC.0),
        Attribute::bytes(A::EC_PARAMS, hsmd_proto::meta::Curve::P256.oid_der()),
    ]);
    let private = objects::encoded_body(&curve, A::VALUE, Secret::from_slice(&[1; 32]), Usage::SIGN);
    let pin = PinRecord {
        format: 1,
        memory_kib: 64,
        passes: 1,
        lanes: 1,
        salt: vec![5; 16],
        commitment: vec![6; 32],
        wrapped: vec![7; 60],
        operations: vec![vec![8; 16]],
        wrapped_key_set: vec![9; 16],
        wrapped_incarnation: 2,
    };
    let tries = TriesRecord {
        format: 1,
        sequence: 2,
        failures: vec![crate::records::FailureRecord {
            attempt: vec![1; 16],
            sequence: 2,
        }],
        reservations: vec![crate::records::ReservationRecord {
            attempt: vec![2; 16],
            node: vec![3; 16],
            generation: 4,
            began: 1,
        }],
        locked: false,
        failed: vec![vec![1; 16]],
    };
    let root = RootRecord::random(true, 7);
    let with = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let digests = objects::digest_states();
    let digests = digests.iter().map(|state| with(10, state));
    let others = vec![
        with(0, &objects::encoded_envelope(&body)),
        with(1, &body),
        with(1, &private),
        with(2, &objects::encoded_tombstone()),
        with(3, &root.encode()),
        with(4, &pin.encode_to_vec()),
        with(5, &tries.encode_to_vec()),
        with(7, &[1; 81]),
        with(8, &[1; 90]),
        with(9, &[&[1][..], &crate::backup::sample()].concat()),
        with(9, &[&[4][..], &[7; 16], &[8, 1, 34, 8], b"standard"].concat()),
        with(
            9,
            &[&[5, 5, 1, 0, 0, 0, 0, 0, 0, 0, 34, 0][..], b"o/", &[b'1'; 32], &body].concat(),
        ),
        with(9, &[&[6][..], &[1; 24]].concat()),
    ];
    others.into_iter().chain(digests).collect()
}
