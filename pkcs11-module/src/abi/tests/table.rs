//! Every function of the newest list through C, with NULLs and wrong handles. The only test that uses the library's
//! global state, hence one test.

use crate::abi::lists::{C_GetFunctionList, C_GetInterface, C_GetInterfaceList};
use cryptoki_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_2, CK_INTERFACE, CK_RV, CK_VERSION};
use hsmd_proto::ck::Rv;
use std::ffi::c_void;

/// How many functions follow the version in the 3.2 list.
const COUNT: usize = size_of::<CK_FUNCTION_LIST_3_2>() / size_of::<usize>() - 1;

/// All functions take integers and pointers only, which the C ABIs of the supported targets pass in the same places
/// whatever the callee's own list of arguments is.
type Any = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64, u64, u64, u64, u64) -> CK_RV;

fn newest() -> &'static CK_FUNCTION_LIST_3_2 {
    let mut interface: *mut CK_INTERFACE = std::ptr::null_mut();
    // SAFETY: NULL name and version ask for the default; room for one pointer.
    let rv = unsafe { C_GetInterface(std::ptr::null_mut(), std::ptr::null_mut(), &raw mut interface, 0) };
    assert_eq!(rv, 0);
    // SAFETY: the module answered with a pointer to a static interface, whose list is the 3.2 list.
    unsafe { &*(*interface).pFunctionList.cast::<CK_FUNCTION_LIST_3_2>() }
}

fn functions() -> [Any; COUNT] {
    let list: *const CK_FUNCTION_LIST_3_2 = newest();
    // SAFETY: after the version (padded to a pointer's size) the list is COUNT function pointers, none NULL.
    unsafe { list.cast::<usize>().add(1).cast::<[Any; COUNT]>().read() }
}

fn call(index: usize, first: u64) -> Rv {
    // SAFETY: every pointer argument is NULL or a wrong handle, which each function refuses before it follows any.
    Rv(unsafe { functions()[index](first, 0, 0, 0, 0, 0, 0, 0, 0, 0) })
}

#[test]
fn every_function_answers_nulls_and_wrong_handles_with_a_code() {
    const LISTS: [usize; 3] = [3, 68, 69];
    interfaces();
    for index in 1..COUNT {
        if !LISTS.contains(&index) {
            assert_eq!(
                call(index, 0),
                Rv::CRYPTOKI_NOT_INITIALIZED,
                "function {index} before C_Initialize"
            );
        }
    }
    assert_eq!(initialize_from_many_threads(), 1);
    assert_eq!(call(0, 0), Rv::CRYPTOKI_ALREADY_INITIALIZED);
    // C_GetInfo and C_GetSlotList with NULL; the slot functions without a daemon; C_WaitForSlotEvent(DONT_BLOCK).
    assert_eq!(call(2, 0), Rv::ARGUMENTS_BAD);
    assert_eq!(call(4, 0), Rv::ARGUMENTS_BAD);
    assert_eq!(call(67, 1), Rv::ARGUMENTS_BAD);
    let mut slots = 0;
    for index in 5..COUNT {
        let rv = match index {
            67..=69 => continue,
            _ => call(index, 0x7fff_ffff_ffff),
        };
        let known = [
            Rv::SESSION_HANDLE_INVALID,
            Rv::FUNCTION_NOT_SUPPORTED,
            Rv::FUNCTION_NOT_PARALLEL,
            Rv::TOKEN_NOT_PRESENT,
            Rv::SLOT_ID_INVALID,
        ];
        assert!(known.contains(&rv), "function {index} answered {rv}");
        slots += usize::from(matches!(rv, Rv::TOKEN_NOT_PRESENT | Rv::SLOT_ID_INVALID));
    }
    assert_eq!(
        slots, 7,
        "C_GetSlotInfo to C_InitToken, C_OpenSession, C_CloseAllSessions"
    );
    fork();
    assert_eq!(call(1, 8), Rv::ARGUMENTS_BAD);
    assert_eq!(call(1, 0), Rv::OK);
    assert_eq!(call(1, 0), Rv::CRYPTOKI_NOT_INITIALIZED);
    assert_eq!((call(0, 0), call(1, 0)), (Rv::OK, Rv::OK));
}

/// Of several at once exactly one succeeds.
fn initialize_from_many_threads() -> usize {
    let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(|| call(0, 0))).collect();
    let codes: Vec<Rv> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let good = [Rv::OK, Rv::CRYPTOKI_ALREADY_INITIALIZED];
    assert!(codes.iter().all(|code| good.contains(code)), "{codes:?}");
    codes.iter().filter(|code| **code == Rv::OK).count()
}

/// INV-9: in a child nothing works until it initialises, which works; the parent goes on.
fn fork() {
    // SAFETY: the child calls the module and leaves with _exit; other threads of the test may hold the allocator's lock
    // only where glibc makes it usable again after fork.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let good = call(2, 0) == Rv::CRYPTOKI_NOT_INITIALIZED
            && call(1, 0) == Rv::CRYPTOKI_NOT_INITIALIZED
            && call(0, 0) == Rv::OK
            && call(2, 0) == Rv::ARGUMENTS_BAD
            && call(1, 0) == Rv::OK;
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    let mut status = 0;
    // SAFETY: the child was just made; room for its status.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "the child saw the wrong codes");
    assert_eq!(call(2, 0), Rv::ARGUMENTS_BAD);
}

fn interfaces() {
    let mut list: *mut CK_FUNCTION_LIST = std::ptr::null_mut();
    // SAFETY: room for one pointer; NULL is refused.
    unsafe {
        assert_eq!(C_GetFunctionList(&raw mut list), 0);
        assert_eq!(((*list).version.major, (*list).version.minor), (2, 40));
        assert_eq!(Rv(C_GetFunctionList(std::ptr::null_mut())), Rv::ARGUMENTS_BAD);
    }
    let mut count = 0;
    // SAFETY: a count without a list.
    assert_eq!(unsafe { C_GetInterfaceList(std::ptr::null_mut(), &raw mut count) }, 0);
    assert_eq!(count, 3);
    let ask = |name: Option<&std::ffi::CStr>, version: Option<(u8, u8)>, flags| {
        let mut interface: *mut CK_INTERFACE = std::ptr::null_mut();
        let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
        let version = version.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
        let name = name.map_or(std::ptr::null(), std::ffi::CStr::as_ptr).cast_mut();
        // SAFETY: a NUL-terminated name or NULL, a version or NULL, room for one pointer.
        Rv(unsafe { C_GetInterface(name.cast(), version, &raw mut interface, flags) })
    };
    for version in [(2, 40), (3, 0), (3, 2)] {
        assert_eq!(ask(Some(c"PKCS 11"), Some(version), 0), Rv::OK);
    }
    assert_eq!(ask(Some(c"PKCS 11"), Some((3, 1)), 0), Rv::ARGUMENTS_BAD);
    assert_eq!(ask(Some(c"Vendor NSS FIPS Interface"), None, 0), Rv::ARGUMENTS_BAD);
    assert_eq!(
        ask(None, None, cryptoki_sys::CKF_INTERFACE_FORK_SAFE),
        Rv::FUNCTION_FAILED
    );
    assert_eq!(ask(None, None, 2), Rv::ARGUMENTS_BAD);
    let first = functions().map(|function| function as *const c_void);
    assert!(first.iter().all(|function| !function.is_null()));
}
