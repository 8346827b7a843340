//! Files: PEM (PKCS #8, PKCS #1, SEC 1, certificates, public keys), the same as DER, PKCS #12. What a file is, its content says,
//! not its name.

use crate::Error;
use crate::key_types::{Kind, key_id, public_attributes};
use crate::object::{Class, Material, Object};
use cryptoki::object::{Attribute, CertificateType};
use der::asn1::{ContextSpecific, ObjectIdentifier, OctetStringRef};
use der::{Any, Decode as _, Encode as _, Sequence, SliceReader, Tag, TagNumber, Tagged as _};
use p12_keystore::Pkcs12Archive;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use std::path::Path;
use x509_cert::Certificate;
use zeroize::Zeroizing;

/// The largest file that is read, bytes.
pub const MAX_FILE: u64 = 16 << 20;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// Asks for the password of a file; called once at most, and only where one is needed.
pub type Ask<'a> = &'a mut dyn FnMut() -> Result<Zeroizing<String>, Error>;

/// The objects of a file. Keys and certificates that belong together get the same id.
///
/// # Errors
/// A file that cannot be read, is none of these, or whose password is wrong.
pub fn read(path: &Path, password: Ask<'_>) -> Result<Vec<Object>, Error> {
    let io = |error| Error::Io {
        path: path.to_owned(),
        error,
    };
    let length = std::fs::metadata(path).map_err(io)?.len();
    if length > MAX_FILE {
        return Err(Error::format(
            path,
            format!("{length} bytes; at most {MAX_FILE} are read"),
        ));
    }
    let bytes = Zeroizing::new(std::fs::read(path).map_err(io)?);
    parse(path, &bytes, password)
}

/// As [`read`], of bytes; `path` is for messages and for labels.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, bytes: &[u8], password: Ask<'_>) -> Result<Vec<Object>, Error> {
    let mut reading = Reading {
        path,
        password,
        known: None,
        objects: Vec::new(),
    };
    if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        reading.pem(bytes)?;
    } else {
        reading.der(bytes)?;
    }
    let mut objects = reading.objects;
    if objects.is_empty() {
        return Err(Error::format(path, "no key and no certificate in it"));
    }
    name(path, &mut objects);
    Ok(objects)
}

/// What has no label gets that of its key, and the last resort is the file's name.
fn name(path: &Path, objects: &mut [Object]) {
    let labels: Vec<(Vec<u8>, String)> = objects
        .iter()
        .filter(|object| !object.label().is_empty())
        .map(|object| (object.id().to_vec(), object.label()))
        .collect();
    let file = path.file_stem().map(|name| name.to_string_lossy().into_owned());
    for object in objects.iter_mut().filter(|object| object.label().is_empty()) {
        let same = labels.iter().find(|(id, _)| !id.is_empty() && id == object.id());
        let label = same.map(|(_, label)| label.clone()).or_else(|| file.clone());
        object.set_label(&label.unwrap_or_default());
    }
}

struct Reading<'a> {
    path: &'a Path,
    password: Ask<'a>,
    known: Option<Zeroizing<String>>,
    objects: Vec<Object>,
}

impl Reading<'_> {
    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::format(self.path, what)
    }

    fn password(&mut self) -> Result<Zeroizing<String>, Error> {
        if let Some(known) = &self.known {
            return Ok(known.clone());
        }
        let password = (self.password)()?;
        self.known = Some(password.clone());
        Ok(password)
    }

    fn pem(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let blocks = pem::parse_many(bytes).map_err(|error| self.wrong(format!("no PEM: {error}")))?;
        for (number, block) in blocks.into_iter().enumerate() {
            let tag = block.tag().to_owned();
            let encrypted = block.headers().get("DEK-Info").is_some();
            let origin = format!("{}, block {}", self.path.display(), number + 1);
            let contents = Zeroizing::new(block.into_contents());
            if encrypted {
                return Err(self.wrong(
                    "encrypted in the old way of OpenSSL; `openssl pkcs8 -topk8 -in FILE -out NEW` makes a file that can be read",
                ));
            }
            match tag.as_str() {
                "PRIVATE KEY" => self.private(&contents, &origin, None, None)?,
                "ENCRYPTED PRIVATE KEY" => self.encrypted(&contents, &origin)?,
                "RSA PRIVATE KEY" => self.rsa(&contents, &origin)?,
                "EC PRIVATE KEY" => self.ec(&contents, &origin)?,
                "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                    self.certificate(&contents, &origin, None)?
                }
                "PUBLIC KEY" => self.public(&contents, &origin)?,
                // Nothing of it is kept in a token.
                "EC PARAMETERS" | "DH PARAMETERS" | "X509 CRL" | "CERTIFICATE REQUEST" => {}
                other => return Err(self.wrong(format!("block {}: {other} is not imported", number + 1))),
            }
        }
        Ok(())
    }

    fn der(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let origin = self.path.display().to_string();
        if PrivateKeyInfoRef::try_from(bytes).is_ok() {
            return self.private(bytes, &origin, None, None);
        }
        if Certificate::from_der(bytes).is_ok() {
            return self.certificate(bytes, &origin, None);
        }
        if EncryptedPrivateKeyInfoRef::try_from(bytes).is_ok() {
            return self.encrypted(bytes, &origin);
        }
        if public_attributes(bytes).is_some() {
            return self.public(bytes, &origin);
        }
        match pkcs12(bytes) {
            true => self.pkcs12(bytes),
            false => Err(self.wrong("neither PEM, nor PKCS #12, nor a key or certificate as DER")),
        }
    }

    fn encrypted(&mut self, der: &[u8], origin: &str) -> Result<(), Error> {
        let info =
            EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| self.wrong(format!("no PKCS #8: {error}")))?;
        let password = self.password()?;
        let key = info.decrypt(password.as_bytes()).map_err(|error| {
            Error::Secret(format!(
                "{}: the password is wrong, or the encryption is none of PBES2: {error}",
                self.path.display()
            ))
        })?;
        self.private(key.as_bytes(), origin, None, None)
    }

    /// A private key as PKCS #8. The token makes its public key, and the id where the file has no certificate or name for it.
    fn private(&mut self, der: &[u8], origin: &str, label: Option<&str>, id: Option<&[u8]>) -> Result<(), Error> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(|error| self.wrong(format!("no PKCS #8: {error}")))?;
        let oid = info.algorithm.oid;
        let kind = Kind::of(oid).ok_or_else(|| self.wrong(format!("keys of the algorithm {oid} are not imported")))?;
        let mut object = Object::new(Class::PrivateKey, kind.name, origin);
        object.attributes = kind.private_attributes();
        object
            .attributes
            .extend([Attribute::Private(true), Attribute::Sensitive(true)]);
        object.set_extractable(false);
        if let Some(label) = label {
            object.set_label(label);
        }
        if let Some(id) = id.or(public_bits(&info).as_deref()) {
            object.set_id(id);
        }
        object.material = Material::Pkcs8(Zeroizing::new(der.to_vec()));
        self.objects.push(object);
        Ok(())
    }

    /// PKCS #1 (RFC 8017, A.1.2) inside PKCS #8.
    fn rsa(&mut self, der: &[u8], origin: &str) -> Result<(), Error> {
        let pkcs8 = enclose(RSA, Any::null(), der);
        let pkcs8 = pkcs8.ok_or_else(|| self.wrong("an RSA key that cannot be encoded"))?;
        self.private(&pkcs8, origin, None, None)
    }

    /// SEC 1 (RFC 5915) inside PKCS #8, which has the curve in another place.
    fn ec(&mut self, der: &[u8], origin: &str) -> Result<(), Error> {
        let curve = curve(der).ok_or_else(|| self.wrong("an EC key that does not name its curve"))?;
        let pkcs8 = Any::encode_from(&curve).ok().and_then(|curve| enclose(EC, curve, der));
        let pkcs8 = pkcs8.ok_or_else(|| self.wrong("an EC key that cannot be encoded"))?;
        self.private(&pkcs8, origin, None, None)
    }

    fn public(&mut self, der: &[u8], origin: &str) -> Result<(), Error> {
        let (kind, attributes) =
            public_attributes(der).ok_or_else(|| self.wrong("a public key of a kind that is not imported"))?;
        let mut object = Object::new(Class::PublicKey, kind.name, origin);
        object.attributes = attributes;
        object.set_id(&key_id(der).unwrap_or_default());
        self.objects.push(object);
        Ok(())
    }

    fn certificate(&mut self, der: &[u8], origin: &str, label: Option<&str>) -> Result<(), Error> {
        let parsed = Certificate::from_der(der).map_err(|error| self.wrong(format!("no certificate: {error}")))?;
        let encoded = |what: der::Result<Vec<u8>>| what.map_err(|error| self.wrong(format!("a certificate: {error}")));
        let body = parsed.tbs_certificate();
        let info = encoded(body.subject_public_key_info().to_der())?;
        let mut object = Object::new(Class::Certificate, "X.509", origin);
        object.attributes = vec![
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Value(der.to_vec()),
            Attribute::Subject(encoded(body.subject().to_der())?),
            Attribute::Issuer(encoded(body.issuer().to_der())?),
            Attribute::SerialNumber(encoded(body.serial_number().to_der())?),
        ];
        object.set_id(&key_id(&info).unwrap_or_default());
        let subject = body.subject().to_string();
        let common = subject.split(',').find_map(|part| part.trim().strip_prefix("CN="));
        if let Some(label) = label.or(common) {
            object.set_label(label);
        }
        self.objects.push(object);
        Ok(())
    }

    fn pkcs12(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let password = self.password()?;
        let archive = Pkcs12Archive::from_pkcs12(bytes, &password).map_err(|error| {
            Error::Secret(format!(
                "{}: the password is wrong, or it is encrypted in a way that is not read: {error}",
                self.path.display()
            ))
        })?;
        let origin = self.path.display().to_string();
        // Key and certificate are a pair where their local ids say so; the pair's id is that of the certificate's key.
        for bag in &archive.certs {
            self.certificate(bag.cert.as_der(), &origin, bag.friendly_name.as_deref())?;
            if let (Some(local), Some(object)) = (&bag.local_key_id, self.objects.last()) {
                let id = object.id().to_vec();
                for key in archive
                    .keys
                    .iter()
                    .filter(|key| local_id(key) == Some(local.as_slice()))
                {
                    self.private(key.key.as_der(), &origin, key.friendly_name.as_deref(), Some(&id))?;
                }
            }
        }
        let certified = |key: &p12_keystore::PrivateKeyBag| {
            archive
                .certs
                .iter()
                .any(|bag| bag.local_key_id.is_some() && bag.local_key_id.as_deref() == local_id(key))
        };
        for key in archive.keys.iter().filter(|key| !certified(key)) {
            self.private(key.key.as_der(), &origin, key.friendly_name.as_deref(), None)?;
        }
        Ok(())
    }
}

fn local_id(key: &p12_keystore::PrivateKeyBag) -> Option<&[u8]> {
    key.local_key_id.as_ref().map(AsRef::as_ref)
}

/// The id of a key whose PKCS #8 has its public key with it (RFC 5958), as SEC 1 and Ed25519 keys of some programs do.
fn public_bits(info: &PrivateKeyInfoRef<'_>) -> Option<Vec<u8>> {
    use sha1::Digest as _;
    let bits = info.public_key.as_ref()?.as_bytes()?;
    Some(sha1::Sha1::digest(bits).to_vec())
}

/// `PrivateKeyInfo` (RFC 5958, version 1) around the encoding of a key.
fn enclose(oid: ObjectIdentifier, parameters: Any, key: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    #[derive(Sequence)]
    struct Algorithm {
        oid: ObjectIdentifier,
        parameters: Any,
    }
    #[derive(Sequence)]
    struct Info<'a> {
        version: u8,
        algorithm: Algorithm,
        key: &'a OctetStringRef,
    }
    let info = Info {
        version: 0,
        algorithm: Algorithm { oid, parameters },
        key: OctetStringRef::new(key).ok()?,
    };
    info.to_der().ok().map(Zeroizing::new)
}

/// The curve of an `ECPrivateKey` (RFC 5915, 3): `[0]`.
fn curve(der: &[u8]) -> Option<ObjectIdentifier> {
    use der::Reader as _;
    let mut reader = SliceReader::new(der).ok()?;
    reader
        .sequence(|inner| {
            let _version = u8::decode(inner)?;
            let _scalar = <&OctetStringRef>::decode(inner)?;
            let curve = ContextSpecific::<ObjectIdentifier>::decode_explicit(inner, TagNumber(0))?;
            while !inner.is_finished() {
                Any::decode(inner)?;
            }
            Ok::<_, der::Error>(curve)
        })
        .ok()?
        .map(|curve| curve.value)
}

/// Whether it may be PKCS #12 (RFC 7292, 4): a sequence that begins with the version 3.
fn pkcs12(bytes: &[u8]) -> bool {
    let Ok(any) = der::AnyRef::try_from(bytes) else {
        return false;
    };
    any.tag() == Tag::Sequence && any.value().starts_with(&[2, 1, 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        let mut password = || Err(Error::Secret("a password is needed".to_owned()));
        let parsed = parse(Path::new("keys.pem"), bytes, &mut password);
        parsed.map(|_| ()).expect_err("it is none").to_string()
    }

    #[test]
    fn what_is_no_key_is_refused_by_name_and_with_a_remedy() {
        for (bytes, words) in [
            (b"".as_slice(), "neither PEM"),
            (b"\x30\x03\x02\x01\x00", "neither PEM"),
            (b"-----BEGIN CERTIFICATE-----\n", "no key and no certificate"),
            (b"-----BEGIN X-----\nAAAA\n-----END X-----\n", "X is not imported"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate"),
            (b"-----BEGIN EC PRIVATE KEY-----\nMAUCAQEEAA==\n-----END EC PRIVATE KEY-----\n", "does not name its curve"),
            (b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n", "no key and no certificate"),
            (
                b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
                "openssl pkcs8 -topk8",
            ),
        ] {
            let text = refused(bytes);
            assert!(text.contains("keys.pem") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_key_arrives_sensitive_not_extractable_and_under_the_name_of_its_file() {
        let key = include_bytes!("../../fuzz/seeds/rsa-1024.pk8");
        let mut password = || Err(Error::Secret(String::new()));
        let objects = parse(Path::new("folder/web.der"), key, &mut password).expect("a key");
        let [object] = objects.as_slice() else {
            panic!("{} objects", objects.len())
        };
        assert_eq!(
            (object.class, object.kind.as_str(), object.label().as_str()),
            (Class::PrivateKey, "RSA", "web")
        );
        assert!(matches!(object.material, Material::Pkcs8(_)));
        for flag in [
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Private(true),
        ] {
            assert_eq!(object.find(flag.attribute_type()), Some(&flag));
        }
    }
}
