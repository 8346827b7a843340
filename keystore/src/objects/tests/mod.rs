//! Tests of the operations through [`crate::KeySet`], as a daemon calls them: attribute rules and codes, sessions, durability,
//! the attacks of the literature by name, and a model that looks for more of them.

mod attacks;
mod classes;
mod dh;
mod digest;
mod durable;
mod families;
mod grants;
mod kem;
mod lattice;
mod mechanisms;
mod model;
mod policies;
mod sessions;

use std::sync::Arc;

use hsmd_crypto::pin::PinCost;
use hsmd_crypto::{Input, random};
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, KeyType, MechanismType as M, Mgf, ObjectClass, Rv, UserType};
use hsmd_proto::ids::{ApplicationId, OperationId, UniqueId};
use hsmd_proto::meta::Curve;
use hsmd_proto::params::{CtrParams, EcdhParams, GcmParams, Mechanism, OaepParams, Params};
use hsmd_proto::policy::Policy;

use super::{ObjectRef, ObjectView};
use crate::{Caller, Context, Identity, KeySet, Keystore, Options};

const SO_PIN: &[u8] = b"so pin";
const PIN: &[u8] = b"user pin";

/// A key set with its roles logged in.
struct Bench {
    keystore: Keystore,
    keys: Arc<KeySet>,
    user: Context,
    so: Context,
    nobody: Context,
}

fn options() -> Options {
    Options {
        pin_cost: PinCost::SMALL,
        segment_bytes: 8 << 20,
        // The log is chained behind everybody's back: not while a test counts commits or plans their faults.
        audit: crate::audit::AuditOptions {
            interval: std::time::Duration::from_secs(3600),
            ..Default::default()
        },
        ..Options::default()
    }
}

fn caller(number: u8) -> Caller {
    Caller {
        identity: Identity([number; 32]),
        application: ApplicationId([number; 16]),
    }
}

fn operation() -> OperationId {
    OperationId(random::array())
}

fn id() -> UniqueId {
    UniqueId(random::array())
}

fn context(keys: &KeySet, caller: Caller, user: UserType, pin: &[u8]) -> Context {
    let ticket = keys.login(&caller, user, pin, operation()).unwrap();
    Context {
        caller,
        login: Some(keys.resolve(&caller, ticket.expose()).unwrap()),
        grant: None,
    }
}

fn bench(policy: Policy) -> Bench {
    bench_in(Keystore::in_memory(&options()).unwrap(), policy)
}

fn bench_in(keystore: Keystore, policy: Policy) -> Bench {
    let keys = keystore.create_key_set(policy).unwrap();
    keys.init_token(&caller(1), SO_PIN, &[b' '; 32], operation()).unwrap();
    let so = context(&keys, caller(1), UserType::SO, SO_PIN);
    keys.init_pin(so.login.as_ref().unwrap(), PIN, operation()).unwrap();
    let user = context(&keys, caller(1), UserType::USER, PIN);
    Bench {
        keystore,
        keys,
        user,
        so,
        nobody: Context {
            caller: caller(1),
            login: None,
            grant: None,
        },
    }
}

fn template(entries: &[Attribute]) -> Template {
    entries.iter().cloned().collect()
}

fn yes(attribute: A) -> Attribute {
    Attribute::boolean(attribute, true)
}

fn no(attribute: A) -> Attribute {
    Attribute::boolean(attribute, false)
}

fn label(text: &str) -> Attribute {
    Attribute::bytes(A::LABEL, text.as_bytes())
}

fn class(class: ObjectClass) -> Attribute {
    Attribute::ulong(A::CLASS, class.0)
}

fn key_type(key_type: KeyType) -> Attribute {
    Attribute::ulong(A::KEY_TYPE, key_type.0)
}

/// Class and type of an AES key, and more.
fn aes_template(more: &[Attribute]) -> Template {
    let mut all = vec![class(ObjectClass::SECRET_KEY), key_type(KeyType::AES)];
    all.extend_from_slice(more);
    template(&all)
}

fn plain(kind: M) -> Mechanism {
    Mechanism::plain(kind)
}

fn cbc_pad() -> Mechanism {
    Mechanism {
        kind: M::AES_CBC_PAD,
        params: Params::Iv(vec![0; 16]),
    }
}

fn ctr() -> Mechanism {
    Mechanism {
        kind: M::AES_CTR,
        params: Params::Ctr(CtrParams {
            counter_bits: 128,
            block: [0; 16],
        }),
    }
}

fn gcm(iv: &[u8]) -> Mechanism {
    Mechanism {
        kind: M::AES_GCM,
        params: Params::Gcm(GcmParams {
            iv: iv.to_vec(),
            aad: Vec::new(),
            tag_bits: 128,
        }),
    }
}

fn oaep() -> Mechanism {
    let params = OaepParams {
        hash: M::SHA256,
        mgf: Mgf::MGF1_SHA256,
        label: Vec::new(),
    };
    Mechanism {
        kind: M::RSA_PKCS_OAEP,
        params: Params::Oaep(params),
    }
}

fn ecdh(public_point: &[u8]) -> Mechanism {
    let params = EcdhParams {
        kdf: hsmd_proto::ck::Kdf::NULL,
        shared_data: Vec::new(),
        public_point: public_point.to_vec(),
    };
    Mechanism {
        kind: M::ECDH1_DERIVE,
        params: Params::Ecdh(params),
    }
}

impl Bench {
    /// Generates an AES key of 32 bytes as a token object.
    fn aes(&self, more: &[Attribute]) -> Result<ObjectView, Rv> {
        self.aes_of(32, more)
    }

    fn aes_of(&self, length: u64, more: &[Attribute]) -> Result<ObjectView, Rv> {
        let mut all = vec![Attribute::ulong(A::VALUE_LEN, length)];
        if !more.iter().any(|entry| entry.attribute == A::TOKEN) {
            all.push(yes(A::TOKEN));
        }
        all.extend_from_slice(more);
        self.keys
            .generate_key(&self.user, &plain(M::AES_KEY_GEN), id(), &template(&all))
    }

    /// Imports an AES key.
    fn import(&self, context: &Context, value: &[u8], more: &[Attribute]) -> Result<ObjectView, Rv> {
        let mut all = aes_template(more);
        all.0.push(Attribute::bytes(A::VALUE, value));
        self.keys.create_object(context, id(), &all)
    }

    fn pair(&self, mechanism: M, public: &[Attribute], private: &[Attribute]) -> Result<(ObjectView, ObjectView), Rv> {
        let (public, private) = (template(public), template(private));
        self.keys
            .generate_key_pair(&self.user, &plain(mechanism), (id(), &public), (id(), &private))
    }

    fn rsa(&self, public: &[Attribute], private: &[Attribute]) -> Result<(ObjectView, ObjectView), Rv> {
        let mut all = vec![Attribute::ulong(A::MODULUS_BITS, 2048)];
        all.extend_from_slice(public);
        self.pair(M::RSA_PKCS_KEY_PAIR_GEN, &all, private)
    }

    fn ec(&self, public: &[Attribute], private: &[Attribute]) -> Result<(ObjectView, ObjectView), Rv> {
        let mut all = vec![Attribute::bytes(A::EC_PARAMS, Curve::P256.oid_der())];
        all.extend_from_slice(public);
        self.pair(M::EC_KEY_PAIR_GEN, &all, private)
    }

    fn wrap(&self, by: &ObjectView, mechanism: &Mechanism, key: &ObjectView) -> Result<Vec<u8>, Rv> {
        self.keys.wrap_key(&self.user, &by.name(), mechanism, &key.name())
    }

    fn unwrap(&self, by: &ObjectView, mechanism: &Mechanism, blob: &[u8], all: &Template) -> Result<ObjectView, Rv> {
        self.keys.unwrap_key(&self.user, &by.name(), mechanism, blob, id(), all)
    }

    fn read(&self, key: &ObjectView, attribute: A) -> Result<Vec<u8>, Rv> {
        let values = self.keys.attributes(&self.user, &key.name(), &[attribute])?;
        values.into_iter().next().unwrap().map(|entry| entry.value.to_vec())
    }

    fn set(&self, key: &ObjectView, entries: &[Attribute]) -> Result<ObjectView, Rv> {
        self.keys
            .set_attributes(&self.user, &key.name(), &template(entries), operation())
    }

    fn copy(&self, key: &ObjectView, entries: &[Attribute]) -> Result<ObjectView, Rv> {
        self.keys.copy_object(&self.user, &key.name(), id(), &template(entries))
    }

    fn encrypt(&self, key: &ObjectView, mechanism: &Mechanism, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let mut out = Vec::new();
        self.keys
            .encrypt(&self.user, &key.name(), mechanism, data, &mut out)
            .map(|()| out)
    }

    fn decrypt(&self, key: &ObjectView, mechanism: &Mechanism, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let mut out = Vec::new();
        self.keys
            .decrypt(&self.user, &key.name(), mechanism, data, &mut out)
            .map(|()| out)
    }

    fn sign(&self, key: &ObjectView, mechanism: M, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let mut out = Vec::new();
        let input = Input::Message(data);
        self.keys
            .sign(&self.user, &key.name(), &plain(mechanism), input, &mut out)
            .map(|()| out)
    }

    fn find(&self, context: &Context, entries: &[Attribute]) -> Vec<UniqueId> {
        let hits = self.keys.find(context, &template(entries)).unwrap();
        hits.into_iter().map(|hit| hit.id).collect()
    }
}

fn flag(view: &ObjectView, attribute: A) -> bool {
    view.attributes.boolean(attribute).unwrap().unwrap()
}

/// The point of a public key, as its attribute has it.
fn point(view: &ObjectView) -> Vec<u8> {
    view.attributes.value(A::EC_POINT).unwrap().to_vec()
}
