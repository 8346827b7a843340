//! Random calls with memory that is legal or NULL: whatever comes, the module answers with a code of the standard.

use cryptoki_sys::*;
use hsmd_tests::module::Module;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Template, bytes, flag, number};

use super::signatures::{DESTRUCTIVE, Parameter, SIGNATURES, parameters};
use super::{Findings, logged_in};

const ROOM: usize = 1 << 16;

/// A generator without dependencies (Marsaglia, xorshift64): the seed replays the run.
pub(crate) struct Random(u64);

impl Random {
    /// Seed 0 would stay 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Makes `calls` random calls.
pub(crate) fn run(module: &Module, pin: &str, seed: u64, calls: usize, findings: &mut Findings) {
    let session = logged_in(module, pin);
    let slot = module.slot_of(hsmd_tests::daemon::LABEL) as usize;
    let mut random = Random::new(seed);
    let mut memory = vec![0_usize; ROOM / 8];
    let mut output = vec![0_usize; ROOM / 8];
    let mut places = vec![0_usize; 64];
    let mut handles = vec![1_usize, 2, 0];
    let callable: Vec<&(&str, &str)> = SIGNATURES
        .iter()
        .filter(|(name, _)| !DESTRUCTIVE.contains(name))
        .collect();
    for number in 0..calls {
        let (name, letters) = *random.pick(&callable);
        let mut template = random_template(&mut random);
        let mut mechanism = random_mechanism(&mut random, memory.as_mut_ptr() as usize);
        let mut words = Vec::new();
        for kind in parameters(letters) {
            let null = random.below(8) == 0;
            words.push(match kind {
                Parameter::Session if null => random.below(1 << 20),
                Parameter::Session => session as usize,
                Parameter::Slot if null => random.below(1 << 20),
                Parameter::Slot => slot,
                Parameter::Object => random.pick(&handles),
                // C_WaitForSlotEvent must not block; elsewhere the bit is harmless.
                Parameter::Number => random.below(1 << 13) | 1,
                Parameter::Opaque => 0,
                _ if null && kind != Parameter::Length => 0,
                Parameter::Mechanism => &raw mut mechanism as usize,
                Parameter::Template => template.address(),
                Parameter::Memory => memory.as_mut_ptr() as usize,
                Parameter::Length if letters.contains("tl") => template.count(),
                Parameter::Length => random.pick(&[0, 1, 15, 16, 17, 32, 33, 64, 256, 1000]),
                Parameter::Output => output.as_mut_ptr() as usize,
                Parameter::LengthPlace => {
                    places[7] = random.pick(&[0, 1, 16, 64, 256, 4096]);
                    (&raw mut places[7]) as usize
                }
                Parameter::Place => output.as_mut_ptr() as usize,
            });
        }
        let rv = Rv(module.library.call(name, &words));
        findings.expect(rv.name().is_some(), || {
            format!("seed {seed}, call {number}: {name}{words:x?}: {rv:?}")
        });
        if rv.0 == CKR_OK
            && matches!(
                name,
                "C_GenerateKey" | "C_GenerateKeyPair" | "C_CreateObject" | "C_CopyObject"
            )
        {
            handles.push(output[0]);
        }
    }
    let alive = module.random(session, 16);
    findings.expect(alive.is_ok(), || format!("seed {seed}: after {calls} calls: {alive:?}"));
}

fn random_mechanism(random: &mut Random, memory: usize) -> CK_MECHANISM {
    let kinds = [
        CKM_SHA256,
        CKM_SHA_1,
        CKM_ECDSA,
        CKM_ECDSA_SHA256,
        CKM_EDDSA,
        CKM_RSA_PKCS,
        CKM_RSA_PKCS_OAEP,
        CKM_SHA256_RSA_PKCS_PSS,
        CKM_AES_CBC,
        CKM_AES_CBC_PAD,
        CKM_AES_CTR,
        CKM_AES_GCM,
        CKM_AES_KEY_WRAP,
        CKM_AES_KEY_GEN,
        CKM_EC_KEY_PAIR_GEN,
        CKM_GENERIC_SECRET_KEY_GEN,
        CKM_ECDH1_DERIVE,
        CKM_SHA256_HMAC,
        0x8000_1234,
    ];
    // Parameters that are structures stay zero: their pointers are NULL, their lengths random.
    let length = random.pick(&[0, 1, 8, 12, 16, 24, 40, 48]);
    CK_MECHANISM {
        mechanism: random.pick(&kinds),
        pParameter: if random.below(3) == 0 {
            std::ptr::null_mut()
        } else {
            memory as *mut std::ffi::c_void
        },
        ulParameterLen: length,
    }
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
            3 => bytes(CKA_EC_PARAMS, hsmd_tests::template::P256),
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
