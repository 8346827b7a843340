//! hsmd as an XKS proxy: AWS KMS, or any other, uses AES keys of a partition as external keys. A request passes path, signature
//! ([`auth`]), rate ([`rate`]) and form ([`request`]), then a thread of the module does it ([`keys`], [`crypt`], [`health`]), and
//! one line of the log says who asked for what and what came of it.
//!
//! There is no second authorisation: whoever signs with a live credential may use every AES key of the token.

mod auth;
mod crypt;
pub(super) mod fuzzing;
mod health;
mod keys;
mod rate;
mod refusal;
mod request;

use super::error::ErrorName;
use super::wire::{KeyStatus, Metadata};
use crate::config;
use crate::listen::{Limits, Listener};
use crate::module::{Library, Module, ModuleError, Token, Worker};
use auth::Verifier;
use bytes::Bytes;
use chrono::Utc;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use keys::Keys;
use rate::{Rate, Seldom};
use refusal::{Refusal, of_module};
use request::{Call, Target, Who};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The most bytes of a body: the longest values that are taken, in base64, and long names.
const LONGEST_BODY: usize = 48 << 10;
/// How long a body may take to come.
const BODY_PATIENCE: Duration = Duration::from_secs(5);
/// What a load balancer may ask without a signature.
const PING: &str = "/ping";

/// A body that is wiped when it has been sent.
type Body = Zeroizing<Vec<u8>>;

/// The proxy.
pub(crate) struct Gateway {
    /// `[/prefix]/kms/xks/v1`
    path: String,
    verifier: Verifier,
    rate: Rate,
    denials: Seldom,
    module: Arc<Module>,
    keys: Arc<Keys>,
    health: health::Cache,
    /// How long the module may take.
    patience: Duration,
}

/// What the audit line says of a request.
#[derive(Default)]
struct Note {
    access_key: String,
    who: Who,
}

impl Gateway {
    /// A proxy in front of a token. Nothing is asked of the token yet: it may come later.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn new(settings: &config::Xks) -> Result<Self, String> {
        let token = Token {
            name: settings.token.clone(),
            pin: config::pin(&settings.pin_file)?.as_str().into(),
        };
        let library = Library::load(&settings.module);
        let library = library.map_err(|error| format!("xks.module = {}: {error}", settings.module.display()))?;
        Ok(Self {
            path: settings.path(),
            verifier: Verifier::new(settings.region.clone(), settings.credentials.clone()),
            rate: Rate::new(settings.rate, Instant::now()),
            denials: Seldom::default(),
            module: Arc::new(library.open(token, settings.threads)),
            keys: Arc::default(),
            health: health::Cache::default(),
            patience: Duration::from_millis(settings.timeout_ms),
        })
    }

    /// Where KMS finds the proxy: `XksProxyUriPath`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// From now on these credentials sign requests, and no others.
    pub(crate) fn use_credentials(&self, credentials: Vec<config::Credential>) {
        self.verifier.replace(credentials);
    }

    /// Serves a listener for ever.
    pub(crate) async fn run(self: Arc<Self>, listener: Listener, limits: Limits) {
        let answer = move |request| {
            let gateway = self.clone();
            async move { gateway.answer(request).await }
        };
        listener.run(limits, answer).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        // Read whatever comes of it: a client that is answered before it has sent all may see a broken connection instead.
        let body = collect(body).await;
        let path = parts.uri.path();
        if path == PING && parts.method == Method::GET {
            return reply(StatusCode::OK, Body::new(b"{}".to_vec()));
        }
        let target = path.strip_prefix(self.path.as_str()).and_then(Target::find);
        let Some(target) = target.filter(|_| parts.uri.query().is_none()) else {
            return refuse(Refusal::new(ErrorName::InvalidUriPath, "there is no such path here"));
        };
        if parts.method != Method::POST {
            return refuse(Refusal::method());
        }
        let mut note = Note::default();
        let outcome = self.perform(&parts, target, body, &mut note).await;
        record(target, &note, outcome.as_ref().err(), started.elapsed());
        match outcome {
            Ok(body) => reply(StatusCode::OK, body),
            Err(refusal) => refuse(refusal),
        }
    }

    async fn perform(
        &self,
        parts: &http::request::Parts,
        target: Target<'_>,
        body: Result<Body, Refusal>,
        note: &mut Note,
    ) -> Result<Body, Refusal> {
        let body = body?;
        match self
            .verifier
            .verify(parts.uri.path(), &parts.headers, &body, Utc::now())
        {
            Ok(access_key) => note.access_key = access_key,
            Err(denied) => {
                if let Some(unsaid) = self.denials.now(Instant::now()) {
                    let reason = denied.message();
                    tracing::warn!(target: AUDIT, operation = target.operation(), reason, unsaid, "not authentic");
                }
                return Err(Refusal::new(ErrorName::AuthenticationFailed, denied.message()));
            }
        }
        if !self.rate.allows(Instant::now()) {
            note.who = request::at_least_who(&body);
            return Err(Refusal::new(
                ErrorName::Throttling,
                "more requests a second than the proxy is set to take",
            ));
        }
        let parsed = request::parse(target, &body).inspect_err(|_| note.who = request::at_least_who(&body));
        drop(body);
        let (who, call) = parsed?;
        note.who = who;
        let outcome = self.call(target.key(), call).await;
        if outcome.as_ref().is_err_and(|refusal| refusal.is_outage()) {
            self.health.spoil();
        }
        outcome
    }

    async fn call(&self, key: &str, call: Call) -> Result<Body, Refusal> {
        let (keys, key) = (self.keys.clone(), key.to_owned());
        match call {
            Call::Health => {
                let check = self.on_module(|worker| health::check(worker).map(Ok));
                self.health.get(check).await.map(Body::new)
            }
            Call::Metadata => {
                let describe =
                    move |worker: &mut Worker| keys.with(worker, &key, keys::Need::default(), keys::describe);
                let found = self.on_module(describe).await?;
                let answer = Metadata {
                    key_spec: found.spec.into(),
                    key_usage: found.usage.into_iter().map(Into::into).collect(),
                    key_status: KeyStatus::Enabled,
                };
                // Strings always serialise.
                Ok(Body::new(serde_json::to_vec(&answer).unwrap_or_default()))
            }
            Call::Encrypt(wanted) => {
                self.on_module(move |worker| crypt::encrypt(&keys, worker, &key, &wanted))
                    .await
            }
            Call::Decrypt(wanted) => {
                self.on_module(move |worker| crypt::decrypt(&keys, worker, &key, &wanted))
                    .await
            }
        }
    }

    /// Has a thread of the module do something, for as long as KMS would wait.
    async fn on_module<T: Send + 'static>(
        &self,
        call: impl Fn(&mut Worker) -> Result<Result<T, Refusal>, ModuleError> + Send + 'static,
    ) -> Result<T, Refusal> {
        match tokio::time::timeout(self.patience, self.module.run(call)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                let refusal = of_module(&error);
                if refusal.is_outage() {
                    tracing::warn!(%error, "the HSM behind the XKS proxy");
                }
                Err(refusal)
            }
            Err(_) => Err(Refusal::new(
                ErrorName::DependencyTimeout,
                "the HSM did not answer in time",
            )),
        }
    }
}

/// The name under which audit lines are logged.
const AUDIT: &str = "hsmd_aws::xks";

/// The audit line: who asked for what, and what came of it. Never any data.
fn record(target: Target<'_>, note: &Note, refusal: Option<&Refusal>, took: Duration) {
    if note.access_key.is_empty() {
        // Not authentic, and said so already, or not read at all.
        return;
    }
    let outcome = refusal.map_or("Success", |refusal| refusal.name.row().1);
    let (who, micros) = (&note.who, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    tracing::info!(
        target: AUDIT,
        operation = target.operation(),
        key = target.key(),
        outcome,
        reason = refusal.map(|refusal| refusal.message),
        kms_request_id = who.kms_request_id,
        kms_operation = who.kms_operation,
        principal = who.principal,
        kms_key = who.kms_key,
        via = who.via,
        access_key = note.access_key,
        micros,
        "call"
    );
}

/// Reads a body into memory that is wiped.
async fn collect(mut body: Incoming) -> Result<Body, Refusal> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut read = Body::new(Vec::with_capacity(expected.min(LONGEST_BODY)));
    let all = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::validation("the body ended early"))?;
            let Some(data) = frame.data_ref() else { continue };
            if read.len() + data.len() > LONGEST_BODY {
                return Err(Refusal::new(ErrorName::UnsupportedOperation, "the body is too long"));
            }
            read.extend_from_slice(data);
        }
        Ok(())
    };
    let in_time = tokio::time::timeout(BODY_PATIENCE, all).await;
    in_time.unwrap_or(Err(Refusal::validation("the body did not come in time")))?;
    Ok(read)
}

fn refuse(refusal: Refusal) -> Response<Full<Bytes>> {
    let mut answer = reply(refusal.status(), Body::new(refusal.body()));
    if refusal.status() == StatusCode::METHOD_NOT_ALLOWED {
        answer
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    answer
}

fn reply(status: StatusCode, body: Body) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_owner(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
