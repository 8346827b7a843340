//! Power-on self-tests: a known answer for each family of approved mechanisms, computed both ways where there are two, and the
//! generator of random numbers looked at. Under the policy `fips` no key is used before all of them passed (FIPS 140-3, IG
//! 10.3.A). The conditional test of a new key pair is in [`crate::generate_open`]. Whether a policy asks for them is the
//! keystore's to say.
//!
//! They show that this process, on this processor, computes what the standards say. They are no validation by an authority.

use std::collections::HashMap;
use std::sync::OnceLock;

use hsmd_proto::ck::{Kdf, KeyType, MechanismType, Mgf};
use hsmd_proto::dh::DhGroup;
use hsmd_proto::kbkdf::{KbkdfField, KbkdfMode, KbkdfParams, NumberFormat};
use hsmd_proto::mechanism::{Family, TABLE};
use hsmd_proto::meta::Curve;
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::params::{
    CcmParams, CtrParams, EcdhParams, GcmParams, Hedge, HkdfParams, Mechanism, OaepParams, Params, Pbkdf2Params,
    PssParams, SignContext,
};
use hsmd_proto::tls::{TlsMacParams, TlsParams};

use crate::secret::Secret;
use crate::{Input, Key, Material, RsaCrt, RsaPrivate, digest, pbkdf2, random};

const VECTORS: &str = include_str!("vectors.txt");

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its name, which is that of the algorithm.
    pub name: &'static str,
    /// Whether the answer was the known one.
    pub passed: bool,
}

/// What became of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(Vec<Outcome>);

impl Report {
    /// A report of these outcomes.
    #[must_use]
    pub const fn new(outcomes: Vec<Outcome>) -> Self {
        Self(outcomes)
    }

    /// Each test, in the order in which they ran.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.0
    }

    /// The names of tests that failed; none: all passed.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        self.0
            .iter()
            .filter(|test| !test.passed)
            .map(|test| test.name)
            .collect()
    }

    /// Whether there were tests, and all passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|test| test.passed)
    }
}

/// The report of this process: the tests run when it is first asked for, which is when the daemon starts.
pub fn report() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(|| run(VECTORS))
}

/// One block of the file.
struct Vector(HashMap<&'static str, &'static str>);

impl Vector {
    fn name(&self) -> Option<&'static str> {
        self.0.get("test").copied()
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let (pairs, rest) = self.0.get(name)?.as_bytes().as_chunks::<2>();
        let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        rest.is_empty().then(|| bytes.collect()).flatten()
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        self.bytes(name).map(Secret::new)
    }

    fn mechanism(&self) -> Option<MechanismType> {
        let name = self.0.get("mechanism")?;
        let known = |kind: MechanismType| kind.name().and_then(|full| full.strip_prefix("CKM_"));
        TABLE
            .iter()
            .map(|row| row.mechanism)
            .find(|kind| known(*kind) == Some(name))
    }
}

fn read(text: &'static str) -> Vec<Vector> {
    let blocks = text.split("\n\n").map(|block| {
        let lines = block.lines().filter(|line| !line.starts_with('#'));
        let fields = lines.filter_map(|line| line.split_once('='));
        Vector(fields.map(|(name, value)| (name.trim(), value.trim())).collect())
    });
    blocks.filter(|vector| vector.name().is_some()).collect()
}

fn run(text: &'static str) -> Report {
    let vectors = read(text);
    // The tests of RSA share the key of the first one.
    let rsa = vectors.iter().find_map(rsa_key);
    let known = vectors.iter().filter_map(|vector| {
        let name = vector.name()?;
        let passed = answer(vector, rsa.as_ref()).is_some();
        Some(Outcome { name, passed })
    });
    let mut outcomes: Vec<Outcome> = known.collect();
    outcomes.push(Outcome {
        name: "random",
        passed: random_moves(),
    });
    Report(outcomes)
}

/// `Some`: the answer is the known one.
fn answer(vector: &Vector, rsa: Option<&Key>) -> Option<()> {
    let kind = vector.mechanism()?;
    let row = hsmd_proto::mechanism::row(kind)?;
    let (message, result) = (vector.bytes("message")?, vector.bytes("result")?);
    match row.family {
        Family::Digest => same(&digest::hash(kind, &message)?, &result),
        Family::Hmac | Family::AesCmac => signs(&symmetric(vector)?, &Mechanism::plain(kind), &message, &result),
        Family::AesGmac => signs(&symmetric(vector)?, &cipher(kind, vector)?, &message, &result),
        Family::Eddsa => {
            let seed = vector.secret("key")?;
            let key = Key::open(&Material::EdPrivate { seed }).ok()?;
            signs(&key, &Mechanism::plain(kind), &message, &result)
        }
        Family::MlDsa => {
            let material = Material::from_seed(ParameterSet::MlDsa44, vector.secret("key")?).ok()?;
            verifies(&Key::open(&material).ok()?, &Mechanism::plain(kind), &message, &result)
        }
        Family::Stateful => {
            let (key_type, value) = (KeyType::HSS, vector.bytes("key")?);
            let key = Key::open(&Material::StatefulPublic { key_type, value }).ok()?;
            key.verify(&Mechanism::plain(kind), Input::Message(&message), &result)
                .ok()
        }
        Family::SlhDsa => slh_dsa(vector, kind, &message, &result),
        Family::MlKem => {
            let material = Material::from_seed(ParameterSet::MlKem768, vector.secret("key")?).ok()?;
            let key = Key::open(&material).ok()?;
            same(key.decapsulate(&message).ok()?.expose(), &result)?;
            let (sealed, secret) = key.encapsulate().ok()?;
            same(key.decapsulate(&sealed).ok()?.expose(), secret.expose())
        }
        Family::Hkdf | Family::Pbkdf2 | Family::Kbkdf | Family::Ecdh | Family::Tls | Family::Dh => {
            let secret = derived(vector, row.family, message, result.len())?;
            same(secret.expose(), &result)
        }
        // The nonce is random: the known signature verifies, as does a new one.
        Family::Ecdsa => verifies(&p256(vector)?, &Mechanism::plain(kind), &message, &result),
        Family::TlsMac => {
            let params = TlsMacParams {
                hash: MechanismType::SHA256,
                length: 12,
                server: true,
            };
            let params = Params::TlsMac(params);
            signs(&symmetric(vector)?, &Mechanism { kind, params }, &message, &result)
        }
        Family::RsaPkcs1 => signs(rsa?, &Mechanism::plain(kind), &message, &result),
        Family::RsaPss => verifies(rsa?, &pss(kind), &message, &result),
        Family::RsaOaep => {
            let oaep = oaep();
            let mut sealed = Vec::new();
            rsa?.encrypt(&oaep, &message, &mut sealed).ok()?;
            same(&decrypted(rsa?, &oaep, &sealed)?, &message)?;
            same(&decrypted(rsa?, &oaep, &result)?, &message)
        }
        _ => {
            let (key, mechanism) = (symmetric(vector)?, cipher(kind, vector)?);
            let mut sealed = Vec::new();
            key.encrypt(&mechanism, &message, &mut sealed).ok()?;
            same(&sealed, &result)?;
            same(&decrypted(&key, &mechanism, &result)?, &message)
        }
    }
}

/// What a derivation gives.
fn derived(vector: &Vector, family: Family, message: Vec<u8>, length: usize) -> Option<Secret> {
    match family {
        Family::Hkdf => {
            let params = HkdfParams {
                extract: true,
                expand: true,
                hash: MechanismType::SHA256,
                salt: vector.bytes("salt")?,
                info: message,
            };
            symmetric(vector)?.hkdf(&params, length).ok()
        }
        Family::Pbkdf2 => {
            let params = Pbkdf2Params {
                hash: MechanismType::SHA256,
                salt: vector.bytes("salt")?,
                iterations: 1,
            };
            pbkdf2(&params, &message, length).ok()
        }
        Family::Kbkdf => {
            let counter = NumberFormat {
                little_endian: false,
                bits: 8,
            };
            let params = KbkdfParams {
                prf: MechanismType::AES_CMAC,
                fields: vec![KbkdfField::Iteration(Some(counter)), KbkdfField::Bytes(message)],
                iv: Vec::new(),
            };
            symmetric(vector)?.kbkdf(KbkdfMode::Counter, &params, length).ok()
        }
        Family::Ecdh => {
            let params = EcdhParams {
                kdf: Kdf::NULL,
                shared_data: Vec::new(),
                public_point: message,
            };
            p256(vector)?.agree(&params, None).ok()
        }
        Family::Tls => {
            let params = TlsParams {
                hash: MechanismType::SHA256,
                label: b"test label".to_vec(),
                seed: message,
            };
            symmetric(vector)?.tls(&params, length).ok()
        }
        Family::Dh => {
            let (group, value) = (DhGroup::Ffdhe2048, vector.secret("key")?);
            let key = Key::open(&Material::DhPrivate { group, value }).ok()?;
            key.agree_with_value(&message, None).ok()
        }
        _ => None,
    }
}

/// Without randomness the signature is known; it verifies, and does not when a bit of it differs (FIPS 205, 10.2).
fn slh_dsa(vector: &Vector, kind: MechanismType, message: &[u8], known: &[u8]) -> Option<()> {
    let key = Key::open(&Material::PqPrivate {
        set: ParameterSet::SlhDsaSha2_128f,
        seed: None,
        value: vector.secret("key")?,
    });
    let key = key.ok()?;
    let context = SignContext {
        hedge: Hedge::Deterministic,
        context: vector.bytes("context")?,
        hash: None,
    };
    let mechanism = Mechanism {
        kind,
        params: Params::SignContext(context),
    };
    let (input, mut signature) = (Input::Message(message), Vec::new());
    key.sign(&mechanism, input, &mut signature).ok()?;
    same(&digest::hash(MechanismType::SHA256, &signature)?, known)?;
    key.verify(&mechanism, input, &signature).ok()?;
    *signature.last_mut()? ^= 1;
    key.verify(&mechanism, input, &signature).err().map(drop)
}

fn same(computed: &[u8], known: &[u8]) -> Option<()> {
    (computed == known && !known.is_empty()).then_some(())
}

fn symmetric(vector: &Vector) -> Option<Key> {
    Key::open(&Material::Secret(vector.secret("key")?)).ok()
}

fn p256(vector: &Vector) -> Option<Key> {
    let scalar = vector.secret("key")?;
    let curve = Curve::P256;
    Key::open(&Material::EcPrivate { curve, scalar }).ok()
}

fn rsa_key(vector: &Vector) -> Option<Key> {
    let crt = RsaCrt {
        p: vector.secret("p")?,
        q: vector.secret("q")?,
        dp: vector.secret("dp")?,
        dq: vector.secret("dq")?,
        qi: vector.secret("qi")?,
    };
    let key = RsaPrivate {
        n: vector.bytes("n")?,
        e: vec![1, 0, 1],
        d: vector.secret("d")?,
        crt: Some(crt),
    };
    Key::open(&Material::RsaPrivate(key)).ok()
}

fn decrypted(key: &Key, mechanism: &Mechanism, sealed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    key.decrypt(mechanism, sealed, &mut text).ok()?;
    Some(text)
}

/// The signature is the known one, verifies, and does not when a bit of it differs.
fn signs(key: &Key, mechanism: &Mechanism, message: &[u8], known: &[u8]) -> Option<()> {
    let mut signature = Vec::new();
    key.sign(mechanism, Input::Message(message), &mut signature).ok()?;
    same(&signature, known)?;
    verifies(key, mechanism, message, known)
}

/// The known signature and a new one verify, and a damaged one does not.
fn verifies(key: &Key, mechanism: &Mechanism, message: &[u8], known: &[u8]) -> Option<()> {
    let mut signature = Vec::new();
    key.sign(mechanism, Input::Message(message), &mut signature).ok()?;
    for good in [known, &signature] {
        key.verify(mechanism, Input::Message(message), good).ok()?;
    }
    *signature.last_mut()? ^= 1;
    key.verify(mechanism, Input::Message(message), &signature)
        .err()
        .map(drop)
}

fn cipher(kind: MechanismType, vector: &Vector) -> Option<Mechanism> {
    let iv = || vector.bytes("iv");
    let params = match kind {
        MechanismType::AES_CBC | MechanismType::AES_CTS | MechanismType::AES_XTS => Params::Iv(iv()?),
        MechanismType::AES_CTR => Params::Ctr(CtrParams {
            counter_bits: 128,
            block: iv()?.try_into().ok()?,
        }),
        MechanismType::AES_GCM => Params::Gcm(GcmParams {
            iv: iv()?,
            aad: vector.bytes("aad")?,
            tag_bits: 128,
        }),
        MechanismType::AES_GMAC => Params::Gcm(GcmParams {
            iv: iv()?,
            aad: Vec::new(),
            tag_bits: 128,
        }),
        MechanismType::AES_CCM => Params::Ccm(CcmParams {
            data_length: vector.bytes("message")?.len() as u64,
            nonce: iv()?,
            aad: vector.bytes("aad")?,
            mac_length: 16,
        }),
        _ => Params::None,
    };
    Some(Mechanism { kind, params })
}

const fn pss(kind: MechanismType) -> Mechanism {
    Mechanism {
        kind,
        params: Params::Pss(PssParams {
            hash: MechanismType::SHA256,
            mgf: Mgf::MGF1_SHA256,
            salt_length: 32,
        }),
    }
}

const fn oaep() -> Mechanism {
    Mechanism {
        kind: MechanismType::RSA_PKCS_OAEP,
        params: Params::Oaep(OaepParams {
            hash: MechanismType::SHA256,
            mgf: Mgf::MGF1_SHA256,
            label: Vec::new(),
        }),
    }
}

/// A generator that stands still gives the same block twice (SP 800-90B, 4.4.1, with a cutoff of one block).
fn random_moves() -> bool {
    let blocks: [[u8; 16]; 4] = [(); 4].map(|()| random::array());
    let distinct = |at: usize| blocks[..at].iter().all(|other| *other != blocks[at]);
    (0..blocks.len()).all(distinct)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_self_test_passes_here() {
        let report = report();
        assert_eq!(report.failed(), Vec::<&str>::new());
        assert!(report.passed());
    }

    /// Every family that an approved mechanism has is tested: by its own answer, or by that of the primitive it is made of.
    #[test]
    fn every_approved_family_has_a_known_answer() {
        let tested: Vec<Family> = read(VECTORS)
            .iter()
            .filter_map(|vector| hsmd_proto::mechanism::row(vector.mechanism()?).map(|row| row.family))
            .collect();
        for row in TABLE {
            let generates = format!("{:?}", row.family).ends_with("Gen");
            // CBC_PAD is CBC, HashML-DSA is a hash and ML-DSA, wrapping by two keys is OAEP or ECDH and KWP; pairs are tested when they are made.
            let hashed = matches!(row.family, Family::HashMlDsa | Family::HashSlhDsa);
            let two_keys = matches!(row.family, Family::RsaAesWrap | Family::EcdhAesWrap);
            let made_of_others = hashed || two_keys || row.family == Family::AesCbcPad;
            let covered = generates || made_of_others || tested.contains(&row.family);
            assert!(
                covered || row.approved().is_none(),
                "{} has no self-test",
                row.mechanism
            );
        }
    }

    #[test]
    fn a_wrong_answer_is_a_failed_test_with_its_name() {
        // The last digit of the digest of "abc".
        let text =
            "test = SHA-1\nmechanism = SHA_1\nmessage = 616263\nresult = a9993e364706816aba3e25717850c26c9cd0d89e";
        let report = run(text);
        assert_eq!(report.failed(), ["SHA-1"]);
        assert!(!report.passed() && !Report::new(Vec::new()).passed());
        assert_eq!(report.outcomes().len(), 2);
    }
}
