//! A listener: connections within limits, with TLS or without, HTTP/1.1 or HTTP/2, one request after the other to a handler.
//! Nothing a client sends ends the process.

use crate::tls::Stream;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// An address that is listened on.
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
}

/// What clients may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The most connections at once; more wait.
    pub(crate) connections: usize,
    /// How long a handshake and the headers of a request may take.
    pub(crate) patience: Duration,
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// A sentence with the address.
    pub(crate) async fn bind(address: SocketAddr, tls: Option<TlsAcceptor>) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{address}: {error}");
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        Ok(Self { tcp, tls, address })
    }

    /// Where, as a client writes it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Accepts connections for ever.
    pub(crate) async fn run<H, F>(self, limits: Limits, handler: H)
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let connections = Arc::new(Semaphore::new(limits.connections));
        loop {
            // A closed semaphore: nobody closes it.
            let Ok(permit) = connections.clone().acquire_owned().await else {
                return;
            };
            match self.tcp.accept().await {
                Ok((stream, peer)) => {
                    let (tls, handler) = (self.tls.clone(), handler.clone());
                    tokio::spawn(async move {
                        if let Some(stream) = secured(tls, stream, peer, limits.patience).await {
                            serve(stream, peer, limits.patience, handler).await;
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn secured(tls: Option<TlsAcceptor>, stream: TcpStream, peer: SocketAddr, patience: Duration) -> Option<Stream> {
    // Small answers must not wait for a full packet.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return Some(Stream::Plain(stream));
    };
    match tokio::time::timeout(patience, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream.into()))),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "no TLS connection");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "a TLS handshake took too long");
            None
        }
    }
}

async fn serve<H, F>(stream: Stream, peer: SocketAddr, patience: Duration, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Send,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = handler(with_host(request));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// HTTP/2 has the host in the address; signatures and rules ask for the header.
fn with_host<B>(mut request: Request<B>) -> Request<B> {
    if !request.headers().contains_key(header::HOST) {
        let authority = request
            .uri()
            .authority()
            .map(|authority| HeaderValue::from_str(authority.as_str()));
        if let Some(Ok(host)) = authority {
            request.headers_mut().insert(header::HOST, host);
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_http_2_has_a_host_header() {
        let host = |uri: &str, header: Option<&str>| {
            let mut request = Request::builder().uri(uri);
            if let Some(header) = header {
                request = request.header("host", header);
            }
            let request = with_host(request.body(()).unwrap());
            request
                .headers()
                .get("host")
                .map(|host| host.to_str().unwrap().to_owned())
        };
        assert_eq!(host("https://a.example:1/", None).as_deref(), Some("a.example:1"));
        assert_eq!(host("https://a.example/", Some("b")).as_deref(), Some("b"));
        assert_eq!(host("/", None), None);
    }
}
