//! The entry functions of PKCS#11 2.40, in the order of the specification's header. Each only names its arguments.

use super::entry::{bare, entries};
use super::mechanism::RawMechanism as Mech;
use super::pointers::{RawFill, RawInput as In, RawList, RawOut as Out, RawPage, RawSlot as Slot};
use super::process;
use super::template::{RawPlaces, RawTemplate as Tmpl};
use crate::ops;
use crate::ops::general::InitArgs;
use crate::state::instance::Instance;
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_C_INITIALIZE_ARGS, CK_FLAGS, CK_INFO, CK_MECHANISM, CK_MECHANISM_INFO,
    CK_MECHANISM_TYPE, CK_NOTIFY, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID,
    CK_SLOT_INFO, CK_TOKEN_INFO, CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR,
};
use hsmd_proto::ck::Rv;
use hsmd_proto::returns::row;
use std::ffi::c_void;

type Session = CK_SESSION_HANDLE;
type Object = CK_OBJECT_HANDLE;

/// C_Initialize: the one call that works in a forked child.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the specification's name")]
pub(super) unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    bare(const { row("C_Initialize") }, || {
        if !arguments.is_null() {
            // SAFETY: the caller's promise: NULL or a CK_C_INITIALIZE_ARGS. pReserved is not followed.
            let raw = unsafe { arguments.cast::<CK_C_INITIALIZE_ARGS>().read_unaligned() };
            let callbacks = [
                raw.CreateMutex.is_some(),
                raw.DestroyMutex.is_some(),
                raw.LockMutex.is_some(),
                raw.UnlockMutex.is_some(),
            ];
            InitArgs {
                callbacks,
                reserved: !raw.pReserved.is_null(),
            }
            .check()?;
        }
        process::initialize(Instance::new)
    })
}

/// C_Finalize.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the specification's name")]
pub(super) unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    bare(const { row("C_Finalize") }, || {
        if process::Process::current().is_none() {
            return Err(Rv::CRYPTOKI_NOT_INITIALIZED);
        }
        if !reserved.is_null() {
            return Err(Rv::ARGUMENTS_BAD);
        }
        process::finalize()
    })
}

entries! {
    export fn C_GetInfo(info: *mut CK_INFO) => |i| ops::general::info(i, &Slot::new(info));
    export fn C_GetSlotList(present: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) =>
        |i| ops::slot::list(i, present != 0, &RawList::new(list, count));
    export fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) => |i| ops::slot::info(i, slot, &Slot::new(info));
    export fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) =>
        |i| ops::token::info(i, slot, &Slot::new(info));
    export fn C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) =>
        |i| ops::slot::mechanisms(i, slot, &RawList::new(list, count));
    export fn C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO) =>
        |i| ops::slot::mechanism_info(i, slot, kind, &Slot::new(info));
    export fn C_InitToken(slot: CK_SLOT_ID, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG, label: *mut CK_UTF8CHAR) =>
        |i| ops::token::init_token(i, slot, In::new(pin, pin_len), In::new(label, 32));
    export fn C_InitPIN(session: Session, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG) =>
        |i| ops::token::init_pin(i, session, In::new(pin, pin_len));
    export fn C_SetPIN(session: Session, old: *mut CK_UTF8CHAR, old_len: CK_ULONG, new: *mut CK_UTF8CHAR,
                       new_len: CK_ULONG) =>
        |i| ops::token::set_pin(i, session, In::new(old, old_len), In::new(new, new_len));
    export fn C_OpenSession(slot: CK_SLOT_ID, flags: CK_FLAGS, _application: *mut c_void, _notify: CK_NOTIFY,
                            session: *mut Session) =>
        |i| ops::session::open(i, slot, flags, &Slot::new(session));
    export fn C_CloseSession(session: Session) => |i| ops::session::close(i, session);
    export fn C_CloseAllSessions(slot: CK_SLOT_ID) => |i| ops::session::close_all(i, slot);
    export fn C_GetSessionInfo(session: Session, info: *mut CK_SESSION_INFO) =>
        |i| ops::session::info(i, session, &Slot::new(info));
    export fn C_GetOperationState(session: Session, state: *mut CK_BYTE, length: *mut CK_ULONG) =>
        |i| ops::state::save(i, session, Out::new(state, length));
    export fn C_SetOperationState(session: Session, state: *mut CK_BYTE, length: CK_ULONG, cipher: Object,
                                  signer: Object) =>
        |i| ops::state::restore(i, session, In::new(state, length), (cipher, signer));
    export fn C_Login(session: Session, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG) =>
        |i| ops::login::login(i, session, user, In::new(pin, pin_len));
    export fn C_Logout(session: Session) => |i| ops::login::logout(i, session);
    export fn C_CreateObject(session: Session, template: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut Object) =>
        |i| ops::object::create(i, session, &Tmpl::new(template, count), &Slot::new(object));
    export fn C_CopyObject(session: Session, source: Object, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
                           object: *mut Object) =>
        |i| ops::object::copy(i, session, source, &Tmpl::new(template, count), &Slot::new(object));
    export fn C_DestroyObject(session: Session, object: Object) => |i| ops::object::destroy(i, session, object);
    export fn C_GetObjectSize(session: Session, object: Object, size: *mut CK_ULONG) =>
        |i| ops::attribute::size(i, session, object, &Slot::new(size));
    export fn C_GetAttributeValue(session: Session, object: Object, template: *mut CK_ATTRIBUTE, count: CK_ULONG) =>
        |i| ops::attribute::read(i, session, object, &RawPlaces::new(template, count));
    export fn C_SetAttributeValue(session: Session, object: Object, template: *mut CK_ATTRIBUTE, count: CK_ULONG) =>
        |i| ops::attribute::change(i, session, object, &Tmpl::new(template, count));
    export fn C_FindObjectsInit(session: Session, template: *mut CK_ATTRIBUTE, count: CK_ULONG) =>
        |i| ops::find::init(i, session, &Tmpl::new(template, count));
    export fn C_FindObjects(session: Session, objects: *mut Object, most: CK_ULONG, count: *mut CK_ULONG) =>
        |i| ops::find::next(i, session, &RawPage::new(objects, most, count));
    export fn C_FindObjectsFinal(session: Session) => |i| ops::find::finish(i, session);
    export fn C_EncryptInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object) =>
        |i| ops::encrypt::init(i, session, &Mech::new(mechanism), key);
    export fn C_Encrypt(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::encrypt::single(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_EncryptUpdate(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE,
                              out_len: *mut CK_ULONG) =>
        |i| ops::encrypt::update(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_EncryptFinal(session: Session, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::encrypt::finish(i, session, Out::new(out, out_len));
    export fn C_DecryptInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object) =>
        |i| ops::decrypt::init(i, session, &Mech::new(mechanism), key);
    export fn C_Decrypt(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::decrypt::single(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_DecryptUpdate(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE,
                              out_len: *mut CK_ULONG) =>
        |i| ops::decrypt::update(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_DecryptFinal(session: Session, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::decrypt::finish(i, session, Out::new(out, out_len));
    export fn C_DigestInit(session: Session, mechanism: *mut CK_MECHANISM) =>
        |i| ops::digest::init(i, session, &Mech::new(mechanism));
    export fn C_Digest(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::digest::single(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_DigestUpdate(session: Session, data: *mut CK_BYTE, len: CK_ULONG) =>
        |i| ops::digest::update(i, session, In::new(data, len));
    export fn C_DigestKey(session: Session, key: Object) => |i| ops::digest::key(i, session, key);
    export fn C_DigestFinal(session: Session, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::digest::finish(i, session, Out::new(out, out_len));
    export fn C_SignInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object) =>
        |i| ops::sign::init(i, session, &Mech::new(mechanism), key);
    export fn C_Sign(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::sign::single(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_SignUpdate(session: Session, data: *mut CK_BYTE, len: CK_ULONG) =>
        |i| ops::sign::update(i, session, In::new(data, len));
    export fn C_SignFinal(session: Session, out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::sign::finish(i, session, Out::new(out, out_len));
    export fn C_SignRecoverInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object) =>
        |i| ops::recover::sign_init(i, session, &Mech::new(mechanism), key);
    export fn C_SignRecover(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE,
                            out_len: *mut CK_ULONG) =>
        |i| ops::recover::sign(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_VerifyInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object) =>
        |i| ops::verify::init(i, session, &Mech::new(mechanism), key);
    export fn C_Verify(session: Session, data: *mut CK_BYTE, len: CK_ULONG, signature: *mut CK_BYTE, sig_len: CK_ULONG) =>
        |i| ops::verify::single(i, session, In::new(data, len), In::new(signature, sig_len));
    export fn C_VerifyUpdate(session: Session, data: *mut CK_BYTE, len: CK_ULONG) =>
        |i| ops::verify::update(i, session, In::new(data, len));
    export fn C_VerifyFinal(session: Session, signature: *mut CK_BYTE, sig_len: CK_ULONG) =>
        |i| ops::verify::finish(i, session, In::new(signature, sig_len));
    export fn C_VerifyRecoverInit(session: Session, mechanism: *mut CK_MECHANISM, key: Object) =>
        |i| ops::recover::verify_init(i, session, &Mech::new(mechanism), key);
    export fn C_VerifyRecover(session: Session, signature: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE,
                              out_len: *mut CK_ULONG) =>
        |i| ops::recover::verify(i, session, In::new(signature, len), Out::new(out, out_len));
    export fn C_DigestEncryptUpdate(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE,
                                    out_len: *mut CK_ULONG) =>
        |i| ops::dual::digest_encrypt(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_DecryptDigestUpdate(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE,
                                    out_len: *mut CK_ULONG) =>
        |i| ops::dual::decrypt_digest(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_SignEncryptUpdate(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE,
                                  out_len: *mut CK_ULONG) =>
        |i| ops::dual::sign_encrypt(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_DecryptVerifyUpdate(session: Session, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE,
                                    out_len: *mut CK_ULONG) =>
        |i| ops::dual::decrypt_verify(i, session, In::new(data, len), Out::new(out, out_len));
    export fn C_GenerateKey(session: Session, mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE,
                            count: CK_ULONG, key: *mut Object) =>
        |i| ops::generate::key(i, session, &Mech::new(mechanism), &Tmpl::new(template, count), &Slot::new(key));
    export fn C_GenerateKeyPair(session: Session, mechanism: *mut CK_MECHANISM, public: *mut CK_ATTRIBUTE,
                                public_count: CK_ULONG, private: *mut CK_ATTRIBUTE, private_count: CK_ULONG,
                                public_key: *mut Object, private_key: *mut Object) =>
        |i| ops::generate::pair(
            i,
            session,
            &Mech::new(mechanism),
            (&Tmpl::new(public, public_count), &Tmpl::new(private, private_count)),
            (&Slot::new(public_key), &Slot::new(private_key)),
        );
    export fn C_WrapKey(session: Session, mechanism: *mut CK_MECHANISM, wrapping: Object, key: Object,
                        out: *mut CK_BYTE, out_len: *mut CK_ULONG) =>
        |i| ops::wrap::wrap(i, session, &Mech::new(mechanism), wrapping, key, Out::new(out, out_len));
    export fn C_UnwrapKey(session: Session, mechanism: *mut CK_MECHANISM, unwrapping: Object, wrapped: *mut CK_BYTE,
                          wrapped_len: CK_ULONG, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut Object) =>
        |i| ops::wrap::unwrap(
            i,
            session,
            &Mech::new(mechanism),
            unwrapping,
            In::new(wrapped, wrapped_len),
            &Tmpl::new(template, count),
            &Slot::new(key),
        );
    export fn C_DeriveKey(session: Session, mechanism: *mut CK_MECHANISM, base: Object, template: *mut CK_ATTRIBUTE,
                          count: CK_ULONG, key: *mut Object) =>
        |i| ops::derive::derive(i, session, &Mech::new(mechanism), base, &Tmpl::new(template, count), &Slot::new(key));
    export fn C_SeedRandom(session: Session, seed: *mut CK_BYTE, len: CK_ULONG) =>
        |i| ops::random::seed(i, session, In::new(seed, len));
    export fn C_GenerateRandom(session: Session, out: *mut CK_BYTE, len: CK_ULONG) =>
        |i| ops::random::generate(i, session, RawFill::new(out, len));
    export fn C_GetFunctionStatus(_session: Session) => |_i| Err(Rv::FUNCTION_NOT_PARALLEL);
    export fn C_CancelFunction(_session: Session) => |_i| Err(Rv::FUNCTION_NOT_PARALLEL);
    export fn C_WaitForSlotEvent(flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: *mut c_void) =>
        |i| ops::general::wait_for_slot_event(i, flags, &Slot::new(slot), !reserved.is_null());
}
