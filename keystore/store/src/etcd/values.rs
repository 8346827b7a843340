//! The values of the store's keys in etcd, little endian. What is not sealed by the caller carries a tag over key and value under
//! the head key, so that whoever can write to etcd can neither make nor move one (INV-7).

use crate::codec::{Malformed, Reader};
use crate::head::{Hasher, Head, Sum};
use crate::primitive::equal;

/// The layout of all values.
const FORMAT: u8 = 1;
const TAG: usize = 32;

/// A record as it is kept.
pub(crate) fn record(version: u64, sealed: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(9 + sealed.len());
    value.push(FORMAT);
    value.extend_from_slice(&version.to_le_bytes());
    value.extend_from_slice(sealed);
    value
}

/// Version and sealed value of a record.
pub(crate) fn read_record(value: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut reader = Reader(value);
    format(&mut reader)?;
    let version = reader.u64()?;
    if version == 0 {
        return Err(Malformed);
    }
    Ok((version, reader.0))
}

fn format(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.u8()? == FORMAT { Ok(()) } else { Err(Malformed) }
}

/// Adds the tag.
fn tagged(hasher: &Hasher, key: &[u8], mut body: Vec<u8>) -> Vec<u8> {
    let tag = tag(hasher, key, &body);
    body.extend_from_slice(&tag);
    body
}

fn tag(hasher: &Hasher, key: &[u8], body: &[u8]) -> [u8; TAG] {
    let mut bytes = (key.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(body);
    hasher.tag(b"etcd", &bytes)
}

/// Checks the tag and takes the format off.
fn untag<'a>(hasher: &Hasher, key: &[u8], value: &'a [u8]) -> Result<Reader<'a>, Malformed> {
    let at = value.len().checked_sub(TAG).ok_or(Malformed)?;
    let (body, found) = value.split_at(at);
    if !equal(&tag(hasher, key, body), found) {
        return Err(Malformed);
    }
    let mut reader = Reader(body);
    format(&mut reader)?;
    Ok(reader)
}

/// A writer's part of a group's head.
pub(crate) fn head(hasher: &Hasher, key: &[u8], head: &Head) -> Vec<u8> {
    let mut body = vec![FORMAT];
    head.put(&mut body);
    tagged(hasher, key, body)
}

pub(crate) fn read_head(hasher: &Hasher, key: &[u8], value: &[u8]) -> Result<Head, Malformed> {
    let mut reader = untag(hasher, key, value)?;
    let head = Head::take(&mut reader)?;
    reader.end()?;
    Ok(head)
}

/// The store's own mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Changes when the operator accepts that history went backwards.
    pub(crate) timeline: [u8; 16],
    /// The timelines that ended so: who remembers one of them follows.
    pub(crate) previous: Vec<[u8; 16]>,
}

impl Meta {
    pub(crate) fn to_bytes(&self, hasher: &Hasher, key: &[u8]) -> Vec<u8> {
        let mut body = vec![FORMAT];
        body.extend_from_slice(&self.timeline);
        self.previous
            .iter()
            .for_each(|timeline| body.extend_from_slice(timeline));
        tagged(hasher, key, body)
    }

    /// The mark that follows this one when an operator has accepted what it says, for who remembers `known` besides.
    pub(crate) fn successor(&self, timeline: [u8; 16], known: Option<[u8; 16]>) -> Self {
        let mut previous = self.previous.clone();
        for ended in [Some(self.timeline), known].into_iter().flatten() {
            if !previous.contains(&ended) {
                previous.push(ended);
            }
        }
        Self { timeline, previous }
    }

    pub(crate) fn read(hasher: &Hasher, key: &[u8], value: &[u8]) -> Result<Self, Malformed> {
        let mut reader = untag(hasher, key, value)?;
        let (timeline, mut previous) = (reader.array()?, Vec::new());
        while !reader.0.is_empty() {
            previous.push(reader.array()?);
        }
        Ok(Self { timeline, previous })
    }
}

/// What a writer says with each transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriterRecord {
    /// One more with each process of this node.
    pub(crate) generation: u64,
    /// One more with each transaction.
    pub(crate) sequence: u64,
    /// Random: tells this transaction from any other of the same sequence.
    pub(crate) nonce: [u8; 16],
    /// Sum over this writer's parts of all heads: a group that went back as a whole is noticed.
    pub(crate) total: Sum,
    /// The batches: operation id, and how many records each has written.
    pub(crate) batches: Vec<([u8; 16], u16)>,
}

impl WriterRecord {
    pub(crate) fn to_bytes(&self, hasher: &Hasher, key: &[u8]) -> Vec<u8> {
        let mut body = Vec::with_capacity(72 + self.batches.len() * 18 + TAG);
        body.push(FORMAT);
        body.extend_from_slice(&self.generation.to_le_bytes());
        body.extend_from_slice(&self.sequence.to_le_bytes());
        body.extend_from_slice(&self.nonce);
        body.extend_from_slice(&self.total.to_bytes());
        for (operation, writes) in &self.batches {
            body.extend_from_slice(operation);
            body.extend_from_slice(&writes.to_le_bytes());
        }
        tagged(hasher, key, body)
    }

    pub(crate) fn read(hasher: &Hasher, key: &[u8], value: &[u8]) -> Result<Self, Malformed> {
        let mut reader = untag(hasher, key, value)?;
        let mut record = Self {
            generation: reader.u64()?,
            sequence: reader.u64()?,
            nonce: reader.array()?,
            total: Sum::from_bytes(reader.array()?),
            batches: Vec::new(),
        };
        while !reader.0.is_empty() {
            record.batches.push((reader.array()?, reader.u16()?));
        }
        Ok(record)
    }
}

/// A sign of life. Not tagged: it gives no right, and whoever can forge it can stop the node anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) generation: u64,
    pub(crate) count: u64,
    /// Where the node runs: a process of the same place that holds the folder's lock knows that the one before is dead.
    pub(crate) place: [u8; 32],
    /// Host and process, for people.
    pub(crate) host: String,
}

impl Beat {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut value = vec![FORMAT];
        value.extend_from_slice(&self.generation.to_le_bytes());
        value.extend_from_slice(&self.count.to_le_bytes());
        value.extend_from_slice(&self.place);
        value.extend_from_slice(self.host.as_bytes());
        value
    }

    pub(crate) fn read(value: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(value);
        format(&mut reader)?;
        Ok(Self {
            generation: reader.u64()?,
            count: reader.u64()?,
            place: reader.array()?,
            host: String::from_utf8_lossy(reader.0)
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitive::MacKey;

    #[test]
    fn values_read_back_and_a_changed_or_moved_one_does_not() {
        let hasher = Hasher::new(MacKey::new(&[7; 32]), false);
        let writer = WriterRecord {
            generation: 3,
            sequence: 9,
            nonce: [5; 16],
            total: Sum::from_bytes([6; 32]),
            batches: vec![([1; 16], 2), ([2; 16], 104)],
        };
        let bytes = writer.to_bytes(&hasher, b"key");
        assert_eq!(WriterRecord::read(&hasher, b"key", &bytes), Ok(writer));
        assert_eq!(WriterRecord::read(&hasher, b"kez", &bytes), Err(Malformed));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(WriterRecord::read(&hasher, b"key", &bad), Err(Malformed));
            assert_eq!(WriterRecord::read(&hasher, b"key", &bytes[..at]), Err(Malformed));
        }
        let meta = Meta {
            timeline: [4; 16],
            previous: vec![[3; 16]],
        };
        let meta = meta.successor([5; 16], Some([2; 16]));
        assert_eq!(meta.previous, [[3; 16], [4; 16], [2; 16]]);
        assert_eq!(Meta::read(&hasher, b"m", &meta.to_bytes(&hasher, b"m")), Ok(meta));
        assert_eq!(read_record(&record(7, b"sealed")), Ok((7, &b"sealed"[..])));
        assert_eq!(read_record(&record(0, b"sealed")), Err(Malformed));
        let beat = Beat {
            generation: 1,
            count: 2,
            place: [3; 32],
            host: "host, process 7".to_owned(),
        };
        assert_eq!(Beat::read(&beat.to_bytes()), Ok(beat));
    }
}
