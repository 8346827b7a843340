//! The function lists and interfaces: 2.40, 3.0 and 3.2, every pointer filled. Interface flags are 0: with
//! CKF_INTERFACE_FORK_SAFE a child would have to inherit sessions, which only `fork = "inherit"` could promise.

use super::entry::bare;
use super::pointers::{RawList, RawSlot};
use super::{v2, v3};
use cryptoki_sys::{
    CK_FLAGS, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2, CK_INTERFACE, CK_RV, CK_ULONG, CK_UTF8CHAR,
    CK_VERSION, CKF_INTERFACE_FORK_SAFE,
};
use hsmd_proto::ck::Rv;
use hsmd_proto::returns::row;
use std::ffi::CStr;

/// The name of the standard interface (PKCS#11 3.0, 5.4.4).
const NAME: &CStr = c"PKCS 11";

/// Lists differ in their tails only: what all have, what 3.0 added, what 3.2 added.
macro_rules! list {
    ($type:ident, $version:expr $(, $part:ident)*) => {
        list!(@build $type, $version, {} $(, $part)*)
    };
    (@build $type:ident, $version:expr, {$($done:tt)*}, base $(, $part:ident)*) => {
        list!(@build $type, $version, {
            $($done)*
            C_Initialize: Some(v2::C_Initialize),
            C_Finalize: Some(v2::C_Finalize),
            C_GetInfo: Some(v2::C_GetInfo),
            C_GetFunctionList: Some(C_GetFunctionList),
            C_GetSlotList: Some(v2::C_GetSlotList),
            C_GetSlotInfo: Some(v2::C_GetSlotInfo),
            C_GetTokenInfo: Some(v2::C_GetTokenInfo),
            C_GetMechanismList: Some(v2::C_GetMechanismList),
            C_GetMechanismInfo: Some(v2::C_GetMechanismInfo),
            C_InitToken: Some(v2::C_InitToken),
            C_InitPIN: Some(v2::C_InitPIN),
            C_SetPIN: Some(v2::C_SetPIN),
            C_OpenSession: Some(v2::C_OpenSession),
            C_CloseSession: Some(v2::C_CloseSession),
            C_CloseAllSessions: Some(v2::C_CloseAllSessions),
            C_GetSessionInfo: Some(v2::C_GetSessionInfo),
            C_GetOperationState: Some(v2::C_GetOperationState),
            C_SetOperationState: Some(v2::C_SetOperationState),
            C_Login: Some(v2::C_Login),
            C_Logout: Some(v2::C_Logout),
            C_CreateObject: Some(v2::C_CreateObject),
            C_CopyObject: Some(v2::C_CopyObject),
            C_DestroyObject: Some(v2::C_DestroyObject),
            C_GetObjectSize: Some(v2::C_GetObjectSize),
            C_GetAttributeValue: Some(v2::C_GetAttributeValue),
            C_SetAttributeValue: Some(v2::C_SetAttributeValue),
            C_FindObjectsInit: Some(v2::C_FindObjectsInit),
            C_FindObjects: Some(v2::C_FindObjects),
            C_FindObjectsFinal: Some(v2::C_FindObjectsFinal),
            C_EncryptInit: Some(v2::C_EncryptInit),
            C_Encrypt: Some(v2::C_Encrypt),
            C_EncryptUpdate: Some(v2::C_EncryptUpdate),
            C_EncryptFinal: Some(v2::C_EncryptFinal),
            C_DecryptInit: Some(v2::C_DecryptInit),
            C_Decrypt: Some(v2::C_Decrypt),
            C_DecryptUpdate: Some(v2::C_DecryptUpdate),
            C_DecryptFinal: Some(v2::C_DecryptFinal),
            C_DigestInit: Some(v2::C_DigestInit),
            C_Digest: Some(v2::C_Digest),
            C_DigestUpdate: Some(v2::C_DigestUpdate),
            C_DigestKey: Some(v2::C_DigestKey),
            C_DigestFinal: Some(v2::C_DigestFinal),
            C_SignInit: Some(v2::C_SignInit),
            C_Sign: Some(v2::C_Sign),
            C_SignUpdate: Some(v2::C_SignUpdate),
            C_SignFinal: Some(v2::C_SignFinal),
            C_SignRecoverInit: Some(v2::C_SignRecoverInit),
            C_SignRecover: Some(v2::C_SignRecover),
            C_VerifyInit: Some(v2::C_VerifyInit),
            C_Verify: Some(v2::C_Verify),
            C_VerifyUpdate: Some(v2::C_VerifyUpdate),
            C_VerifyFinal: Some(v2::C_VerifyFinal),
            C_VerifyRecoverInit: Some(v2::C_VerifyRecoverInit),
            C_VerifyRecover: Some(v2::C_VerifyRecover),
            C_DigestEncryptUpdate: Some(v2::C_DigestEncryptUpdate),
            C_DecryptDigestUpdate: Some(v2::C_DecryptDigestUpdate),
            C_SignEncryptUpdate: Some(v2::C_SignEncryptUpdate),
            C_DecryptVerifyUpdate: Some(v2::C_DecryptVerifyUpdate),
            C_GenerateKey: Some(v2::C_GenerateKey),
            C_GenerateKeyPair: Some(v2::C_GenerateKeyPair),
            C_WrapKey: Some(v2::C_WrapKey),
            C_UnwrapKey: Some(v2::C_UnwrapKey),
            C_DeriveKey: Some(v2::C_DeriveKey),
            C_SeedRandom: Some(v2::C_SeedRandom),
            C_GenerateRandom: Some(v2::C_GenerateRandom),
            C_GetFunctionStatus: Some(v2::C_GetFunctionStatus),
            C_CancelFunction: Some(v2::C_CancelFunction),
            C_WaitForSlotEvent: Some(v2::C_WaitForSlotEvent),
        } $(, $part)*)
    };
    (@build $type:ident, $version:expr, {$($done:tt)*}, added_3_0 $(, $part:ident)*) => {
        list!(@build $type, $version, {
            $($done)*
            C_GetInterfaceList: Some(C_GetInterfaceList),
            C_GetInterface: Some(C_GetInterface),
            C_LoginUser: Some(v3::C_LoginUser),
            C_SessionCancel: Some(v3::C_SessionCancel),
            C_MessageEncryptInit: Some(v3::C_MessageEncryptInit),
            C_EncryptMessage: Some(v3::C_EncryptMessage),
            C_EncryptMessageBegin: Some(v3::C_EncryptMessageBegin),
            C_EncryptMessageNext: Some(v3::C_EncryptMessageNext),
            C_MessageEncryptFinal: Some(v3::C_MessageEncryptFinal),
            C_MessageDecryptInit: Some(v3::C_MessageDecryptInit),
            C_DecryptMessage: Some(v3::C_DecryptMessage),
            C_DecryptMessageBegin: Some(v3::C_DecryptMessageBegin),
            C_DecryptMessageNext: Some(v3::C_DecryptMessageNext),
            C_MessageDecryptFinal: Some(v3::C_MessageDecryptFinal),
            C_MessageSignInit: Some(v3::C_MessageSignInit),
            C_SignMessage: Some(v3::C_SignMessage),
            C_SignMessageBegin: Some(v3::C_SignMessageBegin),
            C_SignMessageNext: Some(v3::C_SignMessageNext),
            C_MessageSignFinal: Some(v3::C_MessageSignFinal),
            C_MessageVerifyInit: Some(v3::C_MessageVerifyInit),
            C_VerifyMessage: Some(v3::C_VerifyMessage),
            C_VerifyMessageBegin: Some(v3::C_VerifyMessageBegin),
            C_VerifyMessageNext: Some(v3::C_VerifyMessageNext),
            C_MessageVerifyFinal: Some(v3::C_MessageVerifyFinal),
        } $(, $part)*)
    };
    (@build $type:ident, $version:expr, {$($done:tt)*}, added_3_2 $(, $part:ident)*) => {
        list!(@build $type, $version, {
            $($done)*
            C_EncapsulateKey: Some(v3::C_EncapsulateKey),
            C_DecapsulateKey: Some(v3::C_DecapsulateKey),
            C_VerifySignatureInit: Some(v3::C_VerifySignatureInit),
            C_VerifySignature: Some(v3::C_VerifySignature),
            C_VerifySignatureUpdate: Some(v3::C_VerifySignatureUpdate),
            C_VerifySignatureFinal: Some(v3::C_VerifySignatureFinal),
            C_GetSessionValidationFlags: Some(v3::C_GetSessionValidationFlags),
            C_AsyncComplete: Some(v3::C_AsyncComplete),
            C_AsyncGetID: Some(v3::C_AsyncGetID),
            C_AsyncJoin: Some(v3::C_AsyncJoin),
            C_WrapKeyAuthenticated: Some(v3::C_WrapKeyAuthenticated),
            C_UnwrapKeyAuthenticated: Some(v3::C_UnwrapKeyAuthenticated),
        } $(, $part)*)
    };
    (@build $type:ident, $version:expr, {$($done:tt)*}) => {
        $type { version: CK_VERSION { major: $version.0, minor: $version.1 }, $($done)* }
    };
}

static LIST_2_40: CK_FUNCTION_LIST = list!(CK_FUNCTION_LIST, (2, 40), base);
static LIST_3_0: CK_FUNCTION_LIST_3_0 = list!(CK_FUNCTION_LIST_3_0, (3, 0), base, added_3_0);
static LIST_3_2: CK_FUNCTION_LIST_3_2 = list!(CK_FUNCTION_LIST_3_2, (3, 2), base, added_3_0, added_3_2);

/// CK_INTERFACE holds raw pointers; these point to statics that nobody writes.
struct Interfaces([CK_INTERFACE; 3]);

// SAFETY: the pointers are to immutable statics, and the structures themselves are never written by the module.
unsafe impl Sync for Interfaces {}

const fn interface<T>(list: &'static T) -> CK_INTERFACE {
    CK_INTERFACE {
        pInterfaceName: NAME.as_ptr().cast_mut().cast(),
        pFunctionList: std::ptr::from_ref(list).cast_mut().cast(),
        flags: 0,
    }
}

/// Newest first: the first one that fits is the answer, and a caller that wants any gets the newest.
static INTERFACES: Interfaces = Interfaces([interface(&LIST_3_2), interface(&LIST_3_0), interface(&LIST_2_40)]);
const VERSIONS: [(u8, u8); 3] = [(3, 2), (3, 0), (2, 40)];

/// C_GetFunctionList: the 2.40 list, also before C_Initialize.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the specification's name")]
pub(super) unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    bare(const { row("C_GetFunctionList") }, || {
        // SAFETY: the caller's promise: NULL or room for a pointer.
        unsafe { RawSlot::new(list) }.set((&raw const LIST_2_40).cast_mut())
    })
}

/// C_GetInterfaceList (PKCS#11 3.0, 5.4.5).
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the specification's name")]
pub(super) unsafe extern "C" fn C_GetInterfaceList(list: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
    bare(const { row("C_GetInterfaceList") }, || {
        // SAFETY: the caller's promise: room for `*count` interfaces.
        unsafe { RawList::new(list, count) }.put(&INTERFACES.0)
    })
}

/// C_GetInterface (PKCS#11 3.0, 5.4.6).
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the specification's name")]
pub(super) unsafe extern "C" fn C_GetInterface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    interface: *mut *mut CK_INTERFACE,
    flags: CK_FLAGS,
) -> CK_RV {
    bare(const { row("C_GetInterface") }, || {
        // SAFETY: the caller's promise: room for a pointer.
        let place = unsafe { RawSlot::new(interface) };
        place.check()?;
        // SAFETY: the caller's promise: NULL or a NUL-terminated name.
        if !name.is_null() && unsafe { CStr::from_ptr(name.cast()) } != NAME {
            return Err(Rv::ARGUMENTS_BAD);
        }
        if flags & CKF_INTERFACE_FORK_SAFE != 0 {
            return Err(Rv::FUNCTION_FAILED);
        }
        let wanted = if version.is_null() {
            None
        } else {
            // SAFETY: not NULL; the caller's promise: a CK_VERSION.
            let version = unsafe { version.read_unaligned() };
            Some((version.major, version.minor))
        };
        let found = VERSIONS
            .iter()
            .position(|have| wanted.is_none_or(|wanted| wanted == *have));
        let found = found.filter(|_| flags == 0).ok_or(Rv::ARGUMENTS_BAD)?;
        place.set((&raw const INTERFACES.0[found]).cast_mut())
    })
}
