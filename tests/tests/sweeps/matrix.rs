//! Every mechanism with every kind of key for every operation: the code that the mechanism table and the order of checks
//! (DESIGN 5) say, and nothing left behind. A mechanism or key type that joins the table joins the matrix.

use std::collections::BTreeSet;

use cryptoki_sys::*;
use hsmd_proto::ck::{KeyType, MechanismType};
use hsmd_proto::dh::DhGroup;
use hsmd_proto::mechanism::{self, Operations, Row, TABLE};
use hsmd_proto::policy::Policy;
use hsmd_tests::daemon::{Daemon, Options};
use hsmd_tests::module::Object;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{self, Attribute, Mechanism, Template, bytes, flag, number};

use super::parameters::good;
use super::stage::{MADE, Stage, TEXT};
use crate::hostile::watched::panics;

/// A key of the matrix.
struct Key {
    name: String,
    class: CK_OBJECT_CLASS,
    kind: KeyType,
    handle: Object,
    /// The usage flags that it has; `None`: all that its type can have.
    uses: Option<Vec<CK_ATTRIBUTE_TYPE>>,
}

/// An operation with a key: its Init function or the function that does it all, the table's operation, the class of key for
/// pairs, and the code for keys of another type.
struct Doing {
    function: &'static str,
    operation: Operations,
    half: CK_OBJECT_CLASS,
    wrong_type: CK_RV,
}

const fn doing(function: &'static str, operation: Operations, half: CK_OBJECT_CLASS) -> Doing {
    Doing {
        function,
        operation,
        half,
        wrong_type: CKR_KEY_TYPE_INCONSISTENT,
    }
}

const DOINGS: [Doing; 19] = [
    doing("C_EncryptInit", Operations::ENCRYPT, CKO_PUBLIC_KEY),
    doing("C_DecryptInit", Operations::DECRYPT, CKO_PRIVATE_KEY),
    doing("C_SignInit", Operations::SIGN, CKO_PRIVATE_KEY),
    doing("C_VerifyInit", Operations::VERIFY, CKO_PUBLIC_KEY),
    doing("C_SignRecoverInit", Operations::SIGN_RECOVER, CKO_PRIVATE_KEY),
    doing("C_VerifyRecoverInit", Operations::VERIFY_RECOVER, CKO_PUBLIC_KEY),
    doing("C_VerifySignatureInit", Operations::VERIFY, CKO_PUBLIC_KEY),
    doing("C_MessageEncryptInit", Operations::ENCRYPT, CKO_PUBLIC_KEY),
    doing("C_MessageDecryptInit", Operations::DECRYPT, CKO_PRIVATE_KEY),
    doing("C_MessageSignInit", Operations::SIGN, CKO_PRIVATE_KEY),
    doing("C_MessageVerifyInit", Operations::VERIFY, CKO_PUBLIC_KEY),
    doing("C_DeriveKey", Operations::DERIVE, CKO_PRIVATE_KEY),
    Doing {
        wrong_type: CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
        ..doing("C_WrapKey", Operations::WRAP, CKO_PUBLIC_KEY)
    },
    Doing {
        wrong_type: CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
        ..doing("C_UnwrapKey", Operations::UNWRAP, CKO_PRIVATE_KEY)
    },
    doing("C_EncapsulateKey", Operations::ENCAPSULATE, CKO_PUBLIC_KEY),
    Doing {
        wrong_type: CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
        ..doing("C_DecapsulateKey", Operations::DECAPSULATE, CKO_PRIVATE_KEY)
    },
    Doing {
        wrong_type: CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
        ..doing("C_WrapKeyAuthenticated", Operations::WRAP, CKO_PUBLIC_KEY)
    },
    Doing {
        wrong_type: CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
        ..doing("C_UnwrapKeyAuthenticated", Operations::UNWRAP, CKO_PRIVATE_KEY)
    },
    // Not one of the table's operations: no key, and a look at what the function says of each mechanism.
    doing("C_DigestInit", Operations::DIGEST, CKO_SECRET_KEY),
];

/// Keys of every type of the table, both halves of pairs, with every usage flag that the type has.
struct Keys {
    list: Vec<Key>,
    point: Vec<u8>,
    policy: Policy,
    /// Types of the table that this test has no template for.
    unknown: BTreeSet<KeyType>,
}

impl Keys {
    fn make(stage: &Stage, policy: Policy) -> Self {
        let mut keys = Self {
            list: Vec::new(),
            point: Vec::new(),
            policy,
            unknown: BTreeSet::new(),
        };
        let kinds: BTreeSet<KeyType> = TABLE
            .iter()
            .filter(|row| row.allowed(policy))
            .flat_map(|row| row.key_types)
            .copied()
            .collect();
        for kind in kinds {
            keys.of(stage, kind);
        }
        let data = stage.module.create(stage.session, &[number(CKA_CLASS, CKO_DATA)]);
        keys.list.push(Key {
            name: "data".to_owned(),
            class: CKO_DATA,
            kind: KeyType(CK_ULONG::MAX),
            handle: data.expect("C_CreateObject"),
            uses: None,
        });
        keys
    }

    fn of(&mut self, stage: &Stage, kind: KeyType) {
        let hmac = kind.name().is_some_and(|name| name.ends_with("_HMAC"));
        match kind.0 {
            CKK_AES => {
                for size in [16, 32] {
                    let uses = [
                        CKA_ENCRYPT,
                        CKA_DECRYPT,
                        CKA_SIGN,
                        CKA_VERIFY,
                        CKA_WRAP,
                        CKA_UNWRAP,
                        CKA_DERIVE,
                    ];
                    self.secret(stage, kind, CKM_AES_KEY_GEN, size, &uses);
                }
            }
            CKK_GENERIC_SECRET => {
                let uses = [CKA_SIGN, CKA_VERIFY, CKA_DERIVE];
                self.secret(stage, kind, CKM_GENERIC_SECRET_KEY_GEN, 32, &uses);
            }
            CKK_AES_XTS => {
                let uses = [CKA_ENCRYPT, CKA_DECRYPT];
                self.secret(stage, kind, CKM_AES_XTS_KEY_GEN, 64, &uses);
            }
            CKK_CHACHA20 => {
                let uses = [CKA_ENCRYPT, CKA_DECRYPT];
                self.secret(stage, kind, CKM_CHACHA20_KEY_GEN, 32, &uses);
            }
            CKK_HKDF => self.secret(stage, kind, CKM_HKDF_KEY_GEN, 32, &[CKA_DERIVE]),
            CKK_RSA => {
                let public = [CKA_ENCRYPT, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP];
                let private = [CKA_DECRYPT, CKA_SIGN, CKA_SIGN_RECOVER, CKA_UNWRAP];
                let size = number(CKA_MODULUS_BITS, 2048);
                self.pair(stage, kind, CKM_RSA_PKCS_KEY_PAIR_GEN, (size, &public), &private);
            }
            CKK_EC => {
                for curve in [template::P256, template::P384] {
                    let curve = bytes(CKA_EC_PARAMS, curve);
                    let private = [CKA_SIGN, CKA_DERIVE, CKA_UNWRAP];
                    let public = [CKA_VERIFY, CKA_WRAP];
                    self.pair(stage, kind, CKM_EC_KEY_PAIR_GEN, (curve, &public), &private);
                }
            }
            CKK_EC_EDWARDS => {
                let curve = bytes(CKA_EC_PARAMS, template::ED25519);
                self.pair(
                    stage,
                    kind,
                    CKM_EC_EDWARDS_KEY_PAIR_GEN,
                    (curve, &[CKA_VERIFY]),
                    &[CKA_SIGN],
                );
            }
            // On no list of `fips`, where agreement on other curves is.
            CKK_EC_MONTGOMERY if self.policy == Policy::Fips => {}
            CKK_EC_MONTGOMERY => {
                let curve = bytes(CKA_EC_PARAMS, [0x06, 0x03, 0x2b, 0x65, 0x6e]);
                self.pair(stage, kind, CKM_EC_MONTGOMERY_KEY_PAIR_GEN, (curve, &[]), &[CKA_DERIVE]);
            }
            CKK_DH => self.dh_pair(stage, kind),
            CKK_ML_DSA | CKK_SLH_DSA | CKK_ML_KEM => self.quantum_pair(stage, kind),
            CKK_HSS | CKK_XMSS | CKK_XMSSMT => self.stateful(stage, kind),
            _ if hmac => self.created(stage, kind),
            _ => {
                self.unknown.insert(kind);
            }
        }
    }

    fn quantum_pair(&mut self, stage: &Stage, kind: KeyType) {
        let (set, generation, public, private) = match kind.0 {
            CKK_ML_DSA => (CKP_ML_DSA_65, CKM_ML_DSA_KEY_PAIR_GEN, CKA_VERIFY, CKA_SIGN),
            CKK_SLH_DSA => (CKP_SLH_DSA_SHA2_128F, CKM_SLH_DSA_KEY_PAIR_GEN, CKA_VERIFY, CKA_SIGN),
            _ => (
                CKP_ML_KEM_768,
                CKM_ML_KEM_KEY_PAIR_GEN,
                CKA_ENCAPSULATE,
                CKA_DECAPSULATE,
            ),
        };
        let set = number(CKA_PARAMETER_SET, set);
        self.pair(stage, kind, generation, (set, &[public]), &[private]);
    }

    /// A public key of a type whose keys are not made here: numbers of four bytes, and hash values that nobody has signed under.
    fn stateful(&mut self, stage: &Stage, kind: KeyType) {
        let (numbers, rest): (&[u32], _) = if kind == KeyType::HSS {
            (&[1, 5, 4], 48)
        } else {
            (&[1], 64)
        };
        let mut value: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        value.resize(value.len() + rest, 7);
        let mut template = vec![
            number(CKA_CLASS, CKO_PUBLIC_KEY),
            number(CKA_KEY_TYPE, kind.0),
            bytes(CKA_VALUE, value),
            flag(CKA_VERIFY, true),
        ];
        template.extend((kind != KeyType::HSS).then(|| number(CKA_PARAMETER_SET, 1)));
        let made = stage.module.create(stage.session, &template);
        self.push(CKO_PUBLIC_KEY, kind, "", &[CKA_VERIFY], made.expect("C_CreateObject"));
    }

    fn push(&mut self, class: CK_OBJECT_CLASS, kind: KeyType, size: &str, uses: &[CK_ATTRIBUTE_TYPE], handle: Object) {
        let half = match class {
            CKO_PUBLIC_KEY => "public ",
            CKO_PRIVATE_KEY => "private ",
            _ => "",
        };
        self.list.push(Key {
            name: format!("{half}{kind}{size}"),
            class,
            kind,
            handle,
            uses: self.policy.makes_ivs().then(|| uses.to_vec()),
        });
    }

    /// One key for all uses, or, where one may not have them all, one that wraps and one for the rest.
    fn roles(&self, uses: &[CK_ATTRIBUTE_TYPE]) -> Vec<Vec<CK_ATTRIBUTE_TYPE>> {
        if self.policy == Policy::Standard {
            return vec![uses.to_vec()];
        }
        let (wraps, rest): (Vec<_>, Vec<_>) = uses.iter().partition(|usage| [CKA_WRAP, CKA_UNWRAP].contains(usage));
        let mut roles = vec![rest];
        roles.extend((!wraps.is_empty()).then_some(wraps));
        roles
    }

    /// Readable: what such a key wraps or derives does not change it (DESIGN 8).
    fn open(uses: &[CK_ATTRIBUTE_TYPE]) -> Vec<Attribute> {
        let mut template = vec![flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)];
        template.extend(uses.iter().map(|use_| flag(*use_, true)));
        template
    }

    fn secret(
        &mut self,
        stage: &Stage,
        kind: KeyType,
        with: CK_MECHANISM_TYPE,
        size: CK_ULONG,
        uses: &[CK_ATTRIBUTE_TYPE],
    ) {
        for uses in self.roles(uses) {
            let mut template = Self::open(&uses);
            // Keys of ChaCha20 have one length, and CKM_CHACHA20_KEY_GEN takes none.
            if kind.0 != CKK_CHACHA20 {
                template.push(number(CKA_VALUE_LEN, size));
            }
            let made = stage
                .module
                .generate_key(stage.session, &Mechanism::Plain(with), &template);
            let name = format!(" {size}");
            self.push(CKO_SECRET_KEY, kind, &name, &uses, made.expect("C_GenerateKey"));
        }
    }

    fn dh_pair(&mut self, stage: &Stage, kind: KeyType) {
        let public = [
            bytes(CKA_PRIME, DhGroup::Ffdhe2048.prime()),
            bytes(CKA_BASE, DhGroup::BASE),
        ];
        let private = Self::open(&[CKA_DERIVE]);
        let with = Mechanism::Plain(CKM_DH_PKCS_KEY_PAIR_GEN);
        let made = stage.module.generate_key_pair(stage.session, &with, &public, &private);
        let (public, private) = made.expect("C_GenerateKeyPair");
        self.push(CKO_PUBLIC_KEY, kind, "", &[], public);
        self.push(CKO_PRIVATE_KEY, kind, "", &[CKA_DERIVE], private);
    }

    fn created(&mut self, stage: &Stage, kind: KeyType) {
        let uses = [CKA_SIGN, CKA_VERIFY];
        let mut template = Self::open(&uses);
        template.extend([
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, kind.0),
            bytes(CKA_VALUE, [5; 32]),
        ]);
        let made = stage.module.create(stage.session, &template);
        self.push(CKO_SECRET_KEY, kind, "", &uses, made.expect("C_CreateObject"));
    }

    fn pair(
        &mut self,
        stage: &Stage,
        kind: KeyType,
        with: CK_MECHANISM_TYPE,
        (own, public_uses): (Attribute, &[CK_ATTRIBUTE_TYPE]),
        private_uses: &[CK_ATTRIBUTE_TYPE],
    ) {
        let (public_roles, private_roles) = (self.roles(public_uses), self.roles(private_uses));
        for (public_uses, private_uses) in public_roles.iter().zip(&private_roles) {
            self.one_pair(stage, kind, with, (own.clone(), public_uses), private_uses);
        }
    }

    fn one_pair(
        &mut self,
        stage: &Stage,
        kind: KeyType,
        with: CK_MECHANISM_TYPE,
        (own, public_uses): (Attribute, &[CK_ATTRIBUTE_TYPE]),
        private_uses: &[CK_ATTRIBUTE_TYPE],
    ) {
        let mut public: Vec<Attribute> = public_uses.iter().map(|use_| flag(*use_, true)).collect();
        public.push(own);
        let private = Self::open(private_uses);
        let made = stage
            .module
            .generate_key_pair(stage.session, &Mechanism::Plain(with), &public, &private);
        let (public, private) = made.unwrap_or_else(|rv| panic!("{kind}: {rv}"));
        if kind == KeyType::EC && self.point.is_empty() {
            let point = stage.module.get(stage.session, public, CKA_EC_POINT);
            self.point = point.expect("CKA_EC_POINT");
        }
        let many = self.list.iter().filter(|key| key.kind == kind).count();
        let size = if many == 0 {
            String::new()
        } else {
            format!(" {}", many / 2 + 1)
        };
        self.push(CKO_PUBLIC_KEY, kind, &size, public_uses, public);
        self.push(CKO_PRIVATE_KEY, kind, &size, private_uses, private);
    }
}

/// The code that Init must give by the table, or nothing where more than the table decides.
fn expected(row: Option<&Row>, doing: &Doing, key: &Key, policy: Policy) -> Option<CK_RV> {
    let has = |row: &&Row| row.allowed(policy) && row.operations_under(policy).contains(doing.operation);
    let Some(row) = row.filter(has) else {
        return Some(CKR_MECHANISM_INVALID);
    };
    let message = match doing.function {
        "C_MessageEncryptInit" => CKF_MESSAGE_ENCRYPT,
        "C_MessageDecryptInit" => CKF_MESSAGE_DECRYPT,
        "C_MessageSignInit" => CKF_MESSAGE_SIGN,
        "C_MessageVerifyInit" => CKF_MESSAGE_VERIFY,
        _ => 0,
    };
    let authenticated = doing.function.ends_with("Authenticated");
    if row.flags_under(policy) & message != message || (authenticated && row.mechanism != MechanismType::AES_GCM) {
        return Some(CKR_MECHANISM_INVALID);
    }
    if doing.operation == Operations::DIGEST {
        return Some(CKR_OK);
    }
    let class = if key.class == CKO_SECRET_KEY {
        CKO_SECRET_KEY
    } else {
        doing.half
    };
    if key.class == CKO_DATA {
        return Some(match doing.function {
            "C_WrapKey" | "C_WrapKeyAuthenticated" => CKR_WRAPPING_KEY_HANDLE_INVALID,
            "C_UnwrapKey" | "C_UnwrapKeyAuthenticated" | "C_DecapsulateKey" => CKR_UNWRAPPING_KEY_HANDLE_INVALID,
            _ => CKR_KEY_HANDLE_INVALID,
        });
    }
    if !row.key_types.contains(&key.kind) || key.class != class {
        return Some(doing.wrong_type);
    }
    let usage = usage_of(doing.function);
    if key.uses.as_ref().is_some_and(|uses| !uses.contains(&usage)) {
        return Some(CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    // Wrapping, unwrapping and deriving look at more than the key.
    (doing.function.ends_with("Init")).then_some(CKR_OK)
}

/// The flag that a function wants of its key.
fn usage_of(function: &str) -> CK_ATTRIBUTE_TYPE {
    match function {
        "C_EncryptInit" | "C_MessageEncryptInit" => CKA_ENCRYPT,
        "C_DecryptInit" | "C_MessageDecryptInit" => CKA_DECRYPT,
        "C_SignInit" | "C_MessageSignInit" => CKA_SIGN,
        "C_SignRecoverInit" => CKA_SIGN_RECOVER,
        "C_VerifyRecoverInit" => CKA_VERIFY_RECOVER,
        "C_DeriveKey" => CKA_DERIVE,
        "C_EncapsulateKey" => CKA_ENCAPSULATE,
        "C_DecapsulateKey" => CKA_DECAPSULATE,
        "C_WrapKey" | "C_WrapKeyAuthenticated" => CKA_WRAP,
        "C_UnwrapKey" | "C_UnwrapKeyAuthenticated" => CKA_UNWRAP,
        _ => CKA_VERIFY,
    }
}

/// One cell: Init with the right parameter, then whatever the operation does, then nothing of it is left.
fn cell(stage: &mut Stage, mechanism: &Mechanism, doing: &Doing, key: &Key) -> Rv {
    let h = stage.session as usize;
    let out = stage.output.as_mut_ptr() as usize;
    *stage.length = 8192;
    let length = &raw mut *stage.length as usize;
    let (text, size) = (TEXT.as_ptr() as usize, TEXT.len());
    let handle = key.handle as usize;
    let mut template = Template::new(&[
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        flag(CKA_TOKEN, false),
    ]);
    let (address, count) = (template.address(), template.count());
    let target = stage.keys.target as usize;
    let made = &raw mut stage.output[MADE] as usize;
    let ciphertext = (
        stage.made["ciphertext"].as_ptr() as usize,
        stage.made["ciphertext"].len(),
    );
    let words = |mechanism| match doing.function {
        "C_DigestInit" => vec![h, mechanism],
        "C_VerifySignatureInit" => vec![h, mechanism, handle, text, size],
        "C_DeriveKey" => vec![h, mechanism, handle, address, count, out],
        "C_WrapKey" => vec![h, mechanism, handle, target, out, length],
        "C_UnwrapKey" => vec![h, mechanism, handle, text, size, address, count, out],
        "C_EncapsulateKey" => vec![h, mechanism, handle, address, count, out, length, made],
        "C_DecapsulateKey" => {
            let (ciphertext, size) = &ciphertext;
            vec![h, mechanism, handle, address, count, *ciphertext, *size, out]
        }
        "C_WrapKeyAuthenticated" => vec![h, mechanism, handle, target, 0, 0, out, length],
        "C_UnwrapKeyAuthenticated" => vec![h, mechanism, handle, text, size, address, count, 0, 0, out],
        _ => vec![h, mechanism, handle],
    };
    // A copy: a token that makes an IV writes it there.
    let mechanism = match mechanism {
        Mechanism::Gcm { .. } if doing.function.ends_with("Authenticated") => stage.gcm_message(doing.function),
        other => other.clone(),
    };
    mechanism.with(|mechanism| stage.raw(doing.function, &words(mechanism)))
}

/// Goes on with an operation that has begun, in one part and then again in two.
fn go_on(stage: &mut Stage, doing: &Doing) -> Vec<(String, Rv)> {
    let single = doing.function.trim_end_matches("Init");
    let names: Vec<String> = match single {
        "C_VerifySignature" => vec![single.to_owned()],
        "C_MessageEncrypt" => vec!["C_EncryptMessage".to_owned()],
        "C_MessageDecrypt" => vec!["C_DecryptMessage".to_owned()],
        "C_MessageSign" => vec!["C_SignMessage".to_owned()],
        "C_MessageVerify" => vec!["C_VerifyMessage".to_owned()],
        _ => vec![single.to_owned()],
    };
    names
        .into_iter()
        .map(|name| {
            let rv = stage.good(&name);
            (name, rv)
        })
        .collect()
}

fn sweep(policy: Policy) {
    let daemon = Daemon::start_with(Options {
        arguments: vec!["--policy".to_owned(), policy.name().to_owned()],
        ..Options::default()
    });
    let mut stage = Stage::new(&daemon);
    let keys = Keys::make(&stage, policy);
    assert!(
        keys.unknown.is_empty(),
        "no template for keys of type {:?}",
        keys.unknown
    );
    let offered = stage.module.mechanisms(stage.slot).expect("C_GetMechanismList");
    let strangers = [CKM_DES3_CBC, CKM_MD5, CKM_DSA, 0x8000_1234, CK_ULONG::MAX];
    let all: BTreeSet<CK_MECHANISM_TYPE> = TABLE
        .iter()
        .map(|row| row.mechanism.0)
        .chain(offered.iter().copied())
        .chain(strangers)
        .collect();
    let (mut cells, mut begun, mut wrong) = (0, 0, Vec::new());
    for kind in all {
        let row = mechanism::row(MechanismType(kind));
        let known = row.map_or(Some(Mechanism::Plain(kind)), |row| good(row, &keys.point, policy));
        let with = known.clone().unwrap_or(Mechanism::Plain(kind));
        for doing in &DOINGS {
            for key in &keys.list {
                cells += 1;
                let rv = cell(&mut stage, &with, doing, key);
                // Without the right parameter only what comes before it is certain.
                let certain = |must: &CK_RV| known.is_some() || *must == CKR_MECHANISM_INVALID;
                let must = expected(row, doing, key, policy).filter(certain);
                let name = MechanismType(kind);
                // The signature that comes with Init has a length of its own.
                let length = doing.function == "C_VerifySignatureInit" && rv.0 == CKR_SIGNATURE_LEN_RANGE;
                if must.is_some_and(|must| must != rv.0 && !(length && must == CKR_OK)) {
                    wrong.push(format!(
                        "{}({name}, {}): {rv}, not {}",
                        doing.function,
                        key.name,
                        Rv(must.unwrap_or(0))
                    ));
                }
                if rv.0 != CKR_OK {
                    continue;
                }
                begun += 1;
                if doing.function.ends_with("Init") {
                    go_on(&mut stage, doing);
                    stage.cancel();
                    let again = cell(&mut stage, &with, doing, key);
                    if again.0 != CKR_OK {
                        wrong.push(format!("{}({name}, {}) again: {again}", doing.function, key.name));
                    }
                    stage.cancel();
                }
                if doing.operation == Operations::DIGEST {
                    break;
                }
            }
        }
    }
    wrong.extend(stage.is_as_new().err());
    assert!(
        wrong.is_empty(),
        "{} of {cells} cells:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
    assert!(begun > 150, "{policy:?}: {begun} operations began in {cells} cells");
    assert_eq!(panics(&daemon), 0);
}

#[test]
fn every_mechanism_with_every_key_for_every_operation_under_standard() {
    sweep(Policy::Standard);
}

#[test]
fn every_mechanism_with_every_key_for_every_operation_under_strict() {
    sweep(Policy::Strict);
}

#[test]
fn every_mechanism_with_every_key_for_every_operation_under_fips() {
    sweep(Policy::Fips);
}
