//! Requests of a session: slot and ticket go along, a refused ticket logs the slot out, results are read as hostile.

use crate::state::instance::Instance;
use crate::state::session::Session;
use crate::state::slot::Slot;
use crate::transport::Failure;
use crate::transport::pool::Tries;
use hsmd_proto::ck::Rv;
use hsmd_proto::frame::{FrameWriter, Sections};
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire::{self, reply, request};
use std::sync::Arc;

/// Who asks: a session, on its slot.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) slot: &'a Arc<Slot>,
    pub(crate) session: Option<&'a Session>,
    /// Presented beside the login's ticket: the grant of one operation.
    grant: Option<&'a [u8]>,
    /// Presented instead of the login's ticket: that of a login which has just ended here.
    ticket: Option<&'a [u8]>,
    /// What the request lends to its frame.
    lent: &'a [u8],
    tries: Tries,
}

impl<'a> Asker<'a> {
    /// A session.
    pub(crate) fn session(instance: &'a Instance, session: &'a Session) -> Self {
        Self {
            instance,
            slot: &session.slot,
            session: Some(session),
            grant: None,
            ticket: None,
            lent: &[],
            tries: Tries::UntilDeadline,
        }
    }

    /// A slot without a session.
    pub(crate) fn slot(instance: &'a Instance, slot: &'a Arc<Slot>) -> Self {
        Self {
            instance,
            slot,
            session: None,
            grant: None,
            ticket: None,
            lent: &[],
            tries: Tries::UntilDeadline,
        }
    }

    /// The same, presenting the ticket of a login that the slot no longer has.
    pub(crate) fn with_ticket(self, ticket: &'a [u8]) -> Self {
        Self {
            ticket: Some(ticket),
            ..self
        }
    }

    /// The same, presenting a grant if there is one.
    pub(crate) fn with_grant(self, grant: Option<&'a [u8]>) -> Self {
        Self { grant, ..self }
    }

    /// The same, with data that the request lends to its frame ([`FrameWriter::lend`]) instead of copying it.
    pub(crate) fn lending(self, lent: &'a [u8]) -> Self {
        Self { lent, ..self }
    }

    /// The same, for a request whose answer one server alone knows of: a grant, an IV. The session stays with that server.
    pub(crate) fn binding(self) -> Self {
        Self {
            tries: Tries::Binding,
            ..self
        }
    }

    /// The same, for a request that is not worth waiting for a daemon that is away.
    pub(crate) fn without_waiting(self) -> Self {
        Self {
            tries: Tries::NoWaiting,
            ..self
        }
    }

    /// Sends a request and reads its reply.
    ///
    /// # Errors
    /// The daemon's code, or one for a daemon that cannot be reached.
    pub(crate) fn call<T>(
        self,
        mut build: impl FnMut(&mut FrameWriter) -> request::Op,
        read: impl FnOnce(Option<reply::Result>, &Sections<'_>) -> Result<T, Failure>,
    ) -> Result<T, Rv> {
        let login = self.slot.login();
        let ticket = self.ticket.or(login.as_ref().map(|login| login.ticket.as_slice()));
        let make = |writer: &mut FrameWriter| {
            let ticket = ticket.map(|ticket| writer.hide(ticket));
            let grant = self.grant.map(|grant| writer.hide(grant));
            wire::Request {
                slot: self.slot.id.0,
                ticket,
                grant,
                seen: 0,
                op: Some(build(writer)),
            }
        };
        let result = self.instance.pool.call(self.session, self.tries, make, self.lent, read);
        let alone = self.grant.is_none() && self.ticket.is_none();
        if let (Err(Failure::Refused(Rv::USER_NOT_LOGGED_IN)), Some(login), true) = (&result, &login, alone) {
            // The SO meets this code at every private object; a user meets it only when the ticket is void.
            if login.user.uses_keys() {
                self.slot.ticket_refused(login);
            }
        }
        result.map_err(|failure| match failure {
            Failure::Refused(Rv::SLOT_ID_INVALID | Rv::TOKEN_NOT_PRESENT) if self.session.is_some() => Rv::DEVICE_ERROR,
            other => other.rv(),
        })
    }
}

/// Reads a reply that only says OK.
///
/// # Errors
/// None; the signature fits [`Asker::call`].
pub(crate) fn nothing(_: Option<reply::Result>, _: &Sections<'_>) -> Result<(), Failure> {
    Ok(())
}

/// Reads the output of wrap and random.
///
/// # Errors
/// [`Failure::Lost`] for a reply without one.
pub(crate) fn output(result: Option<reply::Result>, sections: &Sections<'_>) -> Result<WipingVec, Failure> {
    output_with(result, sections, |bytes| Ok(WipingVec::from(bytes)))
}

/// Hands the output of sign, encrypt and decrypt over where it lies: to the application without a copy in between.
///
/// # Errors
/// [`Failure::Lost`] for a reply without one; what `take` answers.
pub(crate) fn output_with<T>(
    result: Option<reply::Result>,
    sections: &Sections<'_>,
    take: impl FnOnce(&[u8]) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match result {
        Some(reply::Result::Output(range)) => take(sections.get(&range).map_err(|_| Failure::Lost)?),
        _ => Err(Failure::Lost),
    }
}
