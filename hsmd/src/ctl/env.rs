//! `hsmctl env`: what a shell needs so that programs find the daemon that `hsmctl` found.

use super::Format;
use super::connect::reach;
use super::exit::{Error, Exit};
use super::output::{Table, raw, record, show};
use super::profile::Target;
use crate::dev::{default_folder, module_near};
use crate::files::shell_quote;
use hsmd_control::admin::StatusRequest;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tonic::transport::Channel;

/// The daemon that was found, as programs see it.
pub(super) struct Found {
    pub(super) endpoint: String,
    pub(super) module: PathBuf,
    /// The client file that leads to it; none: the module finds it without one.
    pub(super) client_file: Option<PathBuf>,
    pub(super) channel: Channel,
}

/// Runs the command.
pub(super) async fn run(target: &Target, format: Format) -> Result<Exit, Error> {
    let view = EnvView(variables(&find(target).await?));
    match format {
        Format::Table => raw(view.exports().as_bytes()),
        format => show(&view, format),
    }
}

/// Finds the daemon and what belongs to it.
pub(super) async fn find(target: &Target) -> Result<Found, Error> {
    let (endpoint, channel) = reach(target).await?;
    let status = HsmAdminClient::new(channel.clone())
        .status(StatusRequest {})
        .await?
        .into_inner();
    Ok(Found {
        endpoint,
        module: module(),
        client_file: client_file(Path::new(&status.data_socket)),
        channel,
    })
}

/// The module beside this program, or where it is installed.
pub(super) fn module() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    module_near(program.parent().unwrap_or(Path::new("/")))
}

/// The client file that names this socket: the one that is set, or the one that `hsmd dev` wrote.
fn client_file(socket: &Path) -> Option<PathBuf> {
    let set = std::env::var_os("HSMD_CONFIG").map(PathBuf::from);
    let beside = socket.parent().map(|folder| folder.join("hsmd-client.toml"));
    let dev = default_folder().map(|folder| folder.join("hsmd-client.toml"));
    let leads = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let table: toml::Table = toml::from_str(&text).unwrap_or_default();
        table
            .get("socket")
            .and_then(toml::Value::as_str)
            .is_some_and(|named| Path::new(named) == socket)
    };
    [set, beside, dev].into_iter().flatten().find(leads)
}

fn variables(found: &Found) -> Vec<(&'static str, String)> {
    let module = found.module.display().to_string();
    let mut variables = vec![
        ("HSMD_ENDPOINT", found.endpoint.clone()),
        ("HSMD_PKCS11_MODULE", module.clone()),
        ("PKCS11_MODULE_PATH", module.clone()),
        ("PKCS11_PROVIDER_MODULE", module),
    ];
    let file = found.client_file.as_ref();
    variables.extend(file.map(|file| ("HSMD_CONFIG", file.display().to_string())));
    variables
}

struct EnvView(Vec<(&'static str, String)>);

impl EnvView {
    fn exports(&self) -> String {
        let line = |(name, value): &(&str, String)| format!("export {name}={}\n", shell_quote(value));
        self.0.iter().map(line).collect()
    }
}

impl Serialize for EnvView {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Table for EnvView {
    fn rows(&self) -> Vec<Vec<String>> {
        record(self.0.iter().map(|(name, value)| (*name, value.clone())))
    }
}
