//! B18: whatever is done to a backup, it is refused, and nothing that is served has changed.

use super::*;

/// Where chunks begin and end.
fn chunks(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut at, mut found) = (hsmd_store::container::HEADER_BYTES, Vec::new());
    while let Some(prefix) = bytes.get(at..at + 4) {
        let length = 4 + u32::from_le_bytes(prefix.try_into().unwrap()) as usize;
        found.push(at..at + length);
        at += length;
    }
    found
}

/// A small generator, so that a find can be repeated by its number.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// One of the things that may happen to a backup; `other` is another backup under the same secret.
fn mutate(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let (mine, theirs) = (chunks(bytes), chunks(other));
    let pick = |random: &mut Random, from: &[std::ops::Range<usize>]| from[random.below(from.len())].clone();
    match random.below(8) {
        0 => {
            let bit = random.below(bytes.len() * 8);
            out[bit / 8] ^= 1 << (bit % 8);
        }
        1 => out.truncate(random.below(bytes.len())),
        2 => {
            let more = 1 + random.below(64);
            out.extend((0..more).map(|byte| byte as u8));
        }
        3 => {
            let from = random.below(bytes.len());
            let to = (from + 1 + random.below(4000)).min(bytes.len());
            out[from..to].iter_mut().for_each(|byte| *byte = !*byte);
        }
        4 => drop(out.splice(pick(random, &mine), other[pick(random, &theirs)].iter().copied())),
        5 => drop(out.drain(pick(random, &mine))),
        6 => {
            let (from, at) = (pick(random, &mine), pick(random, &mine));
            let piece = bytes[from].to_vec();
            drop(out.splice(at.end..at.end, piece));
        }
        _ => {
            let header = hsmd_store::container::HEADER_BYTES;
            drop(out.splice(..header, other[..header].iter().copied()));
        }
    }
    out
}

#[test]
fn a_thousand_changed_backups_are_refused_and_nothing_is_changed() {
    let keystore = memory();
    let keys = token(&keystore, Policy::Standard);
    let context = user(&keys);
    for number in 0..40 {
        known_key(&keys, &context, &"x".repeat(number + 1), number % 2 == 0);
    }
    // Several chunks: certificates of some size would do the same.
    let blob = [7_u8; 9000];
    for number in 0..80_u8 {
        let template: Template = [
            Attribute::ulong(A::CLASS, ObjectClass::DATA.0),
            Attribute::boolean(A::TOKEN, true),
            Attribute::bytes(A::VALUE, &blob),
            Attribute::bytes(A::LABEL, &[b'a' + number % 26]),
        ]
        .into_iter()
        .collect();
        keys.create_object(&context, UniqueId(random::array()), &template)
            .unwrap();
    }
    let one = partition(&keystore, &keys);
    known_key(&keys, &context, "one more", true);
    let other = partition(&keystore, &keys);
    assert!(chunks(&one).len() > 2);
    let before = (labels(&keys, &context), keystore.key_sets().len());
    let mut random = Random(20);
    let mut tried = 0;
    while tried < 1000 {
        let changed = mutate(&one, &other, &mut random);
        if changed == one || changed == other {
            continue;
        }
        tried += 1;
        let target = |_| Some(RestoreTarget::Replace(Arc::clone(&keys)));
        let staged = incoming(&changed).and_then(|incoming| keystore.stage(incoming, target, RESURRECT, &mut |_| {}));
        assert!(staged.is_err(), "change {tried} is not noticed");
    }
    keystore.core().background.flush();
    assert_eq!((labels(&keys, &context), keystore.key_sets().len()), before);
    mac(&keys, &context, known_key(&keys, &context, "still logged in", true)).unwrap();
    // What was staged and refused goes again.
    let left = || {
        let root = keys.root();
        let mine = root.path("o").to_string();
        let prefix = mine.strip_suffix('o').unwrap_or_default().to_owned();
        let all = keystore.core().store.scan("/ks/");
        all.iter()
            .filter(|(path, _)| !path.as_str().starts_with(&prefix))
            .count()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while left() > 1 && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(left(), 1, "the root alone is left");
    replace(&keystore, &one, &keys, true).unwrap();
}

#[test]
fn a_wrong_passphrase_or_key_file_is_said_to_be_wrong() {
    let keystore = memory();
    let bytes = partition(&keystore, &token(&keystore, Policy::Standard));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.key");
    BackupSecret::create_file(&file).unwrap();
    let wrong = [
        BackupSecret::Passphrase(Secret::from_slice(b"a Passphrase")),
        BackupSecret::from_file(&file).unwrap(),
    ];
    for secret in wrong {
        let header = hsmd_store::container::Header::read(&mut bytes.as_slice()).unwrap();
        assert!(matches!(
            secret.open(header),
            Err(Error::Restore(RestoreError::Container(ContainerError::WrongKey)))
        ));
    }
}

#[test]
fn a_key_file_opens_what_it_sealed_and_is_kept_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.key");
    BackupSecret::create_file(&file).unwrap();
    assert!(BackupSecret::create_file(&file).is_err());
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o400);
    let (one, two) = (
        BackupSecret::from_file(&file).unwrap(),
        BackupSecret::from_file(&file).unwrap(),
    );
    let key = one.seal(PinCost::SMALL).unwrap();
    assert_eq!(two.open(key.header().clone()).unwrap().expose(), key.expose());
    // Each backup has a key of its own.
    assert_ne!(one.seal(PinCost::SMALL).unwrap().expose(), key.expose());
    mode(0o440);
    assert!(matches!(
        BackupSecret::from_file(&file),
        Err(Error::BackupKeyExposed { mode: 0o440 })
    ));
    mode(0o600);
    for text in ["", "hsmd-backup-key-1 00", &"0".repeat(64)] {
        std::fs::write(&file, text).unwrap();
        assert!(matches!(BackupSecret::from_file(&file), Err(Error::BackupKeyMalformed)));
    }
}
