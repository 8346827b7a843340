//! The phases of a single-part or multi-part operation as a declared state machine (STYLE 10; PKCS#11 3.2, 5.2 and 5.8
//! to 5.14). The whole transition table is a snapshot test.

use hsmd_proto::ck::Rv;

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// After Init.
    Ready,
    /// A single-part call asked for the length or had too small a buffer: only that call may follow.
    Single,
    /// Data came in parts.
    Parts,
    /// Final had too small a buffer and its result is kept: only Final may follow.
    Finishing,
}

/// What the application calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// C_Sign and the like.
    Single,
    /// C_SignUpdate and the like.
    Update,
    /// C_SignFinal and the like.
    Final,
}

impl Phase {
    /// Whether a call may come now.
    ///
    /// # Errors
    /// `CKR_OPERATION_ACTIVE`; the operation ends.
    pub(crate) const fn admit(self, step: Step) -> Result<(), Rv> {
        match (self, step) {
            (Self::Ready, _)
            | (Self::Single, Step::Single)
            | (Self::Parts, Step::Update | Step::Final)
            | (Self::Finishing, Step::Final) => Ok(()),
            _ => Err(Rv::OPERATION_ACTIVE),
        }
    }

    /// The phase after a call that did not end the operation: a length query, too small a buffer, or an Update.
    pub(crate) const fn after(self, step: Step, kept: bool) -> Self {
        match step {
            Step::Single => Self::Single,
            Step::Update => Self::Parts,
            Step::Final if kept => Self::Finishing,
            Step::Final => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn the_transition_table_is_what_it_was() {
        let mut table = String::new();
        for phase in [Phase::Ready, Phase::Single, Phase::Parts, Phase::Finishing] {
            for step in [Step::Single, Step::Update, Step::Final] {
                let _ = match phase.admit(step) {
                    Err(rv) => writeln!(table, "{phase:?} {step:?}: {rv}, ends"),
                    Ok(()) => writeln!(
                        table,
                        "{phase:?} {step:?}: open {:?}, kept {:?}",
                        phase.after(step, false),
                        phase.after(step, true)
                    ),
                };
            }
        }
        let expected = "\
Ready Single: open Single, kept Single
Ready Update: open Parts, kept Parts
Ready Final: open Ready, kept Finishing
Single Single: open Single, kept Single
Single Update: CKR_OPERATION_ACTIVE, ends
Single Final: CKR_OPERATION_ACTIVE, ends
Parts Single: CKR_OPERATION_ACTIVE, ends
Parts Update: open Parts, kept Parts
Parts Final: open Parts, kept Finishing
Finishing Single: CKR_OPERATION_ACTIVE, ends
Finishing Update: CKR_OPERATION_ACTIVE, ends
Finishing Final: open Finishing, kept Finishing
";
        assert_eq!(table, expected);
    }
}
