//! kryoptic with a token of its own, in a process. `cargo xtask bench --compare-kryoptic` builds it from crates.io.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::job::Attach;

/// Makes a token in this folder; gives how to reach it, and the variables for that.
pub(crate) fn token(module: &Path, folder: &Path) -> Result<(Attach, Vec<(String, String)>), String> {
    let file = folder.join("kryoptic.conf");
    let store = folder.join("token.sql");
    let text = format!(
        "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n",
        store.display()
    );
    std::fs::write(&file, text).map_err(|e| e.to_string())?;
    let environment = vec![("KRYOPTIC_CONF".to_owned(), file.display().to_string())];
    let what = Attach {
        module: module.display().to_string(),
        token: "bench".to_owned(),
        pin: "123456".to_owned(),
    };
    // The PINs of a token that lives as long as this run.
    let officer = ["--so-pin", "12345678"];
    let init = ["--init-token", "--slot-index", "0", "--label", &what.token];
    let pin = ["--login", "--login-type", "so", "--init-pin", "--pin", &what.pin];
    for words in [&init[..], &pin[..]] {
        let mut tool = Command::new("pkcs11-tool");
        tool.args(["--module", &what.module]).args(words).args(officer);
        let done = tool
            .envs(environment.clone())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let done = done.output().map_err(|e| format!("pkcs11-tool: {e}"))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(format!("kryoptic: pkcs11-tool {}: {}", words[0], said.trim()));
        }
    }
    Ok((what, environment))
}
