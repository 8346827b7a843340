//! `hsmctl certificate`: who may use the control plane from other hosts.

use super::Format;
use super::confirm::sure;
use super::exit::{Error, Exit};
use super::expiry;
use super::output::{Table, list, record, show};
use crate::pki;
use clap::{Subcommand, ValueEnum};
use hsmd_control::identity::identity_client::IdentityClient;
use hsmd_control::identity::{
    Certificate, Denial, IssueCertificateRequest, ListCertificatesRequest, ListDenialsRequest,
    RegisterCertificateRequest, RevokeCertificateRequest, WhoAmIRequest,
};
use hsmd_keystore::Secret;
use serde::Serialize;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::Channel;
use zeroize::Zeroizing;

/// What somebody is on the control plane.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Role {
    /// Everything.
    Admin,
    /// Makes and changes; deletes nothing, changes nobody's identity.
    Operator,
    /// Reads, the audit log too.
    Auditor,
    /// A program.
    Service,
}

impl Role {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The verbs.
#[derive(Subcommand)]
pub(super) enum Verb {
    /// Makes a key pair here and has it certified: NAME.key (mode 0600), NAME.pem and ca.pem. The key never leaves this host.
    #[command(after_help = "Example:\n  hsmctl certificate issue alice --role admin --days 90 --out-dir certificates")]
    Issue {
        /// 1 to 64 letters, digits and ._@-
        name: String,
        /// What its holder may do.
        #[arg(long, value_enum)]
        role: Role,
        /// How long it is valid: 1 to 3650 days.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Where the files go; made if it is not there.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out_dir: PathBuf,
    },
    /// Registers a certificate that somebody else has made. It is pinned: who signed it does not matter.
    #[command(after_help = "Example:\n  hsmctl certificate register bob --role auditor --certificate-file new.pem")]
    Register {
        /// 1 to 64 letters, digits and ._@-
        name: String,
        /// What its holder may do.
        #[arg(long, value_enum)]
        role: Role,
        /// One X.509 certificate in PEM.
        #[arg(short = 't', long, value_name = "PATH")]
        certificate_file: PathBuf,
    },
    /// Lists certificates, revoked ones too.
    #[command(after_help = "Example:\n  hsmctl certificate list -o json")]
    List,
    /// Ends the use of a certificate for good; its connections end at once.
    #[command(after_help = "Example:\n  hsmctl certificate revoke cert-1a2b3c4d --yes")]
    Revoke {
        /// Id or SHA-256.
        certificate: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Say what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Says as whom the daemon sees you.
    #[command(after_help = "Example:\n  hsmctl certificate whoami -o json")]
    Whoami,
    /// Says why requests were denied: the one whose denial carried this id, or the last of all.
    #[command(after_help = "Example:\n  hsmctl certificate denials -o json")]
    Denials {
        /// 16 hexadecimal digits.
        id: Option<String>,
    },
}

/// Runs a verb.
pub(super) async fn run(channel: Channel, verb: Verb, format: Format) -> Result<Exit, Error> {
    let mut client = IdentityClient::new(channel);
    match verb {
        Verb::Issue {
            name,
            role,
            days,
            out_dir,
        } => issue(client, (name, role, days), &out_dir, format).await,
        Verb::Register {
            name,
            role,
            certificate_file,
        } => {
            let request = RegisterCertificateRequest {
                name,
                role: role.name(),
                certificate: read(&certificate_file)?,
            };
            let answer = client.register_certificate(request).await?.into_inner();
            show(&View::from(certificate(answer.certificate)?), format)
        }
        Verb::List => show(&Views(all(&mut client).await?), format),
        Verb::Revoke {
            certificate: name,
            yes,
            dry_run,
        } => {
            let fits = |one: &View| one.id == name || one.sha256.eq_ignore_ascii_case(&name);
            let found = all(&mut client).await?.into_iter().find(fits);
            let found = found.ok_or_else(|| Error::new(Exit::NotFound, format!("there is no certificate {name}")))?;
            if dry_run {
                return show(&found, format);
            }
            sure(yes, &format!("revoking {} shuts {} out for good", found.id, found.name))?;
            let certificate_id = found.id;
            let request = RevokeCertificateRequest {
                certificate: certificate_id,
            };
            let answer = client.revoke_certificate(request).await?.into_inner();
            show(&View::from(certificate(answer.certificate)?), format)
        }
        Verb::Whoami => {
            let answer = client.who_am_i(WhoAmIRequest {}).await?.into_inner();
            let view = WhoView {
                name: answer.name,
                role: answer.role,
            };
            show(&view, format)
        }
        Verb::Denials { id } => {
            let id = id.unwrap_or_default();
            let answer = client.list_denials(ListDenialsRequest { id }).await?.into_inner();
            let views = answer.denials.into_iter().map(DenialView::from);
            show(&DenialViews(views.collect()), format)
        }
    }
}

/// Key first: a certificate without its key is of no use, and a key is never overwritten.
async fn issue(
    mut client: IdentityClient<Channel>,
    (name, role, days): (String, Role, u32),
    folder: &Path,
    format: Format,
) -> Result<Exit, Error> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(good) {
        let message = format!("{name:?}: a name is 1 to 64 letters, digits and ._@-, not beginning with a dot");
        return Err(Error::new(Exit::Usage, message));
    }
    std::fs::create_dir_all(folder).map_err(|error| file_error(folder, &error))?;
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    let (key_file, certificate_file, authority_file) = (file("key"), file("pem"), folder.join("ca.pem"));
    for path in [&key_file, &certificate_file] {
        if path.exists() {
            let message = format!("{} exists already; nothing was changed", path.display());
            return Err(Error::new(Exit::Conflict, message));
        }
    }
    let (key, request) = pki::make_request(&name).map_err(|error| Error::failed(&error))?;
    write(&key_file, &key_pem(&key)?, 0o600)?;
    let request = IssueCertificateRequest {
        name,
        role: role.name(),
        request,
        days,
    };
    let answer = match client.issue_certificate(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            // A key that nobody certified would only stand in the way of the next try.
            let _ = std::fs::remove_file(&key_file);
            return Err(status.into());
        }
    };
    let issued = certificate(answer.certificate)?;
    write(&certificate_file, issued.certificate.as_bytes(), 0o644)?;
    match std::fs::read_to_string(&authority_file) {
        Ok(there) if there == answer.authorities => {}
        Ok(_) => {
            let message = format!(
                "{} holds another authority; this daemon's was not written\n  remedy: use another --out-dir, or move that \
                 file away and write it with `hsmctl certificate issue` under another name",
                authority_file.display()
            );
            return Err(Error::new(Exit::Conflict, message));
        }
        Err(_) => write(&authority_file, answer.authorities.as_bytes(), 0o644)?,
    }
    let (ca, cert, key) = (authority_file.display(), certificate_file.display(), key_file.display());
    // Nobody to tell when standard error is closed.
    let _ = writeln!(
        std::io::stderr(),
        "hsmctl: wrote {key}, {cert} and {ca}; to use them:\n  hsmctl --endpoint https://HOST:1793 --ca {ca} --cert {cert} \
         --cert-key {key} status"
    );
    show(&View::from(issued), format)
}

/// RFC 7468.
fn key_pem(key: &Secret) -> Result<Zeroizing<Vec<u8>>, Error> {
    use x509_cert::der::pem::{LineEnding, encode_string};
    let text = encode_string("PRIVATE KEY", LineEnding::LF, key.expose()).map(String::into_bytes);
    text.map(Zeroizing::new).map_err(|error| Error::failed(&error))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let open = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let written = open.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| file_error(path, &error))
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| file_error(path, &error))
}

fn file_error(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Exit::Usage, format!("{}: {error}", path.display()))
}

fn certificate(answer: Option<Certificate>) -> Result<Certificate, Error> {
    answer.ok_or_else(|| Error::new(Exit::Failed, "the daemon sent no certificate"))
}

async fn all(client: &mut IdentityClient<Channel>) -> Result<Vec<View>, Error> {
    let answer = client.list_certificates(ListCertificatesRequest {}).await?.into_inner();
    Ok(answer.certificates.into_iter().map(View::from).collect())
}

#[derive(Serialize)]
struct View {
    id: String,
    name: String,
    role: String,
    state: String,
    until: String,
    sha256: String,
    issued: bool,
    certificate: String,
}

impl From<Certificate> for View {
    fn from(certificate: Certificate) -> Self {
        Self {
            until: expiry::date(Duration::from_secs(certificate.not_after)),
            id: certificate.id,
            name: certificate.name,
            role: certificate.role,
            state: certificate.state,
            sha256: certificate.sha256,
            issued: certificate.issued,
            certificate: certificate.certificate,
        }
    }
}

impl Table for View {
    fn rows(&self) -> Vec<Vec<String>> {
        record([
            ("Id", self.id.clone()),
            ("Name", self.name.clone()),
            ("Role", self.role.clone()),
            ("State", self.state.clone()),
            ("Until", self.until.clone()),
            ("SHA-256", self.sha256.clone()),
        ])
    }
}

#[derive(Serialize)]
struct Views(Vec<View>);

impl Table for Views {
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self
            .0
            .iter()
            .map(|one| [&one.id, &one.name, &one.role, &one.state, &one.until].map(String::clone));
        list(["ID", "NAME", "ROLE", "STATE", "UNTIL"], rows)
    }
}

#[derive(Serialize)]
struct WhoView {
    name: String,
    role: String,
}

impl Table for WhoView {
    fn rows(&self) -> Vec<Vec<String>> {
        record([("Name", self.name.clone()), ("Role", self.role.clone())])
    }
}

#[derive(Serialize)]
struct DenialView {
    id: String,
    time: String,
    caller: String,
    role: String,
    method: String,
    reason: String,
}

impl From<Denial> for DenialView {
    fn from(denial: Denial) -> Self {
        Self {
            id: denial.id,
            time: expiry::date(Duration::from_secs(denial.time)),
            caller: denial.caller,
            role: denial.role,
            method: denial.method,
            reason: denial.reason,
        }
    }
}

#[derive(Serialize)]
struct DenialViews(Vec<DenialView>);

impl Table for DenialViews {
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self
            .0
            .iter()
            .map(|one| [&one.id, &one.time, &one.caller, &one.role, &one.method, &one.reason].map(String::clone));
        list(["ID", "TIME", "CALLER", "ROLE", "METHOD", "REASON"], rows)
    }
}
