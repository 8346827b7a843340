//! Requests of the control plane by method and code: a layer around the gRPC services. Only methods of our own services are told
//! apart, so that nobody can make the list of figures grow.

use http::{Request, Response};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use tonic::Code;
use tower::{Layer, Service};

/// gRPC has codes from 0 to 16.
const CODES: usize = 17;

/// The paths of all methods, and last "other".
static METHODS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut methods: Vec<_> = hsmd_control::methods();
    methods.sort_unstable();
    methods.push("other".to_owned());
    methods
});

/// How many calls each method answered with each code.
#[derive(Clone)]
pub(crate) struct Calls(Arc<HashMap<&'static str, [AtomicU64; CODES]>>);

impl Default for Calls {
    fn default() -> Self {
        let row = |method: &'static String| (method.as_str(), Default::default());
        Self(Arc::new(METHODS.iter().map(row).collect()))
    }
}

impl Calls {
    fn count(&self, path: &str, code: Code) {
        let row = self.0.get(path.trim_start_matches('/')).or_else(|| self.0.get("other"));
        if let Some(count) = row.and_then(|row| row.get(code as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Service and method, code, how many; in order.
    pub(super) fn all(&self) -> Vec<(&'static str, Code, u64)> {
        let mut found = Vec::new();
        for method in METHODS.iter() {
            let Some(row) = self.0.get(method.as_str()) else {
                continue;
            };
            for (code, count) in row.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    found.push((method.as_str(), Code::from(i32::try_from(code).unwrap_or(2)), count));
                }
            }
        }
        found
    }
}

/// The layer.
#[derive(Clone)]
pub(crate) struct CallCount(pub(crate) Calls);

impl<S> Layer<S> for CallCount {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            calls: self.0.clone(),
            inner,
        }
    }
}

/// A service whose answers are counted.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    calls: Calls,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (calls, path) = (self.calls.clone(), request.uri().path().to_owned());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // A refusal has its code in the head; without one it is a success, or a stream that began as one.
            let code = match &answer {
                Ok(response) => response
                    .headers()
                    .get("grpc-status")
                    .map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes())),
                Err(_) => Code::Unknown,
            };
            calls.count(&path, code);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_are_not_ours_are_one() {
        let calls = Calls::default();
        calls.count("/hsmd.records.v1.Records/Put", Code::Aborted);
        for number in 0..100 {
            calls.count(&format!("/x/{number}"), Code::Unimplemented);
        }
        let wanted = [
            ("hsmd.records.v1.Records/Put", Code::Aborted, 1),
            ("other", Code::Unimplemented, 100),
        ];
        assert_eq!(calls.all(), wanted);
    }
}
