//! Targets of the keystore and its cryptography: records behind their seal, private keys, points, unwrapped blobs; certificates.

use std::cell::RefCell;
use std::sync::Arc;

use hsmd_crypto::{Key, Material, pkcs8, point};
use hsmd_keystore::fuzzing::{Records, records as good_records};
use hsmd_keystore::{Caller, Context, Identity, KeySet, Keystore, ObjectRef, Options, PinCost};
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, KeyType, MechanismType, ObjectClass, UserType};
use hsmd_proto::ids::{ApplicationId, OperationId, UniqueId};
use hsmd_proto::meta::{Curve, modulus_bits};
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::params::Mechanism;
use hsmd_proto::policy::Policy;

/// A record; the first byte says which.
pub(crate) fn records(data: &[u8]) {
    thread_local! {
        static RECORDS: Records = Records::new().expect("a keystore in memory");
    }
    RECORDS.with(|records| {
        records.read(data);
        assert!(records.is_well(), "a reader harmed the keystore");
    });
}

/// Good records.
pub(crate) fn record_seeds() -> Vec<Vec<u8>> {
    good_records()
}

/// PKCS #8.
pub(crate) fn private_keys(data: &[u8]) {
    let Some(material) = pkcs8::decode(data) else { return };
    // Numbers that make no key are refused, whatever they are.
    if let Ok(key) = Key::open(&material) {
        assert!(key.size() > 0, "a key without a size");
        let _ = key.public_der();
        let again = pkcs8::encode(&material).map(|der| pkcs8::decode(der.expose()).is_some());
        assert!(again != Some(false), "a private key reads back");
    }
}

/// Certificates and requests.
pub(crate) fn certificates(data: &[u8]) {
    hsmd::control::fuzzing::certificates(data);
}

/// A good key of each kind.
pub(crate) fn private_key_seeds() -> Vec<Vec<u8>> {
    let secret = |length| hsmd_crypto::secret::Secret::from_slice(&vec![1; length]);
    let mut materials: Vec<Material> = [Curve::P256, Curve::P384, Curve::Secp256k1]
        .into_iter()
        .map(|curve| Material::EcPrivate {
            curve,
            scalar: secret(curve.field_bytes()),
        })
        .collect();
    materials.push(Material::EdPrivate { seed: secret(32) });
    materials.push(Material::MontgomeryPrivate { scalar: secret(32) });
    materials.extend(Material::from_seed(ParameterSet::MlDsa44, secret(32)));
    let mut seeds: Vec<Vec<u8>> = materials
        .iter()
        .filter_map(|material| pkcs8::encode(material).map(|der| der.expose().to_vec()))
        .collect();
    seeds.push(include_bytes!("../seeds/rsa-1024.pk8").to_vec());
    seeds
}

/// A point of each curve, and the parameters of one.
pub(crate) fn points(data: &[u8]) {
    for curve in Curve::ALL {
        if let Some(found) = point::decode(curve, data) {
            let again = point::decode(curve, &point::encode(&found));
            assert_eq!(again.as_ref(), Some(&found), "a point reads back");
            let key = Key::open(&Material::EcPublic { curve, point: found });
            assert!(key.is_ok(), "a point on the curve is a key");
        }
    }
    let _ = point::decode_edwards(data);
    let _ = (Curve::from_params(data), modulus_bits(data));
}

/// Generators, in both forms.
pub(crate) fn point_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Curve::ALL.iter().map(|curve| curve.oid_der().to_vec()).collect();
    for curve in [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1] {
        let scalar = hsmd_crypto::secret::Secret::from_slice(&vec![1; curve.field_bytes()]);
        let key = Key::open(&Material::EcPrivate { curve, scalar });
        if let Ok(Some(Material::EcPublic { point: found, .. })) = key.map(|key| key.public()) {
            seeds.push(point::encode(&found));
            seeds.push(found);
        }
    }
    seeds
}

/// A token with one AES key that unwraps.
struct Token {
    key_set: Arc<KeySet>,
    context: Context,
    wrapping: Key,
    unwrapped: u32,
}

const WRAPPING: UniqueId = UniqueId([9; 16]);
/// Keys after which the token is made anew.
const KEYS: u32 = 2000;

impl Token {
    fn new() -> Option<Self> {
        let options = Options {
            pin_cost: PinCost {
                memory_kib: 8,
                ..PinCost::SMALL
            },
            ..Options::default()
        };
        let keystore = Keystore::in_memory(&options).ok()?;
        let key_set = keystore.create_key_set(Policy::Standard).ok()?;
        let caller = Caller {
            identity: Identity([1; 32]),
            application: ApplicationId([2; 16]),
        };
        let step = |number: u8| OperationId([number; 16]);
        key_set.init_token(&caller, b"87654321", &[b'x'; 32], step(1)).ok()?;
        let so = key_set.login(&caller, UserType::SO, b"87654321", step(2)).ok()?;
        let so = key_set.resolve(&caller, so.expose()).ok()?;
        key_set.init_pin(&so, b"123456", step(3)).ok()?;
        key_set.logout(&so);
        let user = key_set.login(&caller, UserType::USER, b"123456", step(4)).ok()?;
        let login = key_set.resolve(&caller, user.expose()).ok()?;
        let context = Context {
            caller,
            login: Some(login),
            grant: None,
        };
        let value = [7; 32];
        let template = Template(vec![
            Attribute::ulong(A::CLASS, ObjectClass::SECRET_KEY.0),
            Attribute::ulong(A::KEY_TYPE, KeyType::AES.0),
            Attribute::boolean(A::TOKEN, true),
            Attribute::boolean(A::UNWRAP, true),
            Attribute::bytes(A::VALUE, &value),
        ]);
        key_set.create_object(&context, WRAPPING, &template).ok()?;
        let wrapping = Key::open(&Material::Secret(hsmd_crypto::secret::Secret::from_slice(&value)));
        Some(Self {
            key_set,
            context,
            wrapping: wrapping.ok()?,
            unwrapped: 0,
        })
    }

    fn unwrap(&mut self, data: &[u8]) {
        let Some(([kind, rest @ ..], content)) = data.split_first_chunk::<4>() else {
            return;
        };
        self.unwrapped += 1;
        let mechanism = Mechanism::plain(MechanismType::AES_KEY_WRAP_KWP);
        let mut wrapped = Vec::new();
        if self.wrapping.encrypt(&mechanism, content, &mut wrapped).is_err() {
            return;
        }
        let (class, key_type) = match kind % 8 {
            0 => (ObjectClass::PRIVATE_KEY, KeyType::RSA),
            1 => (ObjectClass::PRIVATE_KEY, KeyType::EC),
            2 => (ObjectClass::PRIVATE_KEY, KeyType::EC_EDWARDS),
            3 => (ObjectClass::PRIVATE_KEY, KeyType::EC_MONTGOMERY),
            4 => (ObjectClass::SECRET_KEY, KeyType::AES),
            5 => (ObjectClass::SECRET_KEY, KeyType::GENERIC_SECRET),
            6 => (ObjectClass::SECRET_KEY, KeyType(u64::from(rest[0]))),
            _ => (ObjectClass(u64::from(rest[0])), KeyType(u64::from(rest[1]))),
        };
        let mut template = vec![
            Attribute::ulong(A::CLASS, class.0),
            Attribute::ulong(A::KEY_TYPE, key_type.0),
        ];
        if rest[2] & 1 != 0 {
            template.push(Attribute::boolean(A::EXTRACTABLE, true));
            template.push(Attribute::boolean(A::SENSITIVE, false));
        }
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.unwrapped.to_le_bytes());
        let unwrapping = ObjectRef {
            id: WRAPPING,
            blob: None,
        };
        let made = self.key_set.unwrap_key(
            &self.context,
            &unwrapping,
            &mechanism,
            &wrapped,
            UniqueId(id),
            &Template(template),
        );
        if let Err(code) = made {
            assert!(code.name().is_some(), "refused with {code}");
        }
    }
}

/// A blob that opens: 4 bytes say what it is to be, the rest is inside.
pub(crate) fn unwrap(data: &[u8]) {
    thread_local! {
        static TOKEN: RefCell<Option<Token>> = const { RefCell::new(None) };
    }
    TOKEN.with_borrow_mut(|place| {
        if place.as_ref().is_none_or(|token| token.unwrapped >= KEYS) {
            *place = None;
        }
        let token = place.get_or_insert_with(|| Token::new().expect("a token in memory"));
        token.unwrap(data);
    });
}

/// Keys of all kinds.
pub(crate) fn unwrap_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = private_key_seeds()
        .into_iter()
        .flat_map(|der| (0..4).map(move |kind: u8| [[kind, 0, 0, 1].as_slice(), &der].concat()))
        .collect();
    seeds.push([[4, 0, 0, 0].as_slice(), &[5; 32]].concat());
    seeds
}
