//! A token of a module, logged in: what source and destination have in common.

use crate::Error;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Failure, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::path::Path;

/// Which token of a module.
#[derive(Clone, Copy, Debug)]
pub enum TokenName<'a> {
    /// The one of this label or serial number.
    Named(&'a str),
    /// The only one that is initialised.
    Only,
}

/// A token with its user logged in.
pub struct Token {
    pub(crate) session: Session,
    label: String,
    slot: Slot,
    // Last: it unloads the library.
    library: Pkcs11,
}

impl Token {
    /// Loads a module and logs the user in, on a session that may write if `write`.
    ///
    /// # Errors
    /// No such library or token, or the PIN is wrong; the text names the remedy.
    pub fn open(module: &Path, name: TokenName<'_>, pin: &str, write: bool) -> Result<Self, Error> {
        let say = |what: String| Error::Token(format!("{}: {what}", module.display()));
        let library = Pkcs11::new(module).map_err(|error| say(words(&error)))?;
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Failure::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(say(words(&error))),
        }
        let (slot, label) = choose(&library, name).map_err(say)?;
        let session = match write {
            true => library.open_rw_session(slot),
            false => library.open_ro_session(slot),
        };
        let session = session.map_err(|error| say(words(&error)))?;
        let pin = AuthPin::new(pin.to_owned().into());
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(Failure::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(Error::Secret(format!("token {label:?}: {}", words(&error)))),
        }
        Ok(Self {
            session,
            label,
            slot,
            library,
        })
    }

    /// The token's label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether the token has a mechanism; one that does not tell has it.
    pub(crate) fn computes(&self, mechanism: MechanismType) -> bool {
        let list = self.library.get_mechanism_list(self.slot);
        list.map_or(true, |list| list.contains(&mechanism))
    }
}

/// A token that may be meant.
#[derive(Clone)]
struct Candidate {
    slot: Slot,
    label: String,
    serial: String,
}

fn choose(library: &Pkcs11, name: TokenName<'_>) -> Result<(Slot, String), String> {
    let slots = library.get_slots_with_token().map_err(|error| words(&error))?;
    let mut found = Vec::new();
    for slot in slots {
        let token = library.get_token_info(slot).map_err(|error| words(&error))?;
        if token.token_initialized() {
            let (label, serial) = (token.label().trim_end(), token.serial_number().trim_end());
            found.push(Candidate {
                slot,
                label: label.to_owned(),
                serial: serial.to_owned(),
            });
        }
    }
    pick(&found, name).map(|one| (one.slot, one.label))
}

fn pick(found: &[Candidate], name: TokenName<'_>) -> Result<Candidate, String> {
    let is_meant = |one: &&Candidate| match name {
        TokenName::Named(name) => one.label == name || one.serial == name,
        TokenName::Only => true,
    };
    let all = |of: &[&Candidate]| {
        let text = |one: &&Candidate| format!("{:?} (serial number {})", one.label, one.serial);
        of.iter().map(text).collect::<Vec<_>>().join(", ")
    };
    let meant: Vec<&Candidate> = found.iter().filter(is_meant).collect();
    match (meant.as_slice(), name) {
        ([one], _) => Ok((*one).clone()),
        ([], TokenName::Named(name)) => {
            let there = found.iter().collect::<Vec<_>>();
            Err(format!("no token is called {name:?}; there are: {}", all(&there)))
        }
        ([], TokenName::Only) => Err("no token is initialised".to_owned()),
        (several, _) => Err(format!(
            "several tokens; name one by its serial number: {}",
            all(several)
        )),
    }
}

/// An error of a module as people read it: function and code as the specification names them.
pub(crate) fn words(error: &Failure) -> String {
    match error {
        Failure::Pkcs11(code, function) => format!("C_{function:?} returned {}", code_name(*code)),
        other => other.to_string(),
    }
}

/// `CKR_PIN_INCORRECT` of `PinIncorrect`.
fn code_name(code: RvError) -> String {
    let text = format!("{code:?}");
    let mut name = "CKR".to_owned();
    for letter in text.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: u64, label: &str, serial: &str) -> Candidate {
        Candidate {
            slot: Slot::try_from(number).expect("a slot"),
            label: label.to_owned(),
            serial: serial.to_owned(),
        }
    }

    #[test]
    fn a_token_is_found_by_label_and_by_serial_number() {
        let found = [
            candidate(1, "web", "111"),
            candidate(2, "shop", "222"),
            candidate(3, "web", "333"),
        ];
        let slot = |name| pick(&found, name).map(|one| one.serial);
        assert_eq!(slot(TokenName::Named("shop")).as_deref(), Ok("222"));
        assert_eq!(slot(TokenName::Named("333")).as_deref(), Ok("333"));
        assert_eq!(
            pick(&found[..1], TokenName::Only).map(|one| one.label).as_deref(),
            Ok("web")
        );
        let several = slot(TokenName::Named("web")).expect_err("two of them");
        assert!(
            several.contains("111") && several.contains("333") && !several.contains("222"),
            "{several}"
        );
        let none = slot(TokenName::Named("old")).expect_err("no such token");
        assert!(none.contains("\"old\"") && none.contains("\"shop\""), "{none}");
    }

    #[test]
    fn codes_are_named_as_the_specification_names_them() {
        assert_eq!(code_name(RvError::PinIncorrect), "CKR_PIN_INCORRECT");
    }
}
