//! The module as an application uses it: each C function as a safe Rust function. Policies of tests are not here.

use std::path::{Path, PathBuf};

use cryptoki_sys::*;

use crate::ffi::Library;
use crate::rv::Rv;
use crate::template::{Attribute, Mechanism, Template};

/// A session handle.
pub type Session = CK_SESSION_HANDLE;
/// An object handle.
pub type Object = CK_OBJECT_HANDLE;

/// A loaded module.
pub struct Module {
    /// The functions themselves, for calls that the safe ones below cannot make.
    pub library: Library,
    path: PathBuf,
}

fn at<T>(place: &mut T) -> usize {
    std::ptr::from_mut(place) as usize
}

fn blank_padded(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_end().to_owned()
}

impl Module {
    /// Loads the file itself: one instance for each process.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let library = Library::load(path).unwrap_or_else(|sentence| panic!("{sentence}"));
        Self {
            library,
            path: path.to_path_buf(),
        }
    }

    /// Copies module and client file into `folder` under a name of their own and loads the copy: a new inode is a new
    /// instance, so that tests in one process do not share slots, sessions and logins. The module finds the daemon by
    /// the client file beside it (`libhsmd_pkcs11.so` and `libhsmd_pkcs11.toml`).
    #[must_use]
    pub fn load_copy(module: &Path, client_file: &Path, folder: &Path) -> Self {
        let (_, copy) = Self::copy(module, client_file, folder);
        Self::load(&copy)
    }

    /// The copying of [`Module::load_copy`] alone; gives folder and file of the copy.
    #[must_use]
    pub fn copy(module: &Path, client_file: &Path, folder: &Path) -> (PathBuf, PathBuf) {
        let own = tempfile::Builder::new()
            .prefix("module")
            .tempdir_in(folder)
            .expect("a folder for the copy")
            .keep();
        let copy = own.join("libhsmd_pkcs11.so");
        std::fs::copy(module, &copy).unwrap_or_else(|e| panic!("{}: {e}", module.display()));
        std::fs::copy(client_file, own.join("libhsmd_pkcs11.toml"))
            .unwrap_or_else(|e| panic!("{}: {e}", client_file.display()));
        (own, copy)
    }

    /// The file that is loaded.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn call(&self, name: &str, words: &[usize]) -> Result<(), Rv> {
        Rv::check(self.library.call(name, words))
    }

    /// `C_Initialize` with OS locking.
    pub fn initialize(&self) -> Result<(), Rv> {
        let mut arguments = CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: CKF_OS_LOCKING_OK,
            pReserved: std::ptr::null_mut(),
        };
        self.call("C_Initialize", &[at(&mut arguments)])
    }

    /// `C_Finalize`.
    pub fn finalize(&self) -> Result<(), Rv> {
        self.call("C_Finalize", &[0])
    }

    /// `C_GetSlotList`, both calls.
    pub fn slots(&self, token_present: bool) -> Result<Vec<CK_SLOT_ID>, Rv> {
        let mut count: CK_ULONG = 0;
        self.call("C_GetSlotList", &[usize::from(token_present), 0, at(&mut count)])?;
        let mut list = vec![0; count as usize];
        self.call(
            "C_GetSlotList",
            &[usize::from(token_present), list.as_mut_ptr() as usize, at(&mut count)],
        )?;
        list.truncate(count as usize);
        Ok(list)
    }

    /// The only slot with an initialised token of that label.
    #[must_use]
    pub fn slot_of(&self, label: &str) -> CK_SLOT_ID {
        let slots = self.slots(true).expect("C_GetSlotList");
        let found = slots
            .iter()
            .find(|slot| self.token_info(**slot).is_ok_and(|info| info.label == label));
        *found.unwrap_or_else(|| panic!("no token `{label}` in the slots {slots:?}"))
    }

    /// `C_GetTokenInfo`: label, serial and flags.
    pub fn token_info(&self, slot: CK_SLOT_ID) -> Result<TokenInfo, Rv> {
        let mut info = CK_TOKEN_INFO::default();
        self.call("C_GetTokenInfo", &[slot as usize, at(&mut info)])?;
        Ok(TokenInfo {
            label: blank_padded(&info.label),
            serial: blank_padded(&info.serialNumber),
            flags: info.flags,
        })
    }

    /// `C_GetMechanismList`, both calls.
    pub fn mechanisms(&self, slot: CK_SLOT_ID) -> Result<Vec<CK_MECHANISM_TYPE>, Rv> {
        let mut count: CK_ULONG = 0;
        self.call("C_GetMechanismList", &[slot as usize, 0, at(&mut count)])?;
        let mut list = vec![0; count as usize];
        self.call(
            "C_GetMechanismList",
            &[slot as usize, list.as_mut_ptr() as usize, at(&mut count)],
        )?;
        list.truncate(count as usize);
        Ok(list)
    }

    /// `C_InitToken`; the label is padded with blanks.
    pub fn init_token(&self, slot: CK_SLOT_ID, so_pin: &str, label: &str) -> Result<(), Rv> {
        let label = format!("{label:<32}");
        self.call(
            "C_InitToken",
            &[
                slot as usize,
                so_pin.as_ptr() as usize,
                so_pin.len(),
                label.as_ptr() as usize,
            ],
        )
    }

    /// `C_InitPIN`.
    pub fn init_pin(&self, session: Session, pin: &str) -> Result<(), Rv> {
        self.call("C_InitPIN", &[session as usize, pin.as_ptr() as usize, pin.len()])
    }

    /// `C_OpenSession`, read and write.
    pub fn open_session(&self, slot: CK_SLOT_ID) -> Result<Session, Rv> {
        let mut session: Session = 0;
        let flags = (CKF_SERIAL_SESSION | CKF_RW_SESSION) as usize;
        self.call("C_OpenSession", &[slot as usize, flags, 0, 0, at(&mut session)])?;
        Ok(session)
    }

    /// `C_CloseSession`.
    pub fn close_session(&self, session: Session) -> Result<(), Rv> {
        self.call("C_CloseSession", &[session as usize])
    }

    /// `C_Login`.
    pub fn login(&self, session: Session, user: CK_USER_TYPE, pin: &str) -> Result<(), Rv> {
        self.call(
            "C_Login",
            &[session as usize, user as usize, pin.as_ptr() as usize, pin.len()],
        )
    }

    /// `C_Logout`.
    pub fn logout(&self, session: Session) -> Result<(), Rv> {
        self.call("C_Logout", &[session as usize])
    }

    /// `C_SetPIN`.
    pub fn set_pin(&self, session: Session, old: &str, new: &str) -> Result<(), Rv> {
        let words = [
            session as usize,
            old.as_ptr() as usize,
            old.len(),
            new.as_ptr() as usize,
            new.len(),
        ];
        self.call("C_SetPIN", &words)
    }

    /// `C_CreateObject`.
    pub fn create(&self, session: Session, template: &[Attribute]) -> Result<Object, Rv> {
        let (mut template, mut object) = (Template::new(template), 0);
        self.call(
            "C_CreateObject",
            &[session as usize, template.address(), template.count(), at(&mut object)],
        )?;
        Ok(object)
    }

    /// `C_DestroyObject`.
    pub fn destroy(&self, session: Session, object: Object) -> Result<(), Rv> {
        self.call("C_DestroyObject", &[session as usize, object as usize])
    }

    /// `C_SetAttributeValue`.
    pub fn set(&self, session: Session, object: Object, template: &[Attribute]) -> Result<(), Rv> {
        let mut template = Template::new(template);
        self.call(
            "C_SetAttributeValue",
            &[session as usize, object as usize, template.address(), template.count()],
        )
    }

    /// `C_GetAttributeValue` of one attribute, both calls.
    pub fn get(&self, session: Session, object: Object, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>, Rv> {
        let mut query = Template::room(&[kind], &[0]);
        self.call(
            "C_GetAttributeValue",
            &[session as usize, object as usize, query.address(), 1],
        )?;
        let Some(length) = query.lengths()[0].filter(|length| *length > 0) else {
            return Ok(Vec::new());
        };
        let mut room = Template::room(&[kind], &[length]);
        self.call(
            "C_GetAttributeValue",
            &[session as usize, object as usize, room.address(), 1],
        )?;
        Ok(room.values().remove(0).unwrap_or_default())
    }

    /// `C_FindObjectsInit`, `C_FindObjects` until there are no more, `C_FindObjectsFinal`.
    pub fn find(&self, session: Session, template: &[Attribute]) -> Result<Vec<Object>, Rv> {
        let mut template = Template::new(template);
        self.call(
            "C_FindObjectsInit",
            &[session as usize, template.address(), template.count()],
        )?;
        let mut found = Vec::new();
        let mut page = [0; 64];
        loop {
            let mut count: CK_ULONG = 0;
            let words = [session as usize, page.as_mut_ptr() as usize, page.len(), at(&mut count)];
            self.call("C_FindObjects", &words)?;
            if count == 0 {
                break;
            }
            found.extend_from_slice(&page[..count as usize]);
        }
        self.call("C_FindObjectsFinal", &[session as usize])?;
        Ok(found)
    }

    /// `C_GenerateKey`.
    pub fn generate_key(&self, session: Session, mechanism: &Mechanism, template: &[Attribute]) -> Result<Object, Rv> {
        let (mut template, mut object) = (Template::new(template), 0);
        mechanism.with(|mechanism| {
            let words = [
                session as usize,
                mechanism,
                template.address(),
                template.count(),
                at(&mut object),
            ];
            self.call("C_GenerateKey", &words)
        })?;
        Ok(object)
    }

    /// `C_GenerateKeyPair`: public and private key.
    pub fn generate_key_pair(
        &self,
        session: Session,
        mechanism: &Mechanism,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Result<(Object, Object), Rv> {
        let (mut public, mut private) = (Template::new(public), Template::new(private));
        let (mut public_key, mut private_key) = (0, 0);
        mechanism.with(|mechanism| {
            self.call(
                "C_GenerateKeyPair",
                &[
                    session as usize,
                    mechanism,
                    public.address(),
                    public.count(),
                    private.address(),
                    private.count(),
                    at(&mut public_key),
                    at(&mut private_key),
                ],
            )
        })?;
        Ok((public_key, private_key))
    }

    /// `C_DeriveKey`.
    pub fn derive(
        &self,
        session: Session,
        mechanism: &Mechanism,
        base: Object,
        template: &[Attribute],
    ) -> Result<Object, Rv> {
        let (mut template, mut object) = (Template::new(template), 0);
        mechanism.with(|mechanism| {
            let words = [
                session as usize,
                mechanism,
                base as usize,
                template.address(),
                template.count(),
                at(&mut object),
            ];
            self.call("C_DeriveKey", &words)
        })?;
        Ok(object)
    }

    /// An Init function: `C_SignInit`, `C_VerifyInit`, `C_EncryptInit`, `C_DecryptInit`.
    pub fn start(&self, function: &str, session: Session, mechanism: &Mechanism, key: Object) -> Result<(), Rv> {
        mechanism.with(|mechanism| self.call(function, &[session as usize, mechanism, key as usize]))
    }

    /// A function with one input and one output, first asked for the length: `C_Sign`, `C_Encrypt`, `C_Digest`, ...
    pub fn finish(&self, function: &str, session: Session, input: &[u8]) -> Result<Vec<u8>, Rv> {
        let (data, mut length) = (input.as_ptr() as usize, 0 as CK_ULONG);
        self.call(function, &[session as usize, data, input.len(), 0, at(&mut length)])?;
        let mut output = vec![0_u8; length as usize];
        let words = [
            session as usize,
            data,
            input.len(),
            output.as_mut_ptr() as usize,
            at(&mut length),
        ];
        self.call(function, &words)?;
        output.truncate(length as usize);
        Ok(output)
    }

    /// A function with one output, first asked for the length: `C_EncryptFinal`, `C_SignFinal`, ...
    pub fn end(&self, function: &str, session: Session) -> Result<Vec<u8>, Rv> {
        let mut length: CK_ULONG = 0;
        self.call(function, &[session as usize, 0, at(&mut length)])?;
        let mut output = vec![0_u8; length as usize];
        let words = [session as usize, output.as_mut_ptr() as usize, at(&mut length)];
        self.call(function, &words)?;
        output.truncate(length as usize);
        Ok(output)
    }

    /// `C_SignInit` and `C_Sign`.
    pub fn sign(&self, session: Session, mechanism: &Mechanism, key: Object, data: &[u8]) -> Result<Vec<u8>, Rv> {
        self.start("C_SignInit", session, mechanism, key)?;
        self.finish("C_Sign", session, data)
    }

    /// `C_VerifyInit` and `C_Verify`.
    pub fn verify(
        &self,
        session: Session,
        mechanism: &Mechanism,
        key: Object,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), Rv> {
        self.start("C_VerifyInit", session, mechanism, key)?;
        let words = [
            session as usize,
            data.as_ptr() as usize,
            data.len(),
            signature.as_ptr() as usize,
            signature.len(),
        ];
        self.call("C_Verify", &words)
    }

    /// `C_EncryptInit` and `C_Encrypt`.
    pub fn encrypt(&self, session: Session, mechanism: &Mechanism, key: Object, data: &[u8]) -> Result<Vec<u8>, Rv> {
        self.start("C_EncryptInit", session, mechanism, key)?;
        self.finish("C_Encrypt", session, data)
    }

    /// `C_DecryptInit` and `C_Decrypt`.
    pub fn decrypt(&self, session: Session, mechanism: &Mechanism, key: Object, data: &[u8]) -> Result<Vec<u8>, Rv> {
        self.start("C_DecryptInit", session, mechanism, key)?;
        self.finish("C_Decrypt", session, data)
    }

    /// `C_WrapKey`, both calls.
    pub fn wrap(&self, session: Session, mechanism: &Mechanism, wrapping: Object, key: Object) -> Result<Vec<u8>, Rv> {
        mechanism.with(|mechanism| {
            let mut length: CK_ULONG = 0;
            let (session, wrapping, key) = (session as usize, wrapping as usize, key as usize);
            self.call("C_WrapKey", &[session, mechanism, wrapping, key, 0, at(&mut length)])?;
            let mut output = vec![0_u8; length as usize];
            let words = [
                session,
                mechanism,
                wrapping,
                key,
                output.as_mut_ptr() as usize,
                at(&mut length),
            ];
            self.call("C_WrapKey", &words)?;
            output.truncate(length as usize);
            Ok(output)
        })
    }

    /// `C_UnwrapKey`.
    pub fn unwrap(
        &self,
        session: Session,
        mechanism: &Mechanism,
        unwrapping: Object,
        blob: &[u8],
        template: &[Attribute],
    ) -> Result<Object, Rv> {
        let (mut template, mut object) = (Template::new(template), 0);
        mechanism.with(|mechanism| {
            let words = [
                session as usize,
                mechanism,
                unwrapping as usize,
                blob.as_ptr() as usize,
                blob.len(),
                template.address(),
                template.count(),
                at(&mut object),
            ];
            self.call("C_UnwrapKey", &words)
        })?;
        Ok(object)
    }

    /// `C_CopyObject`.
    pub fn copy_object(&self, session: Session, source: Object, template: &[Attribute]) -> Result<Object, Rv> {
        let (mut template, mut object) = (Template::new(template), 0);
        let words = [
            session as usize,
            source as usize,
            template.address(),
            template.count(),
            at(&mut object),
        ];
        self.call("C_CopyObject", &words)?;
        Ok(object)
    }

    /// `C_GenerateRandom`.
    pub fn random(&self, session: Session, length: usize) -> Result<Vec<u8>, Rv> {
        let mut output = vec![0_u8; length];
        self.call(
            "C_GenerateRandom",
            &[session as usize, output.as_mut_ptr() as usize, length],
        )?;
        Ok(output)
    }
}

/// What tests want to know of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Without trailing blanks.
    pub label: String,
    /// Without trailing blanks.
    pub serial: String,
    /// `CKF_...` of the token.
    pub flags: CK_FLAGS,
}
