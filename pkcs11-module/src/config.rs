//! The client file, and where the module looks for it (DESIGN 5, "Where the module looks").
//!
//! No message is ever printed: a file that cannot be used makes C_Initialize fail with `CKR_GENERAL_ERROR`
//! ([`ConfigError`] says why, for tests and debuggers). A missing daemon is no configuration error.

use crate::abi::os;
use serde::Deserialize;
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

/// Why a client file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
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
}

/// What the module works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The data socket; `None` when there is nowhere to look.
    pub(crate) socket: Option<PathBuf>,
    /// How long a call goes on trying when the connection broke.
    pub(crate) deadline: Duration,
    /// Users, besides root and the caller's own, that may run the daemon.
    pub(crate) service_uid: Option<u32>,
}

/// The file's keys. Unknown ones are ignored: an older module reads a newer file.
#[derive(Deserialize)]
struct File {
    socket: Option<PathBuf>,
    deadline_ms: Option<u64>,
    #[serde(default)]
    fork: Fork,
    service_user: Option<String>,
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
    home: Option<PathBuf>,
    system: Option<PathBuf>,
    runtime: Option<PathBuf>,
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
            home: variable("HOME"),
            system: Some(PathBuf::from("/etc/hsmd/hsmd-client.toml")),
            runtime: variable("XDG_RUNTIME_DIR"),
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
                service_uid: None,
            });
        }
        Ok(Self {
            socket: Some(PathBuf::from(SERVICE_SOCKET)),
            deadline: DEADLINE,
            service_uid: os::uid_of(SERVICE_USER),
        })
    }

    fn read(file: &Path) -> Result<Self, ConfigError> {
        let length = std::fs::metadata(file).map_err(|_| ConfigError::Unreadable)?.len();
        if length > LONGEST_FILE {
            return Err(ConfigError::Malformed);
        }
        let text = std::fs::read_to_string(file).map_err(|_| ConfigError::Unreadable)?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
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
        Ok(Self {
            socket: Some(file.socket.unwrap_or_else(|| PathBuf::from(SERVICE_SOCKET))),
            deadline: file
                .deadline_ms
                .map_or(DEADLINE, |ms| Duration::from_millis(ms.clamp(1, 600_000))),
            service_uid,
        })
    }
}

/// A folder that belongs to the user and that nobody else enters.
fn is_private(folder: &Path, uid: u32) -> bool {
    std::fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_file_names_socket_and_deadline() {
        let config = Config::parse("socket = \"/tmp/x.sock\"\ndeadline_ms = 200\nlater = 1\n").unwrap();
        assert_eq!(config.socket.as_deref(), Some(Path::new("/tmp/x.sock")));
        assert_eq!(config.deadline, Duration::from_millis(200));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert_eq!(Config::parse("fork = \"inherit\""), Err(ConfigError::ForkInherit));
        assert_eq!(Config::parse("fork = \"maybe\""), Err(ConfigError::Malformed));
        assert_eq!(Config::parse("socket = 7"), Err(ConfigError::Malformed));
        assert_eq!(Config::parse("socket = \"x.sock\""), Err(ConfigError::RelativeSocket));
        assert_eq!(
            Config::parse("service_user = \"no such user\""),
            Err(ConfigError::UnknownUser)
        );
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
