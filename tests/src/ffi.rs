//! Calls into a loaded PKCS#11 module, and two system calls: the only `unsafe` of the tests. Everything above is safe.
#![expect(unsafe_code, reason = "functions of a shared library have C types")]

use std::ffi::c_void;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki_sys::{CK_FUNCTION_LIST_PTR, CK_INTERFACE, CK_RV, CKR_OK};
use hsmd_proto::ck::Rv;
use hsmd_proto::returns;

/// The functions of `CK_FUNCTION_LIST` in its order; the position of a name is the function.
pub const FUNCTIONS: [&str; 68] = [
    "C_Initialize",
    "C_Finalize",
    "C_GetInfo",
    "C_GetFunctionList",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_InitToken",
    "C_InitPIN",
    "C_SetPIN",
    "C_OpenSession",
    "C_CloseSession",
    "C_CloseAllSessions",
    "C_GetSessionInfo",
    "C_GetOperationState",
    "C_SetOperationState",
    "C_Login",
    "C_Logout",
    "C_CreateObject",
    "C_CopyObject",
    "C_DestroyObject",
    "C_GetObjectSize",
    "C_GetAttributeValue",
    "C_SetAttributeValue",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_EncryptInit",
    "C_Encrypt",
    "C_EncryptUpdate",
    "C_EncryptFinal",
    "C_DecryptInit",
    "C_Decrypt",
    "C_DecryptUpdate",
    "C_DecryptFinal",
    "C_DigestInit",
    "C_Digest",
    "C_DigestUpdate",
    "C_DigestKey",
    "C_DigestFinal",
    "C_SignInit",
    "C_Sign",
    "C_SignUpdate",
    "C_SignFinal",
    "C_SignRecoverInit",
    "C_SignRecover",
    "C_VerifyInit",
    "C_Verify",
    "C_VerifyUpdate",
    "C_VerifyFinal",
    "C_VerifyRecoverInit",
    "C_VerifyRecover",
    "C_DigestEncryptUpdate",
    "C_DecryptDigestUpdate",
    "C_SignEncryptUpdate",
    "C_DecryptVerifyUpdate",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_WrapKey",
    "C_UnwrapKey",
    "C_DeriveKey",
    "C_SeedRandom",
    "C_GenerateRandom",
    "C_GetFunctionStatus",
    "C_CancelFunction",
    "C_WaitForSlotEvent",
];

/// Every Cryptoki function takes at most ten words; a callee does not look at the ones beyond its own.
type AnyFunction = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize, usize, usize, usize, usize) -> CK_RV;

/// The address of a Cryptoki function of one library.
#[derive(Clone, Copy)]
pub struct Function(usize);

/// A loaded module. It stays loaded until the process ends, as in most applications.
pub struct Library {
    functions: [usize; FUNCTIONS.len()],
    library: libloading::Library,
    /// Whether each answer is held against the table of `hsmd_proto::returns`.
    held: AtomicBool,
}

impl Library {
    /// Loads the file and asks it for its function list.
    ///
    /// # Errors
    /// What the dynamic linker says, or the function that the module left out.
    pub fn load(path: &Path) -> Result<Self, String> {
        // SAFETY: loading runs the constructors of a file that the build or a Debian package has put there.
        let library = unsafe { libloading::Library::new(path) }.map_err(|e| format!("{}: {e}", path.display()))?;
        let mut list: CK_FUNCTION_LIST_PTR = std::ptr::null_mut();
        // SAFETY: PKCS#11 fixes the type of this symbol, and `list` outlives the call.
        let rv = unsafe {
            let get: libloading::Symbol<'_, unsafe extern "C" fn(*mut CK_FUNCTION_LIST_PTR) -> CK_RV> =
                library.get(b"C_GetFunctionList").map_err(|e| e.to_string())?;
            get(&raw mut list)
        };
        if rv != 0 || list.is_null() {
            return Err(format!("C_GetFunctionList returned {rv:#x}"));
        }
        let mut functions = [0; FUNCTIONS.len()];
        for (index, function) in functions.iter_mut().enumerate() {
            // SAFETY: the list is a version, padded to one word, and then 68 pointers (PKCS#11 2.40, 3.6 and pkcs11f.h).
            *function = unsafe { list.cast::<usize>().add(1 + index).read() };
            if *function == 0 {
                return Err(format!("{} is NULL in the function list", FUNCTIONS[index]));
            }
        }
        // Peers have their own opinions, and their own tests.
        let ours = path.file_name().is_some_and(|name| name == "libhsmd_pkcs11.so");
        Ok(Self {
            functions,
            library,
            held: AtomicBool::new(ours),
        })
    }

    /// From now on any code is taken: for tests that put words into the daemon's mouth. A build with assertions lets out
    /// what a release would map.
    pub fn take_any_code(&self) {
        self.held.store(false, Ordering::Relaxed);
    }

    /// Fails the test if a function of ours gave a code that PKCS#11 does not list for it.
    fn hold(&self, name: &str, rv: CK_RV) {
        if rv == CKR_OK || !self.held.load(Ordering::Relaxed) {
            return;
        }
        let Some(row) = returns::TABLE.iter().find(|row| row.name == name) else {
            return;
        };
        assert!(
            row.allows(Rv(rv)),
            "{name} returned {}, which PKCS#11 3.2, {}, does not list (proto/src/returns/table.rs)",
            Rv(rv),
            row.section
        );
    }

    /// Calls a function of the list by its name with the words given and zeros beyond.
    ///
    /// A word is a number, or the address of memory that lives through the call and is as long as the function may
    /// read or write; hostile tests pass NULL and lengths that no memory has, which a module must survive.
    pub fn call(&self, name: &str, words: &[usize]) -> CK_RV {
        let index = FUNCTIONS.iter().position(|function| *function == name);
        let address = index.map_or(0, |index| self.functions[index]);
        self.call_address(name, address, words)
    }

    /// A function of the list, looked up once: for benches, where the search for the name would count.
    #[must_use]
    pub fn function(&self, name: &str) -> Function {
        let index = FUNCTIONS.iter().position(|function| *function == name);
        Function(index.map_or(0, |index| self.functions[index]))
    }

    /// Calls what [`Library::function`] found; the words are those of [`Library::call`].
    pub fn call_function(&self, function: Function, words: &[usize]) -> CK_RV {
        self.call_address("function", function.0, words)
    }

    /// Calls a function that the library exports but the list of version 2.40 lacks.
    pub fn call_symbol(&self, name: &str, words: &[usize]) -> CK_RV {
        // SAFETY: only the address is taken, and the library stays loaded.
        let address = unsafe {
            let symbol = self.library.get::<*const c_void>(name.as_bytes());
            symbol
                .ok()
                .and_then(|symbol| symbol.try_as_raw_ptr())
                .map_or(0, |pointer| pointer as usize)
        };
        self.call_address(name, address, words)
    }

    /// The function pointers of the interface "PKCS 11" of a version, whose list has that size in bytes.
    ///
    /// # Errors
    /// What `C_GetInterface` returned.
    pub fn interface(&self, version: [u8; 2], size: usize) -> Result<Vec<usize>, CK_RV> {
        let mut interface: *const CK_INTERFACE = std::ptr::null();
        let words = [
            c"PKCS 11".as_ptr() as usize,
            version.as_ptr() as usize,
            (&raw mut interface) as usize,
            0,
        ];
        let rv = self.call_symbol("C_GetInterface", &words);
        if rv != 0 {
            return Err(rv);
        }
        // SAFETY: the call succeeded, so that `interface` points to static data of the module, and its list is one of
        // this version: a version number padded to a word, then pointers.
        let words = unsafe {
            let list = (*interface).pFunctionList.cast::<usize>();
            std::slice::from_raw_parts(list, size / size_of::<usize>())
        };
        Ok(words[1..].to_vec())
    }

    /// Calls a function of a list that [`Library::interface`] gave; the words are those of [`Library::call`].
    pub fn call_pointer(&self, name: &str, pointer: usize, words: &[usize]) -> CK_RV {
        self.call_address(name, pointer, words)
    }

    fn call_address(&self, name: &str, address: usize, words: &[usize]) -> CK_RV {
        assert!(address != 0, "the module has no {name}");
        let mut w = [0_usize; 10];
        w[..words.len()].copy_from_slice(words);
        // SAFETY: the address is that of a Cryptoki function, whose parameters are integers and pointers of one word
        // each; both ABIs in use (System V on x86-64, AAPCS64) pass them alike and let the caller pass more.
        let rv = unsafe {
            let function = std::mem::transmute::<usize, AnyFunction>(address);
            function(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9])
        };
        self.hold(name, rv);
        rv
    }

    /// Whether the dynamic linker finds a symbol in the library.
    #[must_use]
    pub fn exports(&self, name: &str) -> bool {
        // SAFETY: only the presence of the symbol is asked.
        unsafe { self.library.get::<*const c_void>(name.as_bytes()) }.is_ok()
    }
}

/// Sends a signal to a process; an error means that it is gone.
pub fn signal(process: u32, signal: i32) -> std::io::Result<()> {
    let process = i32::try_from(process).map_err(std::io::Error::other)?;
    // SAFETY: kill reads two integers; a test sends signals to its own children only.
    if unsafe { libc::kill(process, signal) } == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// Forks, runs `work` in the child, and gives the child's exit code, or the negative number of the signal that ended it.
/// For programs with one thread only.
pub fn in_forked_child(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the callers are programs with one thread, so that the child's memory is whole.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = work();
        // SAFETY: ends the child without running the parent's destructors a second time.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child, "waitpid: {}", std::io::Error::last_os_error());
    if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        -libc::WTERMSIG(status)
    }
}

/// The user id of this process.
#[must_use]
pub fn user_id() -> u32 {
    // SAFETY: getuid cannot fail and takes nothing.
    unsafe { libc::getuid() }
}
