//! `hsmctl client`: application hosts and their certificates.

use super::exit::{Error, Exit};
use super::output::{Table, id_of, list, raw, record, show, the_one};
use super::{Format, assign, group};
use clap::Subcommand;
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::cloudhsm::{
    CreateLunaClientRequest, DeleteLunaClientRequest, DescribeLunaClientRequest, DescribeLunaClientResponse,
    GetConfigRequest, ListLunaClientsRequest, ModifyLunaClientRequest,
};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tonic::transport::Channel;

/// The verbs.
#[derive(Subcommand)]
pub(super) enum Client {
    /// Registers the certificate of an application host.
    #[command(after_help = "Example:\n  hsmctl client create --certificate-file app.pem --label app")]
    Create {
        /// One X.509 certificate in PEM.
        #[arg(short = 't', long, value_name = "PATH")]
        certificate_file: PathBuf,
        /// 2 to 64 characters; default: the id.
        #[arg(long, value_name = "LABEL")]
        label: Option<String>,
    },
    /// Lists clients.
    #[command(after_help = "Example:\n  hsmctl client list -o json")]
    List,
    /// Describes a client.
    #[command(after_help = "Example:\n  hsmctl client describe app")]
    Describe {
        /// Id, ARN, label or fingerprint.
        name: String,
    },
    /// Replaces the certificate.
    #[command(after_help = "Example:\n  hsmctl client modify app --certificate-file new.pem")]
    Modify {
        /// Id, ARN, label or fingerprint.
        name: String,
        /// One X.509 certificate in PEM.
        #[arg(short = 't', long, value_name = "PATH")]
        certificate_file: PathBuf,
    },
    /// Deletes a client.
    #[command(after_help = "Example:\n  hsmctl client delete app --yes")]
    Delete {
        /// Id, ARN, label or fingerprint.
        name: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Say what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Makes a local user a client, for daemons with `local = "assigned"`.
    #[command(after_help = "Example:\n  hsmctl client create-local 1000 --label web")]
    CreateLocal {
        /// The user's number.
        user: u32,
        /// At most 64 bytes; default: `user-` and the number.
        #[arg(long, value_name = "LABEL", default_value = "")]
        label: String,
    },
    /// Deletes the client that a local user is.
    #[command(after_help = "Example:\n  hsmctl client create-local 1001 && hsmctl client delete-local user-1001 --yes")]
    DeleteLocal {
        /// `user-` and the number, or the label.
        name: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Gives a client partitions or groups: what is not assigned to it does not exist for it.
    #[command(after_help = "Examples:\n  hsmctl client assign app web\n  hsmctl client assign app 157714001")]
    Assign {
        /// Id, ARN or label.
        name: String,
        /// Partitions and groups: serial number, ARN, id or label; of a label that both have, the partition.
        #[arg(required = true, value_name = "PARTITION|GROUP")]
        partitions: Vec<String>,
    },
    /// Takes partitions or groups from a client; what it has open there ends.
    #[command(after_help = "Example:\n  hsmctl client revoke app 157826001")]
    Revoke {
        /// Id, ARN or label.
        name: String,
        /// Partitions and groups: serial number, ARN, id or label.
        #[arg(required = true, value_name = "PARTITION|GROUP")]
        partitions: Vec<String>,
    },
    /// Lists what clients may use.
    #[command(after_help = "Examples:\n  hsmctl client assignments -o json\n  hsmctl client assignments app")]
    Assignments {
        /// Id, ARN or label; default: all.
        name: Option<String>,
    },
    /// Writes Chrystoki.conf, with which a client reaches groups, to standard output; as JSON with all three fields.
    #[command(after_help = "Example:\n  hsmctl client config app web > Chrystoki.conf")]
    Config {
        /// Id, ARN, label or fingerprint.
        name: String,
        /// Groups: id, ARN, serial number or label.
        #[arg(required = true)]
        groups: Vec<String>,
        /// 5.1 or 5.3.
        #[arg(long, value_name = "VERSION", default_value = "5.3")]
        client_version: String,
    },
}

/// Runs a verb.
pub(super) async fn run(channel: Channel, command: Client, format: Format) -> Result<Exit, Error> {
    let mut client = CloudHsmClient::new(channel.clone());
    let arn = match command {
        Client::CreateLocal { user, label } => return assign::create_local(channel, user, label, format).await,
        Client::DeleteLocal { name, yes } => return assign::delete_local(channel, name, yes, format).await,
        Client::Assign { name, partitions } => return assign::assign(channel, &name, &partitions, format).await,
        Client::Revoke { name, partitions } => return assign::revoke(channel, &name, &partitions, format).await,
        Client::Assignments { name } => return assign::assignments(channel, name, format).await,
        Client::Create {
            certificate_file,
            label,
        } => {
            let certificate = Some(read(&certificate_file)?);
            let request = CreateLunaClientRequest { label, certificate };
            client.create_luna_client(request).await?.into_inner().client_arn
        }
        Client::List => return show(&ClientList(all(&mut client).await?), format),
        Client::Describe { name } => find(&mut client, &name).await?.arn,
        Client::Modify { name, certificate_file } => {
            let request = ModifyLunaClientRequest {
                client_arn: Some(find(&mut client, &name).await?.arn),
                certificate: Some(read(&certificate_file)?),
            };
            client.modify_luna_client(request).await?.into_inner().client_arn
        }
        Client::Delete { name, yes, dry_run } => {
            let view = find(&mut client, &name).await?;
            if !dry_run {
                super::confirm::sure(yes, &format!("deleting {name} ends the use of its certificate"))?;
                let client_arn = Some(view.arn.clone());
                client
                    .delete_luna_client(DeleteLunaClientRequest { client_arn })
                    .await?;
            }
            return show(&view, format);
        }
        Client::Config {
            name,
            groups,
            client_version,
        } => return config(client, &name, &groups, client_version, format).await,
    };
    show(&describe(&mut client, &arn).await?, format)
}

async fn config(
    mut client: CloudHsmClient<Channel>,
    name: &str,
    groups: &[String],
    version: String,
    format: Format,
) -> Result<Exit, Error> {
    let mut hapg_list = Vec::with_capacity(groups.len());
    for name in groups {
        hapg_list.push(group::find(&mut client, name).await?.arn);
    }
    let request = GetConfigRequest {
        client_arn: Some(find(&mut client, name).await?.arn),
        client_version: Some(version),
        hapg_list,
    };
    let answer = client.get_config(request).await?.into_inner();
    let view = ConfigView {
        config_type: answer.config_type,
        config_file: answer.config_file,
        config_cred: answer.config_cred,
    };
    match format {
        Format::Table => raw(view.config_file.as_bytes()),
        format => show(&view, format),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path);
    text.map_err(|error| Error::new(Exit::Usage, format!("{}: {error}", path.display())))
}

/// All, page by page.
pub(super) async fn all(client: &mut CloudHsmClient<Channel>) -> Result<Vec<ClientView>, Error> {
    let mut clients = Vec::new();
    let mut next_token = None;
    loop {
        let page = client
            .list_luna_clients(ListLunaClientsRequest { next_token })
            .await?
            .into_inner();
        for arn in page.client_list {
            clients.push(describe(client, &arn).await?);
        }
        if page.next_token.is_empty() {
            return Ok(clients);
        }
        next_token = Some(page.next_token);
    }
}

/// The one client of an id, ARN, label or fingerprint.
pub(super) async fn find(client: &mut CloudHsmClient<Channel>, name: &str) -> Result<ClientView, Error> {
    if name.starts_with("arn:") {
        return describe(client, name).await;
    }
    let end = format!(":{name}");
    let fits = |client: &ClientView| {
        client.arn.ends_with(&end) || client.label == name || client.fingerprint.eq_ignore_ascii_case(name)
    };
    the_one(all(client).await?.into_iter().filter(fits), ("client", "clients"), name)
}

/// Describes one.
pub(super) async fn describe(client: &mut CloudHsmClient<Channel>, arn: &str) -> Result<ClientView, Error> {
    let request = DescribeLunaClientRequest {
        client_arn: Some(arn.to_owned()),
        certificate_fingerprint: None,
    };
    Ok(client.describe_luna_client(request).await?.into_inner().into())
}

/// A client as it is shown.
#[derive(Serialize)]
pub(super) struct ClientView {
    id: String,
    pub(super) arn: String,
    pub(super) label: String,
    pub(super) fingerprint: String,
    pub(super) certificate: String,
    last_modified: String,
}

impl From<DescribeLunaClientResponse> for ClientView {
    fn from(client: DescribeLunaClientResponse) -> Self {
        Self {
            id: id_of(&client.client_arn),
            arn: client.client_arn,
            label: client.label,
            fingerprint: client.certificate_fingerprint,
            certificate: client.certificate,
            last_modified: client.last_modified_timestamp,
        }
    }
}

impl Table for ClientView {
    fn rows(&self) -> Vec<Vec<String>> {
        record([
            ("ARN", self.arn.clone()),
            ("Label", self.label.clone()),
            ("Fingerprint", self.fingerprint.clone()),
        ])
    }
}

#[derive(Serialize)]
struct ConfigView {
    config_type: String,
    config_file: String,
    config_cred: String,
}

impl Table for ConfigView {
    fn rows(&self) -> Vec<Vec<String>> {
        vec![vec![self.config_file.clone()]]
    }
}

#[derive(Serialize)]
struct ClientList(Vec<ClientView>);

impl Table for ClientList {
    fn rows(&self) -> Vec<Vec<String>> {
        let clients = self.0.iter();
        let rows = clients.map(|client| [client.id.clone(), client.label.clone(), client.fingerprint.clone()]);
        list(["ID", "LABEL", "FINGERPRINT"], rows)
    }
}
