//! A model that looks for attacks: random sequences of everything that a user may call, with an attacker who keeps what it gets
//! and tries it on everything. INV-1: the value of a key that was never readable does not become known, in any order of calls.
//!
//! The attacker knows what it imported, read, decrypted or agreed on, opens every blob with every key that it knows (also those it
//! learns later), and asks the token to decrypt and unwrap every blob with every key.

use std::collections::{HashMap, HashSet};

use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Key, Material};
use proptest::prelude::*;

use super::*;

/// One call of the attacker. Numbers choose among what there is at that moment.
#[derive(Clone, Copy, Debug)]
enum Step {
    Generate {
        flags: u8,
        short: bool,
        session: bool,
    },
    GeneratePair {
        kind: u8,
        flags: u8,
    },
    Import {
        value: u8,
        flags: u8,
    },
    Copy {
        key: u8,
        flags: u8,
    },
    Set {
        key: u8,
        flag: u8,
        value: bool,
    },
    Wrap {
        by: u8,
        key: u8,
        how: u8,
    },
    Unwrap {
        by: u8,
        blob: u8,
        how: u8,
        flags: u8,
        generic: bool,
    },
    Derive {
        key: u8,
        flags: u8,
    },
    Encrypt {
        key: u8,
        known: u8,
        how: u8,
    },
    Decrypt {
        key: u8,
        blob: u8,
        how: u8,
    },
    Read {
        key: u8,
    },
    Destroy {
        key: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    let n = any::<u8>;
    prop_oneof![
        4 => (n(), any::<bool>(), any::<bool>())
            .prop_map(|(flags, short, session)| Generate { flags, short, session }),
        1 => (n(), n()).prop_map(|(kind, flags)| GeneratePair { kind, flags }),
        2 => (n(), n()).prop_map(|(value, flags)| Import { value, flags }),
        2 => (n(), n()).prop_map(|(key, flags)| Copy { key, flags }),
        4 => (n(), n(), any::<bool>()).prop_map(|(key, flag, value)| Set { key, flag, value }),
        8 => (n(), n(), n()).prop_map(|(by, key, how)| Wrap { by, key, how }),
        6 => (n(), n(), n(), n(), any::<bool>())
            .prop_map(|(by, blob, how, flags, generic)| Unwrap { by, blob, how, flags, generic }),
        1 => (n(), n()).prop_map(|(key, flags)| Derive { key, flags }),
        3 => (n(), n(), n()).prop_map(|(key, known, how)| Encrypt { key, known, how }),
        6 => (n(), n(), n()).prop_map(|(key, blob, how)| Decrypt { key, blob, how }),
        3 => n().prop_map(|key| Read { key }),
        1 => n().prop_map(|key| Destroy { key }),
    ]
}

struct World {
    bench: Bench,
    keys: Vec<ObjectView>,
    /// What the attacker holds in clear.
    known: HashSet<Vec<u8>>,
    blobs: Vec<Vec<u8>>,
    /// Values that nobody may learn.
    secret: HashSet<Vec<u8>>,
    pairs: usize,
    /// Sensitive keys that were wrapped: a run without any shows nothing.
    wrapped: usize,
    /// Their blobs under RSA keys, with the modulus: who has the padded text has the key.
    padded: HashMap<Vec<u8>, Attribute>,
    /// Such a blob was opened without its padding being taken away.
    unpadded: bool,
}

/// What encrypts, decrypts, wraps and unwraps.
fn mechanisms(how: u8) -> Mechanism {
    match how % 12 {
        0 | 1 | 10 | 11 => plain(M::AES_KEY_WRAP),
        2 => plain(M::AES_KEY_WRAP_KWP),
        3 => cbc_pad(),
        4 => ctr(),
        5 => oaep(),
        RAW_RSA => plain(M::RSA_X_509),
        7 => plain(M::RSA_PKCS),
        8 => plain(M::AES_ECB),
        _ => gcm(&[1; 12]),
    }
}

const RAW_RSA: u8 = 6;

/// SENSITIVE and EXTRACTABLE, as the bits say or not at all, and the usage flags.
fn flags(bits: u8, usage: &[A]) -> Vec<Attribute> {
    let mut all = Vec::new();
    if bits & 1 != 0 {
        all.push(Attribute::boolean(A::SENSITIVE, bits & 2 != 0));
    }
    if bits & 4 == 0 {
        all.push(yes(A::EXTRACTABLE));
    }
    all.extend(
        usage
            .iter()
            .enumerate()
            .filter(|(at, _)| bits >> (3 + at % 5) & 1 != 0)
            .map(|(_, flag)| yes(*flag)),
    );
    all
}

const SECRET_USAGE: [A; 4] = [A::WRAP, A::UNWRAP, A::DECRYPT, A::ENCRYPT];

impl World {
    fn new(policy: Policy) -> Self {
        let bench = bench(policy);
        let known = [vec![0x41; 16], vec![0x42; 32]].into();
        Self {
            bench,
            keys: Vec::new(),
            known,
            blobs: Vec::new(),
            secret: HashSet::new(),
            pairs: 0,
            wrapped: 0,
            padded: HashMap::new(),
            unpadded: false,
        }
    }

    fn key(&self, number: u8) -> Option<ObjectView> {
        let count = self.keys.len();
        (count > 0).then(|| self.keys[usize::from(number) % count].clone())
    }

    fn blob(&self, number: u8) -> Option<Vec<u8>> {
        let count = self.blobs.len();
        (count > 0).then(|| self.blobs[usize::from(number) % count].clone())
    }

    fn known_value(&self, number: u8) -> Vec<u8> {
        let mut all: Vec<_> = self.known.iter().collect();
        all.sort();
        all[usize::from(number) % all.len()].clone()
    }

    /// The key values of an object, as only this test sees them.
    fn values(&self, view: &ObjectView) -> Vec<Vec<u8>> {
        let Ok(object) = self.bench.keys.object(&self.bench.user, &view.name()) else {
            return Vec::new();
        };
        object
            .values
            .0
            .iter()
            .map(|(_, value)| value.expose().to_vec())
            .collect()
    }

    /// A key was generated: unless it is readable from birth, its values are secret for ever.
    fn born(&mut self, view: ObjectView) {
        if flag(&view, A::SENSITIVE) || !flag(&view, A::EXTRACTABLE) {
            self.secret.extend(self.values(&view));
        }
        self.keys.push(view);
    }

    fn learn(&mut self, value: Vec<u8>) {
        if value.len() >= 16 && value.len() <= 4096 {
            self.known.insert(value);
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Generate {
                flags: bits,
                short,
                session,
            } => {
                let mut all = flags(bits, &SECRET_USAGE);
                all.push(Attribute::boolean(A::TOKEN, !session));
                if let Ok(view) = self.bench.aes_of(if short { 16 } else { 32 }, &all) {
                    self.born(view);
                }
            }
            Step::GeneratePair { kind, flags: bits } => self.generate_pair(kind, bits),
            Step::Import { value, flags: bits } => {
                let value = self.known_value(value);
                if let Ok(view) = self.bench.import(&self.bench.user, &value, &flags(bits, &SECRET_USAGE)) {
                    self.keys.push(view);
                }
            }
            Step::Copy { key, flags: bits } => {
                let made = self
                    .key(key)
                    .and_then(|key| self.bench.copy(&key, &flags(bits, &SECRET_USAGE)).ok());
                self.keys.extend(made);
            }
            Step::Set { key, flag, value } => {
                const FLAGS: [A; 6] = [A::WRAP, A::UNWRAP, A::DECRYPT, A::ENCRYPT, A::SENSITIVE, A::EXTRACTABLE];
                let change = Attribute::boolean(FLAGS[usize::from(flag) % FLAGS.len()], value);
                let made = self.key(key).and_then(|key| self.bench.set(&key, &[change]).ok());
                // A session object gets a new blob; the old one stays in the attacker's hands.
                self.keys.extend(made.filter(|view| !view.blob.is_empty()));
            }
            Step::Wrap { by, key, how } => self.wrap(by, key, how),
            Step::Unwrap {
                by,
                blob,
                how,
                flags: bits,
                generic,
            } => self.unwrap(by, blob, how, bits, generic),
            Step::Derive { key, flags: bits } => self.derive(key, bits),
            Step::Encrypt { key, known, how } => {
                let (Some(key), data) = (self.key(key), self.known_value(known)) else {
                    return;
                };
                self.blobs.extend(self.bench.encrypt(&key, &mechanisms(how), &data));
            }
            Step::Decrypt { key, blob, how } => {
                let (Some(key), Some(blob)) = (self.key(key), self.blob(blob)) else {
                    return;
                };
                if let Ok(text) = self.bench.decrypt(&key, &mechanisms(how), &blob) {
                    // Any other private key makes something of the blob, too: raw RSA is a permutation.
                    let wrapped_by = self.padded.get(&blob);
                    self.unpadded |=
                        how % 12 == RAW_RSA && wrapped_by.is_some() && wrapped_by == key.attributes.get(A::MODULUS);
                    self.learn(text);
                }
            }
            Step::Read { key } => {
                let value = self.key(key).and_then(|key| self.bench.read(&key, A::VALUE).ok());
                value.into_iter().for_each(|value| self.learn(value));
            }
            Step::Destroy { key } => {
                let key = self.key(key);
                key.map(|key| {
                    self.bench
                        .keys
                        .destroy_object(&self.bench.user, &key.name(), operation())
                });
            }
        }
    }

    fn generate_pair(&mut self, kind: u8, bits: u8) {
        if self.pairs >= 3 {
            return;
        }
        self.pairs += 1;
        let private = flags(bits, &[A::UNWRAP, A::DECRYPT]);
        let made = match kind % 3 {
            0 => self.bench.rsa(&[yes(A::WRAP)], &private),
            1 => self.bench.ec(&[], &private),
            _ => {
                let curve = [Attribute::bytes(A::EC_PARAMS, Curve::X25519.oid_der())];
                self.bench.pair(M::EC_MONTGOMERY_KEY_PAIR_GEN, &curve, &private)
            }
        };
        if let Ok((public, private)) = made {
            self.keys.push(public);
            self.born(private);
        }
    }

    fn wrap(&mut self, by: u8, key: u8, how: u8) {
        let (Some(by), Some(key)) = (self.key(by), self.key(key)) else {
            return;
        };
        if let Ok(blob) = self.bench.wrap(&by, &mechanisms(how), &key) {
            if flag(&key, A::SENSITIVE) {
                self.wrapped += 1;
                let modulus = by.attributes.get(A::MODULUS).cloned();
                self.padded.extend(modulus.map(|modulus| (blob.clone(), modulus)));
            }
            self.blobs.push(blob);
        }
    }

    fn unwrap(&mut self, by: u8, blob: u8, how: u8, bits: u8, generic: bool) {
        let (Some(by), Some(blob)) = (self.key(by), self.blob(blob)) else {
            return;
        };
        let kind = if generic { KeyType::GENERIC_SECRET } else { KeyType::AES };
        let mut all = vec![class(ObjectClass::SECRET_KEY), key_type(kind)];
        all.extend(flags(bits, &SECRET_USAGE));
        self.keys
            .extend(self.bench.unwrap(&by, &mechanisms(how), &blob, &template(&all)));
    }

    /// With the attacker's own pair, whose private half it knows: it knows the result.
    fn derive(&mut self, key: u8, bits: u8) {
        let Some(key) = self.key(key) else { return };
        let montgomery = key.attributes.ulong(A::KEY_TYPE) == Ok(Some(KeyType::EC_MONTGOMERY.0));
        let own = if montgomery {
            hsmd_crypto::generate(&hsmd_crypto::Generate::X25519).unwrap()
        } else {
            hsmd_crypto::generate(&hsmd_crypto::Generate::Ec(Curve::P256)).unwrap()
        };
        let point = match Key::open(&own).unwrap().public() {
            Some(Material::EcPublic { point, .. }) => point,
            Some(Material::MontgomeryPublic { point }) => point.to_vec(),
            _ => unreachable!("a pair on a curve has a point"),
        };
        let mut all = vec![class(ObjectClass::SECRET_KEY), key_type(KeyType::AES)];
        all.extend(flags(bits, &SECRET_USAGE));
        let made = self
            .bench
            .keys
            .derive_key(&self.bench.user, &key.name(), &ecdh(&point), id(), &template(&all));
        if let Ok(view) = made {
            let values = self.values(&view);
            values.into_iter().for_each(|value| self.learn(value));
            self.keys.push(view);
        }
    }

    /// Opens what can be opened without the token, again and again until nothing new comes of it.
    fn open_blobs(&mut self) {
        loop {
            let before = self.known.len();
            let keys: Vec<_> = self
                .known
                .iter()
                .filter(|value| matches!(value.len(), 16 | 32))
                .cloned()
                .collect();
            for value in keys {
                let Ok(key) = Key::open(&Material::Secret(Secret::from_slice(&value))) else {
                    continue;
                };
                for blob in self.blobs.clone() {
                    for how in [0, 2, 3, 4] {
                        let mut out = Vec::new();
                        if key.decrypt(&mechanisms(how), &blob, &mut out).is_ok() && how != 4 {
                            self.learn(out);
                        }
                    }
                }
            }
            if self.known.len() == before {
                return;
            }
        }
    }

    /// The first secret that the attacker holds, alone or inside something else.
    fn leaked(&self) -> Option<Vec<u8>> {
        let holds = |secret: &&Vec<u8>| {
            self.known
                .iter()
                .any(|known| known.windows(secret.len()).any(|part| part == secret.as_slice()))
        };
        self.secret.iter().find(holds).cloned()
    }

    /// Runs the steps; whether a secret leaked.
    fn attack(&mut self, steps: &[Step]) -> bool {
        steps.iter().for_each(|step| self.run(*step));
        // At the end everything is tried on everything.
        for key in 0..self.keys.len() {
            let key = u8::try_from(key).unwrap_or(u8::MAX);
            self.run(Step::Read { key });
            for blob in 0..self.blobs.len() {
                let blob = u8::try_from(blob).unwrap_or(u8::MAX);
                for how in [0, 2, 3, 5, RAW_RSA, 7, 8, 9] {
                    self.run(Step::Decrypt { key, blob, how });
                }
            }
        }
        self.open_blobs();
        self.unpadded || self.leaked().is_some()
    }
}

/// Sequences of 35 steps in the mean: as many as `cargo xtask soak attack-model` asks for, or a third of the usual number.
fn cases() -> u32 {
    let steps: Option<u32> = std::env::var("HSMD_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    steps.map_or(ProptestConfig::default().cases / 3, |steps| steps / 35)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    // INV-1
    #[test]
    fn no_sequence_of_calls_lets_a_secret_out(steps in proptest::collection::vec(step(), 10..60), policy in 0..4) {
        let policy = match policy {
            0 => Policy::Strict,
            1 => Policy::Fips,
            _ => Policy::Standard,
        };
        let mut world = World::new(policy);
        prop_assert!(!world.attack(&steps));
    }
}

/// INV-1 broken on purpose: without latch and origin the same attacker wins, so the model sees what it should.
#[test]
fn the_model_notices_a_leak() {
    let everything = 0b1111_1000;
    let attack = [
        Step::Generate {
            flags: everything,
            short: false,
            session: false,
        },
        Step::Generate {
            flags: 0,
            short: false,
            session: false,
        },
        Step::Wrap { by: 0, key: 1, how: 0 },
        Step::Decrypt {
            key: 0,
            blob: 0,
            how: 0,
        },
    ];
    assert!(World::new(Policy::Legacy).attack(&attack));
    assert!(!World::new(Policy::Standard).attack(&attack));
    // A pair wraps an AES key; its private half opens the blob without taking the padding away.
    let raw = [
        Step::GeneratePair {
            kind: 0,
            flags: everything,
        },
        Step::Generate {
            flags: 0,
            short: false,
            session: false,
        },
        Step::Wrap { by: 0, key: 2, how: 5 },
    ];
    assert!(World::new(Policy::Legacy).attack(&raw));
    assert!(!World::new(Policy::Standard).attack(&raw));
    // The private half of another pair makes a text of that blob as well, which says nothing.
    let other = Step::GeneratePair {
        kind: 0,
        flags: everything,
    };
    assert!(!World::new(Policy::Standard).attack(&[other, raw[0], raw[1], Step::Wrap { by: 2, key: 4, how: 5 }]));
}

/// The runs above are not empty: sensitive keys are wrapped in them.
#[test]
fn the_model_wraps_sensitive_keys() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut wrapped = 0;
    for _ in 0..20 {
        let steps = proptest::collection::vec(step(), 60)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let mut world = World::new(Policy::Standard);
        steps.iter().for_each(|step| world.run(*step));
        wrapped += world.wrapped;
    }
    assert!(wrapped >= 5, "{wrapped}");
}
