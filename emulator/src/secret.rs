//! A secret text that is kept in a record: a PIN, a password, a secret access key. Wiped when dropped, never shown.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use zeroize::Zeroizing;

/// The text.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// A text that is wiped already.
    pub(crate) const fn wrap(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text itself: to log in with, to sign with, to seal it in a record.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is this text; the time does not tell how much of it is.
    pub(crate) fn is(&self, text: &str) -> bool {
        let (own, text) = (self.0.as_bytes(), text.as_bytes());
        let differ = own.iter().zip(text).fold(0, |differ, (a, b)| differ | (a ^ b));
        own.len() == text.len() && differ == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// For records, which hsmd seals; never for an answer.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_its_record_and_not_in_debug_output() {
        let secret = Secret::new("hidden");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        let text = serde_json::to_string(&secret).unwrap();
        assert!(secret.is("hidden") && !secret.is("hidde") && !secret.is("hiddem"));
        assert_eq!(serde_json::from_str::<Secret>(&text).unwrap().expose(), "hidden");
    }
}
