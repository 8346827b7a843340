//! `hsmctl doctor`: the daemon on this machine, from its files to its answers.

use super::super::connect::connect;
use super::super::profile::Target;
use super::super::{client, expiry, hsm};
use super::Finding;
use super::place::user_name;
use crate::config::Config;
use crate::dev;
use crate::memory::effective_user;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{StatusRequest, StatusResponse};
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_crypto::provider::PROVIDER;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tonic::transport::Channel;

/// Less free space than this is a warning, less than a tenth of it a failure.
const LITTLE_SPACE: u64 = 1 << 30;
/// A file of the store may be so much younger than now.
const SKEW: Duration = Duration::from_secs(60);

/// Where the daemon keeps things.
struct Paths {
    data_dir: PathBuf,
    master_key: PathBuf,
}

/// What is known against what this build computes with; a daemon of the same package has the same.
fn provider() -> Option<Finding> {
    let remedy = "install the default build; docs/providers.md says what this one lacks";
    PROVIDER
        .advisory
        .map(|advisory| Finding::warning("provider", format!("{}: {advisory}", PROVIDER.name), remedy))
}

/// Examines the daemon.
pub(super) async fn examine(config: Option<&Path>, target: &Target) -> Vec<Finding> {
    let mut findings: Vec<Finding> = provider().into_iter().collect();
    let channel = match connect(target).await {
        Ok(channel) => channel,
        Err(error) => {
            let mut lines = error.to_string();
            let remedy = lines
                .find("\n  remedy: ")
                .map(|at| lines.split_off(at))
                .unwrap_or_default();
            let remedy = remedy.trim().trim_start_matches("remedy: ").to_owned();
            findings.push(Finding::failure("control socket", lines, remedy));
            findings.extend(files(settings(config, None, &mut Vec::new())));
            return findings;
        }
    };
    let status = match HsmAdminClient::new(channel.clone()).status(StatusRequest {}).await {
        Ok(status) => status.into_inner(),
        Err(status) => {
            let remedy = "be root, the daemon's own user, or present an administrator's certificate";
            findings.push(Finding::failure("control socket", status.message(), remedy));
            return findings;
        }
    };
    findings.push(Finding::ok(
        "control socket",
        format!("node {}, up {} s", status.node, status.uptime_seconds),
    ));
    findings.push(version(&status.version));
    findings.push(data_socket(Path::new(&status.data_socket)));
    findings.push(memory(&status.memory));
    findings.extend(store(&status));
    let paths = settings(config, Some(&status), &mut findings);
    findings.extend(files(paths));
    findings.extend(content(channel).await);
    findings
}

fn version(daemon: &str) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if daemon == own {
        return Finding::ok("version", format!("daemon and hsmctl {own}"));
    }
    let message = format!("the daemon is {daemon}, hsmctl {own}");
    Finding::warning(
        "version",
        message,
        "restart the daemon after an upgrade, or use the hsmctl beside it",
    )
}

fn data_socket(path: &Path) -> Finding {
    let shown = path.display();
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) => {
            let message = format!("{shown}: {error}: applications cannot connect");
            return Finding::failure("data socket", message, "somebody removed it: restart the daemon");
        }
    };
    let mode = found.mode() & 0o777;
    let text = format!("{shown}: mode {mode:04o}, {}", user_name(found.uid()));
    if mode & 0o007 != 0 {
        let remedy = "data.socket_mode is 0660 or 0600; somebody changed it: chmod, or restart the daemon";
        return Finding::failure("data socket", format!("{text}: every user can connect"), remedy);
    }
    if let Err(error) = std::os::unix::net::UnixStream::connect(path) {
        return Finding::failure(
            "data socket",
            format!("{text}: {error}"),
            "`hsmctl status`; restart the daemon",
        );
    }
    Finding::ok("data socket", text)
}

fn memory(text: &str) -> Finding {
    if text.starts_with("locked") && text.ends_with("no dumps") {
        return Finding::ok("memory", text);
    }
    let remedy = "set LimitMEMLOCK=infinity in the unit (dist/hsmd.service has it); until then keys may reach swap";
    Finding::warning("memory", text, remedy)
}

fn store(status: &StatusResponse) -> Vec<Finding> {
    let mut findings: Vec<_> = status
        .quarantined
        .iter()
        .map(|name| {
            let remedy = "restore it from a backup; the rest is served";
            Finding::failure("store", format!("{name} cannot be read and is left aside"), remedy)
        })
        .chain(status.troubles.iter().map(|trouble| {
            Finding::failure(
                "store",
                trouble.clone(),
                "the daemon's log says more; keep the folder as it is",
            )
        }))
        .chain(
            status
                .notices
                .iter()
                .map(|notice| Finding::warning("store", notice.clone(), "")),
        )
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(
            "store",
            format!("revision {}, no trouble", status.revision),
        ));
    }
    findings
}

/// The configuration: as named, of `hsmd dev`, or the system's.
fn settings(config: Option<&Path>, status: Option<&StatusResponse>, findings: &mut Vec<Finding>) -> Option<Paths> {
    if config.is_none() && status.is_some_and(|status| status.dev) {
        let socket = status.map(|status| PathBuf::from(&status.data_socket));
        let beside = socket.and_then(|socket| Some(socket.parent()?.to_path_buf()));
        let folder = [beside, dev::default_folder()].into_iter().flatten();
        let folder = folder.into_iter().find(|folder| folder.join("master.key").exists())?;
        findings.push(Finding::warning(
            "configuration",
            format!("a development server in {}", folder.display()),
            "for production: `hsmd init`, then `hsmd serve`",
        ));
        return Some(Paths {
            data_dir: folder.join("store"),
            master_key: folder.join("master.key"),
        });
    }
    let path = config.unwrap_or(Path::new("/etc/hsmd/hsmd.toml"));
    match Config::read(path) {
        Ok(config) => {
            findings.push(Finding::ok("configuration", path.display().to_string()));
            Some(Paths {
                data_dir: config.store.data_dir,
                master_key: config.store.master_key,
            })
        }
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().to_owned();
            findings.push(Finding::warning(
                "configuration",
                first,
                "name the daemon's file with --config",
            ));
            None
        }
    }
}

fn files(paths: Option<Paths>) -> Vec<Finding> {
    let Some(paths) = paths else {
        return vec![Finding::skipped("files", "the configuration is not known here")];
    };
    vec![master_key(&paths), space(&paths.data_dir), clock(&paths.data_dir)]
}

fn master_key(paths: &Paths) -> Finding {
    let path = &paths.master_key;
    let shown = path.display();
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Finding::skipped("master key", format!("{shown}: this user may not look"));
        }
        Err(error) => {
            let remedy = "put your copy back before the daemon ends: without it no key can be read again";
            return Finding::failure("master key", format!("{shown}: {error}"), remedy);
        }
    };
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        let remedy = format!("chmod 0400 {shown}; think about who may have read it");
        return Finding::failure(
            "master key",
            format!("{shown}: mode {mode:04o}: others may read it"),
            remedy,
        );
    }
    if path.starts_with(&paths.data_dir) {
        let remedy = "keep it apart: who copies the folder has both (store.master_key)";
        return Finding::warning("master key", format!("{shown}: lies in the store's folder"), remedy);
    }
    Finding::ok("master key", format!("{shown}: mode {mode:04o}"))
}

fn space(folder: &Path) -> Finding {
    let shown = folder.display();
    let free = match rustix::fs::statvfs(folder) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => return Finding::skipped("disk space", format!("{shown}: {error}")),
    };
    let text = format!("{shown}: {} MiB free", free >> 20);
    let remedy = "make room: with a full disk nothing new is stored; what is there is served";
    match free {
        0..LITTLE_SPACE if free < LITTLE_SPACE / 10 => Finding::failure("disk space", text, remedy),
        0..LITTLE_SPACE => Finding::warning("disk space", text, remedy),
        _ => Finding::ok("disk space", text),
    }
}

/// Files from the future: the clock was put back, which certificates and logins notice.
fn clock(folder: &Path) -> Finding {
    let now = SystemTime::now();
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let newest = entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max();
    match newest.and_then(|newest| newest.duration_since(now).ok()) {
        Some(ahead) if ahead > SKEW => {
            let message = format!("the store was written {} s in the future", ahead.as_secs());
            Finding::failure(
                "clock",
                message,
                "set the clock (NTP): certificates and logins end by it",
            )
        }
        _ => Finding::ok("clock", expiry::date(expiry::now())),
    }
}

/// What the daemon holds: certificates that end, HSMs that do not run.
async fn content(channel: Channel) -> Vec<Finding> {
    let mut cloudhsm = CloudHsmClient::new(channel);
    let mut findings = Vec::new();
    for hsm in hsm::all(&mut cloudhsm).await.unwrap_or_default() {
        if hsm.status != "RUNNING" && hsm.status != "TERMINATED" {
            let remedy = if hsm.status == "SUSPENDED" {
                "`hsmctl hsm resume`"
            } else {
                "`hsmctl wait hsm`"
            };
            findings.push(Finding::warning(
                "HSM",
                format!("{} is {}", hsm.arn, hsm.status),
                remedy,
            ));
        }
    }
    let clients = client::all(&mut cloudhsm).await.unwrap_or_default();
    for client in &clients {
        let Some(end) = expiry::end(&client.certificate) else {
            continue;
        };
        let text = format!("client {}: ends {} ({} days)", client.label, end.date, end.days);
        let remedy = "make a new one on the client's host and register it with `hsmctl client modify`";
        if end.days < 0 {
            findings.push(Finding::failure("certificate", text, remedy));
        } else if end.days < expiry::SOON_DAYS {
            findings.push(Finding::warning("certificate", text, remedy));
        }
    }
    if findings.is_empty() {
        let text = format!(
            "{} clients, no certificate ends within {} days",
            clients.len(),
            expiry::SOON_DAYS
        );
        findings.push(Finding::ok("certificates", text));
    }
    if effective_user() == 0 {
        findings.push(Finding::skipped(
            "permissions",
            "as root every file can be read: ask again as the application's user",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_master_key_that_others_read_or_that_is_gone_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            data_dir: folder.path().join("store"),
            master_key: folder.path().join("master.key"),
        };
        assert_eq!(master_key(&paths).state, State::Failure);
        std::fs::write(&paths.master_key, "x").unwrap();
        for (mode, state) in [(0o400, State::Ok), (0o600, State::Ok), (0o640, State::Failure)] {
            std::fs::set_permissions(&paths.master_key, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(master_key(&paths).state, state, "{mode:o}");
        }
    }

    #[test]
    fn a_store_from_the_future_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(clock(folder.path()).state, State::Ok);
        let file = std::fs::File::create(folder.path().join("x")).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(3_600))
            .unwrap();
        assert_eq!(clock(folder.path()).state, State::Failure);
    }

    #[test]
    fn other_versions_and_unlocked_memory_are_warnings() {
        assert_eq!(version(env!("CARGO_PKG_VERSION")).state, State::Ok);
        assert_eq!(version("0.0.1").state, State::Warning);
        assert_eq!(memory("locked, no dumps").state, State::Ok);
        assert_eq!(
            memory("not locked (RLIMIT_MEMLOCK is finite), no dumps").state,
            State::Warning
        );
    }
}
