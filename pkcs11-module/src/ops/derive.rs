//! C_DeriveKey.

use super::key::{Admitted, admit};
use super::object::{adopt, check_new, one_object};
use super::request::Asker;
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::RawSlot;
use crate::abi::template::RawTemplate;
use crate::local;
use crate::state::instance::Instance;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::convert::{mechanism_to_wire, template_to_wire};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::init::Operation;
use hsmd_proto::mechanism::ParamKind;
use hsmd_proto::params::Params;
use hsmd_proto::wire::{self, request};

/// C_DeriveKey (PKCS#11 3.2, 5.18.5).
pub(crate) fn derive(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &RawMechanism<'_>,
    base: CK_OBJECT_HANDLE,
    template: &RawTemplate<'_>,
    out: &RawSlot<'_, CK_OBJECT_HANDLE>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    out.check()?;
    let template = template.parse()?;
    let asker = Asker::session(instance, &session);
    let Admitted {
        key,
        meta,
        mut mechanism,
        row,
        ..
    } = admit(asker, Operation::Derive, mechanism, base, Rv::KEY_HANDLE_INVALID)?;
    if meta.always_authenticate {
        // There is no operation that a context-specific login could be for (PKCS#11 3.2, 4.10).
        return Err(Rv::USER_NOT_LOGGED_IN);
    }
    let other = match (row.params, &mechanism.params) {
        (ParamKind::Key, Params::Number(handle)) => {
            let other = session.slot.objects.get(*handle).ok_or(Rv::KEY_HANDLE_INVALID)?;
            // A handle means nothing to the daemon.
            mechanism.params = Params::None;
            Some(other)
        }
        (ParamKind::Key, _) => return Err(Rv::MECHANISM_PARAM_INVALID),
        _ => None,
    };
    check_new(&session, &template)?;
    let id = UniqueId(local::random());
    let made = asker.call(
        |writer| {
            let template = template_to_wire(&template, writer);
            request::Op::DeriveKey(wire::DeriveKey {
                base_key: Some(key.reference()),
                mechanism: Some(mechanism_to_wire(&mechanism)),
                unique_id: id.0.to_vec(),
                template,
                other_key: other.as_ref().map(|other| other.reference()),
            })
        },
        |result, sections| one_object(result, sections, id),
    );
    let made = made.map_err(|rv| match rv {
        Rv::OBJECT_HANDLE_INVALID => Rv::KEY_HANDLE_INVALID,
        rv => rv,
    })?;
    out.set(adopt(instance, &session, id, made).handle.0)
}
