//! What `C_GetTokenInfo` says of a key set: label and flags (PKCS#11 3.2, 3.2.2 CK_TOKEN_INFO). Manufacturer, serial and model
//! are the partition's and stand in `hsmd`.

use hsmd_proto::policy::Policy;

use super::KeySet;
use crate::login::Role;
use crate::records::TriesRecord;
use crate::seal::Kind;
use crate::tries::{Counts, Run, counts};

const RNG: u64 = 0x1;
const WRITE_PROTECTED: u64 = 0x2;
const LOGIN_REQUIRED: u64 = 0x4;
const USER_PIN_INITIALIZED: u64 = 0x8;
const TOKEN_INITIALIZED: u64 = 0x400;
const USER_PIN_COUNT_LOW: u64 = 0x1_0000;
const USER_PIN_FINAL_TRY: u64 = 0x2_0000;
const USER_PIN_LOCKED: u64 = 0x4_0000;
const SO_PIN_COUNT_LOW: u64 = 0x10_0000;
const SO_PIN_FINAL_TRY: u64 = 0x20_0000;
const SO_PIN_LOCKED: u64 = 0x40_0000;
/// CKF_ERROR_STATE: a self-test has failed.
const ERROR_STATE: u64 = 0x100_0000;

/// A key set as a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// C_InitToken has been done.
    pub initialized: bool,
    /// The label, padded with blanks.
    pub label: [u8; 32],
    /// `CKF_` flags of CK_TOKEN_INFO.
    pub flags: u64,
    /// What the token allows.
    pub policy: Policy,
    /// Changes with each C_InitToken.
    pub incarnation: u64,
    /// C_InitPIN has been done.
    pub has_user_pin: bool,
}

impl KeySet {
    /// The key set as a token. The SO's PIN flags are those of the client that has tried worst.
    #[must_use]
    pub fn token(&self) -> TokenState {
        let root = self.root();
        let has_user_pin = root.initialized() && self.core.store.get(&self.pin_path(&root, Role::User)).is_some();
        let mut flags = RNG | LOGIN_REQUIRED;
        if root.initialized() {
            flags |= TOKEN_INITIALIZED;
            let [user, so] =
                [Role::User, Role::So].map(|role| self.worst_counts(&root.path(&format!("tries/{}", role.word()))));
            flags |= bits(user, [USER_PIN_COUNT_LOW, USER_PIN_FINAL_TRY, USER_PIN_LOCKED]);
            flags |= bits(so, [SO_PIN_COUNT_LOW, SO_PIN_FINAL_TRY, SO_PIN_LOCKED]);
        }
        if root.protected {
            flags |= WRITE_PROTECTED;
        }
        if self.in_error_state() {
            flags |= ERROR_STATE;
        }
        if has_user_pin {
            flags |= USER_PIN_INITIALIZED;
        }
        TokenState {
            initialized: root.initialized(),
            label: root.label,
            flags,
            policy: root.policy,
            incarnation: root.incarnation.into(),
            has_user_pin,
        }
    }

    pub(super) fn worst_counts(&self, prefix: &hsmd_store::Path) -> Counts {
        let run = Run::of(&self.core).limited(self.root().pin_tries);
        let found = self.core.store.scan(prefix.as_str());
        let each = found.iter().map(|(path, record)| {
            // A counter that does not open is refused when a PIN is tried; here it counts as locked.
            let locked = Counts {
                locked: true,
                ..Counts::default()
            };
            let record = self.core.decode::<TriesRecord>(path, Kind::Tries, record);
            record.map_or(locked, |record| counts(&record, &run))
        });
        each.fold(Counts::default(), |a, b| Counts {
            low: a.low | b.low,
            last: a.last | b.last,
            locked: a.locked | b.locked,
        })
    }
}

fn bits(counts: Counts, [low, last, locked]: [u64; 3]) -> u64 {
    [(counts.low, low), (counts.last, last), (counts.locked, locked)]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, bit)| bit)
        .sum()
}
