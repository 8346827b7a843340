//! Servers on other hosts: the handshake that the module makes, step by step, with a word for each way in which it fails.

use super::super::expiry;
use super::Finding;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// For a connection, and for each answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// A server that refuses a certificate says so at once, after the handshake.
const VERDICT: Duration = Duration::from_millis(700);

/// What a client file says about servers.
pub(super) struct Remote {
    /// Host and port.
    pub(super) servers: Vec<(String, u16)>,
    pub(super) ca: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// Examines files, then servers.
pub(super) fn examine(remote: &Remote) -> Vec<Finding> {
    let mut findings = vec![
        end("certificate", &remote.certificate),
        end("authorities", &remote.ca),
        key(&remote.key),
    ];
    let config = match config(remote) {
        Ok(config) => config,
        Err(finding) => {
            findings.retain(|other| other.check != finding.check || other.state == super::State::Failure);
            if !findings.iter().any(|other| other.state == super::State::Failure) {
                findings.push(finding);
            }
            return findings;
        }
    };
    findings.extend(remote.servers.iter().map(|(host, port)| server(&config, host, *port)));
    findings
}

/// A file of certificates, and how long its first is good.
fn end(check: &'static str, path: &Path) -> Finding {
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let remedy =
                "copy the files of `hsmctl setup-client` together; names in the client file are looked for beside it";
            return Finding::failure(check, format!("{shown}: {error}"), remedy);
        }
    };
    let Some(end) = expiry::end(&text) else {
        return Finding::failure(
            check,
            format!("{shown}: holds no certificate in PEM"),
            "`hsmctl setup-client` writes it",
        );
    };
    let text = format!("{shown}: ends {} ({} days)", end.date, end.days);
    let remedy = "make a new one: `hsmctl setup-client` into a fresh folder, then `hsmctl client modify NAME -t FILE`";
    match end.days {
        ..0 => Finding::failure(check, text, remedy),
        days if days < expiry::SOON_DAYS => Finding::warning(check, text, remedy),
        _ => Finding::ok(check, text),
    }
}

fn key(path: &Path) -> Finding {
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) => Finding::failure(
            "key",
            format!("{shown}: {error}"),
            "copy it with the other files, mode 0600",
        ),
        Ok(found) if found.mode() & 0o077 != 0 => {
            let message = format!("{shown}: mode {:04o}: others may read it", found.mode() & 0o777);
            Finding::failure(
                "key",
                message,
                format!("chmod 0600 {shown}; think about who may have read it"),
            )
        }
        Ok(_) => match std::fs::File::open(path) {
            Ok(_) => Finding::ok("key", format!("{shown}")),
            Err(error) => Finding::failure("key", format!("{shown}: {error}"), "let the application's user read it"),
        },
    }
}

fn config(remote: &Remote) -> Result<Arc<ClientConfig>, Finding> {
    let wrong = |check, path: &Path, error: &dyn std::fmt::Display| {
        Finding::failure(
            check,
            format!("{}: {error}", path.display()),
            "`hsmctl setup-client` writes it",
        )
    };
    if !crate::pki::TLS {
        return Err(Finding::skipped("server", crate::pki::NO_TLS));
    }
    let mut roots = RootCertStore::empty();
    let authorities =
        CertificateDer::pem_file_iter(&remote.ca).map_err(|error| wrong("authorities", &remote.ca, &error))?;
    for authority in authorities {
        let authority = authority.map_err(|error| wrong("authorities", &remote.ca, &error))?;
        roots
            .add(authority)
            .map_err(|error| wrong("authorities", &remote.ca, &error))?;
    }
    let chain = CertificateDer::pem_file_iter(&remote.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| wrong("certificate", &remote.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&remote.key).map_err(|error| wrong("key", &remote.key, &error))?;
    let builder =
        ClientConfig::builder_with_provider(crate::pki::provider()).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(|error| wrong("key", &remote.key, &error))?;
    let config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key);
    config.map(Arc::new).map_err(|error| {
        let message = format!("{}: {error}", remote.key.display());
        Finding::failure(
            "key",
            message,
            "key and certificate must belong together: copy both again",
        )
    })
}

fn server(config: &Arc<ClientConfig>, host: &str, port: u16) -> Finding {
    let name = format!("{host}:{port}");
    let failure = |message: String, remedy: &str| Finding::failure("server", format!("{name}: {message}"), remedy);
    let addresses = match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return failure(error.to_string(), "the name is unknown here: DNS, or /etc/hosts"),
    };
    let connected = addresses.map(|address| TcpStream::connect_timeout(&address, PATIENCE));
    let connected = connected.reduce(|first, next| if first.is_ok() { first } else { next });
    let mut stream = match connected {
        Some(Ok(stream)) => stream,
        Some(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            return failure(
                "nobody listens there".to_owned(),
                "is the daemon running, and this address in data.listen?",
            );
        }
        Some(Err(error)) => {
            return failure(
                error.to_string(),
                "a route, a firewall, or another address in data.advertise",
            );
        }
        None => return failure("has no address".to_owned(), "DNS, or /etc/hosts"),
    };
    let limits = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string());
    let session = name.and_then(|name| ClientConnection::new(config.clone(), name).map_err(|error| error.to_string()));
    let mut session = match (limits, session) {
        (Ok(()), Ok(session)) => session,
        (_, Err(error)) => return failure(error, "correct the name of the server"),
        (Err(error), _) => return failure(error.to_string(), ""),
    };
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut stream) {
            return failure(error.to_string(), handshake_remedy(&error));
        }
    }
    verdict(&mut session, &mut stream, &failure).unwrap_or_else(|| {
        Finding::ok(
            "server",
            format!("{host}:{port}: TLS 1.3, certificates good on both sides"),
        )
    })
}

/// In TLS 1.3 the client is done before the server has looked at its certificate: a refusal comes as the first record.
fn verdict(
    session: &mut ClientConnection,
    stream: &mut TcpStream,
    failure: &dyn Fn(String, &str) -> Finding,
) -> Option<Finding> {
    stream.set_read_timeout(Some(VERDICT)).ok()?;
    let _ = stream.flush();
    let refused = "the server does not know this certificate: registered? expired? deleted? `hsmctl client list`, then \
                   `hsmctl setup-client`";
    let mut byte = [0];
    match rustls::Stream::new(session, stream).read(&mut byte) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(error) => Some(failure(format!("refused after the handshake: {error}"), refused)),
        Ok(0) => Some(failure("closed after the handshake".to_owned(), refused)),
        Ok(_) => None,
    }
}

fn handshake_remedy(error: &std::io::Error) -> &'static str {
    let text = error.to_string();
    if text.contains("NotValidForName") {
        "the server's certificate is for other names: connect by one of those, or set data.advertise"
    } else if text.contains("UnknownIssuer") || text.contains("BadSignature") {
        "the server has another authority than `ca`: copy CAFile.pem again"
    } else if text.contains("Expired") || text.contains("NotValidYet") {
        "the server's certificate and the clock here do not agree: check both clocks"
    } else if text.contains("alert") {
        "the server refuses this client: `hsmctl client list` on the daemon's host"
    } else {
        "is that the port of hsmd's data plane (1792)?"
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn missing_and_exposed_files_are_named_before_any_server_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("key"), "x").unwrap();
        std::fs::set_permissions(path("key"), std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(path("certificate"), "x").unwrap();
        let remote = Remote {
            servers: vec![("127.0.0.1".to_owned(), 1)],
            ca: path("none"),
            certificate: path("certificate"),
            key: path("key"),
        };
        let findings = examine(&remote);
        let failures = findings.iter().filter(|finding| finding.state == State::Failure);
        let checks: Vec<_> = failures.map(|finding| finding.check).collect();
        assert_eq!(checks, ["certificate", "authorities", "key"]);
    }
}
