//! The folder of a SoftHSM2 token (its backend `file`), read without SoftHSM2: a file for each object, private ones under a key that
//! the user's PIN opens. The layout was learned from SoftHSM2 2.6; all numbers are big-endian.

use crate::Error;
use crate::object::{Class, Object};
use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use cryptoki::object::{Attribute, AttributeType, CertificateType, KeyType, ObjectClass};
use cryptoki::types::Date;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize as _, Zeroizing};

/// The largest file of an object, bytes.
const MAX_OBJECT: u64 = 16 << 20;
/// SoftHSM2's own attributes of a token.
const TOKEN_LABEL: u64 = 0x8000_5349;
const TOKEN_SERIAL: u64 = 0x8000_534a;
const USER_PIN: u64 = 0x8000_534d;
/// Rounds of SHA-256 between PIN and key, beside the last byte of the salt.
const ROUNDS: usize = 1500;
const SALT: usize = 8;
const BLOCK: usize = 16;
/// What an opened key begins with.
const MAGIC: &[u8] = b"RJR";

const CLASS: u64 = 0;
const PRIVATE: u64 = 2;
const KEY_TYPE: u64 = 0x100;

/// A token's folder.
pub struct Folder {
    path: PathBuf,
    label: String,
    serial: String,
    user_pin: Vec<u8>,
}

/// The folders of tokens at a path: itself, or those below it.
///
/// # Errors
/// A path that cannot be read, or holds none.
pub fn folders(path: &Path) -> Result<Vec<Folder>, Error> {
    if path.join("token.object").is_file() {
        return Ok(vec![Folder::open(path)?]);
    }
    let mut found = Vec::new();
    for entry in list(path)? {
        if entry.join("token.object").is_file() {
            found.push(Folder::open(&entry)?);
        } else if entry.join("sqlite3.db").is_file() {
            return Err(Error::format(
                entry,
                "a token of SoftHSM2's backend `db`; import it through its module: --from-module",
            ));
        }
    }
    match found.is_empty() {
        true => Err(Error::format(
            path,
            "no token of SoftHSM2 (token.object) here or one folder below",
        )),
        false => Ok(found),
    }
}

fn list(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let io = |error| Error::Io {
        path: path.to_owned(),
        error,
    };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        entries.push(entry.map_err(io)?.path());
    }
    entries.sort();
    Ok(entries)
}

fn load(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let io = |error| Error::Io {
        path: path.to_owned(),
        error,
    };
    let length = std::fs::metadata(path).map_err(io)?.len();
    if length > MAX_OBJECT {
        return Err(Error::format(
            path,
            format!("{length} bytes; at most {MAX_OBJECT} are read"),
        ));
    }
    std::fs::read(path).map(Zeroizing::new).map_err(io)
}

impl Folder {
    fn open(path: &Path) -> Result<Self, Error> {
        let file = path.join("token.object");
        let attributes = parse(&load(&file)?).ok_or_else(|| Error::format(&file, "no object file of SoftHSM2"))?;
        let bytes = |wanted: u64| match attributes.get(&wanted) {
            Some(Value::Bytes(bytes)) => Some(bytes.to_vec()),
            _ => None,
        };
        let label = bytes(TOKEN_LABEL).ok_or_else(|| Error::format(&file, "a token without a label"))?;
        Ok(Self {
            path: path.to_owned(),
            label: String::from_utf8_lossy(&label).trim_end().to_owned(),
            serial: String::from_utf8_lossy(&bytes(TOKEN_SERIAL).unwrap_or_default())
                .trim_end()
                .to_owned(),
            user_pin: bytes(USER_PIN).unwrap_or_default(),
        })
    }

    /// The token's label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The token's serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every object, with the attributes that it had: label, id, flags, dates, sensitive and extractable as they were. An object
    /// that cannot be read is in the second list, with the reason.
    ///
    /// # Errors
    /// A wrong PIN, a token without one, a folder that cannot be read.
    pub fn read(&self, pin: &str) -> Result<(Vec<Object>, Vec<Error>), Error> {
        let key = open_key(&self.user_pin, pin.as_bytes()).ok_or_else(|| {
            Error::Secret(match self.user_pin.is_empty() {
                true => format!("token {:?} has no user PIN", self.label),
                false => format!("token {:?}: the user's PIN is wrong", self.label),
            })
        })?;
        let (mut objects, mut unread) = (Vec::new(), Vec::new());
        for path in list(&self.path)? {
            let is_object = path.extension().is_some_and(|extension| extension == "object");
            if !is_object || path.ends_with("token.object") {
                continue;
            }
            match object(&path, &key) {
                Ok(object) => objects.push(object),
                Err(error) => unread.push(error),
            }
        }
        Ok((objects, unread))
    }
}

/// The token's AES-256 key: 8 bytes of salt, the IV, then the magic and the key under a hash of salt and PIN.
fn open_key(blob: &[u8], pin: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (salt, sealed) = blob.split_at_checked(SALT)?;
    let mut hash = Zeroizing::new(<[u8; 32]>::from(
        Sha256::new().chain_update(salt).chain_update(pin).finalize(),
    ));
    for _ in 1..ROUNDS + usize::from(*salt.last()?) {
        *hash = Sha256::digest(*hash).into();
    }
    let opened = decrypt(&*hash, sealed)?;
    let key = opened.strip_prefix(MAGIC)?;
    (key.len() == 32).then(|| Zeroizing::new(key.to_vec()))
}

/// AES-256-CBC with padding, the IV in front.
fn decrypt(key: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (iv, text) = sealed.split_at_checked(BLOCK)?;
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(key, iv).ok()?;
    let mut text = Zeroizing::new(text.to_vec());
    let length = cipher.decrypt_padded::<Pkcs7>(&mut text).ok()?.len();
    let rest = text.len();
    text[length..rest].zeroize();
    text.truncate(length);
    Some(text)
}

/// The value of an attribute in a file.
pub(crate) enum Value {
    Bool(bool),
    Number(u64),
    Bytes(Zeroizing<Vec<u8>>),
    /// Templates and lists of mechanisms: read past.
    Other,
}

/// An object file: a generation, then attributes.
pub(crate) fn parse(bytes: &[u8]) -> Option<BTreeMap<u64, Value>> {
    let mut rest = Rest(bytes);
    rest.number()?;
    let mut attributes = BTreeMap::new();
    while !rest.0.is_empty() {
        let attribute = rest.number()?;
        let value = match rest.number()? {
            1 => Value::Bool(rest.take(1)? != [0]),
            2 => Value::Number(rest.number()?),
            3 => Value::Bytes(Zeroizing::new(rest.counted()?.to_vec())),
            4 => {
                rest.counted()?;
                Value::Other
            }
            5 => {
                let count = rest.number()?;
                rest.take(usize::try_from(count).ok()?.checked_mul(8)?)?;
                Value::Other
            }
            _ => return None,
        };
        attributes.insert(attribute, value);
    }
    Some(attributes)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().map(u64::from_be_bytes).ok()
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }
}

fn object(path: &Path, key: &[u8]) -> Result<Object, Error> {
    let wrong = |what: &str| Error::format(path, what);
    let attributes = parse(&load(path)?).ok_or_else(|| wrong("no object file of SoftHSM2, or a damaged one"))?;
    let number = |wanted: u64| match attributes.get(&wanted) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    };
    let class = number(CLASS)
        .and_then(class)
        .ok_or_else(|| wrong("an object of a class that is not imported"))?;
    let key_type = number(KEY_TYPE).and_then(|number| KeyType::try_from(number).ok());
    let kind = kind(class, key_type);
    let sealed = matches!(attributes.get(&PRIVATE), Some(Value::Bool(true)));
    let mut object = Object::new(class, kind, path.display().to_string());
    for (number, value) in &attributes {
        let Some(wanted) = AttributeType::try_from(*number)
            .ok()
            .filter(|wanted| is_kept(class, *wanted))
        else {
            continue;
        };
        let attribute = match value {
            Value::Bool(flag) => flagged(wanted, *flag),
            Value::Number(number) => numbered(wanted, *number),
            Value::Bytes(bytes) if bytes.is_empty() => None,
            Value::Bytes(bytes) if sealed => {
                let bytes =
                    decrypt(key, bytes).ok_or_else(|| wrong("an attribute that the token's key does not open"))?;
                counted(wanted, &bytes)
            }
            Value::Bytes(bytes) => counted(wanted, bytes),
            Value::Other => None,
        };
        object.attributes.extend(attribute);
    }
    Ok(object)
}

fn class(number: u64) -> Option<Class> {
    match ObjectClass::try_from(number).ok()? {
        ObjectClass::SECRET_KEY => Some(Class::SecretKey),
        ObjectClass::PRIVATE_KEY => Some(Class::PrivateKey),
        ObjectClass::PUBLIC_KEY => Some(Class::PublicKey),
        ObjectClass::CERTIFICATE => Some(Class::Certificate),
        ObjectClass::DATA => Some(Class::Data),
        _ => None,
    }
}

fn kind(class: Class, key_type: Option<KeyType>) -> String {
    match (class, key_type) {
        (Class::Certificate, _) => "X.509".to_owned(),
        (Class::Data, _) => "data".to_owned(),
        (_, Some(key_type)) => key_type.to_string().trim_start_matches("CKK_").to_owned(),
        (_, None) => "unknown".to_owned(),
    }
}

/// Whether a template may have it: what the token finds out itself (origin, check value, length) it may not.
fn is_kept(class: Class, attribute: AttributeType) -> bool {
    use AttributeType as A;
    let common = matches!(
        attribute,
        A::Label | A::Private | A::Modifiable | A::Copyable | A::Destroyable
    );
    let key = matches!(attribute, A::KeyType | A::Id | A::Derive | A::StartDate | A::EndDate);
    let mine = match class {
        Class::Data => matches!(attribute, A::Application | A::ObjectId | A::Value),
        Class::Certificate => matches!(
            attribute,
            A::CertificateType | A::Id | A::Subject | A::Issuer | A::SerialNumber | A::Value
        ),
        Class::SecretKey => matches!(
            attribute,
            A::Sensitive
                | A::Extractable
                | A::Encrypt
                | A::Decrypt
                | A::Sign
                | A::Verify
                | A::Wrap
                | A::Unwrap
                | A::Value
        ),
        Class::PrivateKey => matches!(
            attribute,
            A::Sensitive
                | A::Extractable
                | A::Decrypt
                | A::Sign
                | A::SignRecover
                | A::Unwrap
                | A::AlwaysAuthenticate
                | A::Subject
                | A::Modulus
                | A::PublicExponent
                | A::PrivateExponent
                | A::Prime1
                | A::Prime2
                | A::Exponent1
                | A::Exponent2
                | A::Coefficient
                | A::EcParams
                | A::Prime
                | A::Base
                | A::Value
        ),
        Class::PublicKey => matches!(
            attribute,
            A::Encrypt
                | A::Verify
                | A::VerifyRecover
                | A::Wrap
                | A::Subject
                | A::Modulus
                | A::PublicExponent
                | A::EcParams
                | A::EcPoint
                | A::Prime
                | A::Base
                | A::Value
        ),
    };
    common || mine || (key && !matches!(class, Class::Data | Class::Certificate))
}

fn flagged(attribute: AttributeType, flag: bool) -> Option<Attribute> {
    use Attribute as A;
    Some(match attribute {
        AttributeType::Private => A::Private(flag),
        AttributeType::Modifiable => A::Modifiable(flag),
        AttributeType::Copyable => A::Copyable(flag),
        AttributeType::Destroyable => A::Destroyable(flag),
        AttributeType::Derive => A::Derive(flag),
        AttributeType::Sensitive => A::Sensitive(flag),
        AttributeType::Extractable => A::Extractable(flag),
        AttributeType::Encrypt => A::Encrypt(flag),
        AttributeType::Decrypt => A::Decrypt(flag),
        AttributeType::Sign => A::Sign(flag),
        AttributeType::SignRecover => A::SignRecover(flag),
        AttributeType::Verify => A::Verify(flag),
        AttributeType::VerifyRecover => A::VerifyRecover(flag),
        AttributeType::Wrap => A::Wrap(flag),
        AttributeType::Unwrap => A::Unwrap(flag),
        AttributeType::AlwaysAuthenticate => A::AlwaysAuthenticate(flag),
        _ => return None,
    })
}

fn numbered(attribute: AttributeType, number: u64) -> Option<Attribute> {
    match attribute {
        AttributeType::KeyType => KeyType::try_from(number).ok().map(Attribute::KeyType),
        AttributeType::CertificateType => CertificateType::try_from(number).ok().map(Attribute::CertificateType),
        _ => None,
    }
}

fn counted(attribute: AttributeType, bytes: &[u8]) -> Option<Attribute> {
    use Attribute as A;
    let bytes = bytes.to_vec();
    Some(match attribute {
        AttributeType::Label => A::Label(bytes),
        AttributeType::Id => A::Id(bytes),
        AttributeType::Application => A::Application(bytes),
        AttributeType::ObjectId => A::ObjectId(bytes),
        AttributeType::Value => A::Value(bytes),
        AttributeType::Subject => A::Subject(bytes),
        AttributeType::Issuer => A::Issuer(bytes),
        AttributeType::SerialNumber => A::SerialNumber(bytes),
        AttributeType::Modulus => A::Modulus(bytes),
        AttributeType::PublicExponent => A::PublicExponent(bytes),
        AttributeType::PrivateExponent => A::PrivateExponent(bytes),
        AttributeType::Prime1 => A::Prime1(bytes),
        AttributeType::Prime2 => A::Prime2(bytes),
        AttributeType::Exponent1 => A::Exponent1(bytes),
        AttributeType::Exponent2 => A::Exponent2(bytes),
        AttributeType::Coefficient => A::Coefficient(bytes),
        AttributeType::EcParams => A::EcParams(bytes),
        AttributeType::EcPoint => A::EcPoint(bytes),
        AttributeType::Prime => A::Prime(bytes),
        AttributeType::Base => A::Base(bytes),
        AttributeType::StartDate => A::StartDate(date(&bytes)?),
        AttributeType::EndDate => A::EndDate(date(&bytes)?),
        _ => return None,
    })
}

/// `CK_DATE`: four digits, two and two.
fn date(bytes: &[u8]) -> Option<Date> {
    let (year, rest) = bytes.split_first_chunk()?;
    let (month, day) = rest.split_first_chunk()?;
    Some(Date::new(*year, *month, day.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(attributes: &[(u64, u64, Vec<u8>)]) -> Vec<u8> {
        let generation = 7_u64.to_be_bytes().to_vec();
        let attribute = |(number, kind, value): &(u64, u64, Vec<u8>)| {
            [number.to_be_bytes().as_slice(), &kind.to_be_bytes(), value].concat()
        };
        std::iter::once(generation)
            .chain(attributes.iter().map(attribute))
            .collect::<Vec<_>>()
            .concat()
    }

    fn counted_bytes(bytes: &[u8]) -> Vec<u8> {
        [(bytes.len() as u64).to_be_bytes().as_slice(), bytes].concat()
    }

    #[test]
    fn dates_come_along() {
        let ends = counted(AttributeType::EndDate, b"20270131");
        assert!(matches!(ends, Some(Attribute::EndDate(date)) if date == Date::new(*b"2027", *b"01", *b"31")));
        assert!(counted(AttributeType::StartDate, b"2027013").is_none());
    }

    #[test]
    fn an_object_file_cut_anywhere_is_refused_or_shorter_and_never_ends_the_program() {
        let whole = file(&[
            (CLASS, 2, 4_u64.to_be_bytes().to_vec()),
            (3, 3, counted_bytes(b"label")),
            (PRIVATE, 1, vec![0xff]),
            (0x4000_0600, 5, counted_bytes(&[])),
        ]);
        assert_eq!(parse(&whole).map(|attributes| attributes.len()), Some(4));
        for length in 0..whole.len() {
            assert!(
                parse(&whole[..length]).is_none_or(|attributes| attributes.len() < 4),
                "{length}"
            );
        }
        // A length beyond the end, and one that no address has.
        for length in [6_u64, u64::MAX] {
            let text = [length.to_be_bytes().as_slice(), b"short"].concat();
            assert!(parse(&file(&[(3, 3, text)])).is_none());
            assert!(parse(&file(&[(3, 5, length.to_be_bytes().to_vec())])).is_none());
        }
    }

    #[test]
    fn a_folder_without_tokens_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = folders(folder.path()).map(|_| ()).expect_err("nothing is there");
        assert!(error.to_string().contains("token.object"), "{error}");
        std::fs::create_dir(folder.path().join("a")).expect("a folder");
        std::fs::write(folder.path().join("a/token.object"), b"no token").expect("a file");
        let error = folders(folder.path()).map(|_| ()).expect_err("no token");
        assert!(error.to_string().contains("a/token.object"), "{error}");
    }

    #[test]
    fn a_blob_that_is_too_short_opens_nothing() {
        for length in [0, SALT - 1, SALT, SALT + BLOCK, SALT + BLOCK + 1] {
            assert!(open_key(&vec![1; length], b"1234").is_none(), "{length}");
        }
    }
}
