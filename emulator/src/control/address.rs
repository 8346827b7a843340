//! Where the control plane is: `endpoint` and `[control]` of the configuration, and the connections to it, on this host through a
//! socket, to others by mutual TLS 1.3.

use crate::tls;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// The port of the control plane, when the endpoint names none.
const PORT: u16 = 1793;

/// One daemon, or the nodes of a fleet: each `unix:///path/to/control.sock` or `https://host[:port]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Endpoints {
    /// One.
    One(String),
    /// Several nodes of one fleet.
    Many(Vec<String>),
}

/// `[control]`: how endpoints on other hosts are reached, with the files that `hsmctl certificate issue` has written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Files {
    /// The authority of the daemons' certificates, PEM.
    pub(crate) ca: PathBuf,
    /// The administrator's certificate, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM, mode 0400 or 0600.
    pub(crate) key: PathBuf,
}

impl Endpoints {
    fn all(&self) -> &[String] {
        match self {
            Self::One(uri) => std::slice::from_ref(uri),
            Self::Many(uris) => uris,
        }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.all().len()
    }

    /// What the types do not say.
    ///
    /// # Errors
    /// A sentence with key and rule.
    pub(crate) fn check(&self, files: Option<&Files>) -> Result<(), String> {
        if self.all().is_empty() {
            return Err("endpoint = []: name at least one".into());
        }
        for uri in self.all() {
            let host = host(uri)?;
            if host.is_some() && files.is_none() {
                return Err(format!(
                    "endpoint = {uri}: another host is reached by mutual TLS\n  remedy: on a host of hsmd run `hsmctl certificate issue \
                     aws --role service`, and name the three files in [control]: ca, certificate, key"
                ));
            }
        }
        Ok(())
    }

    /// A connection to each, which is made when it is needed.
    ///
    /// # Errors
    /// A sentence with what is wrong.
    pub(super) fn channels(
        &self,
        files: Option<&Files>,
        settings: impl Fn(Endpoint) -> Endpoint,
    ) -> Result<Vec<Channel>, String> {
        self.check(files)?;
        let mut config = None;
        let mut channel = |uri: &String| {
            let said = |error: &dyn std::fmt::Display| format!("endpoint = {uri}: {error}");
            let Some((host, port)) = host(uri)? else {
                let endpoint = Endpoint::from_shared(uri.clone()).map_err(|error| said(&error))?;
                return Ok(settings(endpoint).connect_lazy());
            };
            let config = match (&config, files) {
                (Some(config), _) => Arc::clone(config),
                (None, Some(files)) => Arc::clone(config.insert(client(files)?)),
                (None, None) => return Err(said(&"[control] is missing")),
            };
            let name = ServerName::try_from(host.clone()).map_err(|error| said(&error))?;
            let shown = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            // The connector speaks TLS; tonic is to add none of its own.
            let endpoint = Endpoint::from_shared(format!("http://{shown}:{port}")).map_err(|error| said(&error))?;
            let connector = tower::service_fn(move |_: http::Uri| {
                let (host, name, config) = (host.clone(), name.clone(), Arc::clone(&config));
                async move {
                    let stream = TcpStream::connect((host.as_str(), port)).await?;
                    stream.set_nodelay(true)?;
                    let stream = TlsConnector::from(config).connect(name, stream).await?;
                    Ok::<_, std::io::Error>(TokioIo::new(stream))
                }
            });
            Ok(settings(endpoint).connect_with_connector_lazy(connector))
        };
        self.all().iter().map(&mut channel).collect()
    }
}

/// Host and port of `https://host[:port]`; none of `unix:///path`.
fn host(uri: &str) -> Result<Option<(String, u16)>, String> {
    let wrong = || format!("endpoint = {uri}: must be unix:///path/to/control.sock or https://HOST[:PORT]");
    // It has no authority, which makes it no URI for the parser below.
    if uri.strip_prefix("unix://").is_some_and(|path| path.starts_with('/')) {
        return Ok(None);
    }
    let parsed: http::Uri = uri.parse().map_err(|_| wrong())?;
    match parsed.scheme_str() {
        Some("https") if matches!(parsed.path_and_query().map(|path| path.as_str()), None | Some("/" | "")) => {
            let host = parsed.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Ok(Some((host.to_owned(), parsed.port_u16().unwrap_or(PORT))))
        }
        _ => Err(wrong()),
    }
}

fn client(files: &Files) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in tls::certificates(&files.ca)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("{}: {error}", files.ca.display()))?;
    }
    let (chain, key) = tls::identity(&files.certificate, &files.key)?;
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?;
    let config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key);
    let mut config = config.map_err(|error| format!("{}: {error}", files.certificate.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_socket_here_or_a_host_with_certificates() {
        assert_eq!(host("unix:///run/hsmd/control.sock").unwrap(), None);
        assert_eq!(host("https://hsm.example").unwrap(), Some(("hsm.example".into(), 1793)));
        assert_eq!(
            host("https://[2001:db8::1]:5").unwrap(),
            Some(("2001:db8::1".into(), 5))
        );
        for uri in [
            "http://hsm.example",
            "hsm.example",
            "https://hsm.example/path",
            "https://",
            "",
        ] {
            assert!(host(uri).is_err(), "{uri}");
        }
        let remote = Endpoints::One("https://hsm.example".into());
        assert!(remote.check(None).unwrap_err().contains("hsmctl certificate issue"));
        assert!(Endpoints::Many(Vec::new()).check(None).is_err());
        assert!(
            Endpoints::Many(vec!["unix:///a".into(), "unix:///b".into()])
                .check(None)
                .is_ok()
        );
    }
}
