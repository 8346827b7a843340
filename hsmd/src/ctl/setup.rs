//! `hsmctl setup-client`: a key pair made here, its certificate registered, partitions and groups assigned, and the files
//! that the application's host needs, in one step. It can be repeated: what is there is used again.

use super::env;
use super::exit::{Error, Exit};
use super::output::{Table, list, show};
use super::{Format, client, group, partition};
use crate::files::{absolute, private_folder, write_private};
use crate::pki::{AuthorityError, SelfSigned, self_signed};
use clap::Args;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{AssignClientRequest, DescribeAccessRequest, DescribeAccessResponse};
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::cloudhsm::{CreateLunaClientRequest, GetConfigRequest};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType, date_time_ymd};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::Channel;

/// What the API takes as a certificate, in characters of PEM.
const LENGTH: std::ops::RangeInclusive<usize> = 600..=2400;

/// Arguments of `hsmctl setup-client`.
#[derive(Args)]
pub(super) struct Options {
    /// The client's label; its files are named after it.
    name: String,
    /// Partitions that it may use: serial number, ARN or label.
    #[arg(long, value_name = "PARTITION", required_unless_present = "group")]
    partition: Vec<String>,
    /// Groups that it may use: id, ARN, serial number or label.
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// Where the files go, made with mode 0700; default: a folder of the client's name.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How long the certificate is good for.
    #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// The files of a client, under the names that `Chrystoki.conf` gives them.
struct Files {
    folder: PathBuf,
    certificate: String,
    key: String,
}

impl Files {
    const AUTHORITIES: &str = "CAFile.pem";
    const CLIENT: &str = "hsmd-client.toml";
    const LUNA: &str = "Chrystoki.conf";

    fn of(name: &str, folder: PathBuf) -> Self {
        Self {
            folder,
            certificate: format!("{name}.pem"),
            key: format!("{name}Key.pem"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        write_private(&self.path(name), text).map_err(failed)
    }
}

fn failed(failure: crate::cli::Failure) -> Error {
    Error::new(Exit::Failed, failure.to_string())
}

/// Runs the command.
pub(super) async fn run(channel: Channel, options: Options, format: Format) -> Result<Exit, Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if options.name.len() < 2 || options.name.starts_with('.') || !options.name.chars().all(plain) {
        let message = format!(
            "{}: a name for files and a label: letters, digits, ._- and at least two",
            options.name
        );
        return Err(Error::new(Exit::Usage, message));
    }
    let mut cloudhsm = CloudHsmClient::new(channel.clone());
    let mut admin = HsmAdminClient::new(channel);
    // Names first: nothing is made for a partition that does not exist.
    let mut assigned = Vec::new();
    for name in &options.partition {
        assigned.push(partition::find(&mut admin, name).await?.serial);
    }
    let mut groups = Vec::new();
    for name in &options.group {
        groups.push(group::find(&mut cloudhsm, name).await?.arn);
    }
    assigned.extend(groups.clone());
    let folder = absolute(&options.out.clone().unwrap_or_else(|| options.name.clone().into())).map_err(failed)?;
    private_folder(&folder).map_err(failed)?;
    let files = Files::of(&options.name, folder);
    let certificate = identity(&files, &options.name, options.days)?;
    let arn = register(&mut cloudhsm, &options.name, &certificate).await?;
    for partition in &assigned {
        let (client, partition) = (arn.clone(), partition.clone());
        admin.assign_client(AssignClientRequest { client, partition }).await?;
    }
    let access = admin
        .describe_access(DescribeAccessRequest {
            partitions: assigned.clone(),
        })
        .await?
        .into_inner();
    if access.servers.is_empty() {
        let message = "the daemon listens on no network address: nobody can connect from another host\n  remedy: set \
                       data.listen in hsmd.toml (and data.advertise), restart the daemon, and repeat this command";
        return Err(Error::new(Exit::NotReady, message));
    }
    files.write(Files::AUTHORITIES, &access.authorities)?;
    files.write(Files::CLIENT, &client_file(&files, &access))?;
    if !groups.is_empty() {
        let request = GetConfigRequest {
            client_arn: Some(arn.clone()),
            client_version: Some("5.3".to_owned()),
            hapg_list: groups,
        };
        let config = cloudhsm.get_config(request).await?.into_inner();
        files.write(Files::LUNA, &config.config_file)?;
    }
    show(
        &SetupView::new(&options.name, arn, assigned, &files, access.servers),
        format,
    )
}

/// The certificate in the folder, or a new one with a new key.
fn identity(files: &Files, name: &str, days: u32) -> Result<String, Error> {
    let (certificate, key) = (files.path(&files.certificate), files.path(&files.key));
    match (certificate.exists(), key.exists()) {
        (true, true) => std::fs::read_to_string(&certificate)
            .map_err(|error| Error::new(Exit::Failed, format!("{}: {error}", certificate.display()))),
        (true, false) => {
            let message = format!(
                "{}: is there without its key\n  remedy: remove it, or name another folder",
                certificate.display()
            );
            Err(Error::new(Exit::Conflict, message))
        }
        // A key alone is what an interrupted run leaves: no certificate was made of it.
        (false, _) => {
            let made =
                issue(name, days).map_err(|error| Error::new(Exit::Failed, format!("the certificate: {error}")))?;
            files.write(&files.key, &made.key)?;
            files.write(&files.certificate, &made.certificate)?;
            Ok(made.certificate)
        }
    }
}

/// A self-signed certificate for a new P-256 key.
fn issue(name: &str, days: u32) -> Result<SelfSigned, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "hsmd client");
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let start = date_time_ymd(1970, 1, 1) + super::expiry::now();
    // A client's clock may be behind ours.
    params.not_before = start - Duration::from_secs(3_600);
    params.not_after = start + Duration::from_secs(u64::from(days) * 86_400);
    // The API wants 600 characters; a short name in a short curve has fewer.
    self_signed(params, *LENGTH.start(), |params| {
        let filler = "self-signed with a key that was made on this host by hsmctl setup-client";
        params.distinguished_name.push(DnType::OrganizationalUnitName, filler);
    })
}

/// Registers the certificate; the daemon answers with the client that has it already, if there is one.
async fn register(cloudhsm: &mut CloudHsmClient<Channel>, name: &str, certificate: &str) -> Result<String, Error> {
    let named = client::all(cloudhsm)
        .await?
        .into_iter()
        .find(|client| client.label == name);
    if let Some(named) = named.filter(|named| named.certificate.trim() != certificate.trim()) {
        let message = format!(
            "a client {name} is registered with another certificate ({})\n  remedy: `hsmctl client modify {name} -t FILE` \
             replaces it, or choose another name",
            named.fingerprint
        );
        return Err(Error::new(Exit::Conflict, message));
    }
    let request = CreateLunaClientRequest {
        label: Some(name.to_owned()),
        certificate: Some(certificate.to_owned()),
    };
    Ok(cloudhsm.create_luna_client(request).await?.into_inner().client_arn)
}

/// Names without folders: the module looks for them beside the file, wherever that is copied to.
fn client_file(files: &Files, access: &DescribeAccessResponse) -> String {
    format!(
        "servers = {:?}\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        access.servers,
        Files::AUTHORITIES,
        files.certificate,
        files.key
    )
}

#[derive(Serialize)]
struct SetupView {
    client: String,
    arn: String,
    assigned: Vec<String>,
    servers: Vec<String>,
    folder: PathBuf,
    files: Vec<PathBuf>,
    next: Vec<String>,
}

impl SetupView {
    fn new(name: &str, arn: String, assigned: Vec<String>, files: &Files, servers: Vec<String>) -> Self {
        let names = [
            Files::CLIENT,
            Files::LUNA,
            Files::AUTHORITIES,
            &files.certificate,
            &files.key,
        ];
        let paths = names.iter().map(|name| files.path(name)).filter(|path| path.exists());
        let folder = files.folder.display();
        let module = env::module();
        let next = vec![
            format!("scp -rp {folder} HOST:/etc/hsmd"),
            format!("HSMD_CONFIG=/etc/hsmd/{} hsmctl doctor --module", Files::CLIENT),
        ];
        let here = format!(
            "HSMD_CONFIG={} hsmctl doctor --module {}",
            files.path(Files::CLIENT).display(),
            module.display()
        );
        Self {
            client: name.to_owned(),
            arn,
            assigned,
            servers,
            folder: files.folder.clone(),
            files: paths.collect(),
            next: std::iter::once(here).chain(next).collect(),
        }
    }
}

impl Table for SetupView {
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![
            ["Client".to_owned(), format!("{} ({})", self.client, self.arn)],
            ["Assigned".to_owned(), self.assigned.join(", ")],
            ["Servers".to_owned(), self.servers.join(", ")],
        ];
        rows.extend(
            self.files
                .iter()
                .map(|path| ["File".to_owned(), path.display().to_string()]),
        );
        let words = ["Test here", "Copy", "Test there"];
        rows.extend(
            words
                .iter()
                .zip(&self.next)
                .map(|(word, line)| [(*word).to_owned(), line.clone()]),
        );
        let mut rows = list(["", ""], rows.into_iter());
        rows.remove(0);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_certificate_has_the_length_that_the_api_wants_whatever_the_name() {
        for name in ["ab", "app", &"x".repeat(60)] {
            let made = issue(name, 730).unwrap();
            assert!(
                LENGTH.contains(&made.certificate.len()),
                "{name}: {}",
                made.certificate.len()
            );
            let end = super::super::expiry::end(&made.certificate).unwrap();
            assert!((729..=730).contains(&end.days), "{}", end.days);
            assert!(made.key.starts_with("-----BEGIN PRIVATE KEY-----"));
        }
    }

    #[test]
    fn the_client_file_names_what_lies_beside_it() {
        let files = Files::of("app", "/x".into());
        let access = DescribeAccessResponse {
            servers: vec!["10.0.0.5:1792".to_owned()],
            authorities: String::new(),
        };
        let expected =
            "servers = [\"10.0.0.5:1792\"]\nca = \"CAFile.pem\"\ncertificate = \"app.pem\"\nkey = \"appKey.pem\"\n";
        assert_eq!(client_file(&files, &access), expected);
        assert!(Path::new(&files.path(&files.key)).is_absolute());
    }
}
