//! Programs of others with their keys in the token, as the book says: each page of docs/programs is run as it is printed, in
//! one shell and an empty folder, after the env file of `hsmd dev`. Blocks marked `sh` are the commands; each line of a block
//! marked `text` must be in what the commands above it wrote. Only port numbers are replaced, by free ones.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use hsmd_tests::daemon::{Daemon, binaries};
use hsmd_tests::peers::{program, run};

use crate::python;

/// The ports that pages name.
const PORTS: [&str; 3] = ["8022", "8443", "8853"];

/// A test for each page; the programs that it needs beside those of every shell.
macro_rules! pages {
    ($($test:ident: $page:literal needs $($program:literal)*;)*) => {
        $(
            #[test]
            fn $test() {
                follow($page, &[$($program),*]);
            }
        )*

        const PAGES: &[&str] = &[$($page),*];
    };
}

pages! {
    openssh_logs_in_and_certifies: "openssh" needs "ssh" "ssh-keygen" "ssh-agent" "ssh-add" "sshd" "git" "pkcs11-tool";
    openssl_is_an_authority_and_speaks_tls: "openssl" needs "openssl" "pkcs11-tool";
    gnutls_is_an_authority_and_speaks_tls: "gnutls" needs "p11tool" "certtool" "gnutls-serv" "gnutls-cli";
    knot_signs_a_zone: "knot" needs "knotd" "keymgr" "kzonesign" "kdig" "delv" "ldns-verify-zone" "pkcs11-tool";
    opendnssec_makes_keys: "opendnssec" needs "ods-hsmutil";
    web_servers_serve: "web-servers" needs "nginx" "apache2" "stunnel" "curl" "openssl" "unshare" "python3" "pkcs11-tool";
    windows_programs_and_secure_boot_images_are_signed: "code-signing" needs "osslsigncode" "sbsign" "sbverify" "openssl" "pkcs11-tool";
    java_is_an_authority_and_signs_archives: "java" needs "java" "keytool" "jar" "jarsigner" "openssl";
    gnupg_signs_and_decrypts: "gnupg" needs "gpg" "gpgsm" "gpg-agent" "gpgconf" "gnupg-pkcs11-scd" "certtool" "pkcs11-tool";
    openvpn_and_strongswan_use_the_token: "vpn" needs "openvpn" "pki" "certtool" "openssl" "setsid" "python3" "pkcs11-tool";
    kerberos_gives_a_ticket: "kerberos" needs "kinit" "klist" "krb5kdc" "kdb5_util" "kadmin.local" "openssl" "setsid" "pkcs11-tool";
    python_signs_decrypts_and_signs_pdf: "python" needs "openssl" "pkcs11-tool";
    nss_certifies_and_signs_mail: "nss" needs "certutil" "modutil" "cmsutil" "openssl";
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/programs")
}

/// What a page has in its fences.
enum Block {
    Commands(String),
    Shown(String),
}

fn blocks(page: &str) -> Vec<Block> {
    let fenced = page.split("\n```").skip(1).step_by(2);
    fenced
        .filter_map(|block| {
            let (kind, text) = block.split_once('\n')?;
            match kind {
                "sh" => Some(Block::Commands(text.to_owned())),
                "text" => Some(Block::Shown(text.to_owned())),
                _ => None,
            }
        })
        .collect()
}

/// Replaces each port that the page names; the listeners live until all are chosen, so that no two are the same.
fn with_free_ports(page: &str) -> String {
    let mut listeners = Vec::new();
    PORTS.iter().fold(page.to_owned(), |page, port| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let free = listener.local_addr().expect("its address").port().to_string();
        listeners.push(listener);
        page.replace(port, &free)
    })
}

fn mark(block: usize) -> String {
    format!("--- end of block {block} ---")
}

/// One script of all commands. What a page leaves running ends with it.
fn script(daemon: &Daemon, blocks: &[Block]) -> String {
    let mut script = format!(
        "exec 2>&1\nset -e\ntrap 'kill $(jobs -p) $SSH_AGENT_PID 2> /dev/null || true; \
         [ -z \"$GNUPGHOME\" ] || gpgconf --kill all; wait' EXIT\n. {}/env\n",
        daemon.folder().display()
    );
    for (number, block) in blocks.iter().enumerate() {
        if let Block::Commands(commands) = block {
            let _ = writeln!(script, "{commands}\necho\necho '{}'", mark(number));
        }
    }
    script
}

fn shell(daemon: &Daemon, script: &str) -> Command {
    let here = daemon.folder().join("here");
    fs::create_dir(&here).expect("a folder");
    let mut command = Command::new(program("timeout"));
    command.args(["120", "bash", "-c", script]).current_dir(here);
    let path = std::env::var("PATH").unwrap_or_default();
    let (binaries, python) = (binaries(), python::environment().join("bin"));
    let path = format!("{}:{}:{path}:/usr/sbin:/sbin", binaries.display(), python.display());
    command.env("PATH", path);
    command
        .env("XDG_RUNTIME_DIR", daemon.folder().join("run"))
        .env("HOME", daemon.folder());
    // Small and quick to start: the machine has other tests to run.
    command.env("JAVA_TOOL_OPTIONS", "-Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1");
    for foreign in [
        "HSMD_ENDPOINT",
        "XDG_STATE_HOME",
        "XDG_CONFIG_HOME",
        "OPENSSL_CONF",
        "SSH_AUTH_SOCK",
        "SSH_AGENT_PID",
        "GNUPGHOME",
    ] {
        command.env_remove(foreign);
    }
    command
}

fn follow(name: &str, programs: &[&str]) {
    programs.iter().for_each(|name| drop(program(name)));
    let page = fs::read_to_string(folder().join(name).with_extension("md")).expect("the page");
    let blocks = blocks(&with_free_ports(&page));
    let daemon = Daemon::start();
    let answer = run(&mut shell(&daemon, &script(&daemon, &blocks)));
    let output = String::from_utf8_lossy(&answer.output);
    assert!(answer.good, "{name}: {:?}\n{output}", answer.code);
    let (mut rest, mut written) = (&*output, "");
    let mut compared = 0;
    for (number, block) in blocks.iter().enumerate() {
        match block {
            Block::Commands(_) => {
                (written, rest) = rest.split_once(&mark(number)).expect("the end of the block's output");
            }
            Block::Shown(lines) => {
                for line in lines.lines().filter(|line| !line.trim().is_empty()) {
                    assert!(written.contains(line.trim()), "{name}: `{line}` is not in\n{written}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 0, "{name}: nothing shows that the commands did something");
}

#[test]
fn each_page_about_a_program_is_run() {
    let pages: BTreeSet<String> = fs::read_dir(folder())
        .expect("the pages")
        .map(|entry| {
            entry
                .expect("a page")
                .path()
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != "README")
        .collect();
    assert_eq!(pages, PAGES.iter().map(|name| (*name).to_owned()).collect());
    let index = fs::read_to_string(folder().join("README.md")).expect("the index");
    for page in &pages {
        assert!(
            index.contains(&format!("({page}.md)")),
            "the index has no link to {page}.md"
        );
    }
}

#[test]
fn keys_of_elsewhere_are_imported() {
    follow("../migration", &["openssl", "softhsm2-util", "pkcs11-tool"]);
}
