//! Targets of the store's files: journal, backups, root files. Readers work on files; each thread has a folder of its own.

use hsmd_store::fuzzing;

thread_local! {
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder");
}

fn in_folder(read: impl FnOnce(&std::path::Path) -> std::io::Result<()>) {
    FOLDER.with(|folder| read(folder.path()).expect("files in a temporary folder"));
}

/// Bodies of journal frames, 2 bytes of length each.
pub(crate) fn journal(data: &[u8]) {
    fuzzing::frame_header(data);
    in_folder(|folder| fuzzing::journal_bodies(folder, data));
}

/// Bodies as a store writes them.
pub(crate) fn journal_seeds() -> Vec<Vec<u8>> {
    let bodies = fuzzing::bodies();
    let bodies: Vec<Vec<u8>> = bodies.iter().map(|body| counted(body)).collect();
    vec![bodies.concat(), bodies[..2].concat(), bodies[3].clone()]
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    [(bytes.len() as u16).to_le_bytes().as_slice(), bytes].concat()
}

/// Changes to a good journal, 6 bytes each.
pub(crate) fn segments(data: &[u8]) {
    in_folder(|folder| fuzzing::journal_files(folder, &data[..data.len().min(96)]));
}

/// No change, and a few.
pub(crate) fn segment_seeds() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![5, 0, 0, 4, 1, 0, 3, 1, 0, 5, 0, 4],
        vec![0, 1, 0, 6, 0, 0],
    ]
}

/// A backup: by the first byte its items, the file itself, or the plain chunks of the older form; 2 bytes of length each.
pub(crate) fn backup(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let form = match first % 3 {
        0 => fuzzing::BackupForm::Items,
        1 => fuzzing::BackupForm::Raw,
        _ => fuzzing::BackupForm::Chunks,
    };
    in_folder(|folder| fuzzing::backup(folder, rest, form));
}

/// A good backup.
pub(crate) fn backup_seeds() -> Vec<Vec<u8>> {
    let chunk = fuzzing::backup_chunks();
    let items: Vec<Vec<u8>> = fuzzing::backup_items().iter().map(|item| counted(item)).collect();
    vec![
        [&[0], items.concat().as_slice()].concat(),
        [&[2], counted(&chunk).as_slice()].concat(),
        [b"\x01HSMDBK01".as_slice(), &[7; 60]].concat(),
        [b"\x01HSMDBACK\x02\0\0\0".as_slice(), &[0; 90]].concat(),
    ]
}

/// A copy of a root file: after an even byte with its checksum put right.
pub(crate) fn root(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    fuzzing::root_file(rest, first % 2 == 0);
}

/// A good copy.
pub(crate) fn root_seeds() -> Vec<Vec<u8>> {
    vec![[&[0], fuzzing::root_copy().as_slice()].concat()]
}
