//! One table: which return values PKCS#11 lets each function give (chapter 5, the paragraphs "Return values").
//!
//! The module holds every answer against it, and so do the tests' harness and the fuzzers ([`Row::allows`]). What only the
//! daemon finds out late (a key destroyed, a flag cleared, a latch set meanwhile) is mapped to a code that the function may
//! return ([`late`]; DESIGN 5, "Thick client"). `docs/return-codes.md` is written from it.

mod table;

pub use table::TABLE;

use crate::ck::Rv;

/// The version of the interface that has a function first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// PKCS#11 2.40 or earlier.
    V2_40,
    /// PKCS#11 3.0.
    V3_0,
    /// PKCS#11 3.2.
    V3_2,
}

impl Version {
    /// `2.40`, `3.0`, `3.2`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2_40 => "2.40",
            Self::V3_0 => "3.0",
            Self::V3_2 => "3.2",
        }
    }
}

/// What a function works on, which decides the codes that it may always return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The library or its slots: 5.1.1 only.
    Library,
    /// A token: 5.1.1 and 5.1.3.
    Slot,
    /// A session: 5.1.1 to 5.1.3, without CKR_TOKEN_NOT_PRESENT (5.1.7).
    Session,
}

impl Reach {
    /// The codes of sections 5.1.1 to 5.1.3, and CKR_CRYPTOKI_NOT_INITIALIZED, which 5.1.6 gives to all but four functions.
    #[must_use]
    pub const fn always(self) -> &'static [Rv] {
        match self {
            Self::Library => &[
                Rv::OK,
                Rv::GENERAL_ERROR,
                Rv::HOST_MEMORY,
                Rv::FUNCTION_FAILED,
                Rv::OPERATION_NOT_VALIDATED,
                Rv::CRYPTOKI_NOT_INITIALIZED,
            ],
            Self::Slot => &[
                Rv::OK,
                Rv::GENERAL_ERROR,
                Rv::HOST_MEMORY,
                Rv::FUNCTION_FAILED,
                Rv::OPERATION_NOT_VALIDATED,
                Rv::CRYPTOKI_NOT_INITIALIZED,
                Rv::DEVICE_MEMORY,
                Rv::DEVICE_ERROR,
                Rv::TOKEN_NOT_PRESENT,
                Rv::DEVICE_REMOVED,
                Rv::TOKEN_NOT_INITIALIZED,
            ],
            Self::Session => &[
                Rv::OK,
                Rv::GENERAL_ERROR,
                Rv::HOST_MEMORY,
                Rv::FUNCTION_FAILED,
                Rv::OPERATION_NOT_VALIDATED,
                Rv::CRYPTOKI_NOT_INITIALIZED,
                Rv::SESSION_HANDLE_INVALID,
                Rv::DEVICE_REMOVED,
                Rv::SESSION_CLOSED,
                Rv::DEVICE_MEMORY,
                Rv::DEVICE_ERROR,
                Rv::TOKEN_NOT_INITIALIZED,
            ],
        }
    }
}

/// What one function may return.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The function's name.
    pub name: &'static str,
    /// Where it came in.
    pub since: Version,
    /// Its section in PKCS#11 3.2.
    pub section: &'static str,
    /// What it works on.
    pub reach: Reach,
    /// The codes of its paragraph "Return values", less [`Reach::always`].
    pub listed: &'static [Rv],
    /// Codes that are not in that paragraph, each with what allows it.
    pub beyond: &'static [(Rv, &'static str)],
}

impl Row {
    /// Every code that the specification lets the function return.
    pub fn codes(&self) -> impl Iterator<Item = Rv> {
        let beyond = self.beyond.iter().map(|(code, _)| code);
        let all = self.reach.always().iter().chain(self.listed).chain(beyond);
        all.copied().filter(|code| !self.never().contains(code))
    }

    /// Whether the specification lets the function return this code.
    #[must_use]
    pub fn allows(&self, rv: Rv) -> bool {
        self.codes().any(|code| code == rv)
    }

    /// The code itself if the function may return it, else `CKR_FUNCTION_FAILED`, which every function may (5.1.1).
    #[must_use]
    pub fn answer(&self, rv: Rv) -> Rv {
        if self.allows(rv) { rv } else { Rv::FUNCTION_FAILED }
    }

    /// Of [`Reach::always`], what this function cannot return: 5.1.1 takes CKR_OK from the legacy functions, 5.1.6
    /// CKR_CRYPTOKI_NOT_INITIALIZED from those that work before C_Initialize.
    #[must_use]
    pub fn never(&self) -> &'static [Rv] {
        match self.name {
            "C_GetFunctionStatus" | "C_CancelFunction" => &[Rv::OK],
            "C_Initialize" | "C_GetFunctionList" | "C_GetInterfaceList" | "C_GetInterface" => {
                &[Rv::CRYPTOKI_NOT_INITIALIZED]
            }
            _ => &[],
        }
    }
}

/// The row of a function, found when the program is compiled.
///
/// # Panics
/// If there is none: in a constant, that is a build that fails.
#[must_use]
pub const fn row(name: &str) -> &'static Row {
    let mut index = 0;
    while index < TABLE.len() {
        if same(TABLE[index].name.as_bytes(), name.as_bytes()) {
            return &TABLE[index];
        }
        index += 1;
    }
    panic!("no function of PKCS#11 3.2")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// The functions whose late findings are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// C_Sign, C_SignUpdate, C_SignFinal, C_Verify*, C_Encrypt*, C_Decrypt*: the key was checked at Init.
    Use,
    /// C_DigestUpdate, C_DigestFinal, after C_DigestKey: a key that the digest absorbed was checked there.
    Digest,
    /// Functions that name the object themselves.
    Object,
    /// C_WrapKey.
    Wrap,
    /// C_UnwrapKey.
    Unwrap,
}

/// Maps a code that the daemon answered to one that the function may return.
#[must_use]
pub fn late(function: Function, rv: Rv) -> Rv {
    match (function, rv) {
        (
            Function::Use,
            Rv::KEY_HANDLE_INVALID
            | Rv::OBJECT_HANDLE_INVALID
            | Rv::KEY_FUNCTION_NOT_PERMITTED
            | Rv::KEY_TYPE_INCONSISTENT
            | Rv::KEY_SIZE_RANGE
            | Rv::MECHANISM_INVALID
            | Rv::MECHANISM_PARAM_INVALID,
        ) => Rv::FUNCTION_FAILED,
        (
            Function::Digest,
            Rv::SAVED_STATE_INVALID
            | Rv::KEY_HANDLE_INVALID
            | Rv::KEY_INDIGESTIBLE
            | Rv::MECHANISM_INVALID
            | Rv::USER_NOT_LOGGED_IN,
        ) => Rv::FUNCTION_FAILED,
        (Function::Wrap, Rv::KEY_FUNCTION_NOT_PERMITTED) => Rv::KEY_FUNCTION_NOT_PERMITTED,
        _ => rv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_function_of_three_versions_has_one_row_in_the_order_of_the_chapter() {
        let names: BTreeSet<&str> = TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), TABLE.len(), "a function twice");
        let of = |since| TABLE.iter().filter(|row| row.since <= since).count();
        // The lists of the published headers pkcs11f.h.
        assert_eq!([Version::V2_40, Version::V3_0, Version::V3_2].map(of), [68, 92, 104]);
        let numbers = |row: &Row| -> Vec<u32> { row.section.split('.').map(|part| part.parse().unwrap()).collect() };
        assert!(TABLE.windows(2).all(|pair| numbers(&pair[0]) < numbers(&pair[1])));
    }

    #[test]
    fn no_code_stands_twice_in_a_row_and_each_has_a_name() {
        for row in TABLE {
            let beyond = row.beyond.iter().map(|(code, _)| code);
            let codes: Vec<&Rv> = row.reach.always().iter().chain(row.listed).chain(beyond).collect();
            let different: BTreeSet<&Rv> = codes.iter().copied().collect();
            assert_eq!(codes.len(), different.len(), "{}", row.name);
            assert!(codes.iter().all(|code| code.name().is_some()), "{}", row.name);
        }
    }

    #[test]
    fn what_a_function_may_not_return_becomes_a_failed_function() {
        let sign = row("C_Sign");
        assert_eq!(sign.section, "5.13.2");
        assert_eq!(sign.answer(Rv::DATA_LEN_RANGE), Rv::DATA_LEN_RANGE);
        assert_eq!(sign.answer(Rv::KEY_HANDLE_INVALID), Rv::FUNCTION_FAILED);
        assert!(!row("C_CancelFunction").allows(Rv::OK));
        assert!(!row("C_GetInterface").allows(Rv::CRYPTOKI_NOT_INITIALIZED));
        assert!(!row("C_CloseSession").allows(Rv::TOKEN_NOT_PRESENT));
        for row in TABLE {
            assert!(
                row.allows(row.answer(Rv::MUTEX_BAD)),
                "{}: a code that no function may return",
                row.name
            );
        }
    }

    #[test]
    fn a_key_destroyed_between_init_and_sign_is_a_failed_function() {
        assert_eq!(late(Function::Use, Rv::KEY_HANDLE_INVALID), Rv::FUNCTION_FAILED);
        assert_eq!(late(Function::Use, Rv::USER_NOT_LOGGED_IN), Rv::USER_NOT_LOGGED_IN);
        assert_eq!(
            late(Function::Object, Rv::OBJECT_HANDLE_INVALID),
            Rv::OBJECT_HANDLE_INVALID
        );
    }
}
