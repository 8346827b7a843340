//! The daemon on a store in etcd, as its users have it: keys are made, survive a kill, sign; the store moves to files and back; a
//! second node is refused; an etcd that is silent stops the service, and its return resumes it.

use std::process::Command;
use std::time::Duration;

use cryptoki_sys::{CKA_CLASS, CKM_ECDSA, CKO_PRIVATE_KEY, CKR_OK, CKU_USER};
use hsmd_tests::daemon::{LABEL, PIN, binaries};
use hsmd_tests::etcd::Etcd;
use hsmd_tests::peers::{Run, program, run, succeed};
use hsmd_tests::served::Served;
use hsmd_tests::template::{Mechanism, number};
use hsmd_tests::wait;

fn tool(served: &Served, arguments: &str) -> Command {
    let mut command = Command::new(program("pkcs11-tool"));
    command
        .arg("--module")
        .arg(served.module_copy())
        .args(["--token-label", LABEL, "--login", "--pin", PIN]);
    command.args(arguments.split_whitespace());
    command
}

/// Signs with the key of the test and has OpenSSL check it.
fn signs(served: &Served) {
    let file = |name: &str| served.folder().join(name);
    let (data, signature, point) = (file("message"), file("signature"), file("public.der"));
    std::fs::write(&data, b"to be signed").expect("a file");
    let text = |path: &std::path::Path| path.display().to_string();
    let sign = format!(
        "--sign --mechanism ECDSA-SHA256 --signature-format openssl --id 01 --input-file {} --output-file {}",
        text(&data),
        text(&signature)
    );
    succeed(&mut tool(served, &sign));
    succeed(&mut tool(
        served,
        &format!("--read-object --type pubkey --id 01 --output-file {}", text(&point)),
    ));
    succeed(
        Command::new(program("openssl"))
            .args([
                "dgst",
                "-sha256",
                "-keyform",
                "DER",
                "-verify",
                &text(&point),
                "-signature",
                &text(&signature),
            ])
            .arg(&data),
    );
}

fn migrate(served: &Served, to: &str) -> Run {
    let mut command = Command::new(binaries().join("hsmctl"));
    command
        .args(["store", "migrate", "--yes", "--to", to, "--config"])
        .arg(served.config());
    run(&mut command)
}

#[test]
fn keys_in_etcd_survive_kills_and_move_to_files_and_back() {
    let etcd = Etcd::start();
    let url = etcd.url("hsmd/one");
    let mut served = Served::start_with(&["--store", &url], &[]);
    assert!(!served.data_dir().join("store").exists(), "nothing of sled's");
    succeed(&mut tool(
        &served,
        "--keypairgen --key-type EC:prime256v1 --id 01 --label k",
    ));
    signs(&served);
    // INV-2: acknowledged is there after a kill, whose place the next process knows.
    for _ in 0..2 {
        served.kill9();
        served.launch(&[]).expect("the daemon starts at once");
        signs(&served);
    }
    let refused = migrate(&served, "files");
    assert!(
        !refused.good && refused.text.contains("another daemon"),
        "{}",
        refused.text
    );
    assert!(served.stop().expect("it ran").success());
    for to in ["files".to_owned(), etcd.url("hsmd/two")] {
        let moved = migrate(&served, &to);
        assert!(moved.good && moved.text.contains("Moved"), "{}", moved.text);
        served.launch(&[]).expect("the daemon starts");
        signs(&served);
        assert!(served.stop().expect("it ran").success());
    }
    assert!(served.data_dir().join("store").exists());
    // The old prefix is no store of this daemon any more.
    let text = std::fs::read_to_string(served.config()).expect("the configuration");
    std::fs::write(served.config(), text.replace("hsmd/two", "hsmd/one")).expect("the configuration");
    let stale = run(Command::new(binaries().join("hsmd"))
        .arg("serve")
        .arg("--config")
        .arg(served.config()));
    assert!(!stale.good, "{}", stale.text);
}

#[test]
fn a_second_node_and_a_prefix_in_use_are_refused_by_name() {
    let etcd = Etcd::start();
    let url = etcd.url("hsmd");
    let served = Served::start_with(&["--store", &url], &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let init = |url: &str| {
        let mut command = Command::new(binaries().join("hsmd"));
        command.arg("init").arg("--config").arg(folder.path().join("hsmd.toml"));
        run(command
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--store", url]))
    };
    let taken = init(&url);
    assert!(!taken.good && taken.text.contains("in use"), "{}", taken.text);
    drop(served);
    let nobody = init("etcd://127.0.0.1:1/hsmd");
    // The first try has left nothing that is in the way of this one.
    assert!(
        !nobody.good && nobody.text.contains("cannot be reached"),
        "{}",
        nobody.text
    );
}

#[test]
fn an_etcd_that_is_silent_stops_the_service_and_its_return_resumes_it() {
    let etcd = Etcd::start();
    let served = Served::start_with(&["--store", &etcd.url("hsmd")], &[]);
    succeed(&mut tool(
        &served,
        "--keypairgen --key-type EC:prime256v1 --id 01 --label k",
    ));
    // A call waits this long for a daemon that does not serve.
    let client = std::fs::read_to_string(served.client_file()).expect("the client file");
    std::fs::write(served.client_file(), client.replace("30000", "3000")).expect("a client file");
    let module = served.module();
    module.initialize().expect("C_Initialize");
    let slot = module.slots(true).expect("C_GetSlotList")[0];
    let session = module.open_session(slot).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    let key = module
        .find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)])
        .expect("C_FindObjects")[0];
    let sign = || module.sign(session, &Mechanism::Plain(CKM_ECDSA), key, &[7; 32]);
    sign().expect("C_Sign");
    etcd.freeze(true);
    // INV-5: for a while signatures go on; INV-6: not for longer than nobody else can have taken over.
    sign().expect("C_Sign just after");
    let refused = wait::until(Duration::from_secs(20), || sign().err());
    assert_ne!(refused.expect("the service stops").0, CKR_OK);
    etcd.freeze(false);
    wait::until(wait::PATIENCE, || sign().ok()).expect("the service resumes");
}
