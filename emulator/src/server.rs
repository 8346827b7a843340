//! Requests: within limits, one after the other through signature, route and service. Nothing a client sends is kept.
//! Connections are [`crate::listen`]'s.

use crate::cloudhsm::CloudHsm;
use crate::cloudhsmv2::CloudHsmV2;
use crate::config::Config;
use crate::control::Control;
use crate::fault::{Common, Fault};
use crate::kms::{self, Kms, Stores};
use crate::listen::{Limits, Listener};
use crate::module::{Library, Token};
use crate::protocol::{self, Protocol};
use crate::query::Form;
use crate::records::Records;
use crate::redshift::{self, Redshift};
use crate::route::{self, Service};
use crate::signature::Verifier;
use crate::uuid;
use bytes::Bytes;
use chrono::Utc;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::sync::Arc;

/// All services behind one endpoint.
pub(crate) struct Server {
    cloudhsm: CloudHsm,
    cloudhsm_v2: CloudHsmV2,
    kms: Option<Arc<Kms>>,
    redshift: Option<Arc<Redshift>>,
    verifier: Verifier,
    hosts: Vec<String>,
    max_body: usize,
    limits: Limits,
}

impl Server {
    /// Puts the services together; nothing is connected yet. It connects when it is first asked, and again when the daemon was
    /// away.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn new(config: Config) -> Result<Self, String> {
        let limits = config.limits();
        let mut hosts = config.hosts.clone();
        hosts.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()]);
        hosts.push(config.listen.ip().to_string());
        let control = Control::new(&config.endpoint, config.control.as_ref())?;
        let kms = match &config.kms {
            None => None,
            Some(settings) => {
                let token = Token {
                    name: settings.token.clone(),
                    pin: settings.pin()?.as_str().into(),
                };
                let library = Library::load(&settings.module)
                    .map_err(|error| format!("kms.module = {}: {error}", settings.module.display()))?;
                let parts = kms::Parts {
                    module: library.open(token, settings.threads),
                    records: Records::new(control.clone()),
                    stores: Stores::new(library, control.clone(), settings.threads, &config)?,
                };
                Some(Arc::new(Kms::new(
                    parts,
                    &config.region,
                    &config.account,
                    settings.day_ms,
                )?))
            }
        };
        let redshift = match config.redshift_settings()? {
            None => None,
            Some(settings) => {
                let records = Records::new(control.clone());
                Some(Arc::new(Redshift::new(
                    records,
                    settings,
                    &config.region,
                    &config.account,
                )?))
            }
        };
        Ok(Self {
            cloudhsm: CloudHsm::new(control.clone())?,
            cloudhsm_v2: CloudHsmV2::new(control),
            kms,
            redshift,
            verifier: Verifier::new(config.access_keys, config.region, config.verify_signatures),
            hosts,
            max_body: config.max_body,
            limits,
        })
    }

    /// Serves a listener for ever.
    pub(crate) async fn run(self: Arc<Self>, listener: Listener) {
        if let Some(kms) = self.kms.clone() {
            let stores = kms.clone();
            tokio::spawn(async move { kms::open_stores(&stores).await });
            tokio::spawn(async move { kms::keep_time(&kms).await });
        }
        if let Some(redshift) = self.redshift.clone() {
            tokio::spawn(redshift::tend(redshift));
        }
        let limits = self.limits;
        let answer = move |request| {
            let server = self.clone();
            async move { server.answer(request).await }
        };
        listener.run(limits, answer).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        // Without random bytes an id of zeros still answers the request.
        let id = uuid::text(&uuid::random().unwrap_or_default());
        let spoken = route::protocol(request.headers());
        match self.perform(request, &id).await {
            Ok(response) => response,
            Err(fault) => {
                tracing::debug!(request = id, code = %fault.code, message = fault.message, "refused");
                protocol::refuse(spoken, &id, &fault)
            }
        }
    }

    async fn perform(&self, request: Request<Incoming>, id: &str) -> Result<Response<Full<Bytes>>, Fault> {
        let spoken = route::protocol(request.headers());
        if request.uri().path() != "/" || !matches!(*request.method(), Method::POST | Method::GET) {
            return Err(Fault::common(spoken, Common::WrongMethod, "requests are POST /"));
        }
        self.check_host(request.headers(), spoken)?;
        let request = self.collect(request, spoken).await?;
        let mut form = None;
        let route = match spoken {
            Protocol::Json => route::find(request.headers())?,
            Protocol::Query => {
                let parsed = Form::parse(request.uri().query(), request.body())?;
                route::find_query(form.insert(parsed))?
            }
        };
        self.verifier.verify(&request, route.row, Utc::now()).await?;
        tracing::debug!(
            request = id,
            service = route.row.signing,
            operation = route.operation,
            "request"
        );
        match route.row.service {
            Service::CloudHsm => {
                let answer = self.cloudhsm.call(&route.operation, request.body()).await?;
                Ok(protocol::json(id, &answer))
            }
            Service::CloudHsmV2 => {
                let answer = self.cloudhsm_v2.call(&route.operation, request.body()).await?;
                Ok(protocol::json(id, &answer))
            }
            Service::Kms => {
                let missing = "KMS is not served: the configuration has no [kms]";
                let kms = self
                    .kms
                    .as_ref()
                    .ok_or_else(|| Fault::common(spoken, Common::UnknownOperation, missing))?;
                let answer = kms.call(&route.operation, request.body(), id).await?;
                Ok(protocol::json(id, &answer))
            }
            Service::Redshift => {
                let missing = "Redshift is not served: the configuration has no [redshift]";
                let (Some(redshift), Some(form)) = (&self.redshift, &form) else {
                    return Err(Fault::common(spoken, Common::UnknownOperation, missing));
                };
                let answer = redshift.call(&route.operation, form, id).await?;
                Ok(protocol::xml(id, answer))
            }
        }
    }

    /// A page in a browser may send requests to us, but under the name of its own host.
    fn check_host(&self, headers: &HeaderMap, spoken: Protocol) -> Result<(), Fault> {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        if self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let message = "this host name is not served; add it to `hosts` in the configuration";
        Err(Fault::common(spoken, Common::WrongHost, message))
    }

    async fn collect(&self, request: Request<Incoming>, spoken: Protocol) -> Result<Request<Bytes>, Fault> {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, self.max_body).collect();
        let body = match tokio::time::timeout(self.limits.patience, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let message = format!("a body has at most {} bytes", self.max_body);
                return Err(Fault::common(spoken, Common::TooLarge, message));
            }
            Ok(Err(_)) => return Err(Fault::common(spoken, Common::Malformed, "the body ended early")),
            Err(_) => {
                return Err(Fault::common(
                    spoken,
                    Common::Malformed,
                    "the body did not come in time",
                ));
            }
        };
        Ok(Request::from_parts(parts, body))
    }
}
