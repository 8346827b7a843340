//! The process that loads a module: it says what it does before it does it, so that a crash or a hang has a name. What it
//! says is one JSON record a line, read by `module.rs`.

use super::super::exit::Exit;
use super::super::output::line;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::Error;
use cryptoki::slot::Slot;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What the process says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// It is about to do this.
    Begins(String),
    /// The library answered to C_GetInfo.
    Library {
        description: String,
        version: String,
        cryptoki: String,
    },
    /// A slot, without what is in it.
    Empty { slot: u64 },
    /// A slot and its token.
    Token(Token),
    /// So many slots there are.
    Slots(usize),
    /// A step failed.
    Failed { step: String, why: String },
    /// All steps were made.
    Done,
}

/// A token as an application sees it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Token {
    pub(super) slot: u64,
    pub(super) label: String,
    pub(super) serial: String,
    pub(super) initialised: bool,
    pub(super) user_pin: bool,
    pub(super) user_pin_locked: bool,
    pub(super) so_pin_locked: bool,
    pub(super) mechanisms: usize,
}

fn say(word: &Word) {
    // The reader is gone: nobody is left to tell.
    let _ = line(word);
}

/// Loads the module and walks through it.
pub(super) fn run(path: &Path) -> Exit {
    if let Err((step, error)) = walk(path) {
        say(&Word::Failed {
            step: step.to_owned(),
            why: words(&error),
        });
    }
    say(&Word::Done);
    Exit::Ok
}

fn words(error: &Error) -> String {
    match error {
        // The linker's sentence is in the source, the wrapper's says nothing.
        Error::LibraryLoading(inner) => {
            let mut text = inner.to_string();
            let mut source = std::error::Error::source(inner);
            while let Some(cause) = source {
                text = cause.to_string();
                source = cause.source();
            }
            text
        }
        Error::Pkcs11(code, _) => format!("{code:?}"),
        other => other.to_string(),
    }
}

type Step<T> = Result<T, (&'static str, Error)>;

fn step<T>(name: &'static str, act: impl FnOnce() -> Result<T, Error>) -> Step<T> {
    say(&Word::Begins(name.to_owned()));
    act().map_err(|error| (name, error))
}

fn walk(path: &Path) -> Step<()> {
    let module = step("load", || Pkcs11::new(path))?;
    step("C_Initialize", || {
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
    })?;
    let info = step("C_GetInfo", || module.get_library_info())?;
    say(&Word::Library {
        description: info.library_description().trim_end().to_owned(),
        version: info.library_version().to_string(),
        cryptoki: info.cryptoki_version().to_string(),
    });
    let slots = step("C_GetSlotList", || module.get_all_slots())?;
    say(&Word::Slots(slots.len()));
    for slot in slots {
        say(&token(&module, slot)?);
    }
    step("C_Finalize", || module.finalize())
}

fn token(module: &Pkcs11, slot: Slot) -> Step<Word> {
    let info = step("C_GetSlotInfo", || module.get_slot_info(slot))?;
    if !info.token_present() {
        return Ok(Word::Empty { slot: slot.id() });
    }
    let token = step("C_GetTokenInfo", || module.get_token_info(slot))?;
    let mechanisms = step("C_GetMechanismList", || module.get_mechanism_list(slot))?;
    Ok(Word::Token(Token {
        slot: slot.id(),
        label: token.label().trim_end().to_owned(),
        serial: token.serial_number().trim_end().to_owned(),
        initialised: token.token_initialized(),
        user_pin: token.user_pin_initialized(),
        user_pin_locked: token.user_pin_locked(),
        so_pin_locked: token.so_pin_locked(),
        mechanisms: mechanisms.len(),
    }))
}
