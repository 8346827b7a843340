//! The container: what was written reads back, and nothing else does.

use super::*;

const KEY: [u8; 32] = [7; 32];

fn header(salt: u8) -> Header {
    Header::new(KeySource::KeyFile, [salt; SALT_BYTES], &KEY)
}

fn write(salt: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &header(salt), &KEY).unwrap();
    for item in items {
        let (a, b) = item.split_at(item.len() / 2);
        writer.item(&[a, b]).unwrap();
    }
    let length = writer.finish().unwrap();
    assert_eq!(length, bytes.len() as u64);
    bytes
}

fn read(mut bytes: &[u8], key: &[u8; 32]) -> Result<Vec<Vec<u8>>, ContainerError> {
    let header = Header::read(&mut bytes)?;
    let mut reader = Reader::new(bytes, &header, key)?;
    let mut items = Vec::new();
    while let Some(item) = reader.item()? {
        items.push(item.to_vec());
    }
    assert!(reader.item().unwrap().is_none(), "an end stays one");
    Ok(items)
}

fn sample(count: usize, length: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| vec![number as u8; length + number % 7])
        .collect()
}

/// The chunks of a file with their lengths, after the header.
fn chunks(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut found) = (&bytes[HEADER_BYTES..], Vec::new());
    while let Some((prefix, _)) = rest.split_first_chunk::<4>() {
        let length = 4 + u32::from_le_bytes(*prefix) as usize;
        found.push(rest[..length].to_vec());
        rest = &rest[length..];
    }
    found
}

fn joined(header: &[u8], chunks: &[Vec<u8>]) -> Vec<u8> {
    [header, &chunks.concat()].concat()
}

#[test]
fn items_read_back_whatever_their_number_and_size() {
    for (count, length) in [(0, 0), (1, 0), (1, 1), (3, MAX_ITEM - 6), (5000, 300)] {
        let items = sample(count, length);
        assert_eq!(read(&write(1, &items), &KEY).unwrap(), items);
    }
    let mut writer = Writer::new(Vec::new(), &header(1), &KEY).unwrap();
    assert!(writer.item(&[&vec![0; MAX_ITEM + 1]]).is_err());
}

#[test]
fn another_key_is_told_from_damage() {
    let bytes = write(1, &sample(3, 10));
    assert!(matches!(read(&bytes, &[8; 32]), Err(ContainerError::WrongKey)));
    assert!(matches!(read(b"HSMD", &KEY), Err(ContainerError::NotABackup)));
    let mut newer = bytes.clone();
    newer[8] = 3;
    assert!(matches!(read(&newer, &KEY), Err(ContainerError::Newer(3))));
}

// INV-7: whatever is changed is noticed.
#[test]
fn no_bit_can_be_flipped_and_no_byte_cut_off_or_added() {
    let bytes = write(1, &sample(5, 20));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&changed, &KEY).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length], &KEY).is_err(), "cut at {length}");
    }
    for more in [&b"\0"[..], b"\0\0\0\0", &bytes[HEADER_BYTES..]] {
        assert!(read(&[&bytes, more].concat(), &KEY).is_err());
    }
}

#[test]
fn chunks_cannot_be_left_out_doubled_moved_or_mixed() {
    let (one, other) = (write(1, &sample(5000, 300)), write(2, &sample(5000, 300)));
    let (header, mine, theirs) = (&one[..HEADER_BYTES], chunks(&one), chunks(&other));
    assert!(mine.len() > 4);
    assert!(read(&joined(header, &mine), &KEY).is_ok());
    for at in 0..mine.len() {
        let mut without = mine.clone();
        without.remove(at);
        let mut doubled = mine.clone();
        doubled.insert(at, mine[at].clone());
        let mut swapped = mine.clone();
        swapped.swap(at, (at + 1) % mine.len());
        let mut mixed = mine.clone();
        mixed[at].clone_from(&theirs[at]);
        for wrong in [without, doubled, swapped, mixed, mine[..at].to_vec()] {
            assert!(read(&joined(header, &wrong), &KEY).is_err(), "chunk {at}");
        }
    }
}
