//! External keys: the AES keys of one token, by label or by `CKA_ID` in hexadecimal, and what they may be used for. Runs on the
//! threads of the module.

use super::super::error::ErrorName;
use super::refusal::Refusal;
use crate::module::{ModuleError, Worker};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A key that was found is looked for again after this time: another may have been given its name.
const FRESH: Duration = Duration::from_secs(5);
/// More names than this are not remembered.
const MOST: usize = 10_000;
/// The length of an AES-256 key in bytes.
const AES_256: u64 = 32;

/// A key of the token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) handle: ObjectHandle,
    /// In bytes.
    length: u64,
    encrypts: bool,
    decrypts: bool,
}

impl Key {
    fn does(self, need: Need) -> Result<(), Refusal> {
        let refused = |message| Err(Refusal::new(ErrorName::InvalidKeyUsage, message));
        if (need.encrypt || need.decrypt) && self.length != AES_256 {
            return refused("the key is not AES-256");
        }
        if need.encrypt && !self.encrypts {
            return refused("the key's CKA_ENCRYPT is false");
        }
        if need.decrypt && !self.decrypts {
            return refused("the key's CKA_DECRYPT is false");
        }
        Ok(())
    }
}

/// What a key must do for a call: only AES-256 keys do anything in version 1 of the API.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need {
    pub(super) encrypt: bool,
    pub(super) decrypt: bool,
}

/// What GetKeyMetadata says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) spec: &'static str,
    pub(super) usage: Vec<&'static str>,
}

/// The keys that were found. Handles are the same in all sessions of the process.
#[derive(Default)]
pub(super) struct Keys {
    found: Mutex<HashMap<String, (Key, Instant)>>,
}

impl Keys {
    /// Uses the key of a name. When it is not, or does not do, what was found last, it is looked for once more: it may have been
    /// destroyed or changed since.
    pub(super) fn with<T>(
        &self,
        worker: &mut Worker,
        name: &str,
        need: Need,
        call: impl Fn(&mut Worker, Key) -> Result<T, ModuleError>,
    ) -> Result<Result<T, Refusal>, ModuleError> {
        if let Some(key) = self.known(name).filter(|key| key.does(need).is_ok()) {
            match call(worker, key) {
                Err(error) if may_be_stale(&error) => self.forget(name),
                result => return result.map(Ok),
            }
        }
        let key = match find(worker, name)? {
            Ok(key) => key,
            Err(refusal) => {
                self.forget(name);
                return Ok(Err(refusal));
            }
        };
        self.remember(name, key);
        match key.does(need) {
            Ok(()) => call(worker, key).map(Ok).inspect_err(|_| self.forget(name)),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    fn known(&self, name: &str) -> Option<Key> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, at) = found.get(name)?;
        (at.elapsed() < FRESH).then_some(*key)
    }

    fn remember(&self, name: &str, key: Key) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= MOST {
            found.clear();
        }
        found.insert(name.to_owned(), (key, Instant::now()));
    }

    fn forget(&self, name: &str) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Whether a call may have failed because the key was destroyed or changed, or the login ended, since it was found.
fn may_be_stale(error: &ModuleError) -> bool {
    use cryptoki::error::RvError as Rv;
    matches!(
        error.rv(),
        Some(Rv::ObjectHandleInvalid | Rv::KeyHandleInvalid | Rv::FunctionFailed | Rv::KeyFunctionNotPermitted)
    )
}

/// The one key of a name.
fn find(worker: &mut Worker, name: &str) -> Result<Result<Key, Refusal>, ModuleError> {
    let mut handles = search(worker, Attribute::Label(name.as_bytes().to_vec()))?;
    if let Some(id) = hexadecimal(name) {
        for handle in search(worker, Attribute::Id(id))? {
            if !handles.contains(&handle) {
                handles.push(handle);
            }
        }
    }
    let handle = match handles[..] {
        [handle] => handle,
        [] => return Err(ModuleError::NoKey),
        _ => {
            let message = "several keys have this label or CKA_ID: give each its own";
            return Ok(Err(Refusal::new(ErrorName::KeyNotFound, message)));
        }
    };
    let wanted = [AttributeType::ValueLen, AttributeType::Encrypt, AttributeType::Decrypt];
    let mut key = Key {
        handle,
        length: 0,
        encrypts: false,
        decrypts: false,
    };
    for attribute in worker.session()?.get_attributes(handle, &wanted)? {
        match attribute {
            Attribute::ValueLen(length) => key.length = u64::from(length),
            Attribute::Encrypt(yes) => key.encrypts = yes,
            Attribute::Decrypt(yes) => key.decrypts = yes,
            _ => {}
        }
    }
    Ok(Ok(key))
}

fn search(worker: &mut Worker, by: Attribute) -> Result<Vec<ObjectHandle>, ModuleError> {
    let template = [
        Attribute::Token(true),
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        by,
    ];
    Ok(worker.session()?.find_objects(&template)?)
}

/// The bytes of an even number of hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

/// What a key is and does, as it stands now.
pub(super) fn describe(worker: &mut Worker, key: Key) -> Result<Description, ModuleError> {
    let usages = [
        (AttributeType::Encrypt, "ENCRYPT"),
        (AttributeType::Decrypt, "DECRYPT"),
        (AttributeType::Sign, "SIGN"),
        (AttributeType::Verify, "VERIFY"),
        (AttributeType::Wrap, "WRAP"),
        (AttributeType::Unwrap, "UNWRAP"),
        (AttributeType::Derive, "DERIVE"),
    ];
    let wanted = usages.map(|(attribute, _)| attribute);
    let attributes = worker.session()?.get_attributes(key.handle, &wanted)?;
    let is_set = |wanted: AttributeType| {
        attributes.iter().any(|attribute| match attribute {
            Attribute::Encrypt(yes)
            | Attribute::Decrypt(yes)
            | Attribute::Sign(yes)
            | Attribute::Verify(yes)
            | Attribute::Wrap(yes)
            | Attribute::Unwrap(yes)
            | Attribute::Derive(yes) => *yes && attribute.attribute_type() == wanted,
            _ => false,
        })
    };
    let spec = match key.length {
        AES_256 => "AES_256",
        24 => "AES_192",
        _ => "AES_128",
    };
    let usage = usages
        .iter()
        .filter(|(attribute, _)| is_set(*attribute))
        .map(|(_, name)| *name);
    Ok(Description {
        spec,
        usage: usage.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_names_are_even() {
        assert_eq!(hexadecimal("0aFf"), Some(vec![0x0a, 0xff]));
        for other in ["0", "0g", "+1", "key"] {
            assert_eq!(hexadecimal(other), None, "{other}");
        }
    }
}
