//! The functions that PKCS#11 3.0 and 3.2 added, with their parameters in the letters of `signatures.rs` and their places in
//! `CK_FUNCTION_LIST_3_2`.

use std::mem::{offset_of, size_of};

use crate::module::Module;
use cryptoki_sys::CK_FUNCTION_LIST_3_2;

/// A function, its parameters, and its offset in the list in bytes.
type Row = (&'static str, &'static str, usize);

macro_rules! rows {
    ($($name:ident $letters:literal,)*) => {
        &[$((stringify!($name), $letters, offset_of!(CK_FUNCTION_LIST_3_2, $name))),*]
    };
}

/// All of them.
pub const SIGNATURES_3: &[Row] = rows! {
    C_GetInterfaceList "bp",
    C_GetInterface "iixf",
    C_LoginUser "hfilil",
    C_SessionCancel "hf",
    C_MessageEncryptInit "hmo",
    C_EncryptMessage "hilililbp",
    C_EncryptMessageBegin "hilil",
    C_EncryptMessageNext "hililbpf",
    C_MessageEncryptFinal "h",
    C_MessageDecryptInit "hmo",
    C_DecryptMessage "hilililbp",
    C_DecryptMessageBegin "hilil",
    C_DecryptMessageNext "hililbpf",
    C_MessageDecryptFinal "h",
    C_MessageSignInit "hmo",
    C_SignMessage "hililbp",
    C_SignMessageBegin "hil",
    C_SignMessageNext "hililbp",
    C_MessageSignFinal "h",
    C_MessageVerifyInit "hmo",
    C_VerifyMessage "hililil",
    C_VerifyMessageBegin "hil",
    C_VerifyMessageNext "hililil",
    C_MessageVerifyFinal "h",
    C_EncapsulateKey "hmotlbpx",
    C_DecapsulateKey "hmotlilx",
    C_VerifySignatureInit "hmoil",
    C_VerifySignature "hil",
    C_VerifySignatureUpdate "hil",
    C_VerifySignatureFinal "h",
    C_GetSessionValidationFlags "hfx",
    C_AsyncComplete "hix",
    C_AsyncGetID "hix",
    C_AsyncJoin "hifil",
    C_WrapKeyAuthenticated "hmooilbp",
    C_UnwrapKeyAuthenticated "hmoiltlilx",
};

/// The pointers of the module's 3.2 list, in the order of [`SIGNATURES_3`].
pub fn pointers(module: &Module) -> Vec<usize> {
    let list = module.library.interface([3, 2], size_of::<CK_FUNCTION_LIST_3_2>());
    let list = list.expect("the interface of version 3.2");
    let word = size_of::<usize>();
    // The first word of the structure is its version, which the list leaves out.
    SIGNATURES_3
        .iter()
        .map(|(_, _, offset)| list[offset / word - 1])
        .collect()
}
