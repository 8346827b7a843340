//! A daemon that listens on a network, and clients with certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hsmd_control::admin::AssignClientRequest;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_tests::daemon::binaries;
use hsmd_tests::module::Module;
use hsmd_tests::peers::{program, succeed};
use hsmd_tests::served::Served;
use serde_json::Value as Json;
use tonic::transport::Endpoint;

use super::network::Network;

/// The group of the scene, with the one partition in it.
pub(super) const GROUP: &str = "web";

/// A daemon on a network.
pub(super) struct Scene {
    pub(super) served: Served,
    pub(super) network: Network,
    /// The serial number of the partition.
    pub(super) partition: String,
}

/// A certificate and its key.
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Scene {
    pub(super) fn new(network: Network) -> Self {
        let mut served = Served::start(&[]);
        served.kill9();
        let file = served.folder().join("hsmd.toml");
        let text = fs::read_to_string(&file).expect("the configuration");
        let text = text.replacen("\nlisten = []", &format!("\nlisten = [{:?}]", network.server), 1);
        let text = text.replacen("\nadvertise = \"\"", &format!("\nadvertise = {:?}", network.server), 1);
        fs::write(&file, text).expect("the configuration");
        served.launch(&network.at_server()).expect("the daemon listens");
        let mut scene = Self {
            served,
            network,
            partition: String::new(),
        };
        let partitions = scene.hsmctl("partition list");
        let partitions = partitions.as_array().expect("a list of partitions");
        scene.partition = text_of(&partitions[0], "serial");
        scene.hsmctl(&format!("group create --label {GROUP}"));
        scene.hsmctl(&format!("group add {GROUP} {}", scene.partition));
        scene
    }

    /// Runs hsmctl where the socket is, and gives what it printed.
    pub(super) fn hsmctl(&self, arguments: &str) -> Json {
        let endpoint = format!("unix://{}", self.served.data_dir().join("control.sock").display());
        let mut command = Command::new(binaries().join("hsmctl"));
        command.args(["--endpoint", &endpoint, "-o", "json"]);
        let run = succeed(command.args(arguments.split_whitespace()));
        serde_json::from_slice(&run.output).unwrap_or(Json::Null)
    }

    /// Lets a client see a partition or a group.
    pub(super) fn assign(&self, client: &str, partition: &str) {
        let endpoint = format!("unix://{}", self.served.data_dir().join("control.sock").display());
        let endpoint = Endpoint::from_shared(endpoint).expect("an endpoint");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let assigned = runtime.expect("a runtime").block_on(async {
            let channel = endpoint.connect().await.expect("the daemon listens");
            let request = AssignClientRequest {
                client: client.to_owned(),
                partition: partition.to_owned(),
            };
            HsmAdminClient::new(channel).assign_client(request).await
        });
        assigned.expect("the client is assigned");
    }

    /// A certificate that is its own authority, as `vtl createCert` makes it.
    pub(super) fn identity(&self, name: &str) -> Identity {
        let folder = self.served.folder();
        let (certificate, key) = (
            folder.join(format!("{name}.pem")),
            folder.join(format!("{name}Key.pem")),
        );
        let mut openssl = Command::new(program("openssl"));
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj"]);
        openssl
            .arg(format!("/CN={name}"))
            .arg("-out")
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key);
        succeed(&mut openssl);
        Identity { certificate, key }
    }

    /// Registers a certificate under a label.
    pub(super) fn register(&self, label: &str, identity: &Identity) {
        let file = identity.certificate.display();
        self.hsmctl(&format!("client create --label {label} --certificate-file {file}"));
    }

    /// What GetConfig answers: the configuration file and the servers' authority.
    pub(super) fn config(&self, client: &str, version: &str) -> (String, String) {
        let answer = self.hsmctl(&format!("client config {client} {GROUP} --client-version {version}"));
        (text_of(&answer, "config_file"), text_of(&answer, "config_cred"))
    }

    /// An instance of the module in this process that is this client; its authority of servers is in `ca`.
    pub(super) fn module(&self, identity: &Identity, ca: &str, deadline_ms: u32) -> Module {
        let folder = tempfile::tempdir_in(self.served.folder()).expect("a folder").keep();
        let (authority, client) = (folder.join("ca.pem"), folder.join("client.toml"));
        fs::write(&authority, ca).expect("the authority");
        let text = format!(
            "servers = [{:?}]\nca = {authority:?}\ncertificate = {:?}\nkey = {:?}\ndeadline_ms = {deadline_ms}\n",
            self.network.server, identity.certificate, identity.key,
        );
        fs::write(&client, text).expect("a client file");
        Module::load_copy(&library(), &client, &folder)
    }
}

/// The module as it was built.
pub(super) fn library() -> PathBuf {
    binaries().join("libhsmd_pkcs11.so")
}

pub(super) fn text_of(answer: &Json, field: &str) -> String {
    let text = answer[field].as_str();
    text.unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned()
}

/// Copies a file to a folder under a name.
pub(super) fn copy(from: &Path, folder: &Path, name: &str) {
    fs::copy(from, folder.join(name)).expect("a copy");
}
