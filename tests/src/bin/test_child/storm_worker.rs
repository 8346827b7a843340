//! One of the processes of the kill storm: creates, labels, signs and destroys until a file tells it to stop, and notes
//! each change before and after. It logs in once: what a restart of the daemon breaks shows here.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use cryptoki_sys::*;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::soak::Random;
use hsmd_tests::storm::{Change, end_line, intent_line};
use hsmd_tests::template::{self, Attribute, Mechanism, bytes, flag, number};
use hsmd_tests::wait;

/// Codes that say that the restart was seen: the session, a handle or the login is lost.
const LOST: [CK_RV; 8] = [
    CKR_SESSION_HANDLE_INVALID,
    CKR_SESSION_CLOSED,
    CKR_OBJECT_HANDLE_INVALID,
    CKR_KEY_HANDLE_INVALID,
    CKR_USER_NOT_LOGGED_IN,
    CKR_DEVICE_REMOVED,
    CKR_TOKEN_NOT_PRESENT,
    CKR_CRYPTOKI_NOT_INITIALIZED,
];

/// At most so many live objects for each worker.
const LIVE: usize = 12;

struct Live {
    id: String,
    object: Object,
    /// For a pair: the public key.
    public: Option<Object>,
    signs_with: Option<CK_MECHANISM_TYPE>,
    version: usize,
}

struct Worker {
    module: Module,
    session: Session,
    journal: File,
    random: Random,
    name: String,
    made: usize,
    live: Vec<Live>,
}

/// Works until the file `stop` exists.
pub(crate) fn run(module: &Path, journal: &Path, stop: &Path, number: &str, pin: &str) {
    let module = Module::load(module);
    let session = login_when_possible(&module, pin);
    let mut worker = Worker {
        module,
        session,
        journal: File::options()
            .create(true)
            .append(true)
            .open(journal)
            .expect("the journal"),
        random: Random::new(number.parse().expect("a number")),
        name: format!("w{number}"),
        made: 0,
        live: Vec::new(),
    };
    while !stop.exists() {
        worker.step();
    }
    worker.module.finalize().expect("C_Finalize");
}

/// The daemon may be away at this moment, or be killed in the midst of the login: a program would try again.
fn login_when_possible(module: &Module, pin: &str) -> Session {
    let session = wait::until(wait::PATIENCE, || {
        module.initialize().expect("C_Initialize");
        let session = first_session(module, pin);
        if session.is_none() {
            module.finalize().expect("C_Finalize");
        }
        session
    });
    session.expect("a login, some time")
}

fn first_session(module: &Module, pin: &str) -> Option<Session> {
    let slot = *module.slots(true).ok()?.first()?;
    let session = module.open_session(slot).ok()?;
    module.login(session, CKU_USER, pin).ok().map(|()| session)
}

impl Worker {
    fn step(&mut self) {
        let choice = self.random.below(10);
        match choice {
            _ if self.live.is_empty() => self.create_pair(),
            0 | 1 if self.live.len() < LIVE => self.create_pair(),
            2 if self.live.len() < LIVE => self.create_secret(),
            3 if self.live.len() < LIVE => self.create_data(),
            4 | 5 => self.label(),
            6 => self.destroy(),
            _ => self.sign(),
        }
    }

    fn note(&mut self, line: &str) {
        // One write for each line: what the judge reads is whole.
        self.journal.write_all(line.as_bytes()).expect("the journal");
    }

    fn change<T>(
        &mut self,
        id: &str,
        change: &Change,
        work: impl FnOnce(&Module, Session) -> Result<T, Rv>,
    ) -> Option<T> {
        self.note(&intent_line(id, change));
        let result = work(&self.module, self.session);
        let name = result.as_ref().err().map(ToString::to_string);
        self.note(&end_line(name.as_deref()));
        if let Err(rv) = &result {
            self.judge_error(*rv, id);
        }
        result.ok()
    }

    fn judge_error(&mut self, rv: Rv, id: &str) {
        if LOST.contains(&rv.0) || rv.name().is_none() || rv.0 == CKR_GENERAL_ERROR {
            self.note(&format!("broken {rv} at {id}\n"));
        }
    }

    fn next(&mut self) -> (String, String) {
        self.made += 1;
        let id = format!("{}-{}", self.name, self.made);
        let label = format!("{id}-v0");
        (id, label)
    }

    fn create_pair(&mut self) {
        let (id, label) = self.next();
        let (generate, parameters, signs_with) = match self.random.below(3) {
            0 => (CKM_EC_KEY_PAIR_GEN, template::P384, CKM_ECDSA),
            1 => (CKM_EC_EDWARDS_KEY_PAIR_GEN, template::ED25519, CKM_EDDSA),
            _ => (CKM_EC_KEY_PAIR_GEN, template::P256, CKM_ECDSA),
        };
        let common = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, &label), bytes(CKA_ID, &id)];
        let public: Vec<Attribute> = common
            .iter()
            .cloned()
            .chain([bytes(CKA_EC_PARAMS, parameters), flag(CKA_VERIFY, true)])
            .collect();
        let private: Vec<Attribute> = common.iter().cloned().chain([flag(CKA_SIGN, true)]).collect();
        let made = self.change(&id, &Change::CreatePair(label), |module, session| {
            module.generate_key_pair(session, &Mechanism::Plain(generate), &public, &private)
        });
        if let Some((public, object)) = made {
            self.live.push(Live {
                id,
                object,
                public: Some(public),
                signs_with: Some(signs_with),
                version: 0,
            });
        }
    }

    fn create_secret(&mut self) {
        let (id, label) = self.next();
        let template = [
            flag(CKA_TOKEN, true),
            bytes(CKA_LABEL, &label),
            bytes(CKA_ID, &id),
            number(CKA_VALUE_LEN, 32),
        ];
        let made = self.change(&id, &Change::Create(label), |module, session| {
            module.generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)
        });
        if let Some(object) = made {
            self.live.push(Live {
                id,
                object,
                public: None,
                signs_with: None,
                version: 0,
            });
        }
    }

    fn create_data(&mut self) {
        let (id, label) = self.next();
        // A data object has no CKA_ID: its application says whose it is.
        let template = [
            number(CKA_CLASS, CKO_DATA),
            flag(CKA_TOKEN, true),
            bytes(CKA_LABEL, &label),
            bytes(CKA_APPLICATION, &id),
            bytes(CKA_VALUE, &id),
        ];
        let made = self.change(&id, &Change::Create(label), |module, session| {
            module.create(session, &template)
        });
        if let Some(object) = made {
            self.live.push(Live {
                id,
                object,
                public: None,
                signs_with: None,
                version: 0,
            });
        }
    }

    fn label(&mut self) {
        let index = self.random.below(self.live.len());
        let live = &mut self.live[index];
        live.version += 1;
        let (id, object, label) = (live.id.clone(), live.object, format!("{}-v{}", live.id, live.version));
        let template = [bytes(CKA_LABEL, &label)];
        let done = self.change(&id, &Change::Label(label), |module, session| {
            module.set(session, object, &template)
        });
        if done.is_none() {
            self.live.remove(index);
        }
    }

    fn destroy(&mut self) {
        let index = self.random.below(self.live.len());
        let live = self.live.remove(index);
        let object = live.object;
        self.change(&live.id, &Change::Destroy, |module, session| {
            module.destroy(session, object)
        });
        if let Some(public) = live.public {
            self.change(&live.id, &Change::DestroyPublic, |module, session| {
                module.destroy(session, public)
            });
        }
    }

    fn sign(&mut self) {
        let index = self.random.below(self.live.len());
        let live = &self.live[index];
        let (Some(kind), Some(public), private, id) = (live.signs_with, live.public, live.object, live.id.clone())
        else {
            return;
        };
        let data: Vec<u8> = (0..32).map(|_| self.random.below(256) as u8).collect();
        let mechanism = Mechanism::Plain(kind);
        match self.module.sign(self.session, &mechanism, private, &data) {
            Ok(signature) => match self.module.verify(self.session, &mechanism, public, &data, &signature) {
                Ok(()) => self.note("signed\n"),
                Err(rv) => self.note(&format!("broken signature {rv} of {id}\n")),
            },
            Err(rv) => self.judge_error(rv, &id),
        }
    }
}
