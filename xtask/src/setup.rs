//! Installs what is missing on a Debian 12 that has Rust and nothing else. It changes nothing that is already there.

use std::path::Path;
use std::process::Command;

use crate::workspace::Workspace;
use crate::{steps, venv};

/// How much of the machine a command needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A C compiler and linker: aws-lc is C.
    Build,
    /// Also the programs against which the tests run, and the tools of `cargo xtask ci`.
    Everything,
}

/// A program or file that must be there, and the Debian package that brings it.
struct Item {
    present: &'static [&'static str],
    package: &'static str,
    what_for: &'static str,
    need: Need,
}

const ITEMS: &[Item] = &[
    Item {
        present: &["cc"],
        package: "gcc",
        what_for: "compiles aws-lc, links everything",
        need: Need::Build,
    },
    Item {
        present: &["/usr/include/stdlib.h"],
        package: "libc6-dev",
        what_for: "headers of the C library",
        need: Need::Build,
    },
    Item {
        present: &["pkcs11-tool"],
        package: "opensc",
        what_for: "tests: pkcs11-tool as a client of the module",
        need: Need::Everything,
    },
    Item {
        present: &["softhsm2-util"],
        package: "softhsm2",
        what_for: "tests: the oracle for PKCS#11 behaviour",
        need: Need::Everything,
    },
    Item {
        present: &["etcd"],
        package: "etcd-server",
        what_for: "tests: the store in etcd, on ports of their own, never as a service",
        need: Need::Everything,
    },
    Item {
        present: &["etcdctl"],
        package: "etcd-client",
        what_for: "tests: snapshots and changes behind the store's back",
        need: Need::Everything,
    },
    Item {
        present: &["ssh", "ssh-keygen"],
        package: "openssh-client",
        what_for: "tests: a login with a key of the token",
        need: Need::Everything,
    },
    Item {
        present: &["sshd"],
        package: "openssh-server",
        what_for: "tests: the server of that login, on its own port, never as a service",
        need: Need::Everything,
    },
    Item {
        present: &["openssl"],
        package: "openssl",
        what_for: "tests: verifies what the token signed",
        need: Need::Everything,
    },
    Item {
        present: &["strace"],
        package: "strace",
        what_for: "tests: the acknowledgement comes after its fdatasync",
        need: Need::Everything,
    },
    Item {
        present: &["/usr/share/doc/libfaketime"],
        package: "libfaketime",
        what_for: "tests: a daemon's clock steps, and no other's",
        need: Need::Everything,
    },
    Item {
        present: &["nm"],
        package: "binutils",
        what_for: "tests: the module exports C_ symbols only",
        need: Need::Everything,
    },
    Item {
        present: &["java", "javac", "jar", "jarsigner", "keytool"],
        package: "openjdk-17-jdk-headless",
        what_for: "tests: SunPKCS11, keytool and jarsigner",
        need: Need::Everything,
    },
    Item {
        present: &["p11tool"],
        package: "gnutls-bin",
        what_for: "tests: p11tool as a client of the module",
        need: Need::Everything,
    },
    Item {
        present: &["/usr/share/doc/libengine-pkcs11-openssl"],
        package: "libengine-pkcs11-openssl",
        what_for: "tests: OpenSSL and nginx with keys of the token",
        need: Need::Everything,
    },
    Item {
        present: &["certutil", "modutil"],
        package: "libnss3-tools",
        what_for: "tests: NSS as a client of the module",
        need: Need::Everything,
    },
    Item {
        present: &["p11-kit"],
        package: "p11-kit",
        what_for: "tests: module files and remoting",
        need: Need::Everything,
    },
    Item {
        present: &["/usr/share/doc/p11-kit-modules"],
        package: "p11-kit-modules",
        what_for: "tests: the client side of remoting",
        need: Need::Everything,
    },
    Item {
        present: &["nginx"],
        package: "nginx-light",
        what_for: "tests: TLS with a key of the token, on a Unix socket, never as a service",
        need: Need::Everything,
    },
    Item {
        present: &["curl"],
        package: "curl",
        what_for: "tests: the client of that server",
        need: Need::Everything,
    },
    Item {
        present: &["unshare"],
        package: "util-linux",
        what_for: "tests: root becomes an ordinary user for p11-kit",
        need: Need::Everything,
    },
    Item {
        present: &["ip"],
        package: "iproute2",
        what_for: "tests: two hosts on one, by network namespaces",
        need: Need::Everything,
    },
    Item {
        present: &["knotd", "keymgr"],
        package: "knot",
        what_for: "tests: DNSSEC with keys of the token, never as a service",
        need: Need::Everything,
    },
    Item {
        present: &["kzonesign"],
        package: "knot-dnssecutils",
        what_for: "tests: signs a zone with keys of the token",
        need: Need::Everything,
    },
    Item {
        present: &["kdig"],
        package: "knot-dnsutils",
        what_for: "tests: asks that name server",
        need: Need::Everything,
    },
    Item {
        present: &["delv"],
        package: "bind9-dnsutils",
        what_for: "tests: validates its answers",
        need: Need::Everything,
    },
    Item {
        present: &["ldns-verify-zone"],
        package: "ldnsutils",
        what_for: "tests: verifies signed zones",
        need: Need::Everything,
    },
    Item {
        present: &["ods-hsmutil"],
        package: "libhsm-bin",
        what_for: "tests: OpenDNSSEC's library as a client of the module",
        need: Need::Everything,
    },
    Item {
        present: &["apache2"],
        package: "apache2-bin",
        what_for: "tests: Apache's TLS with a key of the token, never as a service",
        need: Need::Everything,
    },
    Item {
        present: &["stunnel"],
        package: "stunnel4",
        what_for: "tests: TLS in front of a service, with a key of the token",
        need: Need::Everything,
    },
    Item {
        present: &["osslsigncode"],
        package: "osslsigncode",
        what_for: "tests: Authenticode with a key of the token",
        need: Need::Everything,
    },
    Item {
        present: &["sbsign", "sbverify"],
        package: "sbsigntool",
        what_for: "tests: Secure Boot signatures with a key of the token",
        need: Need::Everything,
    },
    Item {
        present: &["gnupg-pkcs11-scd"],
        package: "gnupg-pkcs11-scd",
        what_for: "tests: GnuPG with keys of the token",
        need: Need::Everything,
    },
    Item {
        present: &["gpg"],
        package: "gpg",
        what_for: "tests: OpenPGP with a key of the token",
        need: Need::Everything,
    },
    Item {
        present: &["gpg-agent", "gpg-connect-agent"],
        package: "gpg-agent",
        what_for: "tests: stands between GnuPG and the token",
        need: Need::Everything,
    },
    Item {
        present: &["gpgsm"],
        package: "gpgsm",
        what_for: "tests: S/MIME with a key of the token",
        need: Need::Everything,
    },
    Item {
        present: &["/usr/lib/shim/shimx64.efi"],
        package: "shim-unsigned",
        what_for: "tests: a program to sign",
        need: Need::Everything,
    },
    Item {
        present: &["openvpn"],
        package: "openvpn",
        what_for: "tests: a tunnel with keys of the token, never as a service",
        need: Need::Everything,
    },
    Item {
        present: &["pki"],
        package: "strongswan-pki",
        what_for: "tests: certificates with keys of the token",
        need: Need::Everything,
    },
    Item {
        present: &["/usr/share/doc/libstrongswan-extra-plugins"],
        package: "libstrongswan-extra-plugins",
        what_for: "tests: strongSwan's plugin for PKCS#11",
        need: Need::Everything,
    },
    Item {
        present: &["kinit", "klist"],
        package: "krb5-user",
        what_for: "tests: a Kerberos ticket by a key of the token",
        need: Need::Everything,
    },
    Item {
        present: &["krb5kdc", "kdb5_util"],
        package: "krb5-kdc",
        what_for: "tests: the realm of that ticket, on its own port, never as a service",
        need: Need::Everything,
    },
    Item {
        present: &["kadmin.local"],
        package: "krb5-admin-server",
        what_for: "tests: makes the principal of that ticket",
        need: Need::Everything,
    },
    Item {
        present: &["git"],
        package: "git",
        what_for: "tests: commits signed with a key of the token",
        need: Need::Everything,
    },
    Item {
        present: &["/usr/share/doc/krb5-pkinit"],
        package: "krb5-pkinit",
        what_for: "tests: PKINIT on both sides",
        need: Need::Everything,
    },
    Item {
        present: &["/usr/share/doc/python3-venv"],
        package: "python3-venv",
        what_for: "tests: python-pkcs11 and PyKCS11 in target/venv",
        need: Need::Everything,
    },
];

/// Packages of the system and of Python that the tests need.
pub(crate) fn everything(workspace: &Workspace) -> Result<(), String> {
    run(Need::Everything)?;
    venv::run(workspace)
}

/// Installs what `need` asks for and the machine lacks; says what it does.
pub(crate) fn run(need: Need) -> Result<(), String> {
    let missing: Vec<&Item> = ITEMS
        .iter()
        .filter(|item| need == Need::Everything || item.need == Need::Build)
        .filter(|item| !item.present.iter().all(|program| is_present(program)))
        .collect();
    if missing.is_empty() {
        println!("setup: nothing is missing among the system's packages");
    } else {
        for item in &missing {
            println!("setup: installing {} ({})", item.package, item.what_for);
        }
        install(&missing.iter().map(|item| item.package).collect::<Vec<_>>())?;
    }
    if need == Need::Everything {
        rust_component("fmt", "rustfmt")?;
        rust_component("clippy", "clippy")?;
    }
    Ok(())
}

/// Whether a program is on the path, or a file is there.
pub(crate) fn is_present(what: &str) -> bool {
    if what.starts_with('/') {
        return Path::new(what).exists();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    // An ordinary user's PATH lacks the folders of sshd.
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|folder| Path::new(folder).join(what).is_file())
}

fn install(packages: &[&str]) -> Result<(), String> {
    if !is_present("apt-get") {
        return Err(format!(
            "this is not Debian (no apt-get); install these by hand: {}",
            packages.join(" ")
        ));
    }
    // A fresh machine has no package lists; a failed update may still leave usable ones.
    if let Err(sentence) = steps::run(as_root("apt-get").args(["--quiet=2", "update"])) {
        println!("setup: {sentence}; trying with the package lists that are there");
    }
    steps::run(as_root("sh").args(["-c", INSTALL, "setup"]).args(packages))
}

/// Debian starts a service as soon as its package is installed, unless this file says no (101). One that is there stays;
/// ours goes when the packages are in.
const INSTALL: &str = "\
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\\nexit 101\\n' > $policy && chmod 755 $policy
fi
apt-get --quiet=2 install --yes --no-install-recommends \"$@\"
";

fn as_root(program: &str) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mut command = Command::new(if root { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    command
}

fn rust_component(subcommand: &str, component: &str) -> Result<(), String> {
    let works = Command::new("cargo")
        .args([subcommand, "--version"])
        .output()
        .is_ok_and(|out| out.status.success());
    if works {
        return Ok(());
    }
    println!("setup: adding the Rust component {component}");
    steps::run(Command::new("rustup").args(["component", "add", component]))
        .map_err(|sentence| format!("{sentence}; a Rust from Debian has it in the package {component}"))
}
