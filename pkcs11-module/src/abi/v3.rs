//! The entry functions that PKCS#11 3.0 and 3.2 added and that do something in this version. They are reached through
//! the function lists only.

use super::entry::entries;
use super::pointers::RawInput as In;
use crate::ops;
use cryptoki_sys::{CK_FLAGS, CK_SESSION_HANDLE, CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR};

entries! {
    table fn C_LoginUser(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG,
                         name: *mut CK_UTF8CHAR, name_len: CK_ULONG) =>
        |i| ops::login::login_user(i, session, user, In::new(pin, pin_len), In::new(name, name_len));
    table fn C_SessionCancel(session: CK_SESSION_HANDLE, flags: CK_FLAGS) =>
        |i| ops::session::cancel(i, session, flags);
}
