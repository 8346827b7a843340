//! SoftHSM2 with a token of its own, in a process or behind `p11-kit server`. It is neither built nor changed here: both
//! come from Debian.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fill;
use crate::job::Attach;

const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
];

const CLIENTS: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib64/pkcs11/p11-kit-client.so",
];

/// Variables of a worker process.
type Environment = Vec<(String, String)>;

/// What is missing for the peer of this name, as a sentence with the Debian package.
pub(crate) fn missing(peer: &str) -> Option<String> {
    let program = |name: &str| {
        let path = std::env::var("PATH").unwrap_or_default();
        path.split(':').any(|folder| Path::new(folder).join(name).is_file())
    };
    let needs: [(&str, bool, &str); 4] = [
        ("softhsm2-util", program("softhsm2-util"), "softhsm2"),
        ("libsofthsm2.so", first(&MODULES).is_ok(), "softhsm2"),
        ("p11-kit", program("p11-kit"), "p11-kit"),
        ("p11-kit-client.so", first(&CLIENTS).is_ok(), "p11-kit-modules"),
    ];
    let needs = match peer {
        hsmd_benches::figures::SOFTHSM => &needs[..2],
        hsmd_benches::figures::P11KIT => &needs[..],
        _ => &[],
    };
    needs.iter().find(|(_, there, _)| !there).map(|(what, _, package)| {
        format!("the peer {peer} needs {what}: install the Debian package {package} (`cargo xtask setup` does)")
    })
}

fn first(files: &[&str]) -> Result<PathBuf, String> {
    let found = files.iter().map(PathBuf::from).find(|file| file.exists());
    found.ok_or_else(|| format!("{} is not there", files[0]))
}

/// Makes a token in this folder.
pub(crate) fn token(folder: &Path) -> Result<(Attach, Vec<(String, String)>), String> {
    let tokens = folder.join("tokens");
    let file = folder.join("softhsm2.conf");
    std::fs::create_dir(&tokens).map_err(|e| e.to_string())?;
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(&file, text).map_err(|e| e.to_string())?;
    let environment = vec![("SOFTHSM2_CONF".to_owned(), file.display().to_string())];
    let what = Attach {
        module: first(&MODULES)?.display().to_string(),
        token: "bench".to_owned(),
        pin: "123456".to_owned(),
    };
    let mut init = Command::new("softhsm2-util");
    // The PIN of a token that lives as long as this run.
    init.args(["--init-token", "--free", "--label", &what.token]);
    init.args(["--so-pin", "12345678", "--pin", &what.pin]);
    let done = init.envs(environment.clone()).stdout(Stdio::null()).status();
    if !done.map_err(|e| format!("softhsm2-util: {e}"))?.success() {
        return Err("softhsm2-util --init-token failed".to_owned());
    }
    Ok((what, environment))
}

/// Starts `p11-kit server` on that token; gives the server, the client module and its environment.
pub(crate) fn remoted(
    folder: &Path,
    what: &Attach,
    environment: &[(String, String)],
) -> Result<(Child, String, Environment), String> {
    let socket = folder.join("p11-kit.sock");
    let mut server = Command::new("p11-kit");
    server.args(["server", "--foreground", "--provider", &what.module, "--name"]);
    server.arg(&socket).arg("pkcs11:").envs(environment.iter().cloned());
    let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = server.map_err(|e| format!("p11-kit server: {e}"))?;
    hsmd_tests::wait::until(hsmd_tests::wait::PATIENCE, || socket.exists().then_some(()))
        .ok_or("p11-kit server made no socket")?;
    let address = format!("unix:path={}", socket.display());
    let environment = vec![("P11_KIT_SERVER_ADDRESS".to_owned(), address)];
    Ok((server, first(&CLIENTS)?.display().to_string(), environment))
}

/// Copies the files of the filling objects under new names until the token has so many of them or the time is over;
/// gives how many it has. A file is named by a UUID that stands nowhere in it; labels then repeat, which costs SoftHSM2
/// nothing: it compares each object with what is sought.
pub(crate) fn multiply(folder: &Path, objects: usize, limit: Duration) -> Result<usize, String> {
    let start = Instant::now();
    let trouble = |e: std::io::Error| format!("SoftHSM2's token: {e}");
    let token = std::fs::read_dir(folder.join("tokens")).map_err(trouble)?;
    let token = token.flatten().next().ok_or("SoftHSM2 made no token")?.path();
    let mut originals = Vec::new();
    for entry in std::fs::read_dir(&token).map_err(trouble)?.flatten() {
        let path = entry.path();
        // Attributes of private objects are encrypted, so that the files of the filling are told apart by their size: they
        // are all alike, and the most frequent.
        if path.extension().is_some_and(|extension| extension == "object") && path.file_stem() != Some("token".as_ref())
        {
            originals.push((
                entry.metadata().map_err(trouble)?.len(),
                std::fs::read(&path).map_err(trouble)?,
            ));
        }
    }
    let frequency = |size: u64| originals.iter().filter(|(other, _)| *other == size).count();
    let size = originals
        .iter()
        .map(|(size, _)| *size)
        .max_by_key(|size| frequency(*size))
        .unwrap_or(0);
    let originals: Vec<&Vec<u8>> = originals
        .iter()
        .filter(|(other, _)| *other == size)
        .map(|(_, bytes)| bytes)
        .collect();
    let mut there = originals.len();
    if there == 0 {
        return Err(format!("SoftHSM2 has no object like {}", fill::label(0)));
    }
    while there < objects && start.elapsed() < limit {
        let name = format!("b0b0b0b0-0000-4000-8000-{there:012x}");
        let copied = std::fs::write(token.join(format!("{name}.object")), originals[there % originals.len()])
            .and_then(|()| std::fs::write(token.join(format!("{name}.lock")), b""));
        if copied.is_err() {
            // A full disk: what was reached counts.
            break;
        }
        there += 1;
    }
    Ok(there)
}
