//! C_EncryptInit, C_Encrypt, C_EncryptUpdate, C_EncryptFinal (PKCS#11 3.2, 5.8): [`crypt`] in the one direction.

use super::crypt;
use super::family::{Place, family};
use crate::abi::pointers::{RawInput, RawOut};

/// Where it runs.
pub(crate) const PLACE: Place = |operations| &mut operations.encrypt;

family! { PLACE;
    /// C_EncryptInit.
    init = Encrypt;
    /// C_Encrypt.
    single(Single, data: RawInput<'_>, out: RawOut<'_>) => crypt::whole;
    /// C_EncryptUpdate.
    update(Update, data: RawInput<'_>, out: RawOut<'_>) => crypt::part;
    /// C_EncryptFinal.
    finish(Final, out: RawOut<'_>) => crypt::last;
}
