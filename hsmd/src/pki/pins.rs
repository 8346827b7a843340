//! The certificates that are let in, by their SHA-256: a map that handshakes and requests read without a lock. The records
//! behind it are the control plane's ([`crate::control`]); a change there is here before it is acknowledged.

use arc_swap::ArcSwap;
use rustls::pki_types::UnixTime;
use std::collections::HashMap;
use std::sync::Arc;
use x509_cert::Certificate;
use x509_cert::der::DecodePem as _;

/// From when to when, in seconds since 1970, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

impl Validity {
    /// That of a certificate.
    pub(crate) fn of(certificate: &Certificate) -> Self {
        let validity = certificate.tbs_certificate().validity();
        Self {
            from: validity.not_before.to_unix_duration().as_secs(),
            until: validity.not_after.to_unix_duration().as_secs(),
        }
    }

    /// Whether it is valid now.
    pub(crate) fn is_now(self) -> bool {
        (self.from..=self.until).contains(&UnixTime::now().as_secs())
    }
}

/// A certificate that is let in.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    /// Whose it is: the id of a record.
    pub(crate) id: Arc<str>,
    /// When it is valid.
    pub(crate) validity: Validity,
}

/// All of one plane.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    current: ArcSwap<HashMap<[u8; 32], Pin>>,
}

impl Pins {
    /// Whose certificate this is, if it is registered and valid now.
    pub(crate) fn get(&self, sha256: &[u8; 32]) -> Option<Arc<str>> {
        let pins = self.current.load();
        let pin = pins.get(sha256)?;
        pin.validity.is_now().then(|| pin.id.clone())
    }

    /// The last second since 1970 at which a registered certificate is valid.
    pub(crate) fn until(&self, sha256: &[u8; 32]) -> Option<u64> {
        self.current.load().get(sha256).map(|pin| pin.validity.until)
    }

    /// Whether it is registered, valid or not: for the log.
    pub(super) fn knows(&self, sha256: &[u8; 32]) -> bool {
        self.current.load().contains_key(sha256)
    }

    /// Takes over a new set: certificate, whose it is, its PEM form. What was there already is not parsed again; what does
    /// not parse is let in by nobody.
    pub(crate) fn replace<'a>(&self, pins: impl IntoIterator<Item = ([u8; 32], &'a str, &'a str)>) {
        let before = self.current.load();
        let known = |sha256: &[u8; 32], id: &str| {
            let pin: &Pin = before.get(sha256)?;
            (*pin.id == *id).then(|| pin.clone())
        };
        let parsed = |id: &str, pem: &str| {
            let certificate = Certificate::from_pem(pem.trim().as_bytes()).ok()?;
            Some(Pin {
                id: id.into(),
                validity: Validity::of(&certificate),
            })
        };
        let pin = |(sha256, id, pem)| Some((sha256, known(&sha256, id).or_else(|| parsed(id, pem))?));
        self.current.store(Arc::new(pins.into_iter().filter_map(pin).collect()));
    }
}

/// The 32 bytes of a fingerprint in hexadecimal.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
