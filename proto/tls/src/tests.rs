//! Two sessions of one process, over a socket pair: what one seals the other opens, however it is cut.

use crate::{Read as Came, Session};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

type Client = Session<UnbufferedClientConnection>;
type Server = Session<UnbufferedServerConnection>;

/// A certificate that is its own authority, with its key.
struct Own {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Own {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::ExplicitNoCa;
        let certificate = parameters.self_signed(&key).unwrap().der().clone();
        Self { certificate, key }
    }

    fn key(&self) -> PrivatePkcs8KeyDer<'static> {
        self.key.serialize_der().into()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }
}

/// Both sides of a session; the server takes clients that are `trusted`.
fn sides(client: &Own, trusted: &Own) -> (Client, Server) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = Own::new("localhost");
    let verifier = WebPkiClientVerifier::builder_with_provider(trusted.roots(), provider.clone());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![server.certificate.clone()], server.key().into())
        .unwrap();
    let listening = Session::server(Arc::new(config)).unwrap();
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(server.roots())
        .with_client_auth_cert(vec![client.certificate.clone()], client.key().into())
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    (Session::client(Arc::new(config), name).unwrap(), listening)
}

fn shake<S: crate::Side>(session: &mut Session<S>, stream: &UnixStream) -> io::Result<()> {
    session.handshake(|bytes| (&*stream).write(bytes), |room| (&*stream).read(room))
}

/// Reads that much; each read of the stream brings at most `cut` bytes.
fn take<S: crate::Side>(session: &mut Session<S>, stream: &UnixStream, count: usize, cut: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut done = 0;
    while done < count {
        let came = session.read(&mut bytes[done..], |room| {
            let room_len = room.len().min(cut);
            (&*stream).read(&mut room[..room_len])
        });
        match came.unwrap() {
            Came::Data(more) => done += more,
            Came::Partial => {}
            Came::Ended => panic!("ended after {done} of {count}"),
        }
    }
    bytes
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn what_one_side_seals_the_other_opens_whatever_its_length_and_however_it_is_cut() {
    let own = Own::new("client");
    let (mut client, mut server) = sides(&own, &own);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let lengths = [1, 16, 1_200, 16_384, 16_385, 70_000, 300_000];
    let far = std::thread::spawn(move || {
        shake(&mut server, &theirs).unwrap();
        let seen = server.peer_certificate().unwrap().to_vec();
        for (length, cut) in lengths.into_iter().zip([1, 7, 100, 4_096, 20_000, usize::MAX, 30_000]) {
            let bytes = take(&mut server, &theirs, length, cut);
            server
                .write_all(&[&bytes], |bytes| {
                    (&theirs).write(&bytes[..bytes.len().min(cut.saturating_mul(50))])
                })
                .unwrap();
        }
        seen
    });
    shake(&mut client, &ours).unwrap();
    for length in lengths {
        let sent = pattern(length);
        client.write_all(&[&sent], |bytes| (&ours).write(bytes)).unwrap();
        assert_eq!(take(&mut client, &ours, length, usize::MAX), sent);
    }
    assert_eq!(far.join().unwrap(), own.certificate.as_ref());
}

#[test]
fn bytes_that_came_while_something_was_sealed_are_not_lost_and_what_was_not_written_goes_first() {
    let own = Own::new("client");
    let (mut client, mut server) = sides(&own, &own);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let far = std::thread::spawn(move || {
        shake(&mut server, &theirs).unwrap();
        (server, theirs)
    });
    shake(&mut client, &ours).unwrap();
    let (mut server, theirs) = far.join().unwrap();
    // Three messages in one read, of which one byte is taken before the answer is sealed.
    for message in [&b"one"[..], b"two", b"three"] {
        client.write_all(&[message], |bytes| (&ours).write(bytes)).unwrap();
    }
    assert_eq!(take(&mut server, &theirs, 1, usize::MAX), b"o");
    server.seal(b"beat").unwrap();
    // The stream takes three bytes and is full.
    let mut room = 3;
    let stuck = server.flush(|bytes| match std::mem::take(&mut room) {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        room => (&theirs).write(&bytes[..room]),
    });
    assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(server.has_outgoing());
    server.write_all(&[b"reply"], |bytes| (&theirs).write(bytes)).unwrap();
    assert!(!server.has_outgoing());
    assert_eq!(take(&mut client, &ours, 9, 5), b"beatreply");
    assert_eq!(take(&mut server, &theirs, 10, usize::MAX), b"netwothree");
    drop(ours);
    let ended = server.read(&mut [0; 8], |room| (&theirs).read(room)).unwrap();
    assert_eq!(ended, Came::Ended);
}

#[test]
fn a_client_that_is_refused_is_told_by_an_alert() {
    let (mut client, mut server) = sides(&Own::new("client"), &Own::new("somebody else"));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let far = std::thread::spawn(move || shake(&mut server, &theirs).unwrap_err());
    // TLS 1.3: the client is done before the server has looked at its certificate.
    shake(&mut client, &ours).unwrap();
    far.join().unwrap();
    let told = client.read(&mut [0; 8], |room| (&ours).read(room)).unwrap_err();
    let told = told.into_inner().unwrap().downcast::<Error>().unwrap();
    assert!(matches!(*told, Error::AlertReceived(_)), "{told}");
}

#[test]
fn bytes_that_are_not_tls_are_refused() {
    let own = Own::new("client");
    let (_, mut server) = sides(&own, &own);
    let mut garbage = &b"GET / HTTP/1.1\r\nHost: hsm\r\n\r\n"[..];
    let refused = server
        .handshake(|bytes| Ok(bytes.len()), |room| garbage.read(room))
        .unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
}
