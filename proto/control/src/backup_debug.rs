//! What `{:?}` shows of the message that carries the key of a backup: nothing (INV-1).

use crate::backup::Key;
use std::fmt;

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use crate::backup::{CreateRequest, Key};

    #[test]
    fn no_key_is_shown() {
        let key = Some(Key {
            header: Vec::new(),
            key: b"KEY".to_vec(),
        });
        let shown = format!(
            "{:?}",
            CreateRequest {
                key,
                ..CreateRequest::default()
            }
        );
        assert!(!shown.contains("75, 69, 89") && shown.contains("Key(..)"), "{shown}");
    }
}
