//! Applications on another host: the files of GetConfig, mutual TLS, and what ends it. The data plane's refusals, operation by
//! operation, are in `hsmd/src/data/tests/remote.rs`.

mod network;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN, binaries};
use hsmd_tests::peers::{program, run, succeed};
use hsmd_tests::remote::{Identity, Remote, library};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Mechanism, bytes, flag, number};
use hsmd_tests::wait;

use network::Network;

/// A daemon, reached over that network.
fn remote(network: &Network) -> Remote {
    Remote::start(&network.server, &network.at_server(), &[])
}

/// Writes what GetConfig gave to a folder, as it is, beside the client's certificate and key.
fn write_config(scene: &Remote, folder: &Path, version: &str, identity: &Identity) {
    let (file, authority) = scene.config("app", version);
    fs::create_dir(folder).expect("a folder");
    fs::write(folder.join("Chrystoki.conf"), file).expect("Chrystoki.conf");
    fs::write(folder.join("CAFile.pem"), authority).expect("CAFile.pem");
    for (from, name) in [(&identity.certificate, "app.pem"), (&identity.key, "appKey.pem")] {
        fs::copy(from, folder.join(name)).expect("a copy");
    }
}

#[test]
fn pkcs11_tool_and_python_work_from_another_host_with_the_files_of_get_config() {
    let network = Network::new();
    let scene = remote(&network);
    let identity = scene.identity("app");
    scene.register("app", &identity);
    scene.assign("app");
    for version in ["5.1", "5.3"] {
        let folder = scene.served.folder().join(version);
        write_config(&scene, &folder, version, &identity);
        let command = |what: &Path| -> Command {
            let mut command = network.client(what);
            command.env("ChrystokiConfigurationPath", &folder).env("HOME", &folder);
            command
        };
        let tool = |arguments: &str| {
            let mut command = command(&program("pkcs11-tool"));
            command
                .arg("--module")
                .arg(library())
                .args(arguments.split_whitespace());
            command
        };
        let slots = succeed(&mut tool("--list-token-slots"));
        assert_eq!(
            slots.text.matches("token label").count(),
            1,
            "HAOnly hides the member:\n{}",
            slots.text
        );
        let user = format!("--token-label {LABEL} --login --pin {PIN}");
        succeed(&mut tool(&format!(
            "{user} --keypairgen --key-type EC:prime256v1 --id 0{} --label k",
            &version[2..]
        )));
        let listed = succeed(&mut tool(&format!("{user} --list-objects")));
        assert!(listed.text.contains("Private Key Object"), "{}", listed.text);
        let file = |name: &str| folder.join(name).display().to_string();
        fs::write(file("data"), "signed on another host").expect("data");
        let id = format!("--id 0{}", &version[2..]);
        succeed(&mut tool(&format!(
            "{user} --sign --mechanism ECDSA-SHA256 --signature-format openssl {id} --input-file {} --output-file {}",
            file("data"),
            file("signature")
        )));
        succeed(&mut tool(&format!(
            "{user} --read-object --type pubkey {id} --output-file {}",
            file("public.der")
        )));
        let mut openssl = Command::new(program("openssl"));
        openssl.args(["dgst", "-sha256", "-keyform", "DER", "-verify", &file("public.der")]);
        succeed(openssl.args(["-signature", &file("signature"), &file("data")]));
        let python = binaries().parent().unwrap_or(Path::new(".")).join("venv/bin/python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/python_pkcs11.py");
        // Others make objects that a second run would find.
        let scenarios: &[&str] = if version == "5.1" {
            &["slots_and_mechanisms"]
        } else {
            &["aes", "threads"]
        };
        for scenario in scenarios {
            let mut python = command(&python);
            python
                .env("HSMD_PKCS11_MODULE", library())
                .env("HSMD_TOKEN_LABEL", LABEL)
                .env("HSMD_PIN", PIN);
            succeed(python.arg(&script).arg(scenario));
        }
        if version == "5.3" {
            scene.hsmctl("client delete app --yes");
            let begun = Instant::now();
            let after = run(&mut tool("--list-token-slots"));
            assert!(!after.text.contains("token label"), "{}", after.text);
            assert!(begun.elapsed() < Duration::from_secs(4), "a refusal is no time-out");
            assert!(!run(&mut tool(&format!("{user} --list-objects"))).good);
        }
    }
}

#[test]
fn a_client_that_is_removed_or_changed_stops_within_a_second() {
    let scene = remote(&Network::loopback());
    let (mut identity, authority) = (
        scene.identity("app"),
        fs::read_to_string(scene.identity("other").certificate),
    );
    drop(authority);
    scene.register("app", &identity);
    scene.assign("app");
    let (_, ca) = scene.config("app", "5.3");
    for act in ["modify", "delete"] {
        let module = scene.module(&identity, &ca, 5_000);
        module.initialize().expect("C_Initialize");
        let slots = module.slots(true).expect("C_GetSlotList");
        assert_eq!(
            slots.len(),
            2,
            "the member's and the group's, and nothing that is not assigned"
        );
        let session = module.open_session(slots[0]).expect("C_OpenSession");
        module.login(session, CKU_USER, PIN).expect("C_Login");
        let key = [
            flag(CKA_TOKEN, false),
            flag(CKA_SIGN, true),
            bytes(CKA_LABEL, b"k"),
            number(CKA_VALUE_LEN, 32),
        ];
        let generate = Mechanism::Plain(CKM_GENERIC_SECRET_KEY_GEN);
        let key = module.generate_key(session, &generate, &key).expect("C_GenerateKey");
        let sign = || module.sign(session, &Mechanism::Plain(CKM_SHA256_HMAC), key, b"data");
        sign().expect("C_Sign");
        let stopped = std::thread::scope(|scope| {
            let signer = scope.spawn(|| {
                let give_up = Instant::now() + wait::PATIENCE;
                loop {
                    if let Err(code) = sign() {
                        return (Instant::now(), code);
                    }
                    assert!(Instant::now() < give_up, "it signs for ever");
                }
            });
            let next = scene.identity(act);
            let words = match act {
                "modify" => format!("client modify app --certificate-file {}", next.certificate.display()),
                _ => "client delete app --yes".to_owned(),
            };
            scene.hsmctl(&words);
            let done = Instant::now();
            let (ended, code) = signer.join().expect("the signer");
            identity = next;
            (ended.saturating_duration_since(done), code)
        });
        eprintln!(
            "remote: after `client {act}` the last signature was {:?} later",
            stopped.0
        );
        assert!(stopped.0 < Duration::from_secs(1), "{:?}", stopped.0);
        assert_eq!(stopped.1, Rv(CKR_DEVICE_ERROR));
        let begun = Instant::now();
        let _ = module.finalize();
        assert!(begun.elapsed() < Duration::from_secs(1), "C_Finalize waits for nobody");
    }
}

#[test]
fn who_is_not_trusted_sees_no_slots_and_waits_for_nothing() {
    let scene = remote(&Network::loopback());
    let known = scene.identity("app");
    scene.register("app", &known);
    scene.assign("app");
    let (_, ca) = scene.config("app", "5.3");
    let stranger = scene.identity("stranger");
    let other_authority = fs::read_to_string(&stranger.certificate).expect("a certificate");
    let slots = |identity: &Identity, ca: &str| {
        let module = scene.module(identity, ca, 20_000);
        module.initialize().expect("C_Initialize");
        let begun = Instant::now();
        let slots = module.slots(false).expect("C_GetSlotList");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "it hangs: {:?}",
            begun.elapsed()
        );
        module.finalize().expect("C_Finalize");
        slots.len()
    };
    assert_eq!(slots(&stranger, &ca), 0, "a certificate that is not registered");
    assert_eq!(
        slots(&known, &other_authority),
        0,
        "a server that another authority signed"
    );
    assert_eq!(slots(&known, &ca), 2, "the member's and the group's");
    scene.register("second", &stranger);
    assert_eq!(slots(&stranger, &ca), 0, "registered, and nothing is assigned");
    // A key that others may read is not used at all.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    fs::set_permissions(&known.key, mode).expect("another mode");
    let module = scene.module(&known, &ca, 1_000);
    assert_eq!(module.initialize(), Err(Rv(CKR_GENERAL_ERROR)));
}

/// A certificate on P-256 that ends so many seconds from now.
fn ending(scene: &Remote, name: &str, seconds: i64) -> Identity {
    let folder = scene.served.folder();
    let (certificate, key) = (
        folder.join(format!("{name}.pem")),
        folder.join(format!("{name}Key.pem")),
    );
    let mut params = rcgen::CertificateParams::new(vec![format!("{name}.example.org")]).expect("a name");
    // CreateLunaClient wants 600 characters.
    let unit = rcgen::DnType::OrganizationalUnitName;
    params
        .distinguished_name
        .push(unit, "tests of certificates that end ".repeat(2));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let end = Duration::from_secs(now.as_secs().saturating_add_signed(seconds));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + end.saturating_sub(Duration::from_secs(3_600));
    params.not_after = epoch + end;
    let pair = rcgen::KeyPair::generate().expect("a key pair");
    fs::write(&certificate, params.self_signed(&pair).expect("a certificate").pem()).expect("a file");
    fs::write(&key, pair.serialize_pem()).expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&key, mode).expect("its mode");
    Identity { certificate, key }
}

// The row "expired" of the matrix: while it is connected, and before it connects.
#[test]
fn a_certificate_that_ends_ends_what_is_open_and_opens_nothing_more() {
    let scene = remote(&Network::loopback());
    let identity = ending(&scene, "app", 12);
    scene.register("app", &identity);
    scene.assign("app");
    let (_, ca) = scene.config("app", "5.3");
    let module = scene.module(&identity, &ca, 2_000);
    module.initialize().expect("C_Initialize");
    let slots = module.slots(true).expect("C_GetSlotList");
    let session = module.open_session(slots[0]).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    let key = [flag(CKA_TOKEN, false), flag(CKA_SIGN, true), number(CKA_VALUE_LEN, 32)];
    let generate = Mechanism::Plain(CKM_GENERIC_SECRET_KEY_GEN);
    let key = module.generate_key(session, &generate, &key).expect("C_GenerateKey");
    let sign = || module.sign(session, &Mechanism::Plain(CKM_SHA256_HMAC), key, b"data");
    sign().expect("C_Sign");
    // The connection is in use all the time: it is the request that is refused, not an idle connection that ends.
    let give_up = Instant::now() + wait::PATIENCE;
    let code = loop {
        match sign() {
            Ok(_) => assert!(Instant::now() < give_up, "it signs for ever"),
            Err(code) => break code,
        }
    };
    assert_eq!(code, Rv(CKR_DEVICE_ERROR));
    let _ = module.finalize();
    // As with a certificate that nobody knows.
    for who in [&identity, &ending(&scene, "stranger", -60)] {
        let module = scene.module(who, &ca, 20_000);
        module.initialize().expect("C_Initialize");
        let begun = Instant::now();
        assert_eq!(module.slots(false).expect("C_GetSlotList").len(), 0);
        assert!(begun.elapsed() < Duration::from_secs(5), "a refusal is no time-out");
        module.finalize().expect("C_Finalize");
    }
}
