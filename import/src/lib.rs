//! Keys of elsewhere into a token: what `hsmctl import` does. Sources ([`mod@file`], [`softhsm`], [`mod@module`]) give [`Object`]s, and a
//! [`Destination`], any PKCS#11 module, takes them. This crate reads no terminal, prints nothing and knows nothing of hsmd.
//!
//! Reading order: `object`, `destination`, then the source in question.

pub mod file;
pub mod module;
pub mod softhsm;

mod destination;
mod key_types;
mod object;
mod token;

pub use destination::{Destination, Outcome};
pub use object::{Class, Material, Object};
pub use token::{Token, TokenName};

use std::path::PathBuf;

/// What the fuzz targets reach (docs/fuzzing.md).
pub mod fuzzing {
    /// Reads an object file of SoftHSM2.
    pub fn softhsm_object(bytes: &[u8]) {
        let _ = super::softhsm::parse(bytes);
    }
}

/// Why nothing, or one object, was imported. No text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {what}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A password or PIN is wrong, or one is needed.
    #[error("{0}")]
    Secret(String),
    /// A module or a token says no.
    #[error("{0}")]
    Token(String),
    /// A token that has no mechanism for keys of this kind does not take one.
    #[error("{said}: this token has no mechanism for keys of kind {kind}")]
    Kind {
        /// Function and code.
        said: String,
        /// `DES3`.
        kind: String,
    },
    /// A token does not take a key of Diffie-Hellman, for its group or its value.
    #[error("{said}: this token does not have the key's group, or the key is none")]
    Group {
        /// Function and code.
        said: String,
    },
}

impl Error {
    fn format(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Format {
            path: path.into(),
            what: what.into(),
        }
    }
}
