//! The certificate that the daemon shows: made at each start with a key that is in memory only, for all names and addresses
//! under which it is reached, and made anew when they change or it grows old. Or the operator's, read from files.

use super::authority::{self, Authority};
use super::{AuthorityError, PkiError, days, provider};
use crate::config::{Config, Tls};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rcgen::SanType;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use zeroize::Zeroizing;

/// How long a server's certificate is valid, and after which time it is made anew.
const VALIDITY: Duration = days(90);
const RENEW_AFTER: Duration = days(30);
/// The most names and addresses of a certificate.
const MAX_NAMES: usize = 1_000;
/// The most of them that were learned from connections.
const MAX_LEARNED: usize = 64;

/// What the operator brought.
pub(super) struct Own {
    pub(super) bundle: String,
    key: Arc<CertifiedKey>,
    files: Tls,
    read: [Option<SystemTime>; 2],
}

struct State {
    names: BTreeSet<String>,
    learned: usize,
    made: Instant,
    own: Option<Own>,
}

/// The certificate in use.
pub(super) struct Leaf {
    servers: Authority,
    current: ArcSwap<CertifiedKey>,
    state: Mutex<State>,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaf(..)")
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl Leaf {
    pub(super) fn new(servers: Authority, own: Option<Own>, names: BTreeSet<String>) -> Result<Self, PkiError> {
        let key = match &own {
            Some(own) => own.key.clone(),
            None => Arc::new(make(&servers, &names)?),
        };
        Ok(Self {
            servers,
            current: ArcSwap::new(key),
            state: Mutex::new(State {
                names,
                learned: 0,
                made: Instant::now(),
                own,
            }),
        })
    }

    pub(super) fn cover(&self, names: impl IntoIterator<Item = String>) -> Result<(), PkiError> {
        let mut state = self.state.lock();
        let before = state.names.len();
        for name in names {
            if state.names.len() < MAX_NAMES {
                state.names.insert(name);
            }
        }
        if state.names.len() == before {
            return Ok(());
        }
        self.remake(&mut state)
    }

    pub(super) fn arrived_at(&self, address: IpAddr) -> Result<(), PkiError> {
        let name = address.to_canonical().to_string();
        let mut state = self.state.lock();
        if state.names.contains(&name) || state.learned >= MAX_LEARNED {
            return Ok(());
        }
        state.learned += 1;
        state.names.insert(name);
        self.remake(&mut state)
    }

    pub(super) fn keep_fresh(&self) -> Result<(), PkiError> {
        let mut state = self.state.lock();
        match &state.own {
            Some(own) if own.read != modified(&own.files) => {
                let Some(fresh) = own_again(&own.files)? else {
                    return Ok(());
                };
                tracing::info!("the server's certificate was read again");
                self.current.store(fresh.key.clone());
                state.own = Some(fresh);
                Ok(())
            }
            None if state.made.elapsed() >= RENEW_AFTER => self.remake(&mut state),
            _ => Ok(()),
        }
    }

    fn remake(&self, state: &mut State) -> Result<(), PkiError> {
        if state.own.is_some() {
            return Ok(());
        }
        self.current.store(Arc::new(make(&self.servers, &state.names)?));
        state.made = Instant::now();
        Ok(())
    }
}

fn make(servers: &Authority, names: &BTreeSet<String>) -> Result<CertifiedKey, PkiError> {
    let pkcs8 = authority::key_pair()?;
    let public = authority::public_of(&pkcs8).ok_or(AuthorityError::Key(hsmd_crypto::OpError::Failed))?;
    let sans = names.iter().filter_map(|name| match name.parse::<IpAddr>() {
        Ok(address) => Some(SanType::IpAddress(address)),
        Err(_) => Some(SanType::DnsName(name.as_str().try_into().ok()?)),
    });
    let certificate = servers.issue(&public, "hsmd", sans, VALIDITY)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.expose()));
    let key = provider::signing_key(&der)?;
    Ok(CertifiedKey::new(vec![certificate], key))
}

/// The names and addresses that follow from the configuration and the machine.
pub(super) fn names(config: &Config) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    let listeners = config.data.listen.iter().chain(&config.control.listen);
    let addresses = listeners.map(|address| address.ip().to_canonical());
    names.extend(addresses.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    names.extend(host_of(&config.data.advertise));
    // Empty or odd host names are left out: the addresses still fit.
    names.extend(host_of(&rustix::system::uname().nodename().to_string_lossy()));
    names
}

/// The host of `host`, `host:port`, `address`, `[address]:port`; `None` for anything else.
pub(crate) fn host_of(text: &str) -> Option<String> {
    let good_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().to_string());
    }
    let host = match text.rsplit_once(':') {
        Some((host, port)) if good_port(port) => host,
        Some(_) if text.ends_with(']') => text,
        Some(_) => return None,
        None => text,
    };
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<IpAddr>().ok().map(|address| address.to_string());
    }
    let name = host.parse::<IpAddr>().map(|address| address.to_string());
    let dns = || DnsName::try_from(host.to_ascii_lowercase()).map(|name| name.as_ref().to_owned());
    name.or_else(|_| dns()).ok()
}

/// Reads the files of `[tls]`; `None` when none are configured.
pub(super) fn own(files: &Tls) -> Result<Option<Own>, PkiError> {
    if files.certificate.as_os_str().is_empty() {
        return Ok(None);
    }
    own_again(files)
}

fn own_again(files: &Tls) -> Result<Option<Own>, PkiError> {
    let read = modified(files);
    let bad = |path: &Path, what: &dyn fmt::Display| PkiError::File {
        path: path.into(),
        what: what.to_string(),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text(&files.certificate)?).collect();
    let chain = chain.map_err(|error| bad(&files.certificate, &error))?;
    if chain.is_empty() {
        return Err(bad(&files.certificate, &"there is no certificate in PEM here"));
    }
    let mode = std::fs::metadata(&files.key)
        .map_err(|error| bad(&files.key, &error))?
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        let what = format!(
            "mode {mode:04o}: others may read it\n  remedy: chmod 0600 {}",
            files.key.display()
        );
        return Err(bad(&files.key, &what));
    }
    let key = PrivateKeyDer::from_pem_slice(&text(&files.key)?).map(Zeroizing::new);
    let key = key.map_err(|error| bad(&files.key, &error))?;
    let key = CertifiedKey::new(chain, provider::signing_key(&key)?);
    key.keys_match()?;
    let bundle = text(&files.ca)?;
    let authorities: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bundle).collect();
    if authorities.map_err(|error| bad(&files.ca, &error))?.is_empty() {
        return Err(bad(&files.ca, &"there is no certificate in PEM here"));
    }
    Ok(Some(Own {
        bundle: String::from_utf8_lossy(&bundle).into_owned(),
        key: Arc::new(key),
        files: files.clone(),
        read,
    }))
}

fn text(path: &PathBuf) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let read = std::fs::read(path).map(Zeroizing::new);
    read.map_err(|error| PkiError::File {
        path: path.into(),
        what: error.to_string(),
    })
}

fn modified(files: &Tls) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.key].map(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok())
}
