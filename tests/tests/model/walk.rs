//! Random steps, made on the module and on the model, and compared: each return value, each attribute, what a search finds.

mod reading;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN, SO_PIN};
use hsmd_tests::module::{Module, Object};
use hsmd_tests::rv::Rv;
use hsmd_tests::soak::Random;
use hsmd_tests::template::{Attribute, Mechanism, Template, bytes, flag, number};

use super::rules::{COMMON, Codes, FLAGS, Login, Made, Model, Wish};

/// Objects that live at a time.
const MOST: usize = 30;
/// Sessions that are open at a time.
const SESSIONS: usize = 4;
/// Objects of earlier episodes that could not be destroyed, before the token is initialised again.
const LEFTOVERS: usize = 60;

/// The module beside the model.
pub(super) struct Walk {
    module: Module,
    slot: CK_SLOT_ID,
    random: Random,
    model: Model,
    sessions: Vec<CK_SESSION_HANDLE>,
    /// Of each thing of the model: its unique id, and the handle that it had last.
    ids: Vec<Vec<u8>>,
    handles: Vec<Object>,
    /// Values of materials, where somebody saw them; and those that nobody may ever see.
    values: Vec<Option<Vec<u8>>>,
    secret: Vec<bool>,
    blobs: Vec<Vec<u8>>,
    leftovers: BTreeSet<Vec<u8>>,
    trace: VecDeque<String>,
    /// How often each kind of step succeeded.
    pub(super) done: BTreeMap<&'static str, usize>,
}

/// 0 is the label of an object whose template named none.
fn label(number: u8) -> String {
    if number == 0 {
        String::new()
    } else {
        format!("label {number}")
    }
}

impl Walk {
    pub(super) fn new(daemon: &Daemon, seed: u64) -> Self {
        let module = daemon.module();
        module.initialize().expect("C_Initialize");
        Self {
            slot: module.slot_of(LABEL),
            module,
            random: Random::new(seed),
            model: Model::new(),
            sessions: Vec::new(),
            ids: Vec::new(),
            handles: Vec::new(),
            values: Vec::new(),
            secret: Vec::new(),
            blobs: Vec::new(),
            leftovers: BTreeSet::new(),
            trace: VecDeque::new(),
            done: BTreeMap::new(),
        }
    }

    /// An empty token, as far as that goes, and a model of it.
    pub(super) fn begin(&mut self) {
        let slot = self.slot as usize;
        self.module.library.call("C_CloseAllSessions", &[slot]);
        if self.leftovers.len() > LEFTOVERS {
            self.module.init_token(self.slot, SO_PIN, LABEL).expect("C_InitToken");
            let officer = self.module.open_session(self.slot).expect("C_OpenSession");
            self.module.login(officer, CKU_SO, SO_PIN).expect("C_Login");
            self.module.init_pin(officer, PIN).expect("C_InitPIN");
            self.module.close_session(officer).expect("C_CloseSession");
        }
        let session = self.module.open_session(self.slot).expect("C_OpenSession");
        self.module.login(session, CKU_USER, PIN).expect("C_Login");
        self.leftovers.clear();
        for object in self.module.find(session, &[]).expect("C_FindObjects") {
            if self.module.destroy(session, object).is_err() {
                let id = self.module.get(session, object, CKA_UNIQUE_ID).expect("CKA_UNIQUE_ID");
                self.leftovers.insert(id);
            }
        }
        self.module.close_session(session).expect("C_CloseSession");
        self.model = Model::new();
        self.sessions.clear();
        self.ids.clear();
        self.handles.clear();
        self.values.clear();
        self.secret.clear();
        self.blobs.clear();
        self.trace.clear();
    }

    /// One step.
    pub(super) fn step(&mut self) -> Result<(), String> {
        let open = self.model.sessions.iter().flatten().count();
        let result = match self.random.below(60) {
            _ if open == 0 => self.open_session(),
            0..2 if open < SESSIONS => self.open_session(),
            0..3 => self.close_session(),
            3..7 => self.log_in(),
            7..9 => self.log_out(),
            9..15 if self.alive() < MOST => self.create(),
            15..20 if self.alive() < MOST => self.generate(),
            20..25 if self.alive() < MOST => self.copy(),
            25..32 => self.set(),
            32..36 => self.read(),
            36..40 => self.find(),
            40..44 => self.begin_operation(),
            44..50 => self.wrap(),
            50..54 if self.alive() < MOST => self.unwrap(),
            _ => self.destroy(),
        };
        result.map_err(|what| format!("{what}\nlast steps:\n{}", self.trace.make_contiguous().join("\n")))
    }

    fn alive(&self) -> usize {
        self.model.things.iter().filter(|thing| thing.alive).count()
    }

    /// Notes a step, and compares what it returned.
    fn compare(&mut self, name: &'static str, what: &str, rv: Rv, expected: Result<(), &Codes>) -> Result<(), String> {
        self.trace.push_back(format!("{name} {what}: {rv}"));
        if self.trace.len() > 40 {
            self.trace.pop_front();
        }
        let good = match expected {
            Ok(()) => rv.0 == CKR_OK,
            Err(codes) => codes.contains(&rv.0),
        };
        if rv.0 == CKR_OK {
            *self.done.entry(name).or_default() += 1;
        }
        if good {
            return Ok(());
        }
        let codes = expected.map_or_else(|codes| codes.iter().copied().map(Rv).collect(), |()| vec![Rv(CKR_OK)]);
        Err(format!("{name} {what} returned {rv}, and the model says {codes:?}"))
    }

    fn session(&mut self) -> usize {
        let open: Vec<usize> = (0..self.sessions.len())
            .filter(|at| self.model.sessions[*at].is_some())
            .collect();
        self.random.pick(&open)
    }

    fn handle(&self, session: usize) -> CK_SESSION_HANDLE {
        self.sessions[session]
    }

    /// One that lives, mostly; sometimes one that is gone.
    fn thing(&mut self) -> Option<usize> {
        let things = &self.model.things;
        let some: Vec<usize> = if self.random.below(20) == 0 {
            (0..things.len()).collect()
        } else {
            (0..things.len()).filter(|at| things[*at].alive).collect()
        };
        (!some.is_empty()).then(|| self.random.pick(&some))
    }

    fn wish(&mut self, key: bool, most: usize) -> Wish {
        let mut wish = Wish::default();
        // Keys that wrap and keys that are wrapped: rare by chance.
        match self.random.below(if key { 8 } else { 1 }) {
            1 => wish.flags.extend([(CKA_WRAP, true), (CKA_UNWRAP, true)]),
            2 => wish.flags.push((CKA_EXTRACTABLE, true)),
            _ => {}
        }
        let kinds = if key { &FLAGS[..] } else { &FLAGS[..COMMON] };
        for _ in 0..self.random.below(most + 1) {
            // The last four are the token's own or the officer's.
            let rare = self.random.below(12) == 0;
            let from = if key && !rare { &kinds[..FLAGS.len() - 4] } else { kinds };
            let kind = self.random.pick(from);
            if wish.flags.iter().all(|(named, _)| *named != kind) {
                let rarely_off = matches!(kind, CKA_MODIFIABLE | CKA_COPYABLE | CKA_DESTROYABLE);
                let value = if rarely_off {
                    self.random.below(8) != 0
                } else {
                    self.random.below(2) == 0
                };
                wish.flags.push((kind, value));
            }
        }
        if self.random.below(2) == 0 {
            wish.label = Some(1 + self.random.below(3) as u8);
        }
        wish
    }

    fn template(wish: &Wish) -> Vec<Attribute> {
        let flags = wish.flags.iter().map(|(kind, value)| flag(*kind, *value));
        flags
            .chain(wish.label.map(|number| bytes(CKA_LABEL, label(number))))
            .collect()
    }

    fn open_session(&mut self) -> Result<(), String> {
        let read_write = self.random.below(3) != 0;
        let expected = self.model.open_session(read_write);
        let flags = CKF_SERIAL_SESSION | if read_write { CKF_RW_SESSION } else { 0 };
        let mut session: CK_SESSION_HANDLE = 0;
        let words = [self.slot as usize, flags as usize, 0, 0, &raw mut session as usize];
        let rv = Rv(self.module.library.call("C_OpenSession", &words));
        self.compare(
            "C_OpenSession",
            if read_write { "rw" } else { "ro" },
            rv,
            outcome(&expected),
        )?;
        if expected.is_ok() {
            self.sessions.push(session);
        }
        Ok(())
    }

    fn close_session(&mut self) -> Result<(), String> {
        let session = self.session();
        self.model.close_session(session);
        let rv = code(self.module.close_session(self.handle(session)));
        self.compare("C_CloseSession", &session.to_string(), rv, Ok(()))
    }

    fn log_in(&mut self) -> Result<(), String> {
        let (session, officer) = (self.session(), self.random.below(5) == 0);
        let expected = self.model.log_in(officer);
        let (user, pin) = if officer { (CKU_SO, SO_PIN) } else { (CKU_USER, PIN) };
        let rv = code(self.module.login(self.handle(session), user, pin));
        self.compare("C_Login", if officer { "officer" } else { "user" }, rv, unit(&expected))?;
        self.refresh(session)
    }

    fn log_out(&mut self) -> Result<(), String> {
        let session = self.session();
        let expected = self.model.log_out();
        let rv = code(self.module.logout(self.handle(session)));
        self.compare("C_Logout", "", rv, unit(&expected))?;
        self.refresh(session)
    }

    /// Handles are another login's; what is visible has its unique id.
    fn refresh(&mut self, session: usize) -> Result<(), String> {
        let h = self.handle(session);
        let found = self.module.find(h, &[]).map_err(|rv| format!("C_FindObjects: {rv}"))?;
        let mut seen = BTreeSet::new();
        for object in found {
            let id = self
                .module
                .get(h, object, CKA_UNIQUE_ID)
                .map_err(|rv| format!("CKA_UNIQUE_ID: {rv}"))?;
            if let Some(at) = self.ids.iter().position(|known| *known == id) {
                self.handles[at] = object;
                seen.insert(at);
            } else if !self.leftovers.contains(&id) {
                return Err(format!("an object that nobody made: {id:?}"));
            }
        }
        let visible = self.visible(|_| true);
        if seen == visible {
            Ok(())
        } else {
            Err(format!("visible are {seen:?}, and the model says {visible:?}"))
        }
    }

    fn visible(&self, also: impl Fn(usize) -> bool) -> BTreeSet<usize> {
        let things = self.model.things.iter().enumerate();
        let seen = things.filter(|(at, thing)| self.model.sees(thing) && also(*at));
        seen.map(|(at, _)| at).collect()
    }

    /// A new object: its id, its handle, and whether anybody may ever see its value.
    fn made(&mut self, session: usize, made: &Made, object: Object) -> Result<(), String> {
        let Ok(index) = made else { return Ok(()) };
        let id = self.module.get(self.handle(session), object, CKA_UNIQUE_ID);
        self.ids
            .push(id.map_err(|rv| format!("CKA_UNIQUE_ID of a new object: {rv}"))?);
        self.handles.push(object);
        assert_eq!(
            self.handles.len(),
            index + 1,
            "the module and the model have the same objects"
        );
        while self.secret.len() < self.model.materials.len() {
            let thing = &self.model.things[*index];
            self.secret.push(!thing.outside);
            self.values.push(None);
        }
        self.look(session, *index)
    }

    fn create(&mut self) -> Result<(), String> {
        let session = self.session();
        let key = (self.random.below(2) == 0).then(|| self.random.pick(&[16, 32]));
        let wish = self.wish(key.is_some(), 4);
        let mut template = Self::template(&wish);
        let value = self.random.bytes(key.unwrap_or(5));
        template.push(bytes(CKA_VALUE, &value));
        if key.is_some() {
            template.extend([number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES)]);
        } else {
            template.push(number(CKA_CLASS, CKO_DATA));
        }
        let expected = self.model.create(session, key, &wish);
        let made = self.module.create(self.handle(session), &template);
        let what = format!("in {session} key {key:?} {wish:?}");
        self.compare("C_CreateObject", &what, result(&made), outcome(&expected))?;
        self.made(session, &expected, made.unwrap_or(0))?;
        if expected.is_ok() && key.is_some() {
            let material = self.model.things.last().map_or(0, |thing| thing.material);
            self.values[material] = Some(value);
        }
        Ok(())
    }

    fn generate(&mut self) -> Result<(), String> {
        let (session, size) = (self.session(), self.random.pick(&[16, 32]));
        let wish = self.wish(true, 4);
        let mut template = Self::template(&wish);
        template.push(number(CKA_VALUE_LEN, size as CK_ULONG));
        let expected = self.model.generate(session, size, &wish);
        let generation = Mechanism::Plain(CKM_AES_KEY_GEN);
        let made = self.module.generate_key(self.handle(session), &generation, &template);
        let what = format!("in {session} of {size} {wish:?}");
        self.compare("C_GenerateKey", &what, result(&made), outcome(&expected))?;
        self.made(session, &expected, made.unwrap_or(0))
    }

    fn copy(&mut self) -> Result<(), String> {
        let Some(index) = self.thing() else { return Ok(()) };
        let session = self.session();
        let wish = self.wish(self.model.things[index].key, 2);
        let expected = self.model.copy(session, index, &wish);
        let (mut template, mut object) = (Template::new(&Self::template(&wish)), 0 as Object);
        let h = self.handle(session) as usize;
        let source = self.handles[index] as usize;
        let words = [
            h,
            source,
            template.address(),
            template.count(),
            &raw mut object as usize,
        ];
        let rv = Rv(self.module.library.call("C_CopyObject", &words));
        self.compare(
            "C_CopyObject",
            &format!("{index} in {session} {wish:?}"),
            rv,
            outcome(&expected),
        )?;
        self.made(session, &expected, object)
    }

    fn set(&mut self) -> Result<(), String> {
        let Some(index) = self.thing() else { return Ok(()) };
        let session = self.session();
        let mut wish = self.wish(true, 2);
        if wish.flags.is_empty() && wish.label.is_none() {
            wish.label = Some(1);
        }
        let expected = self.model.set(session, index, &wish);
        let set = self
            .module
            .set(self.handle(session), self.handles[index], &Self::template(&wish));
        self.compare(
            "C_SetAttributeValue",
            &format!("{index} in {session} {wish:?}"),
            code(set),
            unit(&expected),
        )
    }

    fn destroy(&mut self) -> Result<(), String> {
        let Some(index) = self.thing() else { return Ok(()) };
        let session = self.session();
        let expected = self.model.destroy(session, index);
        let destroyed = self.module.destroy(self.handle(session), self.handles[index]);
        self.compare(
            "C_DestroyObject",
            &format!("{index} in {session}"),
            code(destroyed),
            unit(&expected),
        )
    }

    /// Init runs in the application, which may not know yet that another object of the same material has wrapped (docs/design.md,
    /// 8). The daemon knows, and nothing comes out.
    fn refuses_the_work(&mut self, init: &'static str, index: usize, session: CK_SESSION_HANDLE) -> Result<(), String> {
        let function = init.trim_end_matches("Init");
        let (mut output, mut length) = ([0_u8; 32], 32 as CK_ULONG);
        let input = [7_u8; 16];
        let words = [
            session as usize,
            input.as_ptr() as usize,
            input.len(),
            output.as_mut_ptr() as usize,
            &raw mut length as usize,
        ];
        let rv = Rv(self.module.library.call(function, &words));
        let refused = vec![CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_FUNCTION_FAILED];
        self.compare(function, &format!("{index}, barred"), rv, Err(&refused))
    }

    fn begin_operation(&mut self) -> Result<(), String> {
        let Some(index) = self.thing() else { return Ok(()) };
        let session = self.session();
        let (function, usage) = self
            .random
            .pick(&[("C_EncryptInit", CKA_ENCRYPT), ("C_DecryptInit", CKA_DECRYPT)]);
        let expected = self.model.begin(index, usage);
        let h = self.handle(session);
        let cbc = Mechanism::Bytes(CKM_AES_CBC, vec![0; 16]);
        let rv = code(self.module.start(function, h, &cbc, self.handles[index]));
        if rv.0 == CKR_OK && self.model.bars(index, usage) {
            return self.refuses_the_work(function, index, h);
        }
        self.compare(function, &index.to_string(), rv, unit(&expected))?;
        if expected.is_ok() {
            // A NULL mechanism ends it (5.8.1).
            let rv = Rv(self.module.library.call(function, &[h as usize, 0, 0]));
            self.compare(function, "NULL", rv, Ok(()))?;
        }
        Ok(())
    }

    /// Mostly one for which this is CK_TRUE.
    fn thing_with(&mut self, kind: CK_ATTRIBUTE_TYPE) -> Option<usize> {
        let things = self.model.things.iter().enumerate();
        let some: Vec<usize> = things
            .filter(|(_, thing)| thing.alive && thing.is(kind))
            .map(|(at, _)| at)
            .collect();
        if some.is_empty() || self.random.below(4) == 0 {
            return self.thing();
        }
        Some(self.random.pick(&some))
    }

    fn wrap(&mut self) -> Result<(), String> {
        let (Some(by), Some(index)) = (self.thing_with(CKA_WRAP), self.thing_with(CKA_EXTRACTABLE)) else {
            return Ok(());
        };
        let session = self.session();
        let expected = self.model.wrap(by, index);
        let wrap = Mechanism::Plain(CKM_AES_KEY_WRAP);
        let blob = self
            .module
            .wrap(self.handle(session), &wrap, self.handles[by], self.handles[index]);
        self.compare(
            "C_WrapKey",
            &format!("{index} with {by}"),
            result(&blob),
            outcome(&expected),
        )?;
        self.blobs.extend(blob.ok());
        Ok(())
    }

    fn unwrap(&mut self) -> Result<(), String> {
        let Some(by) = self.thing_with(CKA_UNWRAP) else {
            return Ok(());
        };
        if self.blobs.is_empty() {
            return Ok(());
        }
        // Mostly a blob of this key.
        let material = self.model.things[by].material;
        let own: Vec<usize> = (0..self.blobs.len())
            .filter(|at| self.model.blobs[*at].by == material)
            .collect();
        let any = self.random.below(self.blobs.len());
        let blob = if own.is_empty() || self.random.below(4) == 0 {
            any
        } else {
            self.random.pick(&own)
        };
        let session = self.session();
        let wish = self.wish(true, 3);
        let mut attributes = Self::template(&wish);
        attributes.extend([number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES)]);
        let expected = self.model.unwrap(session, by, blob, &wish);
        let (mut template, mut object) = (Template::new(&attributes), 0 as Object);
        let (h, key) = (self.handle(session) as usize, self.handles[by] as usize);
        let bytes = &self.blobs[blob];
        let rv = Mechanism::Plain(CKM_AES_KEY_WRAP).with(|mechanism| {
            let (address, count) = (template.address(), template.count());
            let words = [
                h,
                mechanism,
                key,
                bytes.as_ptr() as usize,
                bytes.len(),
                address,
                count,
                &raw mut object as usize,
            ];
            Rv(self.module.library.call("C_UnwrapKey", &words))
        });
        let what = format!("blob {blob} with {by} in {session} {wish:?}");
        self.compare("C_UnwrapKey", &what, rv, outcome(&expected))?;
        self.made(session, &expected, object)
    }

    /// Who is logged in, for the summary.
    pub(super) fn is_officer(&self) -> bool {
        self.model.login == Login::Officer
    }
}

fn outcome(made: &Made) -> Result<(), &Codes> {
    made.as_ref().map(|_| ())
}

fn unit(done: &Result<(), Codes>) -> Result<(), &Codes> {
    done.as_ref().copied()
}

fn code(done: Result<(), Rv>) -> Rv {
    done.err().unwrap_or(Rv(CKR_OK))
}

fn result<T>(done: &Result<T, Rv>) -> Rv {
    done.as_ref().err().copied().unwrap_or(Rv(CKR_OK))
}
