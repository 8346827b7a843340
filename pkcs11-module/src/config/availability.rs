//! How several servers are used: which are first, when one that was lost is tried again, where losses are written down. Of our own
//! client file, and of a `Chrystoki.conf` (`reconnAtt`, `AutoReconnectInterval`, `haLogPath` and their like).

use super::{ConfigError, Server};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The longest pause between two attempts unless the file says more.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long the file of losses grows.
const LOG_BYTES: u64 = 256 * 1024;

/// What a client says of its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Availability {
    /// Each process begins with a server of its own choice, and threads go to the least busy one. Without it the first that is
    /// there serves all.
    pub(crate) spread: bool,
    /// Places in the list of servers that are used only when no other one is there.
    pub(crate) standby: Vec<usize>,
    /// How often a lost server is tried again while others serve; `None`: without end.
    pub(crate) attempts: Option<u32>,
    /// The longest pause between two of these.
    pub(crate) interval: Duration,
    /// Where losses and returns are written down.
    pub(crate) log: Option<Log>,
}

/// `haErrorLog.txt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// From this length on, in bytes, the file is put aside and a new one begun.
    pub(crate) bytes: u64,
}

impl Default for Availability {
    fn default() -> Self {
        Self {
            spread: true,
            standby: Vec::new(),
            attempts: None,
            interval: INTERVAL,
            log: None,
        }
    }
}

/// The keys of our own client file.
#[derive(Default, Deserialize)]
pub(super) struct Keys {
    spread: Option<bool>,
    #[serde(default)]
    standby: Vec<String>,
    reconnect_attempts: Option<i64>,
    reconnect_interval_s: Option<u64>,
    ha_log: Option<PathBuf>,
    ha_log_bytes: Option<u64>,
}

impl Keys {
    /// What they say of these servers.
    ///
    /// # Errors
    /// [`ConfigError::Malformed`] for a standby server that is none of them, or nothing but such; a count below -1; a folder that is
    /// not absolute.
    pub(super) fn read(&self, servers: &[Server]) -> Result<Availability, ConfigError> {
        let place = |text: &String| {
            servers
                .iter()
                .position(|server| Some(server) == Server::parse(text).as_ref())
        };
        let standby: Option<Vec<_>> = self.standby.iter().map(place).collect();
        let mut standby = standby.ok_or(ConfigError::Malformed)?;
        standby.sort_unstable();
        standby.dedup();
        let attempts = attempts(self.reconnect_attempts).ok_or(ConfigError::Malformed)?;
        let relative = self.ha_log.as_ref().is_some_and(|folder| !folder.is_absolute());
        if relative || (!standby.is_empty() && standby.len() == servers.len()) {
            return Err(ConfigError::Malformed);
        }
        let bytes = self.ha_log_bytes.unwrap_or(LOG_BYTES);
        Ok(Availability {
            spread: self.spread.unwrap_or(true),
            standby,
            attempts,
            interval: self.reconnect_interval_s.map_or(INTERVAL, pause),
            log: self.ha_log.clone().map(|folder| Log { folder, bytes }),
        })
    }
}

/// The number of attempts of a file: -1, or none given, is without end.
pub(super) fn attempts(number: Option<i64>) -> Option<Option<u32>> {
    match number {
        None | Some(-1) => Some(None),
        Some(number) => u32::try_from(number).ok().map(Some),
    }
}

/// The pause of a file, in seconds.
pub(super) fn pause(seconds: u64) -> Duration {
    Duration::from_secs(seconds.clamp(1, 3600))
}

/// `logLen` of a file, if it has one.
pub(super) fn log(folder: PathBuf, bytes: Option<u64>) -> Log {
    let bytes = bytes.unwrap_or(LOG_BYTES);
    Log { folder, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Availability, ConfigError> {
        let servers = ["a:1", "b:2"].map(|text| Server::parse(text).unwrap());
        toml::from_str::<Keys>(text).unwrap().read(&servers)
    }

    #[test]
    fn keys_say_how_servers_are_used() {
        assert_eq!(read(""), Ok(Availability::default()));
        let text =
            "spread = false\nstandby = [\"b:2\"]\nreconnect_attempts = 3\nreconnect_interval_s = 0\nha_log = \"/l\"";
        let read = read(text).unwrap();
        assert_eq!((read.spread, read.standby, read.attempts), (false, vec![1], Some(3)));
        assert_eq!(read.interval, Duration::from_secs(1));
        assert_eq!(read.log.unwrap().bytes, LOG_BYTES);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "standby = [\"c:3\"]",
            "standby = [\"a:1\", \"b:2\"]",
            "reconnect_attempts = -2",
            "ha_log = \"l\"",
        ] {
            assert_eq!(read(text), Err(ConfigError::Malformed), "{text}");
        }
    }
}
