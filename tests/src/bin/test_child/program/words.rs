//! The words of a program: text to the words of a C call, and what the call left in its places.

use std::collections::BTreeMap;

use cryptoki_sys::*;
use hsmd_tests::template::{Attribute, Mechanism, Template, bytes, flag, number};

/// What a name of the program stands for.
#[derive(Clone, Debug)]
pub(super) enum Variable {
    /// One word: a handle, a slot.
    Number(usize),
    /// Two words: pointer and length.
    Bytes(Vec<u8>),
}

type Variables = BTreeMap<String, Variable>;

/// Memory that a call may write, and the variable it becomes.
struct Place {
    memory: Vec<u64>,
    /// Where the length stands, for outputs of bytes.
    length: Option<Box<CK_ULONG>>,
    name: Option<String>,
}

#[derive(Clone, Copy)]
enum Word {
    Value(usize),
    Mechanism,
}

/// One call that is being put together; its memory lives as long as it does.
#[derive(Default)]
pub(super) struct Call {
    words: Vec<Word>,
    kept: Vec<Vec<u8>>,
    templates: Vec<(Template, Option<String>)>,
    places: Vec<Place>,
    mechanism: Option<Mechanism>,
}

/// Splits at blanks that are not within brackets or quotes.
pub(super) fn split(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth, mut quoted) = (Vec::new(), String::new(), 0, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' | '(' if !quoted => depth += 1,
            ']' | '}' | ')' if !quoted => depth -= 1,
            _ => {}
        }
        if c == ' ' && depth == 0 && !quoted {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

/// `name(inside)`.
fn inside<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

/// A number or a name of the standard's header.
pub(super) fn value(text: &str) -> CK_ULONG {
    let hex = text
        .strip_prefix("0x")
        .map(|digits| CK_ULONG::from_str_radix(digits, 16));
    let parsed = hex.unwrap_or_else(|| text.parse()).ok();
    let named = || NAMES.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    let sum = || text.contains('+').then(|| text.split('+').map(value).sum());
    let found = parsed.or_else(named).or_else(sum);
    found.unwrap_or_else(|| panic!("not a value: {text}"))
}

fn octets(text: &str, variables: &Variables) -> Vec<u8> {
    if let Some(name) = text.strip_prefix('$') {
        let Some(Variable::Bytes(bytes)) = variables.get(name) else {
            panic!("no bytes: {text}");
        };
        return bytes.clone();
    }
    if let Some(inner) = inside(text, "short") {
        let mut bytes = octets(inner, variables);
        bytes.pop();
        return bytes;
    }
    if let Some(inner) = inside(text, "flip") {
        let mut bytes = octets(inner, variables);
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        return bytes;
    }
    if let Some(inner) = inside(text, "zeros") {
        return vec![0; value(inner) as usize];
    }
    if let Some(inner) = inside(text, "count") {
        return (0..value(inner)).map(|byte| byte as u8 | 1).collect();
    }
    if let Some(digits) = inside(text, "hex") {
        let digit = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
        return (0..digits.len()).step_by(2).map(digit).collect();
    }
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    text.unwrap_or_else(|| panic!("not bytes: {text:?}"))
        .as_bytes()
        .to_vec()
}

fn attribute(text: &str, variables: &Variables) -> Attribute {
    let (kind, text) = text.split_once('=').unwrap_or_else(|| panic!("no value: {text}"));
    let kind = value(kind);
    match text {
        "yes" => flag(kind, true),
        "no" => flag(kind, false),
        _ if text.starts_with(|c: char| c.is_ascii_digit()) || text.starts_with("CK") => number(kind, value(text)),
        _ => bytes(kind, octets(text, variables)),
    }
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

fn mechanism(text: &str, variables: &Variables) -> Mechanism {
    let (kind, parameter) = text.split_once(' ').unwrap_or((text, ""));
    let kind = value(kind);
    let parts = |name| inside(parameter, name).map(|inner| listed(inner).collect::<Vec<_>>());
    if let Some(gcm) = parts("gcm") {
        return Mechanism::Gcm {
            iv: octets(gcm[0], variables),
            aad: b"aad".to_vec(),
            tag_bits: value(gcm[1]),
        };
    }
    if let Some(pss) = parts("pss") {
        let (hash, mgf, salt) = (value(pss[0]), value(pss[1]), value(pss[2]));
        return Mechanism::Pss { kind, hash, mgf, salt };
    }
    if let Some(oaep) = parts("oaep") {
        let (hash, mgf) = (value(oaep[0]), value(oaep[1]));
        return Mechanism::Oaep { hash, mgf };
    }
    if let Some(inner) = inside(parameter, "ecdh") {
        let public = octets(inner, variables);
        return Mechanism::Ecdh { public };
    }
    if let Some(inner) = inside(parameter, "ctr") {
        let bits = value(inner).to_ne_bytes();
        return Mechanism::Bytes(kind, [&bits[..], &[1; 16]].concat());
    }
    if parameter.is_empty() {
        Mechanism::Plain(kind)
    } else {
        Mechanism::Bytes(kind, octets(parameter, variables))
    }
}

impl Call {
    fn value(&mut self, value: usize) {
        self.words.push(Word::Value(value));
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        let pointer = if bytes.is_empty() { 0 } else { bytes.as_ptr() as usize };
        self.value(pointer);
        self.value(bytes.len());
        self.kept.push(bytes);
    }

    fn place(&mut self, bytes: usize, with_length: bool, name: Option<String>) {
        let mut memory = vec![0_u64; bytes.div_ceil(8).max(1)];
        self.value(memory.as_mut_ptr() as usize);
        let mut length = with_length.then(|| Box::new(bytes as CK_ULONG));
        if let Some(length) = &mut length {
            self.value(&raw mut **length as usize);
        }
        self.places.push(Place { memory, length, name });
    }

    /// Adds what a word of the program says.
    pub(super) fn word(&mut self, text: &str, variables: &Variables) {
        let (text, name) = match text.split_once('>') {
            Some((text, name)) => (text, Some(name.to_owned())),
            None => (text, None),
        };
        if text == "null" {
            self.value(0);
        } else if text == "place" {
            self.place(512, false, name);
        } else if text == "query" {
            self.value(0);
            self.place_length();
        } else if let Some(size) = inside(text, "out") {
            self.place(value(size) as usize, true, name);
        } else if let Some(size) = inside(text, "room") {
            self.place(value(size) as usize, false, name);
        } else if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            self.mechanism = Some(mechanism(inner, variables));
            self.words.push(Word::Mechanism);
        } else if let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            let attributes: Vec<Attribute> = listed(inner).map(|part| attribute(part, variables)).collect();
            self.template(Template::new(&attributes), None);
        } else if let Some(inner) = inside(text, "get") {
            let pairs: Vec<(&str, &str)> = listed(inner).filter_map(|part| part.split_once(':')).collect();
            let kinds: Vec<CK_ATTRIBUTE_TYPE> = pairs.iter().map(|(kind, _)| value(kind)).collect();
            let sizes: Vec<usize> = pairs.iter().map(|(_, size)| value(size) as usize).collect();
            self.template(Template::room(&kinds, &sizes), name);
        } else if let Some(Variable::Number(number)) = text.strip_prefix('$').and_then(|name| variables.get(name)) {
            self.value(*number);
        } else if text.starts_with(['$', '"']) || text.contains('(') {
            self.bytes(octets(text, variables));
        } else {
            self.value(value(text) as usize);
        }
    }

    fn place_length(&mut self) {
        let mut length = Box::new(0);
        self.value(&raw mut *length as usize);
        self.places.push(Place {
            memory: Vec::new(),
            length: Some(length),
            name: None,
        });
    }

    fn template(&mut self, mut template: Template, name: Option<String>) {
        self.value(template.address());
        self.value(template.count());
        self.templates.push((template, name));
    }

    /// Makes the call.
    pub(super) fn make<T>(&self, call: impl FnOnce(&[usize]) -> T) -> T {
        let words = |mechanism| -> Vec<usize> {
            let word = |word: &Word| match word {
                Word::Value(value) => *value,
                Word::Mechanism => mechanism,
            };
            self.words.iter().map(word).collect()
        };
        match &self.mechanism {
            Some(mechanism) => mechanism.with(|mechanism| call(&words(mechanism))),
            None => call(&words(0)),
        }
    }

    /// What the call wrote into places with names; zeros and nothing if it failed.
    pub(super) fn results(self, good: bool) -> Vec<(String, Variable)> {
        let mut results = Vec::new();
        for place in self.places {
            let Some(name) = place.name else { continue };
            let bytes: Vec<u8> = place.memory.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let variable = match place.length {
                Some(length) if good => Variable::Bytes(bytes[..(*length as usize).min(bytes.len())].to_vec()),
                Some(_) => Variable::Bytes(Vec::new()),
                None if good => Variable::Number(place.memory[0] as usize),
                None => Variable::Number(0),
            };
            results.push((name, variable));
        }
        for (template, name) in self.templates {
            // `get` with one attribute.
            if let (true, Some(name), [Some(value)]) = (good, name, template.values().as_slice()) {
                results.push((name, Variable::Bytes(value.clone())));
            }
        }
        results
    }
}

macro_rules! names {
    ($($name:ident)*) => {
        /// The names that programs use.
        const NAMES: &[(&str, CK_ULONG)] = &[$((stringify!($name), $name as CK_ULONG)),*];
    };
}

names! {
    CKF_SERIAL_SESSION CKF_RW_SESSION CKF_DONT_BLOCK CKU_SO CKU_USER CKU_CONTEXT_SPECIFIC
    CKO_DATA CKO_CERTIFICATE CKO_PUBLIC_KEY CKO_PRIVATE_KEY CKO_SECRET_KEY CKO_HW_FEATURE
    CKK_AES CKK_GENERIC_SECRET CKK_RSA CKK_EC CKK_SHA256_HMAC CKC_X_509
    CKA_CLASS CKA_TOKEN CKA_PRIVATE CKA_LABEL CKA_APPLICATION CKA_VALUE CKA_OBJECT_ID CKA_CERTIFICATE_TYPE CKA_ISSUER
    CKA_SERIAL_NUMBER CKA_TRUSTED CKA_CHECK_VALUE CKA_KEY_TYPE CKA_SUBJECT CKA_ID CKA_SENSITIVE CKA_ENCRYPT CKA_DECRYPT
    CKA_WRAP CKA_UNWRAP CKA_SIGN CKA_SIGN_RECOVER CKA_VERIFY CKA_VERIFY_RECOVER CKA_DERIVE CKA_START_DATE CKA_END_DATE
    CKA_MODULUS CKA_MODULUS_BITS CKA_PUBLIC_EXPONENT CKA_PRIVATE_EXPONENT CKA_PRIME_1 CKA_VALUE_LEN CKA_EXTRACTABLE
    CKA_LOCAL CKA_NEVER_EXTRACTABLE CKA_ALWAYS_SENSITIVE CKA_KEY_GEN_MECHANISM CKA_MODIFIABLE CKA_COPYABLE
    CKA_DESTROYABLE CKA_EC_PARAMS CKA_EC_POINT CKA_ALWAYS_AUTHENTICATE CKA_WRAP_WITH_TRUSTED CKA_UNIQUE_ID
    CKM_RSA_PKCS_KEY_PAIR_GEN CKM_RSA_PKCS CKM_RSA_X_509 CKM_SHA1_RSA_PKCS CKM_SHA224_RSA_PKCS CKM_SHA256_RSA_PKCS
    CKM_SHA384_RSA_PKCS CKM_SHA512_RSA_PKCS CKM_RSA_PKCS_PSS CKM_SHA1_RSA_PKCS_PSS CKM_SHA224_RSA_PKCS_PSS
    CKM_SHA256_RSA_PKCS_PSS CKM_SHA384_RSA_PKCS_PSS CKM_SHA512_RSA_PKCS_PSS CKM_RSA_PKCS_OAEP
    CKM_EC_KEY_PAIR_GEN CKM_ECDSA CKM_ECDH1_DERIVE CKM_EC_EDWARDS_KEY_PAIR_GEN CKM_EDDSA
    CKM_AES_KEY_GEN CKM_AES_ECB CKM_AES_CBC CKM_AES_CBC_PAD CKM_AES_CTR CKM_AES_GCM CKM_AES_CMAC CKM_AES_KEY_WRAP
    CKM_AES_KEY_WRAP_PAD CKM_GENERIC_SECRET_KEY_GEN CKM_SHA_1 CKM_SHA224 CKM_SHA256 CKM_SHA384 CKM_SHA512 CKM_SHA_1_HMAC
    CKM_SHA224_HMAC CKM_SHA256_HMAC CKM_SHA384_HMAC CKM_SHA512_HMAC CKM_DES_ECB CKM_MD2
    CKG_MGF1_SHA1 CKG_MGF1_SHA224 CKG_MGF1_SHA256 CKG_MGF1_SHA384 CKG_MGF1_SHA512
}
