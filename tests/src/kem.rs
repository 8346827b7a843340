//! `C_EncapsulateKey`, `C_DecapsulateKey` and `C_Digest` as safe Rust functions. The first two are in the list of PKCS#11 3.2
//! alone.

use cryptoki_sys::*;

use crate::module::{Module, Object, Session};
use crate::rv::Rv;
use crate::template::{Attribute, Mechanism, Template};

/// The place of a function in the list of 3.2, whose first word is the version.
macro_rules! place {
    ($name:ident) => {
        std::mem::offset_of!(CK_FUNCTION_LIST_3_2, $name) / size_of::<usize>() - 1
    };
}

impl Module {
    /// A function of the list of 3.2.
    fn call_3_2(&self, name: &str, place: usize, words: &[usize]) -> Result<(), Rv> {
        let list = self.library.interface([3, 2], size_of::<CK_FUNCTION_LIST_3_2>());
        let address = list.map_err(Rv)?[place];
        Rv::check(self.library.call_pointer(name, address, words))
    }

    /// `C_EncapsulateKey` into room for `room` bytes of ciphertext (`None`: a NULL pointer). Gives what it returned, the length that it
    /// wrote, the ciphertext and the key.
    pub fn encapsulate_into(
        &self,
        session: Session,
        mechanism: &Mechanism,
        key: Object,
        template: &[Attribute],
        room: Option<usize>,
    ) -> (Result<(), Rv>, usize, Vec<u8>, Object) {
        let (mut template, mut made) = (Template::new(template), 0);
        let (mut out, mut length) = (vec![0_u8; room.unwrap_or(0)], room.unwrap_or(0) as CK_ULONG);
        let result = mechanism.with(|mechanism| {
            let words = [
                session as usize,
                mechanism,
                key as usize,
                template.address(),
                template.count(),
                room.map_or(0, |_| out.as_mut_ptr() as usize),
                &raw mut length as usize,
                &raw mut made as usize,
            ];
            self.call_3_2("C_EncapsulateKey", place!(C_EncapsulateKey), &words)
        });
        let length = length as usize;
        out.truncate(length);
        (result, length, out, made)
    }

    /// `C_EncapsulateKey`, first asked for the length: the ciphertext and the key.
    pub fn encapsulate(
        &self,
        session: Session,
        mechanism: &Mechanism,
        key: Object,
        template: &[Attribute],
    ) -> Result<(Vec<u8>, Object), Rv> {
        let (asked, length, ..) = self.encapsulate_into(session, mechanism, key, template, None);
        asked?;
        let (result, _, ciphertext, made) = self.encapsulate_into(session, mechanism, key, template, Some(length));
        result.map(|()| (ciphertext, made))
    }

    /// `C_DecapsulateKey`.
    pub fn decapsulate(
        &self,
        session: Session,
        mechanism: &Mechanism,
        key: Object,
        template: &[Attribute],
        ciphertext: &[u8],
    ) -> Result<Object, Rv> {
        let (mut template, mut made) = (Template::new(template), 0);
        mechanism.with(|mechanism| {
            let words = [
                session as usize,
                mechanism,
                key as usize,
                template.address(),
                template.count(),
                ciphertext.as_ptr() as usize,
                ciphertext.len(),
                &raw mut made as usize,
            ];
            self.call_3_2("C_DecapsulateKey", place!(C_DecapsulateKey), &words)
        })?;
        Ok(made)
    }

    /// `C_DigestInit` and `C_Digest`.
    pub fn digest(&self, session: Session, hash: CK_MECHANISM_TYPE, data: &[u8]) -> Result<Vec<u8>, Rv> {
        Mechanism::Plain(hash).with(|mechanism| {
            let words = [session as usize, mechanism];
            Rv::check(self.library.call("C_DigestInit", &words))
        })?;
        self.finish("C_Digest", session, data)
    }
}
