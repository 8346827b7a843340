//! Random calls of every function of the 2.40, 3.0 and 3.2 lists, with memory that is legal or NULL: whatever comes, the
//! module answers in time with a code of the standard. What ends or spoils the state of the other calls comes seldom and is
//! put right after it.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use hsmd_tests::daemon::LABEL;
use hsmd_tests::module::Module;
use hsmd_tests::rv::Rv;
use hsmd_tests::soak::Random;
use hsmd_tests::template::{self, Mechanism, Template, bytes, flag, number};
use hsmd_tests::wait;

use super::Findings;
use hsmd_tests::signatures::{DESTRUCTIVE, Parameter, SIGNATURES, parameters};
use hsmd_tests::signatures_3::{SIGNATURES_3, pointers};

const ROOM: usize = 1 << 16;
/// The longest that a call may take; the module's own deadline is 5 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// Calls after which session objects are thrown away and the state is put right.
const ROUND: usize = 500;
/// The same where a spoiled reply may have cost the session or the login.
const TOLERANT_ROUND: usize = 25;
/// One call in so many is a destructive one.
const SELDOM: usize = 300;
/// Functions that hostile.rs tests by themselves.
const OTHERS: [(&str, &str); 3] = [("C_Initialize", "c"), ("C_Finalize", "c"), ("C_GetFunctionList", "x")];
/// What the keys of a run are found by.
const KEYS: &[u8] = b"hostile";

/// A function to call: its name, its parameters, and its place in the list of version 3.2 if only that has it.
#[derive(Clone, Copy)]
struct Function {
    name: &'static str,
    letters: &'static str,
    pointer: Option<usize>,
}

/// One run.
struct Run<'a> {
    module: &'a Module,
    pin: &'a str,
    random: Random,
    session: CK_SESSION_HANDLE,
    slot: CK_SLOT_ID,
    mechanisms: Vec<CK_MECHANISM_TYPE>,
    handles: Vec<usize>,
    memory: Vec<usize>,
    /// For parameters of mechanisms: a structure of zeros has NULL pointers.
    zeros: Vec<usize>,
    output: Vec<usize>,
    places: [usize; 8],
    /// Replies were or are spoiled.
    spoiled: bool,
    /// The other side may be broken: only codes, time and memory count.
    tolerant: bool,
}

/// Makes `calls` random calls.
pub(crate) fn run(module: &Module, pin: &str, seed: u64, calls: usize, findings: &mut Findings) {
    let mut run = Run::new(module, pin, seed, false);
    run.repair(findings);
    run.calls(seed, calls, findings);
    run.repair(findings);
    let alive = module.random(run.session, 16);
    findings.expect(alive.is_ok(), || format!("seed {seed}: after {calls} calls: {alive:?}"));
}

/// As [`run`] over a connection that spoils replies once `spoil` was written and its answer read, until `calm` was.
pub(crate) fn over_spoiled_replies(module: &Module, pin: &str, seed: u64, calls: usize, findings: &mut Findings) {
    module.library.take_any_code();
    let mut run = Run::new(module, pin, seed, true);
    run.repair(findings);
    ask("spoil");
    run.calls(seed, calls, findings);
    ask("calm");
    // What was spoiled last may still cost a call, and a busy machine misses the short deadline.
    let well = wait::until(wait::PATIENCE, || {
        let mut wrong = Findings::default();
        run.tolerant = false;
        run.repair(&mut wrong);
        let alive = wrong.list.is_empty() && module.find(run.session, &[]).is_ok();
        alive.then_some(())
    });
    findings.expect(well.is_some(), || {
        format!("seed {seed}: after {calls} calls nothing works any more")
    });
}

/// What a good call gives, tried until it does.
fn patiently<T>(call: impl Fn() -> Result<T, Rv>) -> T {
    let good = wait::until(wait::PATIENCE, || call().ok());
    good.expect("a good call succeeds within a minute")
}

/// Says a word to the parent and waits for a line.
fn ask(word: &str) {
    println!("{word}");
    std::io::stdout().flush().expect("standard output");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("standard input");
}

impl<'a> Run<'a> {
    fn new(module: &'a Module, pin: &'a str, seed: u64, tolerant: bool) -> Self {
        module.initialize().expect("C_Initialize");
        // Over a proxy the deadline is short, and a busy machine misses it.
        patiently(|| match module.slots(true) {
            // A module that never reached its daemon has an empty list.
            Ok(list) if list.is_empty() => Err(Rv(CKR_TOKEN_NOT_PRESENT)),
            other => other,
        });
        let slot = module.slot_of(LABEL);
        let mut run = Self {
            module,
            pin,
            random: Random::new(seed),
            session: patiently(|| module.open_session(slot)),
            slot,
            mechanisms: patiently(|| module.mechanisms(slot)),
            handles: Vec::new(),
            memory: vec![0; ROOM / 8],
            zeros: vec![0; ROOM / 8],
            output: vec![0; ROOM / 8],
            places: [0; 8],
            spoiled: tolerant,
            tolerant,
        };
        run.mechanisms
            .extend([CKM_DES3_CBC, CKM_MD5, 0x8000_1234, CK_ULONG::MAX]);
        patiently(|| match module.login(run.session, CKU_USER, pin) {
            Err(rv) if rv.0 != CKR_USER_ALREADY_LOGGED_IN => Err(rv),
            _ => Ok(()),
        });
        run.make_keys();
        run
    }

    /// Keys on the token for the operations to work with; another run may have made them.
    fn make_keys(&self) {
        let wanted = [bytes(CKA_LABEL, KEYS)];
        if !patiently(|| self.module.find(self.session, &wanted)).is_empty() {
            return;
        }
        // They outlive C_DestroyObject and C_SetAttributeValue, and C_CopyObject does not fill the token with them.
        let fixed = [CKA_DESTROYABLE, CKA_MODIFIABLE, CKA_COPYABLE].map(|kind| flag(kind, false));
        let token = || [vec![flag(CKA_TOKEN, true), bytes(CKA_LABEL, KEYS)], fixed.to_vec()].concat();
        let mut aes = token();
        aes.extend([number(CKA_VALUE_LEN, 32), flag(CKA_WRAP, true), flag(CKA_UNWRAP, true)]);
        let mut hmac = token();
        hmac.extend([number(CKA_VALUE_LEN, 32), flag(CKA_SIGN, true)]);
        let module = self.module;
        for (kind, template) in [(CKM_AES_KEY_GEN, aes), (CKM_GENERIC_SECRET_KEY_GEN, hmac)] {
            let made = module.generate_key(self.session, &Mechanism::Plain(kind), &template);
            made.expect("C_GenerateKey");
        }
        let mut curve = token();
        curve.push(bytes(CKA_EC_PARAMS, template::P256));
        let mut rsa = token();
        rsa.push(number(CKA_MODULUS_BITS, 2048));
        for (kind, public) in [(CKM_EC_KEY_PAIR_GEN, curve), (CKM_RSA_PKCS_KEY_PAIR_GEN, rsa)] {
            let made = module.generate_key_pair(self.session, &Mechanism::Plain(kind), &public, &token());
            made.expect("C_GenerateKeyPair");
        }
    }

    /// Fresh sessions and a login, whatever was called before.
    fn repair(&mut self, findings: &mut Findings) {
        // It may be initialised already.
        let _ = self.module.initialize();
        self.module.library.call("C_CloseAllSessions", &[self.slot as usize]);
        if self.spoiled {
            // A spoiled list may lack the slot or its token; only this call asks again (PKCS#11 3.2, 5.5.1).
            let _ = self.module.slots(true);
        }
        let again = self.module.open_session(self.slot).and_then(|session| {
            self.session = session;
            self.module.login(session, CKU_USER, self.pin)?;
            self.module.find(session, &[bytes(CKA_LABEL, KEYS)])
        });
        self.handles = vec![0, 1, 2];
        match again {
            Ok(found) => self.handles.extend(found.iter().map(|handle| *handle as usize)),
            Err(rv) => findings.expect(self.tolerant, || format!("a session and a login: {rv:?}")),
        }
    }

    fn calls(&mut self, seed: u64, calls: usize, findings: &mut Findings) {
        let (harmless, destructive) = functions(self.module);
        for call in 0..calls {
            let rare = self.random.below(SELDOM) == 0;
            let function = self.random.pick(if rare { destructive.as_slice() } else { &harmless });
            let started = Instant::now();
            let (rv, words) = self.call(function);
            let took = started.elapsed();
            let name = function.name;
            findings.expect(rv.name().is_some() && took < PATIENCE, || {
                format!("seed {seed}, call {call}: {name}{words:x?}: {rv:?} after {took:?}")
            });
            let makes = [
                "C_GenerateKey",
                "C_GenerateKeyPair",
                "C_CreateObject",
                "C_CopyObject",
                "C_UnwrapKey",
                "C_DeriveKey",
            ];
            if rv.0 == CKR_OK && makes.contains(&name) {
                self.handles.push(self.output[0]);
            }
            let round = if self.tolerant { TOLERANT_ROUND } else { ROUND };
            if rare || call % round == 0 {
                self.repair(findings);
            }
        }
    }

    fn call(&mut self, function: Function) -> (Rv, Vec<usize>) {
        let mut template = random_template(&mut self.random);
        let mut structure = [0; 6];
        let mut mechanism = self.mechanism(&mut structure);
        let mut words = Vec::new();
        for kind in parameters(function.letters) {
            let word = self.word(function, kind, &mut template, &raw mut mechanism as usize);
            words.push(word);
        }
        let mut message = [0; 6];
        if function.name.contains("MessageBegin")
            || function.name.contains("MessageNext")
            || function.name.ends_with("Message")
        {
            self.message_parameter(&mut message, &mut words);
        }
        let rv = match function.pointer {
            Some(pointer) => self.module.library.call_pointer(function.name, pointer, &words),
            None => self.module.library.call(function.name, &words),
        };
        (Rv(rv), words)
    }

    fn word(&mut self, function: Function, kind: Parameter, template: &mut Template, mechanism: usize) -> usize {
        let null = self.random.below(8) == 0;
        match kind {
            Parameter::Session if null => self.random.below(1 << 20),
            Parameter::Session => self.session as usize,
            Parameter::Slot if null => self.random.below(1 << 20),
            Parameter::Slot => self.slot as usize,
            Parameter::Object => self.random.pick(&self.handles),
            Parameter::Number if function.name.starts_with("C_Login") => self.random.pick(&[0, 1, 2, 7]),
            // C_WaitForSlotEvent must not block; elsewhere the bit is harmless.
            Parameter::Number => self.random.below(1 << 13) | 1,
            Parameter::Opaque => 0,
            _ if null && kind != Parameter::Length => 0,
            Parameter::Mechanism => mechanism,
            Parameter::Template => template.address(),
            Parameter::Memory => self.memory.as_mut_ptr() as usize,
            Parameter::Length if function.letters.contains("tl") => template.count(),
            Parameter::Length => self
                .random
                .pick(&[0, 1, 15, 16, 17, 28, 32, 33, 64, 256, 1000, 16 << 10]),
            Parameter::Output | Parameter::Place => self.output.as_mut_ptr() as usize,
            Parameter::LengthPlace => {
                self.places[7] = self.random.pick(&[0, 1, 16, 64, 256, 4096, ROOM]);
                (&raw mut self.places[7]) as usize
            }
        }
    }

    /// Most messages come with a CK_GCM_MESSAGE_PARAMS, whatever else is wrong with the call.
    fn message_parameter(&mut self, structure: &mut [usize; 6], words: &mut [usize]) {
        if self.random.below(4) == 0 {
            return;
        }
        let place = self.memory.as_mut_ptr() as usize;
        let length = self.random.pick(&[0, 1, 12, 12, 16, 256, 257]);
        let fixed = self.random.pick(&[0, 0, 4, 32, 95, 3000]);
        let tag = self.random.pick(&[0, 96, 128, 128, 129]);
        *structure = [place, length, fixed, self.random.below(6), place + 512, tag];
        if let [_, parameter, size, ..] = words {
            (*parameter, *size) = (structure.as_ptr() as usize, size_of_val(structure));
        }
    }

    /// A mechanism with its own parameter, with another, or with none.
    fn mechanism(&mut self, structure: &mut [usize; 6]) -> CK_MECHANISM {
        let kind = self.random.pick(&self.mechanisms);
        let length = match self.random.below(5) {
            0 => 0,
            1 => {
                let length = self.random.pick(&[1, 8, 12, 16, 24, 40, 48]);
                return raw_mechanism(kind, self.zeros.as_mut_ptr(), length);
            }
            _ => self.own_parameter(kind, structure),
        };
        if length == 0 {
            raw_mechanism(kind, std::ptr::null_mut(), 0)
        } else {
            raw_mechanism(kind, structure.as_mut_ptr(), length)
        }
    }

    /// Fills in the structure that a mechanism takes; gives its length in bytes.
    fn own_parameter(&mut self, kind: CK_MECHANISM_TYPE, structure: &mut [usize; 6]) -> usize {
        let place = self.memory.as_mut_ptr() as usize;
        let hash = self.random.pick(&[CKM_SHA256, CKM_SHA_1, CKM_SHA512, CKM_AES_CBC]) as usize;
        let mgf = self.random.pick(&[CKG_MGF1_SHA256, CKG_MGF1_SHA1, 99]) as usize;
        let few = self.random.pick(&[0, 1, 12, 16, 32, 65, 300]);
        match kind {
            CKM_AES_GCM => {
                let tag = self.random.pick(&[0, 96, 128, 129]);
                *structure = [place, few, few * 8, place, self.random.below(64), tag];
                48
            }
            CKM_AES_CTR => {
                structure[0] = self.random.pick(&[0, 1, 64, 128, 129]);
                24
            }
            CKM_RSA_PKCS_OAEP => {
                *structure = [hash, mgf, CKZ_DATA_SPECIFIED as usize, place, few, 0];
                40
            }
            CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => {
                let kdf = self.random.pick(&[CKD_NULL, CKD_SHA256_KDF, 77]) as usize;
                *structure = [kdf, self.random.below(40), place, few, place, 0];
                40
            }
            CKM_RSA_PKCS_PSS | CKM_SHA256_RSA_PKCS_PSS | CKM_SHA384_RSA_PKCS_PSS | CKM_SHA512_RSA_PKCS_PSS => {
                *structure = [hash, mgf, few, 0, 0, 0];
                24
            }
            CKM_EDDSA => {
                *structure = [self.random.below(2), few, place, 0, 0, 0];
                24
            }
            CKM_AES_CBC | CKM_AES_CBC_PAD | CKM_DES3_CBC => 16,
            _ => 0,
        }
    }
}

fn raw_mechanism(kind: CK_MECHANISM_TYPE, parameter: *mut usize, length: usize) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: kind,
        pParameter: parameter.cast(),
        ulParameterLen: length as CK_ULONG,
    }
}

/// All functions of the lists: those that leave the others' state alone, and those that do not.
fn functions(module: &Module) -> (Vec<Function>, Vec<Function>) {
    let old = SIGNATURES.iter().chain(&OTHERS).map(|&(name, letters)| Function {
        name,
        letters,
        pointer: None,
    });
    let new = SIGNATURES_3
        .iter()
        .zip(pointers(module))
        .map(|(&(name, letters, _), pointer)| Function {
            name,
            letters,
            pointer: Some(pointer),
        });
    old.chain(new).partition(|function| {
        let ends = DESTRUCTIVE.contains(&function.name) || OTHERS[..2].iter().any(|(name, _)| *name == function.name);
        !ends && function.name != "C_LoginUser"
    })
}

fn random_template(random: &mut Random) -> Template {
    let mut attributes = Vec::new();
    for _ in 0..random.below(6) {
        attributes.push(match random.below(7) {
            0 => number(CKA_CLASS, random.below(8) as CK_ULONG),
            1 => number(
                CKA_KEY_TYPE,
                random.pick(&[CKK_RSA, CKK_EC, CKK_AES, CKK_GENERIC_SECRET, CKK_EC_EDWARDS]),
            ),
            2 => number(CKA_VALUE_LEN, random.pick(&[0, 1, 16, 24, 32, 1 << 40])),
            3 => bytes(CKA_EC_PARAMS, template::P256),
            4 => flag(
                random.pick(&[CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_SIGN, CKA_WRAP]),
                random.below(2) == 0,
            ),
            5 => bytes(
                random.pick(&[CKA_LABEL, CKA_ID, CKA_VALUE]),
                vec![b'x'; random.below(40)],
            ),
            _ => bytes(random.below(0x700) as CK_ATTRIBUTE_TYPE, vec![1; random.below(9)]),
        });
    }
    Template::new(&attributes)
}
