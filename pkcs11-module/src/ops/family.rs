//! The shape that all functions of running operations have: Init checks the key and leaves an operation in its place of the
//! session; each further call finds it there, reads its arguments, works, and leaves it or ends it. A family of functions is
//! rows of this shape ([`family`], [`steps`]); what a row does is in the family's file.

use super::key::admit;
use super::request::Asker;
use crate::abi::mechanism::RawMechanism;
use crate::abi::pointers::{OutBuf, RawInput, RawOut};
use crate::state::instance::Instance;
use crate::state::lock;
use crate::state::operation::{KeyOperation, Operations, Outcome, Running, or_end, run};
use crate::state::phase::Step;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};
use hsmd_proto::ck::Rv;
use hsmd_proto::init::Operation;

/// Where a session keeps the operation of a function family.
pub(crate) type Place<O = KeyOperation> = fn(&mut Operations) -> &mut Option<O>;

/// Arguments as the caller gives them. They are read when the session has been found.
pub(crate) trait Arguments {
    /// What the work sees.
    type Read;

    /// # Errors
    /// `CKR_ARGUMENTS_BAD`.
    fn read(self) -> Result<Self::Read, Rv>;
}

impl Arguments for () {
    type Read = ();

    fn read(self) -> Result<(), Rv> {
        Ok(())
    }
}

impl<'a> Arguments for RawInput<'a> {
    type Read = &'a [u8];

    fn read(self) -> Result<&'a [u8], Rv> {
        self.get()
    }
}

impl<'a> Arguments for RawOut<'a> {
    type Read = OutBuf<'a>;

    fn read(self) -> Result<OutBuf<'a>, Rv> {
        self.get()
    }
}

impl<A: Arguments> Arguments for (A,) {
    type Read = A::Read;

    fn read(self) -> Result<A::Read, Rv> {
        self.0.read()
    }
}

impl<A: Arguments, B: Arguments> Arguments for (A, B) {
    type Read = (A::Read, B::Read);

    fn read(self) -> Result<Self::Read, Rv> {
        Ok((self.0.read()?, self.1.read()?))
    }
}

/// C_EncryptInit, C_SignInit and their like: begins an operation, or ends the one in progress when there is no mechanism
/// (PKCS#11 3.0, 5.8.1 and others).
///
/// # Errors
/// The code of the Init function.
pub(crate) fn init(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    (place, operation): (Place, Operation),
    mechanism: &RawMechanism<'_>,
    key: CK_OBJECT_HANDLE,
) -> Result<(), Rv> {
    begin(instance, session, place, (mechanism, ()), |asker, ()| {
        let admitted = admit(asker, operation, mechanism, key, Rv::KEY_HANDLE_INVALID)?;
        Ok(KeyOperation::new(asker, admitted))
    })
}

/// The part of every Init that does not depend on what begins.
///
/// # Errors
/// `CKR_ARGUMENTS_BAD` when there is nothing to end, `CKR_OPERATION_ACTIVE`, and what `make` answers.
pub(crate) fn begin<O: Running, A: Arguments>(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    place: Place<O>,
    (mechanism, arguments): (&RawMechanism<'_>, A),
    make: impl FnOnce(Asker<'_>, A::Read) -> Result<O, Rv>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let mut operations = lock(&session.operations);
    let place = place(&mut operations);
    let active = place.as_ref().is_some_and(|running| running.alive(&session.slot));
    if mechanism.is_null() {
        *place = None;
        return if active { Ok(()) } else { Err(Rv::ARGUMENTS_BAD) };
    }
    let arguments = arguments.read()?;
    if active {
        return Err(Rv::OPERATION_ACTIVE);
    }
    *place = None;
    *place = Some(make(Asker::session(instance, &session), arguments)?);
    Ok(())
}

/// One call of an operation that goes on: session, arguments, then the work. A bad argument ends the operation.
///
/// # Errors
/// The code of the function.
pub(crate) fn step<O: Running, A: Arguments>(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    (place, step): (Place<O>, Step),
    arguments: A,
    work: impl FnOnce(Asker<'_>, &mut O, A::Read) -> Result<Outcome, Rv>,
) -> Result<(), Rv> {
    let session = instance.session(session)?;
    let mut operations = lock(&session.operations);
    let place = place(&mut operations);
    let arguments = or_end(place, arguments.read())?;
    run(place, &session.slot, step, |operation| {
        work(Asker::session(instance, &session), operation, arguments)
    })
}

/// Functions of a running operation: name, phase, arguments, and what does the work.
macro_rules! steps {
    ($place:expr; $(
        $(#[$doc:meta])*
        $name:ident($step:ident $(, $argument:ident: $kind:ty)*) => $work:expr;
    )*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(
            instance: &crate::state::instance::Instance,
            session: cryptoki_sys::CK_SESSION_HANDLE,
            $($argument: $kind,)*
        ) -> Result<(), hsmd_proto::ck::Rv> {
            let place = ($place, crate::state::phase::Step::$step);
            crate::ops::family::step(instance, session, place, ($($argument,)*), $work)
        }
    )*};
}

/// [`steps`] with an Init before them.
macro_rules! family {
    ($place:expr;
        $(#[$doc:meta])*
        $init:ident = $operation:ident;
        $($steps:tt)*
    ) => {
        $(#[$doc])*
        pub(crate) fn $init(
            instance: &crate::state::instance::Instance,
            session: cryptoki_sys::CK_SESSION_HANDLE,
            mechanism: &crate::abi::mechanism::RawMechanism<'_>,
            key: cryptoki_sys::CK_OBJECT_HANDLE,
        ) -> Result<(), hsmd_proto::ck::Rv> {
            let side = ($place, hsmd_proto::init::Operation::$operation);
            crate::ops::family::init(instance, session, side, mechanism, key)
        }

        crate::ops::family::steps!($place; $($steps)*);
    };
}

pub(crate) use {family, steps};
