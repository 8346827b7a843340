//! The client file, and where the module looks for it (DESIGN 5, "Where the module looks"): our own in TOML, or a
//! `Chrystoki.conf` of Luna appliances (`config/chrystoki.rs`).
//!
//! No message is ever printed: a file that cannot be used makes C_Initialize fail with `CKR_GENERAL_ERROR`
//! ([`ConfigError`] says why, for tests and debuggers). A missing daemon is no configuration error.

mod availability;
mod chrystoki;

use crate::abi::os;
pub(crate) use availability::{Availability, Log};
use chrystoki::Chrystoki;
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The deadline of a call when the file names none (DESIGN 5, "Daemon absent").
const DEADLINE: Duration = Duration::from_secs(5);
/// The service's socket and user when nothing else is configured.
const SERVICE_SOCKET: &str = "/run/hsmd/hsmd.sock";
const SERVICE_USER: &str = "hsmd";
/// A client file is short.
const LONGEST_FILE: u64 = 64 * 1024;
/// The bounds of a deadline.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(600);

/// Why a client file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(
    not(feature = "aws-lc"),
    allow(dead_code, reason = "nobody reads the files of TLS there")
)]
pub(crate) enum ConfigError {
    /// It is named by `HSMD_CONFIG`, but cannot be read.
    #[error("the client file cannot be read")]
    Unreadable,
    /// It is not TOML, or a value has the wrong type.
    #[error("the client file is not what docs/client-file.md describes")]
    Malformed,
    /// `fork = "inherit"` is not in this version: a child would lose what the setting promises.
    #[error("fork = \"inherit\" is not in this version; remove the line or say \"fail\"")]
    ForkInherit,
    /// `service_user` is no user of this machine.
    #[error("service_user is unknown on this machine")]
    UnknownUser,
    /// The socket is not an absolute path.
    #[error("socket must be an absolute path")]
    RelativeSocket,
    /// Both `socket` and `servers`, or `servers` without one of `ca`, `certificate` and `key`.
    #[error("either socket, or servers with ca, certificate and key")]
    Ambiguous,
    /// It is not a `Chrystoki.conf`, or a value in it that matters cannot be used.
    #[error("the Chrystoki.conf is not what docs/client-file.md describes")]
    Chrystoki,
    /// A certificate file that is not there, or holds none.
    #[error("ca or certificate cannot be read as certificates in PEM")]
    Certificate,
    /// A key file that is not there, holds no key, or one that does not belong to the certificate.
    #[error("key cannot be read as the private key of the certificate")]
    Key,
    /// Others than its owner may read the key file.
    #[error("the key file can be read by others: chmod 0600")]
    KeyExposed,
    /// The build with the feature `portable` alone has no TLS.
    #[cfg(not(feature = "aws-lc"))]
    #[error("this build (portable) has no TLS: name a socket instead of servers, or install the default build")]
    NoTls,
}

/// What the module works with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// The data socket; `None` when there is nowhere to look, or servers are named.
    pub(crate) socket: Option<PathBuf>,
    /// Servers on other hosts.
    pub(crate) remote: Option<Remote>,
    /// How several of them are used.
    pub(crate) availability: Availability,
    /// Only slots of groups are listed (`HAOnly`).
    pub(crate) ha_only: bool,
    /// How long a call goes on trying when the connection broke.
    pub(crate) deadline: Duration,
    /// Users, besides root and the caller's own, that may run the daemon.
    pub(crate) service_uid: Option<u32>,
}

/// Servers to reach by mutual TLS. Each serves the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// At least one.
    pub(crate) servers: Vec<Server>,
    /// The authorities of the servers, PEM.
    pub(crate) ca: PathBuf,
    /// The client's certificate, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM.
    pub(crate) key: PathBuf,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// A name or an address; the server's certificate must be for it.
    pub(crate) host: String,
    /// The TCP port.
    pub(crate) port: u16,
}

impl Server {
    /// Reads `host:port`; an IPv6 address stands in brackets.
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let good = !host.is_empty() && (bracketed.is_some() || !host.contains(':'));
        good.then(|| Self {
            host: host.to_owned(),
            port,
        })
    }

    /// The address, if it is one and no name.
    pub(crate) fn literal(&self) -> Option<SocketAddr> {
        let address: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(address, self.port))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The file's keys. Unknown ones are ignored: an older module reads a newer file.
#[derive(Deserialize)]
struct File {
    socket: Option<PathBuf>,
    #[serde(default)]
    servers: Vec<String>,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    deadline_ms: Option<u64>,
    #[serde(default)]
    fork: Fork,
    service_user: Option<String>,
    ha_only: Option<bool>,
    #[serde(flatten)]
    availability: availability::Keys,
}

#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Fork {
    #[default]
    Fail,
    Inherit,
}

/// Where to look: what the environment says, once, so that the search itself can be tested.
#[derive(Default)]
pub(crate) struct Surroundings {
    own_file: Option<PathBuf>,
    named: Option<PathBuf>,
    /// A folder or a file.
    luna: Option<PathBuf>,
    home: Option<PathBuf>,
    system: Option<PathBuf>,
    runtime: Option<PathBuf>,
    luna_system: Option<PathBuf>,
    uid: u32,
}

impl Surroundings {
    /// This process's. With raised rights neither environment nor home is believed.
    fn of_this_process() -> Self {
        let variable = |name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty() && !os::raised_rights());
            value.map(PathBuf::from)
        };
        Self {
            own_file: os::own_file(),
            named: variable("HSMD_CONFIG"),
            luna: variable("ChrystokiConfigurationPath"),
            home: variable("HOME"),
            system: Some(PathBuf::from("/etc/hsmd/hsmd-client.toml")),
            runtime: variable("XDG_RUNTIME_DIR"),
            luna_system: Some(PathBuf::from("/etc/Chrystoki.conf")),
            uid: os::effective_uid(),
        }
    }
}

impl Config {
    /// Looks for the client file, then for the usual sockets.
    ///
    /// # Errors
    /// [`ConfigError`] for a file that is there and cannot be used.
    pub(crate) fn find() -> Result<Self, ConfigError> {
        Self::find_in(&Surroundings::of_this_process())
    }

    fn find_in(place: &Surroundings) -> Result<Self, ConfigError> {
        let beside = place.own_file.as_ref().map(|file| file.with_extension("toml"));
        if let Some(file) = beside.filter(|file| file.is_file()) {
            return Self::read(&file);
        }
        if let Some(file) = &place.named {
            return Self::read(file);
        }
        if let Some(path) = &place.luna {
            let file = if path.is_dir() {
                path.join("Chrystoki.conf")
            } else {
                path.clone()
            };
            return Self::read_chrystoki(&file);
        }
        let home = place
            .home
            .as_ref()
            .map(|home| home.join(".config/hsmd/hsmd-client.toml"));
        if let Some(file) = [&home, &place.system].into_iter().flatten().find(|file| file.is_file()) {
            return Self::read(file);
        }
        let dev = place.runtime.as_ref().filter(|folder| is_private(folder, place.uid));
        if let Some(socket) = dev
            .map(|folder| folder.join("hsmd/dev.sock"))
            .filter(|socket| socket.exists())
        {
            return Ok(Self {
                socket: Some(socket),
                deadline: DEADLINE,
                ..Self::default()
            });
        }
        let service = Path::new(SERVICE_SOCKET);
        // A Luna client's file may have been on this machine before us: it is the last to be asked.
        if let Some(file) = place
            .luna_system
            .as_ref()
            .filter(|file| !service.exists() && file.is_file())
        {
            return Self::read_chrystoki(file);
        }
        Ok(Self {
            socket: Some(service.into()),
            deadline: DEADLINE,
            service_uid: os::uid_of(SERVICE_USER),
            ..Self::default()
        })
    }

    fn read(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(&text_of(file)?, folder_of(file))
    }

    fn read_chrystoki(file: &Path) -> Result<Self, ConfigError> {
        Self::parse_chrystoki(&text_of(file)?, folder_of(file))
    }

    /// Reads our own client file, which lies in `folder`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|_| ConfigError::Malformed)?;
        if file.fork == Fork::Inherit {
            return Err(ConfigError::ForkInherit);
        }
        if file.socket.as_ref().is_some_and(|socket| !socket.is_absolute()) {
            return Err(ConfigError::RelativeSocket);
        }
        let service_uid = match &file.service_user {
            None => None,
            Some(name) => Some(os::uid_of(name).ok_or(ConfigError::UnknownUser)?),
        };
        let deadline = file.deadline_ms.map_or(DEADLINE, Duration::from_millis);
        let remote = file.remote(folder)?;
        let servers = remote.as_ref().map_or(&[][..], |remote| &remote.servers);
        let availability = file.availability.read(servers)?;
        let ha_only = file.ha_only.unwrap_or(false);
        let socket = file
            .socket
            .or_else(|| remote.is_none().then(|| PathBuf::from(SERVICE_SOCKET)));
        Ok(Self {
            socket,
            remote,
            availability,
            ha_only,
            deadline: deadline.clamp(SHORTEST, LONGEST),
            service_uid,
        })
    }

    /// Reads a `Chrystoki.conf`, which lies in `folder`.
    ///
    /// # Errors
    /// [`ConfigError::Chrystoki`].
    pub(crate) fn parse_chrystoki(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let file = Chrystoki::parse(text, folder).ok_or(ConfigError::Chrystoki)?;
        Ok(Self {
            socket: None,
            remote: file.remote,
            availability: file.availability,
            ha_only: file.ha_only,
            deadline: file.patience.unwrap_or(DEADLINE).clamp(SHORTEST, LONGEST),
            service_uid: None,
        })
    }
}

impl File {
    fn remote(&self, folder: &Path) -> Result<Option<Remote>, ConfigError> {
        let files = (&self.ca, &self.certificate, &self.key);
        let (Some(ca), Some(certificate), Some(key)) = files else {
            let none = self.servers.is_empty() && files == (&None, &None, &None);
            return if none { Ok(None) } else { Err(ConfigError::Ambiguous) };
        };
        if self.servers.is_empty() || self.socket.is_some() {
            return Err(ConfigError::Ambiguous);
        }
        let servers: Option<Vec<_>> = self.servers.iter().map(|text| Server::parse(text)).collect();
        Ok(Some(Remote {
            servers: servers.ok_or(ConfigError::Malformed)?,
            ca: locate(ca, folder),
            certificate: locate(certificate, folder),
            key: locate(key, folder),
        }))
    }
}

fn text_of(file: &Path) -> Result<String, ConfigError> {
    let length = std::fs::metadata(file).map_err(|_| ConfigError::Unreadable)?.len();
    if length > LONGEST_FILE {
        return Err(ConfigError::Malformed);
    }
    std::fs::read_to_string(file).map_err(|_| ConfigError::Unreadable)
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

/// The file that a client file names: a relative path begins where the client file lies, and a file that is not where an
/// absolute path says is looked for there too, so that what GetConfig gave works wherever it was written to.
fn locate(path: &Path, folder: &Path) -> PathBuf {
    if path.is_absolute() && path.exists() {
        return path.to_owned();
    }
    let name = if path.is_absolute() {
        path.file_name().map(Path::new)
    } else {
        Some(path)
    };
    let beside = name.map(|name| folder.join(name));
    match beside {
        Some(beside) if !path.is_absolute() || beside.exists() => beside,
        _ => path.to_owned(),
    }
}

/// A folder that belongs to the user and that nobody else enters.
fn is_private(folder: &Path, uid: u32) -> bool {
    std::fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/nowhere"))
    }

    #[test]
    fn servers_are_named_with_the_files_that_prove_who_is_who() {
        let files = "ca = \"ca.pem\"\ncertificate = \"/c/app.pem\"\nkey = \"app.key\"\n";
        let config = parse(&format!(
            "servers = [\"10.0.0.1:1792\", \"[::1]:5\", \"hsm.example:7\"]\n{files}"
        ))
        .unwrap();
        let remote = config.remote.unwrap();
        let servers: Vec<_> = remote
            .servers
            .iter()
            .map(|server| (server.host.as_str(), server.port))
            .collect();
        assert_eq!(servers, [("10.0.0.1", 1792), ("::1", 5), ("hsm.example", 7)]);
        assert_eq!(remote.ca, Path::new("/nowhere/ca.pem"));
        assert_eq!(remote.certificate, Path::new("/c/app.pem"));
        assert_eq!(config.socket, None);
        for servers in ["\"host\"", "\"host:0\"", "\":1\"", "\"::1:5\"", "\"h:70000\""] {
            assert_eq!(
                parse(&format!("servers = [{servers}]\n{files}")),
                Err(ConfigError::Malformed),
                "{servers}"
            );
        }
        assert_eq!(parse("servers = [\"h:1\"]"), Err(ConfigError::Ambiguous));
        assert_eq!(parse(files), Err(ConfigError::Ambiguous));
        let both = format!("socket = \"/s\"\nservers = [\"h:1\"]\n{files}");
        assert_eq!(parse(&both), Err(ConfigError::Ambiguous));
    }

    #[test]
    fn a_chrystoki_conf_is_found_by_folder_or_file_and_its_files_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Chrystoki.conf");
        let text = "LunaSA Client = {\n ServerName00 = 10.0.0.1;\n ServerCAFile = /usr/lunasa/cert/server/CAFile.pem;\n\
                    ClientCertFile = /usr/lunasa/cert/client/app.pem;\n ClientPrivKeyFile = /usr/lunasa/appKey.pem;\n}\n";
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("CAFile.pem"), "").unwrap();
        for named in [folder.path(), &file] {
            let place = Surroundings {
                luna: Some(named.to_path_buf()),
                ..Surroundings::default()
            };
            let remote = Config::find_in(&place).unwrap().remote.unwrap();
            assert_eq!(remote.ca, folder.path().join("CAFile.pem"));
            assert_eq!(
                remote.key,
                Path::new("/usr/lunasa/appKey.pem"),
                "what is nowhere keeps its name"
            );
        }
        let place = Surroundings {
            luna: Some(folder.path().join("missing")),
            ..Surroundings::default()
        };
        assert_eq!(Config::find_in(&place), Err(ConfigError::Unreadable));
        std::fs::write(&file, "LunaSA Client = {").unwrap();
        let place = Surroundings {
            luna: Some(file),
            ..Surroundings::default()
        };
        assert_eq!(Config::find_in(&place), Err(ConfigError::Chrystoki));
    }

    #[test]
    fn a_client_file_names_socket_and_deadline() {
        let config = parse("socket = \"/tmp/x.sock\"\ndeadline_ms = 200\nlater = 1\n").unwrap();
        assert_eq!(config.socket.as_deref(), Some(Path::new("/tmp/x.sock")));
        assert_eq!(config.deadline, Duration::from_millis(200));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert_eq!(parse("fork = \"inherit\""), Err(ConfigError::ForkInherit));
        assert_eq!(parse("fork = \"maybe\""), Err(ConfigError::Malformed));
        assert_eq!(parse("socket = 7"), Err(ConfigError::Malformed));
        assert_eq!(parse("socket = \"x.sock\""), Err(ConfigError::RelativeSocket));
        assert_eq!(parse("service_user = \"no such user\""), Err(ConfigError::UnknownUser));
    }

    #[test]
    fn the_file_beside_the_library_wins_then_the_environment_then_home() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, socket: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("socket = \"{socket}\"")).unwrap();
            path
        };
        let mut place = Surroundings {
            own_file: Some(folder.path().join("libhsmd_pkcs11.so")),
            named: Some(write("named.toml", "/named")),
            home: Some(folder.path().to_path_buf()),
            ..Surroundings::default()
        };
        write(".config/hsmd/hsmd-client.toml", "/home");
        let socket = |place: &Surroundings| Config::find_in(place).map(|config| config.socket.unwrap());
        assert_eq!(socket(&place).unwrap(), Path::new("/named"));
        write("libhsmd_pkcs11.toml", "/beside");
        assert_eq!(socket(&place).unwrap(), Path::new("/beside"));
        place.own_file = None;
        place.named = None;
        assert_eq!(socket(&place).unwrap(), Path::new("/home"));
        place.named = Some(folder.path().join("missing.toml"));
        assert_eq!(socket(&place), Err(ConfigError::Unreadable));
    }
}
