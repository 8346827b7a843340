//! Backup and restore as an operator does it: `hsmctl backup`, `hsmctl restore`, `hsmd restore`, and an application that finds its
//! keys again. B18: what comes back signs, decrypts and shows what it did before.

mod keys;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN, binaries};
use hsmd_tests::module::{Module, Session};
use hsmd_tests::peers::{Run, run};
use hsmd_tests::rv::Rv;
use hsmd_tests::served::Served;
use hsmd_tests::template::{Mechanism, bytes, flag, number};

use self::keys::{Keys, make};

fn hsmctl(served: &Served, arguments: &str) -> Run {
    let endpoint = format!("unix://{}", served.data_dir().join("control.sock").display());
    let mut command = Command::new(binaries().join("hsmctl"));
    command.current_dir(served.folder()).args(["--endpoint", &endpoint]);
    run(command.args(arguments.split_whitespace()))
}

fn hsmd(served: &Served, arguments: &str) -> Run {
    let mut command = Command::new(binaries().join("hsmd"));
    run(command.current_dir(served.folder()).args(arguments.split_whitespace()))
}

fn expect(code: i32, run: Run) -> Run {
    assert_eq!(run.code, Some(code), "{}", run.text);
    run
}

/// What a command that succeeded wrote to its standard output, line by line.
fn lines(run: Run) -> Vec<String> {
    let run = expect(0, run);
    String::from_utf8_lossy(&run.output)
        .lines()
        .map(str::to_owned)
        .collect()
}

fn login(module: &Module, slot: CK_SLOT_ID) -> Session {
    let session = module.open_session(slot).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    session
}

/// A daemon with a key file for backups, and the serial number of its partition.
fn served() -> (Served, String) {
    let served = Served::start(&[]);
    expect(0, hsmctl(&served, "backup key-create backup.key"));
    let listed = expect(0, hsmctl(&served, "partition list"));
    let row = listed
        .text
        .lines()
        .find(|line| line.contains(LABEL))
        .expect("the partition is listed");
    let serial = row.split_whitespace().next().expect("a serial number").to_owned();
    (served, serial)
}

#[test]
fn after_the_loss_of_everything_each_key_does_what_it_did() {
    let (mut served, _) = served();
    let module = served.module();
    module.initialize().expect("C_Initialize");
    let session = login(&module, module.slot_of(LABEL));
    make(&module, session);
    let before = Keys::of(&module, session);
    expect(0, hsmctl(&served, "partition create second --policy strict"));
    let listed = expect(0, hsmctl(&served, "partition list -o json")).text;
    expect(0, hsmctl(&served, "backup create all.hsmdbackup --key-file backup.key"));
    let whole = expect(0, hsmctl(&served, "backup verify all.hsmdbackup --key-file backup.key"));
    assert!(whole.text.contains("whole"), "{}", whole.text);

    served.stop();
    fs::remove_dir_all(served.data_dir()).expect("the loss of the store");
    fs::remove_file(served.folder().join("master.key")).expect("the loss of the master key");
    let restore = "restore --from all.hsmdbackup --key-file backup.key --config hsmd.toml";
    let planned = expect(0, hsmd(&served, &format!("{restore} --dry-run")));
    assert!(!served.data_dir().exists(), "{}", planned.text);
    expect(0, hsmd(&served, restore));
    let again = hsmd(&served, restore);
    assert_eq!(
        again.code,
        Some(1),
        "a store that is there is left alone: {}",
        again.text
    );
    served.launch(&[]).expect("the daemon starts");

    assert_eq!(expect(0, hsmctl(&served, "partition list -o json")).text, listed);
    // The program that ran all the time has lost its login, and nothing else.
    let mechanism = Mechanism::Plain(CKM_AES_ECB);
    let lost = module
        .find(session, &[])
        .and_then(|found| module.encrypt(session, &mechanism, found[0], &[0; 16]));
    assert!(lost.is_err(), "no login survives a restore");
    let fresh = served.module();
    fresh.initialize().expect("C_Initialize");
    let session = login(&fresh, fresh.slot_of(LABEL));
    before.check(&fresh, session);
    expect(0, hsmctl(&served, "status"));
}

#[test]
fn a_partition_comes_back_beside_itself_and_in_place_of_itself() {
    let (served, serial) = served();
    let module = served.module();
    module.initialize().expect("C_Initialize");
    let slot = module.slot_of(LABEL);
    let session = login(&module, slot);
    make(&module, session);
    let before = Keys::of(&module, session);
    let create = format!("backup create web.hsmdbackup --partition {serial} --key-file backup.key");
    expect(0, hsmctl(&served, &create));
    expect(7, hsmctl(&served, &create));

    // Beside: another serial number and slot, the same keys and PINs.
    let restore = "restore web.hsmdbackup --key-file backup.key";
    expect(7, hsmctl(&served, restore));
    expect(0, hsmctl(&served, &format!("{restore} --label copy --dry-run")));
    assert_eq!(
        module.slots(false).expect("C_GetSlotList").len(),
        1,
        "a dry run changes nothing"
    );
    expect(0, hsmctl(&served, &format!("{restore} --label copy")));
    let slots = module.slots(true).expect("C_GetSlotList");
    assert_eq!(slots.len(), 2);
    before.check(&module, login(&module, slots[1]));

    // In place: what came later goes, what was destroyed stays so unless it is asked for, and all logins end.
    let all = module.find(session, &[bytes(CKA_LABEL, "aes")]).expect("C_FindObjects");
    module.destroy(session, all[0]).expect("C_DestroyObject");
    let late = [
        number(CKA_CLASS, CKO_DATA),
        flag(CKA_TOKEN, true),
        bytes(CKA_LABEL, "late"),
    ];
    module.create(session, &late).expect("C_CreateObject");
    let replace = format!("{restore} --replace {serial}");
    let planned = expect(0, hsmctl(&served, &format!("{replace} --dry-run")));
    assert!(planned.text.contains("1 objects destroyed since"), "{}", planned.text);
    assert!(
        planned.text.contains("1 objects that are not in the backup go"),
        "{}",
        planned.text
    );
    expect(2, hsmctl(&served, &replace));
    assert_eq!(
        module
            .find(session, &[bytes(CKA_LABEL, "late")])
            .expect("C_FindObjects")
            .len(),
        1
    );
    expect(0, hsmctl(&served, &format!("{replace} --yes")));
    let (fresh, session) = served_again(&served);
    assert_eq!(
        fresh
            .find(session, &[bytes(CKA_LABEL, "late")])
            .expect("C_FindObjects")
            .len(),
        0
    );
    assert_eq!(
        fresh
            .find(session, &[bytes(CKA_LABEL, "aes")])
            .expect("C_FindObjects")
            .len(),
        0
    );
    expect(0, hsmctl(&served, &format!("{replace} --resurrect --yes")));
    let (fresh, session) = served_again(&served);
    before.check(&fresh, session);
}

/// A new instance of the module, logged in to the first partition.
fn served_again(served: &Served) -> (Module, Session) {
    let module = served.module();
    module.initialize().expect("C_Initialize");
    let slot = module.slots(true).expect("C_GetSlotList")[0];
    let session = login(&module, slot);
    (module, session)
}

#[test]
fn what_is_no_whole_backup_of_the_right_key_is_refused() {
    let (served, serial) = served();
    fs::write(served.folder().join("words"), "correct horse battery\n").expect("a passphrase");
    fs::write(served.folder().join("other"), "correct horse staple\n").expect("a passphrase");
    let file = served.folder().join("web.hsmdbackup");
    expect(
        0,
        hsmctl(
            &served,
            &format!("backup create web.hsmdbackup --partition {serial} --passphrase-file words"),
        ),
    );
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&served.folder().join("backup.key")), 0o400);
    for wrong in ["--passphrase-file other", "--key-file backup.key"] {
        expect(4, hsmctl(&served, &format!("backup verify web.hsmdbackup {wrong}")));
        expect(4, hsmctl(&served, &format!("restore web.hsmdbackup --label x {wrong}")));
    }
    let shown = expect(0, hsmctl(&served, "backup inspect web.hsmdbackup"));
    assert!(
        shown.text.contains("passphrase") && !shown.text.contains(&serial),
        "{}",
        shown.text
    );
    let good = fs::read(&file).expect("the backup");
    for (name, bytes) in [
        ("cut", &good[..good.len() - 1]),
        ("longer", &[&good[..], b"\0"].concat()),
    ] {
        fs::write(served.folder().join(name), bytes).expect("a file");
        expect(
            1,
            hsmctl(&served, &format!("backup verify {name} --passphrase-file words")),
        );
        expect(
            1,
            hsmctl(&served, &format!("restore {name} --label x --passphrase-file words")),
        );
    }
    expect(3, hsmctl(&served, "backup verify nothing --passphrase-file words"));
    expect(
        3,
        hsmctl(
            &served,
            "backup create more.hsmdbackup --partition 999999001 --passphrase-file words",
        ),
    );
    assert!(
        left_over(served.folder()).is_empty(),
        "{:?}",
        left_over(served.folder())
    );
    assert_eq!(lines(hsmctl(&served, "partition list -o name")).len(), 1);
    expect(
        0,
        hsmctl(&served, "restore web.hsmdbackup --label x --passphrase-file words"),
    );
    expect(0, hsmctl(&served, "backup list"));
}

#[test]
fn an_hsm_comes_back_with_all_its_partitions() {
    let (served, _) = served();
    expect(0, hsmctl(&served, "partition create second"));
    let module = served.module();
    module.initialize().expect("C_Initialize");
    let slots = module.slots(false).expect("C_GetSlotList");
    module
        .init_token(slots[1], "99887766", "second token")
        .expect("C_InitToken");
    let session = login(&module, module.slot_of(LABEL));
    make(&module, session);
    let before = Keys::of(&module, session);
    let hsm = lines(hsmctl(&served, "hsm list -o name")).remove(0);
    expect(
        0,
        hsmctl(
            &served,
            &format!("backup create hsm.hsmdbackup --hsm {hsm} --key-file backup.key"),
        ),
    );
    expect(
        0,
        hsmctl(&served, "restore hsm.hsmdbackup --key-file backup.key -o json"),
    );
    assert_eq!(lines(hsmctl(&served, "hsm list -o name")).len(), 2);
    let slots = module.slots(true).expect("C_GetSlotList");
    assert_eq!(slots.len(), 4);
    before.check(&module, login(&module, slots[2]));
    assert_eq!(
        module.token_info(slots[3]).expect("C_GetTokenInfo").label,
        "second token"
    );
    let replace = format!("restore hsm.hsmdbackup --key-file backup.key --replace {hsm} --yes");
    expect(0, hsmctl(&served, &replace));
    let (fresh, session) = served_again(&served);
    before.check(&fresh, session);
}

// A backup that is taken while objects come and go, and the daemon is killed, shows one moment: of pairs that are made in one
// call both halves or none.
#[test]
fn a_backup_taken_in_a_storm_shows_one_moment() {
    let (mut served, serial) = served();
    for round in 0..3 {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (served, stop) = (&served, &stop);
            scope.spawn(move || {
                let module = served.module();
                module.initialize().expect("C_Initialize");
                let session = login(&module, module.slots(true).expect("C_GetSlotList")[0]);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let public = [
                        bytes(CKA_EC_PARAMS, hsmd_tests::template::P256),
                        flag(CKA_TOKEN, true),
                        bytes(CKA_LABEL, "storm"),
                    ];
                    let private = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, "storm")];
                    let mechanism = Mechanism::Plain(CKM_EC_KEY_PAIR_GEN);
                    let made = module.generate_key_pair(session, &mechanism, &public, &private);
                    assert!(made.is_ok() || made == Err(Rv(CKR_DEVICE_ERROR)), "{made:?}");
                }
            });
            for number in 0..3 {
                let file = format!("storm{round}{number}.hsmdbackup");
                expect(
                    0,
                    hsmctl(
                        served,
                        &format!("backup create {file} --partition {serial} --key-file backup.key"),
                    ),
                );
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        served.restart();
        for number in 0..3 {
            let label = format!("s{round}{number}");
            let restore = format!("restore storm{round}{number}.hsmdbackup --key-file backup.key --label {label}");
            expect(0, hsmctl(&served, &restore));
            let module = served.module();
            module.initialize().expect("C_Initialize");
            let slot = *module.slots(true).expect("C_GetSlotList").last().expect("a slot");
            let session = login(&module, slot);
            let count = |class| {
                let template = [number_of(class), bytes(CKA_LABEL, "storm")];
                module.find(session, &template).expect("C_FindObjects").len()
            };
            assert_eq!(count(CKO_PUBLIC_KEY), count(CKO_PRIVATE_KEY), "{label}");
            let listed = expect(0, hsmctl(&served, "partition list")).text;
            let row = listed
                .lines()
                .find(|line| line.contains(&label))
                .expect("the partition is listed");
            let copy = row.split_whitespace().next().expect("a serial number");
            expect(0, hsmctl(&served, &format!("partition delete {copy} --yes")));
        }
    }
}

fn number_of(class: CK_ULONG) -> hsmd_tests::template::Attribute {
    number(CKA_CLASS, class)
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

/// Files that a command which failed left behind.
fn left_over(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| path.to_string_lossy().contains(".part") || path.to_string_lossy().contains("more.hsmdbackup"))
        .collect()
}
