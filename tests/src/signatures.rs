//! The parameters of the functions of `CK_FUNCTION_LIST`, one letter each, so that a loop can call them all wrongly.

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A slot id.
    Slot,
    /// A session handle.
    Session,
    /// An object handle.
    Object,
    /// A flag word, user type or mechanism type.
    Number,
    /// A `CK_MECHANISM`.
    Mechanism,
    /// An array of `CK_ATTRIBUTE`, its length follows.
    Template,
    /// Memory whose length follows as a number.
    Memory,
    /// The length of the template or memory before it.
    Length,
    /// Memory for output whose length follows by reference.
    Output,
    /// Where the length of the output before it stands.
    LengthPlace,
    /// A place for one word or one structure.
    Place,
    /// An application's own pointer, or a callback: may be NULL.
    Opaque,
}

/// Functions and their parameters; `C_Initialize`, `C_Finalize` and `C_GetFunctionList` have tests of their own.
pub const SIGNATURES: &[(&str, &str)] = &[
    ("C_GetInfo", "x"),
    ("C_GetSlotList", "fbp"),
    ("C_GetSlotInfo", "sx"),
    ("C_GetTokenInfo", "sx"),
    ("C_GetMechanismList", "sbp"),
    ("C_GetMechanismInfo", "sfx"),
    ("C_InitToken", "silx"),
    ("C_InitPIN", "hil"),
    ("C_SetPIN", "hilil"),
    ("C_OpenSession", "sfccx"),
    ("C_CloseSession", "h"),
    ("C_CloseAllSessions", "s"),
    ("C_GetSessionInfo", "hx"),
    ("C_GetOperationState", "hbp"),
    ("C_SetOperationState", "hiloo"),
    ("C_Login", "hfil"),
    ("C_Logout", "h"),
    ("C_CreateObject", "htlx"),
    ("C_CopyObject", "hotlx"),
    ("C_DestroyObject", "ho"),
    ("C_GetObjectSize", "hox"),
    ("C_GetAttributeValue", "hotl"),
    ("C_SetAttributeValue", "hotl"),
    ("C_FindObjectsInit", "htl"),
    ("C_FindObjects", "hilx"),
    ("C_FindObjectsFinal", "h"),
    ("C_EncryptInit", "hmo"),
    ("C_Encrypt", "hilbp"),
    ("C_EncryptUpdate", "hilbp"),
    ("C_EncryptFinal", "hbp"),
    ("C_DecryptInit", "hmo"),
    ("C_Decrypt", "hilbp"),
    ("C_DecryptUpdate", "hilbp"),
    ("C_DecryptFinal", "hbp"),
    ("C_DigestInit", "hm"),
    ("C_Digest", "hilbp"),
    ("C_DigestUpdate", "hil"),
    ("C_DigestKey", "ho"),
    ("C_DigestFinal", "hbp"),
    ("C_SignInit", "hmo"),
    ("C_Sign", "hilbp"),
    ("C_SignUpdate", "hil"),
    ("C_SignFinal", "hbp"),
    ("C_SignRecoverInit", "hmo"),
    ("C_SignRecover", "hilbp"),
    ("C_VerifyInit", "hmo"),
    ("C_Verify", "hilil"),
    ("C_VerifyUpdate", "hil"),
    ("C_VerifyFinal", "hil"),
    ("C_VerifyRecoverInit", "hmo"),
    ("C_VerifyRecover", "hilbp"),
    ("C_DigestEncryptUpdate", "hilbp"),
    ("C_DecryptDigestUpdate", "hilbp"),
    ("C_SignEncryptUpdate", "hilbp"),
    ("C_DecryptVerifyUpdate", "hilbp"),
    ("C_GenerateKey", "hmtlx"),
    ("C_GenerateKeyPair", "hmtltlxx"),
    ("C_WrapKey", "hmoobp"),
    ("C_UnwrapKey", "hmoiltlx"),
    ("C_DeriveKey", "hmotlx"),
    ("C_SeedRandom", "hil"),
    ("C_GenerateRandom", "hil"),
    ("C_GetFunctionStatus", "h"),
    ("C_CancelFunction", "h"),
    ("C_WaitForSlotEvent", "fxc"),
];

/// Functions that would lock, re-key or empty the token, or end what the other calls need.
pub const DESTRUCTIVE: &[&str] = &[
    "C_InitToken",
    "C_InitPIN",
    "C_SetPIN",
    "C_Login",
    "C_Logout",
    "C_CloseSession",
    "C_CloseAllSessions",
];

/// The parameters of a row.
pub fn parameters(letters: &str) -> Vec<Parameter> {
    letters
        .chars()
        .map(|letter| match letter {
            's' => Parameter::Slot,
            'h' => Parameter::Session,
            'o' => Parameter::Object,
            'm' => Parameter::Mechanism,
            't' => Parameter::Template,
            'i' => Parameter::Memory,
            'l' => Parameter::Length,
            'b' => Parameter::Output,
            'p' => Parameter::LengthPlace,
            'x' => Parameter::Place,
            'c' => Parameter::Opaque,
            _ => Parameter::Number,
        })
        .collect()
}
