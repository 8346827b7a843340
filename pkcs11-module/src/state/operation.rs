//! Operations in progress: what Init fixed, what came in parts, the result that did not fit. One runner applies the
//! phases and the rule that everything but a length query and too small a buffer ends the operation (PKCS#11 3.2, 5.2).

use super::object::Object;
use super::phase::{Phase, Step};
use super::slot::Slot;
use crate::abi::pointers::{OutBuf, Written};
use crate::local::Digest;
use hsmd_proto::ck::{MechanismType, Rv};
use hsmd_proto::ids::Hit;
use hsmd_proto::init::Operation;
use hsmd_proto::mechanism::Row;
use hsmd_proto::meta::KeyMeta;
use hsmd_proto::params::Mechanism;
use hsmd_proto::wipe::WipingVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// All operations of one session. Digest, search and one operation with a key of each kind may run side by side.
#[derive(Default)]
pub(crate) struct Operations {
    pub(crate) digest: Option<DigestOperation>,
    pub(crate) encrypt: Option<KeyOperation>,
    pub(crate) decrypt: Option<KeyOperation>,
    pub(crate) sign: Option<KeyOperation>,
    pub(crate) verify: Option<KeyOperation>,
    pub(crate) sign_recover: Option<KeyOperation>,
    pub(crate) verify_recover: Option<KeyOperation>,
    pub(crate) verify_signature: Option<SignedOperation>,
    /// C_MessageSignInit, C_MessageVerifyInit; in phase `Parts` while a message comes in parts.
    pub(crate) message_sign: Option<KeyOperation>,
    pub(crate) message_verify: Option<KeyOperation>,
    pub(crate) message_encrypt: Option<Box<MessageOperation>>,
    pub(crate) message_decrypt: Option<Box<MessageOperation>>,
    pub(crate) search: Option<Search>,
}

/// C_DigestInit.
pub(crate) struct DigestOperation {
    pub(crate) phase: Phase,
    pub(crate) mechanism: MechanismType,
    pub(crate) state: DigestState,
    /// The result's length in bytes.
    pub(crate) length: usize,
}

/// Where a digest runs.
pub(crate) enum DigestState {
    /// Here.
    Open(Digest),
    /// On the daemon: it has absorbed a key whose value may not be read.
    Sealed(SealedDigest),
}

/// A digest of which only the daemon knows the state.
pub(crate) struct SealedDigest {
    /// The state.
    pub(crate) state: WipingVec,
    /// Data that is still to be added.
    pub(crate) pending: WipingVec,
    /// The keys in it that this session gave: what is destroyed takes the digest along.
    pub(crate) keys: Vec<Arc<Object>>,
    /// The login under which it absorbed a private key, or may have.
    pub(crate) epoch: Option<u64>,
}

/// What happens to the data of an operation with a key.
pub(crate) enum Work {
    /// Single-part only.
    Whole,
    /// Hashed here; the digest goes to the key. Begun with the first part.
    Hash(Option<Digest>),
    /// Kept until it is complete.
    Collect(WipingVec),
    /// Block by block: each request carries the chaining value that the last one left.
    Blocks(Chain),
}

/// Where a chain of blocks stands.
pub(crate) struct Chain {
    /// CBC: the last block of ciphertext. CTR: the next counter block.
    pub(crate) block: [u8; 16],
    /// CBC: input that fills no block yet, or the block that CBC_PAD decryption holds back.
    pub(crate) pending: WipingVec,
    /// CTR: how far into the counter block the stream is, 0 to 15.
    pub(crate) used: usize,
    /// CTR: how many counter blocks may still be used.
    pub(crate) left: u128,
}

impl Chain {
    /// A second one that stands there.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            pending: WipingVec::from(self.pending.as_slice()),
            ..*self
        }
    }
}

/// C_EncryptInit, C_DecryptInit, C_SignInit, C_VerifyInit.
pub(crate) struct KeyOperation {
    pub(crate) operation: Operation,
    pub(crate) phase: Phase,
    pub(crate) key: Arc<Object>,
    pub(crate) meta: KeyMeta,
    pub(crate) mechanism: Mechanism,
    pub(crate) row: &'static Row,
    pub(crate) work: Work,
    /// A result that did not fit: an operation reaches the node once (DESIGN 5).
    pub(crate) kept: Option<WipingVec>,
    /// Private keys: the login under which it began.
    pub(crate) epoch: Option<u64>,
    /// CKA_ALWAYS_AUTHENTICATE: what C_Login(CKU_CONTEXT_SPECIFIC) brought, for one use of the key.
    pub(crate) grant: Option<WipingVec>,
}

/// C_VerifySignatureInit: the signature came first.
pub(crate) struct SignedOperation {
    pub(crate) running: KeyOperation,
    pub(crate) signature: Vec<u8>,
}

/// C_MessageEncryptInit, C_MessageDecryptInit: any number of messages with one key, one after the other.
pub(crate) struct MessageOperation {
    pub(crate) running: KeyOperation,
    /// Where a counter of IVs stands.
    pub(crate) counter: Option<IvCounter>,
    /// The message that comes in parts.
    pub(crate) open: Option<OpenMessage>,
}

/// IVs that count (CKG_GENERATE_COUNTER, CKG_GENERATE_COUNTER_XOR).
pub(crate) struct IvCounter {
    /// The first IV, or the one that the counter is XORed to.
    pub(crate) first: Vec<u8>,
    pub(crate) fixed_bits: usize,
    pub(crate) xor: bool,
    /// How many were made.
    pub(crate) used: u64,
}

/// A message that comes in parts.
pub(crate) struct OpenMessage {
    pub(crate) iv: Vec<u8>,
    pub(crate) aad: Vec<u8>,
    pub(crate) data: WipingVec,
}

/// C_FindObjectsInit: a snapshot.
pub(crate) struct Search {
    slot: Arc<Slot>,
    /// The login under which it began, if any.
    pub(crate) epoch: Option<u64>,
    /// Handles of session objects that matched.
    pub(crate) session_objects: VecDeque<Arc<Object>>,
    /// Token objects that matched.
    pub(crate) token_objects: VecDeque<Hit>,
}

impl Search {
    /// A search on a slot, which remembers what is destroyed until the search is dropped.
    pub(crate) fn new(slot: Arc<Slot>, epoch: Option<u64>) -> Self {
        slot.objects.search_begins();
        Self {
            slot,
            epoch,
            session_objects: VecDeque::new(),
            token_objects: VecDeque::new(),
        }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.slot.objects.search_ends();
    }
}

/// What became of a call within an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The operation is complete.
    Done,
    /// It goes on.
    Open,
    /// `CKR_BUFFER_TOO_SMALL`; it goes on.
    TooSmall,
}

impl From<Written> for Outcome {
    fn from(written: Written) -> Self {
        match written {
            Written::Whole => Self::Done,
            Written::Length => Self::Open,
            Written::TooSmall => Self::TooSmall,
        }
    }
}

impl Outcome {
    /// For Update: a result that was written leaves the operation open.
    pub(crate) fn of_update(written: Written) -> Self {
        match written {
            Written::Whole | Written::Length => Self::Open,
            Written::TooSmall => Self::TooSmall,
        }
    }
}

/// What the runner needs of an operation.
pub(crate) trait Running {
    /// Its phase.
    fn phase(&mut self) -> &mut Phase;
    /// Whether a result waits.
    fn keeps(&self) -> bool;
    /// Whether it may go on: its key is there, its login is the same.
    fn alive(&self, slot: &Slot) -> bool;
}

impl Running for DigestOperation {
    fn phase(&mut self) -> &mut Phase {
        &mut self.phase
    }

    fn keeps(&self) -> bool {
        false
    }

    fn alive(&self, slot: &Slot) -> bool {
        match &self.state {
            DigestState::Open(_) => true,
            DigestState::Sealed(sealed) => {
                sealed.epoch.is_none_or(|epoch| epoch == slot.epoch())
                    && !sealed.keys.iter().any(|key| key.is_destroyed())
            }
        }
    }
}

impl Running for KeyOperation {
    fn phase(&mut self) -> &mut Phase {
        &mut self.phase
    }

    fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    fn alive(&self, slot: &Slot) -> bool {
        !self.key.is_destroyed() && self.epoch.is_none_or(|epoch| epoch == slot.epoch())
    }
}

impl Running for SignedOperation {
    fn phase(&mut self) -> &mut Phase {
        self.running.phase()
    }

    fn keeps(&self) -> bool {
        false
    }

    fn alive(&self, slot: &Slot) -> bool {
        self.running.alive(slot)
    }
}

impl KeyOperation {
    /// Tells a result, or keeps it for the call that comes with room for it.
    pub(crate) fn give(&mut self, out: &OutBuf<'_>, result: WipingVec) -> Outcome {
        let written = out.put(&result);
        if written != Written::Whole {
            self.kept = Some(result);
        }
        written.into()
    }

    /// Serves a kept result.
    pub(crate) fn give_kept(&self, out: &OutBuf<'_>) -> Option<Outcome> {
        self.kept.as_ref().map(|kept| out.put(kept).into())
    }
}

/// Runs one call of an operation: takes it out, admits the call, and puts it back only if it goes on.
///
/// # Errors
/// `CKR_OPERATION_NOT_INITIALIZED`, `CKR_OPERATION_ACTIVE`, `CKR_BUFFER_TOO_SMALL`, and what `work` answers.
pub(crate) fn run<O: Running>(
    place: &mut Option<O>,
    slot: &Slot,
    step: Step,
    work: impl FnOnce(&mut O) -> Result<Outcome, Rv>,
) -> Result<(), Rv> {
    let mut operation = place
        .take()
        .filter(|operation| operation.alive(slot))
        .ok_or(Rv::OPERATION_NOT_INITIALIZED)?;
    operation.phase().admit(step)?;
    let outcome = work(&mut operation)?;
    if outcome == Outcome::Done {
        return Ok(());
    }
    let kept = operation.keeps();
    let phase = operation.phase();
    *phase = phase.after(step, kept);
    *place = Some(operation);
    if outcome == Outcome::TooSmall {
        Err(Rv::BUFFER_TOO_SMALL)
    } else {
        Ok(())
    }
}

/// Ends the operation when an argument was bad: any error but too small a buffer does (PKCS#11 3.2, 5.2).
///
/// # Errors
/// The argument's.
pub(crate) fn or_end<O, T>(place: &mut Option<O>, argument: Result<T, Rv>) -> Result<T, Rv> {
    if argument.is_err() {
        *place = None;
    }
    argument
}
