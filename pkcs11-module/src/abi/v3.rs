//! The entry functions that PKCS#11 3.0 and 3.2 added, in the order of the specification's header. They are reached through
//! the function lists only.

use super::entry::entries;
use super::mechanism::RawMechanism as Mech;
use super::message::RawMessage as Param;
use super::pointers::{RawInput as In, RawOut as Out, RawSlot as Slot};
use super::template::RawTemplate as Tmpl;
use crate::ops;
use crate::ops::message_crypt::{DECRYPT, ENCRYPT};
use crate::ops::message_sign::{SIGN, VERIFY};
use cryptoki_sys::{
    CK_ASYNC_DATA, CK_ATTRIBUTE, CK_BYTE, CK_FLAGS, CK_MECHANISM, CK_OBJECT_HANDLE, CK_SESSION_HANDLE,
    CK_SESSION_VALIDATION_FLAGS_TYPE, CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR,
};
use std::ffi::c_void;

type Session = CK_SESSION_HANDLE;
type Object = CK_OBJECT_HANDLE;

entries! {
    table fn C_LoginUser(session: Session, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG,
                         name: *mut CK_UTF8CHAR, name_len: CK_ULONG) =>
        |i| ops::login::login_user(i, session, user, In::new(pin, pin_len), In::new(name, name_len));
    table fn C_SessionCancel(session: Session, flags: CK_FLAGS) =>
        |i| ops::session::cancel(i, session, flags);

    table fn C_MessageEncryptInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object) =>
        |i| ops::message_crypt::init(ENCRYPT, i, session, &Mech::new(mechanism), key);
    table fn C_EncryptMessage(session: Session, param: *mut c_void, param_len: CK_ULONG, aad: *mut CK_BYTE,
                              aad_len: CK_ULONG, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE,
                              out_len: *mut CK_ULONG) =>
        |i| ops::message_crypt::whole(
            ENCRYPT,
            i,
            session,
            (&Param::new(param, param_len), In::new(aad, aad_len)),
            In::new(data, len),
            Out::new(out, out_len),
        );
    table fn C_EncryptMessageBegin(session: Session, param: *mut c_void, param_len: CK_ULONG, aad: *mut CK_BYTE,
                                   aad_len: CK_ULONG) =>
        |i| ops::message_crypt::begin(ENCRYPT, i, session, &Param::new(param, param_len), In::new(aad, aad_len));
    table fn C_EncryptMessageNext(session: Session, param: *mut c_void, param_len: CK_ULONG, data: *mut CK_BYTE,
                                  len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG, flags: CK_FLAGS) =>
        |i| ops::message_crypt::next(
            ENCRYPT,
            i,
            session,
            (&Param::new(param, param_len), flags),
            In::new(data, len),
            Out::new(out, out_len),
        );
    table fn C_MessageEncryptFinal(session: Session) => |i| ops::message_crypt::finish(ENCRYPT, i, session);
    table fn C_MessageDecryptInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object) =>
        |i| ops::message_crypt::init(DECRYPT, i, session, &Mech::new(mechanism), key);
    table fn C_DecryptMessage(session: Session, param: *mut c_void, param_len: CK_ULONG, aad: *mut CK_BYTE,
                              aad_len: CK_ULONG, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE,
                              out_len: *mut CK_ULONG) =>
        |i| ops::message_crypt::whole(
            DECRYPT,
            i,
            session,
            (&Param::new(param, param_len), In::new(aad, aad_len)),
            In::new(data, len),
            Out::new(out, out_len),
        );
    table fn C_DecryptMessageBegin(session: Session, param: *mut c_void, param_len: CK_ULONG, aad: *mut CK_BYTE,
                                   aad_len: CK_ULONG) =>
        |i| ops::message_crypt::begin(DECRYPT, i, session, &Param::new(param, param_len), In::new(aad, aad_len));
    table fn C_DecryptMessageNext(session: Session, param: *mut c_void, param_len: CK_ULONG, data: *mut CK_BYTE,
                                  len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG, flags: CK_FLAGS) =>
        |i| ops::message_crypt::next(
            DECRYPT,
            i,
            session,
            (&Param::new(param, param_len), flags),
            In::new(data, len),
            Out::new(out, out_len),
        );
    table fn C_MessageDecryptFinal(session: Session) => |i| ops::message_crypt::finish(DECRYPT, i, session);

    table fn C_MessageSignInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object) =>
        |i| ops::message_sign::init(SIGN, i, session, &Mech::new(mechanism), key);
    table fn C_SignMessage(session: Session, _param: *mut c_void, _param_len: CK_ULONG, data: *mut CK_BYTE,
                           len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::message_sign::sign_whole(i, session, In::new(data, len), Out::new(out, out_len));
    table fn C_SignMessageBegin(session: Session, _param: *mut c_void, _param_len: CK_ULONG) =>
        |i| ops::message_sign::begin(SIGN, i, session);
    table fn C_SignMessageNext(session: Session, _param: *mut c_void, _param_len: CK_ULONG, data: *mut CK_BYTE,
                               len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::message_sign::sign_next(i, session, In::new(data, len), Out::new(out, out_len));
    table fn C_MessageSignFinal(session: Session) => |i| ops::message_sign::finish(SIGN, i, session);
    table fn C_MessageVerifyInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object) =>
        |i| ops::message_sign::init(VERIFY, i, session, &Mech::new(mechanism), key);
    table fn C_VerifyMessage(session: Session, _param: *mut c_void, _param_len: CK_ULONG, data: *mut CK_BYTE,
                             len: CK_ULONG, signature: *mut CK_BYTE, sig_len: CK_ULONG) =>
        |i| ops::message_sign::verify_whole(i, session, In::new(data, len), In::new(signature, sig_len));
    table fn C_VerifyMessageBegin(session: Session, _param: *mut c_void, _param_len: CK_ULONG) =>
        |i| ops::message_sign::begin(VERIFY, i, session);
    table fn C_VerifyMessageNext(session: Session, _param: *mut c_void, _param_len: CK_ULONG, data: *mut CK_BYTE,
                                 len: CK_ULONG, signature: *mut CK_BYTE, sig_len: CK_ULONG) =>
        |i| ops::message_sign::verify_next(i, session, In::new(data, len), In::new(signature, sig_len));
    table fn C_MessageVerifyFinal(session: Session) => |i| ops::message_sign::finish(VERIFY, i, session);

    table fn C_EncapsulateKey(session: Session, mechanism: *mut CK_MECHANISM, key: Object, template: *mut CK_ATTRIBUTE,
                              count: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG, made: *mut Object) =>
        |i| ops::encapsulate::encapsulate(
            i,
            session,
            (&Mech::new(mechanism), key),
            &Tmpl::new(template, count),
            Out::new(out, out_len),
            &Slot::new(made),
        );
    table fn C_DecapsulateKey(session: Session, mechanism: *mut CK_MECHANISM, key: Object, template: *mut CK_ATTRIBUTE,
                              count: CK_ULONG, blob: *mut CK_BYTE, blob_len: CK_ULONG, made: *mut Object) =>
        |i| ops::encapsulate::decapsulate(
            i,
            session,
            (&Mech::new(mechanism), key),
            &Tmpl::new(template, count),
            In::new(blob, blob_len),
            &Slot::new(made),
        );
    table fn C_VerifySignatureInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object, signature: *mut CK_BYTE,
                                   sig_len: CK_ULONG) =>
        |i| ops::verify_signature::init(i, session, &Mech::new(mechanism), key, In::new(signature, sig_len));
    table fn C_VerifySignature(session: Session, data: *mut CK_BYTE, len: CK_ULONG) =>
        |i| ops::verify_signature::single(i, session, In::new(data, len));
    table fn C_VerifySignatureUpdate(session: Session, data: *mut CK_BYTE, len: CK_ULONG) =>
        |i| ops::verify_signature::update(i, session, In::new(data, len));
    table fn C_VerifySignatureFinal(session: Session) => |i| ops::verify_signature::finish(i, session);
    table fn C_GetSessionValidationFlags(session: Session, kind: CK_SESSION_VALIDATION_FLAGS_TYPE, flags: *mut CK_FLAGS) =>
        |i| ops::session::validation_flags(i, session, kind, &Slot::new(flags));
    table fn C_AsyncComplete(session: Session, _function: *mut CK_UTF8CHAR, _result: *mut CK_ASYNC_DATA) =>
        |i| ops::absent::asynchronous(i, session);
    table fn C_AsyncGetID(session: Session, _function: *mut CK_UTF8CHAR, _id: *mut CK_ULONG) =>
        |i| ops::absent::asynchronous(i, session);
    table fn C_AsyncJoin(session: Session, _function: *mut CK_UTF8CHAR, _id: CK_ULONG, _data: *mut CK_BYTE,
                         _data_len: CK_ULONG) =>
        |i| ops::absent::asynchronous(i, session);
    table fn C_WrapKeyAuthenticated(session: Session, mechanism: *mut CK_MECHANISM, wrapping: Object, key: Object,
                                    aad: *mut CK_BYTE, aad_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::wrap::wrap_authenticated(
            i,
            session,
            &Mech::new(mechanism),
            wrapping,
            key,
            In::new(aad, aad_len),
            Out::new(out, out_len),
        );
    table fn C_UnwrapKeyAuthenticated(session: Session, mechanism: *mut CK_MECHANISM, unwrapping: Object,
                                      blob: *mut CK_BYTE, blob_len: CK_ULONG, template: *mut CK_ATTRIBUTE,
                                      count: CK_ULONG, aad: *mut CK_BYTE, aad_len: CK_ULONG, made: *mut Object) =>
        |i| ops::wrap::unwrap_authenticated(
            i,
            session,
            &Mech::new(mechanism),
            unwrapping,
            (In::new(blob, blob_len), In::new(aad, aad_len)),
            &Tmpl::new(template, count),
            &Slot::new(made),
        );
}
