//! The rows of the comparison as data: what one call is, how it is repeated, and the target it is held against. How a
//! row calls a module is in `src/bin/p11bench/rows/`.

/// A row's target from the design (`docs/design.md`, section 11).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// CPU per call at most raw aws-lc + 12 us, p50 at most raw + 15 us; both + 0.5 us for each KiB above 4 KiB.
    Operation {
        /// KiB of data that one call carries.
        kib: f64,
    },
    /// At most 1 us, without the daemon.
    Local,
    /// At most 15 us, however many objects there are.
    Search,
    /// Over 2,000 a second with 32 threads.
    Durable,
    /// To be faster than SoftHSM2 in process, as every row.
    Faster,
}

/// At which numbers of callers a row means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Threads and processes.
    Any,
    /// One thread in each process: what a call changes belongs to the application.
    OneThread,
    /// One caller.
    One,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name in tables and after `--rows`.
    pub name: &'static str,
    /// What one call is.
    pub what: &'static str,
    /// What it is held against.
    pub target: Target,
    /// With how many callers.
    pub callers: Callers,
    /// How many objects fill the token; 0: only the keys of the rows, about ten.
    pub objects: usize,
}

const fn row(name: &'static str, what: &'static str, target: Target) -> Row {
    Row {
        name,
        what,
        target,
        callers: Callers::Any,
        objects: 0,
    }
}

const fn operation(name: &'static str, what: &'static str) -> Row {
    row(name, what, Target::Operation { kib: 0.0 })
}

/// All rows, in the order of the tables.
pub const ROWS: &[Row] = &[
    operation("sign-rsa2048", "RSA-2048 PKCS#1 v1.5 signature of 32 bytes"),
    operation("sign-rsa4096", "RSA-4096 PKCS#1 v1.5 signature of 32 bytes"),
    operation("sign-p256", "ECDSA P-256 signature of a digest"),
    operation("sign-p384", "ECDSA P-384 signature of a digest"),
    operation("sign-ed25519", "Ed25519 signature of 32 bytes"),
    operation("decrypt-oaep2048", "RSA-2048 OAEP (SHA-1) decryption"),
    operation("decrypt-pkcs1-2048", "RSA-2048 PKCS#1 v1.5 decryption"),
    operation("ecdh-p256", "P-256 derivation of a session key, and its destruction"),
    operation("aes-gcm-1k", "AES-256-GCM encryption of 1 KiB"),
    row(
        "aes-gcm-64k",
        "AES-256-GCM encryption of 64 KiB",
        Target::Operation { kib: 64.0 },
    ),
    operation("aes-gcm-decrypt-1k", "AES-256-GCM decryption of 1 KiB"),
    row(
        "aes-cbc-16k",
        "AES-256-CBC encryption of 16 KiB",
        Target::Operation { kib: 16.0 },
    ),
    operation("hmac-sha256-1k", "HMAC-SHA-256 of 1 KiB"),
    row("sha256-1k", "SHA-256 digest of 1 KiB", Target::Local),
    row(
        "sign-pss2048",
        "RSA-2048 PSS with SHA-256, signature of 32 bytes",
        Target::Faster,
    ),
    row("sign-mldsa65", "ML-DSA-65 signature of 17 KiB", Target::Faster),
    row(
        "sign-slhdsa-sha2-128f",
        "SLH-DSA-SHA2-128f signature of 17 KiB",
        Target::Faster,
    ),
    row(
        "x25519",
        "X25519 derivation of a session key, and its destruction",
        Target::Faster,
    ),
    row(
        "dh-2048",
        "Diffie-Hellman of 2,048 bits, a session key, and its destruction",
        Target::Faster,
    ),
    row(
        "mlkem768-decapsulate",
        "ML-KEM-768 decapsulation of a session key, and its destruction",
        Target::Faster,
    ),
    row("aes-ecb-16k", "AES-256-ECB encryption of 16 KiB", Target::Faster),
    row("aes-ctr-16k", "AES-256-CTR encryption of 16 KiB", Target::Faster),
    row(
        "aes-ctr-16k-session",
        "the same with a readable key of the session",
        Target::Faster,
    ),
    row("aes-cts-1k", "AES-256-CTS encryption of 1 KiB", Target::Faster),
    row("aes-xts-4k", "AES-256-XTS encryption of 4 KiB", Target::Faster),
    row("aes-ccm-1k", "AES-256-CCM encryption of 1 KiB", Target::Faster),
    row(
        "chacha20-poly1305-1k",
        "ChaCha20-Poly1305 encryption of 1 KiB",
        Target::Faster,
    ),
    row("aes-gmac-1k", "AES-256-GMAC of 1 KiB", Target::Faster),
    row("aes-cmac-1k", "AES-256-CMAC of 1 KiB", Target::Faster),
    row("hmac-sha3-256-1k", "HMAC-SHA3-256 of 1 KiB", Target::Faster),
    row("tls12-mac", "MAC of TLS 1.2's Finished over 1 KiB", Target::Faster),
    row("sha3-256-1k", "SHA3-256 digest of 1 KiB", Target::Faster),
    row("blake2b-256-1k", "BLAKE2b-256 digest of 1 KiB", Target::Faster),
    row("verify-hss", "HSS signature of two levels verified", Target::Faster),
    row("wrap-aes-kw", "AES-256 key wrapped by AES-KW", Target::Faster),
    row(
        "wrap-rsa-aes",
        "AES-256 key wrapped by RSA-2048 and AES",
        Target::Faster,
    ),
    row(
        "hkdf-sha256",
        "HKDF derivation of a session key, and its destruction",
        Target::Faster,
    ),
    row(
        "sp800-108",
        "SP 800-108 derivation of a session key, and its destruction",
        Target::Faster,
    ),
    row(
        "tls12-kdf",
        "TLS 1.2 export of a session key, and its destruction",
        Target::Faster,
    ),
    row(
        "concatenate",
        "concatenation to a session key, and its destruction",
        Target::Faster,
    ),
    row(
        "pbkdf2-10000",
        "PBKDF2 with 10,000 iterations, and the key's destruction",
        Target::Faster,
    ),
    row("random-32", "32 random bytes", Target::Local),
    row("session", "C_OpenSession and C_CloseSession", Target::Local),
    Row {
        callers: Callers::OneThread,
        ..row("login", "C_Logout and C_Login with a PIN", Target::Faster)
    },
    row("get-attribute", "label, id and key type of one key", Target::Local),
    row(
        "find-10",
        "one key by class and label among about 10 objects",
        Target::Search,
    ),
    row(
        "keygen-aes-session",
        "AES-256 session key, and its destruction",
        Target::Faster,
    ),
    row(
        "keygen-p256-session",
        "P-256 session pair, and its destruction",
        Target::Faster,
    ),
    row(
        "keygen-rsa2048-session",
        "RSA-2048 session pair, and its destruction",
        Target::Faster,
    ),
    row(
        "keygen-aes-token",
        "AES-256 token key, and its destruction: two durable writes",
        Target::Faster,
    ),
    row(
        "keygen-p256-token",
        "P-256 token pair, and its destruction",
        Target::Faster,
    ),
    row(
        "create-aes-token",
        "AES-256 token key: one durable write",
        Target::Durable,
    ),
    Row {
        callers: Callers::One,
        ..row(
            "cold-start",
            "new process: dlopen to the first signature",
            Target::Faster,
        )
    },
    Row {
        objects: 10_000,
        ..row(
            "find-10000",
            "one key by class and label among 10,000 objects",
            Target::Search,
        )
    },
    Row {
        objects: 10_000,
        ..row(
            "get-attribute-10000",
            "label, id and key type of the next of 10,000 keys",
            Target::Search,
        )
    },
    Row {
        objects: 10_000,
        callers: Callers::One,
        ..row("cold-start-10000", "new process at 10,000 objects", Target::Faster)
    },
    Row {
        objects: 100_000,
        ..row(
            "find-100000",
            "one key by class and label among 100,000 objects",
            Target::Search,
        )
    },
];

/// The row of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::{ROWS, find};

    #[test]
    fn every_row_has_a_name_of_its_own() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..index].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(find(row.name).is_some());
        }
    }
}
