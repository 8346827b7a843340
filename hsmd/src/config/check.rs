//! The range of every value of the configuration, as rows: key, value, range, and the rule in words.

use super::{Config, ConfigError};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;

/// `sun_path` has room for 107 bytes and a zero.
const MAX_SOCKET_PATH: usize = 108;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A number: key, value, range, rule.
type Number = (&'static str, u64, RangeInclusive<u64>, &'static str);
/// A text: whether it is good, key, value, rule.
type Text<'a> = (bool, &'static str, &'a str, &'static str);

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the first that is outside its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let listeners = [
            ("data.listen", &self.data.listen),
            ("control.listen", &self.control.listen),
        ];
        if let Some((key, found)) = listeners
            .into_iter()
            .find(|(_, found)| !crate::pki::TLS && !found.is_empty())
        {
            let (value, rule) = (format!("{found:?}"), "empty: this build (portable) has no TLS");
            return Err(ConfigError::Value { key, value, rule });
        }
        for (at, subnet) in self.subnet.iter().enumerate() {
            if let Some(rule) = subnet.fault(&self.subnet[..at]) {
                let value = format!("{:?}", subnet.id);
                let key = "subnet.id";
                return Err(ConfigError::Value { key, value, rule });
            }
        }
        for (good, key, value, rule) in self.paths().into_iter().chain(self.texts()) {
            if !good {
                let value = format!("{value:?}");
                return Err(ConfigError::Value { key, value, rule });
            }
        }
        for (key, value, range, rule) in self.limits().into_iter().chain(self.rules()).chain(self.records()) {
            if !range.contains(&value) {
                let value = value.to_string();
                return Err(ConfigError::Value { key, value, rule });
            }
        }
        Ok(())
    }

    fn limits(&self) -> [Number; 13] {
        const COUNT: RangeInclusive<u64> = 1..=1 << 20;
        const COUNT_RULE: &str = "between 1 and 1048576";
        let (store, data, control) = (&self.store, &self.data, &self.control);
        let per_client = data.max_connections_per_client as u64;
        [
            (
                "store.segment_bytes",
                store.segment_bytes,
                4 * MIB..=GIB,
                "between 4 MiB and 1 GiB, in bytes",
            ),
            (
                "data.max_data",
                data.max_data,
                MIB..=GIB,
                "between 1 MiB and 1 GiB, in bytes",
            ),
            (
                "data.max_inflight",
                data.max_inflight,
                data.max_data..=1 << 40,
                "at least data.max_data",
            ),
            ("data.max_connections", data.max_connections as u64, COUNT, COUNT_RULE),
            ("data.max_connections_per_client", per_client, COUNT, COUNT_RULE),
            ("data.max_handshakes", data.max_handshakes as u64, COUNT, COUNT_RULE),
            (
                "data.handshake_timeout_ms",
                data.handshake_timeout_ms,
                100..=600_000,
                "between 100 and 600000",
            ),
            (
                "data.frame_timeout_ms",
                data.frame_timeout_ms,
                100..=3_600_000,
                "between 100 and 3600000",
            ),
            (
                "data.heartbeat_ms",
                data.heartbeat_ms,
                10..=60_000,
                "between 10 and 60000",
            ),
            (
                "control.max_streams",
                control.max_streams.into(),
                1..=10_000,
                "between 1 and 10000",
            ),
            (
                "control.max_connections",
                control.max_connections as u64,
                COUNT,
                COUNT_RULE,
            ),
            (
                "control.handshake_timeout_ms",
                control.handshake_timeout_ms,
                100..=600_000,
                "between 100 and 600000",
            ),
            (
                "stop.grace_ms",
                self.stop.grace_ms,
                0..=3_600_000,
                "at most 3600000 (an hour)",
            ),
        ]
    }

    fn rules(&self) -> [Number; 16] {
        let (work, pin) = (&self.work, &self.pin);
        let (least, most) = (pin.min_length as u64, pin.max_length as u64);
        let partitions = u64::from(self.hsm.max_partitions);
        [
            (
                "work.cpu_threads",
                work.cpu_threads as u64,
                0..=1_024,
                "between 0 (as many as cores) and 1024",
            ),
            (
                "work.write_threads",
                work.write_threads as u64,
                1..=1_024,
                "between 1 and 1024",
            ),
            ("work.pin_threads", work.pin_threads as u64, 1..=64, "between 1 and 64"),
            ("work.queue", work.queue as u64, 1..=1 << 20, "between 1 and 1048576"),
            (
                "work.queue_per_client",
                work.queue_per_client as u64,
                1..=1 << 20,
                "between 1 and 1048576",
            ),
            ("pin.min_length", least, 1..=255, "between 1 and 255"),
            (
                "pin.max_length",
                most,
                least..=255,
                "at least pin.min_length, at most 255",
            ),
            ("pin.tries", pin.tries.into(), 1..=1_000, "between 1 and 1000"),
            (
                "pin.memory_kib",
                pin.memory_kib.into(),
                0..=1 << 20,
                "0 (default) or at most 1048576 (1 GiB)",
            ),
            ("pin.passes", pin.passes.into(), 0..=16, "0 (default) or at most 16"),
            (
                "pin.idle_wipe_s",
                pin.idle_wipe_s,
                1..=31_536_000,
                "between 1 and 31536000 (a year)",
            ),
            (
                "pin.max_logins",
                pin.max_logins as u64,
                16..=1_000_000,
                "between 16 and 1000000",
            ),
            (
                "audit.max_bytes",
                self.audit.max_bytes,
                MIB..=16 * GIB,
                "between 1 MiB and 16 GiB, in bytes",
            ),
            (
                "audit.syslog_port",
                self.audit.syslog_port.into(),
                1..=65_535,
                "between 1 and 65535",
            ),
            ("hsm.max_partitions", partitions, 1..=999, "between 1 and 999"),
            ("hsm.so_tries", self.hsm.so_tries.into(), 1..=100, "between 1 and 100"),
        ]
    }

    fn records(&self) -> [Number; 3] {
        let records = &self.records;
        [
            (
                "records.max_namespaces",
                records.max_namespaces,
                1..=10_000,
                "between 1 and 10000",
            ),
            (
                "records.max_records",
                records.max_records,
                1..=100_000_000,
                "between 1 and 100000000",
            ),
            (
                "records.max_bytes",
                records.max_bytes,
                MIB..=1 << 40,
                "between 1 MiB and 1 TiB, in bytes",
            ),
        ]
    }

    fn paths(&self) -> [Text<'_>; 6] {
        const ABSOLUTE: &str = "an absolute path";
        const SHORT: &str = "shorter than 108 bytes (a limit of Unix sockets)";
        let short = |path: &Path| path.as_os_str().len() < MAX_SOCKET_PATH;
        let (store, data, control) = (&self.store, &self.data.socket, &self.control.socket);
        [
            (
                store.data_dir.is_absolute(),
                "store.data_dir",
                text(&store.data_dir),
                ABSOLUTE,
            ),
            (
                store.master_key.is_absolute(),
                "store.master_key",
                text(&store.master_key),
                ABSOLUTE,
            ),
            (data.is_absolute(), "data.socket", text(data), ABSOLUTE),
            (control.is_absolute(), "control.socket", text(control), ABSOLUTE),
            (short(data), "data.socket", text(data), SHORT),
            (short(control), "control.socket", text(control), SHORT),
        ]
    }

    fn texts(&self) -> [Text<'_>; 13] {
        const NAME: &str = "letters, digits and hyphens";
        let (hsm, log, mode) = (&self.hsm, &self.log, &self.data.socket_mode);
        let account = hsm.account.len() == 12 && hsm.account.bytes().all(|byte| byte.is_ascii_digit());
        let name = |text: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !text.is_empty() && text.bytes().all(fits)
        };
        let zone = &hsm.availability_zone;
        let (tls, advertise) = (&self.tls, &self.data.advertise);
        let files = [&tls.certificate, &tls.key, &tls.ca].map(|path| path.as_os_str().is_empty());
        let metrics = &self.metrics.listen;
        let format = matches!(log.format.as_str(), "text" | "json");
        [
            (
                self.data.mode().is_some(),
                "data.socket_mode",
                mode,
                "\"0660\" or \"0600\"",
            ),
            (
                matches!(self.audit.syslog.as_str(), "udp" | "tcp"),
                "audit.syslog",
                &self.audit.syslog,
                "\"udp\" or \"tcp\"",
            ),
            (
                super::etcd::is_url(&self.store.url),
                "store.url",
                &self.store.url,
                "empty, or etcd://host:port,host:port/prefix",
            ),
            (
                self.store.etcd_cert.as_os_str().is_empty() == self.store.etcd_key.as_os_str().is_empty(),
                "store.etcd_cert",
                text(&self.store.etcd_cert),
                "set together with store.etcd_key, or not at all",
            ),
            (
                self.store.etcd_cert.as_os_str().is_empty() || !self.store.etcd_ca.as_os_str().is_empty(),
                "store.etcd_ca",
                text(&self.store.etcd_ca),
                "set, since store.etcd_cert is",
            ),
            (account, "hsm.account", &hsm.account, "12 digits"),
            (name(&hsm.region), "hsm.region", &hsm.region, NAME),
            (name(zone), "hsm.availability_zone", zone, NAME),
            (
                hsm.policy().is_some(),
                "hsm.policy",
                &hsm.policy,
                "standard, strict, fips or legacy",
            ),
            (
                files == [true; 3] || files == [false; 3],
                "tls.certificate",
                text(&tls.certificate),
                "set together with tls.key and tls.ca, or not at all",
            ),
            (
                advertise.is_empty() || crate::pki::host_of(advertise).is_some(),
                "data.advertise",
                advertise,
                "empty, a host name or address, or one of them with :port",
            ),
            (
                metrics.is_empty() || metrics.parse::<SocketAddr>().is_ok(),
                "metrics.listen",
                metrics,
                "an address and a port, such as \"127.0.0.1:9793\", or empty",
            ),
            (format, "log.format", &log.format, "\"text\" or \"json\""),
        ]
    }
}

/// A path for a message; TOML has no others than UTF-8.
fn text(path: &Path) -> &str {
    path.to_str().unwrap_or("?")
}
