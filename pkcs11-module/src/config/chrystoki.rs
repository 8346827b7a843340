//! `Chrystoki.conf`, the client file of Luna appliances, as their tools, AWS's tool and GetConfig write it: what of it says
//! where the servers are, and what of it an application sees. The form is checked everywhere, the meaning where it matters:
//! sections and keys that say nothing to this module are ignored.
//!
//! ```text
//! LunaSA Client = {
//!    ServerName00 = 10.0.0.10;
//! }
//! ```

use super::availability::{self, Availability};
use super::{Remote, Server};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The port of a server that names none: NTLS.
const PORT: u16 = 1792;
/// `ServerName00` to `ServerName99`: the numbers have two digits, or more where tools went on.
const MOST_NUMBER: u32 = 9_999;

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chrystoki {
    /// The servers, and the files to prove who is who; `None` when the network client is off or no server is named.
    pub(super) remote: Option<Remote>,
    /// `ReceiveTimeout`: how long a server may say nothing.
    pub(super) patience: Option<Duration>,
    /// `HAOnly`, and a group to show instead of its members.
    pub(super) ha_only: bool,
    /// `reconnAtt`, `AutoReconnectInterval`, `haLogStatus` and its like, `<label>StandbyMembers`.
    pub(super) availability: Availability,
}

/// A section's entries; the last line of a key wins nowhere: a key that is there twice is an error.
type Entries<'a> = BTreeMap<&'a str, &'a str>;

impl Chrystoki {
    /// Reads the text of a file; `folder` is where the file lies. `None` when it is not such a file, or a value that matters
    /// cannot be used.
    pub(super) fn parse(text: &str, folder: &Path) -> Option<Self> {
        let sections = sections(text)?;
        let empty = Entries::new();
        let section = |name| sections.get(name).unwrap_or(&empty);
        let client = section("LunaSA Client");
        let on = switch(client, "NetClient")?.unwrap_or(true);
        let patience = number(client, "ReceiveTimeout", 1..=i64::from(u32::MAX))?;
        let patience = patience.map(|ms| Duration::from_millis(ms.unsigned_abs()));
        let remote = remote(client, folder)?.filter(|_| on);
        let groups = groups(section("VirtualToken"))?;
        let ha = section("HAConfiguration");
        let ha_only = switch(ha, "HAOnly")?.unwrap_or(false);
        let servers = remote.as_ref().map_or(0, |remote| remote.servers.len());
        Some(Self {
            remote,
            patience,
            ha_only: ha_only && !groups.is_empty(),
            availability: availability(ha, &groups, servers)?,
        })
    }
}

/// What the section of groups says of servers.
fn availability(ha: &Entries<'_>, groups: &[Group<'_>], servers: usize) -> Option<Availability> {
    let attempts = number(ha, "reconnAtt", -1..=i64::from(u32::MAX))?;
    let interval = number(ha, "AutoReconnectInterval", 0..=i64::from(u32::MAX))?;
    let bytes = number(ha, "logLen", 1..=i64::MAX)?;
    let on = match ha.get("haLogStatus").copied() {
        None | Some("disabled") => false,
        Some("enabled") => true,
        Some(_) => return None,
    };
    let folder = ha.get("haLogPath").filter(|path| !path.is_empty());
    let folder = folder.filter(|_| on).map(PathBuf::from);
    if folder.as_ref().is_some_and(|folder| !folder.is_absolute()) {
        return None;
    }
    let usual = Availability::default();
    Some(Availability {
        attempts: availability::attempts(attempts)?,
        interval: interval.map_or(usual.interval, |seconds| availability::pause(seconds.unsigned_abs())),
        log: folder.map(|folder| availability::log(folder, bytes.map(i64::unsigned_abs))),
        standby: standby(ha, groups, servers)?,
        ..usual
    })
}

/// Servers that are on standby: the n-th server is that of a group's n-th member, as GetConfig writes them; it is on standby when it
/// is for each group that has as many members as there are servers.
fn standby(ha: &Entries<'_>, groups: &[Group<'_>], servers: usize) -> Option<Vec<usize>> {
    let mut all: Option<Vec<usize>> = None;
    for group in groups {
        let named = match ha.get(format!("{}StandbyMembers", group.label).as_str()) {
            None => Vec::new(),
            Some(list) => serials(list)?,
        };
        if named.iter().any(|serial| !group.members.contains(serial)) {
            return None;
        }
        if group.members.len() != servers {
            continue;
        }
        let places = (0..servers).filter(|at| named.contains(&group.members[*at]));
        let places: Vec<_> = places.collect();
        all = Some(match all {
            None => places,
            Some(before) => before.into_iter().filter(|at| places.contains(at)).collect(),
        });
    }
    // With nothing but standby members, all are as good as active.
    Some(all.filter(|all| all.len() < servers).unwrap_or_default())
}

fn serials(list: &str) -> Option<Vec<&str>> {
    let serial = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let all = list.split(',').map(str::trim);
    all.map(|text| serial(text).then_some(text)).collect()
}

/// A group in the file.
#[derive(Default)]
struct Group<'a> {
    label: &'a str,
    members: Vec<&'a str>,
}

/// The servers in the order of their numbers, with the files.
fn remote(client: &Entries<'_>, folder: &Path) -> Option<Option<Remote>> {
    let mut servers = BTreeMap::new();
    for (key, name) in client {
        if let Some(number) = numbered(key, "ServerName", "")?
            && (name.is_empty() || servers.insert(number, (*name, PORT)).is_some())
        {
            return None;
        }
    }
    for (key, port) in client {
        if let Some(number) = numbered(key, "ServerPort", "")? {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            servers.get_mut(&number)?.1 = port;
        }
    }
    if servers.is_empty() {
        return Some(None);
    }
    let server = |(host, port): (&str, u16)| Server {
        host: host.to_owned(),
        port,
    };
    let file = |key| {
        let path = client.get(key).filter(|path| !path.is_empty())?;
        Some(super::locate(Path::new(path), folder))
    };
    Some(Some(Remote {
        servers: servers.into_values().map(server).collect(),
        ca: file("ServerCAFile")?,
        certificate: file("ClientCertFile")?,
        key: file("ClientPrivKeyFile")?,
    }))
}

/// The groups; each has a label, a serial number and members.
fn groups<'a>(tokens: &Entries<'a>) -> Option<Vec<Group<'a>>> {
    let mut found: BTreeMap<u32, (usize, Group<'_>)> = BTreeMap::new();
    for (key, value) in tokens {
        for part in ["Label", "SN", "Members"] {
            let Some(number) = numbered(key, "VirtualToken", part)? else {
                continue;
            };
            let (parts, group) = found.entry(number).or_default();
            *parts += 1;
            match part {
                "Label" if value.is_empty() => return None,
                "Label" => group.label = value,
                "SN" if serials(value)?.len() != 1 => return None,
                "SN" => {}
                _ => group.members = serials(value)?,
            }
        }
    }
    let whole = found.values().all(|(parts, _)| *parts == 3);
    whole.then(|| found.into_values().map(|(_, group)| group).collect())
}

/// The number in a key as `ServerName00`; `Some(None)` for another key, `None` for a number that cannot be.
fn numbered(key: &str, before: &str, after: &str) -> Option<Option<u32>> {
    let middle = key.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let Some(digits) = middle.filter(|middle| middle.starts_with(|first: char| first.is_ascii_digit())) else {
        return Some(None);
    };
    // `ServerName00Standby` would be another key.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(None);
    }
    let number = digits.parse().ok().filter(|number| *number <= MOST_NUMBER)?;
    Some(Some(number))
}

fn number(entries: &Entries<'_>, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<Option<i64>> {
    match entries.get(key) {
        None => Some(None),
        Some(text) => {
            let number = text.parse().ok().filter(|number| range.contains(number))?;
            Some(Some(number))
        }
    }
}

fn switch(entries: &Entries<'_>, key: &str) -> Option<Option<bool>> {
    Some(number(entries, key, 0..=1)?.map(|number| number == 1))
}

/// Takes the text apart: sections with their entries. A section that is there twice goes on.
fn sections(text: &str) -> Option<BTreeMap<&str, Entries<'_>>> {
    let mut sections: BTreeMap<&str, Entries<'_>> = BTreeMap::new();
    let mut rest = skip(text);
    while !rest.is_empty() {
        let (name, after) = word(rest)?;
        rest = skip(skip(after).strip_prefix('{')?);
        let entries = sections.entry(name).or_default();
        while !rest.starts_with('}') {
            let (key, after) = word(rest)?;
            // A value ends on its line.
            let line = after.lines().next()?;
            let (value, _) = line.split_once(';')?;
            if value.contains(['{', '}']) || entries.insert(key, value.trim()).is_some() {
                return None;
            }
            rest = skip(&after[value.len() + 1..]);
        }
        rest = skip(rest[1..].trim_start_matches(';'));
    }
    Some(sections)
}

/// A name and what follows its `=`.
fn word(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.split_once('=')?;
    let name = name.trim();
    let plain = !name.is_empty() && !name.contains(['\n', '{', '}', ';']);
    plain.then_some((name, after))
}

/// Passes over space and comments: lines that begin with `#` or `//`, and the same after a value.
fn skip(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        if !text.starts_with('#') && !text.starts_with("//") {
            return text;
        }
        text = text.split_once('\n').map_or("", |(_, rest)| rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As AWS's tool wrote it for the client version 5.3.
    const NEW: &str = "Chrystoki2 = {
   LibUNIX = /usr/lib/libCryptoki2.so;
   LibUNIX64 = /usr/lib/libCryptoki2_64.so;
}

Luna = {
  DefaultTimeOut = 500000;
  KeypairGenTimeOut = 2700000;
}

CardReader = {
  RemoteCommand = 1;
}
LunaSA Client = {
   ReceiveTimeout = 20000;
   SSLConfigFile = /usr/safenet/lunaclient/bin/openssl.cnf;
   ClientPrivKeyFile = /usr/safenet/lunaclient/cert/client/appKey.pem;
   ClientCertFile = /usr/safenet/lunaclient/cert/client/app.pem;
   ServerCAFile = /usr/safenet/lunaclient/cert/server/CAFile.pem;
   NetClient = 1;
   HtlDir = /usr/safenet/lunaclient/htl/;
   ServerName00 = 10.0.0.10;
   ServerPort00 = 1792;
   ServerHtl00 = 0;
   ServerName01 = hsm.example;
   ServerPort01 = 1793;
   ServerHtl01 = 0;
}
Misc = {
   ToolsDir = /usr/safenet/lunaclient/bin;
}
VirtualToken = {
   VirtualToken00Label = my-hapg;
   VirtualToken00SN = 0123456789;
   VirtualToken00Members = 157826011, 157714012;
   VirtualTokenActiveRecovery = activeEnhanced;
}
HASynchronize = {
   my-hapg = 1;
}
HAConfiguration = {
   reconnAtt = -1;
   AutoReconnectInterval = 60;
   HAOnly = 1;
}
";

    fn parse(text: &str) -> Option<Chrystoki> {
        Chrystoki::parse(text, Path::new("/nowhere"))
    }

    fn server(host: &str, port: u16) -> Server {
        Server {
            host: host.into(),
            port,
        }
    }

    #[test]
    fn servers_files_and_groups_are_read_from_the_file_of_the_client_5_3() {
        let read = parse(NEW).unwrap();
        let remote = read.remote.unwrap();
        assert_eq!(remote.servers, [server("10.0.0.10", 1792), server("hsm.example", 1793)]);
        let path = |path: &str| PathBuf::from(format!("/usr/safenet/lunaclient/cert/{path}"));
        assert_eq!(remote.ca, path("server/CAFile.pem"));
        assert_eq!(remote.certificate, path("client/app.pem"));
        assert_eq!(remote.key, path("client/appKey.pem"));
        assert_eq!(read.patience, Some(Duration::from_secs(20)));
        assert!(read.ha_only);
    }

    #[test]
    fn order_spaces_tabs_and_comments_do_not_matter() {
        let text = "# made by hand\r\nLunaSA Client={\r\n\tServerPort00=1800; // not NTLS\r\n\tServerName00 = h;\r\n\
                    ServerCAFile=a b;#\n ClientCertFile=/c;\nClientPrivKeyFile=/k;\n};\n\n// the end\nX Y = { }";
        let remote = parse(text).unwrap().remote.unwrap();
        assert_eq!(remote.servers, [server("h", 1800)]);
        assert_eq!(remote.ca, Path::new("/nowhere/a b"));
    }

    #[test]
    fn recovery_standby_members_and_the_log_are_read_from_the_file() {
        let usual = parse(NEW).unwrap().availability;
        assert_eq!((usual.attempts, usual.interval), (None, Duration::from_secs(60)));
        assert_eq!((usual.log, usual.standby), (None, vec![]));
        let text = NEW.replace(
            "reconnAtt = -1;",
            "reconnAtt = 120;\n haLogStatus = enabled;\n haLogPath = /var/log;\n logLen = 1000;\n my-hapgStandbyMembers = 157714012;",
        );
        let read = parse(&text).unwrap().availability;
        assert_eq!((read.attempts, read.standby), (Some(120), vec![1]));
        let log = read.log.unwrap();
        assert_eq!((log.folder.as_path(), log.bytes), (Path::new("/var/log"), 1000));
        let off = parse(&text.replace("enabled", "disabled")).unwrap().availability;
        assert_eq!(off.log, None);
        let all = text.replace("Members = 157714012", "Members = 157826011,157714012");
        assert!(parse(&all).unwrap().availability.standby.is_empty());
    }

    #[test]
    fn physical_slots_are_hidden_only_when_the_file_has_a_group() {
        let text = "HAConfiguration = { \n HAOnly = 1;\n}";
        assert!(!parse(text).unwrap().ha_only);
        assert!(!parse(&NEW.replace("HAOnly = 1", "HAOnly = 0")).unwrap().ha_only);
    }

    #[test]
    fn a_client_without_network_has_no_servers() {
        assert_eq!(
            parse(&NEW.replace("NetClient = 1", "NetClient = 0")).unwrap().remote,
            None
        );
        assert_eq!(parse("").unwrap().remote, None);
    }

    #[test]
    fn what_matters_and_cannot_be_used_is_refused() {
        for (old, new) in [
            ("ServerPort01 = 1793", "ServerPort01 = 0"),
            ("ServerPort01 = 1793", "ServerPort01 = 70000"),
            ("ServerPort01 = 1793", "ServerPort02 = 1793"),
            ("ServerName01 = hsm.example", "ServerName01 = "),
            ("ServerName01 = hsm.example;", "ServerName01 = hsm.example"),
            ("ServerName01", "ServerName00"),
            ("ServerName01", "ServerName99999"),
            ("ServerCAFile = /usr", "OtherFile = /usr"),
            ("ReceiveTimeout = 20000", "ReceiveTimeout = soon"),
            ("VirtualToken00SN = 0123456789", "VirtualToken00SN = one"),
            ("VirtualToken00SN = 0123456789;", ""),
            ("157826011, 157714012", "157826011,,157714012"),
            ("HAOnly = 1", "HAOnly = yes"),
            ("reconnAtt = -1", "reconnAtt = -2"),
            ("HAOnly = 1", "haLogStatus = on"),
            ("HAOnly = 1", "haLogPath = tmp;\n   haLogStatus = enabled"),
            ("HAOnly = 1", "my-hapgStandbyMembers = 157826012"),
            ("HAOnly = 1", "my-hapgStandbyMembers = one"),
            ("Misc = {", "Misc = "),
            ("Misc = {", "Misc {"),
            ("ToolsDir = /usr", "ToolsDir = {"),
        ] {
            assert!(NEW.contains(old));
            assert_eq!(parse(&NEW.replace(old, new)), None, "{old} -> {new}");
        }
        assert_eq!(parse("A = {"), None);
        assert_eq!(parse("[data]\nsocket = \"/x\"\n"), None);
    }
}
