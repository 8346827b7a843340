//! C_WrapKey, C_UnwrapKey, C_WrapKeyAuthenticated, C_UnwrapKeyAuthenticated.

use super::attribute::known;
use super::iv;
use super::key::admit_parsed;
use super::message_crypt::{gcm, single_iv};
use super::object::{adopt, check_new, one_object};
use super::request::{Asker, output};
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{RawInput, RawOut, RawSlot, Written};
use crate::abi::template::RawTemplate;
use crate::local;
use crate::state::instance::Instance;
use crate::state::object::Object;
use crate::state::session::Session;
use crate::transport::Failure;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::attribute::Template;
use hsmd_proto::ck::{AttributeType, ObjectClass, Rv};
use hsmd_proto::convert::{mechanism_to_wire, template_to_wire};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::init::Operation;
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::returns::{Function, late};
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::{self, reply, request};
use std::sync::Arc;

/// The longest wrapped key that is sent, in bytes.
const LONGEST: usize = 1 << 20;

/// C_WrapKey (PKCS#11 3.2, 5.18.3). A length query is a request of its own that changes nothing.
pub(crate) fn wrap(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let out = out.get()?;
    let asker = Asker::session(instance, &session);
    let parsed = mechanism.parse()?;
    let daemons = iv::wanted(asker, Operation::Wrap, &parsed, mechanism)?;
    let mut wrap = Wrap::checked(asker, parsed, wrapping, key)?;
    if out.is_query() {
        out.refuse(wrap.length(asker)?);
        return Ok(());
    }
    if daemons {
        wrap.take_iv(asker)?;
    }
    match out.put(&wrap.run(asker)?) {
        Written::TooSmall => Err(Rv::BUFFER_TOO_SMALL),
        _ => {
            if daemons {
                mechanism.put_iv(wrap.iv());
            }
            Ok(())
        }
    }
}

/// C_WrapKeyAuthenticated (PKCS#11 3.2, 5.18.6) with AES-GCM: IV and tag stand in the mechanism's parameter (6.13.3).
pub(crate) fn wrap_authenticated(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    aad: RawInput<'_>,
    out: RawOut<'_>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let (aad, out) = (associated(aad)?, out.get()?);
    let parameter = mechanism.gcm_message()?;
    let asker = Asker::session(instance, &session);
    let daemons = asker.slot.policy().makes_ivs();
    let iv = match daemons {
        true if iv::asked_for(&parameter) => parameter.iv(),
        true => return Err(Rv::MECHANISM_PARAM_INVALID),
        false => single_iv(&parameter)?,
    };
    let mechanism = gcm(iv, aad, parameter.tag_bits());
    let mut wrap = Wrap::checked(asker, mechanism, wrapping, key)?;
    let without_tag = |length: usize| length.checked_sub(parameter.tag_length()).ok_or(Rv::DEVICE_ERROR);
    if out.is_query() {
        out.refuse(without_tag(wrap.length(asker)?)?);
        return Ok(());
    }
    if daemons {
        wrap.take_iv(asker)?;
    }
    let wrapped = wrap.run(asker)?;
    let (body, tag) = wrapped.split_at(without_tag(wrapped.len())?);
    match out.put(body) {
        Written::TooSmall => Err(Rv::BUFFER_TOO_SMALL),
        _ => {
            parameter.put_iv(wrap.iv());
            parameter.put_tag(tag);
            Ok(())
        }
    }
}

/// Associated data, which travels in the request's body.
fn associated(aad: RawInput<'_>) -> Result<Vec<u8>, Rv> {
    let aad = aad.get()?;
    if aad.len() > LONGEST / 2 {
        return Err(Rv::ARGUMENTS_BAD);
    }
    Ok(aad.to_vec())
}

/// A wrap that passed the checks of this side.
struct Wrap {
    wrapping: Arc<Object>,
    mechanism: Mechanism,
    key: Arc<Object>,
    sensitive: bool,
}

impl Wrap {
    fn checked(
        asker: Asker<'_>,
        mechanism: Mechanism,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
    ) -> Result<Self, Rv> {
        let no_wrapping = Rv::WRAPPING_KEY_HANDLE_INVALID;
        let admitted = admit_parsed(asker, Operation::Wrap, mechanism, wrapping, no_wrapping)?;
        let key = asker.slot.objects.get(key).ok_or(Rv::KEY_HANDLE_INVALID)?;
        let view = known(asker, &key).map_err(no_key)?;
        match view.class() {
            ObjectClass::SECRET_KEY | ObjectClass::PRIVATE_KEY => {}
            ObjectClass::PUBLIC_KEY => return Err(Rv::KEY_NOT_WRAPPABLE),
            _ => return Err(Rv::KEY_HANDLE_INVALID),
        }
        // One-way: what is false stays false.
        if view.attributes.boolean(AttributeType::EXTRACTABLE) == Ok(Some(false)) {
            return Err(Rv::KEY_UNEXTRACTABLE);
        }
        Ok(Self {
            wrapping: admitted.key,
            mechanism: admitted.mechanism,
            key,
            sensitive: view.flag(AttributeType::SENSITIVE),
        })
    }

    /// Asks the daemon for the IV.
    fn take_iv(&mut self, asker: Asker<'_>) -> Result<(), Rv> {
        let made = iv::made(asker, Operation::Wrap, self.wrapping.reference(), &self.mechanism)
            .map_err(|rv| late(Function::Wrap, rv))?;
        if let Params::Gcm(gcm) = &mut self.mechanism.params {
            gcm.iv = made;
        }
        Ok(())
    }

    fn iv(&self) -> &[u8] {
        match &self.mechanism.params {
            Params::Gcm(gcm) => &gcm.iv,
            _ => &[],
        }
    }

    fn request(&self, query: bool) -> request::Op {
        request::Op::WrapKey(wire::WrapKey {
            wrapping_key: Some(self.wrapping.reference()),
            mechanism: Some(mechanism_to_wire(&self.mechanism)),
            key: Some(self.key.reference()),
            query,
        })
    }

    fn length(&self, asker: Asker<'_>) -> Result<usize, Rv> {
        let length = asker.call(
            |_| self.request(true),
            |result, _| match result {
                Some(reply::Result::Length(length)) if length <= LONGEST as u64 => Ok(length as usize),
                _ => Err(Failure::Lost),
            },
        );
        length.map_err(|rv| late(Function::Wrap, no_key(rv)))
    }

    fn run(&self, asker: Asker<'_>) -> Result<WipingVec, Rv> {
        let wrapped = asker
            .call(|_| self.request(false), output)
            .map_err(|rv| late(Function::Wrap, no_key(rv)))?;
        // As the daemon has it: a sensitive key latches the material that wrapped it.
        if asker.slot.policy().latches() && self.sensitive {
            self.wrapping.has_wrapped();
        }
        Ok(wrapped)
    }
}

fn no_key(rv: Rv) -> Rv {
    if rv == Rv::OBJECT_HANDLE_INVALID {
        Rv::KEY_HANDLE_INVALID
    } else {
        rv
    }
}

/// C_UnwrapKey (PKCS#11 3.2, 5.18.4).
pub(crate) fn unwrap(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: RawInput<'_>,
    template: &RawTemplate<'_>,
    out: &RawSlot<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    out.check()?;
    let (wrapped, template) = (wrapped.get()?, template.parse()?);
    let made = unwrapped(instance, &session, (mechanism.parse()?, unwrapping), wrapped, &template)?;
    out.set(made)
}

/// C_UnwrapKeyAuthenticated (PKCS#11 3.2, 5.18.7) with AES-GCM: IV and tag stand in the mechanism's parameter.
pub(crate) fn unwrap_authenticated(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    unwrapping: CK_OBJECT_HANDLE,
    (wrapped, aad): (RawInput<'_>, RawInput<'_>),
    template: &RawTemplate<'_>,
    out: &RawSlot<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    out.check()?;
    let (wrapped, aad, template) = (wrapped.get()?, associated(aad)?, template.parse()?);
    let parameter = mechanism.gcm_message()?;
    if wrapped.is_empty() || wrapped.len() > LONGEST {
        return Err(Rv::WRAPPED_KEY_LEN_RANGE);
    }
    let blob = WipingVec::from([wrapped, &parameter.tag()].concat());
    let mechanism = gcm(parameter.iv(), aad, parameter.tag_bits());
    let made = unwrapped(instance, &session, (mechanism, unwrapping), &blob, &template)?;
    out.set(made)
}

fn unwrapped(
    instance: &Instance,
    session: &Session,
    (mechanism, unwrapping): (Mechanism, CK_OBJECT_HANDLE),
    wrapped: &[u8],
    template: &Template,
) -> Result<CK_OBJECT_HANDLE, Rv> {
    let asker = Asker::session(instance, session);
    let no_unwrapping = Rv::UNWRAPPING_KEY_HANDLE_INVALID;
    let admitted = admit_parsed(asker, Operation::Unwrap, mechanism, unwrapping, no_unwrapping)?;
    if wrapped.is_empty() || wrapped.len() > LONGEST {
        return Err(Rv::WRAPPED_KEY_LEN_RANGE);
    }
    if admitted.meta.always_authenticate {
        // There is no operation that a context-specific login could be for (PKCS#11 3.2, 4.10).
        return Err(Rv::USER_NOT_LOGGED_IN);
    }
    check_new(session, template)?;
    let id = UniqueId(local::random());
    let made = asker.call(
        |writer| {
            let wrapped = writer.hide(wrapped);
            let template = template_to_wire(template, writer);
            request::Op::UnwrapKey(wire::UnwrapKey {
                unwrapping_key: Some(admitted.key.reference()),
                mechanism: Some(mechanism_to_wire(&admitted.mechanism)),
                wrapped: Some(wrapped),
                unique_id: id.0.to_vec(),
                template,
            })
        },
        |result, sections| one_object(result, sections, id),
    );
    let made = made.map_err(|rv| late(Function::Unwrap, rv))?;
    Ok(adopt(instance, session, id, made).handle.0)
}
