//! What the program does while the daemon is killed, and what must be true of the token afterwards.

use std::collections::BTreeMap;

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN, SO_PIN};
use hsmd_tests::module::{Module, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::served::Served;
use hsmd_tests::soak::Random;

/// Wrong PINs that lock.
const TRIES: usize = 10;

/// What is done again and again until the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The right PIN, and out again.
    Login,
    /// Wrong PINs, until the role is locked.
    WrongPin,
    /// `C_SetPIN` by the user.
    SetPin,
    /// `C_SetPIN` by the officer.
    SetOfficerPin,
    /// `C_InitPIN`.
    InitPin,
    /// `C_InitToken`.
    InitToken,
}

impl Act {
    pub(super) const ALL: &[Self] = &[
        Self::Login,
        Self::WrongPin,
        Self::SetPin,
        Self::SetOfficerPin,
        Self::InitPin,
        Self::InitToken,
    ];
}

/// Counts, and what was wrong.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) rounds: usize,
    pub(super) kills: usize,
    pub(super) planned: usize,
    acknowledged: usize,
    refused: usize,
    /// Calls whose end the program does not know, by code.
    unknown: BTreeMap<String, usize>,
    lockouts: usize,
    /// Tries that were counted though their answer was lost.
    lost_answers: usize,
    wrong: Vec<String>,
}

impl Figures {
    pub(super) fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.kills += other.kills;
        self.planned += other.planned;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.lockouts += other.lockouts;
        self.lost_answers += other.lost_answers;
        for (code, count) in other.unknown {
            *self.unknown.entry(code).or_default() += count;
        }
        self.wrong.extend(other.wrong);
    }

    pub(super) fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    pub(super) fn text(&self) -> String {
        format!(
            "{} kills ({} at a step of the store), {} acts acknowledged, {} wrong PINs answered in {} lock-outs ({} counted \
             without an answer), other codes {:?}; tokens unusable, PINs lost or tries forgotten: {} {:?}",
            self.kills,
            self.planned,
            self.acknowledged,
            self.refused,
            self.lockouts,
            self.lost_answers,
            self.unknown,
            self.wrong.len(),
            &self.wrong[..self.wrong.len().min(5)],
        )
    }

    fn end(&mut self, result: Result<(), Rv>) -> bool {
        match result {
            Ok(()) => self.acknowledged += 1,
            Err(rv) => *self.unknown.entry(rv.to_string()).or_default() += 1,
        }
        result.is_ok()
    }

    fn expect(&mut self, good: bool, sentence: impl FnOnce() -> String) {
        if !good {
            self.wrong.push(sentence());
        }
    }
}

/// A value that a call changes: what it is, or what it may be when a call's end is unknown.
#[derive(Clone, Debug)]
struct Value {
    now: String,
    perhaps: Option<String>,
}

impl Value {
    fn new(text: &str) -> Self {
        Self {
            now: text.to_owned(),
            perhaps: None,
        }
    }

    fn change(&mut self, new: String, done: bool) {
        if done {
            *self = Self {
                now: new,
                perhaps: None,
            };
        } else {
            self.perhaps = Some(new);
        }
    }
}

/// The token as its one program knows it.
pub(super) struct Token {
    module: Module,
    slot: CK_SLOT_ID,
    session: Session,
    pin: Value,
    officer: Value,
    label: Value,
    /// Wrong PINs answered since the count was last cleared.
    refused: usize,
    made: usize,
}

impl Token {
    pub(super) fn open(daemon: &Served) -> Self {
        let module = daemon.module();
        module.initialize().expect("C_Initialize");
        let slot = module.slots(false).expect("C_GetSlotList")[0];
        let session = module.open_session(slot).expect("C_OpenSession");
        Self {
            module,
            slot,
            session,
            pin: Value::new(PIN),
            officer: Value::new(SO_PIN),
            label: Value::new(LABEL),
            refused: 0,
            made: 0,
        }
    }

    fn next(&mut self) -> String {
        self.made += 1;
        format!("pin-{}", self.made)
    }

    /// Brings the token into the state in which the act can be done.
    pub(super) fn begin(&mut self, act: Act, figures: &mut Figures) {
        self.refused = 0;
        match act {
            Act::SetOfficerPin | Act::InitPin => {
                let done = self.module.login(self.session, CKU_SO, &self.officer.now);
                figures.expect(done.is_ok(), || format!("{act:?}: the officer's login: {done:?}"));
            }
            Act::InitToken => self.module.close_session(self.session).expect("C_CloseSession"),
            Act::Login | Act::WrongPin | Act::SetPin => {}
        }
    }

    /// Does it once.
    pub(super) fn act(&mut self, act: Act, random: &mut Random, figures: &mut Figures) {
        let new = self.next();
        let (module, session) = (&self.module, self.session);
        match act {
            Act::Login => {
                let done = module.login(session, CKU_USER, &self.pin.now);
                if figures.end(done) {
                    figures.end(module.logout(session));
                }
            }
            Act::WrongPin => self.wrong_pin(random, figures),
            // A PIN of which nobody knows whether it was changed is looked at before it is changed again.
            Act::SetPin if self.pin.perhaps.is_none() => {
                let done = figures.end(module.set_pin(session, &self.pin.now, &new));
                self.pin.change(new, done);
            }
            Act::SetOfficerPin if self.officer.perhaps.is_none() => {
                let done = figures.end(module.set_pin(session, &self.officer.now, &new));
                self.officer.change(new, done);
            }
            Act::InitPin if self.pin.perhaps.is_none() => {
                let done = figures.end(module.init_pin(session, &new));
                self.pin.change(new, done);
            }
            Act::InitToken if self.label.perhaps.is_none() => {
                let done = figures.end(module.init_token(self.slot, &self.officer.now, &new));
                self.label.change(new, done);
            }
            _ => std::thread::yield_now(),
        }
    }

    fn wrong_pin(&mut self, random: &mut Random, figures: &mut Figures) {
        let wrong = format!("wrong-{}", random.below(1000));
        match self.module.login(self.session, CKU_USER, &wrong) {
            Err(Rv(CKR_PIN_INCORRECT)) => {
                self.refused += 1;
                figures.refused += 1;
            }
            Err(Rv(CKR_PIN_LOCKED)) => std::thread::yield_now(),
            other => {
                figures.expect(other.is_err(), || "a wrong PIN logs in".to_owned());
                figures.end(other);
            }
        }
    }

    /// What must be true after the kill, whatever it hit; afterwards the token is as the next act needs it.
    pub(super) fn look(&mut self, act: Act, figures: &mut Figures) {
        match act {
            Act::Login | Act::SetPin => {}
            Act::SetOfficerPin | Act::InitPin => drop(self.module.logout(self.session)),
            Act::WrongPin => self.look_at_count(figures),
            Act::InitToken => self.look_at_token(figures),
        }
        self.settle(act, CKU_SO, figures);
        self.settle(act, CKU_USER, figures);
        let flags = self.module.token_info(self.slot).map(|info| info.flags);
        let low = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;
        // What `settle` has tried in vain was cleared by the right PIN after it.
        figures.expect(flags.as_ref().is_ok_and(|flags| flags & low == 0), || {
            format!("{act:?}: flags {flags:x?} after a right PIN")
        });
    }

    /// The PIN of a role is the old one or the new one, and not both.
    fn settle(&mut self, act: Act, user: CK_USER_TYPE, figures: &mut Figures) {
        let value = if user == CKU_SO {
            self.officer.clone()
        } else {
            self.pin.clone()
        };
        let (module, session) = (&self.module, self.session);
        let opens = |pin: &str| {
            let result = module.login(session, user, pin);
            if result.is_ok() { module.logout(session) } else { result }
        };
        let new = value.perhaps.as_ref().map(|new| (new.clone(), opens(new)));
        let old = opens(&value.now);
        let settled = match (&new, &old) {
            (None, Ok(())) => Some(value.now.clone()),
            (Some((_, Err(Rv(CKR_PIN_INCORRECT)))), Ok(())) => Some(value.now.clone()),
            (Some((new, Ok(()))), Err(Rv(CKR_PIN_INCORRECT))) => {
                // Clears the one wrong try.
                opens(new).is_ok().then(|| new.clone())
            }
            _ => None,
        };
        figures.expect(settled.is_some(), || {
            format!("{act:?}: role {user}: new PIN {new:?}, old PIN {old:?}")
        });
        let settled = Value::new(&settled.unwrap_or(value.now));
        if user == CKU_SO {
            self.officer = settled;
        } else {
            self.pin = settled;
        }
    }

    /// Wrong PINs until the lock: no more than ten were answered in all. Then the officer opens it.
    fn look_at_count(&mut self, figures: &mut Figures) {
        let mut last = Ok(());
        for _ in 0..=TRIES {
            last = self.module.login(self.session, CKU_USER, "wrong-again");
            if last != Err(Rv(CKR_PIN_INCORRECT)) {
                break;
            }
            self.refused += 1;
            figures.refused += 1;
        }
        // INV-8: a try that was answered is counted, whatever happened since.
        let refused = self.refused;
        figures.expect(last == Err(Rv(CKR_PIN_LOCKED)) && refused <= TRIES, || {
            format!("{refused} wrong PINs were answered, then {last:?}")
        });
        figures.lost_answers += TRIES.saturating_sub(refused);
        figures.expect(refused + 2 >= TRIES, || format!("locked after {refused} wrong PINs"));
        figures.lockouts += 1;
        let right = self.module.login(self.session, CKU_USER, &self.pin.now);
        figures.expect(right == Err(Rv(CKR_PIN_LOCKED)), || {
            format!("the right PIN after the lock: {right:?}")
        });
        self.new_user_pin(figures);
    }

    /// The label is the old or the new one; under the new one there is no user yet.
    fn look_at_token(&mut self, figures: &mut Figures) {
        let info = self.module.token_info(self.slot);
        let label = info.as_ref().map(|info| info.label.clone()).unwrap_or_default();
        let known = label == self.label.now || Some(&label) == self.label.perhaps.as_ref();
        figures.expect(known, || format!("InitToken: {:?}, found {info:?}", self.label));
        self.label = Value::new(&label);
        self.session = self.module.open_session(self.slot).expect("C_OpenSession");
        let flags = info.map_or(0, |info| info.flags);
        if flags & CKF_USER_PIN_INITIALIZED == 0 {
            self.new_user_pin(figures);
        }
    }

    fn new_user_pin(&mut self, figures: &mut Figures) {
        let new = self.next();
        // A login that a planned kill took away is made again.
        let done = (0..3).any(|_| {
            let login = self.module.login(self.session, CKU_SO, &self.officer.now);
            let init = self.module.init_pin(self.session, &new);
            let _ = self.module.logout(self.session);
            login.is_ok() && init.is_ok()
        });
        figures.expect(done, || "the officer cannot give a new PIN".to_owned());
        self.pin = Value::new(&new);
    }
}
