//! C_DecryptInit, C_Decrypt, C_DecryptUpdate, C_DecryptFinal (PKCS#11 3.2, 5.10): [`crypt`] in the other direction.

use super::crypt;
use super::family::{Place, family};
use crate::abi::pointers::{RawInput, RawOut};

/// Where it runs.
pub(crate) const PLACE: Place = |operations| &mut operations.decrypt;

family! { PLACE;
    /// C_DecryptInit.
    init = Decrypt;
    /// C_Decrypt.
    single(Single, data: RawInput<'_>, out: RawOut<'_>) => crypt::whole;
    /// C_DecryptUpdate.
    update(Update, data: RawInput<'_>, out: RawOut<'_>) => crypt::part;
    /// C_DecryptFinal.
    finish(Final, out: RawOut<'_>) => crypt::last;
}
