//! What a reader has to know of the machine and of the versions, collected when the run starts.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::options::Options;
use crate::peer::Peer;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line `name : value` or `name=value`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(
        line.trim_start_matches([' ', '\t', ':', '='])
            .trim_matches('"')
            .to_owned(),
    )
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// How many processors this process may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The load of the last minute.
pub(crate) fn load() -> f64 {
    let text = read("/proc/loadavg");
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0)
}

/// Name and value of everything that the page says about the run.
pub(crate) fn about(options: &Options) -> Vec<(String, String)> {
    let mut about = Vec::new();
    let mut add = |name: &str, value: String| about.push((name.to_owned(), value));
    add("date", format!("{} UTC", date(now())));
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let virtual_machine = if read("/proc/cpuinfo").contains("hypervisor") {
        ", virtual machine"
    } else {
        ""
    };
    add("processors", format!("{} x {model}{virtual_machine}", processors()));
    let kib: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    add("memory", format!("{} GiB", (kib + (1 << 19)) >> 20));
    let system = field(&read("/etc/os-release"), "PRETTY_NAME").unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    add("system", format!("{system}, Linux {}", kernel.trim()));
    add("tokens on", filesystem(&Peer::place()));
    add("load before the run", format!("{:.2}", load()));
    add(
        "hsmd",
        format!("{}{}", env!("CARGO_PKG_VERSION"), commit().unwrap_or_default()),
    );
    let lock = include_str!("../../../../Cargo.lock");
    for package in ["aws-lc-rs", "aws-lc-sys"] {
        let version = lock
            .split_once(&format!("name = \"{package}\"\n"))
            .and_then(|(_, rest)| field(rest, "version"));
        add(package, version.unwrap_or_default());
    }
    if options.peers.iter().any(|peer| peer == "softhsm2") {
        add("SoftHSM2", output("softhsm2-util", &["--version"]).unwrap_or_default());
    }
    if options.peers.iter().any(|peer| peer == "p11kit") {
        let version = output("dpkg-query", &["-W", "-f", "${Version}", "p11-kit"]);
        add("p11-kit", version.unwrap_or_else(|| "version unknown".to_owned()));
    }
    if options.kryoptic.is_some() {
        let manifest = include_str!("../../../kryoptic/Cargo.toml");
        let version = manifest
            .split_once("kryoptic-lib = { version = \"=")
            .and_then(|(_, rest)| rest.split('"').next());
        let openssl = output("openssl", &["version"]).unwrap_or_default();
        add(
            "kryoptic",
            format!("{}, {openssl}", version.unwrap_or("version unknown")),
        );
    }
    if let Some((name, attach)) = &options.foreign {
        add(name, attach.module.clone());
    }
    let quick = if options.quick { ", quick" } else { "" };
    let seconds = options.length.as_secs_f64();
    add("rounds", format!("{} of {seconds} s{quick}", options.rounds));
    about
}

fn commit() -> Option<String> {
    let hash = output("git", &["rev-parse", "--short=10", "HEAD"])?;
    // What the tables say is not what was built from.
    let changed = output(
        "git",
        &["status", "--porcelain", "--untracked-files=no", "--", ":!docs"],
    )
    .is_some();
    Some(format!(", commit {hash}{}", if changed { " with changes" } else { "" }))
}

fn filesystem(place: &Path) -> String {
    let place = std::fs::canonicalize(place).unwrap_or_else(|_| place.to_path_buf());
    let mounts = read("/proc/mounts");
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    mounts
        .filter(|(point, _)| place.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Days since 1970 as a date of the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        seconds / 3600 % 24,
        seconds / 60 % 60
    )
}

#[cfg(test)]
mod tests {
    use super::{date, field};

    #[test]
    fn seconds_become_dates() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_400), "2000-02-29 00:00");
        assert_eq!(date(1_798_761_599), "2026-12-31 23:59");
    }

    #[test]
    fn fields_are_read_with_their_separators() {
        assert_eq!(
            field("a\t: b c\nmodel name\t: X 1\n", "model name").as_deref(),
            Some("X 1")
        );
        assert_eq!(
            field("PRETTY_NAME=\"Debian\"\n", "PRETTY_NAME").as_deref(),
            Some("Debian")
        );
    }
}
