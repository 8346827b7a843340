//! `hsmctl` from another host: what it says, and its exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use hsmd_tests::peers::Run;

use super::appliance::{Appliance, Files};

fn says(run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.code, Some(code), "{}", run.text);
    for word in words {
        assert!(run.text.contains(word), "{word:?} is not in\n{}", run.text);
    }
}

#[test]
fn certificates_from_issue_to_revocation() {
    let appliance = Appliance::start();
    let (files, id) = appliance.issue("alice", "operator");
    let mode = fs::metadata(&files.key).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ca = appliance.authority();
    let remote = appliance.with(&ca, &files);
    says(
        &appliance.remote(&format!("{remote} certificate whoami")),
        0,
        &["alice", "operator"],
    );
    says(&appliance.local("certificate whoami"), 0, &["uid:", "admin"]);
    says(&appliance.remote(&format!("{remote} status")), 0, &["State"]);
    says(
        &appliance.remote(&format!("{remote} certificate list")),
        4,
        &["denied", "id "],
    );
    // The same in a profile file.
    let folder = appliance.path(".config/hsmd");
    fs::create_dir_all(&folder).expect("a folder");
    let profile = format!(
        "endpoint = \"https://{}\"\nca = \"{}\"\ncert = \"{}\"\nkey = \"{}\"\n",
        appliance.address,
        ca.display(),
        files.cert.display(),
        files.key.display()
    );
    fs::write(folder.join("hsmctl.toml"), profile).expect("a file");
    says(&appliance.remote("certificate whoami"), 0, &["alice"]);
    fs::remove_file(folder.join("hsmctl.toml")).expect("a file");
    // Nothing is overwritten, and a name has one role.
    says(
        &appliance.local("certificate issue alice --role operator --out-dir certificates"),
        7,
        &["exists already"],
    );
    says(
        &appliance.local("certificate issue alice --role admin --out-dir other"),
        7,
        &["operator"],
    );
    assert!(!appliance.path("other/alice.key").exists());
    says(&appliance.local(&format!("certificate revoke {id}")), 2, &["--yes"]);
    says(
        &appliance.local(&format!("certificate revoke {id} --dry-run")),
        0,
        &["active"],
    );
    says(
        &appliance.local(&format!("certificate revoke {id} --yes")),
        0,
        &["revoked"],
    );
    says(
        &appliance.local("certificate revoke cert-00000000 --yes"),
        3,
        &["no certificate"],
    );
    says(
        &appliance.remote(&format!("{remote} status")),
        4,
        &["refused", "revoked", "remedy"],
    );
}

#[test]
fn what_goes_wrong_on_the_way_is_told_apart() {
    let appliance = Appliance::start();
    let other = Appliance::start();
    let (alice, _) = appliance.issue("alice", "admin");
    let (bob, _) = other.issue("bob", "admin");
    let ca = appliance.authority();
    let remote = |ca: &std::path::Path, files: &Files| format!("{} status", appliance.with(ca, files));
    says(&appliance.remote(&remote(&other.authority(), &alice)), 4, &["--ca"]);
    says(&appliance.remote(&remote(&ca, &bob)), 4, &["refused", "not registered"]);
    let mixed = Files {
        cert: alice.cert.clone(),
        key: bob.key,
    };
    says(&appliance.remote(&remote(&ca, &mixed)), 2, &["alice.pem"]);
    let endpoint = format!("--endpoint https://{}", appliance.address);
    says(
        &appliance.remote(&format!("{endpoint} status")),
        2,
        &["--ca", "HSMD_CA", "remedy"],
    );
    let gone = appliance.with(&ca, &alice).replace(&appliance.address, "127.0.0.1:1");
    says(
        &appliance.remote(&format!("{gone} status")),
        6,
        &["no daemon answers", "remedy"],
    );
    let named = appliance.with(&ca, &alice).replace("127.0.0.1", "127.0.0.2");
    // Nobody listens there: the name is not what fails.
    says(&appliance.remote(&format!("{named} status")), 6, &["no daemon answers"]);
    says(
        &appliance.remote("--endpoint https://127.0.0.1/path status"),
        2,
        &["--ca"],
    );
    says(
        &appliance.remote("--endpoint ftp://127.0.0.1 status"),
        2,
        &["unix:///", "https://"],
    );
}
