//! Where the module looks for its client file and its daemon (docs/client-file.md), and what stands in the way: the same
//! search as the module's, which itself may say nothing but `CKR_GENERAL_ERROR`.

use super::Finding;
use super::remote::{self, Remote};
use crate::memory::effective_user;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use toml::Table;

/// The service's socket and user when nothing else is configured.
const SERVICE_SOCKET: &str = "/run/hsmd/hsmd.sock";
const SERVICE_USER: &str = "hsmd";

/// The port of a server that names none.
const PORT: u16 = 1792;

/// One place and how it is called.
struct Candidate {
    path: PathBuf,
    why: &'static str,
    /// It is used even if it is not there: then C_Initialize fails.
    named: bool,
    /// It is a `Chrystoki.conf`, not a client file of ours.
    luna: bool,
}

fn candidates(module: &Path) -> Vec<Candidate> {
    let place = |path, why, named| Candidate {
        path,
        why,
        named,
        luna: false,
    };
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let mut places = vec![place(module.with_extension("toml"), "beside the module", false)];
    places.extend(variable("HSMD_CONFIG").map(|path| place(path, "named by HSMD_CONFIG", true)));
    let luna = variable("ChrystokiConfigurationPath").map(|path| Candidate {
        path: if path.is_dir() {
            path.join("Chrystoki.conf")
        } else {
            path
        },
        why: "named by ChrystokiConfigurationPath",
        named: true,
        luna: true,
    });
    places.extend(luna);
    let home = variable("HOME").map(|home| home.join(".config/hsmd/hsmd-client.toml"));
    places.extend(home.map(|path| place(path, "of this user", false)));
    places.push(place("/etc/hsmd/hsmd-client.toml".into(), "of this machine", false));
    places
}

/// The findings: client file, socket.
pub(super) fn examine(module: &Path) -> Vec<Finding> {
    let places = candidates(module);
    let used = places.iter().find(|place| place.named || place.path.is_file());
    let Some(used) = used else {
        let looked: Vec<_> = places.iter().map(|place| place.path.display().to_string()).collect();
        let message = format!("none; looked at {}", looked.join(", "));
        let (socket, user) = default_socket();
        let old = Path::new("/etc/Chrystoki.conf");
        if !socket.exists() && old.is_file() {
            return luna(old, "of a Luna client");
        }
        let mut findings = vec![Finding::skipped("client file", message)];
        findings.extend(reach(&socket, user));
        return findings;
    };
    if used.luna {
        return luna(&used.path, used.why);
    }
    match read(&used.path) {
        Err((message, remedy)) => vec![Finding::failure(
            "client file",
            format!("{} ({}): {message}", used.path.display(), used.why),
            remedy,
        )],
        Ok(table) => {
            let message = format!("{} ({})", used.path.display(), used.why);
            let mut findings = vec![Finding::ok("client file", message)];
            findings.extend(follow(&table, used.path.parent().unwrap_or(Path::new("/"))));
            findings
        }
    }
}

/// A `Chrystoki.conf`: only what says where the servers are is read here; the module itself is stricter.
fn luna(path: &Path, why: &str) -> Vec<Finding> {
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let remedy = "correct ChrystokiConfigurationPath (it names the folder), or unset it";
            return vec![Finding::failure(
                "client file",
                format!("{shown} ({why}): {error}"),
                remedy,
            )];
        }
    };
    let value = |key: &str| {
        let lines = text
            .lines()
            .filter_map(|line| line.trim().strip_suffix(';')?.split_once('='));
        let mut values = lines
            .filter(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().to_owned());
        values.next()
    };
    let server = |number: usize| {
        let host = value(&format!("ServerName{number:02}"))?;
        let port = value(&format!("ServerPort{number:02}")).and_then(|port| port.parse().ok());
        Some((host, port.unwrap_or(PORT)))
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let file = |key| value(key).map(|name| locate(Path::new(&name), folder));
    let files = (file("ServerCAFile"), file("ClientCertFile"), file("ClientPrivKeyFile"));
    let (Some(ca), Some(certificate), Some(key)) = files else {
        let message = format!("{shown} ({why}): without ServerCAFile, ClientCertFile or ClientPrivKeyFile");
        return vec![Finding::failure(
            "client file",
            message,
            "`hsmctl client config` writes it",
        )];
    };
    let servers: Vec<_> = (0..100).map_while(server).collect();
    let mut findings = vec![Finding::ok("client file", format!("{shown} ({why})"))];
    if servers.is_empty() {
        findings.push(Finding::failure(
            "client file",
            "no ServerName00",
            "`hsmctl client config` writes it",
        ));
    }
    findings.extend(remote::examine(&Remote {
        servers,
        ca,
        certificate,
        key,
    }));
    findings
}

/// As the module: beside the file that names it, if it is not where an absolute path says.
fn locate(path: &Path, folder: &Path) -> PathBuf {
    let beside = folder.join(path.file_name().unwrap_or_default());
    match (path.is_absolute(), path.exists()) {
        (true, false) if beside.exists() => beside,
        (true, _) => path.to_path_buf(),
        (false, _) => folder.join(path),
    }
}

/// Without a client file: `hsmd dev` of this user, else the service.
fn default_socket() -> (PathBuf, Option<u32>) {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let private = |folder: &PathBuf| {
        let found = std::fs::metadata(folder);
        found.is_ok_and(|found| found.is_dir() && found.uid() == effective_user() && found.mode() & 0o077 == 0)
    };
    let dev = runtime.filter(private).map(|folder| folder.join("hsmd/dev.sock"));
    match dev.filter(|socket| socket.exists()) {
        Some(socket) => (socket, None),
        None => (SERVICE_SOCKET.into(), user_id(SERVICE_USER)),
    }
}

fn read(path: &Path) -> Result<Table, (String, &'static str)> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "correct HSMD_CONFIG, or unset it",
            std::io::ErrorKind::PermissionDenied => "let the application's user read it, folders above included",
            _ => "make it a readable text file",
        };
        (error.to_string(), remedy)
    })?;
    let table: Table = toml::from_str(&text).map_err(|error: toml::de::Error| {
        let message = error.to_string().trim().replace('\n', " | ");
        (message, "correct that line; docs/client-file.md has the keys")
    })?;
    Ok(table)
}

/// The keys of a client file, which lies in `folder`, and what they lead to.
fn follow(table: &Table, folder: &Path) -> Vec<Finding> {
    const REMEDY: &str = "docs/client-file.md has the keys";
    if let Some(fork) = table.get("fork").filter(|fork| fork.as_str() != Some("fail")) {
        let message = format!("fork = {fork}: only \"fail\" is in this version");
        return vec![Finding::failure("client file", message, REMEDY)];
    }
    if let Some(deadline) = table.get("deadline_ms").filter(|value| !value.is_integer()) {
        let message = format!("deadline_ms = {deadline}: must be a number");
        return vec![Finding::failure("client file", message, REMEDY)];
    }
    let user = match table
        .get("service_user")
        .map(|name| (name, name.as_str().and_then(user_id)))
    {
        Some((name, None)) => {
            let message = format!("service_user = {name}: is no user of this machine");
            return vec![Finding::failure("client file", message, REMEDY)];
        }
        Some((_, uid)) => uid,
        None => None,
    };
    if table.contains_key("servers") {
        return match servers(table, folder) {
            Ok(remote) => remote::examine(&remote),
            Err(message) => vec![Finding::failure("client file", message, REMEDY)],
        };
    }
    match table.get("socket") {
        None => reach(Path::new(SERVICE_SOCKET), user),
        Some(socket) => match socket.as_str().map(Path::new).filter(|path| path.is_absolute()) {
            Some(path) => reach(path, user),
            None => {
                let message = format!("socket = {socket}: must be an absolute path");
                vec![Finding::failure("client file", message, REMEDY)]
            }
        },
    }
}

/// Servers on other hosts, and the files for them.
fn servers(table: &Table, folder: &Path) -> Result<Remote, String> {
    if table.contains_key("socket") {
        return Err("both socket and servers: one of them".to_owned());
    }
    let file = |key: &str| {
        let name = table.get(key).and_then(toml::Value::as_str);
        let name = name.ok_or_else(|| format!("servers without {key}"));
        name.map(|name| locate(Path::new(name), folder))
    };
    let server = |value: &toml::Value| {
        let text = value.as_str().unwrap_or_default();
        let split = text
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = split.ok_or_else(|| format!("servers: {value}: a server is \"host:port\""))?;
        Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
    };
    let list = table.get("servers").and_then(toml::Value::as_array);
    let list = list
        .filter(|list| !list.is_empty())
        .ok_or("servers: a list of \"host:port\"")?;
    Ok(Remote {
        servers: list.iter().map(server).collect::<Result<_, String>>()?,
        ca: file("ca")?,
        certificate: file("certificate")?,
        key: file("key")?,
    })
}

/// Connects as the module does, and looks who is at the other end.
fn reach(socket: &Path, service: Option<u32>) -> Vec<Finding> {
    let shown = socket.display();
    let connection = match UnixStream::connect(socket) {
        Ok(connection) => connection,
        Err(error) => return vec![refused(socket, &error)],
    };
    let Ok(peer) = rustix::net::sockopt::socket_peercred(&connection) else {
        return vec![Finding::warning(
            "socket",
            format!("{shown}: who answers is not known"),
            "",
        )];
    };
    let uid = peer.uid.as_raw();
    let trusted = uid == 0 || uid == effective_user() || service == Some(uid);
    if trusted {
        return vec![Finding::ok(
            "socket",
            format!("{shown}: answered by {}", user_name(uid)),
        )];
    }
    vec![Finding::failure(
        "socket",
        format!("{shown}: run by {}, whom the module does not trust", user_name(uid)),
        "if that is the daemon's user, name it as `service_user` in the client file",
    )]
}

fn refused(socket: &Path, error: &std::io::Error) -> Finding {
    let shown = socket.display();
    let found = std::fs::metadata(socket);
    match (error.kind(), found) {
        (std::io::ErrorKind::PermissionDenied, Ok(found)) => Finding::failure(
            "socket",
            format!("{shown}: permission denied: {}", owners(&found)),
            "add the application's user to that group, or set data.socket_group in hsmd.toml; a new login picks it up",
        ),
        (std::io::ErrorKind::PermissionDenied, Err(_)) => Finding::failure(
            "socket",
            format!("{shown}: permission denied in a folder above it"),
            "let the application's user pass through those folders (x)",
        ),
        (std::io::ErrorKind::NotFound, _) => Finding::failure(
            "socket",
            format!("{shown}: there is no such socket: the daemon does not run, or has another path (data.socket)"),
            "start it: `systemctl start hsmd` or `hsmd dev`; or correct `socket` in the client file",
        ),
        (std::io::ErrorKind::ConnectionRefused, _) => Finding::failure(
            "socket",
            format!("{shown}: nobody listens: the daemon has ended without removing it"),
            "start it: `systemctl start hsmd` or `hsmd dev`",
        ),
        _ => Finding::failure("socket", format!("{shown}: {error}"), "`hsmctl status`"),
    }
}

fn owners(found: &Metadata) -> String {
    let group = named("/etc/group", found.gid()).unwrap_or_else(|| found.gid().to_string());
    format!(
        "mode {:04o}, user {}, group {group}; this is {}",
        found.mode() & 0o777,
        user_name(found.uid()),
        user_name(effective_user())
    )
}

pub(super) fn user_name(uid: u32) -> String {
    named("/etc/passwd", uid).unwrap_or_else(|| format!("user {uid}"))
}

/// The name of a number in a file of the form of passwd(5) or group(5).
fn named(file: &str, number: u32) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let number = number.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(&number))?;
    line.split(':').next().map(str::to_owned)
}

fn user_id(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn one(text: &str) -> Finding {
        follow(&toml::from_str(text).unwrap(), Path::new("/")).remove(0)
    }

    #[test]
    fn wrong_values_of_a_client_file_are_named() {
        for (text, words) in [
            ("fork = \"inherit\"", "only \"fail\""),
            ("socket = \"x.sock\"", "absolute"),
            ("socket = 7", "absolute"),
            ("service_user = \"no such user\"", "no user of this machine"),
            ("deadline_ms = \"5\"", "must be a number"),
            ("servers = [\"x\"]", "host:port"),
            ("servers = [\"x:1\"]", "without ca"),
            ("servers = [\"x:1\"]\nsocket = \"/x\"", "both"),
        ] {
            let finding = one(text);
            assert_eq!(
                (finding.check, finding.state),
                ("client file", State::Failure),
                "{text}"
            );
            assert!(finding.message.contains(words), "{}", finding.message);
        }
    }

    #[test]
    fn a_socket_that_is_not_there_and_one_where_nobody_listens_differ() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert!(reach(&path, None)[0].message.contains("no such socket"));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(reach(&path, None)[0].state, State::Ok);
        drop(listener);
        assert!(reach(&path, None)[0].message.contains("nobody listens"));
    }

    #[test]
    fn a_line_that_is_no_toml_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "socket = \n").unwrap();
        let (message, remedy) = read(&path).unwrap_err();
        assert!(
            message.contains("line 1") && remedy.contains("client-file.md"),
            "{message}"
        );
        assert!(read(&folder.path().join("none")).unwrap_err().1.contains("HSMD_CONFIG"));
    }
}
