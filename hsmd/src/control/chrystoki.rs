//! `Chrystoki.conf`, as AWS's own tool wrote it for the client versions 5.1 and 5.3: servers by address, one virtual token
//! for each group. It names files and addresses, and holds no secret.

use crate::config::Data;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// The port of the data plane where nothing else is configured: NTLS.
const PORT: u16 = 1792;

/// A server in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The servers that a client is told of: the one that `[data] advertise` names, or else each HSM at its own address, on the
/// port of the first listener.
pub(super) fn servers(data: &Data, addresses: &[String]) -> Vec<Server> {
    match data.advertise.as_str() {
        "" => addresses.iter().map(|address| server(data, address)).collect(),
        advertised => vec![server(data, advertised)],
    }
}

/// The servers of a fleet: what its nodes advertise, each its own.
pub(super) fn nodes(data: &Data, advertised: &[String]) -> Vec<Server> {
    advertised.iter().map(|address| server(data, address)).collect()
}

fn server(data: &Data, text: &str) -> Server {
    let port = data.listen.first().map(SocketAddr::port).filter(|port| *port != 0);
    let (host, own) = split(text);
    Server {
        host: host.to_owned(),
        port: own.or(port).unwrap_or(PORT),
    }
}

/// Host and port of `host`, `host:port`, `[address]:port` or a bare address of version 6.
fn split(text: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (text, None),
    }
}

/// A version of the client's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V51,
    V53,
}

impl Version {
    /// From the API's word.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "5.1" => Some(Self::V51),
            "5.3" => Some(Self::V53),
            _ => None,
        }
    }
}

/// A group in the file.
#[derive(Clone, Debug)]
pub(super) struct Virtual {
    pub(super) label: String,
    pub(super) serial: String,
    pub(super) members: Vec<String>,
}

/// The file of a client.
pub(super) fn render(version: Version, client: &str, servers: &[Server], groups: &[Virtual]) -> String {
    let mut text = String::new();
    let (head, folder) = match version {
        Version::V51 => (HEAD_51, "/usr/lunasa"),
        Version::V53 => (HEAD_53, "/usr/safenet/lunaclient"),
    };
    text.push_str(head);
    text.push_str(&servers_section(version, folder, client, servers));
    if version == Version::V53 {
        text.push_str("Misc = {\n");
        line(&mut text, "ToolsDir", &format!("{folder}/bin"));
        text.push_str("}\n");
    }
    text.push_str(&virtual_tokens(version, groups));
    text.push_str("HASynchronize = {\n");
    for group in groups {
        line(&mut text, &group.label, "1");
    }
    text.push_str("}\nHAConfiguration = {\n");
    for (key, value) in [("reconnAtt", "-1"), ("AutoReconnectInterval", "60"), ("HAOnly", "1")] {
        line(&mut text, key, value);
    }
    text.push_str("}\n");
    text
}

fn line(text: &mut String, key: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "   {key} = {value};");
}

fn servers_section(version: Version, folder: &str, client: &str, servers: &[Server]) -> String {
    let mut section = String::from("LunaSA Client = {\n");
    line(&mut section, "ReceiveTimeout", "20000");
    line(&mut section, "SSLConfigFile", &format!("{folder}/bin/openssl.cnf"));
    line(
        &mut section,
        "ClientPrivKeyFile",
        &format!("{folder}/cert/client/{client}Key.pem"),
    );
    line(
        &mut section,
        "ClientCertFile",
        &format!("{folder}/cert/client/{client}.pem"),
    );
    line(
        &mut section,
        "ServerCAFile",
        &format!("{folder}/cert/server/CAFile.pem"),
    );
    line(&mut section, "NetClient", "1");
    if version == Version::V53 {
        line(&mut section, "HtlDir", &format!("{folder}/htl/"));
    }
    for (number, server) in servers.iter().enumerate() {
        let name = (format!("ServerName{number:02}"), server.host.clone());
        let port = (format!("ServerPort{number:02}"), server.port.to_string());
        let pair = match version {
            Version::V51 => [port, name],
            Version::V53 => [name, port],
        };
        for (key, value) in pair {
            line(&mut section, &key, &value);
        }
        if version == Version::V53 {
            line(&mut section, &format!("ServerHtl{number:02}"), "0");
        }
    }
    section.push_str("}\n");
    section
}

fn virtual_tokens(version: Version, groups: &[Virtual]) -> String {
    let mut text = String::from("VirtualToken = {\n");
    for (number, group) in groups.iter().enumerate() {
        let members = group.members.join(",");
        let rows = match version {
            Version::V51 => [("Members", &members), ("SN", &group.serial), ("Label", &group.label)],
            Version::V53 => [("Label", &group.label), ("SN", &group.serial), ("Members", &members)],
        };
        for (key, value) in rows {
            line(&mut text, &format!("VirtualToken{number:02}{key}"), value);
        }
    }
    text.push_str("}\n");
    text
}

const HEAD_51: &str = "Chrystoki2 = {
   LibUNIX = /usr/lib/libCryptoki2_64.so;
}

Luna = {
  DefaultTimeOut=500000;
  PEDTimeout1=100000;
  PEDTimeout2=100000;
  PEDTimeout3=10000;
  KeypairGenTimeOut=2700000;
  CloningCommandTimeOut=300000;
}

CardReader = {
  RemoteCommand=1;
}
";

const HEAD_53: &str = "Chrystoki2 = {
   LibUNIX = /usr/lib/libCryptoki2.so;
   LibUNIX64 = /usr/lib/libCryptoki2_64.so;
}

Luna = {
  DefaultTimeOut = 500000;
  PEDTimeout1 = 100000;
  PEDTimeout2 = 100000;
  PEDTimeout3 = 10000;
  KeypairGenTimeOut = 2700000;
  CloningCommandTimeOut = 300000;
}

CardReader = {
  RemoteCommand = 1;
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_the_advertised_server_or_each_hsm_on_the_listener_s_port() {
        let told = |advertise: &str, listen: &[&str]| {
            let data = Data {
                advertise: advertise.into(),
                listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
                ..Data::default()
            };
            let servers = servers(&data, &["10.0.0.10".into(), "10.0.1.10".into()]);
            let text = servers
                .into_iter()
                .map(|server| format!("{} {}", server.host, server.port));
            text.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(told("", &[]), "10.0.0.10 1792, 10.0.1.10 1792");
        assert_eq!(
            told("", &["0.0.0.0:2000", "[::]:3000"]),
            "10.0.0.10 2000, 10.0.1.10 2000"
        );
        assert_eq!(told("hsm.example", &["[::]:2000"]), "hsm.example 2000");
        assert_eq!(told("hsm.example:9", &["0.0.0.0:2000"]), "hsm.example 9");
        assert_eq!(told("[2001:db8::1]:9", &[]), "2001:db8::1 9");
        assert_eq!(told("2001:db8::1", &[]), "2001:db8::1 1792");
    }

    #[test]
    fn the_two_versions_differ_as_the_originals_did() {
        let groups = [Virtual {
            label: "web".into(),
            serial: "1234567890".into(),
            members: vec!["157826011".into(), "157714012".into()],
        }];
        let servers = servers(&Data::default(), &["10.0.0.10".into(), "10.0.1.10".into()]);
        let new = render(Version::V53, "app", &servers, &groups);
        let old = render(Version::V51, "app", &servers, &groups);
        for line in [
            "ServerName01 = 10.0.1.10;",
            "ServerPort01 = 1792;",
            "VirtualToken00SN = 1234567890;",
            "VirtualToken00Members = 157826011,157714012;",
            "web = 1;",
            "HAOnly = 1;",
        ] {
            assert!(new.contains(line) && old.contains(line), "{line}");
        }
        for line in [
            "LibUNIX64",
            "HtlDir",
            "ServerHtl00",
            "Misc",
            "/usr/safenet/lunaclient/cert/client/appKey.pem",
        ] {
            assert!(new.contains(line) && !old.contains(line), "{line}");
        }
        let at = |text: &str, part: &str| text.find(part).unwrap();
        assert!(at(&new, "ServerName00") < at(&new, "ServerPort00"));
        assert!(at(&old, "ServerPort00") < at(&old, "ServerName00"));
        assert!(at(&new, "Token00Label") < at(&new, "Token00Members"));
        assert!(at(&old, "Token00Members") < at(&old, "Token00Label"));
        assert!(!new.contains('\t') && new.matches('{').count() == new.matches('}').count());
    }
}
