//! The HTTP listener: `/metrics`, `/health`, `/ready`. One request a connection, few connections, little time: whoever asks here is
//! a monitor, and nobody who misbehaves may cost more than a refused connection.

use super::figures::{self, CONTENT_TYPE};
use super::ready::readiness;
use crate::config::Metrics;
use crate::node::Node;
use bytes::Bytes;
use http::header::CONTENT_TYPE as TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at a time; more are closed at once.
const CONNECTIONS: usize = 16;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits after an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The listener, if there is one.
pub(crate) struct Listener(Option<TcpListener>);

impl Listener {
    /// Binds the address of the configuration.
    ///
    /// # Errors
    /// From the system, with the address.
    pub(crate) async fn bind(config: &Metrics) -> io::Result<Self> {
        if config.listen.is_empty() {
            return Ok(Self(None));
        }
        let bound = TcpListener::bind(&config.listen).await;
        let bound = bound
            .map_err(|error| io::Error::new(error.kind(), format!("metrics.listen {}: {error}", config.listen)))?;
        Ok(Self(Some(bound)))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref()?.local_addr().ok()
    }

    /// Answers until the task is ended.
    pub(crate) async fn run(self, node: Arc<Node>) {
        let Some(listener) = self.0 else { return };
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors: it passes, or it is in the log of those who suffer more.
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let node = node.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| answer(node.clone(), request));
                let mut http = http1::Builder::new();
                let connection = http.keep_alive(false).serve_connection(TokioIo::new(stream), service);
                // Whatever the monitor did wrong, it asks again.
                let _ = tokio::time::timeout(PATIENCE, connection).await;
                drop(place);
            });
        }
    }
}

async fn answer(node: Arc<Node>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let known = matches!(request.method(), &Method::GET | &Method::HEAD);
    let path = request.uri().path().to_owned();
    // Figures wait for the store's own locks.
    let made = tokio::task::spawn_blocking(move || if known { page(&node, &path) } else { refusal() }).await;
    Ok(made.unwrap_or_else(|_| response(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "failed\n".to_owned())))
}

fn page(node: &Node, path: &str) -> Response<Full<Bytes>> {
    match path {
        "/metrics" => match figures::text(node) {
            Ok(text) => response(StatusCode::OK, CONTENT_TYPE, text),
            Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "failed\n".to_owned()),
        },
        "/health" => response(StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/ready" => {
            let readiness = readiness(node);
            let status = if readiness.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            // A list of strings is always JSON.
            let json = serde_json::to_string(&readiness).unwrap_or_default();
            response(status, "application/json", json + "\n")
        }
        _ => response(
            StatusCode::NOT_FOUND,
            "text/plain",
            "/metrics, /health, /ready\n".to_owned(),
        ),
    }
}

fn refusal() -> Response<Full<Bytes>> {
    response(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned())
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(TYPE, http::HeaderValue::from_static(kind));
    response
}
