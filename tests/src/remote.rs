//! A daemon that listens for other hosts, with a group of one partition, and clients with certificates. It speaks to the daemon
//! through `hsmctl` only.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value as Json;

use crate::daemon::binaries;
use crate::module::Module;
use crate::peers::{program, succeed};
use crate::served::Served;

/// The group, with the one partition in it.
pub const GROUP: &str = "web";

/// A daemon on a network.
pub struct Remote {
    /// The daemon.
    pub served: Served,
    /// Where it listens and is reached: `address:port`.
    pub address: String,
    /// The serial number of the partition.
    pub partition: String,
}

/// A certificate and its key.
pub struct Identity {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Remote {
    /// Makes a store with the token of the tests and serves it there, under another program or none.
    #[must_use]
    pub fn start(address: &str, under: &[String], settings: &[(&str, &str)]) -> Self {
        let mut served = Served::start(settings);
        served.kill9();
        let file = served.folder().join("hsmd.toml");
        let text = fs::read_to_string(&file).expect("the configuration");
        // Both keys are of [data]; the same name in another table comes later.
        let text = text.replacen("\nlisten = []", &format!("\nlisten = [{address:?}]"), 1);
        let text = text.replacen("\nadvertise = \"\"", &format!("\nadvertise = {address:?}"), 1);
        fs::write(&file, text).expect("the configuration");
        served.launch(under).expect("the daemon listens");
        let mut remote = Self {
            served,
            address: address.to_owned(),
            partition: String::new(),
        };
        remote.partition = text_of(&remote.hsmctl("partition list")[0], "serial");
        remote.hsmctl(&format!("group create {GROUP}"));
        remote.hsmctl(&format!("group add {GROUP} {}", remote.partition));
        remote
    }

    /// Runs `hsmctl`, which must succeed, and gives what it printed as JSON.
    pub fn hsmctl(&self, arguments: &str) -> Json {
        let endpoint = format!("unix://{}", self.served.data_dir().join("control.sock").display());
        let mut command = Command::new(binaries().join("hsmctl"));
        command.args(["--endpoint", &endpoint, "-o", "json"]);
        let run = succeed(command.args(arguments.split_whitespace()));
        serde_json::from_slice(&run.output).unwrap_or(Json::Null)
    }

    /// A certificate that is its own authority, as `vtl createCert` makes it.
    #[must_use]
    pub fn identity(&self, name: &str) -> Identity {
        let folder = self.served.folder();
        let (certificate, key) = (
            folder.join(format!("{name}.pem")),
            folder.join(format!("{name}Key.pem")),
        );
        let mut openssl = Command::new(program("openssl"));
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj"]);
        openssl.arg(format!("/CN={name}")).arg("-out").arg(&certificate);
        succeed(openssl.arg("-keyout").arg(&key));
        Identity { certificate, key }
    }

    /// Registers a certificate under a label.
    pub fn register(&self, label: &str, identity: &Identity) {
        let file = identity.certificate.display();
        self.hsmctl(&format!("client create --label {label} --certificate-file {file}"));
    }

    /// Lets a client see the group.
    pub fn assign(&self, label: &str) {
        self.hsmctl(&format!("client assign {label} {GROUP}"));
    }

    /// What GetConfig answers: the configuration file and the servers' authority.
    #[must_use]
    pub fn config(&self, label: &str, version: &str) -> (String, String) {
        let answer = self.hsmctl(&format!("client config {label} {GROUP} --client-version {version}"));
        (text_of(&answer, "config_file"), text_of(&answer, "config_cred"))
    }

    /// The client file of a client that believes the authorities in `ca`.
    #[must_use]
    pub fn client_file(&self, identity: &Identity, ca: &str, deadline_ms: u32) -> PathBuf {
        let folder = tempfile::tempdir_in(self.served.folder()).expect("a folder").keep();
        let (authority, client) = (folder.join("ca.pem"), folder.join("client.toml"));
        fs::write(&authority, ca).expect("the authority");
        let text = format!(
            "servers = [{:?}]\nca = {authority:?}\ncertificate = {:?}\nkey = {:?}\ndeadline_ms = {deadline_ms}\n",
            self.address, identity.certificate, identity.key,
        );
        fs::write(&client, text).expect("a client file");
        client
    }

    /// An instance of the module in this process that is this client.
    #[must_use]
    pub fn module(&self, identity: &Identity, ca: &str, deadline_ms: u32) -> Module {
        let client = self.client_file(identity, ca, deadline_ms);
        let folder = client.parent().expect("it lies in a folder");
        Module::load_copy(&library(), &client, folder)
    }
}

/// The module as it was built.
#[must_use]
pub fn library() -> PathBuf {
    binaries().join("libhsmd_pkcs11.so")
}

fn text_of(answer: &Json, field: &str) -> String {
    let text = answer[field].as_str();
    text.unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned()
}
