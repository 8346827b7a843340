//! Which function answers a request, and on which threads: the one table of the data plane.

use super::call::{Answer, Call};
use super::{crypt, digest, find, key, login, object, random, sign, token, wrap};
use hsmd_keystore::audit::Act;
use hsmd_proto::ck::{AttributeType, KeyType, Rv};
use hsmd_proto::frame::Sections;
use hsmd_proto::mechanism::{self, Family};
use hsmd_proto::wire::request::Op;
use hsmd_proto::wire::{Attribute, Mechanism};
use hsmd_proto::{ck::MechanismType, convert};

/// Where a request runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the connection's task: it takes less than about 100 us.
    Inline,
    /// On as many threads as there are cores.
    Cpu,
    /// On threads that may wait for a flush.
    Write,
    /// On the threads that check PINs.
    Pin,
}

/// Data of this size takes symmetric mechanisms about 100 us.
const LARGE: usize = 128 << 10;

macro_rules! names {
    ($($op:ident)*) => {
        /// The names of all requests.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($op)),*];

        /// The name of a request, for the log.
        pub(super) const fn name(op: &Op) -> &'static str {
            match op {
                $(Op::$op(_) => stringify!($op),)*
            }
        }

        /// Its place among [`NAMES`].
        pub(super) const fn number(op: &Op) -> usize {
            enum Numbers {
                $($op),*
            }
            match op {
                $(Op::$op(_) => Numbers::$op as usize,)*
            }
        }
    };
}

names! {
    Hello ListSlots ListMechanisms InitToken InitPin SetPin Login Logout CreateObject CopyObject DestroyObject
    GetAttributes SetAttributes Find Fetch GenerateKey GenerateKeyPair Sign Verify Encrypt Decrypt WrapKey
    UnwrapKey DeriveKey Random Ping SignRecover VerifyRecover MakeIv Digest
    EncapsulateKey DecapsulateKey
}

/// What the audit log calls a request that changes something: its refusals are counted. What is done is recorded where it
/// is done.
pub(super) const fn act(op: &Op) -> Option<Act> {
    Some(match op {
        Op::InitToken(_) => Act::TokenInit,
        Op::InitPin(_) => Act::PinInit,
        Op::SetPin(_) => Act::PinSet,
        Op::Login(_) => Act::Login,
        Op::CreateObject(_) => Act::ObjectCreate,
        Op::CopyObject(_) => Act::ObjectCopy,
        Op::DestroyObject(_) => Act::ObjectDestroy,
        Op::SetAttributes(_) => Act::ObjectChange,
        Op::GenerateKey(_) | Op::GenerateKeyPair(_) => Act::KeyGenerate,
        Op::WrapKey(_) => Act::KeyWrap,
        Op::UnwrapKey(_) => Act::KeyUnwrap,
        Op::DeriveKey(_) => Act::KeyDerive,
        Op::EncapsulateKey(_) => Act::KeyEncapsulate,
        Op::DecapsulateKey(_) => Act::KeyDecapsulate,
        _ => return None,
    })
}

/// Where a request runs. An answer that is wrong costs time, never correctness.
pub(super) fn place(op: &Op, sections: &Sections<'_>) -> Place {
    match op {
        Op::Hello(_) | Op::ListSlots(_) | Op::ListMechanisms(_) | Op::Random(_) | Op::Ping(_) => Place::Inline,
        Op::MakeIv(_) => Place::Inline,
        Op::GetAttributes(_) | Op::Find(_) | Op::Fetch(_) => Place::Inline,
        Op::InitToken(_) | Op::InitPin(_) | Op::SetPin(_) | Op::Login(_) => Place::Pin,
        Op::Logout(_) => Place::Write,
        // Whether the halves of such a key fit is as much work as making it.
        Op::CreateObject(create) if is_slow(&create.template, sections) => Place::Cpu,
        Op::CreateObject(create) => creation(&create.template, sections),
        Op::CopyObject(copy) => copying(&copy.template, sections, copy.source.as_ref().is_some_and(is_session)),
        Op::DestroyObject(destroy) => changing(destroy.object.as_ref()),
        Op::SetAttributes(set) => changing(set.object.as_ref()),
        // Up to seconds.
        Op::GenerateKey(generate) if family(generate.mechanism.as_ref()) == Some(Family::Pbkdf2) => Place::Cpu,
        Op::GenerateKey(generate) => creation(&generate.template, sections),
        Op::GenerateKeyPair(generate) => match family(generate.mechanism.as_ref()) {
            Some(Family::RsaKeyPairGen | Family::SlhDsaKeyPairGen | Family::DhKeyPairGen) => Place::Cpu,
            _ => creation(&generate.private_template, sections).or(creation(&generate.public_template, sections)),
        },
        Op::Sign(crypt) | Op::SignRecover(crypt) | Op::Decrypt(crypt) => {
            private_key(crypt.mechanism.as_ref(), sections)
        }
        // Some milliseconds.
        Op::Verify(crypt)
            if matches!(
                family(crypt.mechanism.as_ref()),
                Some(Family::SlhDsa | Family::HashSlhDsa)
            ) =>
        {
            Place::Cpu
        }
        Op::Encrypt(_) | Op::Verify(_) | Op::VerifyRecover(_) | Op::Digest(_) => by_size(sections),
        Op::WrapKey(wrap) if wrap.query => Place::Inline,
        Op::WrapKey(_) => Place::Write,
        Op::UnwrapKey(unwrap) => {
            creation(&unwrap.template, sections).or(private_key(unwrap.mechanism.as_ref(), sections))
        }
        // Up to some milliseconds.
        Op::DeriveKey(derive) if family(derive.mechanism.as_ref()) == Some(Family::Dh) => Place::Cpu,
        Op::DeriveKey(derive) => creation(&derive.template, sections),
        Op::EncapsulateKey(encapsulate) => creation(&encapsulate.template, sections),
        Op::DecapsulateKey(decapsulate) => creation(&decapsulate.template, sections),
    }
}

/// Answers a request.
pub(super) fn run(op: Op, call: &mut Call<'_>) -> Answer {
    match op {
        // The connection answers the first one itself.
        Op::Hello(_) => Err(Rv::FUNCTION_FAILED),
        Op::Ping(_) => Ok(None),
        Op::ListSlots(_) => token::list_slots(call),
        Op::ListMechanisms(_) => token::list_mechanisms(call),
        Op::InitToken(request) => token::init_token(call, &request),
        Op::InitPin(request) => login::init_pin(call, &request),
        Op::SetPin(request) => login::set_pin(call, &request),
        Op::Login(request) => login::login(call, &request),
        Op::Logout(_) => login::logout(call),
        Op::CreateObject(request) => object::create(call, &request),
        Op::CopyObject(request) => object::copy(call, &request),
        Op::DestroyObject(request) => object::destroy(call, &request),
        Op::GetAttributes(request) => object::attributes(call, &request),
        Op::SetAttributes(request) => object::set_attributes(call, &request),
        Op::Find(request) => find::find(call, &request),
        Op::Fetch(request) => find::fetch(call, &request),
        Op::GenerateKey(request) => key::generate(call, request),
        Op::GenerateKeyPair(request) => key::generate_pair(call, request),
        Op::Sign(request) => sign::sign(call, request),
        Op::Verify(request) => sign::verify(call, request),
        Op::SignRecover(request) => sign::sign_recover(call, request),
        Op::VerifyRecover(request) => sign::verify_recover(call, request),
        Op::Digest(request) => digest::digest(call, &request),
        Op::Encrypt(request) => crypt::encrypt(call, request),
        Op::Decrypt(request) => crypt::decrypt(call, request),
        Op::WrapKey(request) => wrap::wrap(call, request),
        Op::UnwrapKey(request) => wrap::unwrap(call, request),
        Op::DeriveKey(request) => key::derive(call, request),
        Op::EncapsulateKey(request) => key::encapsulate(call, request),
        Op::DecapsulateKey(request) => key::decapsulate(call, request),
        Op::Random(request) => random::random(call, &request),
        Op::MakeIv(request) => crypt::make_iv(call, request),
    }
}

impl Place {
    /// The second place, when the first is nothing special.
    pub(super) fn or(self, other: Self) -> Self {
        if self == Self::Inline { other } else { self }
    }
}

fn family(mechanism: Option<&Mechanism>) -> Option<Family> {
    mechanism::row(MechanismType(mechanism?.r#type)).map(|row| row.family)
}

fn private_key(mechanism: Option<&Mechanism>, sections: &Sections<'_>) -> Place {
    match family(mechanism) {
        // ML-DSA takes about 200 us, at times far more: it starts afresh when a draw is refused (FIPS 204, 6.2).
        Some(
            Family::RsaPkcs1
            | Family::RsaPss
            | Family::RsaOaep
            | Family::RsaAesWrap
            | Family::RsaRaw
            | Family::MlDsa
            | Family::HashMlDsa,
        ) => Place::Cpu,
        // Up to seconds.
        Some(Family::SlhDsa | Family::HashSlhDsa) => Place::Cpu,
        _ => by_size(sections),
    }
}

fn by_size(sections: &Sections<'_>) -> Place {
    if sections.0.len() > LARGE {
        Place::Cpu
    } else {
        Place::Inline
    }
}

/// A token object is a durable write, a session object is not.
fn creation(template: &[Attribute], sections: &Sections<'_>) -> Place {
    if token_flag(template, sections) == Some(true) {
        Place::Write
    } else {
        Place::Inline
    }
}

fn copying(template: &[Attribute], sections: &Sections<'_>, source_is_session: bool) -> Place {
    let token = token_flag(template, sections).unwrap_or(!source_is_session);
    if token { Place::Write } else { Place::Inline }
}

fn changing(object: Option<&hsmd_proto::wire::ObjectRef>) -> Place {
    if object.is_some_and(is_session) {
        Place::Inline
    } else {
        Place::Write
    }
}

fn is_session(object: &hsmd_proto::wire::ObjectRef) -> bool {
    !object.blob.is_empty()
}

/// Whether it is a key of SLH-DSA or Diffie-Hellman, private or public.
fn is_slow(template: &[Attribute], sections: &Sections<'_>) -> bool {
    let entry = template.iter().find(|entry| entry.r#type == AttributeType::KEY_TYPE.0);
    let value = entry.and_then(|entry| convert::attribute_from_wire(entry, sections).ok());
    let kind = value.and_then(|value| value.as_ulong()).map(KeyType);
    matches!(kind, Some(KeyType::SLH_DSA | KeyType::DH))
}

fn token_flag(template: &[Attribute], sections: &Sections<'_>) -> Option<bool> {
    let entry = template.iter().find(|entry| entry.r#type == AttributeType::TOKEN.0)?;
    convert::attribute_from_wire(entry, sections).ok()?.as_bool()
}
