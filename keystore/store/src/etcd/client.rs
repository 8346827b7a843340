//! Calls to etcd: one connection at a time, to one of the members; a deadline on every call; the next member when one is silent,
//! gone or without a leader. What a failed call may have done is told apart ([`Failure`]); it is never tried again here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::etcd::api::kv_client::KvClient;
use crate::etcd::api::maintenance_client::MaintenanceClient;
use crate::etcd::api::watch_client::WatchClient;
use crate::etcd::api::{
    CompactionRequest, RangeRequest, RangeResponse, ResponseHeader, StatusRequest, StatusResponse, TxnRequest,
    TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse, watch_request,
};
use crate::etcd::options::{EtcdOptions, EtcdUrl};

/// Largest answer that is taken: a page of the largest records, and more.
const ANSWER: usize = 256 << 20;
/// Bytes on their way before etcd waits.
const WINDOW: u32 = 8 << 20;

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection: nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// Sent, and no answer, or one that does not say what became of it.
    #[error("{0}")]
    NoAnswer(String),
    /// etcd has no room, or has too many requests. It may have done it nevertheless (it looks for room twice).
    #[error("etcd has no room: {0}")]
    NoRoom(String),
    /// The revisions that were asked for are compacted.
    #[error("compacted")]
    Compacted,
    /// etcd refuses such a request, and always will.
    #[error("etcd refuses: {0}")]
    Refused(String),
}

impl Failure {
    fn of(status: &Status) -> Self {
        let text = || format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            Code::ResourceExhausted => Self::NoRoom(text()),
            Code::OutOfRange if status.message().contains("compacted") => Self::Compacted,
            Code::InvalidArgument | Code::PermissionDenied | Code::Unimplemented | Code::OutOfRange => {
                Self::Refused(text())
            }
            // FailedPrecondition and Unauthenticated come and go with elections and changes of users.
            _ => Self::NoAnswer(text()),
        }
    }
}

/// A connection, and to which of the endpoints.
struct Current {
    at: usize,
    channel: Option<Channel>,
}

/// The client of one store.
pub(crate) struct Client {
    url: EtcdUrl,
    tls: Option<Arc<ClientConfig>>,
    call: Duration,
    current: Mutex<Current>,
    /// How often another member was chosen.
    switched: tokio::sync::watch::Sender<u64>,
}

impl Client {
    pub(crate) fn new(options: &EtcdOptions) -> io::Result<Self> {
        Ok(Self {
            url: options.url.clone(),
            tls: options.tls.as_ref().map(super::tls::config).transpose()?,
            call: options.call,
            current: Mutex::new(Current { at: 0, channel: None }),
            switched: tokio::sync::watch::channel(0).0,
        })
    }

    /// Host and port that is asked at the moment.
    pub(crate) fn endpoint(&self) -> String {
        let (host, port) = &self.url.endpoints[self.current.lock().at];
        format!("{host}:{port}")
    }

    /// Tells when another member is asked than before.
    pub(crate) fn switches(&self) -> tokio::sync::watch::Receiver<u64> {
        self.switched.subscribe()
    }

    /// The next member from now on, if `at` is still the one in use.
    fn leave(&self, at: usize) {
        let mut current = self.current.lock();
        if current.at == at {
            current.at = (at + 1) % self.url.endpoints.len();
            current.channel = None;
            drop(current);
            self.switched.send_modify(|count| *count += 1);
        }
    }

    /// The member in use is left: what it says does not come, or is not to be trusted.
    pub(crate) fn give_up(&self) {
        let at = self.current.lock().at;
        self.leave(at);
    }

    async fn channel(&self) -> Result<(usize, Channel), Failure> {
        let at = {
            let current = self.current.lock();
            if let Some(channel) = &current.channel {
                return Ok((current.at, channel.clone()));
            }
            current.at
        };
        let connected = tokio::time::timeout(self.call, self.connect(at)).await;
        let failed = match connected {
            Ok(Ok(channel)) => {
                let mut current = self.current.lock();
                if current.at == at {
                    current.channel = Some(channel.clone());
                }
                return Ok((at, channel));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no connection in time".to_owned(),
        };
        let (host, port) = &self.url.endpoints[at];
        self.leave(at);
        Err(Failure::NotSent(format!("{host}:{port}: {failed}")))
    }

    async fn connect(&self, at: usize) -> Result<Channel, Box<dyn std::error::Error + Send + Sync>> {
        let (host, port) = self.url.endpoints[at].clone();
        let authority = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        // The connector speaks TLS; tonic is to add none of its own.
        let endpoint = Endpoint::from_shared(format!("http://{authority}:{port}"))?
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW);
        let tls = self.tls.clone();
        let connector = tower::service_fn(move |_: http::Uri| {
            let (host, tls) = (host.clone(), tls.clone());
            async move { dial(&host, port, tls).await.map(TokioIo::new) }
        });
        let connected = endpoint.connect_with_connector(connector).await;
        connected.map_err(|error| deepest(&error).into())
    }

    /// One call with its deadline. A member that does not answer is not asked again.
    async fn ask<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        call: impl FnOnce(Channel) -> F,
    ) -> Result<T, Failure> {
        let (at, channel) = self.channel().await?;
        let failure = match tokio::time::timeout(self.call, call(channel)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Failure::of(&status),
            Err(_) => Failure::NoAnswer("no answer in time".to_owned()),
        };
        if matches!(failure, Failure::NoAnswer(_)) {
            self.leave(at);
        }
        Err(failure)
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        self.ask(|channel| async move {
            let mut client = KvClient::new(channel).max_decoding_message_size(ANSWER);
            client.range(led(request)).await
        })
        .await
    }

    pub(crate) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Failure> {
        self.ask(|channel| async move { KvClient::new(channel).txn(led(request)).await })
            .await
    }

    /// Forgets history before `revision`. Of all users of this etcd: see `docs/etcd.md`.
    pub(crate) async fn compact(&self, revision: u64) -> Result<(), Failure> {
        let request = CompactionRequest {
            revision: revision.cast_signed(),
            physical: false,
        };
        let answer = self.ask(|channel| async move { KvClient::new(channel).compact(led(request)).await });
        answer.await.map(drop)
    }

    /// The member that is asked at the moment.
    pub(crate) async fn status(&self) -> Result<StatusResponse, Failure> {
        self.ask(|channel| async move { MaintenanceClient::new(channel).status(StatusRequest {}).await })
            .await
    }

    /// A watch from `revision`. Its messages have no deadline; the caller knows how long silence may be.
    pub(crate) async fn watch(&self, (key, range_end): (Vec<u8>, Vec<u8>), revision: u64) -> Result<Watching, Failure> {
        let create = WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            start_revision: revision.cast_signed(),
            progress_notify: true,
        };
        let create = WatchRequest {
            request_union: Some(watch_request::RequestUnion::CreateRequest(create)),
        };
        let (requests, stream) = tokio::sync::mpsc::channel(1);
        // There is room for one.
        let _ = requests.try_send(create);
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        let answers = self.ask(|channel| async move {
            let mut client = WatchClient::new(channel).max_decoding_message_size(ANSWER);
            client.watch(led(stream)).await
        });
        Ok(Watching {
            answers: answers.await?,
            _requests: requests,
        })
    }
}

/// An open watch; it ends when this is dropped.
pub(crate) struct Watching {
    answers: tonic::Streaming<WatchResponse>,
    _requests: tokio::sync::mpsc::Sender<WatchRequest>,
}

impl Watching {
    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse, Failure> {
        match self.answers.message().await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Failure::NoAnswer("the watch has ended".to_owned())),
            Err(status) => Err(Failure::of(&status)),
        }
    }
}

/// A request that a member without a leader refuses rather than leave it waiting.
fn led<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("hasleader", MetadataValue::from_static("true"));
    request
}

/// The revision of an answer, and the cluster that gave it.
pub(crate) fn seen(header: Option<&ResponseHeader>) -> (u64, u64) {
    header.map_or((0, 0), |header| (header.revision.cast_unsigned(), header.cluster_id))
}

async fn dial(host: &str, port: u16, tls: Option<Arc<ClientConfig>>) -> io::Result<Stream> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let Some(config) = tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(config).connect(name, tcp).await?;
    Ok(Box::new(stream))
}

type Stream = Box<dyn Duplex>;

/// Plain or TLS.
trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Duplex for T {}

/// The first cause, which says most.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
