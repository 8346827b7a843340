//! Identifiers, each a type of its own: 128-bit ids chosen at random by whoever makes the thing, and small slot ids.

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Reads an id that came over the wire; `None` unless it has 16 bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Reads 32 lower-case hexadecimal digits.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let text = text.as_bytes();
                if text.len() != 32 {
                    return None;
                }
                let mut out = [0; 16];
                for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
                    *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
                }
                Some(Self(out))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

id128! {
    /// An object's `CKA_UNIQUE_ID` (PKCS#11 3.0, 4.4.1), chosen by the creator (INV-10).
    UniqueId
}
id128! {
    /// One write other than a create; the same id again is the same operation (INV-10).
    OperationId
}
id128! {
    /// A key set: where the keys of a partition, or of all members of a group, live.
    KeySetId
}
id128! {
    /// One joining of a partition with keys of its own to a group: what was copied for it is seen when it is done.
    JoinId
}
id128! {
    /// A login record.
    LoginId
}
id128! {
    /// One `C_Initialize` of one process: session objects are sealed to it.
    ApplicationId
}
id128! {
    /// A node of the fleet.
    NodeId
}

/// A token object that a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its unique id.
    pub id: UniqueId,
    /// CKA_PRIVATE: the handle of a private object ends with the login, that of a public one does not (PKCS#11 3.2, 5.6.10).
    pub private: bool,
}

impl Hit {
    /// Bytes of one in a reply.
    pub const BYTES: usize = 17;

    /// As it goes over the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [u8::from(self.private); Self::BYTES];
        bytes[..16].copy_from_slice(&self.id.0);
        bytes
    }

    /// Reads one that came over the wire; every value is one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let [id @ .., private] = *bytes;
        Self {
            id: UniqueId(id),
            private: private != 0,
        }
    }
}

/// A slot as the client sees it: small, allotted once, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

impl std::fmt::Display for SlotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::UniqueId;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = UniqueId(*b"0123456789abcdef");
        assert_eq!(UniqueId::from_hex(&id.to_string()), Some(id));
        assert_eq!(UniqueId::from_hex("zz"), None);
        assert_eq!(UniqueId::from_slice(&[0; 15]), None);
    }
}
