//! Slots: what the daemon told of them, the login state, and the objects with a handle. A slot's id never changes its
//! meaning; what changes with C_InitToken is its incarnation.

use super::object::ObjectTable;
use super::{lock, read, write};
use hsmd_proto::ck::{MechanismType, UserType};
use hsmd_proto::ids::SlotId;
use hsmd_proto::policy::Policy;
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// A login of this application on a slot.
pub(crate) struct Login {
    /// SO, USER or CRYPTO_USER.
    pub(crate) user: UserType,
    /// What requests present.
    pub(crate) ticket: WipingVec,
}

/// Open sessions of this application on a slot.
#[derive(Clone, Copy, Default)]
pub(crate) struct Gate {
    /// CKF_RW_SESSION not set.
    pub(crate) read_only: u64,
    /// CKF_RW_SESSION set.
    pub(crate) read_write: u64,
}

#[derive(Default)]
struct LoginState {
    current: Option<Arc<Login>>,
    /// Counts logins and logouts: an operation that began under one does not go on under another.
    epoch: u64,
}

/// One slot.
pub(crate) struct Slot {
    /// The id that applications see.
    pub(crate) id: SlotId,
    info: RwLock<Arc<wire::Slot>>,
    login: RwLock<LoginState>,
    /// Held by what opens and closes sessions, logs in and out: their rules speak of one another.
    pub(crate) gate: Mutex<Gate>,
    /// Objects with a handle.
    pub(crate) objects: ObjectTable,
    mechanisms: Mutex<Option<Arc<[MechanismType]>>>,
    /// The token came or went, and C_WaitForSlotEvent has not said so yet.
    event: AtomicBool,
}

impl Slot {
    /// A slot as the daemon listed it.
    pub(crate) fn new(info: wire::Slot) -> Self {
        Self {
            id: SlotId(info.id),
            info: RwLock::new(Arc::new(info)),
            login: RwLock::default(),
            gate: Mutex::default(),
            objects: ObjectTable::default(),
            mechanisms: Mutex::default(),
            event: AtomicBool::new(false),
        }
    }

    /// What the daemon told last.
    pub(crate) fn info(&self) -> Arc<wire::Slot> {
        Arc::clone(&read(&self.info))
    }

    /// Takes news. Another key set or incarnation voids what is known of the older one: objects and login.
    pub(crate) fn update(&self, info: wire::Slot) {
        let key_set = |slot: &wire::Slot| {
            slot.token
                .as_ref()
                .map(|token| (token.key_set.clone(), token.incarnation))
        };
        let mut place = write(&self.info);
        // A token that is away for a while comes back as it was.
        let other = info.token.is_some() && place.token.is_some() && key_set(&info) != key_set(&place);
        if info.token_present != place.token_present {
            self.event.store(true, Ordering::Relaxed);
        }
        *place = Arc::new(info);
        drop(place);
        *lock(&self.mechanisms) = None;
        if other {
            self.logged_out();
            self.objects.remove_if(|_| true);
        }
    }

    /// The token is suspended or away: the slot stays.
    pub(crate) fn token_leaves(&self) {
        let mut place = write(&self.info);
        if place.token_present {
            self.event.store(true, Ordering::Relaxed);
            *place = Arc::new(wire::Slot {
                token_present: false,
                token: None,
                ..(**place).clone()
            });
        }
    }

    /// Whether the token came or went since this was asked last.
    pub(crate) fn take_event(&self) -> bool {
        self.event.swap(false, Ordering::Relaxed)
    }

    /// The partition's policy. One that this build does not know is treated as the strictest.
    pub(crate) fn policy(&self) -> Policy {
        let info = read(&self.info);
        info.token
            .as_ref()
            .and_then(|token| Policy::from_name(&token.policy))
            .unwrap_or(Policy::Fips)
    }

    /// The login, if there is one.
    pub(crate) fn login(&self) -> Option<Arc<Login>> {
        read(&self.login).current.clone()
    }

    /// Whether private objects are there to be used: the login of a user, not the SO's.
    pub(crate) fn user_logged_in(&self) -> bool {
        read(&self.login)
            .current
            .as_ref()
            .is_some_and(|login| login.user.uses_keys())
    }

    /// Counts logins and logouts.
    pub(crate) fn epoch(&self) -> u64 {
        read(&self.login).epoch
    }

    /// C_Login succeeded.
    pub(crate) fn logged_in(&self, login: Login) {
        let mut state = write(&self.login);
        state.current = Some(Arc::new(login));
        state.epoch += 1;
    }

    /// A new ticket for the login that is there (C_SetPIN).
    pub(crate) fn renew(&self, ticket: WipingVec) {
        let mut state = write(&self.login);
        if let Some(login) = &state.current {
            state.current = Some(Arc::new(Login {
                user: login.user,
                ticket,
            }));
        }
    }

    /// The login is gone: private objects lose their handles for good (PKCS#11 3.2, 5.6.10).
    pub(crate) fn logged_out(&self) -> Option<Arc<Login>> {
        let mut state = write(&self.login);
        let login = state.current.take();
        if login.is_some() {
            state.epoch += 1;
        }
        drop(state);
        if login.is_some() {
            self.objects.remove_if(|object| object.private);
        }
        login
    }

    /// The daemon refused this ticket. A login made meanwhile stays.
    pub(crate) fn ticket_refused(&self, refused: &Arc<Login>) {
        if self.login().is_some_and(|login| Arc::ptr_eq(&login, refused)) {
            self.logged_out();
        }
    }

    /// The mechanisms, if they have been fetched.
    pub(crate) fn mechanisms(&self) -> Option<Arc<[MechanismType]>> {
        lock(&self.mechanisms).clone()
    }

    /// Remembers the mechanisms.
    pub(crate) fn set_mechanisms(&self, list: Arc<[MechanismType]>) {
        *lock(&self.mechanisms) = Some(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::object::Handles;
    use hsmd_proto::ids::{Hit, UniqueId};

    fn slot(incarnation: u64) -> wire::Slot {
        let token = wire::Token {
            incarnation,
            policy: "standard".into(),
            ..wire::Token::default()
        };
        wire::Slot {
            token_present: true,
            token: Some(token),
            ..wire::Slot::default()
        }
    }

    #[test]
    fn another_incarnation_ends_login_and_handles_and_a_pause_does_not() {
        let slot_under_test = Slot::new(slot(1));
        slot_under_test.logged_in(Login {
            user: UserType::USER,
            ticket: WipingVec::from(vec![1]),
        });
        let hit = Hit {
            id: UniqueId([1; 16]),
            private: false,
        };
        let object = slot_under_test.objects.intern(&Handles::new(), hit);
        slot_under_test.update(wire::Slot { token: None, ..slot(1) });
        assert!(!slot_under_test.take_event(), "the token itself was there");
        slot_under_test.token_leaves();
        assert!(slot_under_test.take_event() && !slot_under_test.take_event());
        slot_under_test.update(slot(1));
        assert!(slot_under_test.take_event());
        assert!(slot_under_test.user_logged_in() && !object.is_destroyed());
        slot_under_test.update(slot(2));
        assert!(!slot_under_test.user_logged_in() && object.is_destroyed());
    }

    #[test]
    fn a_refused_ticket_ends_its_own_login_only() {
        let slot = Slot::new(slot(1));
        let login = |byte| Login {
            user: UserType::USER,
            ticket: WipingVec::from(vec![byte]),
        };
        slot.logged_in(login(1));
        let old = slot.login().unwrap();
        slot.logged_in(login(2));
        slot.ticket_refused(&old);
        assert!(slot.user_logged_in());
        slot.ticket_refused(&slot.login().unwrap());
        assert!(!slot.user_logged_in());
    }

    #[test]
    fn an_unknown_policy_is_the_strictest() {
        let mut info = slot(1);
        if let Some(token) = &mut info.token {
            token.policy = "later".into();
        }
        assert_eq!(Slot::new(info).policy(), Policy::Fips);
    }
}
