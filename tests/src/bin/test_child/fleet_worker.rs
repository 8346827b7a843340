//! One of the processes of the fleet's storm: makes keys, finds those of all others, signs with them, labels and destroys them, and
//! notes each call with the moments before and after it. It logs in once, and never looks which node it is at. Some only find and
//! sign: a change waits for etcd, and whoever waits would not notice that a node without etcd goes on signing. Witnesses know one node
//! alone: whoever has heard of a newer state elsewhere is not served by a node that is behind, so that nobody else would notice either.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use cryptoki_sys::*;
use hsmd_tests::daemon::LABEL;
use hsmd_tests::history::{End, Op, asked_line, now, told_line};
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::soak::Random;
use hsmd_tests::template::{self, Mechanism, bytes, flag, number};
use hsmd_tests::wait;

/// Between two steps, so that eight processes leave room for what they test.
const PACE: Duration = Duration::from_millis(8);
/// Workers from this number on change nothing.
const USERS: usize = 5;
/// Those from this number on know one node alone. It may be gone; what they note is what it did.
const WITNESSES: usize = 8;
/// About so many keys live at a time, over all processes.
const LIVE: usize = 24;

struct Known {
    id: String,
    private: Object,
}

struct Worker {
    module: Module,
    session: Session,
    notes: File,
    random: Random,
    name: String,
    only_uses: bool,
    made: usize,
    /// As the last look showed them.
    keys: Vec<Known>,
    /// Public keys do not go: found once.
    publics: BTreeMap<String, Object>,
}

/// Works until the file `stop` exists.
pub(crate) fn run(module: &Path, notes: &Path, stop: &Path, number: &str, pin: &str) {
    let module = Module::load(module);
    let number: usize = number.parse().expect("a number");
    let session = log_in(&module, pin).expect("a login");
    let mut worker = Worker {
        module,
        session,
        notes: File::options()
            .create(true)
            .append(true)
            .open(notes)
            .expect("the notes"),
        random: Random::new(number as u64),
        name: format!("w{number}"),
        only_uses: number >= USERS,
        made: 0,
        keys: Vec::new(),
        publics: BTreeMap::new(),
    };
    while !stop.exists() {
        let served = if number < WITNESSES {
            worker.step();
            true
        } else {
            worker.witness()
        };
        std::thread::park_timeout(PACE);
        if !served {
            // Whatever it had there may be gone: it begins again.
            let _ = worker.module.finalize();
            let again = wait::until(wait::PATIENCE, || {
                stop.exists()
                    .then_some(None)
                    .or_else(|| log_in(&worker.module, pin).ok().map(Some))
            });
            let Some(session) = again.expect("the node is back") else {
                return;
            };
            worker.session = session;
        }
    }
    let ended = worker.module.finalize();
    assert!(number >= WITNESSES || ended.is_ok(), "C_Finalize: {ended:?}");
}

fn log_in(module: &Module, pin: &str) -> Result<Session, Rv> {
    module.initialize()?;
    let logged_in = wait::until(wait::PATIENCE, || {
        let slots = module.slots(true).ok()?;
        slots
            .into_iter()
            .find(|slot| module.token_info(*slot).is_ok_and(|info| info.label == LABEL))
    })
    .ok_or(Rv(CKR_TOKEN_NOT_PRESENT))
    .and_then(|slot| module.open_session(slot))
    .and_then(|session| module.login(session, CKU_USER, pin).map(|()| session));
    if logged_in.is_err() {
        let _ = module.finalize();
    }
    logged_in
}

/// What a code says of the object.
fn end_of<T>(result: &Result<T, Rv>, uses: bool) -> End {
    match result {
        Ok(_) => End::Done,
        Err(Rv(CKR_OBJECT_HANDLE_INVALID | CKR_KEY_HANDLE_INVALID)) => End::Absent,
        // A key that has gone since C_SignInit.
        Err(Rv(CKR_FUNCTION_FAILED)) if uses => End::Absent,
        Err(rv) => End::Failed(rv.to_string()),
    }
}

impl Worker {
    fn step(&mut self) {
        let few = self.keys.len() < LIVE;
        match self.random.below(20) {
            0..3 => self.look(),
            _ if self.only_uses => self.sign(),
            3..5 if few => self.create(),
            5 => self.label(),
            6 if !few => self.destroy(),
            7 if self.random.below(2) == 0 => self.destroy(),
            _ if self.keys.is_empty() => self.create(),
            _ => self.sign(),
        }
    }

    /// Signs, and notes only what was done: what its one node refuses, or is not there to do, says nothing. False: it did not answer well.
    fn witness(&mut self) -> bool {
        let Some(index) = self.any().filter(|_| self.random.below(20) >= 3) else {
            let shown = self.read_all();
            return shown.map(|(keys, _)| self.keys = keys).is_ok();
        };
        let Known { id, private } = &self.keys[index];
        let (asked, ecdsa) = (asked_line(now(), id, &Op::Use), Mechanism::Plain(CKM_ECDSA));
        let signed = self.module.sign(self.session, &ecdsa, *private, &[7; 32]);
        match end_of(&signed, true) {
            End::Done => self.note(&(asked + &told_line(now(), &End::Done))),
            End::Absent => drop(self.keys.remove(index)),
            _ => return false,
        }
        true
    }

    fn note(&mut self, line: &str) {
        // One write for each line: what the judge reads is whole.
        self.notes.write_all(line.as_bytes()).expect("the notes");
    }

    fn call<T>(&mut self, id: &str, op: &Op, work: impl FnOnce(&Module, Session) -> Result<T, Rv>) -> Result<T, Rv> {
        self.note(&asked_line(now(), id, op));
        let result = work(&self.module, self.session);
        let told = told_line(now(), &end_of(&result, *op == Op::Use));
        self.note(&told);
        result
    }

    fn create(&mut self) {
        self.made += 1;
        let id = format!("{}-{}", self.name, self.made);
        let label = format!("{id}.0");
        let common = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, &label), bytes(CKA_ID, &id)];
        let public: Vec<_> = common
            .iter()
            .cloned()
            .chain([bytes(CKA_EC_PARAMS, template::P256), flag(CKA_VERIFY, true)])
            .collect();
        let private: Vec<_> = common.iter().cloned().chain([flag(CKA_SIGN, true)]).collect();
        let made = self.call(&id, &Op::Create(label), |module, session| {
            module.generate_key_pair(session, &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN), &public, &private)
        });
        if let Ok((public, private)) = made {
            self.publics.insert(id.clone(), public);
            self.keys.push(Known { id, private });
        }
    }

    /// All private keys with their labels. What goes while this process looks is not shown.
    fn look(&mut self) {
        self.note(&asked_line(now(), "", &Op::Find));
        let shown = self.read_all();
        let end = match shown {
            Ok((keys, labels)) => {
                self.keys = keys;
                End::Found(labels)
            }
            Err(rv) => End::Failed(rv.to_string()),
        };
        let told = told_line(now(), &end);
        self.note(&told);
    }

    fn read_all(&self) -> Result<(Vec<Known>, BTreeMap<String, String>), Rv> {
        let (mut keys, mut labels) = (Vec::new(), BTreeMap::new());
        let private = [number(CKA_CLASS, CKO_PRIVATE_KEY)];
        for object in self.module.find(self.session, &private)? {
            let text = |kind| match self.module.get(self.session, object, kind) {
                Ok(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
                Err(Rv(CKR_OBJECT_HANDLE_INVALID)) => Ok(None),
                Err(rv) => Err(rv),
            };
            let (Some(id), Some(label)) = (text(CKA_ID)?, text(CKA_LABEL)?) else {
                continue;
            };
            labels.insert(id.clone(), label);
            keys.push(Known { id, private: object });
        }
        Ok((keys, labels))
    }

    fn any(&mut self) -> Option<usize> {
        (!self.keys.is_empty()).then(|| self.random.below(self.keys.len()))
    }

    fn label(&mut self) {
        let Some(index) = self.any() else { return };
        self.made += 1;
        let (id, private) = (self.keys[index].id.clone(), self.keys[index].private);
        let label = format!("{id}.{}.{}", self.name, self.made);
        let template = [bytes(CKA_LABEL, &label)];
        let done = self.call(&id, &Op::Label(label), |module, session| {
            module.set(session, private, &template)
        });
        if done.is_err() {
            self.keys.remove(index);
        }
    }

    fn destroy(&mut self) {
        let Some(index) = self.any() else { return };
        let Known { id, private } = self.keys.remove(index);
        // What came of it is in the notes.
        let _ = self.call(&id, &Op::Destroy, |module, session| module.destroy(session, private));
    }

    fn sign(&mut self) {
        let Some(index) = self.any() else { return };
        let (id, private) = (self.keys[index].id.clone(), self.keys[index].private);
        let data = self.random.bytes(32);
        let ecdsa = Mechanism::Plain(CKM_ECDSA);
        let signed = self.call(&id, &Op::Use, |module, session| {
            module.sign(session, &ecdsa, private, &data)
        });
        match signed {
            Ok(signature) => self.verify(&id, &data, &signature),
            Err(_) => {
                self.keys.remove(index);
            }
        }
    }

    fn verify(&mut self, id: &str, data: &[u8], signature: &[u8]) {
        let Some(public) = self.public_of(id) else { return };
        let ecdsa = Mechanism::Plain(CKM_ECDSA);
        if let Err(rv) = self.module.verify(self.session, &ecdsa, public, data, signature) {
            self.note(&format!("wrong signature {rv} of {id}\n"));
        }
    }

    /// INV-3: a pair is whole or not there; its public half is never destroyed here.
    fn public_of(&mut self, id: &str) -> Option<Object> {
        if let Some(public) = self.publics.get(id) {
            return Some(*public);
        }
        let wanted = [number(CKA_CLASS, CKO_PUBLIC_KEY), bytes(CKA_ID, id)];
        // A look that fails here is no call of the history; the next one tells.
        let found = self.module.find(self.session, &wanted).ok()?;
        let Some(public) = found.first().copied() else {
            self.note(&format!("wrong: {id} has signed and has no public half\n"));
            return None;
        };
        self.publics.insert(id.to_owned(), public);
        Some(public)
    }
}
