//! The name of a record: a validated, cheaply cloned string such as `/ks/<32 hex>/<8 hex>/o/<32 hex>`. Not a file system path.

use std::fmt;
use std::sync::Arc;

/// Longest path in bytes.
const MAX_BYTES: usize = 512;

/// The name of a record. It starts with `/`, has no empty component, no trailing `/` and no control character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

/// Why a string is not a [`Path`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is longer than 512 bytes.
    #[error("the path is longer than 512 bytes")]
    TooLong,
    /// It does not start with `/`.
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// Two slashes in a row, or one at the end.
    #[error("the path has an empty component")]
    EmptyComponent,
    /// A control character, which would spoil logs.
    #[error("the path has a control character")]
    ControlCharacter,
}

impl Path {
    /// Checks `text` and makes a path of it.
    ///
    /// # Errors
    /// [`PathError`] names the rule that `text` breaks.
    pub fn new(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_BYTES {
            return Err(PathError::TooLong);
        }
        let rest = text.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        if rest.split('/').any(str::is_empty) {
            return Err(PathError::EmptyComponent);
        }
        if text.chars().any(char::is_control) {
            return Err(PathError::ControlCharacter);
        }
        Ok(Self(text.into()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The group whose head covers this record: `/ks/<id>` for what lives in a key set, else the first component (`/fleet`).
    #[must_use]
    pub fn group(&self) -> &str {
        let mut ends = self.0.match_indices('/').skip(1).map(|(at, _)| at);
        let first = ends.next().unwrap_or(self.0.len());
        if &self.0[..first] != "/ks" || first == self.0.len() {
            return &self.0[..first];
        }
        &self.0[..ends.next().unwrap_or(self.0.len())]
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Path {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_the_key_set_or_the_first_component() {
        let group = |text: &str| Path::new(text).unwrap().group().to_owned();
        assert_eq!(group("/ks/0a/00000001/o/ff"), "/ks/0a");
        assert_eq!(group("/ks/0a"), "/ks/0a");
        assert_eq!(group("/ks"), "/ks");
        assert_eq!(group("/fleet"), "/fleet");
        assert_eq!(group("/fleet/hsm/1"), "/fleet");
        assert_eq!(group("/ksx/a/b"), "/ksx");
    }

    #[test]
    fn bad_paths_are_named() {
        assert_eq!(Path::new(""), Err(PathError::NotAbsolute));
        assert_eq!(Path::new("a"), Err(PathError::NotAbsolute));
        assert_eq!(Path::new("/"), Err(PathError::EmptyComponent));
        assert_eq!(Path::new("/a//b"), Err(PathError::EmptyComponent));
        assert_eq!(Path::new("/a/"), Err(PathError::EmptyComponent));
        assert_eq!(Path::new("/a\n"), Err(PathError::ControlCharacter));
        assert_eq!(Path::new(&format!("/{}", "a".repeat(512))), Err(PathError::TooLong));
    }
}
