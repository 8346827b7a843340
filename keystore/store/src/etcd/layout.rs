//! The names of keys in etcd, and back. Record paths and groups stand in clear: they are random ids (DESIGN 7).

use crate::etcd::options::WriterId;
use crate::path::Path;

/// The keys of one store.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    prefix: String,
}

/// What a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Meta,
    /// What a node that joins needs.
    Join,
    Writer(WriterId),
    Beat(WriterId),
    /// A writer's part of the head of a group.
    Head(String, WriterId),
    Record(Path),
    /// Nothing that the store writes.
    Stray,
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// All keys: from, and up to but without.
    pub(crate) fn all(&self) -> (Vec<u8>, Vec<u8>) {
        self.range("/", "0")
    }

    pub(crate) fn meta(&self) -> Vec<u8> {
        self.key("/meta")
    }

    pub(crate) fn join(&self) -> Vec<u8> {
        self.key("/join")
    }

    pub(crate) fn writer(&self, writer: WriterId) -> Vec<u8> {
        self.key(&format!("/writer/{writer}"))
    }

    pub(crate) fn beat(&self, writer: WriterId) -> Vec<u8> {
        self.key(&format!("/beat/{writer}"))
    }

    /// The beats of all writers.
    pub(crate) fn beats(&self) -> (Vec<u8>, Vec<u8>) {
        self.range("/beat/", "/beat0")
    }

    pub(crate) fn head(&self, group: &str, writer: WriterId) -> Vec<u8> {
        self.key(&format!("/head{group}//{writer}"))
    }

    /// All parts of the head of a group.
    pub(crate) fn heads(&self, group: &str) -> (Vec<u8>, Vec<u8>) {
        self.range(&format!("/head{group}//"), &format!("/head{group}/0"))
    }

    pub(crate) fn record(&self, path: &Path) -> Vec<u8> {
        self.key(&format!("/record{path}"))
    }

    /// What `key` names. Every key under the prefix names something.
    pub(crate) fn name(&self, key: &[u8]) -> Name {
        self.parse(key).unwrap_or(Name::Stray)
    }

    fn parse(&self, key: &[u8]) -> Option<Name> {
        let text = std::str::from_utf8(key).ok()?;
        let text = text.strip_prefix(self.prefix.as_str())?.strip_prefix('/')?;
        if text == "meta" {
            return Some(Name::Meta);
        }
        if text == "join" {
            return Some(Name::Join);
        }
        if let Some(writer) = text.strip_prefix("writer/") {
            return Some(Name::Writer(hex(writer)?));
        }
        if let Some(writer) = text.strip_prefix("beat/") {
            return Some(Name::Beat(hex(writer)?));
        }
        if let Some(head) = text.strip_prefix("head") {
            let (group, writer) = head.rsplit_once("//")?;
            let group = Path::new(group).ok()?;
            return Some(Name::Head(group.as_str().to_owned(), hex(writer)?));
        }
        Some(Name::Record(Path::new(text.strip_prefix("record")?).ok()?))
    }

    fn key(&self, rest: &str) -> Vec<u8> {
        format!("{}{rest}", self.prefix).into_bytes()
    }

    fn range(&self, from: &str, to: &str) -> (Vec<u8>, Vec<u8>) {
        (self.key(from), self.key(to))
    }
}

fn hex(text: &str) -> Option<WriterId> {
    if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut id = [0; 16];
    for (byte, at) in id.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(WriterId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_names_what_it_was_made_of() {
        let layout = Layout::new("/hsmd/prod");
        let (writer, path) = (WriterId([0xa5; 16]), Path::new("/ks/0a/00000001/o/ff").unwrap());
        assert_eq!(layout.name(&layout.meta()), Name::Meta);
        assert_eq!(layout.name(&layout.join()), Name::Join);
        assert_eq!(layout.name(&layout.writer(writer)), Name::Writer(writer));
        assert_eq!(layout.name(&layout.beat(writer)), Name::Beat(writer));
        for group in ["/fleet", "/ks/0a", "/ks"] {
            let (key, (from, to)) = (layout.head(group, writer), layout.heads(group));
            assert_eq!(layout.name(&key), Name::Head(group.to_owned(), writer));
            assert!(from < key && key < to);
        }
        assert!(
            layout.head("/ks/0a", writer) < layout.heads("/ks").0
                || layout.head("/ks/0a", writer) >= layout.heads("/ks").1
        );
        assert_eq!(layout.name(&layout.record(&path)), Name::Record(path.clone()));
        let (from, to) = layout.all();
        for key in [layout.meta(), layout.beat(writer), layout.record(&path)] {
            assert!(from < key && key < to);
        }
        for stray in [
            "/hsmd/prod/x",
            "/hsmd/prod/writer/a5",
            "/hsmd/prod/record//",
            "/hsmd/other/meta",
        ] {
            assert_eq!(layout.name(stray.as_bytes()), Name::Stray);
        }
    }
}
