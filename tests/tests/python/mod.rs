//! python-pkcs11 and PyKCS11 as their users write them: the scripts beside this file, one process and one daemon for each
//! scenario. What the scripts need from PyPI is in `requirements.txt`; `cargo xtask setup` installs it in `target/venv`.

use std::path::{Path, PathBuf};

use hsmd_tests::daemon::{self, Daemon};
use hsmd_tests::peers::succeed;

/// The environment that `cargo xtask setup` makes.
pub(crate) fn environment() -> PathBuf {
    daemon::binaries().parent().unwrap_or(Path::new(".")).join("venv")
}

/// The interpreter with both libraries.
fn python() -> PathBuf {
    let python = environment().join("bin/python");
    assert!(
        python.exists(),
        "{} is missing: `cargo xtask setup` makes it (Debian package python3-venv; PyPI packages python-pkcs11 and PyKCS11)",
        python.display()
    );
    python
}

fn scenario(script: &str, name: &str) {
    let daemon = Daemon::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let mut command = daemon.command(&python());
    succeed(command.envs(daemon.variables()).arg(script).arg(name));
}

macro_rules! scenarios {
    ($module:ident of $script:literal: $($name:ident),* $(,)?) => {
        mod $module {
            $(#[test] fn $name() { super::scenario($script, stringify!($name)); })*
        }
    };
}

scenarios! { python_pkcs11 of "python_pkcs11.py":
    slots_and_mechanisms, sessions, rsa, oaep, ec, ed25519, ecdh, key_derivation, aes, hmac, macs, wrap, certificates,
    imports, search, digest_of_a_key, threads, processes,
}
scenarios! { pykcs11 of "pykcs11.py":
    slots_and_mechanisms, sessions, rsa, ec, ed25519, x25519, aes, hmac, wrap, latch, certificates, search,
}
