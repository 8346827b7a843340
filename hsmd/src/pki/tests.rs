//! Handshakes in memory: who gets in, and that all others are told the same.

use super::*;
use hsmd_keystore::Options;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore, ServerConnection};

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// A self-signed certificate, valid from and until so many days from now.
fn identity(from: i64, until: i64) -> Identity {
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    let now = UnixTime::now().as_secs().cast_signed();
    let at = |days: i64| {
        let seconds = (now + days * 86_400).cast_unsigned();
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (at(from), at(until));
    let certificate = params.self_signed(&pair).unwrap();
    Identity {
        certificate: certificate.der().clone(),
        key: PrivatePkcs8KeyDer::from(pair.serialize_der()).into(),
    }
}

fn pin(pins: &Pins, identities: &[&Identity]) {
    let rows: Vec<_> = identities
        .iter()
        .map(|one| (fingerprint(&one.certificate), pem(&one.certificate)))
        .collect();
    pins.replace(rows.iter().map(|(sha256, pem)| (*sha256, "client-1", pem.as_str())));
}

fn pki(config: &Config) -> (Pki, Arc<Pins>, Keystore) {
    let keystore = Keystore::in_memory(&Options::default()).unwrap();
    let pins = Arc::new(Pins::default());
    let pki = Pki::open(&keystore, config, pins.clone(), Arc::default()).unwrap();
    (pki, pins, keystore)
}

fn client(pki: &Pki, identity: Option<&Identity>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pki.bundle().as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(one) => builder
            .with_client_auth_cert(vec![one.certificate.clone()], one.key.clone_key())
            .unwrap(),
    }
}

/// What both sides say of a handshake: the server's error, and what the client was told.
fn shake(server: Arc<ServerConfig>, client: ClientConfig, name: &str) -> (Result<(), Error>, Result<(), Error>) {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let (mut here, mut there) = (Ok(()), Ok(()));
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() && here.is_ok() {
            server.read_tls(&mut wire).unwrap();
            here = server.process_new_packets().map(|_| ());
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() && there.is_ok() {
            client.read_tls(&mut wire).unwrap();
            there = client.process_new_packets().map(|_| ());
        }
    }
    assert!(here.is_err() || there.is_err() || !server.is_handshaking());
    (here, there)
}

#[test]
fn a_registered_certificate_gets_in_and_all_others_hear_the_same_alert() {
    let (pki, pins, _keystore) = pki(&Config::default());
    let (good, expired, early, unknown) = (identity(-1, 1), identity(-9, -1), identity(1, 9), identity(-1, 1));
    let impostor = Identity {
        certificate: good.certificate.clone(),
        key: unknown.key.clone_key(),
    };
    pin(&pins, &[&good, &expired, &early]);
    let server = || pki.data_server().unwrap();
    let good_config = || client(&pki, Some(&good));
    assert_eq!(shake(server(), good_config(), "localhost"), (Ok(()), Ok(())));
    assert_eq!(shake(server(), good_config(), "127.0.0.1"), (Ok(()), Ok(())));
    let mut signed_by_us = identity(-1, 1);
    let pair = KeyPair::generate().unwrap();
    signed_by_us.certificate = pki.administrators().issue(&pair, "eve", [], days(1)).unwrap();
    signed_by_us.key = PrivatePkcs8KeyDer::from(pair.serialize_der()).into();
    let stolen = {
        // A key that fits, to get past the client's own check; the certificate is another's.
        let mut config = client(&pki, Some(&unknown));
        config.client_auth_cert_resolver = Arc::new(Shows(Arc::new(rustls::sign::CertifiedKey::new(
            vec![impostor.certificate],
            rustls::crypto::aws_lc_rs::sign::any_supported_type(&impostor.key).unwrap(),
        ))));
        config
    };
    let refused = [
        ("expired", client(&pki, Some(&expired))),
        ("not yet valid", client(&pki, Some(&early))),
        ("unregistered", client(&pki, Some(&unknown))),
        (
            "signed by our authority, unregistered",
            client(&pki, Some(&signed_by_us)),
        ),
        ("somebody else's certificate", stolen),
    ];
    for (what, config) in refused {
        let (here, there) = shake(server(), config, "localhost");
        assert!(matches!(here, Err(Error::InvalidCertificate(_))), "{what}: {here:?}");
        assert_eq!(
            there,
            Err(Error::AlertReceived(AlertDescription::CertificateUnknown)),
            "{what}"
        );
    }
    let (_, there) = shake(server(), client(&pki, None), "localhost");
    assert_eq!(there, Err(Error::AlertReceived(AlertDescription::CertificateRequired)));
    // The other plane knows other certificates.
    assert!(
        shake(pki.control_server().unwrap(), good_config(), "localhost")
            .0
            .is_err()
    );
    // Revoked.
    pin(&pins, &[]);
    let (_, there) = shake(server(), good_config(), "localhost");
    assert_eq!(there, Err(Error::AlertReceived(AlertDescription::CertificateUnknown)));
}

/// Shows a certificate whatever is asked for.
#[derive(Debug)]
struct Shows(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[test]
fn the_servers_certificate_covers_what_is_configured_and_learned() {
    let mut config = Config::default();
    config.data.listen = vec!["192.0.2.7:1792".parse().unwrap(), "0.0.0.0:1792".parse().unwrap()];
    config.data.advertise = "hsm.example.org:1792".into();
    let (pki, pins, _keystore) = pki(&config);
    let good = identity(-1, 1);
    pin(&pins, &[&good]);
    let reach = |name: &str| {
        shake(pki.data_server().unwrap(), client(&pki, Some(&good)), name)
            .1
            .is_ok()
    };
    assert!(reach("192.0.2.7") && reach("hsm.example.org") && reach("::1"));
    assert!(!reach("10.0.0.9") && !reach("10.0.0.10") && !reach("example.org") && !reach("0.0.0.0"));
    pki.cover(["10.0.0.9".to_owned()]).unwrap();
    pki.arrived_at("::ffff:10.0.0.10".parse().unwrap());
    assert!(reach("10.0.0.9") && reach("10.0.0.10") && reach("192.0.2.7"));
}

#[test]
fn authorities_are_made_once_and_differ() {
    let (first, _, keystore) = pki(&Config::default());
    let again = Pki::open(&keystore, &Config::default(), Arc::default(), Arc::default()).unwrap();
    assert_eq!(first.bundle(), again.bundle());
    assert_eq!(first.administrators().pem(), again.administrators().pem());
    assert_ne!(first.bundle(), first.administrators().pem());
    keystore
        .put_secret("pki/servers", &hsmd_keystore::Secret::random(40))
        .unwrap();
    let damaged = Pki::open(&keystore, &Config::default(), Arc::default(), Arc::default());
    assert!(matches!(damaged, Err(PkiError::Authority(AuthorityError::Damaged(_)))));
}

#[test]
fn nothing_is_resumed_and_old_versions_are_not_spoken() {
    let (pki, pins, _keystore) = pki(&Config::default());
    let good = identity(-1, 1);
    pin(&pins, &[&good]);
    let config = client(&pki, Some(&good));
    let store = config.resumption.clone();
    assert_eq!(shake(pki.data_server().unwrap(), config, "localhost"), (Ok(()), Ok(())));
    let mut again = client(&pki, None);
    again.resumption = store;
    let (_, there) = shake(pki.data_server().unwrap(), again, "localhost");
    assert_eq!(there, Err(Error::AlertReceived(AlertDescription::CertificateRequired)));
    let server = pki.data_server().unwrap();
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
    assert!(!server.ticketer.enabled() && !server.session_storage.can_cache());
}

#[test]
fn hosts_are_told_from_ports() {
    let rows = [
        ("hsm.example.org", Some("hsm.example.org")),
        ("HSM.example.org:1792", Some("hsm.example.org")),
        ("192.0.2.7", Some("192.0.2.7")),
        ("192.0.2.7:1792", Some("192.0.2.7")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[2001:db8::1]:1792", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("", None),
        (":1792", None),
        ("host:0", None),
        ("host:port", None),
        ("host name", None),
        ("[host]:1", None),
        ("https://host", None),
    ];
    for (text, host) in rows {
        assert_eq!(host_of(text).as_deref(), host, "{text}");
    }
}
