//! C_GenerateKey, C_GenerateKeyPair: keys are made in the daemon only.

use super::object::{adopt, check_new, expected, one_object};
use super::request::Asker;
use super::slot;
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::RawSlot;
use crate::abi::template::RawTemplate;
use crate::local;
use crate::state::instance::Instance;
use crate::state::session::Session;
use crate::transport::Failure;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::convert::{mechanism_to_wire, template_to_wire};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::mechanism::Operations;
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::wire::{self, reply, request};

/// C_GenerateKey (PKCS#11 3.2, 5.18.1).
pub(crate) fn key(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    given: &RawMechanism<'_>,
    template: &RawTemplate<'_>,
    out: &RawSlot<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    out.check()?;
    let template = template.parse()?;
    let mechanism = admit(instance, &session, given, Operations::GENERATE)?;
    let password = match mechanism.params {
        Params::Pbkdf2(_) => Some(given.password()?),
        _ => None,
    };
    check_new(&session, &template)?;
    let id = UniqueId(local::random());
    let made = Asker::session(instance, &session).call(
        |writer| {
            let template = template_to_wire(&template, writer);
            request::Op::GenerateKey(wire::GenerateKey {
                mechanism: Some(mechanism_to_wire(&mechanism)),
                unique_id: id.0.to_vec(),
                template,
                password: password.map(|password| writer.hide(password)),
            })
        },
        |result, sections| one_object(result, sections, id),
    )?;
    out.set(adopt(instance, &session, id, made).handle.0)
}

/// C_GenerateKeyPair (PKCS#11 3.2, 5.18.2). Templates and places come as (public, private).
pub(crate) fn pair(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    templates: (&RawTemplate<'_>, &RawTemplate<'_>),
    out: (&RawSlot<'_, CK_OBJECT_HANDLE>, &RawSlot<'_, CK_OBJECT_HANDLE>),
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    out.0.check()?;
    out.1.check()?;
    let (public, private) = (templates.0.parse()?, templates.1.parse()?);
    let mechanism = admit(instance, &session, mechanism, Operations::GENERATE_KEY_PAIR)?;
    check_new(&session, &public)?;
    check_new(&session, &private)?;
    let (public_id, private_id) = (UniqueId(local::random()), UniqueId(local::random()));
    let (public_view, private_view) = Asker::session(instance, &session).call(
        |writer| {
            let public_template = template_to_wire(&public, writer);
            let private_template = template_to_wire(&private, writer);
            request::Op::GenerateKeyPair(wire::GenerateKeyPair {
                mechanism: Some(mechanism_to_wire(&mechanism)),
                public_id: public_id.0.to_vec(),
                public_template,
                private_id: private_id.0.to_vec(),
                private_template,
            })
        },
        |result, sections| match result {
            Some(reply::Result::Pair(wire::ObjectPair {
                public_key: Some(public),
                private_key: Some(private),
            })) => Ok((
                expected(public, sections, public_id)?,
                expected(private, sections, private_id)?,
            )),
            _ => Err(Failure::Lost),
        },
    )?;
    let public = adopt(instance, &session, public_id, public_view);
    let private = adopt(instance, &session, private_id, private_view);
    private.joins(&public);
    out.0.set(public.handle.0)?;
    out.1.set(private.handle.0)
}

/// A mechanism that makes keys.
fn admit(
    instance: &Instance,
    session: &Session,
    mechanism: &RawMechanism<'_>,
    wanted: Operations,
) -> Result<Mechanism, Rv> {
    let mechanism = mechanism.parse()?;
    let row = slot::row(instance, &session.slot, mechanism.kind)?;
    if !row.operations.contains(wanted) {
        return Err(Rv::MECHANISM_INVALID);
    }
    mechanism.check(session.slot.policy())?;
    Ok(mechanism)
}
