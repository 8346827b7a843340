//! The data plane over TCP and TLS: who gets in, heartbeats between records, revocation, and what strangers can hold up.

use super::*;
use crate::data::Remote;
use crate::node::Cut;
use hsmd_tls::{Read as Came, Session};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate that is its own authority, with its key.
struct Own {
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Own {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["app".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key,
        }
    }
}

/// TLS as a plain stream.
struct Pipe {
    socket: TcpStream,
    session: Session<UnbufferedClientConnection>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.read(buffer, |room| (&self.socket).read(room))? {
                Came::Data(count) => return Ok(count),
                Came::Partial => {}
                Came::Ended => return Ok(0),
            }
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.write_all(&[bytes], |part| (&self.socket).write(part))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A node that listens.
struct Scene {
    node: Arc<Node>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
    _runtime: tokio::runtime::Runtime,
}

fn scene(change: impl FnOnce(&mut Config)) -> Scene {
    let node = node(|config| {
        config.data.listen = vec!["127.0.0.1:0".parse().unwrap()];
        change(config);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (stop, stopping) = watch::channel(false);
    let (alive, ended) = mpsc::channel(1);
    let address = runtime.block_on(async {
        let remote = Remote::bind(&node.config.data).await.unwrap();
        let address = remote.addresses()[0];
        remote.run(&node, &stopping, &alive);
        address
    });
    Scene {
        node,
        address,
        stop,
        ended,
        _runtime: runtime,
    }
}

impl Scene {
    /// Registers a certificate as a client that sees the first partition; gives the client's ARN.
    fn register(&self, own: &Own) -> String {
        let client = self.node.model().create_client(None, &own.pem).unwrap();
        let serial = self.node.model().partitions("").unwrap()[0].serial.clone();
        self.node.model().assign(&client.id, &serial).unwrap();
        client.arn
    }

    /// Shakes hands; the error may come here or with the first answer.
    fn shake(&self, own: Option<&Own>) -> io::Result<Pipe> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.node.pki.bundle().as_bytes());
        roots.add(authority.unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(crate::pki::provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivatePkcs8KeyDer::from(own.key.serialize_der());
                builder
                    .with_client_auth_cert(vec![own.der.clone()], key.into())
                    .unwrap()
            }
        };
        let socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut session = Session::client(Arc::new(config), name).unwrap();
        session.handshake(|bytes| (&socket).write(bytes), |room| (&socket).read(room))?;
        Ok(Pipe { socket, session })
    }

    fn client(&self, own: &Own) -> Client<Pipe> {
        let mut client = Client::over(self.shake(Some(own)).unwrap());
        client.hello();
        client
    }
}

#[test]
fn a_registered_client_works_as_on_the_socket_hears_heartbeats_and_is_answered_to_the_end() {
    let mut scene = scene(|config| config.data.heartbeat_ms = 10);
    let own = Own::new();
    scene.register(&own);
    let mut client = scene.client(&own);
    client.set_up(0);
    // PINs are slow when nothing is known of them: the first login after a restart. Another way to take long is to wait.
    let turns: Vec<_> = (0..scene.node.config.work.pin_threads)
        .map(|_| scene.node.turns.pin.enter(&peer()).unwrap())
        .collect();
    let before = client.heartbeats;
    client.send(0, |writer| {
        Op::Login(wire::Login {
            user: UserType::USER.0,
            pin: Some(writer.hide(PIN)),
            attempt: fresh(),
            purpose: None,
        })
    });
    for _ in 0..3 {
        assert_eq!(client.header().kind, FrameKind::Heartbeat);
    }
    drop(turns);
    let (reply, _) = client.receive();
    assert_eq!(Rv(reply.rv), Rv::OK);
    assert!(client.heartbeats >= before);
    // Large requests and replies are many records.
    client.send(0, |writer| {
        Op::Login(wire::Login {
            user: UserType::USER.0,
            pin: Some(writer.hide(&vec![9; 3 << 20])),
            attempt: fresh(),
            purpose: None,
        })
    });
    assert_ne!(Rv(client.receive().0.rv), Rv::OK);
    client.send(0, |_| Op::Random(wire::Random { length: 64 << 10 }));
    let (reply, section) = client.receive();
    assert_eq!((Rv(reply.rv), section.len()), (Rv::OK, 64 << 10));
    // The daemon stops: the connection ends.
    let _ = scene.stop.send(true);
    scene.node.clients.stop();
    assert_eq!(client.stream.read(&mut [0]).unwrap_or(0), 0);
    assert!(scene.ended.blocking_recv().is_none(), "every connection has ended");
}

#[test]
fn strangers_are_told_no_and_nothing_else() {
    let scene = scene(|_| ());
    let (known, unknown) = (Own::new(), Own::new());
    let arn = scene.register(&known);
    let refused = |own: Option<&Own>| {
        let told = scene.shake(own).and_then(|mut pipe| pipe.read(&mut [0])).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::InvalidData, "{told}");
        told.to_string()
    };
    assert_ne!(refused(None), "", "without a certificate");
    let no = refused(Some(&unknown));
    drop(scene.client(&known));
    scene.node.model().delete_client(&arn).unwrap();
    assert_eq!(refused(Some(&known)), no, "one that was removed is a stranger");
    let mut garbage = TcpStream::connect(scene.address).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    garbage.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer);
    assert!(answer.len() < 16, "an alert at most");
    assert_eq!(scene.node.clients.count(), 0);
}

#[test]
fn a_removed_client_stops_in_the_middle_of_everything() {
    let scene = scene(|_| ());
    let own = Own::new();
    let arn = scene.register(&own);
    let mut idle = scene.client(&own);
    let mut waits = scene.client(&own);
    waits.set_up(0);
    let turns: Vec<_> = (0..scene.node.config.work.pin_threads)
        .map(|_| scene.node.turns.pin.enter(&peer()).unwrap())
        .collect();
    waits.send(0, |writer| {
        Op::Login(wire::Login {
            user: UserType::USER.0,
            pin: Some(writer.hide(b"wrong pin")),
            attempt: fresh(),
            purpose: None,
        })
    });
    assert_eq!(waits.header().kind, FrameKind::Heartbeat);
    let begun = Instant::now();
    let identity = scene.node.model().delete_client(&arn).unwrap().unwrap();
    scene.node.cut(&identity, Cut::Everywhere).unwrap();
    for client in [&mut idle, &mut waits] {
        while client.stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    drop(turns);
    let deadline = Instant::now() + PATIENCE;
    while scene.node.clients.count() > 0 {
        assert!(Instant::now() < deadline, "a connection goes on");
        std::thread::yield_now();
    }
}

#[test]
fn peers_that_never_finish_their_handshake_hold_up_their_own_address_only_and_not_for_ever() {
    let scene = scene(|config| {
        config.data.max_handshakes = 8;
        config.data.handshake_timeout_ms = 300;
    });
    let own = Own::new();
    scene.register(&own);
    let silent: Vec<_> = (0..6).map(|_| TcpStream::connect(scene.address).unwrap()).collect();
    // Two of them are inside, the others are closed at once, and the two when their time is over.
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
    let deadline = Instant::now() + PATIENCE;
    while scene.shake(Some(&own)).is_err() {
        assert!(Instant::now() < deadline, "nobody gets in any more");
        std::thread::yield_now();
    }
}

/// Every operation that a request can name, each without its content.
fn operations() -> Vec<Op> {
    let of_field = |number: u32| {
        // A field of a message type, of no length.
        let mut bytes = Vec::new();
        prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
        bytes.push(0);
        Request::decode(bytes.as_slice()).ok()?.op
    };
    let operations: Vec<_> = (1..200).filter_map(of_field).collect();
    assert!(operations.len() > 20, "only {}", operations.len());
    operations
}

/// The operations that are asked of no slot.
fn needs_no_slot(op: &Op) -> bool {
    matches!(op, Op::Hello(_) | Op::ListSlots(_) | Op::Ping(_) | Op::Random(_))
}

#[test]
fn no_operation_tells_a_client_of_another_partition_more_than_of_one_that_does_not_exist() {
    let scene = scene(|_| ());
    let (own, other) = (Own::new(), Own::new());
    scene.register(&own);
    scene.node.model().create_client(None, &other.pem).unwrap();
    let mut owner = scene.client(&own);
    owner.set_up(0);
    // The ticket of somebody else is of no use either.
    let ticket = owner.ticket.take();
    for stolen in [None, ticket] {
        let mut client = scene.client(&other);
        client.ticket = stolen;
        for op in operations().into_iter().filter(|op| !needs_no_slot(op)) {
            let there = client.call_with(0, |_| op.clone()).0;
            let nowhere = client.call_with(4_000, |_| op.clone()).0;
            assert_eq!(there, nowhere, "{}", crate::data::dispatch::name(&op));
            assert_ne!(there, Rv::OK, "{}", crate::data::dispatch::name(&op));
        }
        let listed = client.call(Op::ListSlots(wire::ListSlots {})).1;
        assert!(matches!(listed, None | Some(reply::Result::Slots(_))));
        assert!(!matches!(listed, Some(reply::Result::Slots(list)) if !list.slots.is_empty()));
    }
}

#[test]
fn no_operation_is_answered_without_a_registered_certificate_or_after_it_was_revoked() {
    let scene = scene(|_| ());
    for op in operations() {
        // Without a certificate, or with one that nobody registered, the first word meets a closed door.
        let stranger = Own::new();
        for own in [None, Some(&stranger)] {
            let Ok(pipe) = scene.shake(own) else { continue };
            let mut client = Client::over(pipe);
            assert!(
                !answers(&mut client, op.clone()),
                "{}",
                crate::data::dispatch::name(&op)
            );
        }
        let own = Own::new();
        let arn = scene.register(&own);
        let mut client = scene.client(&own);
        let identity = scene.node.model().delete_client(&arn).unwrap().unwrap();
        scene.node.cut(&identity, Cut::Everywhere).unwrap();
        assert!(
            !answers(&mut client, op.clone()),
            "{}",
            crate::data::dispatch::name(&op)
        );
    }
}

/// Whether a request gets any bytes of an answer; the stream may be gone before it is sent.
fn answers(client: &mut Client<Pipe>, op: Op) -> bool {
    let request = Request {
        op: Some(op),
        ..Request::default()
    };
    let bytes = FrameWriter::new().finish(FrameKind::Request, 1, &request).to_vec();
    let _ = client.stream.write(&bytes);
    client.stream.read(&mut [0; 16]).is_ok_and(|count| count > 0)
}
