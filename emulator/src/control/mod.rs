//! The way to hsmd's control plane: one daemon, or the nodes of a fleet, which hold the same. Requests go to one node; when it goes
//! away, falls silent or says that it cannot serve, to the next. What may be sent twice is sent again there, so that whoever asked
//! notices nothing; anything else is answered as it stands, and the next request goes elsewhere.

mod address;

pub(crate) use address::{Endpoints, Files};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Service, ServiceExt as _};

/// How long a node may take for a request.
const DEADLINE: Duration = Duration::from_secs(30);
/// Of several nodes, one that gives no sign of life is asked for one after this time, and has as long to give it.
const SILENCE: Duration = Duration::from_secs(1);

type Failure = Box<dyn Error + Send + Sync>;
type Answer = Result<Response<Body>, Failure>;

/// All nodes, and the one that is asked first. Nothing is connected before the first request, and what breaks is connected again.
#[derive(Clone)]
pub(crate) struct Control {
    nodes: Arc<[Channel]>,
    current: Arc<AtomicUsize>,
}

impl Control {
    /// Reads the files that the endpoints need.
    ///
    /// # Errors
    /// A sentence with the key of the configuration.
    pub(crate) fn new(endpoints: &Endpoints, files: Option<&Files>) -> Result<Self, String> {
        let several = endpoints.len() > 1;
        let channels = endpoints.channels(files, |endpoint| {
            let endpoint = endpoint.timeout(DEADLINE);
            if several {
                endpoint
                    .connect_timeout(SILENCE)
                    .http2_keep_alive_interval(SILENCE)
                    .keep_alive_timeout(SILENCE)
            } else {
                endpoint
            }
        });
        Ok(Self {
            nodes: channels?.into(),
            current: Arc::default(),
        })
    }

    async fn send(self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let first = self.current.load(Ordering::Relaxed);
        let mut turn = 0;
        loop {
            let at = (first + turn) % self.nodes.len();
            let request = Request::from_parts(parts.clone(), Body::new(Full::new(body.clone())));
            let answer = self.nodes[at].clone().oneshot(request).await.map_err(Failure::from);
            if !is_away(&answer) {
                return answer;
            }
            turn += 1;
            // Unless another request has moved on already.
            let next = (at + 1) % self.nodes.len();
            let moved = self
                .current
                .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
            if moved.is_ok() && next != at {
                tracing::warn!(node = at, next, "a node of hsmd does not serve");
            }
            if turn >= self.nodes.len() || !(may_be_repeated(parts.uri.path()) || was_never_sent(&answer)) {
                return answer;
            }
        }
    }
}

impl Service<Request<Body>> for Control {
    type Response = Response<Body>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

/// Whether another node may know better: no answer, or the answer of one that cannot serve.
fn is_away(answer: &Answer) -> bool {
    let unavailable = (tonic::Code::Unavailable as i32).to_string();
    answer.as_ref().map_or(true, |response| {
        let status = response.headers().get("grpc-status");
        status.is_some_and(|status| status.as_bytes() == unavailable.as_bytes())
    })
}

/// Whether a request that may have been performed can be sent again: one that reads, and a batch of records, whose operation id the
/// fleet knows (INV-10).
fn may_be_repeated(path: &str) -> bool {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let reads = ["Get", "List", "Describe"].iter().any(|word| method.starts_with(word));
    reads || service.ends_with(".Records") && method == "Batch"
}

/// Whether nobody was there to take the request.
fn was_never_sent(answer: &Answer) -> bool {
    let Err(failure) = answer else { return false };
    let mut source: Option<&(dyn Error + 'static)> = Some(failure.as_ref());
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_and_what_names_its_operation_is_sent_again() {
        for path in [
            "/hsmd.records.v1.Records/Get",
            "/hsmd.records.v1.Records/Batch",
            "/hsmd.cloudhsm.v1.CloudHsm/DescribeHsm",
            "/hsmd.cloudhsm.v1.CloudHsm/ListHapgs",
        ] {
            assert!(may_be_repeated(path), "{path}");
        }
        for path in [
            "/hsmd.cloudhsm.v1.CloudHsm/CreateHsm",
            "/hsmd.admin.v1.HsmAdmin/Batch",
            "/",
            "",
        ] {
            assert!(!may_be_repeated(path), "{path}");
        }
    }

    #[test]
    fn a_node_that_cannot_serve_is_away_and_one_that_refuses_is_not() {
        let answer = |status: &str| -> Answer {
            let response = Response::builder().header("grpc-status", status);
            Ok(response.body(Body::empty()).unwrap())
        };
        assert!(is_away(&answer("14")));
        assert!(!is_away(&answer("9")) && !is_away(&answer("0")));
        assert!(!is_away(&Ok(Response::new(Body::empty()))));
        assert!(is_away(&Err("gone".into())));
    }

    #[tokio::test]
    async fn a_request_that_nobody_took_goes_to_the_next_node_whatever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let socket = |name: &str| format!("unix://{}", folder.path().join(name).display());
        let endpoints = Endpoints::Many(vec![socket("a"), socket("b")]);
        let control = Control::new(&endpoints, None).unwrap();
        let request = Request::builder().uri("/hsmd.cloudhsm.v1.CloudHsm/CreateHsm");
        let answer = control.clone().send(request.body(Body::empty()).unwrap()).await;
        assert!(was_never_sent(&answer), "{answer:?}");
        // Both were tried: the turn is the first one's again.
        assert_eq!(control.current.load(Ordering::Relaxed), 0);
    }
}
