//! Functions of the lists that this version does not have: messages of 3.0, encapsulation, detached verification and
//! asynchronous calls of 3.2. Each pointer is there and says so.

use super::entry::entries;
use cryptoki_sys::{
    CK_ASYNC_DATA, CK_ATTRIBUTE, CK_BYTE, CK_FLAGS, CK_MECHANISM, CK_OBJECT_HANDLE, CK_SESSION_HANDLE,
    CK_SESSION_VALIDATION_FLAGS_TYPE, CK_ULONG, CK_UTF8CHAR,
};
use hsmd_proto::ck::Rv;
use std::ffi::c_void;

entries! {
    table fn C_MessageEncryptInit(
        _a: CK_SESSION_HANDLE, _b: *mut CK_MECHANISM, _c: CK_OBJECT_HANDLE
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_EncryptMessage(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG, _f: *mut CK_BYTE,
        _g: CK_ULONG, _h: *mut CK_BYTE, _i: *mut CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_EncryptMessageBegin(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_EncryptMessageNext(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG, _f: *mut CK_BYTE,
        _g: *mut CK_ULONG, _h: CK_FLAGS
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_MessageEncryptFinal(_a: CK_SESSION_HANDLE) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_MessageDecryptInit(
        _a: CK_SESSION_HANDLE, _b: *mut CK_MECHANISM, _c: CK_OBJECT_HANDLE
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_DecryptMessage(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG, _f: *mut CK_BYTE,
        _g: CK_ULONG, _h: *mut CK_BYTE, _i: *mut CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_DecryptMessageBegin(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_DecryptMessageNext(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG, _f: *mut CK_BYTE,
        _g: *mut CK_ULONG, _h: CK_FLAGS
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_MessageDecryptFinal(_a: CK_SESSION_HANDLE) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_MessageSignInit(
        _a: CK_SESSION_HANDLE, _b: *mut CK_MECHANISM, _c: CK_OBJECT_HANDLE
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_SignMessage(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG, _f: *mut CK_BYTE,
        _g: *mut CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_SignMessageBegin(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_SignMessageNext(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG, _f: *mut CK_BYTE,
        _g: *mut CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_MessageSignFinal(_a: CK_SESSION_HANDLE) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_MessageVerifyInit(
        _a: CK_SESSION_HANDLE, _b: *mut CK_MECHANISM, _c: CK_OBJECT_HANDLE
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_VerifyMessage(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG, _f: *mut CK_BYTE,
        _g: CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_VerifyMessageBegin(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_VerifyMessageNext(
        _a: CK_SESSION_HANDLE, _b: *mut c_void, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG, _f: *mut CK_BYTE,
        _g: CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_MessageVerifyFinal(_a: CK_SESSION_HANDLE) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_EncapsulateKey(
        _a: CK_SESSION_HANDLE, _b: *mut CK_MECHANISM, _c: CK_OBJECT_HANDLE, _d: *mut CK_ATTRIBUTE, _e: CK_ULONG,
        _f: *mut CK_BYTE, _g: *mut CK_ULONG, _h: *mut CK_OBJECT_HANDLE
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_DecapsulateKey(
        _a: CK_SESSION_HANDLE, _b: *mut CK_MECHANISM, _c: CK_OBJECT_HANDLE, _d: *mut CK_ATTRIBUTE, _e: CK_ULONG,
        _f: *mut CK_BYTE, _g: CK_ULONG, _h: *mut CK_OBJECT_HANDLE
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_VerifySignatureInit(
        _a: CK_SESSION_HANDLE, _b: *mut CK_MECHANISM, _c: CK_OBJECT_HANDLE, _d: *mut CK_BYTE, _e: CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_VerifySignature(
        _a: CK_SESSION_HANDLE, _b: *mut CK_BYTE, _c: CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_VerifySignatureUpdate(
        _a: CK_SESSION_HANDLE, _b: *mut CK_BYTE, _c: CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_VerifySignatureFinal(_a: CK_SESSION_HANDLE) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_GetSessionValidationFlags(
        _a: CK_SESSION_HANDLE, _b: CK_SESSION_VALIDATION_FLAGS_TYPE, _c: *mut CK_FLAGS
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_AsyncComplete(
        _a: CK_SESSION_HANDLE, _b: *mut CK_UTF8CHAR, _c: *mut CK_ASYNC_DATA
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_AsyncGetID(
        _a: CK_SESSION_HANDLE, _b: *mut CK_UTF8CHAR, _c: *mut CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_AsyncJoin(
        _a: CK_SESSION_HANDLE, _b: *mut CK_UTF8CHAR, _c: CK_ULONG, _d: *mut CK_BYTE, _e: CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_WrapKeyAuthenticated(
        _a: CK_SESSION_HANDLE, _b: *mut CK_MECHANISM, _c: CK_OBJECT_HANDLE, _d: CK_OBJECT_HANDLE, _e: *mut CK_BYTE,
        _f: CK_ULONG, _g: *mut CK_BYTE, _h: *mut CK_ULONG
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
    table fn C_UnwrapKeyAuthenticated(
        _a: CK_SESSION_HANDLE, _b: *mut CK_MECHANISM, _c: CK_OBJECT_HANDLE, _d: *mut CK_BYTE, _e: CK_ULONG,
        _f: *mut CK_ATTRIBUTE, _g: CK_ULONG, _h: *mut CK_BYTE, _i: CK_ULONG, _j: *mut CK_OBJECT_HANDLE
    ) => |_i| Err(Rv::FUNCTION_NOT_SUPPORTED);
}
